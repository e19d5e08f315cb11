"""What validators say to each other, and exactly what each signature covers.

A signature is over a 32-byte tagged digest of [chain_id, genesis_hash, epoch, height, view, …]; blocks,
certificates and justifications travel beside the signed head and prove themselves. A message that is
not signed yet carries `UNSIGNED`: the core makes it so, the replica persists, signs and sends it.
Source: PROTOCOL §5, table of messages.
"""

from enum import IntEnum
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from node.chain.block import Block
from node.chain.certificate import Certificate, Network
from node.chain.evidence import Evidence
from node.chain.statements import (
    Commit,
    Prepare,
    ProposalHead,
    SignedPart,
    ViewChangeHead,
    bound_to,
    statement_digest,
)
from node.crypto.hashing import Tag, tagged
from node.limits import VALIDATORS_MAX
from node.primitives import (
    SIGNATURE_BYTES,
    Epoch,
    Hash,
    Height,
    Signature,
    Uint,
    ValidatorIndex,
    View,
)

UNSIGNED: Final = bytes(SIGNATURE_BYTES)
"""Stands where a signature will be; no key makes it."""
NONCE_BYTES_MAX: Final = 32


class Step(IntEnum):
    """How far a replica is at its height and view; travels in Status."""

    WAITING = 0
    """View 0, no proposal yet."""
    PREPARING = 1
    """Prepare sent."""
    COMMITTING = 2
    """Commit sent."""
    VIEW_CHANGING = 3
    """ViewChange sent, no proposal of that view yet."""
    DECIDED = 4
    """A quorum of commits is known and the block handed to the ledger."""


class Proposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """PRE-PREPARE of view 0."""

    head: ProposalHead
    block: Block


class ViewChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """A signed head and, unsigned beside it, the certificate that its claim needs."""

    head: ViewChangeHead
    certificate: Certificate | None


class NewView(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """PRE-PREPARE of a view above 0 with its justification."""

    head: ProposalHead
    view_changes: Annotated[tuple[ViewChangeHead, ...], Meta(max_length=VALIDATORS_MAX)]
    """At least Q heads for exactly this view, ascending by validator, none twice."""
    certificate: Certificate | None
    """Of the highest prepared view among the heads; nil when none claims one."""
    block: Block


class BlockRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """The sender holds a certificate for a block whose body it lacks."""

    epoch: Epoch
    height: Height
    block_hash: Hash


class BlockReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """The body that was asked for; its hash says which."""

    block: Block


class Decided(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """For somebody behind: a block and the quorum of commits that decided it."""

    block: Block
    certificate: Certificate


class Status(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """Where the signer is and which votes it has seen, so that answers hold just what it lacks."""

    epoch: Epoch
    height: Height
    """The height being agreed on: one above the signer's head."""
    view: View
    step: Annotated[int, Meta(ge=0, le=4)]
    """A `Step`."""
    has_proposal: bool
    """A proposal of this view was accepted."""
    prepares: Annotated[bytes, Meta(max_length=(VALIDATORS_MAX + 7) // 8)]
    """Bit i % 8 of byte i // 8: a Prepare of validator i for this view was seen."""
    commits: Annotated[bytes, Meta(max_length=(VALIDATORS_MAX + 7) // 8)]
    probe: Annotated[bytes, Meta(max_length=NONCE_BYTES_MAX)]
    """Not empty: the signer has no journal and asks for an answer that repeats this."""
    answer: Annotated[bytes, Meta(max_length=NONCE_BYTES_MAX)]
    """The probe that this answers; empty in a broadcast."""
    head_certificate: Certificate | None
    """Of the signer's head, in an answer; nil in a broadcast and at head 0."""
    validator: ValidatorIndex
    signature: Signature


class PromisedProposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=10):
    """In the journal: a Proposal or NewView without its block, which is kept beside it."""

    head: ProposalHead
    view_changes: Annotated[tuple[ViewChangeHead, ...], Meta(max_length=VALIDATORS_MAX)]
    certificate: Certificate | None


class Prepared(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=11):
    """In the journal: a prepared certificate, what a view change must be told."""

    certificate: Certificate


class KeptBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=12):
    """In the journal: the body of a block that this replica proposed or voted for."""

    block: Block


class SignsFrom(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=13):
    """In the journal: below this height the replica only listens. [R3]"""

    height: Uint


class EvidenceReport(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=14):
    """Proof that a validator contradicted itself; it speaks for itself, so it is not signed."""

    evidence: Evidence


AnyProposal: TypeAlias = Proposal | NewView
Vote: TypeAlias = Prepare | Commit
Promise: TypeAlias = AnyProposal | Vote | ViewChange
"""What binds its signer: persisted, then signed at most once per (epoch, height, view, step)."""
Signed: TypeAlias = Promise | Status
Message: TypeAlias = Signed | BlockRequest | BlockReply | Decided | EvidenceReport
Record: TypeAlias = PromisedProposal | Vote | ViewChange | Prepared | KeptBlock | SignsFrom
"""What a replica must have on disk before it acts on it."""
S = TypeVar("S", bound=Signed)


def header_of(message: Promise) -> SignedPart:
    """Return the signed part, which holds epoch, height, view, validator and signature."""
    match message:
        case Prepare() | Commit():
            return message
        case Proposal() | NewView() | ViewChange():
            return message.head


def signed_part(message: Signed) -> SignedPart | Status:
    """As `header_of`, for a Status too."""
    return message if isinstance(message, Status) else header_of(message)


def with_signature(message: S, signature: Signature) -> S:
    """Return the message with this signature in its place."""
    match message:
        case Proposal() | NewView() | ViewChange():
            head = msgspec.structs.replace(message.head, signature=signature)
            return msgspec.structs.replace(message, head=head)
        case _:
            return msgspec.structs.replace(message, signature=signature)


def signing_digest(network: Network, part: SignedPart | Status) -> Hash:
    """Return the 32-byte digest that is signed."""
    if isinstance(part, Status):
        return tagged(Tag.STATUS_MESSAGE, bound_to(network, *msgspec.structs.astuple(part)[:-1]))
    return statement_digest(network, part)
