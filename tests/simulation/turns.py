"""Whose turn it is to propose, told again from nothing but the decided blocks; the oracle's side of the demerits.

Written from the words of node/consensus/README.md, slowly: each question goes through all missed turns.
"""

from collections.abc import Sequence
from functools import cache

from node.chain.block import Block


class Turns:
    """For one fixed set of validators, given as their names in order of the set."""

    def __init__(self, names: Sequence[str], order: Sequence[int]) -> None:
        self._names = names
        self._order = order
        self._makers: dict[int, str | None] = {}
        """Original proposer by height."""
        self._late: dict[int, int] = {}
        """View by height, ascending, where it is above 0; as the certificate inside the block above has it."""
        self.passed_over = cache(self._passed_over)
        self._missed = cache(self._who_missed)

    def on_decided(self, block: Block) -> None:
        """Take note of a decided block; those below it were noted before."""
        self._makers[block.header.height] = block.header.proposer
        certificate = block.parent_certificate
        if certificate is not None and certificate.view > 0:
            self._late[certificate.height] = certificate.view

    def proposer(self, height: int, view: int) -> int:
        """Return a validator's index; what decides it are the blocks below `height`."""
        left = [index for index in self._order if index not in self.passed_over(height)]
        return left[(height + view) % len(left)]

    def _passed_over(self, height: int) -> frozenset[int]:
        count = len(self._names)
        held = []
        for index in range(count):
            strikes, until = self._standing(index, height)
            if strikes and until >= height:
                held.append((-strikes, index))
        faulty = max(k for k in range(count) if 3 * k < count)
        return frozenset(index for _, index in sorted(held)[:faulty])

    def _standing(self, index: int, height: int) -> tuple[int, int]:
        """Return how many missed turns are remembered of a validator, and until when it is passed over."""
        count = len(self._names)
        strikes = until = 0
        for missed in self._late:
            if missed > height - 2 or index not in self._missed(missed):  # block height − 1 tells of height − 2
                continue
            if missed + 1 > until + 32 * count:
                strikes = 0
            strikes = min(strikes + 1, 4)
            until = missed + 16 * count * 2**strikes
        return strikes, until

    def _who_missed(self, height: int) -> frozenset[int]:
        turns = min(self._late[height], len(self._names))
        had_turns = {self.proposer(height, view) for view in range(turns)}
        return frozenset(index for index in had_turns if self._names[index] != self._makers[height])
