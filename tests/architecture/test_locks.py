"""Dependencies are pinned with hashes, and no file tells where they come from: that is each machine's own setting."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.architecture.source_tree import REPOSITORY, read

LOCKS = sorted(path.relative_to(REPOSITORY) for path in REPOSITORY.glob("requirements*.lock"))
SCRIPTS = [Path(name) for name in ("Makefile", ".ci/run", "pyproject.toml", *map(str, LOCKS))]
HOST = re.compile(
    r"://|--(extra-)?index-url|--find-links|--trusted-host|\b[a-z0-9-]+\.(org|com|net|io|dev)\b", re.IGNORECASE
)
PINNED = re.compile(
    r"^(?P<name>[a-z0-9-]+)==[^\s;]+( ; [^\\]+)? \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+", re.MULTILINE
)
NAME = re.compile(r"^[A-Za-z0-9._-]+")


def hosts(text: str) -> list[str]:
    """Return the lines that name a place to download from."""
    return [line for line in text.splitlines() if HOST.search(line)]


def unpinned(text: str) -> str:
    """Return what is left of a lock file without its pinned and hashed entries."""
    return PINNED.sub("", text).strip()


def download_addresses(package_lock: str) -> list[str]:
    """Return the npm packages whose lock entry has an address or lacks its hash."""
    packages = json.loads(package_lock)["packages"]
    return [name for name, entry in packages.items() if name and ("resolved" in entry or "integrity" not in entry)]


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_no_file_names_a_registry(path: Path) -> None:
    """Whoever mirrors packages changes a setting of the machine and no file of ours."""
    assert hosts(read(path)) == []


@pytest.mark.parametrize("path", LOCKS, ids=str)
def test_every_entry_is_pinned_and_hashed(path: Path) -> None:
    """A lock file consists of exact versions with hashes and of nothing else."""
    assert unpinned(read(path)) == ""


def test_locks_hold_what_the_project_asks_for() -> None:
    """A dependency in pyproject.toml stands in its lock file, with the same versions in all of them."""
    project = tomllib.loads(read(Path("pyproject.toml")))
    runtime, groups = project["project"]["dependencies"], project["dependency-groups"]
    asked = {
        "requirements.lock": runtime,
        "requirements-dev.lock": [*runtime, *groups["dev"]],
        "requirements-interop.lock": groups["interop"],
        "requirements-nodejs.lock": groups["nodejs"],
    }
    assert asked.keys() == {str(path) for path in LOCKS}
    for lock, requirements in asked.items():
        locked = {match["name"] for match in PINNED.finditer(read(Path(lock)))}
        wanted = {match[0].lower() for requirement in requirements if (match := NAME.match(requirement))}
        assert wanted - locked == set()
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for match in PINNED.finditer(read(lock)):
            versions.setdefault(match["name"], set()).add(match[0].split()[0])
    assert [pins for pins in versions.values() if len(pins) > 1] == []


def test_npm_locks_have_hashes_and_no_addresses() -> None:
    """Every npm lock among the tests names versions and hashes only."""
    locks = REPOSITORY.glob("tests/*/package-lock.json")
    assert {lock: found for lock in locks if (found := download_addresses(lock.read_text(encoding="utf-8")))} == {}


def test_planted_addresses_and_loose_pins_are_found() -> None:
    """The checks see an address, a bare host, an option, a missing hash and a missing version."""
    pinned = f"a==1 ; sys_platform == 'win32' \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"
    assert hosts(f"{pinned}# see https://example\n") == ["# see https://example"]
    assert hosts("pip install -i packages.example.org\n--index-url x") == [
        "pip install -i packages.example.org",
        "--index-url x",
    ]
    assert hosts(pinned) == []
    assert unpinned(pinned) == ""
    assert unpinned(f"{pinned}b==2\nc>=3 \\\n    --hash=sha256:{'0' * 64}\n").startswith("b==2\nc>=3")
    lock = {"packages": {"": {}, "a": {"integrity": "x"}, "b": {"integrity": "x", "resolved": "y"}, "c": {}}}
    assert download_addresses(json.dumps(lock)) == ["b", "c"]
