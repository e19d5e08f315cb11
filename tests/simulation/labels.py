"""Which labelled lines of the protocol a run has passed: [P1], [A1] … of node/consensus/README.md.

A label stands in the source as a comment behind a line, or in the docstring of a function. Passed means more
than reached: behind an `if`, its body ran; of a function, its last statement did, so no guard sent the run away
before. Nothing is added to the production code; only a share of the seeds is watched, for watching costs time.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import TraceFunction

NODE = Path(__file__).resolve().parents[2] / "node"
PAGE = NODE / "consensus" / "README.md"
SOURCES = (
    *sorted((NODE / "consensus").glob("*.py")),
    NODE / "replica.py",
    NODE / "peer_quota.py",
    NODE / "journal.py",
    NODE / "chain" / "evidence.py",
    NODE / "chain" / "missed_turns.py",
    NODE / "chain" / "demerits.py",
    NODE / "chain" / "rotation.py",
    NODE / "crypto" / "verified.py",
)
PROPERTIES = frozenset({"E3"})
"""Labels that say what never happens: the checkers judge them in every run, no line applies them."""
_LABEL = re.compile(r"\[([A-Z]\d+)\]")
_RANGE = re.compile(r"\[[A-Z]\d+\]–\[[A-Z]\d+\]")


@dataclass(frozen=True, order=True)
class Site:
    """One place in the source that bears a label."""

    label: str
    file: str
    """Below node/."""
    line: int
    """Where the label stands."""
    passed: int
    """The line that runs when the rule has been applied."""

    def __str__(self) -> str:
        return f"[{self.label}] {self.file}:{self.line}"


@cache
def defined() -> tuple[str, ...]:
    """Return the labels that the page of the protocol defines, in its order."""
    found = re.findall(r"^\[([A-Z]\d+)\]", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return tuple(label for label in dict.fromkeys(found) if label not in PROPERTIES)


@cache
def sites() -> tuple[Site, ...]:
    """Return all places that bear a label of the page."""
    return tuple(sorted({site for path in SOURCES if path.exists() for site in _sites_of(path)}))


def _sites_of(path: Path) -> Iterator[Site]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    name = path.relative_to(NODE).as_posix()
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    for number, line in enumerate(text.splitlines(), 1):
        code, _, comment = line.partition("#")
        labels = _LABEL.findall(comment)
        if labels and '"""' not in code:
            statement = _statement_at(statements, number)
            for label in labels:
                yield Site(label, name, number, _passed(statement))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for label in _LABEL.findall(_RANGE.sub("", ast.get_docstring(node) or "")):
                yield Site(label, name, node.lineno, _passed(node.body[-1]))


def _statement_at(statements: list[ast.stmt], number: int) -> ast.stmt:
    """Return the innermost statement that a comment belongs to: the one that it stands behind, else the next."""
    around = [node for node in statements if node.lineno <= number <= _head_end(node)]
    if around:
        return max(around, key=lambda node: node.lineno)
    return min((node for node in statements if node.lineno > number), key=lambda node: node.lineno)


def _head_end(node: ast.stmt) -> int:
    """Return the last line of a statement without the block below it."""
    body = getattr(node, "body", None)
    if isinstance(body, list) and body:
        return max(node.lineno, int(body[0].lineno) - 1)
    return node.end_lineno or node.lineno


def _passed(node: ast.stmt) -> int:
    """Return the line that runs when this statement has had its effect."""
    while isinstance(node, ast.If | ast.For | ast.While | ast.With):
        node = node.body[0]
    return node.lineno


class Watch:
    """Notes which sites are passed while it is on."""

    def __init__(self) -> None:
        self.passed: set[Site] = set()
        self._by_file: dict[str, dict[int, list[Site]]] = defaultdict(lambda: defaultdict(list))
        for site in sites():
            self._by_file[str(NODE / site.file)][site.passed].append(site)
        self._wanted: dict[int, dict[int, list[Site]]] = {}
        self._codes: list[CodeType] = []
        """Keeps the keys of `_wanted` what they are."""

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch for a while."""
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _on_call(self, frame: FrameType, event: str, argument: object) -> "TraceFunction | None":
        code = frame.f_code
        wanted = self._wanted.get(id(code))
        if wanted is None:
            wanted = self._wanted[id(code)] = self._lines_of(code)
            self._codes.append(code)
        return self._on_line if wanted else None

    def _on_line(self, frame: FrameType, event: str, argument: object) -> "TraceFunction | None":
        if event == "line":
            wanted = self._wanted[id(frame.f_code)]
            found = wanted.pop(frame.f_lineno, None)
            if found is not None:
                self.passed.update(found)
                if not wanted:
                    return None
        return self._on_line

    def _lines_of(self, code: CodeType) -> dict[int, list[Site]]:
        """Return the lines of a function that are of interest."""
        in_file = self._by_file.get(code.co_filename)
        if in_file is None:
            return {}
        lines = {line for _, _, line in code.co_lines() if line is not None}
        return {line: found for line, found in in_file.items() if line in lines}
