"""Two statements of one validator that contradict each other: what proves it, and when it counts.

Content decides, never the signature: one statement signed twice is one statement, also where somebody
found a second valid signature for it. A statement binds chain, genesis, epoch, height and view, and it is
judged by the set of its height, so nothing said elsewhere can be held against anybody here.
Source: PROTOCOL §5; node/consensus/README.md [E1]–[E5].
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias, assert_never

import msgspec

from node import codec
from node.chain.certificate import Network, VerifyDigest
from node.chain.statements import Commit, Prepare, ProposalHead, SignedPart, ViewChangeHead, statement_digest
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.limits import EVIDENCE_AGE_HEIGHTS_MAX, EVIDENCE_BYTES_MAX
from node.primitives import Epoch, Hash, Height, InstitutionId, View


class OffenceKind(IntEnum):
    """In what two statements contradict each other."""

    PROPOSAL = 1
    """Two blocks proposed in one view."""
    PREPARE = 2
    """Prepares for two blocks in one view."""
    COMMIT = 3
    """Commits for two blocks in one view."""
    VIEW_CHANGE = 4
    """Two different claims in ViewChanges to one view."""
    BROKEN_PROMISE = 5
    """A Commit, and a ViewChange to a higher view that denies it."""


Place: TypeAlias = tuple[Epoch, Height, View, int]
"""Epoch, height, view and kind: one offence of a validator, however many statements prove it."""


@dataclass(frozen=True, slots=True)
class Offence:
    """What a piece of evidence proves."""

    institution: InstitutionId
    epoch: Epoch
    height: Height
    view: View
    """Of both statements; of a broken promise the view of the Commit."""
    kind: OffenceKind
    evidence_hash: Hash
    """SHA-256 of the evidence."""

    @property
    def place(self) -> Place:
        """What identifies it among the offences of its institution."""
        return self.epoch, self.height, self.view, int(self.kind)

    def __str__(self) -> str:
        kind = self.kind.name.lower().replace("_", " ")
        return f"{kind} of {self.institution} at height {self.height}, view {self.view}, epoch {self.epoch}"


class SignedProposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """A ProposalHead as one of several kinds of statement."""

    head: ProposalHead


class SignedViewChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """A ViewChangeHead as one of several kinds of statement."""

    head: ViewChangeHead


Statement: TypeAlias = SignedProposal | Prepare | Commit | SignedViewChange


class Evidence(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Both statements, in one order whoever found them."""

    first: Statement
    """The one whose canonical bytes sort first."""
    second: Statement

    @property
    def parts(self) -> tuple[SignedPart, SignedPart]:
        """The two signed parts."""
        return _part(self.first), _part(self.second)

    @property
    def epoch(self) -> Epoch:
        """Of the first; of both where it is any evidence."""
        return _part(self.first).epoch

    @property
    def height(self) -> Height:
        """Of the first; of both where it is any evidence."""
        return _part(self.first).height


def make_evidence(one: SignedPart, other: SignedPart) -> Evidence:
    """Put two statements into their order."""
    first, second = sorted((_statement(one), _statement(other)), key=codec.encode)
    return Evidence(first, second)


def decode_evidence(data: bytes) -> Evidence:
    """Read evidence. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(data, Evidence, bytes_max=EVIDENCE_BYTES_MAX)


def contradiction(one: SignedPart, other: SignedPart) -> OffenceKind | None:
    """Return what two statements of one validator for one height contradict each other in, or None.

    Signatures are not looked at, neither whether they are genuine nor whether they differ.
    """
    if (one.epoch, one.height, one.validator) != (other.epoch, other.height, other.validator):
        return None
    match one, other:
        case (Commit(), ViewChangeHead()):
            return OffenceKind.BROKEN_PROMISE if _breaks(other, one) else None
        case (ViewChangeHead(), Commit()):
            return OffenceKind.BROKEN_PROMISE if _breaks(one, other) else None
        case _ if type(one) is not type(other) or one.view != other.view or _content(one) == _content(other):
            return None
    match one:
        case ProposalHead():
            return OffenceKind.PROPOSAL
        case Prepare():
            return OffenceKind.PREPARE
        case Commit():
            return OffenceKind.COMMIT
        case ViewChangeHead():
            return OffenceKind.VIEW_CHANGE
        case unreachable:
            assert_never(unreachable)


def judge(
    data: bytes,
    network: Network,
    epoch: Epoch,
    height: Height,
    validators_at: Callable[[Height], ValidatorSet],
    verify_digest: VerifyDigest,
) -> Offence:
    """Return what evidence proves, where a block of this epoch and height may carry it.

    Raises: Rejected(TOO_LARGE, MALFORMED, WRONG_EPOCH, WRONG_HEIGHT, EXPIRED, BAD_EVIDENCE, NOT_A_VALIDATOR).
    """
    evidence = decode_evidence(data)
    one, other = evidence.parts
    if codec.encode(evidence.first) >= codec.encode(evidence.second):
        raise Rejected(Reason.BAD_EVIDENCE, "the statements are not in their order")
    kind = contradiction(one, other)
    if kind is None:
        raise Rejected(Reason.BAD_EVIDENCE, "the statements do not contradict each other")
    if one.epoch != epoch:  # [E5]
        raise Rejected(Reason.WRONG_EPOCH, f"evidence of epoch {one.epoch}, this is {epoch}")
    if one.height > height:
        raise Rejected(Reason.WRONG_HEIGHT, f"evidence of height {one.height}, {height} is being decided")
    if one.height + EVIDENCE_AGE_HEIGHTS_MAX <= height:
        raise Rejected(
            Reason.EXPIRED, f"evidence of height {one.height}, at {height} the last {EVIDENCE_AGE_HEIGHTS_MAX} count"
        )
    validators = validators_at(one.height)
    if one.validator >= len(validators):
        raise Rejected(Reason.NOT_A_VALIDATOR, f"signer {one.validator} of {len(validators)} validators")
    member = validators.members[one.validator]
    for part in (one, other):
        if not verify_digest(member.public_key, statement_digest(network, part), part.signature):
            raise Rejected(Reason.BAD_EVIDENCE, f"signature of {member.institution} on {type(part).__name__} is bad")
    view = min(one.view, other.view)
    return Offence(member.institution, one.epoch, one.height, view, kind, sha256(data))


def _breaks(change: ViewChangeHead, commit: Commit) -> bool:
    """Tell whether a ViewChange denies what its signer committed to in a lower view.

    Who has sent Commit for (v, X) claims (v, X) or a higher view ever after; and after a ViewChange to v′ it
    commits to nothing below v′, so in whatever order the two were signed, an honest validator signs no such pair.
    """
    if change.view <= commit.view:
        return False
    if change.prepared_view is None or change.prepared_view < commit.view:
        return True
    return change.prepared_view == commit.view and change.prepared_hash != commit.block_hash


def _content(part: SignedPart) -> tuple[object, ...]:
    """Return everything but the signature, which stands last."""
    return msgspec.structs.astuple(part)[:-1]


def _statement(part: SignedPart) -> Statement:
    match part:
        case ProposalHead():
            return SignedProposal(part)
        case ViewChangeHead():
            return SignedViewChange(part)
        case Prepare() | Commit():
            return part
        case unreachable:
            assert_never(unreachable)


def _part(statement: Statement) -> SignedPart:
    return statement.head if isinstance(statement, SignedProposal | SignedViewChange) else statement
