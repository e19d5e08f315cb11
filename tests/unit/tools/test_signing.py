"""Which keys sign: as many of each institution's as it asks for, only those in force."""

from pathlib import Path

import pytest

from node.errors import ConfigError
from node.keystore import Keystore, KeystoreKind
from tools.commands.keys import make_keystore
from tools.node_client import NodeClient
from tools.signing import gather


class Listing(NodeClient):
    """Answers `institution_get` from a table instead of a node."""

    def __init__(self, *keystores: Keystore, bad: tuple[str, ...] = (), required: int = 1) -> None:
        self._keystores = keystores
        self._bad = bad
        self._required = required

    def call(self, method: str, **params: object) -> dict[str, object]:
        """Return an institution's keys as the RPC method does."""
        assert method == "institution_get"
        keys = [
            {"key_id": part.key_id, "purpose": part.purpose, "state": "retired" if part.key_id in self._bad else "good"}
            for store in self._keystores
            if store.institution == params["id"]
            for part in store.public_parts()
        ]
        return {"keys": keys, "required_signatures": {"credential.issue": self._required}}


@pytest.fixture(scope="module")
def ugto() -> Keystore:
    """A keystore with three transaction keys."""
    return make_keystore(KeystoreKind.INSTITUTION, "ugto.mx", transaction_keys=3)


@pytest.fixture(scope="module")
def authority() -> Keystore:
    """Somebody who co-signs."""
    return make_keystore(KeystoreKind.INSTITUTION, "seg.example")


def ids(signers: object) -> list[str]:
    """Return institutions and key ids."""
    assert isinstance(signers, list)
    return [f"{signer.institution}/{signer.key_id.hex()}" for signer in signers]


def test_exactly_as_many_as_asked_for_sign(ugto: Keystore) -> None:
    """One by default, two where the institution says two; never more than needed."""
    own = [f"ugto.mx/{part.key_id}" for part in ugto.public_parts() if part.purpose == "transaction"]
    assert ids(gather(Listing(ugto), "credential.revoke", ugto)) == own[:1]
    assert ids(gather(Listing(ugto, required=2), "credential.issue", ugto)) == own[:2]


def test_keys_that_are_no_longer_good_do_not_sign(ugto: Keystore) -> None:
    """A retired key is passed over for the next."""
    own = [part.key_id for part in ugto.public_parts() if part.purpose == "transaction"]
    assert ids(gather(Listing(ugto, bad=(own[0],)), "credential.issue", ugto)) == [f"ugto.mx/{own[1]}"]


def test_a_keystore_that_the_chain_does_not_know_signs_nothing(ugto: Keystore) -> None:
    """The sentence says how many are needed, how many there are, and what to do."""
    stranger = make_keystore(KeystoreKind.INSTITUTION, "ugto.mx")
    with pytest.raises(ConfigError) as refused:
        gather(Listing(ugto, required=2), "credential.issue", stranger)
    assert str(refused.value) == (
        "ugto.mx asks for 2 signatures on credential.issue; the keystores given hold "
        "0 of its keys in force (add more with --cosign FILE)"
    )


def test_cosigners_of_the_same_and_of_another_institution(ugto: Keystore, authority: Keystore, tmp_path: Path) -> None:
    """Keystores of one institution count together; an authority's key is added."""
    second = make_keystore(KeystoreKind.INSTITUTION, "ugto.mx")
    client = Listing(ugto, second, authority, required=4)
    with pytest.raises(ConfigError) as refused:
        gather(client, "credential.issue", ugto, [second, authority])
    assert str(refused.value).startswith("seg.example asks for 4 signatures")
    signers = gather(Listing(ugto, second, authority), "credential.revoke", ugto, [second, authority])
    assert [signer.institution for signer in signers] == ["ugto.mx", "seg.example"]
