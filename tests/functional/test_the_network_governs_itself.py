"""Validators join, leave and change their keys, and the protocol is upgraded, while real nodes run and are used.

The commands are those of docs/operators.md, "Joining, leaving, rotating, upgrading".
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.chain.records.institution import Purpose
from node.chain.rules.keys import KeyAdd, NewKey
from node.crypto.signing import Algorithm
from node.keystore import InstitutionSigner, Keystore, public_keys, read_keystore_file
from tests.functional import harness
from tests.functional.harness import Load, pila
from tools.local_network import LocalNetwork, free_base_port
from tools.testnet import PORTS_PER_NODE, ports_of

SEG, SDES, ANAHUAC, BAJIO = "seg.guanajuato.gob.mx", "sdes.guanajuato.gob.mx", "anahuac.mx", "bajio.delasalle.edu.mx"
"""The first four in the order of the file: two authorities and two issuers."""
JOINER = "ugto.mx"
NEWCOMER = "nueva.example"


class Town:
    """A network whose institutions act by the command line."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.keys = network.testnet.output / "keys"

    def act(self, index: int, institution: str, *words: object, expect: int = 0) -> Any:  # noqa: ANN401 – the command's own
        """Run a command that signs for an institution, through a node; return what it printed."""
        signing = ("--keystore", self.keys / f"{institution}.json", "--rpc", self.network.nodes[index].rpc)
        return pila(*words, *signing, expect=expect).json

    def approve(self, voters: Sequence[tuple[int, str]], *words: object) -> dict[str, Any]:
        """Propose as the first and vote as the others; return the proposal."""
        (index, institution), *others = voters
        number = self.act(index, institution, "governance", "propose", *words)["proposal"]["number"]
        for index, institution in others:
            found = self.act(index, institution, "governance", "vote", number)["proposal"]
        assert found["approved_height"], found
        return dict(found)

    def members(self, index: int = 0) -> list[str]:
        """Who votes on the next height, as a node sees it."""
        found = self.network.client(index).call("chain_validators")["validators"]
        return [item["institution"] for item in found]

    def wait_members(self, members: Sequence[str], *indexes: int) -> None:
        """Wait until nodes see these validators."""
        for index in indexes:
            self.network.wait_until(
                lambda index=index: self.members(index) == sorted(members),  # type: ignore[misc]  # a default that binds
                f"node {index} to see {', '.join(sorted(members))}",
                harness.PATIENCE_S,
                index,
            )


def with_follower(network: LocalNetwork, home: Path, institution: str) -> LocalNetwork:
    """Make a home for one more institution by `pila init` and put its node key onto the chain."""
    index = len(network.nodes)
    base = network.nodes[0].ports.rpc
    ports = ports_of(free_base_port(1, first=base + PORTS_PER_NODE * index), 0)
    peers = [word for node in network.nodes for word in ("--peer", f"{node.institution}=127.0.0.1:{node.ports.p2p}")]
    made = pila(
        "init", "--home", home, "--genesis", network.testnet.output / "genesis.json", "--institution", institution,
        "--listen-rpc", f"127.0.0.1:{ports.rpc}", "--listen-p2p", f"127.0.0.1:{ports.p2p}",
        "--listen-metrics", f"127.0.0.1:{ports.metrics}", *peers,
    )  # fmt: skip
    (node_key,) = Keystore.open(home / "keys" / "node.json").signers(Purpose.NODE)
    assert node_key.public_key.hex() == made.json["node_public_key"]
    recovery = Keystore.open(network.testnet.keystore(institution, ".recovery"))
    network.client().transact(
        signer=institution,
        kind="key.add",
        payload=KeyAdd(institution, NewKey(int(Algorithm.ED25519), node_key.public_key, Purpose.NODE)),
        signers=[InstitutionSigner(institution, key) for key in (recovery.signers(Purpose.RECOVERY)[0], node_key)],
    )
    node = replace(network.nodes[0], home=home, institution=institution, ports=ports)
    network.testnet = replace(network.testnet, nodes=(*network.nodes, node))
    return network


