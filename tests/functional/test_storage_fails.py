"""Disks that are full and databases that are damaged, under real node processes with real file systems.

A node whose disk fails must stop with a sentence and an exit code that is not 0, before it has told anybody
something it could not keep; with space again it must have all it acknowledged, and rejoin. A node that
has lost its data must not sign anything it may contradict: it listens first.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from node.consensus.recovery import SAFE_DISTANCE
from tests.conftest import require
from tests.functional import harness
from tests.functional.harness import Issuer
from tests.functional.small_disk import SmallDisk, can_mount, mounted
from tools.local_network import LocalNetwork
from tools.node_client import CallFailed, NodeUnreachable

BATCH = 1_000
TMPFS_BYTES = 3 * 1024 * 1024
ROOM_BYTES = 600_000
"""How much more than its largest file a file may have."""


@pytest.fixture(scope="module")
def quartet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four validators; each logs the votes that it receives."""
    made = harness.make_network(tmp_path_factory.mktemp("storage") / "network", verbose=True)
    with harness.watched(made):
        made.start()
        made.wait_ready(timeout_s=harness.PATIENCE_S)
        yield made


@pytest.fixture(scope="module")
def issuer(quartet: LocalNetwork) -> Issuer:
    """Who writes."""
    return harness.publish(quartet, "poligto.edu.mx", "disco")


def write_until_it_stops(network: LocalNetwork, issuer: Issuer, index: int) -> list[str]:
    """Issue large batches through a node until it is gone; return what it acknowledged."""
    acknowledged: list[str] = []
    client = network.client(index)
    deadline = time.monotonic() + harness.PATIENCE_S
    while network.is_running(index):
        assert time.monotonic() < deadline, f"still running after {len(acknowledged)} batches"
        try:
            acknowledged.append(issuer.issue(client, BATCH))
        except (NodeUnreachable, CallFailed):
            time.sleep(0.1)
    return acknowledged


def last_sentence(network: LocalNetwork, index: int) -> str:
    """Return the last line that a node wrote: what a person sees when it has stopped."""
    log = (network.nodes[index].home / "node.log").read_text(encoding="utf-8")
    assert "Traceback" not in log
    return log.splitlines()[-1]


def assert_stopped_with_a_sentence(network: LocalNetwork, index: int, *says: str) -> None:
    """Exit code not 0, and a last line for people that names the folder and says what happened."""
    assert network.wait_exit(index) not in (0, None)
    sentence = last_sentence(network, index)
    assert not sentence.startswith("{"), sentence
    assert str(network.nodes[index].home / "data") in sentence
    for word in says:
        assert word in sentence


def assert_nothing_lost(network: LocalNetwork, issuer: Issuer, index: int, acknowledged: Sequence[str]) -> None:
    """The node has what it acknowledged, the same chain as the others, and its vote counts."""
    harness.wait_level(network)
    harness.assert_committed(network.client(index), acknowledged)
    harness.assert_same_chain(network)
    other = (index + 1) % 4
    network.stop(other)
    issuer.issue(network.client((index + 2) % 4))  # three are left: without its vote nothing is decided
    network.start(other)
    network.wait_ready(other, timeout_s=harness.PATIENCE_S)
    harness.assert_no_double_votes(network)


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path], SmallDisk]]:
    """Return a function that mounts a small disk over a folder, keeping what was in it."""
    require(can_mount(), "mount namespaces (unshare and nsenter, and the right to use them)")
    with contextlib.ExitStack() as disks:
        yield lambda folder: disks.enter_context(mounted(folder, TMPFS_BYTES))


def test_a_full_disk_stops_a_node_and_loses_nothing(
    quartet: LocalNetwork, issuer: Issuer, small_disk: Callable[[Path], SmallDisk]
) -> None:
    """Three megabytes fill up: it stops with a sentence; with room again all is there, and it rejoins."""
    index = 3
    quartet.stop(index)
    disk = small_disk(quartet.nodes[index].home / "data")
    quartet.prefixes[index] = disk.prefix
    quartet.start(index)
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    acknowledged = write_until_it_stops(quartet, issuer, index)
    assert len(acknowledged) > 5
    assert_stopped_with_a_sentence(quartet, index, "No space left on device")
    acknowledged.append(issuer.issue(quartet.client(0)))  # the others go on

    disk.run("mount", "-o", f"remount,size={TMPFS_BYTES * 16}", "tmpfs", disk.folder)
    quartet.start(index)
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    assert_nothing_lost(quartet, issuer, index, acknowledged)
    # Back to the real disk: with what the small one holds, so that the node is no other one afterwards.
    quartet.stop(index)
    copy = disk.folder.with_name("data.back")
    disk.run("cp", "-a", disk.folder, copy)
    shutil.rmtree(disk.folder)
    copy.rename(disk.folder)
    del quartet.prefixes[index]
    quartet.start(index)
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)


