"""`node_equivocations`: which validators were caught signing two things."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from node.chain.evidence import OffenceKind
from node.chain.records.equivocation import Equivocation, Equivocations
from node.primitives import InstitutionId
from node.rpc.services import Services
from node.rpc.shapes import (
    LIMIT_DEFAULT,
    Cursor,
    HeightNumber,
    Hex32,
    Institution,
    Limit,
    Page,
    Time,
    page_of,
    time_text,
)
from node.state import keys

KindName = Annotated[
    str,
    Meta(
        description="what there are two of: proposal, prepare, commit, view_change; or broken_promise: a commit, and a "
        "view change that denies it"
    ),
]


class EquivocationView(Struct, frozen=True):
    """One offence on record."""

    institution: Institution
    epoch: int
    height: HeightNumber
    """At which it was committed."""
    view: int
    kind: KindName
    evidence_hash: Hex32
    """SHA-256 of the evidence in the block at `recorded_at`."""
    recorded_at: HeightNumber
    time: Time | None
    """Of that block; nil where this node has dropped it."""


class WaitingEvidence(Struct, frozen=True):
    """Evidence that this node holds and no block has yet."""

    institution: Institution
    epoch: int
    height: HeightNumber
    view: int
    kind: KindName


class EquivocationPage(Page[EquivocationView], frozen=True):
    """Offences in the order recorded, and what waits on this node."""

    waiting: list[WaitingEvidence]


def node_equivocations(
    services: Services, cursor: Cursor | None = None, limit: Limit = LIMIT_DEFAULT
) -> EquivocationPage:
    """List what validators, present and former, were proven to have signed twice; nobody loses a vote by it."""
    found = {_cursor_of(name, item): (name, item) for name, item in _recorded(services)}
    chosen, next_cursor = page_of((place for place in sorted(found) if place > (cursor or "")), limit)
    waiting = [
        WaitingEvidence(one.institution, one.epoch, one.height, one.view, one.kind.name.lower())
        for one, _ in services.ledger.evidence
    ]
    return EquivocationPage([_view(services, *found[place]) for place in chosen], next_cursor, waiting)


def _recorded(services: Services) -> Iterator[tuple[InstitutionId, Equivocation]]:
    for institution in services.ledger.institutions():
        record = services.ledger.read(keys.equivocations(institution), Equivocations)
        for item in () if record is None else record.items:
            yield institution, item


def _cursor_of(institution: InstitutionId, item: Equivocation) -> str:
    epoch, height, view, kind = item.place
    return f"{item.recorded_at:020}/{institution}/{epoch:010}/{height:020}/{view:010}/{kind}"


def _view(services: Services, institution: InstitutionId, item: Equivocation) -> EquivocationView:
    header = services.ledger.header_at(item.recorded_at)
    return EquivocationView(
        institution,
        item.epoch,
        item.height,
        item.view,
        OffenceKind(item.kind).name.lower(),
        item.evidence_hash.hex(),
        item.recorded_at,
        None if header is None else time_text(header.timestamp_ms),
    )
