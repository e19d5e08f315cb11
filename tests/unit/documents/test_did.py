"""Identifiers: did:key both ways, did:web, and which key a verification method names."""

import pytest

from node.chain.records.institution import InstitutionKey, Purpose
from node.crypto.signing import Algorithm, key_id
from node.documents.did import (
    did_document,
    did_key,
    did_web,
    issuer_did,
    method_key_id,
    parse_multikey,
    verification_method,
)
from node.documents.multibase import decode_base58, encode_base58
from node.errors import Reason, Rejected
from node.state import keys
from tests.unit.documents.small_chain import UGTO, SmallChain, assertion_signer, signer

# From the W3C-CCG did:key test vectors (ed25519-x25519.json, first seed).
KNOWN_KEY = bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")
KNOWN_DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


def test_published_key_has_its_identifier() -> None:
    """The Ed25519 key of seed 0 has the published did:key."""
    assert did_key(KNOWN_KEY) == KNOWN_DID
    assert parse_multikey(KNOWN_DID.removeprefix("did:key:")) == (Algorithm.ED25519, KNOWN_KEY)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\x01", bytes(range(64)), b"\xff" * 34])
def test_base58_is_read_back(data: bytes) -> None:
    """Leading zero bytes survive."""
    assert decode_base58(encode_base58(data)) == data


@pytest.mark.parametrize("text", ["z6Mkabc", "x6Mk", "z0OIl", "z" + "1" * 200])
def test_no_key_is_refused(text: str) -> None:
    """Wrong lengths, letters outside the alphabet and other bases are refused."""
    with pytest.raises(Rejected) as caught:
        parse_multikey(text)
    assert caught.value.reason is Reason.MALFORMED


def test_issuer_id_depends_on_the_network() -> None:
    """With a host it is did:web, without one did:key; a port is escaped."""
    assert issuer_did("pila.mx", UGTO, KNOWN_KEY) == "did:web:pila.mx:did:ugto.mx"
    assert issuer_did("", UGTO, KNOWN_KEY) == KNOWN_DID
    assert did_web("localhost:8600", UGTO) == "did:web:localhost%3A8600:did:ugto.mx"


@pytest.mark.parametrize("did", [KNOWN_DID, "did:web:pila.mx:did:ugto.mx"])
def test_verification_method_names_its_key(did: str) -> None:
    """What a proof names leads back to the key's id on the chain."""
    assert method_key_id(verification_method(did, KNOWN_KEY), did) == key_id(Algorithm.ED25519, KNOWN_KEY)


@pytest.mark.parametrize(
    "method,detail",
    [
        (KNOWN_DID + "#z6Mkother", "is not the key of its DID"),
        ("did:key:z6Mkother#z6Mkother", "signed by did:key:z6Mkother"),
        (KNOWN_DID, "is not the key of its DID"),
    ],
)
def test_foreign_verification_method_is_refused(method: str, detail: str) -> None:
    """A proof by somebody else's key, or by none, is refused."""
    with pytest.raises(Rejected) as caught:
        method_key_id(method, KNOWN_DID)
    assert caught.value.reason is Reason.BAD_DOCUMENT
    assert detail in caught.value.detail


def test_did_document_lists_assertion_keys() -> None:
    """The DID document of an institution names its assertion key by key id."""
    chain = SmallChain(did_host="pila.mx")
    institution = chain.institution(UGTO)
    records = [chain.ledger.read(keys.key(UGTO, identity), InstitutionKey) for identity in institution.keys]
    document = did_document(institution, tuple(record for record in records if record is not None))
    public_key = assertion_signer(UGTO).public_key
    method = verification_method(institution.did, public_key)
    assert document["assertionMethod"] == [method]
    assert signer(UGTO, Purpose.ASSERTION).public_key == public_key
