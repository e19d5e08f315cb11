"""`val/equivocation/<institution>`: what a validator was proven to have signed twice; kept for ever, removes nobody."""

from typing import Annotated

import msgspec
from msgspec import Meta

from node.chain.evidence import Place
from node.limits import EQUIVOCATIONS_RECORDED_MAX
from node.primitives import Epoch, Hash, Height, View


class Equivocation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One offence on record."""

    epoch: Epoch
    height: Height
    """At which it was committed."""
    view: View
    kind: Annotated[int, Meta(ge=1, le=5)]
    """An `OffenceKind`."""
    evidence_hash: Hash
    """SHA-256 of the evidence, which is in the block at `recorded_at`."""
    recorded_at: Height

    @property
    def place(self) -> Place:
        """As `Offence.place`."""
        return self.epoch, self.height, self.view, self.kind


class Equivocations(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record of one institution."""

    items: Annotated[tuple[Equivocation, ...], Meta(max_length=EQUIVOCATIONS_RECORDED_MAX)]
    """In the order recorded; each place once."""
