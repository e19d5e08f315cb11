"""Package files are empty, and every source is readable by Python 3.11, the oldest version supported."""

import ast
from pathlib import Path

import pytest

from tests.architecture.source_tree import read, source_files

OLDEST = (3, 11)


def parses(source: str) -> bool:
    """Say whether a source is valid in the oldest Python supported."""
    try:
        ast.parse(source, feature_version=OLDEST)
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize(
    "path", [path for path in source_files("node", "tools", "genesis") if path.name == "__init__.py"], ids=str
)
def test_package_file_is_empty(path: Path) -> None:
    """Importing a module runs no code of its package, so that imports stay as the contracts see them."""
    assert read(path) == ""


def test_every_folder_of_code_is_a_package() -> None:
    """No folder with modules lacks the package file without which it would not be shipped."""
    folders = {path.parent for path in source_files("node", "tools", "genesis")}
    assert (
        folders - {path.parent for path in source_files("node", "tools", "genesis") if path.name == "__init__.py"}
        == set()
    )


@pytest.mark.parametrize("path", source_files("node", "tools", "genesis", "tests", "benchmarks"), ids=str)
def test_source_is_python_3_11(path: Path) -> None:
    """No syntax of a later version is used."""
    assert parses(read(path))


@pytest.mark.parametrize(
    "planted", ["type Height = int", "def first[T](items: list[T]) -> T: ...", "class Box[T]: ..."]
)
def test_planted_newer_syntax_is_found(planted: str) -> None:
    """The check refuses what came with Python 3.12."""
    assert not parses(planted)
