"""The second straight walk (ARCHITECTURE.md): a record, its absence and a whole credential proved by a running node.

The proofs are taken over RPC and judged by our own verifier, which knows nothing but the genesis hash:
in this process for single records, in a process without network for bundles.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate
from node.chain.proof_json import from_json as from_chain_json
from node.chain.validator_set import ValidatorSet
from node.documents.bundle import read_bundle
from node.errors import Rejected
from node.state.proof import ExistenceProof, NonExistenceProof, verify_exist, verify_nonexist
from node.state.proof_json import from_json
from tests.functional import harness
from tests.functional.harness import pila
from tools.local_network import LocalNetwork

ISSUER = "tecmilenio.mx"


@pytest.fixture(scope="module")
def bundles(network: LocalNetwork, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three bundles, made by `pila issue`."""
    folder = tmp_path_factory.mktemp("issued")
    learners = folder / "alumnos.csv"
    learners.write_text(
        "nombre,apellidos,matricula\nAna,Ñandú,A-1\nLuis,Peña,A-2\nZoë,Muñoz Ávila,A-3\n", encoding="utf-8"
    )
    issuer = harness.publish(network, ISSUER, "prueba")
    done = pila(
        "issue", "--definition", issuer.definition, "--learners", learners, "--out", folder / "out",
        "--keystore", network.testnet.keystore(ISSUER), "--rpc", network.nodes[0].rpc,
    )  # fmt: skip
    assert done.json["issued"] == 3
    return sorted((folder / "out").glob("*.pila.json"))


def certified_root(network: LocalNetwork, index: int, height: int) -> bytes:
    """Return the state root of a height as a light client finds it: header, certificate, validators, genesis."""
    client = network.client(index)
    chain, _, _ = client.network()
    header = codec.decode(bytes.fromhex(client.call("chain_header", height=height)["raw"]), Header, bytes_max=4_096)
    raw = bytes.fromhex(client.call("chain_validators", height=height)["raw"])
    validators = codec.decode(raw, ValidatorSet, bytes_max=65_536)
    raw = bytes.fromhex(client.call("chain_certificate", height=height)["raw"])
    certificate = codec.decode(raw, Certificate, bytes_max=65_536)
    # The set has not changed since the genesis, which we made ourselves.
    assert validators == network.testnet.document.validator_set()
    assert (validators.hash, certificate.block_hash) == (header.validators_hash, header.hash())
    certificate.check(chain, validators)
    return header.state_root


@pytest.mark.parametrize("index", range(4))
def test_presence_is_proved_by_every_node(network: LocalNetwork, bundles: list[Path], index: int) -> None:
    """A record's proof leads to the certified state root; with another value, key or height it does not."""
    key = f"acc/{ISSUER}"
    answer = network.client(index).call("state_proof", key=key)
    root = certified_root(network, index, answer["height"])
    assert answer["state_root"] == root.hex()
    proof = from_json(answer["proof"])
    assert isinstance(proof, ExistenceProof)
    value = bytes.fromhex(answer["value"])
    verify_exist(root, key, value, proof)

    for bad_root, bad_key, bad_value in (
        (root, key, value + b"\x00"),
        (root, key, value[:-1] + bytes([value[-1] ^ 1])),
        (root, "acc/ugto.mx", value),
        (certified_root(network, index, 1), key, value),
    ):
        with pytest.raises(Rejected) as refusal:
            verify_exist(bad_root, bad_key, bad_value, proof)
        assert refusal.value.reason == "bad_proof"
    by_hex = network.client(index).call("state_proof", key=key.encode().hex(), height=answer["height"])
    assert by_hex == answer


@pytest.mark.parametrize("index", range(4))
def test_absence_is_proved_by_every_node(network: LocalNetwork, bundles: list[Path], index: int) -> None:
    """What is not there is proved to be absent; the same proof says nothing about what is there."""
    key = "acc/nobody.example"
    answer = network.client(index).call("state_proof", key=key)
    root = certified_root(network, index, answer["height"])
    assert answer["value"] is None
    proof = from_json(answer["proof"])
    assert isinstance(proof, NonExistenceProof)
    verify_nonexist(root, key, proof)
    for bad_root, bad_key in ((root, f"acc/{ISSUER}"), (certified_root(network, index, 1), key)):
        with pytest.raises(Rejected) as refusal:
            verify_nonexist(bad_root, bad_key, proof)
        assert refusal.value.reason == "bad_proof"


