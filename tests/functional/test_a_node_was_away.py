"""The fourth straight walk (ARCHITECTURE.md): a node that was away, or is new, catches up by certified blocks.

One validator is stopped while more than twenty blocks are made; a node of an institution that does not
validate is made by `pila init`, brings its node key onto the chain and follows.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from node.chain.records.institution import Purpose
from node.chain.rules.keys import KeyAdd, NewKey
from node.crypto.signing import Algorithm
from node.keystore import InstitutionSigner, Keystore
from tests.functional import harness
from tests.functional.harness import Issuer, pila
from tools.local_network import LocalNetwork, free_base_port

FOLLOWER = "uileon.edu.mx"


@pytest.fixture(scope="module")
def quartet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    """Four validators, stopped and started by this module."""
    made = harness.make_network(tmp_path_factory.mktemp("away") / "network")
    with harness.watched(made):
        made.start()
        made.wait_ready(timeout_s=harness.PATIENCE_S)
        yield made


@pytest.fixture(scope="module")
def issuer(quartet: LocalNetwork) -> Issuer:
    """Who makes blocks."""
    return harness.publish(quartet, "lef.upn.mx", "ausencia")


def test_a_node_was_away(quartet: LocalNetwork, issuer: Issuer) -> None:
    """Stopped while 25 blocks are made: it gets them all, says the same hashes, and its vote counts again."""
    harness.wait_level(quartet)
    left_at = quartet.height(3)
    quartet.stop(3)
    for _ in range(25):
        issuer.issue(quartet.client())
    height = quartet.height()
    assert height >= left_at + 20

    quartet.start(3)
    quartet.wait_height(height, 3, timeout_s=harness.PATIENCE_S)
    quartet.wait_ready(3, timeout_s=harness.PATIENCE_S)
    assert harness.assert_same_chain(quartet) >= height
    assert not quartet.client(3).call("node_status")["syncing"]

    quartet.stop(0)  # three of four are left: without node 3 there is no quorum
    tx_id = issuer.issue(quartet.client(1))
    assert quartet.client(3).wait(tx_id)["status"] == "committed"
    quartet.start(0)
    quartet.wait_ready(timeout_s=harness.PATIENCE_S)
    harness.wait_level(quartet)
    harness.assert_same_chain(quartet)


def test_a_node_that_is_behind_takes_no_transaction_as_known(quartet: LocalNetwork, issuer: Issuer) -> None:
    """What was committed while it was away is committed for it too, not pending and not taken twice."""
    quartet.stop(2)
    data = issuer.batch(quartet.client())
    tx_id = quartet.client().submit(data)
    found = quartet.client().wait(tx_id)
    quartet.start(2)
    quartet.wait_ready(2, timeout_s=harness.PATIENCE_S)
    quartet.wait_height(found["height"], 2, timeout_s=harness.PATIENCE_S)
    assert quartet.client(2).submit(data) == tx_id
    assert quartet.client(2).call("tx_get", tx_id=tx_id) == found


def test_a_node_without_vote_follows(quartet: LocalNetwork, issuer: Issuer, tmp_path: Path) -> None:
    """`pila init` for an institution that does not validate: its node gets every block and passes transactions on."""
    base = free_base_port(1)
    home = tmp_path / "follower"
    peers = [word for node in quartet.nodes for word in ("--peer", f"{node.institution}=127.0.0.1:{node.ports.p2p}")]
    made = pila(
        "init", "--home", home, "--genesis", quartet.testnet.output / "genesis.json", "--institution", FOLLOWER,
        "--listen-rpc", f"127.0.0.1:{base}", "--listen-p2p", f"127.0.0.1:{base + 1}",
        "--listen-metrics", f"127.0.0.1:{base + 2}", *peers,
    )  # fmt: skip
    public_key = bytes.fromhex(made.json["node_public_key"])
    (node_key,) = Keystore.open(home / "keys" / "node.json").signers(Purpose.NODE)
    assert node_key.public_key == public_key
    recovery = Keystore.open(quartet.testnet.keystore(FOLLOWER, ".recovery"))
    quartet.client().transact(
        signer=FOLLOWER,
        kind="key.add",
        payload=KeyAdd(FOLLOWER, NewKey(int(Algorithm.ED25519), public_key, Purpose.NODE)),
        signers=[InstitutionSigner(FOLLOWER, key) for key in (recovery.signers(Purpose.RECOVERY)[0], node_key)],
    )
    follower = harness.network_of(tmp_path, home / "genesis.json", base, {FOLLOWER: home})
    with harness.watched(follower):
        follower.start()
        follower.wait_ready(timeout_s=harness.PATIENCE_S)
        status = follower.client().call("node_status")
        assert (status["institution"], status["validator"]) == (FOLLOWER, False)

        tx_id = issuer.issue(quartet.client())
        assert follower.client().wait(tx_id)["status"] == "committed"
        through_it = issuer.issue(follower.client())
        assert quartet.client(2).call("tx_get", tx_id=through_it)["status"] == "committed"

        height = quartet.height()
        follower.wait_height(height, timeout_s=harness.PATIENCE_S)
        for number in range(height + 1):
            wanted = quartet.client().call("chain_header", height=number)["hash"]
            assert follower.client().call("chain_header", height=number)["hash"] == wanted
        assert follower.stop() == {0: 0}
