"""What one peer may send consensus in a second; whoever sends more is not read until the next."""

import pytest

from node.errors import Reason, Rejected
from node.limits import CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX
from node.peer_quota import PeerQuota


def test_peer_that_floods_is_refused_for_the_rest_of_the_second() -> None:
    """[B4] Five hundred messages; others are not touched."""
    quota = PeerQuota()
    for _ in range(CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX):
        quota.spend("a.example", 1, 5_000)
    with pytest.raises(Rejected) as refusal:
        quota.spend("a.example", 1, 5_999)
    assert refusal.value.detail == "more than 500 messages a second from a.example"
    quota.spend("b.example", 1, 5_999)
    quota.spend("a.example", 1, 6_000)
    with pytest.raises(Rejected) as refusal:
        quota.spend("a.example", 2**30, 6_000)
    assert refusal.value.detail == "more than 33554432 bytes a second from a.example"


def test_a_refused_block_of_full_size_uses_up_its_senders_second() -> None:
    """[B4] Four mebibytes that were read for nothing weigh as much as two hundred and fifty forged votes."""
    quota = PeerQuota()
    quota.spend("a.example", 4 * 2**20, 5_000)
    quota.blame("a.example", 4 * 2**20)
    with pytest.raises(Rejected) as refusal:
        quota.spend("a.example", 1, 5_001)
    assert (refusal.value.reason, refusal.value.detail) == (
        Reason.QUOTA_EXCEEDED,
        "more than 200 points of fault a second from a.example",
    )
    quota.spend("a.example", 1, 6_000)
