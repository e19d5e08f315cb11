"""How many credentials there are by institution, definition and month; derived from the receipts.

It counts on as blocks come and reads the past in slices, so that neither a start nor a call waits
for the whole chain; until it has read everything, it says up to which height it has.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from node.chain.receipt import Receipt
from node.chain.records.credential import Batch
from node.primitives import Hash, Height
from node.rpc.shapes import time_text
from node.state import keys

SLICE_RECEIPTS: Final = 200
"""About 5 ms of work."""
BATCHES: Final = keys.batch(b"")
"""What the plain key of every batch record begins with."""
ISSUING: Final = frozenset({"issue", "stack"})
NAMING: Final = frozenset({"institution", "catalog"})
"""Topics of events that may bring a new institution, definition or pathway."""
CHANGING: Final = frozenset({"revoke", "suspend", "reinstate", "supersede"})


@dataclass(frozen=True, slots=True)
class Names:
    """How many things there are that have a name."""

    institutions: int
    definitions: int
    pathways: int


class Source(Protocol):
    """What is counted; the ledger is one."""

    def institutions(self) -> Iterator[str]:
        """Yield all ids."""
        ...

    def definitions(self) -> Iterator[str]:
        """Yield all ids."""
        ...

    def pathways(self) -> Iterator[str]:
        """Yield all ids."""
        ...

    def receipts_at(self, height: Height) -> Sequence[Receipt] | None:
        """Return the receipts of a block."""
        ...

    def batches_before(self, height: Height) -> Iterator[Hash]:
        """Yield the ids of the batches that were issued below a height."""
        ...


class Statistics:
    """Running counts."""

    def __init__(self, source: Source, batch: Callable[[str], Batch | None], pruned_below: Height = 0) -> None:
        """Take where receipts and batch records (by plain key) come from.

        Of blocks that are pruned the state still tells what they issued, not what else they did.
        """
        self._source = source
        self._batch = batch
        self._names: Names | None = None
        self.counted_from: Height = pruned_below
        """Transactions and status changes are counted from here on."""
        self._early = source.batches_before(pruned_below) if pruned_below else iter(())
        """Batches of pruned blocks that are not counted yet."""
        self._is_early_counted = not pruned_below
        self.height = pruned_below - 1
        """Everything up to here is counted, once the batches of pruned blocks are."""
        self.issued_by_institution: Counter[str] = Counter()
        self.issued_by_definition: Counter[str] = Counter()
        self.issued_by_month: Counter[str] = Counter()
        """`2026-11` → credentials."""
        self.changes: Counter[str] = Counter()
        """By action: entries of status changes."""
        self.transactions: Counter[str] = Counter()
        """By kind."""

    @property
    def names(self) -> Names:
        """Count what has a name; counted again only after a block that may have brought some."""
        if self._names is None:
            source = self._source
            self._names = Names(_count(source.institutions()), _count(source.definitions()), _count(source.pathways()))
        return self._names

    def changed(self, topics: Iterable[str]) -> None:
        """A block with events of these topics was committed."""
        if not NAMING.isdisjoint(topics):
            self._names = None

    def advance(self, head: Height, receipts_max: int = SLICE_RECEIPTS) -> bool:
        """Count on towards the head, whole blocks, until so many receipts were read; tell whether it is reached."""
        read = 0
        for batch_id in islice(self._early, receipts_max):
            batch = self._batch(keys.batch(batch_id))
            assert batch is not None, batch_id.hex()
            self._add_batch(batch, batch.count)
            read += 1
        self._is_early_counted |= read < receipts_max
        while self.height < head and read < receipts_max:
            receipts = self._source.receipts_at(self.height + 1) or ()
            for receipt in receipts:
                self._add(receipt)
            read += 1 + len(receipts)
            self.height += 1
        return self.height >= head and self._is_early_counted

    def _add(self, receipt: Receipt) -> None:
        self.transactions[receipt.kind] += 1
        for event in receipt.events:
            if event.action in CHANGING and event.topic == "credential":
                self.changes[event.action] += event.count
            if event.action not in ISSUING or not event.subject.startswith(BATCHES):
                continue
            batch = self._batch(event.subject)
            assert batch is not None, event.subject
            self._add_batch(batch, event.count)

    def _add_batch(self, batch: Batch, count: int) -> None:
        self.issued_by_institution[batch.issuer] += count
        self.issued_by_definition[batch.definition] += count
        self.issued_by_month[time_text(batch.act.time_ms)[:7]] += count


def _count(names: Iterator[str]) -> int:
    return sum(1 for _ in names)
