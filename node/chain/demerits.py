"""`val/demerits`: which validators let their turns to propose go by, and until when they are passed over."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node.chain.validator_set import ValidatorSet
from node.limits import DEMERIT_MISSES_MAX, VALIDATORS_MAX
from node.primitives import Height, InstitutionId, ValidatorIndex


class Demerit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is held against one member."""

    institution: InstitutionId
    misses: Annotated[int, Meta(ge=1, le=DEMERIT_MISSES_MAX)]
    """Heights at which its turn went by, as far as they are not forgotten."""
    passed_until: Height
    """The last height at which it may be passed over."""


class Demerits(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `val/demerits`; there is none until somebody misses a turn."""

    entries: Annotated[tuple[Demerit, ...], Meta(max_length=VALIDATORS_MAX)]
    """Ascending by institution, members of the set only."""
    changed_at: Height
    """Height of the block that wrote this; its own proposers were still those of the record before."""
    passed_then: Annotated[tuple[InstitutionId, ...], Meta(max_length=VALIDATORS_MAX)]
    """Who was passed over at that height, so that the block after it can tell whose turns went by."""

    def passed_over(self, validators: ValidatorSet, height: Height) -> frozenset[ValidatorIndex]:
        """Return who does not propose at a height: at most f, those with most misses first, ties in order of the set.

        Good for `changed_at` and every height above it.
        """
        if height == self.changed_at:
            found = (validators.index_of(name) for name in self.passed_then)
            return frozenset(index for index in found if index is not None)
        due = []
        for entry in self.entries:
            index = validators.index_of(entry.institution)
            if index is not None and entry.passed_until >= height:
                due.append((-entry.misses, index))  # [L1]
        return frozenset(index for _, index in sorted(due)[: validators.max_faulty])


NO_DEMERITS: Final = Demerits((), 0, ())
