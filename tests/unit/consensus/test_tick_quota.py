"""What a peer gets judged and answered between two ticks. What a core does at each bound: test_protocol.py, [B4]."""

from collections.abc import Callable

import pytest

from node.consensus.tick_quota import TickQuota
from node.errors import Reason, Rejected
from node.limits import (
    BLOCK_ANSWERS_PER_PEER_MAX,
    EVIDENCE_JUDGED_PER_PEER_MAX,
    PROPOSALS_JUDGED_PER_PEER_MAX,
    STATUSES_PER_PEER_MAX,
)
from tests.unit.consensus.desk import Desk

PEER = "a.example"


@pytest.mark.parametrize(
    "count,most,detail",
    [
        (lambda quota: quota.judge(PEER, is_own=False), PROPOSALS_JUDGED_PER_PEER_MAX, "4 proposals were judged"),
        (lambda quota: quota.answer(PEER), BLOCK_ANSWERS_PER_PEER_MAX, "4 blocks were sent to a.example"),
        (lambda quota: quota.hear(PEER), STATUSES_PER_PEER_MAX, "8 status of a.example were heard"),
        (lambda quota: quota.report(PEER), EVIDENCE_JUDGED_PER_PEER_MAX, "16 reports of a.example were judged"),
    ],
)
def test_what_is_beyond_the_quota_waits_for_the_next_tick(
    count: Callable[[TickQuota], None], most: int, detail: str
) -> None:
    """The last that is allowed, one more, and again after the tick."""
    quota = TickQuota()
    for _ in range(most):
        count(quota)
    with pytest.raises(Rejected) as refusal:
        count(quota)
    assert (refusal.value.reason, refusal.value.detail) == (Reason.QUOTA_EXCEEDED, detail)
    quota.forgive()
    count(quota)


def test_proposals_and_decided_blocks_share_a_quota() -> None:
    """Three of one kind leave one of the other; an accepted one is given back."""
    quota = TickQuota()
    for _ in range(PROPOSALS_JUDGED_PER_PEER_MAX - 1):
        quota.judge(PEER, is_own=False)
    assert [quota.may_judge(PEER), quota.may_judge(PEER)] == [True, False]
    quota.accepted(PEER)
    assert quota.may_judge(PEER)


def test_our_own_proposals_cost_nothing() -> None:
    """However many heights we propose between two ticks."""
    quota = TickQuota()
    for _ in range(2 * PROPOSALS_JUDGED_PER_PEER_MAX):
        quota.judge(PEER, is_own=True)
    quota.accepted(PEER)
    assert quota.carried() == ({}, {}, {}, {})


def test_what_was_used_up_is_carried_over() -> None:
    """A core that goes on where another was counts on from there."""
    core = Desk().core
    quota = core._quota
    quota.judge(PEER, is_own=False)
    quota.answer(PEER)
    quota.hear(PEER)
    quota.hear(PEER)
    quota.report(PEER)
    assert TickQuota(core.carried()).carried() == quota.carried() == ({PEER: 1}, {PEER: 1}, {PEER: 2}, {PEER: 1})
