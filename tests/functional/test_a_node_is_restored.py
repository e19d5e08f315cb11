"""A validator that lost everything comes back by a snapshot, is killed while it does, and never votes twice."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import long_chain
from node.config import DATA_FOLDER
from node.limits import SNAPSHOT_LAG_HEIGHTS_MIN
from node.snapshots import CHAIN_FOLDER, NEW_FOLDER, OLD_FOLDER, SNAPSHOTS_FOLDER
from node.state.leveldb import open_leveldb
from tests.functional import harness
from tests.functional.harness import Issuer, pila, refused
from tools.local_network import LocalNetwork
from tools.node_client import CallFailed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BLOCKS = SNAPSHOT_LAG_HEIGHTS_MIN + 1_104
SNAPSHOT = BLOCKS // 1_000 * 1_000
WIPED = 3
KILLS = 4


@pytest.fixture
def network(tmp_path: Path) -> Iterator[LocalNetwork]:
    """Four validators of which three have a long chain and its snapshot, and one has lost all it knew."""
    made = long_chain.make(tmp_path / "network", BLOCKS)
    for index in (1, 2):
        long_chain.give(made, index)
    long_chain.wipe(made, WIPED)
    for node in made.nodes:
        harness.log_votes(node.home)
    with harness.watched(made):
        made.start(0, 1, 2)
        made.wait_ready(0, 1, 2, timeout_s=harness.PATIENCE_S)
        yield made


def move(network: LocalNetwork, issuer: Issuer, blocks: int) -> None:
    """Have so many blocks made."""
    for _ in range(blocks):
        issuer.issue(network.client())


def pruned_below(network: LocalNetwork, index: int) -> int:
    """Return where a node's blocks begin."""
    return int(network.client(index).call("node_status")["pruned_below"])


def assert_same_headers(network: LocalNetwork, first: int) -> None:
    """All nodes have the same headers from a height on."""
    for height in range(first, min(network.height(index) for index in range(4)) + 1):
        hashes = {network.client(index).call("chain_header", height=height)["hash"] for index in range(4)}
        assert len(hashes) == 1, f"height {height}: {hashes}"


def test_a_wiped_validator_rejoins_by_a_snapshot_and_never_votes_twice(network: LocalNetwork) -> None:
    """It catches up without the old blocks, listens until it is safe, and then the others cannot do without it."""
    issuer = harness.publish(network, "lef.upn.mx", "restaurada")
    network.start(WIPED)
    network.wait_height(SNAPSHOT, WIPED, timeout_s=harness.PATIENCE_S)
    assert pruned_below(network, WIPED) == SNAPSHOT + 1
    network.wait_height(network.height(), WIPED, timeout_s=harness.PATIENCE_S)
    move(network, issuer, 6)
    network.wait_ready(WIPED, timeout_s=harness.PATIENCE_S)

    network.stop(0)  # three of four are left: without the restored one there is no quorum
    tx_id = issuer.issue(network.client(1))
    assert network.client(WIPED).wait(tx_id)["status"] == "committed"
    network.start(0)
    network.wait_ready(timeout_s=harness.PATIENCE_S)
    harness.wait_level(network)
    assert_same_headers(network, SNAPSHOT)
    harness.assert_no_double_votes(network)
    for index in range(4):
        assert harness.metric(network, index, "pila_equivocations_total") == 0
    _check_what_it_answers(network)


def _check_what_it_answers(network: LocalNetwork) -> None:
    """What a node without the old blocks still proves, and what it says of the rest."""
    archive, restored = network.client(0), network.client(WIPED)
    with pytest.raises(CallFailed) as failed:
        restored.call("chain_block", height=7)
    assert failed.value.code == -32001
    assert f"height 7 is pruned below {SNAPSHOT + 1} on this node; ask an archive node" in str(failed.value)
    # A credential of an old block: the same path, and a proof under a state root of its own.
    early = archive.call("tx_get", tx_id=archive.call("chain_block", height=7)["transactions"][0]["tx_id"])
    batch_key = next(event["subject"] for event in early["result"]["events"] if event["subject"].startswith("bat/"))
    with open_leveldb(_copy(network)) as store:
        ids = store.get(b"d" + bytes.fromhex(batch_key.removeprefix("bat/")))
    assert ids is not None
    credential_id = ids[:32].hex()
    wanted, found = (client.call("credential_get", credential_id=credential_id) for client in (archive, restored))
    assert found == {**wanted, "tx_id": None}
    proof = restored.call("credential_proof", credential_id=credential_id)
    assert proof["batch"] == archive.call("credential_proof", credential_id=credential_id)["batch"]
    for index in (0, WIPED):
        client = network.client(index)
        network.wait_until(lambda client=client: client.call("stats_summary")["complete"], "all counts", 120, index)  # type: ignore[misc]  # bound now
    summaries = [client.call("stats_summary") for client in (archive, restored)]
    assert summaries[0]["credentials"] == summaries[1]["credentials"]
    assert [summary["counted_from"] for summary in summaries] == [0, SNAPSHOT + 1]


