"""Which source files there are, and which of them are pure or may wait, as ARCHITECTURE.md, "Rules", says."""

from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]

# Rule 2. Paths relative to the repository; `*` also crosses folders.
PURE: Final = (
    "node/primitives.py",
    "node/limits.py",
    "node/errors.py",
    "node/codec.py",
    "node/crypto/*.py",
    "node/state/*.py",
    "node/chain/*.py",
    "node/consensus/*.py",
    "node/documents/*.py",
    "node/p2p/doorman.py",
    "node/p2p/frames.py",
    "node/p2p/handshake.py",
    "node/p2p/noise.py",
    "node/p2p/observer.py",
    "node/p2p/outbox.py",
    "node/p2p/pace.py",
    "node/p2p/peer_book.py",
    "node/rpc/jsonrpc.py",
)
IMPURE: Final = ("node/state/leveldb.py", "node/p2p/connection.py", "node/p2p/network.py")

# Rule 9: the asynchronous edges of rooms, the pages, the shells, the tools.
MAY_WAIT: Final = (
    "node/p2p/connection.py",
    "node/p2p/network.py",
    "node/rpc/server.py",
    "node/rpc/events.py",
    "node/web/*.py",
    "node/__main__.py",
    "node/app.py",
    "node/control.py",
    "node/figures.py",
    "node/replica.py",
    "node/running.py",
    "node/sync.py",
    "node/wire.py",
    "node/journal.py",
    "node/signer/*.py",
    "node/issuing.py",
    "node/workers.py",
    "node/metrics.py",
    "tools/*.py",
)


def source_files(*packages: str) -> list[Path]:
    """Return the Python files of top-level folders, relative to the repository, in a fixed order."""
    return sorted(
        path.relative_to(REPOSITORY)
        for package in packages
        for path in (REPOSITORY / package).rglob("*.py")
        if "node_modules" not in path.parts
    )


def is_pure(path: Path) -> bool:
    """Say whether rule 2 holds for this file."""
    return _matches(path, PURE) and not _matches(path, IMPURE)


def may_wait(path: Path) -> bool:
    """Say whether rule 9 allows this file `async` and `await`."""
    return _matches(path, MAY_WAIT)


def module_name(path: Path) -> str:
    """Return `node.chain` for node/chain/__init__.py and `node.chain.block` for node/chain/block.py."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read(path: Path) -> str:
    """Return the text of a file given relative to the repository."""
    return (REPOSITORY / path).read_text(encoding="utf-8")


def pure_files() -> Iterator[Path]:
    """Yield every file for which rule 2 holds."""
    return filter(is_pure, source_files("node"))


def _matches(path: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path.as_posix(), pattern) for pattern in patterns)