def test_an_earlier_height_is_proved(network: LocalNetwork, bundles: list[Path]) -> None:
    """Before the definition was published it was not in the state; after it, it was."""
    client, key = network.client(), f"def/{ISSUER}/prueba/1"
    seen = {}
    for height in range(1, network.height() + 1):
        answer = client.call("state_proof", key=key, height=height)
        proof = from_json(answer["proof"])
        root = certified_root(network, 0, height)
        if isinstance(proof, ExistenceProof):
            verify_exist(root, key, bytes.fromhex(answer["value"]), proof)
        else:
            verify_nonexist(root, key, proof)
        seen[height] = isinstance(proof, ExistenceProof)
        if seen[height]:
            break
    assert True in seen.values()
    assert list(seen.values()) == sorted(seen.values())


def verify_offline(*arguments: object, expect: int) -> Any:  # noqa: ANN401 – the answer's JSON
    """Run `pila verify` where no socket works, in a network namespace of its own too where that is allowed."""
    prefix = []
    if (
        shutil.which("unshare")
        and not subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode
    ):
        prefix = ["unshare", "-rn"]
    script = Path(__file__).with_name("offline.py")
    environment = {name: value for name, value in os.environ.items() if name != "PILA_GENESIS"} | {
        "HOME": "/nonexistent"
    }
    done = subprocess.run(
        [*prefix, sys.executable, str(script), "verify", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=harness.REPOSITORY,
        env=environment,
        timeout=harness.COMMAND_TIMEOUT_S,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)


def test_a_credential_is_proved_offline(
    network: LocalNetwork, bundles: list[Path], anchor: tuple[str, str], tmp_path: Path
) -> None:
    """A node's `credential_proof` makes a bundle that a process without network verifies by the genesis hash alone."""
    answer = verify_offline(bundles[0], *anchor, expect=0)
    assert {light["name"]: light["ok"] for light in answer["checks"]} == dict.fromkeys(
        ("document", "issued", "issuer", "key", "status", "dates", "network"), True
    )
    by_hash = verify_offline(bundles[0], "--genesis", network.client().call("node_status")["genesis_hash"], expect=0)
    assert by_hash["checks"] == answer["checks"]

    many = verify_offline(*bundles, *anchor, expect=0)
    assert [item["verified"] for item in many["files"]] == [True] * 3


def test_without_an_anchor_the_network_is_unknown(bundles: list[Path]) -> None:
    """The bundle's own genesis is never trust: exit 1, and only the light `network` says no."""
    answer = verify_offline(bundles[0], expect=1)
    assert [light["name"] for light in answer["checks"] if not light["ok"]] == ["network"]


def test_the_offline_process_is_really_offline(network: LocalNetwork, bundles: list[Path]) -> None:
    """The check of the check: with `--rpc` the same process cannot reach the node."""
    script = Path(__file__).with_name("offline.py")
    done = subprocess.run(
        [sys.executable, str(script), "status", "--rpc", network.nodes[0].rpc],
        capture_output=True,
        text=True,
        check=False,
        cwd=harness.REPOSITORY,
        timeout=harness.COMMAND_TIMEOUT_S,
    )
    assert done.returncode != 0
    assert "the offline verifier used the network" in done.stderr


def test_every_node_gives_the_same_proof(network: LocalNetwork, bundles: list[Path]) -> None:
    """At one height the records and their branches are the same, whichever node is asked."""
    bundle = read_bundle(bundles[1].read_bytes())
    height = harness.wait_level(network)
    asked = {"credential_id": bundle.leaf.credential_id().hex(), "height": height}
    answers = [network.client(i).call("credential_proof", **asked) for i in range(4)]
    for part in ("header", "batch", "records", "validators"):
        assert [answer[part] for answer in answers] == [answers[0][part]] * 4
    assert from_chain_json(answers[0]).batch == bundle.chain.batch


def test_age_is_bounded_on_request(bundles: list[Path], anchor: tuple[str, str]) -> None:
    """`--max-age` makes an old proof's status red; without it the answer says as of when."""
    assert pila("verify", bundles[2], *anchor, "--max-age", "24h").json["verified"]
    answer = pila("verify", bundles[2], *anchor, "--max-age", "0s", expect=1).json
    assert [light["name"] for light in answer["checks"] if not light["ok"]] == ["status"]
