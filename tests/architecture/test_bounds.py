"""docs/bounds.md is true: what outlives a call and can grow stands in it, with a bound and a test that exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from node import limits
from tests.architecture.source_tree import REPOSITORY, read, source_files

PAGE = Path("docs/bounds.md")
GROWING = frozenset({"dict", "list", "set", "deque", "Counter", "OrderedDict", "defaultdict", "bytearray"})
_ROW = re.compile(r"^\| `(?P<place>[^`]+)`")


def containers(source: str, file: str) -> Iterator[str]:
    """Yield `file Class.attribute` of every container that an object keeps; frozen and signed shapes cannot grow."""
    for shape in ast.walk(ast.parse(source)):
        if not isinstance(shape, ast.ClassDef) or _is_frozen(shape):
            continue
        for statement in ast.walk(shape):
            name = _kept(statement, is_field=statement in shape.body)
            if name is not None:
                yield f"{file} {shape.name}.{name}"


def _is_frozen(shape: ast.ClassDef) -> bool:
    """Tell whether a class is a struct or a frozen dataclass."""
    bases = {ast.unparse(base) for base in shape.bases}
    marks = [ast.unparse(mark) for mark in shape.decorator_list]
    keywords = {ast.unparse(keyword) for keyword in shape.keywords}
    return bool(bases & {"Struct", "msgspec.Struct"}) or any("frozen=True" in mark for mark in [*marks, *keywords])


def _kept(statement: ast.AST, *, is_field: bool) -> str | None:
    """Return the attribute that a statement gives a container, or None."""
    match statement:
        case ast.AnnAssign(target=target, annotation=annotation):
            name, kind = ast.unparse(target), ast.unparse(annotation)
        case ast.Assign(targets=[target], value=ast.Call(func=function)):
            name, kind = ast.unparse(target), ast.unparse(function)
        case ast.Assign(targets=[target], value=ast.Dict() | ast.List() | ast.Set()):
            name, kind = ast.unparse(target), "dict"
        case _:
            return None
    if kind.partition("[")[0].rpartition(".")[2] not in GROWING:
        return None
    if name.startswith("self."):
        return name.removeprefix("self.")
    return name if is_field and name.isidentifier() and name.islower() else None


def rows() -> dict[str, str]:
    """Return the page's rows by what they are about."""
    return {match["place"]: line for line in read(PAGE).splitlines() if (match := _ROW.match(line)) is not None}


def test_everything_that_can_grow_is_on_the_page() -> None:
    """A new container in node/ needs a row: who can make it grow, its bound, what happens there, the test."""
    found = {
        place
        for path in source_files("node")
        for place in containers(read(path), path.as_posix().removeprefix("node/"))
    }
    assert sorted(found - set(rows())) == [], "without a row in docs/bounds.md"
    assert sorted(set(rows()) - found) == [], "rows of docs/bounds.md about what is not there any more"


def test_every_bound_on_the_page_exists() -> None:
    """Names in capitals are constants of node/limits.py."""
    named = {name for line in read(PAGE).splitlines() for name in re.findall(r"`([A-Z][A-Z0-9_]{5,})`", line)}
    assert len(named) > 40
    assert sorted(name for name in named if not hasattr(limits, name)) == []


@pytest.mark.parametrize("page", [PAGE, Path("docs/reliability.md")], ids=str)
def test_every_test_on_the_page_exists(page: Path) -> None:
    """A test is named `file.py::function` below tests/."""
    named = {name for line in read(page).splitlines() for name in re.findall(r"`([\w/]+\.py::\w+)`", line)}
    assert len(named) > 20
    missing = []
    for name in sorted(named):
        file, _, function = name.partition("::")
        path = REPOSITORY / "tests" / file
        if not path.exists() or f"def {function}(" not in path.read_text(encoding="utf-8"):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize(
    "source,expected",
    [
        ("class A:\n    def __init__(self):\n        self._x: dict[str, int] = {}", ["a.py A._x"]),
        ("class A:\n    def __init__(self):\n        self._x = deque(maxlen=3)", ["a.py A._x"]),
        ("@dataclass(slots=True)\nclass A:\n    x: list[int]", ["a.py A.x"]),
        ("@dataclass(frozen=True)\nclass A:\n    x: list[int]", []),
        ("class A(Struct, frozen=True):\n    x: list[int]", []),
        ("class A:\n    def f(self):\n        x: list[int] = []", []),
    ],
)
def test_planted_containers_are_found(source: str, expected: list[str]) -> None:
    """The check sees what an object keeps, and neither locals nor frozen shapes."""
    assert list(containers(source, "a.py")) == expected