@pytest.mark.timeout(600)
def test_a_validator_joins_one_leaves_and_one_changes_its_key(tmp_path: Path) -> None:
    """Under load: a fifth node joins and its vote is needed, one leaves and falls silent, one swaps its key."""
    network = harness.make_network(tmp_path / "network", verbose=True)
    with harness.watched(network):
        network.start()
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        town = Town(network)
        issuer = harness.publish(network, ANAHUAC, "consejo")
        joiner = tmp_path / "joiner"
        with_follower(network, joiner, JOINER)
        harness.log_votes(joiner)
        network.start(4)
        network.wait_ready(4, timeout_s=harness.PATIENCE_S)
        assert not network.client(4).call("node_status")["validator"]

        with Load(network, issuer, 0, 1) as load:
            load.wait_acknowledged(3)

            # It joins.
            (key,) = pila("validator", "key", "--home", joiner, "--rpc", network.nodes[4].rpc).json["keys"]
            assert not key["votes"]
            voters = ((0, SEG), (1, SDES), (2, ANAHUAC))
            join = town.approve(voters, "add-validator", JOINER, "--key", key["public_key"])
            activated = town.act(4, JOINER, "validator", "activate", join["number"], "--home", joiner)
            assert activated["proposal"]["activated"]["actor"] == JOINER
            five = [SEG, SDES, ANAHUAC, BAJIO, JOINER]
            town.wait_members(five, 0, 1, 2, 3, 4)
            network.wait_ready(4, timeout_s=harness.PATIENCE_S)
            assert network.client(4).call("node_status")["validator"]
            assert pila("validator", "key", "--home", joiner, "--rpc", network.nodes[4].rpc).json["keys"][0]["votes"]

            # Its vote is needed: with one of five gone, four are a quorum only with it.
            network.stop(3)
            load.wait_acknowledged(3)
            network.start(3)
            network.wait_ready(3, timeout_s=harness.PATIENCE_S)

            # One leaves by itself.
            left = town.act(0, BAJIO, "governance", "propose", "leave", "--home", network.nodes[3].home)
            assert left["proposal"]["approved_height"] == left["height"]
            town.wait_members([SEG, SDES, ANAHUAC, JOINER], 0, 1, 2, 3, 4)
            assert not network.client(3).call("node_status")["validator"]
            effective = network.client().call("governance_get", number=left["proposal"]["number"])["effective_height"]

            # One changes its key.
            home = network.nodes[1].home
            staged = pila("key", "stage", "--home", home).json["public_key"]
            network.stop(1)
            network.start(1)
            network.wait_ready(1, timeout_s=harness.PATIENCE_S)
            town.act(0, SDES, "governance", "propose", "rotate-key", "--home", home)

            def votes_with_the_new_key() -> bool:
                members = network.client(2).call("chain_validators")["validators"]
                return {item["institution"]: item["public_key"] for item in members}[SDES] == str(staged)

            network.wait_until(votes_with_the_new_key, "the new key to vote", harness.PATIENCE_S)
            network.stop(2)
            load.wait_acknowledged(3)  # three of four are left: the new key's vote and the joiner's are among them
            network.start(2)
            network.wait_ready(2, timeout_s=harness.PATIENCE_S)

            def holds_one_key() -> bool:
                return len(public_keys(read_keystore_file(home / "keys" / "node.json"), Purpose.CONSENSUS)) == 1

            network.wait_until(holds_one_key, "the old key to be wiped", harness.PATIENCE_S)

        height = harness.wait_level(network)
        assert harness.assert_same_chain(network) >= height
        for index in range(5):
            harness.assert_committed(network.client(index), load.acknowledged)
        states = pila("governance", "list", "--rpc", network.nodes[0].rpc).json["items"]
        assert [(item["action"]["kind"], item["state"]) for item in states] == [
            ("add_validator", "effective"),
            ("leave", "effective"),
            ("rotate_key", "effective"),
        ]
        # Who left signs nothing at the height from which it was not counted.
        for number in range(effective, height):
            signers = network.client().call("chain_certificate", height=number)["signatures"]
            assert BAJIO not in [item["institution"] for item in signers]
        harness.assert_no_double_votes(network)
        assert network.stop() == dict.fromkeys(range(5), 0)


def hold_back(home: Path, version: int) -> None:
    """Let a node be a program that knows protocol versions up to this one; 0: as new as it is."""
    path = home / "config.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = [
        f"protocol_version_max = {version}" if line.startswith("protocol_version_max =") else line for line in lines
    ]
    assert changed != lines
    path.write_text("\n".join(changed) + "\n", encoding="utf-8")


