"""Data Integrity proofs: the W3C vectors through our code, and the bounds before canonicalising."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from node.crypto.signing import Ed25519Signer
from node.documents.data_integrity import Canonicaliser, check_signature, pinned_canonicaliser, sign_document
from node.documents.did import did_key, parse_multikey, verification_method
from node.documents.jcs import JsonObject
from node.documents.pinned_contexts import CREDENTIALS_V2, pinned_contexts
from node.errors import Reason, Rejected
from node.limits import DOCUMENT_BLANK_NODES_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_NODES_MAX

VECTORS = Path("tests/vectors/w3c-eddsa-rdfc-2022")
EXAMPLES = "https://www.w3.org/ns/credentials/examples/v2"
SIGNER = Ed25519Signer(bytes(32))
DID = did_key(SIGNER.public_key)


def vector(name: str) -> JsonObject:
    """Return one of the published JSON files."""
    loaded: JsonObject = json.loads((VECTORS / name).read_text())
    return loaded


def canonicaliser() -> Canonicaliser:
    """Return a canonicaliser that also knows the vectors' example context."""
    return Canonicaliser({**pinned_contexts(), EXAMPLES: vector("credentials-examples-v2.json")})


def test_w3c_canonical_form_and_signature_hold() -> None:
    """The published document canonicalises to the published N-Quads, and its signature verifies."""
    signed = vector("signedDataInt.json")
    unsigned = {name: value for name, value in signed.items() if name != "proof"}
    key = str(vector("keyPair.json")["publicKeyMultibase"])
    assert canonicaliser().n_quads(unsigned) == (VECTORS / "canonDocDataInt.txt").read_text()
    assert canonicaliser().n_quads(vector("proofConfigDataInt.json")) == (VECTORS / "proofCanonDataInt.txt").read_text()
    check_signature(signed, parse_multikey(key)[1], canonicaliser=canonicaliser())


def test_changed_w3c_document_is_refused() -> None:
    """One changed word, and the signature is not that of the content."""
    signed = vector("signedDataInt.json")
    signed["name"] = "Other Credential"
    key = str(vector("keyPair.json")["publicKeyMultibase"])
    with pytest.raises(Rejected) as caught:
        check_signature(signed, parse_multikey(key)[1], canonicaliser=canonicaliser())
    assert caught.value.reason is Reason.BAD_SIGNATURE


def document() -> JsonObject:
    """Return a small unsigned credential."""
    return {
        "@context": [CREDENTIALS_V2],
        "id": "urn:uuid:58172aac-d8ba-11ed-83dd-0b3aef56cc33",
        "type": ["VerifiableCredential"],
        "issuer": DID,
        "validFrom": "2026-01-01T00:00:00Z",
        "credentialSubject": {"id": "did:example:abc"},
    }


def signed(unsigned: JsonObject) -> JsonObject:
    """Return a document with its proof."""
    method = verification_method(DID, SIGNER.public_key)
    return sign_document(unsigned, SIGNER, method=method, created="2026-01-01T00:00:00Z")


def test_own_signature_verifies() -> None:
    """What we sign, we accept; the same arguments give the same proof."""
    check_signature(signed(document()), SIGNER.public_key)
    assert signed(document()) == signed(document())


@pytest.mark.parametrize(
    "change,reason,detail",
    [
        (lambda d: d.update({"@context": CREDENTIALS_V2}), Reason.BAD_DOCUMENT, "@context must be a list of URLs"),
        (lambda d: d.update({"@context": [CREDENTIALS_V2, {"a": "b:c"}]}), Reason.BAD_DOCUMENT, "@context must be a"),
        (lambda d: d.update({"@context": ["https://example.org/x"]}), Reason.BAD_DOCUMENT, "is not shipped"),
        (lambda d: d.update(unknown="x"), Reason.BAD_DOCUMENT, "has no meaning in the contexts"),
        (lambda d: d.update({"@graph": []}), Reason.BAD_DOCUMENT, "keyword @graph is not allowed here"),
        (lambda d: d.update(id="_:b0"), Reason.BAD_DOCUMENT, "_:b0 is a blank node label"),
        (lambda d: d.update(name="a\u0001"), Reason.BAD_DOCUMENT, "holds control characters"),
        (lambda d: d.update(name="n\u0303"), Reason.BAD_DOCUMENT, "is not NFC"),
        (
            lambda d: d.update(credentialSubject={"credentialSubject": {}}),
            Reason.BAD_DOCUMENT,
            "a node without id lies inside another",
        ),
        (
            lambda d: d.update(credentialSubject=[{}] * (DOCUMENT_BLANK_NODES_MAX + 1)),
            Reason.TOO_LARGE,
            f"{DOCUMENT_BLANK_NODES_MAX + 1} nodes without id",
        ),
        (
            lambda d: d.update(credentialSubject=[{"id": f"urn:x:{i}"} for i in range(DOCUMENT_NODES_MAX)]),
            Reason.TOO_LARGE,
            f"{DOCUMENT_NODES_MAX + 1} nodes, at most",
        ),
        (lambda d: d.update(name="x" * DOCUMENT_BYTES_MAX), Reason.TOO_LARGE, "a document of"),
    ],
)
def test_document_out_of_bounds_is_refused(change: Callable[[JsonObject], None], reason: Reason, detail: str) -> None:
    """What canonicalisation could choke on, fetch, drop or read in two ways never reaches it."""
    changed = document()
    change(changed)
    with pytest.raises(Rejected) as caught:
        pinned_canonicaliser().n_quads(changed)
    assert caught.value.reason is reason
    assert detail in caught.value.detail


@pytest.mark.parametrize(
    "change,detail",
    [
        (lambda d: d.pop("proof"), "there must be exactly one proof, an object"),
        (lambda d: d.update(proof=[d["proof"]]), "there must be exactly one proof, an object"),
        (lambda d: d["proof"].update(nonce="1"), "members of the proof"),
        (lambda d: d["proof"].update(cryptosuite="eddsa-jcs-2022"), "proof is ('DataIntegrityProof', 'eddsa-jcs-2022'"),
        (lambda d: d["proof"].update(proofPurpose="authentication"), "proof is ('DataIntegrityProof', 'eddsa-rdfc"),
    ],
)
def test_proof_of_another_form_is_refused(change: Callable[[JsonObject], None], detail: str) -> None:
    """Exactly one proof, an object, of one suite, with its members and no others."""
    changed = signed(document())
    change(changed)
    with pytest.raises(Rejected) as caught:
        check_signature(changed, SIGNER.public_key)
    assert caught.value.reason is Reason.BAD_DOCUMENT
    assert detail in caught.value.detail
