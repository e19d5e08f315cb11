"""The ids of the last 1,000 blocks' transactions: what may not be included again.

A transaction may stand in a block up to 1,000 heights before it expires, so 1,000 blocks of ids are
enough to refuse a repeat. Kept as 16-byte prefixes; a node rebuilds them from its store.
Source: PROTOCOL §3.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from node.limits import BLOCK_TRANSACTIONS_MAX, TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.primitives import Hash, Height

PREFIX_BYTES: Final = 16


class RecentIds:
    """Prefixes of the ids in the last 1,000 blocks."""

    def __init__(self) -> None:
        self._prefixes: set[bytes] = set()
        self._blocks: deque[tuple[Height, list[bytes]]] = deque()
        """(height, its prefixes), ascending; only blocks that have any."""

    def __contains__(self, transaction_id: object) -> bool:
        assert isinstance(transaction_id, bytes)
        return transaction_id[:PREFIX_BYTES] in self._prefixes

    def __len__(self) -> int:
        return len(self._prefixes)

    def add(self, height: Height, transaction_ids: Sequence[Hash]) -> None:
        """Remember a committed block's ids and drop those that can no longer matter at the next height."""
        assert not self._blocks or height > self._blocks[-1][0]
        assert len(transaction_ids) <= BLOCK_TRANSACTIONS_MAX
        prefixes = [transaction_id[:PREFIX_BYTES] for transaction_id in transaction_ids]
        if prefixes:
            self._blocks.append((height, prefixes))
            self._prefixes.update(prefixes)
        while self._blocks and self._blocks[0][0] < oldest_height(height):
            self._prefixes.difference_update(self._blocks.popleft()[1])


def oldest_height(head: Height) -> Height:
    """Return the lowest height whose ids still matter above a head."""
    return max(0, head + 1 - TRANSACTION_VALIDITY_HEIGHTS_MAX)