def _copy(network: LocalNetwork) -> Path:
    """Return a copy of the restored node's database, which the running node holds."""
    network.stop(WIPED)
    data = network.nodes[WIPED].home / DATA_FOLDER
    shutil.copytree(data / CHAIN_FOLDER, data / "copy")
    network.start(WIPED)
    network.wait_ready(WIPED, timeout_s=harness.PATIENCE_S)
    return data / "copy"


def test_killed_while_it_restores_it_has_the_old_chain_or_the_new_never_a_mix(network: LocalNetwork) -> None:
    """Killed again and again in the middle, it goes on with what it had and ends as whole as the others."""
    data = network.nodes[WIPED].home / DATA_FOLDER
    for _ in range(KILLS):
        network.start(WIPED)
        _wait_for_traces(data)
        network.kill(WIPED)
        found = pila("check-db", "--home", network.nodes[WIPED].home, expect=None)
        if (data / CHAIN_FOLDER).exists() and (data / CHAIN_FOLDER / "CURRENT").exists():
            assert found.code == 0, found
    network.start(WIPED)
    network.wait_height(BLOCKS, WIPED, timeout_s=harness.PATIENCE_S)
    assert pruned_below(network, WIPED) == SNAPSHOT + 1
    assert not (data / NEW_FOLDER).exists()
    network.stop(WIPED)
    assert pila("check-db", "--home", network.nodes[WIPED].home).code == 0
    assert not (data / OLD_FOLDER).exists()


def _wait_for_traces(data: Path) -> None:
    """Wait until something of a restoration lies on the disk, or it is over already."""
    deadline = time.monotonic() + harness.PATIENCE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if sum(path.stat().st_size for path in (data / NEW_FOLDER).iterdir()) > 0:
                return
            if (data / OLD_FOLDER).exists():
                return
        if (data / CHAIN_FOLDER).exists() and not (data / NEW_FOLDER).exists() and time.monotonic() > deadline - 120:
            return
        time.sleep(0.002)


def test_a_snapshot_is_carried_as_a_file(network: LocalNetwork, tmp_path: Path) -> None:
    """Made from one stopped home, restored into another, which then goes on by blocks; a second time it is refused."""
    file = tmp_path / "chain.snapshot"
    network.stop(2)
    made = pila("snapshot", "make", "--home", network.nodes[2].home, "--output", file).json
    assert made["height"] >= BLOCKS
    shown = pila("snapshot", "show", file, "--genesis", network.testnet.output / "genesis.json").json
    assert shown == made
    home = network.nodes[WIPED].home
    assert pila("snapshot", "restore", file, "--home", home).json["height"] == made["height"]
    again = refused("snapshot", "restore", file, "--home", home)
    assert again.endswith(f"is at height {made['height']} already, the snapshot is of height {made['height']}")
    damaged = bytearray(file.read_bytes())
    damaged[-40] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    assert "is damaged" in refused("snapshot", "show", tmp_path / "damaged")
    network.start(2, WIPED)
    network.wait_ready(2, timeout_s=harness.PATIENCE_S)
    network.wait_height(max(network.height(0), made["height"]), WIPED, timeout_s=harness.PATIENCE_S)
    assert pruned_below(network, WIPED) == made["height"] + 1


def test_pruning_gives_space_back_and_the_node_goes_on(network: LocalNetwork) -> None:
    """Offline and while it runs, old blocks go; a node that lacks them still starts, and still gives snapshots."""
    issuer = harness.publish(network, "lef.upn.mx", "podada")
    network.stop(1)
    home = network.nodes[1].home
    shutil.rmtree(home / DATA_FOLDER / SNAPSHOTS_FOLDER)
    found = pila("prune", "--home", home, "--keep-blocks", 3_000).json
    assert found["bytes_after"] < found["bytes_before"]
    assert found["pruned_below"] == network.height(0) + 1 - 3_000
    assert "too few" in refused("config", "check", "--home", _with_keep(home, 1_999))
    _with_keep(home, 2_000)
    network.start(1)
    network.wait_ready(1, timeout_s=harness.PATIENCE_S)
    move(network, issuer, 3)
    network.wait_until(
        lambda: pruned_below(network, 1) >= network.height(1) + 1 - 2_000, "old blocks to go", harness.PATIENCE_S, 1
    )
    assert harness.wait_level(network, 0, 1, 2) > BLOCKS


def _with_keep(home: Path, blocks: int) -> Path:
    """Write into a home's configuration how many blocks to keep."""
    path = home / "config.toml"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("keep_blocks")]
    at = lines.index("[storage]")
    path.write_text("\n".join([*lines[: at + 1], f"keep_blocks = {blocks}", *lines[at + 1 :]]) + "\n", encoding="utf-8")
    return home
