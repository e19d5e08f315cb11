"""The `document` light: that what is shown is what the issuer signed and committed to.

With the Open Badges document: its hash is the opened rendition claim, its proof is by an assertion key
on the issuer's record, its fields agree with leaf, definition and opened claims. Without (a
presentation): the opened claims are those that the leaf commits to, and the light says so.
"""

from typing import Final

from node.chain.proof import ProvenRecords
from node.chain.records.common import text_in
from node.chain.records.credential import Leaf, holder_commitment
from node.chain.records.definition import Definition, DefinitionContent
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.crypto.signing import Algorithm
from node.documents.answer import Light, LightName, Text
from node.documents.bundle import Bundle
from node.documents.credential import document_digest
from node.documents.data_integrity import Canonicaliser, check_signature, proof_of
from node.documents.did import did_key, is_issuer_did, method_key_id
from node.documents.disclosure import RENDITION_OPEN_BADGES, document_commitment, opened
from node.documents.jcs import Json, JsonObject
from node.documents.open_badges import LANGUAGE, credit_number
from node.documents.times import to_date_text, to_seconds_text
from node.errors import Reason, Rejected
from node.primitives import KeyId
from node.state import keys

_CHANGED: Final = Text(
    "El contenido no es el que la institución firmó y registró.",
    "The content is not what the institution signed and recorded.",
)


def document(bundle: Bundle, records: ProvenRecords, canonicaliser: Canonicaliser) -> Light:
    """Judge signature and content. Raises: Rejected(BAD_PROOF) where a record is not proven."""
    try:
        _check_claims(bundle, records)
        if bundle.document is not None:
            _check_document(bundle, bundle.document, records)
            public_key = assertion_key(records, bundle.leaf.issuer, bundle.document).public_key
            check_signature(bundle.document, public_key, canonicaliser=canonicaliser)
    except Rejected as refusal:
        if refusal.reason is Reason.BAD_PROOF:
            raise
        return Light(LightName.DOCUMENT, False, _CHANGED, str(refusal))
    shown = ", ".join(opened(bundle.claims)) or "-"
    if bundle.document is None:
        return Light(
            LightName.DOCUMENT,
            True,
            Text(
                "Presentación parcial: se muestran solo los campos elegidos por su titular, "
                "sin el documento firmado; son los que la institución registró.",
                "Partial presentation: only the fields that the holder chose are shown, "
                "without the signed document; they are those that the institution recorded.",
            ),
            f"fields shown: {shown}; {len(bundle.claims)} in all",
        )
    return Light(
        LightName.DOCUMENT,
        True,
        Text(
            "El documento está íntegro y lo firmó la institución.",
            "The document is intact and signed by the institution.",
        ),
        f"fields shown: {shown}",
    )


def assertion_key(records: ProvenRecords, issuer: str, document_: JsonObject) -> InstitutionKey:
    """Return the record of the key that the document names.

    Raises: Rejected(BAD_DOCUMENT): no such key of the issuer; Rejected(BAD_PROOF).
    """
    institution = records.get(keys.accreditation(issuer), Institution)
    if institution is None:
        raise Rejected(Reason.BAD_DOCUMENT, f"the chain has no institution {issuer}")
    did = _text_at(document_, "issuer", "id")
    if not is_issuer_did(did, institution):
        raise Rejected(Reason.BAD_DOCUMENT, f"issuer {did}, the chain says {institution.did}")
    method = proof_of(document_)["verificationMethod"]
    key_id = method_key_id(method if isinstance(method, str) else "", did)
    if key_id not in institution.keys:
        raise Rejected(Reason.BAD_DOCUMENT, f"{issuer} never had the key {key_id.hex()} that signed")
    return _assertion_record(records, issuer, key_id)


def _assertion_record(records: ProvenRecords, issuer: str, key_id: KeyId) -> InstitutionKey:
    key = records.get(keys.key(issuer, key_id), InstitutionKey)
    if key is None or key.purpose is not Purpose.ASSERTION or key.algorithm != Algorithm.ED25519:
        raise Rejected(Reason.BAD_DOCUMENT, f"key {key_id.hex()} of {issuer} is not for documents")
    return key


