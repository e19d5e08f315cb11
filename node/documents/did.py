"""Decentralised identifiers: `did:key` for holders and test networks, `did:web` for institutions.

Source: CREDENTIALS; W3C did:key (multicodec 0xed01 for Ed25519, 0x1200 for P-256).
"""

from typing import Final

from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.crypto.signing import PUBLIC_KEY_BYTES, Algorithm, key_id
from node.documents.multibase import decode_multibase, encode_multibase
from node.errors import Reason, Rejected
from node.primitives import InstitutionId, KeyId, PublicKey

_CODECS: Final = {Algorithm.ED25519: b"\xed\x01", Algorithm.P256: b"\x80\x24"}
"""Multicodec numbers as unsigned varints."""


def multikey(algorithm: Algorithm, public_key: PublicKey) -> str:
    """Return a key in multikey form: `z6Mk…` for Ed25519, `zDn…` for P-256."""
    return encode_multibase(_CODECS[algorithm] + public_key)


def parse_multikey(text: str) -> tuple[Algorithm, PublicKey]:
    """Read a multikey that is written the one way it can be. Raises: Rejected(MALFORMED)."""
    data = decode_multibase(text)
    for algorithm, codec in _CODECS.items():
        if data.startswith(codec) and len(data) == len(codec) + PUBLIC_KEY_BYTES[algorithm]:
            return algorithm, data[len(codec) :]
    raise Rejected(Reason.MALFORMED, f"{text} is neither an Ed25519 nor a P-256 key")


def did_key(public_key: PublicKey, algorithm: Algorithm = Algorithm.ED25519) -> str:
    """Return `did:key:z6Mk…`."""
    return f"did:key:{multikey(algorithm, public_key)}"


def did_web(did_host: str, institution: InstitutionId) -> str:
    """Return `did:web:<did_host>:did:<institution>`; a port's colon is written %3A."""
    return f"did:web:{did_host.replace(':', '%3A')}:did:{institution}"


def issuer_did(did_host: str, institution: InstitutionId, assertion_key: PublicKey) -> str:
    """Return an institution's issuer id: did:web where the network has a host, else did:key."""
    return did_web(did_host, institution) if did_host else did_key(assertion_key)


def verification_method(did: str, public_key: PublicKey) -> str:
    """Return the id of an Ed25519 key of a DID: what a proof names.

    did:key names the key itself; did:web names it by key id, as its DID document does.
    """
    if did.startswith("did:key:"):
        return f"{did}#{did.removeprefix('did:key:')}"
    return f"{did}#{key_id(Algorithm.ED25519, public_key).hex()}"


def method_key_id(method: str, did: str) -> KeyId:
    """Return the id of the key that a verification method of an issuer DID names.

    Raises: Rejected(BAD_DOCUMENT): another DID's method, or not the form above.
    """
    base, _, fragment = method.partition("#")
    if base != did:
        raise Rejected(Reason.BAD_DOCUMENT, f"signed by {base}, issued by {did}")
    if did.startswith("did:key:"):
        if fragment != did.removeprefix("did:key:"):
            raise Rejected(Reason.BAD_DOCUMENT, f"verification method {method} is not the key of its DID")
        algorithm, public_key = parse_multikey(fragment)
        return key_id(algorithm, public_key)
    if did.startswith("did:web:") and len(fragment) == 32 and set(fragment) <= set("0123456789abcdef"):
        return bytes.fromhex(fragment)
    raise Rejected(Reason.BAD_DOCUMENT, f"verification method {method} names no key")


def is_issuer_did(did: str, institution: Institution) -> bool:
    """Tell whether a DID may stand as issuer: the one on the record, or a did:key.

    A did:key binds itself to the institution by the record of its key, so a document signed before
    the institution changed keys stays bound.
    """
    return did == institution.did or did.startswith("did:key:")


def did_document(institution: Institution, keys: tuple[InstitutionKey, ...]) -> dict[str, object]:
    """Return the DID document of an institution with a did:web.

    Retired keys stay (old signatures are good), compromised ones go (generic verifiers then fail).
    """
    methods = [
        {
            "id": f"{institution.did}#{key_id(key.algorithm, key.public_key).hex()}",
            "type": "Multikey",
            "controller": institution.did,
            "publicKeyMultibase": multikey(Algorithm(key.algorithm), key.public_key),
        }
        for key in keys
        if key.purpose is Purpose.ASSERTION and key.compromised is None
    ]
    return {
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": institution.did,
        "verificationMethod": methods,
        "assertionMethod": [method["id"] for method in methods],
    }