def test_a_file_that_may_not_grow_stops_a_node_and_loses_nothing(quartet: LocalNetwork, issuer: Issuer) -> None:
    """The same by a limit on the size of files, which works on every machine."""
    index = 2
    require(shutil.which("prlimit"), "prlimit (package util-linux)")
    home = quartet.nodes[index].home
    quartet.stop(index)
    config = (home / "config.toml").read_text(encoding="utf-8")
    (home / "config.toml").write_text(config.replace('level = "debug"', 'level = "info"'), encoding="utf-8")
    (home / "node.log").rename(home / "node.log.1")  # the limit counts for the log too
    largest = max(path.stat().st_size for path in (home / "data").rglob("*"))
    quartet.prefixes[index] = ["prlimit", f"--fsize={largest + ROOM_BYTES}"]
    quartet.start(index)
    del quartet.prefixes[index]
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    acknowledged = write_until_it_stops(quartet, issuer, index)
    assert len(acknowledged) > 3
    assert_stopped_with_a_sentence(quartet, index, "File too large")

    quartet.start(index)
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    assert_nothing_lost(quartet, issuer, index, acknowledged)


def test_a_node_that_lost_its_data_listens_before_it_signs(quartet: LocalNetwork, issuer: Issuer) -> None:
    """data/ is deleted: it catches up, signs nothing below the safe height, then takes part; nobody heard two votes."""
    index = 3
    member = next(
        item["index"]
        for item in quartet.client(0).call("chain_validators")["validators"]
        if item["institution"] == quartet.nodes[index].institution
    )
    acknowledged = [issuer.issue(quartet.client(i)) for i in range(4)]
    harness.wait_level(quartet)
    quartet.kill(index)
    lost_at = quartet.height(0)
    shutil.rmtree(quartet.nodes[index].home / "data")
    heard = {i: (quartet.nodes[i].home / "node.log").stat().st_size for i in range(3)}

    quartet.start(index)
    quartet.wait_height(lost_at, index, timeout_s=harness.PATIENCE_S)
    acknowledged += [issuer.issue(quartet.client(0)) for _ in range(SAFE_DISTANCE + 2)]
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)

    quartet.stop(0)  # now nothing is decided without it
    acknowledged += [issuer.issue(quartet.client(1)) for _ in range(2)]
    quartet.start(0)
    quartet.wait_ready(timeout_s=harness.PATIENCE_S)
    harness.wait_level(quartet)
    harness.assert_same_chain(quartet)
    harness.assert_committed(quartet.client(index), acknowledged)

    said = [place.height for place in harness.votes_since(quartet, heard) if place.validator == member]
    assert said, "it never voted again"
    assert min(said) >= lost_at + SAFE_DISTANCE
    harness.assert_no_double_votes(quartet)


def flip(pattern: str) -> Callable[[Path], None]:
    """Return a damage: one byte in every 256 of all files that match, from the fortieth on."""

    def damage(data: Path) -> None:
        files = [path for path in data.glob(pattern) if path.stat().st_size > 200]
        assert files, pattern
        for path in files:
            content = bytearray(path.read_bytes())
            for place in range(40, len(content), 256):
                content[place] ^= 0xFF
            path.write_bytes(content)

    return damage


def replace(pattern: str, content: bytes | None) -> Callable[[Path], None]:
    """Return a damage: other content, or none, in all files that match."""

    def damage(data: Path) -> None:
        files = list(data.glob(pattern))
        assert files, pattern
        for path in files:
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)

    return damage


def a_file_instead(data: Path) -> None:
    """Put a file where a database was."""
    shutil.rmtree(data / "chain")
    (data / "chain").write_bytes(b"not a folder")


DAMAGES = {
    "chain tables": ("chain", flip("chain/*.ldb")),
    "chain log": ("chain", flip("chain/*.log")),
    "chain CURRENT": ("chain", replace("chain/CURRENT", b"MANIFEST-999999\n")),
    "chain CURRENT empty": ("chain", replace("chain/CURRENT", b"")),
    "chain MANIFEST": ("chain", replace("chain/MANIFEST-*", b"\x00" * 1_000)),
    "chain table gone": ("chain", replace("chain/*.ldb", None)),
    "journal": ("journal", flip("journal/*.l*")),
    "signer": ("signer", flip("signer/*.l*")),
    "no folder": ("chain", a_file_instead),
}


@pytest.fixture(scope="module")
def stopped(quartet: LocalNetwork, issuer: Issuer) -> Iterator[Path]:
    """Return the data folder of a stopped node, with tables and logs in it; started again in the end."""
    index = 1
    for _ in range(5):
        issuer.issue(quartet.client(0), BATCH)
    harness.wait_level(quartet)
    quartet.stop(index)
    quartet.start(index)  # opening turns the log into tables
    quartet.wait_ready(index, timeout_s=harness.PATIENCE_S)
    issuer.issue(quartet.client(0))
    harness.wait_level(quartet)
    quartet.stop(index)
    data = quartet.nodes[index].home / "data"
    yield data
    quartet.start(index)
    quartet.wait_ready(timeout_s=harness.PATIENCE_S)


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_database_is_not_started_on(quartet: LocalNetwork, stopped: Path, name: str) -> None:
    """`pila start` refuses with one sentence that names the folder and says what to do."""
    store, damage = DAMAGES[name]
    kept = stopped.with_name("data.kept")
    stopped.rename(kept)
    try:
        shutil.copytree(kept, stopped)
        damage(stopped)
        ended = harness.pila("start", "--home", stopped.parent, as_json=False, expect=2)
        sentence = ended.err.splitlines()[-1]
        assert not sentence.startswith("{"), sentence
        assert str(stopped / store) in sentence
        assert "restore" in sentence or "move" in sentence, sentence
    finally:
        shutil.rmtree(stopped)
        kept.rename(stopped)