def application(tmp_path: Path, name: str) -> tuple[object, ...]:
    """Make keystores for an application and return the command that sends it."""
    own, recovery = tmp_path / f"{name}.json", tmp_path / f"{name}.recovery.json"
    for kind, path in (("institution", own), ("recovery", recovery)):
        pila("key", "new", "--institution", NEWCOMER, "--kind", kind, "--output", path, "--no-passphrase")
    return ("institution", "apply", "--keystore", own, "--recovery", recovery, "--name", "Nueva")


@pytest.mark.timeout(600)
def test_the_protocol_is_upgraded_under_load(tmp_path: Path) -> None:
    """Nodes are replaced one by one; at the height the new rule holds, and the node left behind says why it stops."""
    network = LocalNetwork.make(tmp_path / "network", protocol_version=1)
    for node in network.nodes:
        hold_back(node.home, 1)
    with harness.watched(network):
        network.start()
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        town = Town(network)
        issuer = harness.publish(network, ANAHUAC, "mejora")
        forwarded = ("--forwarder", town.keys / f"{SEG}.json", "--rpc", network.nodes[0].rpc)
        pila(*application(tmp_path, "first"), *forwarded)
        town.act(0, SEG, "institution", "withdraw", NEWCOMER, "--reason", "impostor")
        again = application(tmp_path, "second")
        assert "is on the chain" in harness.refused(*again, *forwarded, code=1)

        with Load(network, issuer, 0, 1) as load:
            for index in (0, 1, 2):
                network.stop(index)
                hold_back(network.nodes[index].home, 0)
                network.start(index)
                network.wait_ready(index, timeout_s=harness.PATIENCE_S)
            load.wait_acknowledged(3)
        status = [network.client(index).call("node_status") for index in range(4)]
        assert [item["protocol_version"] for item in status] == [1, 1, 1, 1]
        assert [item["protocol_version_max"] for item in status] == [2, 2, 2, 1]

        begins = harness.wait_level(network) + 250
        voters = ((0, SEG), (1, SDES), (2, ANAHUAC))
        number = town.approve(voters, "upgrade", "--version", 2, "--height", begins)["number"]
        for index, institution in voters:
            town.act(index, institution, "governance", "ready", number)
        behind = ("--keystore", town.keys / f"{BAJIO}.json", "--rpc", network.nodes[3].rpc)
        assert "knows protocol versions up to 1, not 2" in harness.refused("governance", "ready", number, *behind)

        with Load(network, issuer, 0, 1) as load:
            assert network.wait_exit(3, harness.PATIENCE_S) == 2
            network.wait_height(begins + 5, 0, 1, 2, timeout_s=harness.PATIENCE_S)
        sentence = (
            f"height {begins} is judged by version 2 of the protocol, this node knows versions up to 1: "
            "install a newer program and start again; nothing is lost"
        )
        assert network.log_tail(3, 1) == sentence
        assert "an upgrade is coming that this node does not know" in network.log_tail(3, 4_000)
        network.start(3)
        assert network.wait_exit(3, harness.PATIENCE_S) == 2
        assert network.log_tail(3, 1) == sentence

        headers = [network.client().call("chain_header", height=number) for number in (begins - 1, begins)]
        assert [item["version"] for item in headers] == [1, 2]
        pila(*again, *forwarded)
        assert network.client().call("institution_get", id=NEWCOMER)["standing"] == "applied"

        # Parameters from a height on, and other governance keys, are voted on in the same way.
        at = network.height() + 8
        town.approve(voters, "set-parameters", "--height", at, "--pending-applications-max", 33)
        town.approve(voters, "set-governance-keys", "--drop", BAJIO)
        while network.height() < at:
            issuer.issue(network.client())
        assert network.client().call("chain_params")["pending_applications_max"] == 33
        shown = pila("governance", "show", number, "--rpc", network.nodes[0].rpc, as_json=False).out
        assert f"Proposal {number} by {SEG}: protocol version 2 from height {begins} on" in shown
        assert f"applies    from height {begins}" in shown

        hold_back(network.nodes[3].home, 0)
        network.start(3)
        network.wait_ready(3, timeout_s=harness.PATIENCE_S)
        height = harness.wait_level(network)
        assert harness.assert_same_chain(network) >= height
        harness.assert_committed(network.client(3), load.acknowledged)
        network.stop(0)  # three of four are left: without the one that was behind there is no quorum
        issuer.issue(network.client(1))
