"""A validator's keys say two things to real nodes: proven once, on every node, and the network goes on."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from node.chain.certificate import Network as ChainNetwork
from node.chain.statements import Prepare
from node.channels import Channel
from node.config import load_config, split_address
from node.consensus.messages import UNSIGNED, signing_digest, with_signature
from node.home import read_home
from node.p2p.network import Network
from node.p2p.peer_book import PeerAddress, PeerBook
from node.wire import encode_message
from tests.functional import harness
from tests.functional.harness import metric, pila
from tools.local_network import LocalNetwork, running

LIAR = 3
HONEST = (0, 1, 2)
VIEW = 7
"""In which nobody else votes."""


class Impostor:
    """Speaks for the liar with its node key and its consensus key."""

    def __init__(self, network: LocalNetwork) -> None:
        home = network.nodes[LIAR].home
        found = read_home(home, load_config(home), None)
        self._key = found.keystore.ed25519("consensus")
        genesis_hash = bytes.fromhex(network.client().call("node_status")["genesis_hash"])
        self._chain = ChainNetwork(found.genesis.chain_id, genesis_hash)
        members = network.client().call("chain_validators")["validators"]
        self._index = [member["institution"] for member in members].index(network.nodes[LIAR].institution)
        listening = [load_config(network.nodes[i].home).p2p.listen for i in HONEST]
        names = [network.nodes[i].institution for i in HONEST]
        addresses = [PeerAddress(*split_address(at or ""), name) for at, name in zip(listening, names, strict=True)]
        keys = {
            bytes.fromhex(network.client(i).call("node_status")["node_id"]): network.nodes[i].institution
            for i in HONEST
        }
        self._network = Network(
            identity=found.keystore.ed25519("node"),
            chain_id=self._chain.chain_id,
            genesis_hash=genesis_hash,
            listen=None,
            book=PeerBook(addresses),
            authorise=keys.get,
            on_message=lambda *_: None,
            on_connect=lambda _: None,
            on_disconnect=lambda _: None,
        )

    def vote(self, height: int, block_hash: bytes) -> bytes:
        """A genuine Prepare for any block."""
        prepare = Prepare(0, height, VIEW, block_hash, self._index, UNSIGNED)
        signed = with_signature(prepare, self._key.sign(signing_digest(self._chain, prepare)))
        return encode_message(signed)

    async def lie(self, network: LocalNetwork, seconds: float) -> None:
        """Say two things about the height that is being decided, once everybody listens."""
        async with asyncio.timeout(seconds):
            task = asyncio.create_task(self._network.run())
            while len(self._network.peers()) < len(HONEST):
                await asyncio.sleep(0.05)
            while not network.client().call("node_equivocations")["items"]:
                height = network.height() + 1
                for block_hash in (b"x" * 32, b"y" * 32):
                    self._network.broadcast(Channel.CONSENSUS, self.vote(height, block_hash))
                await asyncio.sleep(1)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.mark.timeout(240)
def test_a_validator_that_says_two_things_is_on_record_and_the_network_goes_on(tmp_path: Path) -> None:
    """Its process is dead, its keys vote twice: one block holds the proof; it comes back and validates as before."""
    with running(tmp_path / "network", validators=4) as network:
        network.kill(LIAR)
        asyncio.run(Impostor(network).lie(network, harness.PATIENCE_S))
        name = network.nodes[LIAR].institution
        (item,) = network.client().call("node_equivocations")["items"]
        assert (item["institution"], item["view"], item["kind"]) == (name, VIEW, "prepare")
        network.wait_height(item["recorded_at"], *HONEST)
        for index in HONEST:
            assert network.client(index).call("node_equivocations")["items"] == [item]
            assert metric(network, index, "pila_equivocations_recorded") == 1
        assert any('"equivocation recorded"' in network.log_tail(index, 200) for index in HONEST)
        validators = pila("validators", "--rpc", network.nodes[0].rpc).json
        assert validators["equivocations"] == pila("status", "--rpc", network.nodes[0].rpc).json["equivocations"]
        assert validators["equivocations"] == {name: 1}
        assert name in [member["institution"] for member in validators["validators"]]
        network.start(LIAR)
        network.wait_ready()
        harness.publish(network, "enes.unam.mx", "verdad").issue(network.client(LIAR))
        assert network.client(LIAR).call("node_equivocations")["items"] == [item]
