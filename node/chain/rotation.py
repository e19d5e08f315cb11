"""Who proposes: rotation over the set in an order fixed by hash.

The order depends on the set alone, so nobody can choose a place in it without changing the set.
"""

from collections.abc import Callable
from typing import TypeAlias

from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import Tag, tagged
from node.primitives import Height, ValidatorIndex, View


class Rotation:
    """The proposers of one height."""

    def __init__(self, validators: ValidatorSet, height: Height) -> None:
        self._order = proposer_order(validators)
        self._height = height

    def proposer(self, view: View) -> ValidatorIndex:
        """Return proposer(h, v)."""
        return self._order[(self._height + view) % len(self._order)]

    def proposed_before(self, validator: ValidatorIndex, view: View) -> bool:
        """Tell whether `validator` is proposer(h, u) for some u < view."""
        return any(self.proposer(u) == validator for u in range(min(view, len(self._order))))


RotationOf: TypeAlias = Callable[[ValidatorSet, Height], Rotation]


def proposer_order(validators: ValidatorSet) -> tuple[ValidatorIndex, ...]:
    """Return the validator indexes by H("pila/validator-order", set hash | institution)."""

    def place(index: int) -> bytes:
        name = validators.members[index].institution.encode("ascii")
        return tagged(Tag.VALIDATOR_ORDER, validators.hash + name)

    return tuple(sorted(range(len(validators)), key=place))
