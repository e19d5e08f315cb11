"""A university's key is stolen, rotated, declared compromised; another asks for two signatures. End to end by commands.

What the stolen key signed from the declared height on is void, and every refreshed bundle says so; what it
signed before stays good.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from node.documents.bundle import read_bundle
from tests.functional import harness
from tests.functional.conftest import TWO_SIGNATURES, TWO_SIGNATURES_ROTATED
from tests.functional.harness import pila, refused
from tools.local_network import LocalNetwork


class University:
    """One institution at work on the shared network."""

    def __init__(self, network: LocalNetwork, name: str, folder: Path) -> None:
        self.network = network
        self.name = name
        self.folder = folder
        self.keystore = network.testnet.keystore(name)
        self.recovery = network.testnet.keystore(name, ".recovery")
        self.rpc = ("--rpc", network.nodes[0].rpc)
        self.definition = harness.publish(network, name, folder.name[:20].strip("_").replace("_", "-")).definition

    def issue(self, person: str) -> Path:
        """Issue to one person and return the bundle."""
        learners, out = self.folder / f"{person}.csv", self.folder / person
        learners.write_text(f"nombre,apellidos,matricula\n{person},Peña,{person}\n", encoding="utf-8")
        pila(
            "issue", "--definition", self.definition, "--learners", learners, "--out", out,
            "--keystore", self.keystore, *self.rpc,
        )  # fmt: skip
        (bundle,) = out.glob("*.pila.json")
        return bundle

    def issued_at(self, bundle: Path) -> int:
        """Return the height of a credential's batch."""
        credential_id = read_bundle(bundle.read_bytes()).leaf.credential_id().hex()
        return int(self.network.client().call("credential_get", credential_id=credential_id)["height"])

    def transaction_key(self) -> str:
        """Return the id of the only good transaction key."""
        listed = pila("institution", "show", self.name, *self.rpc).json["keys"]
        (found,) = (key for key in listed if key["purpose"] == "transaction" and key["state"] == "good")
        return str(found["key_id"])

    def states(self) -> list[str]:
        """Return the states of its transaction keys in order."""
        listed = pila("institution", "show", self.name, *self.rpc).json["keys"]
        return [key["state"] for key in listed if key["purpose"] == "transaction"]


def red_lights(answer: dict[str, Any]) -> dict[str, str]:
    """Return the sentences of the lights that say no."""
    return {light["name"]: light["text"]["en"] for light in answer["checks"] if not light["ok"]}


def test_what_a_stolen_key_signed_is_void_from_that_height_on(
    network: LocalNetwork, anchor: tuple[str, str], tmp_path: Path
) -> None:
    """Compromised since the second batch: the first stays good, the second is red on `key`; the new key issues on."""
    university = University(network, "itleon.edu.mx", tmp_path)
    early, late = university.issue("ana"), university.issue("eva")
    since = university.issued_at(late)
    assert university.issued_at(early) < since
    assert all(item["verified"] for item in pila("verify", early, late, *anchor).json["files"])

    stolen = university.transaction_key()
    pila(
        "key", "rotate", "--keystore", university.keystore, "--recovery", university.recovery,
        "--compromised-since", since, *university.rpc,
    )  # fmt: skip
    assert university.states() == ["compromised", "good"]
    assert university.transaction_key() != stolen

    # Until it is refreshed a bundle proves what was true then; afterwards it tells.
    assert pila("verify", late, *anchor).json["verified"]
    assert pila("refresh", early, late, *university.rpc).json == {"files": 2, "changed": 2}
    assert pila("verify", early, *anchor).json["verified"]
    answer = pila("verify", late, *anchor, expect=1).json
    assert red_lights(answer) == {"key": "The keys that signed the record were compromised at that time."}
    by_node = network.client(2).call("credential_verify", bundle=json.loads(late.read_bytes()))
    assert (by_node["verified"], red_lights(by_node)) == (False, red_lights(answer))

    third = university.issue("luz")
    assert pila("verify", third, *anchor).json["verified"]
    # Who has the stolen key can do nothing with it: the register's person gets nothing twice, the chain refuses it.
    with_stolen = json.loads(university.keystore.read_text(encoding="utf-8"))
    thief = tmp_path / "ladrón.json"
    keys = [key for key in with_stolen["keys"] if key["purpose"] != "transaction" or key["key_id"] == stolen]
    secret = [with_stolen["secret"]["keys"][i] for i, key in enumerate(with_stolen["keys"]) if key in keys]
    thief.write_text(
        json.dumps({**with_stolen, "keys": keys, "secret": {**with_stolen["secret"], "keys": secret}}), encoding="utf-8"
    )
    learners = tmp_path / "robo.csv"
    learners.write_text("nombre,apellidos,matricula\nMal,Hecho,X\n", encoding="utf-8")
    ended = pila(
        "issue", "--definition", university.definition, "--learners", learners, "--out", tmp_path / "robo",
        "--keystore", thief, *university.rpc, expect=1,
    )  # fmt: skip
    assert ended.json["ok"] is False
    assert not list(tmp_path.glob("robo/*.pila.json"))


