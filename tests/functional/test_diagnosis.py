"""Finding out what is wrong, on real nodes: who is missing and why, what a slow height was waiting for, what consensus
was told and whether it would do the same again, and whether the stores are whole.

One network tells one story: it is recorded from the start; one validator stops, then a second one; they come back;
all are stopped, and what they left behind is replayed and looked through.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional import harness
from tests.functional.harness import Issuer, pila, refused
from tools.local_network import LocalNetwork


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four validators that record what their cores are told."""
    made = harness.make_network(tmp_path_factory.mktemp("diagnosis") / "network")
    for node in made.nodes:
        config = node.home / "config.toml"
        text = config.read_text(encoding="utf-8")
        assert "record = false" in text
        config.write_text(text.replace("record = false", "record = true"), encoding="utf-8")
    with harness.watched(made):
        made.start()
        made.wait_ready(timeout_s=harness.PATIENCE_S)
        yield made


@pytest.fixture(scope="module")
def issuer(recorded: LocalNetwork) -> Issuer:
    """Who writes."""
    return harness.publish(recorded, "poligto.edu.mx", "diagnostico")


def why(network: LocalNetwork, index: int, *, expect: int) -> Any:  # noqa: ANN401 – the command's own shape
    """Ask a node why it is stalled."""
    return pila("why-stalled", "--rpc", network.nodes[index].rpc, expect=expect).json


def lines(network: LocalNetwork, index: int, event: str) -> list[dict[str, Any]]:
    """Return what a node logged of one kind."""
    log = (network.nodes[index].home / "node.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in log.splitlines() if f'"event":"{event}"' in line]


def test_a_validator_that_hangs_is_connected_but_silent(recorded: LocalNetwork) -> None:
    """A stopped process keeps its socket: for some seconds it is no network's fault, and it is said so."""
    index = 1
    name = recorded.nodes[index].institution

    def reason() -> str | None:
        missing = recorded.client(0).call("node_whyStalled")["missing"]
        return next((one["reason"] for one in missing if one["institution"] == name), None)

    os.kill(recorded.pid(index), signal.SIGSTOP)
    try:
        recorded.wait_until(lambda: reason() == "silent", "the validator to be silent", harness.PATIENCE_S)
        recorded.wait_until(lambda: reason() == "unreachable", "the validator to be given up", harness.PATIENCE_S)
    finally:
        os.kill(recorded.pid(index), signal.SIGCONT)
    recorded.wait_until(lambda: reason() is None, "the validator to be back", harness.PATIENCE_S)


def test_missing_validators_are_named_with_the_reason(recorded: LocalNetwork, issuer: Issuer) -> None:
    """With one gone the network decides, and says who is gone; with two it is stalled, and says of each why."""
    for index in range(8):
        issuer.issue(recorded.client(index % 4))
    gone = [recorded.nodes[index].institution for index in (2, 3)]
    recorded.stop(3)
    recorded.wait_until(lambda: why(recorded, 0, expect=0)["missing_validators"] == gone[1:], "one to be missing")
    issuer.issue(recorded.client(0))
    recorded.stop(2)
    recorded.wait_until(
        lambda: set(recorded.client(0).call("node_whyStalled")["missing_validators"]) == set(gone), "two to be missing"
    )
    found = why(recorded, 0, expect=1)
    assert found["stalled"]
    reasons = {one["institution"]: one["reason"] for one in found["missing"]}
    assert reasons == dict.fromkeys(gone, "unreachable")
    for one in found["missing"]:
        address = next(node for node in recorded.nodes if node.institution == one["institution"]).ports.p2p
        assert f"{one['institution']} (127.0.0.1:{address}) cannot be reached" in one["text"]["en"]
    text = pila("why-stalled", "--rpc", recorded.nodes[0].rpc, expect=1, as_json=False).out
    assert all(f"  {name} (127.0.0.1:" in text for name in gone)


def test_a_slow_height_is_told_in_one_line(recorded: LocalNetwork, issuer: Issuer) -> None:
    """Something waits without a quorum until views change; when the others are back one line says who was silent."""
    client = recorded.client(0)
    tx_id = client.submit(issuer.batch(client))
    recorded.wait_until(lambda: len(lines(recorded, 0, "view change")) >= 1, "a view change", harness.PATIENCE_S)
    time.sleep(1)
    recorded.start(2, 3)
    client.wait(tx_id)
    slow = lines(recorded, 0, "slow height")[-1]
    assert slow["seconds"] > 0
    assert slow["quorum"] == 3
    assert [found["view"] for found in slow["views"]] == sorted(found["view"] for found in slow["views"])
    decided = next(found for found in slow["views"] if found["view"] == slow["view"])
    assert len(decided["committed"]) >= 3
    changed = lines(recorded, 0, "view change")[-1]
    assert {"height", "view", "proposer", "prepared", "committed", "silent"} <= set(changed)
    recorded.wait_ready(timeout_s=harness.PATIENCE_S)
    harness.wait_level(recorded)


def test_what_was_recorded_replays_to_the_same_effects(recorded: LocalNetwork, tmp_path: Path) -> None:
    """Each validator's files, also those of a node that was started again, and one whose last record is torn."""
    recorded.stop()
    for index in range(4):
        folder = recorded.nodes[index].home / "data" / "recording"
        found = pila("replay", folder, "--summary").json
        assert found["as_recorded"]
        assert len(found["files"]) == (2 if index in (2, 3) else 1)
        assert all(one["differing"] == 0 for one in found["files"])
        assert found["files"][0]["inputs"] > 100
    torn = tmp_path / "torn.rec"
    whole = next(iter((recorded.nodes[0].home / "data" / "recording").iterdir())).read_bytes()
    torn.write_bytes(whole[:-3])
    (found,) = pila("replay", torn, "--summary").json["files"]
    assert found["as_recorded"]
    assert found["ending"].startswith("The last record is torn: it begins at byte ")
    steps = pila("replay", torn, "--height", 3).json["files"][0]["steps"]
    assert steps[0]["input"]["type"] == "HeightStarted"
    assert all(step["as_recorded"] for step in steps)
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    torn.write_bytes(damaged)
    (found,) = pila("replay", torn, "--summary", expect=1).json["files"]
    assert "damaged" in found["ending"]


def test_the_stores_are_whole_and_a_flipped_bit_is_found(recorded: LocalNetwork, tmp_path: Path) -> None:
    """`check-db` of all four, one of them with everything executed again; then of a copy with one bit turned."""
    for index in range(4):
        recorded.stop(index)
        found = pila("check-db", "--home", recorded.nodes[index].home, *(["--full"] if index == 0 else [])).json
        assert found["ok"]
        assert found["executed"] == (found["head"] if index == 0 else 0)
        assert found["certificates"] == found["head"] > 8
    home = Path(shutil.copytree(recorded.nodes[0].home, tmp_path / "home"))
    file = max((home / "data" / "chain").glob("*.l*[gb]"), key=lambda path: path.stat().st_size)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 3] ^= 4
    file.write_bytes(damaged)
    sentence = refused("check-db", "--home", home, code=1)
    assert "docs/operators.md" in sentence
    assert str(home) in sentence


def test_a_running_node_is_not_looked_through(recorded: LocalNetwork) -> None:
    """Its stores belong to it."""
    recorded.start(0)
    recorded.wait_until(lambda: recorded.height(0) > 0, "the node to answer", harness.PATIENCE_S)
    sentence = refused("check-db", "--home", recorded.nodes[0].home)
    assert sentence == f"a node runs on {recorded.nodes[0].home} already; stop it first, or give another --home"