def _check_claims(bundle: Bundle, records: ProvenRecords) -> None:
    """Check the openings against leaf and definition. Raises: Rejected(BAD_DOCUMENT), Rejected(MALFORMED)."""
    leaf = bundle.leaf
    if len(bundle.claims) != leaf.claim_count:
        raise Rejected(Reason.BAD_DOCUMENT, f"{len(bundle.claims)} claims, the leaf has {leaf.claim_count}")
    found = document_commitment(bundle.claims)
    if found != leaf.document_commitment:
        raise Rejected(Reason.BAD_DOCUMENT, f"the claims give {found.hex()}, the leaf {leaf.document_commitment.hex()}")
    holder = bundle.holder
    if holder is not None and holder_commitment(holder.public_key, holder.salt) != leaf.holder_commitment:
        raise Rejected(Reason.BAD_DOCUMENT, "the holder's key is not the one in the leaf")
    claims = opened(bundle.claims)
    recorded = {
        "/title": text_in(_definition(bundle, records).title, LANGUAGE),
        "/awarded_on": to_date_text(leaf.valid_from_ms),
    }
    _must_agree({path: (claims[path], wanted) for path, wanted in recorded.items() if path in claims})


def _definition(bundle: Bundle, records: ProvenRecords) -> DefinitionContent:
    definition = records.get(keys.definition(bundle.leaf.definition), Definition)
    if definition is None:
        raise Rejected(Reason.BAD_DOCUMENT, f"the chain has no definition {bundle.leaf.definition}")
    return definition.content


def _must_agree(pairs: dict[str, tuple[Json, Json]]) -> None:
    """Refuse fields, by name, whose two values differ: what is shown, and what is recorded elsewhere."""
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            raise Rejected(Reason.BAD_DOCUMENT, f"{name} is {found!r}, recorded is {wanted!r}")


def _check_document(bundle: Bundle, document_: JsonObject, records: ProvenRecords) -> None:
    """Check the document against claims, leaf and definition. Raises: Rejected(BAD_DOCUMENT)."""
    claims = opened(bundle.claims)
    if claims.get(RENDITION_OPEN_BADGES) != document_digest(document_):
        raise Rejected(Reason.BAD_DOCUMENT, "the document is not the one that the leaf commits to")
    if bundle.holder is None:
        raise Rejected(Reason.BAD_DOCUMENT, "the holder's key is not opened")
    expected = _expected_fields(bundle.leaf, did_key(bundle.holder.public_key), _definition(bundle, records))
    _must_agree(_compared(document_, expected, claims))
    achievement = _text_at(document_, "credentialSubject", "achievement", "id")
    if not achievement.endswith(f"/catalog/{bundle.leaf.definition}"):
        raise Rejected(Reason.BAD_DOCUMENT, f"achievement {achievement} is not {bundle.leaf.definition}")


def _expected_fields(leaf: Leaf, holder_did: str, definition: DefinitionContent) -> dict[str, Json]:
    start = to_seconds_text(leaf.valid_from_ms - leaf.valid_from_ms % 1000)
    title = text_in(definition.title, LANGUAGE)
    worth = None if definition.credits is None else credit_number(definition.credits)
    return {
        "validFrom": start,
        "awardedDate": start,
        "validUntil": to_seconds_text(leaf.valid_until_ms - leaf.valid_until_ms % 1000),
        "name": title,
        "credentialSubject/id": holder_did,
        "credentialSubject/achievement/name": title,
        "credentialSubject/achievement/creditsAvailable": worth,
        "credentialSubject/creditsEarned": worth,
    }


def _compared(
    document_: JsonObject, expected: dict[str, Json], claims: dict[str, Json]
) -> dict[str, tuple[Json, Json]]:
    """Return (in the document, recorded) by name, for every field that stands in both places."""
    pairs: dict[str, tuple[Json, Json]] = {
        name: (_at(document_, *name.split("/")), wanted) for name, wanted in expected.items()
    }
    in_document = {
        "/name": _at(document_, "credentialSubject", "identifier", 0, "identityHash"),
        "/grade": _at(document_, "credentialSubject", "result", 0, "value"),
    }
    pairs.update({path: (value, claims[path]) for path, value in in_document.items() if path in claims})
    evidence = _at(document_, "evidence", 0, "id")
    if "/evidence_url" in claims:
        pairs["/evidence_url"] = (evidence, claims["/evidence_url"])
    return pairs


def _at(value: Json, *steps: str | int) -> Json:
    """Return what lies at a path, None where nothing does."""
    for step in steps:
        match value:
            case dict() if isinstance(step, str):
                value = value.get(step)
            case list() if isinstance(step, int) and step < len(value):
                value = value[step]
            case _:
                return None
    return value


def _text_at(value: Json, *steps: str | int) -> str:
    found = _at(value, *steps)
    if not isinstance(found, str):
        raise Rejected(Reason.BAD_DOCUMENT, f"the document has no text at {'/'.join(map(str, steps))}")
    return found
