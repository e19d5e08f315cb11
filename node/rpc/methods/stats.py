"""`stats_…`: how much there is."""

from msgspec import Struct

from node.rpc.services import Services
from node.rpc.shapes import HeightNumber


class StatsView(Struct, frozen=True):
    """Counts up to a height."""

    height: HeightNumber
    """Everything up to here is counted."""
    complete: bool
    """False while the past is still being counted after a start: ask again."""
    counted_from: HeightNumber
    """`transactions` and `status_changes` begin here: the blocks below are pruned on this node. 0 where none are."""
    institutions: int
    definitions: int
    pathways: int
    credentials: int
    transactions: dict[str, int]
    """By kind."""
    status_changes: dict[str, int]
    """Entries by action: revoke, suspend, reinstate, supersede."""
    credentials_by_institution: dict[str, int]
    credentials_by_definition: dict[str, int]
    credentials_by_month: dict[str, int]
    """`2026-11` → credentials issued, by block time."""


def stats_summary(services: Services) -> StatsView:
    """Count what is on the chain: by kind of transaction, institution, definition and month."""
    ledger, counted = services.ledger, services.statistics
    complete = counted.advance(ledger.head.height)
    return StatsView(
        max(counted.height, 0),
        complete,
        counted.counted_from,
        counted.names.institutions,
        counted.names.definitions,
        counted.names.pathways,
        sum(counted.issued_by_institution.values()),
        _sorted(counted.transactions),
        _sorted(counted.changes),
        _sorted(counted.issued_by_institution),
        _sorted(counted.issued_by_definition),
        _sorted(counted.issued_by_month),
    )


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return {name: counts[name] for name in sorted(counts)}
