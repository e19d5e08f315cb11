"""Who proposes: rotation over the set in an order fixed by hash, without those who are passed over.

The order depends on the set alone, so nobody can choose a place in it without changing the set. At most
f are passed over (`demerits.py`), so of the N − f that stay f+1 are honest and alive.
"""

from collections.abc import Callable
from typing import TypeAlias

from node.chain.demerits import NO_DEMERITS, Demerits
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import Tag, tagged
from node.primitives import Height, ValidatorIndex, View


class Rotation:
    """The proposers of one height."""

    def __init__(self, validators: ValidatorSet, height: Height, demerits: Demerits = NO_DEMERITS) -> None:
        """`demerits` is the record in the state below this height."""
        passed_over = demerits.passed_over(validators, height)
        self._order = tuple(index for index in proposer_order(validators) if index not in passed_over)
        self._height = height

    def proposer(self, view: View) -> ValidatorIndex:
        """Return proposer(h, v)."""
        return self._order[(self._height + view) % len(self._order)]

    def proposed_before(self, validator: ValidatorIndex, view: View) -> bool:
        """Tell whether `validator` is proposer(h, u) for some u < view."""
        return any(self.proposer(u) == validator for u in range(min(view, len(self._order))))


RotationOf: TypeAlias = Callable[[ValidatorSet, Height, Demerits], Rotation]


def proposer_order(validators: ValidatorSet) -> tuple[ValidatorIndex, ...]:
    """Return the validator indexes by H("pila/validator-order", set hash | institution)."""

    def place(index: int) -> bytes:
        name = validators.members[index].institution.encode("ascii")
        return tagged(Tag.VALIDATOR_ORDER, validators.hash + name)

    return tuple(sorted(range(len(validators)), key=place))
