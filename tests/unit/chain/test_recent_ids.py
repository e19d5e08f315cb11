"""Ids are remembered for exactly as long as their transactions could come back."""

from node.chain.recent_ids import PREFIX_BYTES, RecentIds, oldest_height
from node.crypto.hashing import sha256
from node.limits import TRANSACTION_VALIDITY_HEIGHTS_MAX


def test_id_is_remembered_for_a_thousand_blocks() -> None:
    """Included at 1 with the longest window it may stand in blocks up to 1,001: remembered until that is committed."""
    recent = RecentIds()
    first = sha256(b"first")
    recent.add(1, [first])
    recent.add(TRANSACTION_VALIDITY_HEIGHTS_MAX, [sha256(b"last")])
    assert first in recent
    recent.add(TRANSACTION_VALIDITY_HEIGHTS_MAX + 1, [])
    assert first not in recent
    assert len(recent) == 1


def test_oldest_height_is_the_first_that_matters() -> None:
    """Above head 1,000 block 1 matters; above head 1,001 block 2."""
    assert [oldest_height(head) for head in (0, 999, 1_000, 1_001)] == [0, 0, 1, 2]


def test_ids_are_kept_as_prefixes() -> None:
    """16 bytes tell any two transactions apart that anybody can make."""
    recent = RecentIds()
    the_id = sha256(b"x")
    recent.add(1, [the_id])
    assert the_id[:PREFIX_BYTES] + bytes(16) in recent
    assert sha256(b"y") not in recent
