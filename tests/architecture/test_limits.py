"""Rule 8 of ARCHITECTURE.md: bounds live in limits.py, and each says its unit."""

import ast

import pytest

from tests.architecture.source_tree import Path, read

UNITS = frozenset({"BYTES", "BITS", "MS", "SECONDS", "PERCENT", "CHARS", "MONTHS", "HEIGHTS"})
QUALIFIERS = frozenset({"MAX", "MIN", "START"})


def without_unit(source: str) -> list[str]:
    """Return the constants that neither name a unit or the things they count (a plural) nor have a docstring."""
    body = ast.parse(source).body
    unclear = []
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                words = [word for word in name.split("_") if word not in QUALIFIERS]
                says_unit = any(word in UNITS or word.endswith("S") for word in words)
                if not says_unit and not _is_docstring(following):
                    unclear.append(name)
    return unclear


def _is_docstring(statement: ast.stmt | None) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


def test_every_bound_says_its_unit() -> None:
    """A reader sees what a bound counts, by its name or by the sentence under it."""
    assert without_unit(read(Path("node/limits.py"))) == []


@pytest.mark.parametrize(
    "planted,expected",
    [
        ("TIMEOUT: Final = 5", ["TIMEOUT"]),
        ("QUEUE_MAX = 5\nPEERS_MAX = 3", ["QUEUE_MAX"]),
        ('DEPTH_MAX: Final = 5\n"""Levels of components of components."""', []),
        ("FRAME_BYTES_MAX: Final = 5", []),
    ],
)
def test_planted_bound_without_unit_is_found(planted: str, expected: list[str]) -> None:
    """The check sees a bare number and accepts a unit, a plural or a docstring."""
    assert without_unit(planted) == expected
