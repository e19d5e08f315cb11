"""Whose turn it is to propose, told again from nothing but the decided blocks; the oracle's side of the demerits.

Written from the words of node/consensus/README.md, slowly: each question goes through all missed turns.
"""

from collections.abc import Callable
from functools import cache

from node.chain.block import Block
from node.chain.rotation import proposer_order
from node.chain.validator_set import ValidatorSet


class Turns:
    """For one chain, given the set of each of its heights."""

    def __init__(self, validators_at: Callable[[int], ValidatorSet]) -> None:
        """`validators_at` is asked for heights up to one above the highest decided one only."""
        self._validators_at = validators_at
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
        order = proposer_order(self._validators_at(height))
        left = [index for index in order if index not in self.passed_over(height)]
        return left[(height + view) % len(left)]

    def _passed_over(self, height: int) -> frozenset[int]:
        members = self._validators_at(height).members
        standing = self._standing(height)
        held = []
        for index, member in enumerate(members):
            strikes, until = standing.get(member.institution, (0, 0))
            if strikes and until >= height:
                held.append((-strikes, index))
        faulty = max(k for k in range(len(members)) if 3 * k < len(members))
        return frozenset(index for _, index in sorted(held)[:faulty])

    def _standing(self, height: int) -> dict[str, tuple[int, int]]:
        """Return of whom how many missed turns are remembered at a height, and until when each is passed over."""
        standing: dict[str, tuple[int, int]] = {}
        for missed in self._late:
            if missed > height - 2 or not self._missed(missed):  # block height − 1 tells of height − 2
                continue
            names = [member.institution for member in self._validators_at(missed).members]
            count = len(names)
            standing = {
                name: (strikes, until)
                for name, (strikes, until) in standing.items()
                if name in names and missed + 1 <= until + 32 * count
            }
            for name in self._missed(missed):
                strikes = min(standing.get(name, (0, 0))[0] + 1, 4)
                standing[name] = (strikes, missed + 16 * count * 2**strikes)
        return standing

    def _who_missed(self, height: int) -> frozenset[str]:
        """Return the names of those whose turn went by; at the last height of a set nobody's."""
        validators = self._validators_at(height)
        if validators != self._validators_at(height + 1):
            return frozenset()
        names = [member.institution for member in validators.members]
        turns = min(self._late[height], len(names))
        had_turns = {names[self.proposer(height, view)] for view in range(turns)}
        return frozenset(name for name in had_turns if name != self._makers[height])
