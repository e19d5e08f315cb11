"""Two of four validators are lost for good: the network stalls, people decide, and it goes on in the next epoch.

The commands are those of docs/operators.md, “When a quorum is lost for good”.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.chain.hops import RecoveryHop
from node.documents.bundle import read_bundle
from node.keystore import Keystore
from tests.functional import harness
from tests.functional.harness import pila, refused
from tools.local_network import LocalNetwork, free_base_port
from tools.testnet import HOST, Ports, ports_of, validator_order

ISSUER = "enes.unam.mx"
LEARNERS = "nombre,apellidos,matricula\nAna,Ñandú,A-1\nLuis,Peña,A-2\n"
REASON = "Two machines burnt, their keys with them"


def make(folder: Path, *, spare: int = 0) -> LocalNetwork:
    """Return four validators with free ports behind theirs for others."""
    return LocalNetwork.make(folder, base_port=free_base_port(4 + spare))


def issue(network: LocalNetwork, folder: Path) -> list[Path]:
    """Issue two credentials and return their bundles."""
    issuer = harness.publish(network, ISSUER, "antes")
    learners = folder / "alumnos.csv"
    learners.write_text(LEARNERS, encoding="utf-8")
    pila(
        "issue", "--definition", issuer.definition, "--learners", learners, "--out", folder / "bundles",
        "--keystore", network.testnet.keystore(ISSUER), "--rpc", network.nodes[0].rpc,
    )  # fmt: skip
    return sorted((folder / "bundles").glob("*.pila.json"))


def submit_a_batch(network: LocalNetwork) -> None:
    """Have something wait for a decision."""
    issuer = harness.Issuer(Keystore.open(network.testnet.keystore(ISSUER)), f"{ISSUER}/antes/1")
    network.client(0).submit(issuer.batch(network.client(0)))


class NewMachine:
    """A validator's node on a machine that was set up for it, with keys of its own."""

    def __init__(self, network: LocalNetwork, institution: str, home: Path, ports: Ports) -> None:
        self.institution, self.home, self.ports = institution, home, ports
        peers = [f"--peer={node.institution}={HOST}:{node.ports.p2p}" for node in network.nodes]
        made = pila(
            "init", "--home", home, "--genesis", network.testnet.output / "genesis.json", "--institution", institution,
            "--listen-rpc", f"{HOST}:{ports.rpc}", "--listen-p2p", f"{HOST}:{ports.p2p}",
            "--listen-metrics", f"{HOST}:{ports.metrics}", *peers,
        ).json  # fmt: skip
        self.node_key = made["node_public_key"]
        shown = pila("key", "show", home / "keys" / "node.json").json["keys"]
        self.consensus_key = next(key["public_key"] for key in shown if key["purpose"] == "consensus")

    def be_known_to(self, home: Path) -> None:
        """Put this machine's address and node key into another node's configuration."""
        config = home / "config.toml"
        known = config.read_text(encoding="utf-8")
        config.write_text(
            f'{known}\n[[p2p.peers]]\ninstitution = "{self.institution}"\naddress = "{HOST}:{self.ports.p2p}"\n'
            f'\n[[p2p.readers]]\nname = "{self.institution}"\npublic_key = "{self.node_key}"\n',
            encoding="utf-8",
        )


def sign(network: LocalNetwork, file: Path, count: int) -> None:
    """Let so many institutions sign a document with their governance keys."""
    keystores = sorted((network.testnet.output / "keys").glob("*.governance.json"))
    for keystore in keystores[:count]:
        pila("recovery", "sign", file, "--governance", keystore)


def explanation(network: LocalNetwork, index: int) -> str:
    """Return why a node says that nothing is decided."""
    return str(network.client(index).call("node_whyStalled")["explanation"]["en"])


