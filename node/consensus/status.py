"""Saying where we are, once a second, and answering with just what the other lacks. [S1]–[S4]"""

from collections.abc import Iterator, Mapping

from node.chain.certificate import Certificate, Phase
from node.chain.validator_set import ValidatorSet
from node.consensus.effects import Effect, RequestSync, Send, SendDecided
from node.consensus.height import HeightState
from node.consensus.messages import UNSIGNED, Status
from node.consensus.tick_quota import TickQuota
from node.consensus.votes import has_bit
from node.limits import DECIDED_ANSWERERS, STATUS_INTERVAL_MS
from node.primitives import Height, InstitutionId

_TICKS_BEHIND_BY_ONE = 3
"""A Decided normally arrives within a second or two; only then is one missing block a case for sync."""


class Claims:
    """What others say about their heights: hints, never facts; lives as long as the process."""

    def __init__(self, heights: Mapping[InstitutionId, Height] | None = None, ticks_behind: int = 0) -> None:
        self._heights: dict[InstitutionId, Height] = dict(heights or {})
        """Of validators of this height or of earlier ones; see `keep`."""
        self._ticks_behind = ticks_behind

    def carried(self) -> tuple[dict[InstitutionId, Height], int]:
        """Return what makes another object like this one."""
        return dict(self._heights), self._ticks_behind

    def keep(self, validators: ValidatorSet) -> None:
        """Forget those who vote no more."""
        for institution in [name for name in self._heights if validators.index_of(name) is None]:
            del self._heights[institution]

    def note(self, institution: InstitutionId, height: Height) -> None:
        """Remember the height that a validator is agreeing on; the latest word counts."""
        self._heights[institution] = height

    def raise_to(self, institution: InstitutionId, height: Height) -> None:
        """A vote for a height shows that its sender is at least there."""
        self._heights[institution] = max(height, self._heights.get(institution, 0))

    def request_sync(self, state: HeightState) -> Iterator[Effect]:
        """[S4] Ask for sync when f+1 validators are further, so that one honest one is.

        Called once a tick.
        """
        context = state.context
        heights = sorted(
            (self._heights.get(member.institution, 0) for member in context.validators.members),
            reverse=True,
        )
        proven = heights[context.validators.max_faulty]
        if proven <= context.height:
            self._ticks_behind = 0
            return
        self._ticks_behind += 1
        behind_by_one = proven == context.height + 1 and state.me is not None
        if behind_by_one and self._ticks_behind < _TICKS_BEHIND_BY_ONE:
            return
        peers = tuple(
            member.institution
            for member in context.validators.members
            if self._heights.get(member.institution, 0) >= proven
        )
        yield RequestSync(proven - 1, peers)


def make(
    state: HeightState,
    *,
    probe: bytes = b"",
    answer: bytes = b"",
    head_certificate: Certificate | None = None,
) -> Status:
    """[S1] Return our unsigned Status."""
    assert state.me is not None
    return Status(
        epoch=state.context.epoch,
        height=state.context.height,
        view=state.view,
        step=state.step,
        has_proposal=state.accepted_hash is not None,
        prepares=state.votes.seen(Phase.PREPARE, state.view),
        commits=state.votes.seen(Phase.COMMIT, state.view),
        probe=probe,
        answer=answer,
        head_certificate=head_certificate,
        validator=state.me,
        signature=UNSIGNED,
    )


def answer_with_missing(
    state: HeightState,
    sender: InstitutionId,
    status: Status,
    quota: TickQuota,
    now_ms: int,
) -> Iterator[Effect]:
    """[S2] [S3] Send what `sender` lacks of ours; blocks come from the proposer or two that rotate.

    What was said within the last second is on its way: saying it twice would double what a hundred validators send.
    """
    height = state.context.height
    if status.height < height:
        is_told = _is_under_way(state.begun_at_ms, now_ms)
        if not is_told and _is_our_turn(state, now_ms) and quota.may_answer(sender):
            yield SendDecided(sender, status.height)
        return
    if status.height > height or state.me is None or state.is_decided:
        return
    for phase, seen in ((Phase.PREPARE, status.prepares), (Phase.COMMIT, status.commits)):
        said = state.own_votes.get((phase, status.view))
        if said is not None and not has_bit(seen, state.me) and not _is_under_way(said.at_ms, now_ms):
            yield Send(sender, said.vote)
    lacks_proposal = status.view < state.view or (status.view == state.view and not status.has_proposal)
    if lacks_proposal and state.accepted is not None and not _is_under_way(state.accepted_at_ms, now_ms):
        ours = state.proposer == state.me or _is_our_turn(state, now_ms)
        if ours and quota.may_answer(sender):
            yield Send(sender, state.accepted)


def _is_under_way(since_ms: int, now_ms: int) -> bool:
    """Tell whether what was sent then may still arrive; a clock that was set back proves nothing."""
    return 0 <= now_ms - since_ms < STATUS_INTERVAL_MS


def _is_our_turn(state: HeightState, now_ms: int) -> bool:
    """Tell whether we are among the few that answer with blocks in this second."""
    if state.me is None:
        return False
    turn = state.me + now_ms // STATUS_INTERVAL_MS
    return turn % len(state.context.validators) < DECIDED_ANSWERERS
