"""A height's validators, and the only counting formulas of the system.

N = size, f = ⌊(N−1)/3⌋, Q = ⌈(N+f+1)/2⌉. Two quorums share at least f+1 members, so at least one
honest one, for every N, not only for N = 3f+1; 2f+1 does not (N = 6: two disjoint sets of 3).
Source: PROTOCOL §5.
"""

from functools import cached_property

import msgspec

from node import codec
from node.crypto.hashing import Tag, tagged
from node.limits import VALIDATORS_MAX, VALIDATORS_MIN
from node.primitives import Hash, InstitutionId, PublicKey


def max_faulty(n: int) -> int:
    """Return f, how many of n validators may lie without harm. 4 → 1, 6 → 1, 7 → 2, 100 → 33."""
    return (n - 1) // 3


def quorum(n: int) -> int:
    """Return Q, how many distinct validators decide. 4 → 3, 5 → 4, 6 → 4, 7 → 5, 100 → 67."""
    return (n + max_faulty(n) + 2) // 2


class Validator(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One member of a validator set."""

    institution: InstitutionId
    """Who runs it; one validator per institution."""
    public_key: PublicKey
    """Ed25519 consensus key, 32 bytes."""


class ValidatorSet(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """The members that vote at a height, ascending by institution id; equal weight."""

    members: tuple[Validator, ...]
    """4 … 100, ascending by institution id, no institution and no key twice."""

    def __len__(self) -> int:
        return len(self.members)

    @property
    def max_faulty(self) -> int:
        """f of this set."""
        return max_faulty(len(self.members))

    @property
    def quorum(self) -> int:
        """Q of this set."""
        return quorum(len(self.members))

    @cached_property
    def hash(self) -> Hash:
        """H("pila/validators", canonical bytes): what headers commit to."""
        return tagged(Tag.VALIDATOR_SET, codec.encode(self))

    @cached_property
    def _indexes(self) -> dict[InstitutionId, int]:
        return {member.institution: index for index, member in enumerate(self.members)}

    def index_of(self, institution: InstitutionId) -> int | None:
        """Return a member's index, or None."""
        return self._indexes.get(institution)

    def check(self) -> None:
        """Assert the shape that every set in force has."""
        assert VALIDATORS_MIN <= len(self.members) <= VALIDATORS_MAX
        names = [member.institution for member in self.members]
        assert names == sorted(set(names))
        assert len({member.public_key for member in self.members}) == len(names)