def verify_offline(bundle: Path, network: LocalNetwork) -> dict[str, Any]:
    """Verify a bundle without a network; return its `network` light."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("offline.py")), "verify", str(bundle),
         "--genesis", str(network.testnet.output / "genesis.json"), "--json"],
        capture_output=True, text=True, check=False, cwd=harness.REPOSITORY, timeout=harness.COMMAND_TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    checks: list[dict[str, Any]] = json.loads(done.stdout)["checks"]
    return next(light for light in checks if light["name"] == "network")


@pytest.mark.timeout(480)
def test_a_quorum_is_lost(tmp_path: Path) -> None:
    """Stalled and said why; proposed, signed, applied; on in epoch 1; old bundles, new bundles, an old validator."""
    network = make(tmp_path / "T", spare=2)
    with harness.watched(network):
        network.start()
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        before = issue(network, tmp_path)
        harness.wait_level(network)
        institutions = [node.institution for node in network.nodes]

        # Two validators are gone for good: nothing is decided any more, and it is said who is missing.
        network.kill(2)
        network.kill(3)
        submit_a_batch(network)
        network.wait_until(
            lambda: bool(network.client(0).call("node_whyStalled")["stalled"]), "the stall", harness.PATIENCE_S
        )
        why = pila("why-stalled", "--rpc", network.nodes[0].rpc, expect=1).json
        assert sorted(why["missing_validators"]) == sorted(institutions[2:])

        # Two other institutions set machines up; people write down who votes from now on.
        order = [
            name
            for name in validator_order([item.description for item in network.testnet.document.institutions])
            if name not in institutions
        ]
        base = network.nodes[0].ports.rpc
        machines = [
            NewMachine(network, name, tmp_path / name, ports_of(base, 4 + index))
            for index, name in enumerate(order[:2])
        ]
        height = harness.settled_height(network, 0, 1)
        asked = pila(
            "recovery", "propose", "--rpc", network.nodes[0].rpc, "--reason", REASON, "--out", tmp_path / "asked.json",
            "--validators", ",".join(institutions),
        ).json  # fmt: skip
        assert (asked["epoch"], asked["height"]) == (1, height)
        network.stop(0, 1)
        homes = [network.nodes[0].home, network.nodes[1].home, *(machine.home for machine in machines)]
        for machine in machines:
            for home in homes:
                if home != machine.home:
                    machine.be_known_to(home)

        file = tmp_path / "recovery.json"
        validators = ",".join(
            [*institutions[:2], *(f"{machine.institution}={machine.consensus_key}" for machine in machines)]
        )
        proposed = pila(
            "recovery", "propose", "--home", homes[0], "--validators", validators, "--reason", REASON, "--out", file
        ).json
        assert (proposed["epoch"], proposed["height"]) == (1, height)
        needed = proposed["signatures_needed"]
        sign(network, file, needed - 1)
        sentence = refused("recovery", "apply", file, "--home", homes[0], code=1)
        assert f"{needed - 1} of " in sentence
        assert f"governance keys signed, {needed} are needed" in sentence
        sign(network, file, needed)
        shown = pila("recovery", "show", file, "--home", homes[1]).json
        assert (len(shown["signers"]), shown["block_found"]) == (needed, True)

        # Everybody who is to go on loads the document; new machines keep it until they are there.
        outcomes = [pila("recovery", "apply", file, "--home", home).json["outcome"] for home in homes]
        assert outcomes == ["in_force", "in_force", "kept", "kept"]
        assert pila("recovery", "apply", file, "--home", homes[0]).json["outcome"] == "known"

        network.start(0, 1)
        started = [
            harness.start_pila("start", "--home", machine.home, log=machine.home / "node.log") for machine in machines
        ]
        try:
            network.wait_height(height + 1, 0, 1, timeout_s=harness.PATIENCE_S)
            client = network.client(0)
            status = client.call("node_status")
            assert status["epoch"] == 1
            members = pila("validators", "--rpc", network.nodes[0].rpc).json["validators"]
            assert sorted(member["institution"] for member in members) == sorted(
                [*institutions[:2], *(machine.institution for machine in machines)]
            )
            revoked = pila(
                "revoke", before[0], "--reason", "issued_in_error",
                "--keystore", network.testnet.keystore(ISSUER), "--rpc", network.nodes[0].rpc,
            )  # fmt: skip
            assert revoked.code == 0

            # A bundle from before verifies as it is, and with a fresh proof that leads over the recovery.
            light = verify_offline(before[1], network)
            assert "epoch" not in light["detail"]
            after = tmp_path / "after.pila.json"
            shutil.copy(before[1], after)
            pila("refresh", after, "--rpc", network.nodes[0].rpc)
            chain = read_bundle(after.read_bytes()).chain
            assert [type(hop) for hop in chain.hops] == [RecoveryHop]
            assert chain.header.epoch == 1
            light = verify_offline(after, network)
            for signer in shown["signers"]:
                assert signer in light["text"]["en"]

            # A checkpoint of the recovered chain takes the place of the genesis; a false one makes the bundle red.
            known, at = tmp_path / "checkpoints.json", chain.header.height
            pila("checkpoint", "--height", at, "--out", known, "--rpc", network.nodes[0].rpc)
            trust = ("--genesis", network.testnet.output / "genesis.json", "--checkpoints", known)
            checks = pila("verify", after, *trust).json["checks"]
            assert f"the checkpoint of block {at}" in checks[-1]["text"]["en"]
            told = json.loads(known.read_text(encoding="utf-8"))
            told["checkpoints"][0]["block_hash"] = "00" * 32
            known.write_text(json.dumps(told), encoding="utf-8")
            checks = pila("verify", after, *trust, expect=1).json["checks"]
            assert checks[-1]["detail"].startswith("contradicts_checkpoint: ")

            # A validator of the old set comes back: it counts for nothing, and can say why.
            network.start(2)
            network.wait_until(
                lambda: "recovery document of epoch 1" in explanation(network, 2),
                "the old validator to say what it lacks",
                harness.PATIENCE_S,
                2,
            )
            assert network.height(2) <= height
            network.wait_until(
                lambda: "wrong_epoch" in (network.nodes[0].home / "node.log").read_text(encoding="utf-8"),
                "node 0 to refuse what the old validator says",
                harness.PATIENCE_S,
            )
            network.stop(2)
            pila("recovery", "apply", file, "--home", network.nodes[2].home)
            network.start(2)
            goal = network.height(0)
            network.wait_height(goal, 2, timeout_s=harness.PATIENCE_S)
            harness.assert_same_chain(network, 0, 1, 2)
            assert network.client(2).call("node_status")["validator"] is False
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)


@pytest.mark.timeout(420)
def test_blocks_above_a_recovery_are_taken_back(tmp_path: Path) -> None:
    """Governance goes back two blocks: each node says what would be lost, takes them back when told, and goes on."""
    network = make(tmp_path / "T")
    with harness.watched(network):
        network.start()
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        issuer = harness.publish(network, ISSUER, "antes")
        kept = issuer.issue(network.client(0))
        harness.wait_level(network)
        height = harness.settled_height(network, 0, 1, 2, 3)
        lost = [issuer.issue(network.client(0)) for _ in range(2)]
        harness.wait_level(network)
        head = harness.settled_height(network, 0, 1, 2, 3)
        network.stop()
        file = tmp_path / "recovery.json"
        homes = [node.home for node in network.nodes]
        institutions = ",".join(node.institution for node in network.nodes)
        proposed = pila(
            "recovery", "propose", "--home", homes[0], "--validators", institutions, "--reason", "drill",
            "--height", height, "--out", file,
        ).json  # fmt: skip
        sign(network, file, proposed["signatures_needed"])
        sentence = refused("recovery", "apply", file, "--home", homes[0], code=1)
        assert f"{head - height} blocks that were decided would be taken back; say --discard-above" in sentence
        for home in homes:
            applied = pila("recovery", "apply", file, "--home", home, "--discard-above").json
            assert (applied["outcome"], applied["discarded_blocks"]) == ("in_force", head - height)
        network.start()
        network.wait_height(height + 1, timeout_s=harness.PATIENCE_S)
        again = [issuer.issue(network.client(0)) for _ in range(3)]
        client = network.client(0)
        harness.assert_committed(client, [kept, *again])
        assert [client.call("tx_get", tx_id=tx_id)["status"] for tx_id in lost] == ["unknown", "unknown"]
        harness.wait_level(network)
        harness.assert_same_chain(network)
        assert {network.client(i).call("node_status")["epoch"] for i in range(4)} == {1}
