"""Rule 2 of ARCHITECTURE.md: pure rooms import nothing that reaches outside; they read no clock, randomness or file."""

import ast
from pathlib import Path

import grimp
import pytest

from tests.architecture.source_tree import is_pure, module_name, pure_files, read, source_files

FORBIDDEN_IMPORTS = {
    "aiohttp",
    "asyncio",
    "concurrent",
    "ctypes",
    "logging",
    "multiprocessing",
    "nacl.utils",
    "os",
    "plyvel",
    "prometheus_client",
    "random",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "structlog",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "uuid",
    "uvloop",
}
FORBIDDEN_NAMES = {"open", "print", "input", "__import__"}
CLOCK_METHODS = {"now", "utcnow", "today"}
RANDOMNESS_METHODS = {"generate", "gen_private_key", "gen_keypair", "generate_private_key", "urandom", "token_bytes"}
IO_METHODS = {"import_module"}


def impurities(source: str) -> list[str]:
    """Return what makes a source impure, as `line: what`, in order of lines."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                found += [(node.lineno, f"imports {alias.name}") for alias in node.names if _is_forbidden(alias.name)]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module] if _is_forbidden(module) else []
                names = names or [
                    f"{module}.{alias.name}" for alias in node.names if _is_forbidden(f"{module}.{alias.name}")
                ]
                found += [(node.lineno, f"imports {name}") for name in names]
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_NAMES:
                found.append((node.lineno, f"calls {name}"))
            case ast.Attribute(attr=name) if name in CLOCK_METHODS | RANDOMNESS_METHODS | IO_METHODS:
                found.append((node.lineno, f"uses .{name}"))
    return [f"{line}: {what}" for line, what in sorted(found)]


def _is_forbidden(module: str) -> bool:
    parts = module.split(".")
    return any(".".join(parts[:length]) in FORBIDDEN_IMPORTS for length in range(1, len(parts) + 1))


@pytest.mark.parametrize("path", list(pure_files()), ids=str)
def test_pure_room_reaches_nothing_outside(path: Path) -> None:
    """A pure module gets time, randomness and bytes as arguments."""
    assert impurities(read(path)) == []


def test_pure_rooms_exist() -> None:
    """The patterns of rule 2 match the rooms that they mean."""
    names = {path.as_posix() for path in pure_files()}
    assert {"node/codec.py", "node/crypto/hashing.py", "node/chain/block.py", "node/chain/rules/__init__.py"} <= names
    assert not is_pure(Path("node/state/leveldb.py"))


def detours(graph: grimp.ImportGraph) -> set[str]:
    """Return the imports by which a pure module gets at an impure one of the project."""
    pure = {module_name(path) for path in pure_files()}
    empty_packages = {module_name(path) for path in source_files("node") if path.name == "__init__.py"}
    return {
        f"{importer} -> {imported}"
        for importer in pure & graph.modules
        for imported in graph.find_modules_directly_imported_by(importer) - pure - empty_packages
    }


def test_pure_rooms_import_only_pure_rooms() -> None:
    """What a pure module imports from the project is pure itself, so nothing impure comes in by a detour."""
    assert detours(grimp.build_graph("node", cache_dir=None)) == set()


def test_planted_detour_is_found() -> None:
    """The check sees a pure module that reads the clock through a module of ours."""
    graph = grimp.build_graph("node", cache_dir=None)
    graph.add_import(importer="node.chain.block", imported="node.clock")
    assert detours(graph) == {"node.chain.block -> node.clock"}


@pytest.mark.parametrize(
    "planted,expected",
    [
        ("import time", ["1: imports time"]),
        ("import os.path as p", ["1: imports os.path"]),
        ("from os import urandom", ["1: imports os"]),
        ("def f():\n    import random", ["2: imports random"]),
        ("from nacl import utils", ["1: imports nacl.utils"]),
        ("from datetime import datetime\nx = datetime.now()", ["2: uses .now"]),
        ("from datetime import date\nx = map(date.today, [])", ["2: uses .today"]),
        ("from nacl.signing import SigningKey\nSigningKey.generate()", ["2: uses .generate"]),
        ("x = open('f')", ["1: calls open"]),
        ("import importlib\nimportlib.import_module('time')", ["2: uses .import_module"]),
        ("import timeit_of_ours\nfrom datetime import datetime\nx = datetime(2026, 1, 1)", []),
    ],
)
def test_planted_impurity_is_found(planted: str, expected: list[str]) -> None:
    """The check sees each way out that it is there for, and lets dates as values pass."""
    assert impurities(planted) == expected
