"""One credential before it is on the chain: document, claims, leaf and the secrets that go with it.

Everything random comes from `entropy` (bytes wanted → bytes), everything else from the arguments, so
the same arguments give the same bytes. Source: DOMAIN §3, §5.
"""

from collections.abc import Callable
from dataclasses import dataclass

from node.chain.certificate import Network
from node.chain.proof import ChainProof
from node.chain.records.common import text_in
from node.chain.records.credential import (
    LEAF_VERSION,
    Leaf,
    Origin,
    StatusListEntry,
    holder_commitment,
    status_key,
)
from node.chain.records.definition import DefinitionContent
from node.chain.records.institution import Institution
from node.crypto.hashing import Tag, sha256, tagged
from node.crypto.signing import Ed25519Signer
from node.documents.bundle import Bundle, HolderOpening
from node.documents.data_integrity import sign_document
from node.documents.did import verification_method
from node.documents.disclosure import RENDITION_OPEN_BADGES, Claim, document_commitment, make_claims
from node.documents.jcs import Json, JsonObject, canonical
from node.documents.learners import Learner
from node.documents.open_badges import LANGUAGE, Award, open_badge
from node.documents.times import add_months, parse_date, to_date_text, to_seconds_text
from node.errors import Reason, Rejected
from node.primitives import SALT_BYTES, Hash, PublicKey, Salt, TimestampMs

STATUS_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues what, on which network."""

    network: Network
    institution: Institution
    definition: DefinitionContent
    assertion: Ed25519Signer
    """Signs the document."""
    public_url: str
    """Where the network is seen, without a slash at the end: pages and status lists hang from it."""


@dataclass(frozen=True, slots=True)
class PreparedCredential:
    """A credential that can be submitted, and all that must never be lost before it is."""

    document: JsonObject
    claims: tuple[Claim, ...]
    leaf: Leaf
    holder_key: PublicKey
    holder_salt: Salt
    status_secret: bytes
    """32 bytes; whoever knows its hash, the status key, can find the status. Stays in the register."""
    entry: StatusListEntry

    def credential_id(self) -> Hash:
        """Return the id that the block carries."""
        return self.leaf.credential_id()

    def bundle(self, chain: ChainProof) -> Bundle:
        """Return the holder's own bundle: every claim open."""
        return Bundle(self.document, self.claims, HolderOpening(self.holder_key, self.holder_salt), self.leaf, chain)


def prepare_credential(
    issuer: Issuer,
    learner: Learner,
    *,
    holder_key: PublicKey,
    entry: StatusListEntry,
    now_ms: TimestampMs,
    entropy: Callable[[int], bytes],
    origin: Origin = Origin.ISSUE,
) -> PreparedCredential:
    """Make and sign a learner's document, its claims and its leaf.

    `now_ms` is the time of issuing: the award date where the row gives none, and the proof's time.
    Raises: Rejected(INVALID_VALUE): an award date in the future; Rejected(BAD_DOCUMENT),
    Rejected(TOO_LARGE): a document out of bounds; Rejected(WRONG_STATE): no issuer id.
    """
    if not issuer.institution.did:
        raise Rejected(Reason.WRONG_STATE, f"{issuer.institution.id} has no DID on the chain")
    now_ms -= now_ms % 1000
    valid_from_ms, valid_until_ms = award_dates(issuer, learner, now_ms)
    award = Award(entropy(16), holder_key, valid_from_ms, valid_until_ms, entry)
    document = sign_document(
        open_badge(issuer.definition, issuer.institution, learner, award, public_url=issuer.public_url),
        issuer.assertion,
        method=verification_method(issuer.institution.did, issuer.assertion.public_key),
        created=to_seconds_text(now_ms),
    )
    claims = make_claims(_claim_values(issuer.definition, learner, valid_from_ms, document), entropy)
    holder_salt, status_secret = entropy(SALT_BYTES), entropy(STATUS_SECRET_BYTES)
    leaf = Leaf(
        version=LEAF_VERSION,
        genesis_hash=issuer.network.genesis_hash,
        issuer=issuer.institution.id,
        definition=issuer.definition.id,
        origin=origin,
        holder_commitment=holder_commitment(holder_key, holder_salt),
        document_commitment=document_commitment(claims),
        claim_count=len(claims),
        status_key=status_key(status_secret),
        valid_from_ms=valid_from_ms,
        valid_until_ms=valid_until_ms,
    )
    return PreparedCredential(document, claims, leaf, holder_key, holder_salt, status_secret, entry)


def award_dates(issuer: Issuer, learner: Learner, now_ms: TimestampMs) -> tuple[TimestampMs, TimestampMs]:
    """Return from when until when a credential is valid, in whole seconds.

    Raises: Rejected(INVALID_VALUE): an award date in the future.
    """
    valid_from_ms = parse_date(learner.awarded_on) if learner.awarded_on else now_ms - now_ms % 1000
    if valid_from_ms > now_ms:
        raise Rejected(Reason.INVALID_VALUE, f"awarded_on {learner.awarded_on} is in the future")
    return valid_from_ms, add_months(valid_from_ms, issuer.definition.validity_months)


def document_digest(document: JsonObject) -> str:
    """Return the value of the rendition claim: SHA-256, in hex, of the document's canonical JSON."""
    return sha256(canonical(document)).hex()


def custody_signer(custody_root: bytes, person: bytes) -> Ed25519Signer:
    """Return the holder key that an institution keeps for a person.

    `person` is the register's 32-byte pseudonym: one key per person and institution.
    """
    assert len(custody_root) == 32
    assert len(person) == 32
    return Ed25519Signer(tagged(Tag.CUSTODY, custody_root + person))


def _claim_values(
    definition: DefinitionContent, learner: Learner, valid_from_ms: TimestampMs, document: JsonObject
) -> dict[str, Json]:
    """Return what can be shown one by one; what a row leaves out is no claim."""
    values = {
        "/name": learner.full_name,
        "/given_name": learner.given_name,
        "/family_name": learner.family_name,
        "/email": learner.email,
        "/student_number": learner.student_number,
        "/grade": learner.grade,
        "/evidence_url": learner.evidence_url,
        "/awarded_on": learner.awarded_on or to_date_text(valid_from_ms),
        "/title": text_in(definition.title, LANGUAGE),
        RENDITION_OPEN_BADGES: document_digest(document),
    }
    return {path: value for path, value in values.items() if value}
