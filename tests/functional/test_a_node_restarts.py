"""The third straight walk (ARCHITECTURE.md): nodes are killed with -9 in the middle of load, and restarted.

Checked from the outside: nothing that a client was told to be in a block is lost, every node has the same
hash at every height, and no validator was ever heard saying two different things at one place – by the
votes that all nodes logged as received before and after each crash, and by their own count.
"""

import json
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional import harness
from tests.functional.harness import Issuer, Load
from tools.local_network import LocalNetwork


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four validators that this module kills as it likes; each logs the votes that it receives."""
    made = harness.make_network(tmp_path_factory.mktemp("restarts") / "network", verbose=True)
    with harness.watched(made):
        made.start()
        made.wait_ready(timeout_s=harness.PATIENCE_S)
        yield made


@pytest.fixture(scope="module")
def issuer(victims: LocalNetwork) -> Issuer:
    """Who makes the load."""
    return harness.publish(victims, "leon.uia.mx", "carga")


def assert_whole(network: LocalNetwork, acknowledged: list[str]) -> None:
    """All nodes have one chain with everything acknowledged in it, and nobody contradicted themselves."""
    harness.wait_level(network)
    harness.assert_same_chain(network)
    for index in range(len(network.nodes)):
        harness.assert_committed(network.client(index), acknowledged)
    harness.assert_no_double_votes(network)


def test_a_node_restarts(victims: LocalNetwork, issuer: Issuer) -> None:
    """A node that is stopped in order ends with 0, starts at the very head it had, and takes part again."""
    issuer.issue(victims.client())
    harness.wait_level(victims)
    before = victims.client(2).call("node_status")
    assert victims.stop(2) == {2: 0}
    victims.start(2)
    victims.wait_ready(2, timeout_s=harness.PATIENCE_S)
    after = victims.client(2).call("node_status")
    assert (after["height"], after["block_hash"]) == (before["height"], before["block_hash"])

    victims.stop(3)  # from here on three validators are exactly the quorum: nothing is decided without node 2
    acknowledged = [issuer.issue(victims.client()) for _ in range(3)]
    victims.start(3)
    victims.wait_ready(timeout_s=harness.PATIENCE_S)
    assert_whole(victims, acknowledged)


def test_one_node_after_the_other_is_killed_under_load(
    victims: LocalNetwork, issuer: Issuer, rng: random.Random
) -> None:
    """Eight times kill -9 at a moment of chance, the nodes in turn: the others go on, the victim comes back."""
    with Load(victims, issuer, 0, 1, 2, 3) as load:
        load.wait_acknowledged(5)
        for turn in range(8):
            time.sleep(rng.uniform(0.0, 0.4))
            victims.kill(turn % 4)
            load.wait_acknowledged(3)  # three validators go on
            victims.start(turn % 4)
            victims.wait_ready(turn % 4, timeout_s=harness.PATIENCE_S)
        load.wait_acknowledged(5)
    assert_whole(victims, load.acknowledged)


def test_two_nodes_killed_at_once_stop_the_network_until_one_is_back(
    victims: LocalNetwork, issuer: Issuer, rng: random.Random
) -> None:
    """Without a quorum nothing is decided; with the third validator back it goes on, and with it what was pending."""
    with Load(victims, issuer, 0, 1) as load:
        load.wait_acknowledged(5)
        time.sleep(rng.uniform(0.0, 0.3))
        victims.kill(2)
        victims.kill(3)
        pending = victims.client(0).submit(issuer.batch(victims.client(0)))
        height = harness.settled_height(victims, 0, 1)
        assert victims.client(0).call("tx_get", tx_id=pending)["status"] == "pending"
        victims.start(3)
        load.wait_acknowledged(5)
        assert victims.client(0).wait(pending)["height"] > height
        victims.start(2)
        victims.wait_ready(timeout_s=harness.PATIENCE_S)
    assert_whole(victims, [*load.acknowledged, pending])


def test_all_nodes_killed_at_once_lose_nothing(victims: LocalNetwork, issuer: Issuer, rng: random.Random) -> None:
    """Power fails everywhere, twice: what was acknowledged is there afterwards, and the network goes on by itself."""
    acknowledged: list[str] = []
    for _ in range(2):
        with Load(victims, issuer, 0, 1, 2, 3) as load:
            load.wait_acknowledged(10)
            time.sleep(rng.uniform(0.0, 0.3))
            for index in range(4):
                victims.kill(index)
        acknowledged += load.acknowledged
        victims.start()
        victims.wait_ready(timeout_s=harness.PATIENCE_S)
        acknowledged.append(issuer.issue(victims.client(3)))
    assert_whole(victims, acknowledged)


def test_the_vote_reader_finds_a_planted_contradiction(tmp_path: Path, victims: LocalNetwork, issuer: Issuer) -> None:
    """The check of the check: all validators' votes are in the logs, and one planted second vote is found."""
    for index in range(4):
        issuer.issue(victims.client(index))
    logs = [node.home / "node.log" for node in victims.nodes]
    seen = harness.votes_in(logs)
    assert {place.kind for place in seen} >= {"Proposal", "Prepare", "Commit"}
    assert {place.validator for place in seen} == {0, 1, 2, 3}
    lines = logs[0].read_text(encoding="utf-8").splitlines()
    steps = (line for line in lines if '"event":"step"' in line)
    vote = next(line for line in steps if re.match("MessageReceived.*message=Commit", json.loads(line)["input"]))
    planted = tmp_path / "planted.log"
    planted.write_text(
        re.sub(r"block_hash=b.*?, validator=", "block_hash=b'another', validator=", vote, count=1), "utf-8"
    )
    contradicted = [place.kind for place, said in harness.votes_in([*logs, planted]).items() if len(said) > 1]
    assert contradicted == ["Commit"]
