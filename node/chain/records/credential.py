"""`bat/<batch id>`: a batch of credentials. `sta/<institution>/<status key>`: what became of one.

`lst/<institution>/<list>/<index>`: which status key an entry of a status list belongs to.
The leaf is the one thing about a person's credential that is ever opened, and only by its holder.
Source: DOMAIN §3, §5.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from node import codec
from node.chain.records.common import Act
from node.crypto import merkle
from node.crypto.hashing import Tag, tagged
from node.limits import CREDENTIALS_PER_BATCH_MAX, STATUS_LIST_BITS, STATUS_LISTS_PER_INSTITUTION_MAX
from node.primitives import CatalogueId, Hash, InstitutionId, PublicKey, Salt, TimestampMs

LEAF_VERSION = 1


class Origin(StrEnum):
    """Which rule made a credential."""

    ISSUE = "issue"
    STACK = "stack"


class ReasonCode(StrEnum):
    """Why a status changed; never free text, which could name a person."""

    ISSUED_IN_ERROR = "issued_in_error"
    FRAUD = "fraud"
    ACADEMIC_DECISION = "academic_decision"
    HOLDER_REQUEST = "holder_request"
    DATA_PROTECTION = "data_protection"
    SUPERSEDED = "superseded"
    OTHER = "other"


class FinalState(StrEnum):
    """States that nothing follows."""

    REVOKED = "revoked"
    SUPERSEDED = "superseded"


class Leaf(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The preimage of a credential id."""

    version: Annotated[int, Meta(ge=1, le=255)]
    genesis_hash: Hash
    issuer: InstitutionId
    definition: CatalogueId
    origin: Origin
    """Must equal the batch record's."""
    holder_commitment: Hash
    document_commitment: Hash
    claim_count: Annotated[int, Meta(ge=1, le=4_096)]
    status_key: Hash
    valid_from_ms: TimestampMs
    valid_until_ms: TimestampMs

    def credential_id(self) -> Hash:
        """Return SHA-256(0x00 | canonical leaf)."""
        return merkle.leaf_hash(codec.encode(self))


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `bat/<batch id>`."""

    issuer: InstitutionId
    definition: CatalogueId
    root: Hash
    """RFC 6962 root whose leaf hashes are the credential ids in order."""
    count: Annotated[int, Meta(ge=1, le=CREDENTIALS_PER_BATCH_MAX)]
    origin: Origin
    act: Act
    """Void once fewer than the required keys are good at its height: then the batch is void."""


class Mark(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That somebody set a status, and why."""

    reason: ReasonCode
    act: Act


class FinalMark(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The end of a credential."""

    state: FinalState
    reason: ReasonCode
    act: Act


class StatusListEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place in the issuer's status lists."""

    list_number: Annotated[int, Meta(ge=0, lt=STATUS_LISTS_PER_INSTITUTION_MAX)]
    list_index: Annotated[int, Meta(ge=0, lt=STATUS_LIST_BITS)]


class Status(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `sta/<institution>/<status key>`; active when all three marks are nil."""

    issuer_suspension: Mark | None
    authority_suspension: Mark | None
    final: FinalMark | None
    entry: StatusListEntry | None
    """Nil while only an authority that does not know it has written here. An authority's word may be
    overruled by the issuer, so the lists are made from `lst/…`, not from this."""


class StatusListBinding(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `lst/…`: which key an index belongs to.

    The issuer's first use binds it for ever. What an authority says holds until the issuer says otherwise:
    only the issuer knows where it put a credential.
    """

    status_key: Hash
    actor: InstitutionId
    """Who said so."""


def batch_id(issuer: InstitutionId, definition: CatalogueId, root: Hash, count: int) -> Hash:
    """Return H("pila/batch", canonical [issuer, definition, root, count])."""
    return tagged(Tag.BATCH, codec.encode((issuer, definition, root, count)))


def holder_commitment(public_key: PublicKey, salt: Salt) -> Hash:
    """Return H("pila/holder", canonical [holder public key, salt])."""
    return tagged(Tag.HOLDER, codec.encode((public_key, salt)))


def status_key(status_secret: bytes) -> Hash:
    """Return H("pila/status", status secret of 32 bytes)."""
    return tagged(Tag.STATUS, status_secret)
