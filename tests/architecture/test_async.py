"""Rule 9 of ARCHITECTURE.md: only edges, pages, shells and tools wait."""

import ast
from pathlib import Path

import pytest

from tests.architecture.source_tree import may_wait, read, source_files

WAITING = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)


def waits(source: str) -> list[int]:
    """Return the lines on which a source defines or does something asynchronous."""
    tree = ast.parse(source)
    lines = {node.lineno for node in ast.walk(tree) if isinstance(node, WAITING)}
    lines |= {node.iter.lineno for node in ast.walk(tree) if isinstance(node, ast.comprehension) and node.is_async}
    return sorted(lines)


@pytest.mark.parametrize("path", [path for path in source_files("node") if not may_wait(path)], ids=str)
def test_room_does_not_wait(path: Path) -> None:
    """A module that rule 9 does not name has no asynchronous code."""
    assert waits(read(path)) == []


@pytest.mark.parametrize(
    "planted,expected",
    [
        ("async def f() -> None: ...", [1]),
        ("async def f(x):\n    return [y async for y in x]", [1, 2]),
        ("def f() -> None: ...", []),
    ],
)
def test_planted_wait_is_found(planted: str, expected: list[int]) -> None:
    """The check sees asynchronous functions and comprehensions."""
    assert waits(planted) == expected
