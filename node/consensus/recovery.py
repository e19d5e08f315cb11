"""Starting again: with a journal the same words as before, without one only after a safe distance. [R1]–[R3]"""

from collections.abc import Iterator, Mapping

from node.chain.certificate import Phase
from node.chain.statements import Commit, Prepare
from node.consensus.carried import CarriedSafeStart
from node.consensus.effects import Effect, Persist, SignAndBroadcast
from node.consensus.height import HeightState
from node.consensus.messages import (
    KeptBlock,
    NewView,
    Prepared,
    PromisedProposal,
    Proposal,
    Record,
    SignsFrom,
    Status,
    Step,
    ViewChange,
)
from node.consensus.verification import Verifier
from node.consensus.view_change import start_timer
from node.errors import Reason, Rejected
from node.primitives import Height, InstitutionId, ValidatorIndex

SAFE_DISTANCE: int = 3
"""G is at least D − 1, where D is the last height anybody decided (its Q committers meet the Q that
answered in an honest one), and we may have voted at D + 1 ≤ G + 2: from G + 3 on we cannot have."""


def restore(state: HeightState, records: tuple[Record, ...]) -> Iterator[Effect]:
    """[R1] Take up the promises of this height and say them again, byte for byte.

    `records` are in the order written. Everything restored was durable before it was sent, so it is
    at least what others may have seen.
    """
    for record in records:
        _take_up(state, record)
    if not state.may_sign:
        return
    # A long stall leaves thousands of ViewChanges and proposals behind, of which others heed the latest.
    latest = {type(record): record for record in records}
    for record in records:
        if isinstance(record, Prepare | Commit) or record is latest[type(record)]:
            yield from _repeat(state, record)
    if state.view > 0 and state.accepted_hash is not None:
        # An accepted NewView proves Q ViewChanges; their senders may never repeat them to us.
        yield from start_timer(state)  # [T2]


def _take_up(state: HeightState, record: Record) -> None:
    match record:
        case KeptBlock(block):
            block_hash = block.hash()
            state.kept.add(block_hash)
            state.remember_block(block_hash, block)
        case Prepared(certificate):
            state.prepared = certificate
        case PromisedProposal(head):
            state.proposed = head.view
            if head.view > state.view:
                state.view, state.step, state.accepted_hash = head.view, Step.VIEW_CHANGING, None
        case Prepare():
            state.view, state.step = record.view, Step.PREPARING
            state.accepted_hash = record.block_hash
            state.active = True
        case Commit():
            state.view, state.step = record.view, Step.COMMITTING
            state.accepted_hash = record.block_hash
        case ViewChange(head):
            state.view, state.step, state.accepted_hash = head.view, Step.VIEW_CHANGING, None
        case SignsFrom():
            return


def _repeat(state: HeightState, record: Record) -> Iterator[Effect]:
    match record:
        case Prepare() | Commit() | ViewChange():
            yield SignAndBroadcast(record)
        case PromisedProposal(head, view_changes, certificate):
            block = state.blocks.get(head.block_hash)
            if block is None:
                return
            if head.view == 0:
                yield SignAndBroadcast(Proposal(head, block))
            else:
                yield SignAndBroadcast(NewView(head, view_changes, certificate, block))
        case Prepared() | KeptBlock() | SignsFrom():
            return


class SafeStart:
    """A key without a journal: what it promised is unknown, so it listens first. [R2] [R3]

    It asks for signed Status with head certificates under a nonce of this start (an old answer proves
    nothing), waits for Q other members, takes G = the highest verified head, and signs from G + 3.
    """

    def __init__(
        self,
        nonce: bytes,
        signs_from: Height | None = None,
        heads: Mapping[ValidatorIndex, Height] | None = None,
        *,
        is_kept: bool = False,
    ) -> None:
        self.nonce = nonce
        """Empty where the journal itself says from which height on it holds everything."""
        self.signs_from = signs_from
        self._is_kept = is_kept
        self._heads: dict[ValidatorIndex, Height] = dict(heads or {})

    def carried(self) -> CarriedSafeStart:
        """Return what makes another object like this one."""
        return CarriedSafeStart(self.nonce, self.signs_from, dict(self._heads), self._is_kept)

    def is_over(self, height: Height) -> bool:
        """Tell whether this height may be signed."""
        return self.signs_from is not None and height >= self.signs_from

    def ask_again(self) -> None:
        """[M2] Forget the answers of another set, also when they were enough: a quorum of this set must answer.

        Q members of the old set tell of what the old set decided; the new one may have gone on without them.
        """
        if self.nonce:
            self.signs_from = None
            self._heads.clear()

    def keep(self) -> Iterator[Effect]:
        """Have it in the journal from which height on that holds everything: before anything is signed there."""
        if not self._is_kept:
            assert self.signs_from is not None
            self._is_kept = True
            yield Persist(SignsFrom(self.signs_from))

    def take(self, verifier: Verifier, state: HeightState, status: Status, institution: InstitutionId) -> None:
        """Count one genuine answer of a member of the present set. Raises: Rejected(BAD_CERTIFICATE)."""
        if self.signs_from is not None or not self.nonce or status.answer != self.nonce:
            return
        index = state.context.validators.index_of(institution)
        if index is None or index == state.me:
            return
        self._heads[index] = _verified_head(verifier, state, status)
        if len(self._heads) >= state.context.validators.quorum:
            self.signs_from = max(self._heads.values()) + SAFE_DISTANCE


def _verified_head(verifier: Verifier, state: HeightState, status: Status) -> Height:
    """Return the head that an answer proves.

    Judged by the set of that height where we know it, else by the newest we know: a member whose head is
    under a later set counts once we have caught up with it. [M1]
    """
    certificate = status.head_certificate
    if certificate is None:
        is_pinned = state.context.begins_epoch and status.height == state.context.height  # [X3]
        if status.height != 1 and not is_pinned:
            raise Rejected(Reason.BAD_CERTIFICATE, f"no certificate for head {status.height - 1}")
        return status.height - 1
    found = (certificate.phase, certificate.epoch, certificate.height)
    expected = (int(Phase.COMMIT), status.epoch, status.height - 1)
    if found != expected:
        raise Rejected(Reason.BAD_CERTIFICATE, f"(phase, epoch, height) is {found} instead of {expected}")
    context = state.context
    certificate.check(context.network, context.validators_of(certificate.height), verifier.is_genuine)
    return certificate.height
