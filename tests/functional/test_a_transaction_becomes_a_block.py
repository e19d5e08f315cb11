"""The first straight walk (ARCHITECTURE.md): bytes over HTTP → rules → mempool → block → votes → disk, on real nodes.

A transaction goes in at one node and is asked for at all others; what they answer is checked with our own
code: header hash, certificate, transaction in the block.
"""

import random
import threading

import pytest

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate, Phase
from node.chain.validator_set import ValidatorSet
from tests.functional import harness
from tests.functional.harness import Issuer
from tools.local_network import LocalNetwork
from tools.node_client import CallFailed


@pytest.fixture(scope="module")
def issuer(network: LocalNetwork) -> Issuer:
    """A university with a definition."""
    return harness.publish(network, "udec.edu.mx", "bloque")


def test_a_transaction_becomes_a_block(network: LocalNetwork, issuer: Issuer) -> None:
    """Submitted at node 1, it is at one place of one block at every node, under a quorum's certificate."""
    client = network.client(1)
    tx_id = client.submit(issuer.batch(client, 3))
    found = client.wait(tx_id)
    height = found["height"]
    network.wait_height(height, timeout_s=harness.PATIENCE_S)
    clients = [network.client(i) for i in range(4)]

    assert [other.call("tx_get", tx_id=tx_id) for other in clients] == [found] * 4
    assert found["result"]["kind"] == "credential.issue"
    assert [(event["action"], event["count"]) for event in found["result"]["events"]] == [("issue", 3)]

    block = client.call("chain_block", height=height)
    assert block["transactions"][found["index"]] == {
        "tx_id": tx_id,
        "kind": "credential.issue",
        "signer": "udec.edu.mx",
    }
    header = codec.decode(bytes.fromhex(block["raw"]), Header, bytes_max=4_096)
    assert header.hash().hex() == block["hash"]
    parent = client.call("chain_header", height=height - 1)
    assert header.parent_hash.hex() == parent["hash"]
    assert header.state_root.hex() != parent["state_root"]

    members = client.call("chain_validators", height=height)
    validators = codec.decode(bytes.fromhex(members["raw"]), ValidatorSet, bytes_max=65_536)
    assert validators.hash == header.validators_hash
    for other in clients:
        answer = other.call("chain_certificate", height=height)
        certificate = codec.decode(bytes.fromhex(answer["raw"]), Certificate, bytes_max=65_536)
        chain, _, _ = other.network()
        certificate.check(chain, validators)
        assert (certificate.phase, certificate.block_hash) == (Phase.COMMIT, header.hash())


def test_one_transaction_sent_to_all_nodes_at_once_is_in_one_block(network: LocalNetwork, issuer: Issuer) -> None:
    """Submitting is idempotent: the same id everywhere, and no second place on the chain."""
    data = issuer.batch(network.client())
    before = network.height()
    ids: list[str] = []

    def send(index: int) -> None:
        ids.extend([network.client(index).submit(data), network.client(index).submit(data)])

    threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1
    network.client().wait(ids[0])
    assert network.client(2).submit(data) == ids[0]
    issuer.issue(network.client())  # one block more: a second inclusion would have had its chance

    blocks = [network.client().call("chain_block", height=h) for h in range(before + 1, network.height() + 1)]
    places = [item["tx_id"] for block in blocks for item in block["transactions"]].count(ids[0])
    assert places == 1


def test_all_nodes_put_many_transactions_in_one_order(network: LocalNetwork, issuer: Issuer) -> None:
    """Forty transactions through four nodes at once: none lost, the same chain everywhere."""
    before = network.height()
    data = [issuer.batch(network.client()) for _ in range(40)]
    ids: list[str] = []

    def send(index: int) -> None:
        ids.extend(network.client(index).submit(item) for item in data[index::4])

    threads = [threading.Thread(target=send, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tx_id in ids:
        network.client(3).wait(tx_id)
    height = harness.wait_level(network)
    assert harness.assert_same_chain(network) >= height
    included = []
    for number in range(before + 1, height + 1):
        included += [item["tx_id"] for item in network.client(1).call("chain_block", height=number)["transactions"]]
    assert sorted(included) == sorted(ids)


def test_a_changed_transaction_is_refused_with_its_reason(
    network: LocalNetwork, issuer: Issuer, rng: random.Random
) -> None:
    """A bit flipped anywhere: refused by the closed list's reasons, never taken, and the height stays."""
    client = network.client()
    data = issuer.batch(client)
    before = network.height()
    for _ in range(40):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with pytest.raises(CallFailed) as refusal:
            client.submit(bytes(changed))
        assert refusal.value.code == -32000
        assert refusal.value.reason
    assert network.height() == before