def test_a_compromise_after_the_batch_leaves_it_good(
    network: LocalNetwork, anchor: tuple[str, str], tmp_path: Path
) -> None:
    """Compromised since a later height, by `key compromise`: what was signed before stays good."""
    university = University(network, "tec.mx", tmp_path)
    bundle = university.issue("ana")
    key = university.transaction_key()
    since = network.height() + 1
    university_later = harness.publish(network, "tec.mx", "otra")
    assert university_later.definition.startswith("tec.mx/")
    pila("key", "compromise", key, "--since-height", since, "--recovery", university.recovery, *university.rpc)
    assert university.states() == ["compromised"]
    pila("refresh", bundle, *university.rpc)
    assert pila("verify", bundle, *anchor).json["verified"]
    learners = tmp_path / "tarde.csv"
    learners.write_text("nombre,apellidos,matricula\nAna,Tarde,T\n", encoding="utf-8")
    ended = pila(
        "issue", "--definition", university.definition, "--learners", learners, "--out", tmp_path / "tarde",
        "--keystore", university.keystore, *university.rpc, expect=None,
    )  # fmt: skip
    assert ended.code in (1, 2)
    assert len(ended.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("tarde/*.pila.json"))
    assert "32 hex digits" in refused(
        "key", "compromise", "zz", "--since-height", 1, "--recovery", university.recovery, *university.rpc
    )


def test_a_retired_key_stays_good_for_what_it_signed(
    network: LocalNetwork, anchor: tuple[str, str], tmp_path: Path
) -> None:
    """`key rotate` without a compromise: the old batch verifies, the new key issues, to the same register."""
    university = University(network, "campusleon.ugto.mx", tmp_path)
    before = university.issue("ana")
    pila("key", "rotate", "--keystore", university.keystore, "--recovery", university.recovery, *university.rpc)
    assert university.states() == ["retired", "good"]
    after = university.issue("eva")
    pila("refresh", before, *university.rpc)
    assert all(item["verified"] for item in pila("verify", before, after, *anchor).json["files"])
    pila("revoke", after, "--reason", "issued_in_error", "--keystore", university.keystore, *university.rpc)
    pila("refresh", after, *university.rpc)
    assert list(red_lights(pila("verify", after, *anchor, expect=1).json)) == ["status"]


@pytest.mark.parametrize("keys_held", [1, 2])
def test_two_signatures_are_needed_where_the_institution_says_so(
    network: LocalNetwork, anchor: tuple[str, str], tmp_path: Path, keys_held: int
) -> None:
    """`required_signatures` credential.issue = 2: refused with one key before anything is sent, issued with two."""
    definition = harness.publish(network, TWO_SIGNATURES, f"dos-{keys_held}").definition
    whole = json.loads(network.testnet.keystore(TWO_SIGNATURES).read_text(encoding="utf-8"))
    dropped = [i for i, key in enumerate(whole["keys"]) if key["purpose"] == "transaction"][keys_held:]
    part = {
        **whole,
        "keys": [key for i, key in enumerate(whole["keys"]) if i not in dropped],
        "secret": {
            **whole["secret"],
            "keys": [key for i, key in enumerate(whole["secret"]["keys"]) if i not in dropped],
        },
    }
    keystore = tmp_path / "llaves.json"
    keystore.write_text(json.dumps(part), encoding="utf-8")
    learners = tmp_path / "alumnos.csv"
    learners.write_text("nombre,apellidos,matricula\nAna,Peña,1\n", encoding="utf-8")
    arguments = [
        "issue", "--definition", definition, "--learners", learners, "--out", tmp_path / "out",
        "--keystore", keystore, "--rpc", network.nodes[0].rpc,
    ]  # fmt: skip
    if keys_held == 1:
        ended = pila(*arguments, expect=1)
        assert ended.json["reason"] == "wrong_signers"
        assert not list(tmp_path.glob("out/*.pila.json"))
        return
    assert pila(*arguments).json["issued"] == 1
    (bundle,) = (tmp_path / "out").glob("*.pila.json")
    answer = pila("verify", bundle, *anchor).json
    light = next(light for light in answer["checks"] if light["name"] == "key")
    assert "2 keys signed, 2 required" in light["detail"]


def test_rotation_leaves_as_many_keys_as_are_needed(
    network: LocalNetwork, anchor: tuple[str, str], tmp_path: Path
) -> None:
    """Where two must sign, both keys are replaced by two: the institution can go on issuing."""
    university = University(network, TWO_SIGNATURES_ROTATED, tmp_path)
    before = university.issue("ana")
    pila("key", "rotate", "--keystore", university.keystore, "--recovery", university.recovery, *university.rpc)
    assert university.states() == ["retired", "retired", "good", "good"]
    after = university.issue("eva")
    pila("refresh", before, *university.rpc)
    assert all(item["verified"] for item in pila("verify", before, after, *anchor).json["files"])
