"""What a replica promised, read back as it was written."""

import pytest

from node.chain.certificate import Phase
from node.consensus.messages import KeptBlock, Prepared, PromisedProposal, SignsFrom
from node.errors import StorageError
from node.journal import Journal
from node.primitives import UINT_MAX
from node.state.kv import MemoryStore, WriteBatch
from tests.unit.consensus.desk import Desk

DESK = Desk()
BLOCK = DESK.block()
RECORDS = (
    KeptBlock(BLOCK),
    PromisedProposal(DESK.head(0, BLOCK.hash()), (), None),
    DESK.prepare(0, 0, BLOCK.hash()),
    Prepared(DESK.certificate(Phase.PREPARE, 0, BLOCK.hash())),
    DESK.commit(0, 0, BLOCK.hash()),
    DESK.view_change(0, 1, DESK.certificate(Phase.PREPARE, 0, BLOCK.hash())),
)


def test_records_come_back_in_order_after_a_restart() -> None:
    """Also when they were written in several batches, by several lives."""
    store = MemoryStore()
    Journal(store).append(1, RECORDS[:2])
    Journal(store).append(1, RECORDS[2:])
    assert Journal(store.copy()).records(1, 0) == RECORDS
    assert Journal(store).records(2, 0) == ()


def test_kept_block_is_found_by_height_and_hash() -> None:
    """Also after a restart; another height or hash is none."""
    store = MemoryStore()
    Journal(store).append(1, RECORDS)
    for journal in (Journal(store), Journal(store.copy())):
        assert journal.block(1, BLOCK.hash()) == BLOCK
        assert journal.block(2, BLOCK.hash()) is None
        assert journal.block(1, b"h" * 32) is None


def test_decided_heights_are_forgotten() -> None:
    """Only what lies below; the later height stays whole."""
    store = MemoryStore()
    journal = Journal(store)
    journal.append(1, RECORDS)
    journal.append(2, RECORDS[:1])
    journal.forget_below(2)
    assert (journal.records(1, 0), journal.records(2, 0)) == ((SignsFrom(2),), RECORDS[:1])
    assert journal.block(1, BLOCK.hash()) is None
    journal.append(2, RECORDS[2:3])
    assert Journal(store).records(2, 0) == (RECORDS[0], RECORDS[2])


def test_later_life_overwrites_nothing_of_the_height_it_works_on() -> None:
    """A restart forgets what lies below and goes on behind its own promises, also where no body is kept."""
    store = MemoryStore()
    Journal(store).append(1, (RECORDS[5], RECORDS[2]))
    journal = Journal(store)
    journal.forget_below(1)
    journal.append(1, RECORDS[3:5])
    assert Journal(store).records(1, 0) == (RECORDS[5], RECORDS[2], RECORDS[3], RECORDS[4])


def test_below_the_heights_that_were_forgotten_nothing_may_be_signed() -> None:
    """A chain that falls back under its journal: what was promised below is gone, so the journal says from where."""
    store = MemoryStore()
    journal = Journal(store)
    journal.append(1, RECORDS)
    journal.forget_below(2)
    journal.append(2, RECORDS[2:3])
    journal.forget_below(3)
    for again in (journal, Journal(store.copy())):
        assert again.records(1, 0) == (SignsFrom(3),)
        assert again.records(3, 0) == ()
    journal.append(3, (SignsFrom(7),))
    assert Journal(store).records(2, 0) == (SignsFrom(7),)


def test_damaged_height_is_a_fault_of_the_disk() -> None:
    """Not of whoever reads it."""
    store = MemoryStore()
    Journal(store).append(1, (SignsFrom(7),))
    batch = WriteBatch()
    batch.put(b"j\x00signs-from", b"\xc1")
    store.write(batch, sync=True)
    with pytest.raises(StorageError, match="signs-from in the journal is damaged"):
        Journal(store).records(1, 0)


def test_new_journal_covers_nothing_until_it_is_begun() -> None:
    """A key without a journal must listen first; `begin` is for a key made a moment ago."""
    store = MemoryStore()
    assert not Journal(store).is_begun
    Journal(store).begin()
    assert Journal(store).is_begun


def test_safe_distance_is_kept_for_every_height() -> None:
    """[R3] It begins the journal, and outlives heights."""
    store = MemoryStore()
    Journal(store).append(1, (SignsFrom(7),))
    journal = Journal(store)
    journal.forget_below(5)
    assert journal.is_begun
    assert journal.records(5, 0) == (SignsFrom(7),)


def test_every_batch_is_synced_but_forgetting() -> None:
    """What relies on a record leaves only after it is on disk."""
    synced: list[bool] = []

    class Watched(MemoryStore):
        def write(self, batch: WriteBatch, *, sync: bool) -> None:
            synced.append(sync)
            super().write(batch, sync=sync)

    journal = Journal(Watched())
    journal.append(1, RECORDS)
    journal.forget_below(2)
    assert synced == [True, False]


def test_damaged_record_is_said_and_fatal() -> None:
    """The sentence names record and height, and what to do."""
    store = MemoryStore()
    Journal(store).append(1, RECORDS[:1])
    ((key, value),) = store.iterate()
    batch = WriteBatch()
    batch.put(key, value[:-1])
    store.write(batch, sync=True)
    with pytest.raises(StorageError) as error:
        Journal(store)
    assert str(error.value).startswith("record 0 of height 1 in the journal is damaged")


def test_new_epoch_wipes_the_promises_of_the_old_one() -> None:
    """[X4] Durably and once; what it covered before it covers still, and old promises never come back."""
    store = MemoryStore()
    journal = Journal(store)
    journal.begin()
    journal.append(5, RECORDS)
    journal.forget_below(3)
    journal.enter_epoch(1)
    journal.append(5, RECORDS[2:3])
    journal.enter_epoch(1)
    for again in (journal, Journal(store.copy())):
        assert (again.epoch, again.is_begun, again.signs_from) == (1, True, 0)
        assert again.records(5, 1) == RECORDS[2:3]
        assert again.block(5, BLOCK.hash()) is None


def test_heights_forgotten_in_the_old_epoch_may_be_signed_in_the_new_one() -> None:
    """[X4] Blocks that were taken back are decided anew, lower than what was promised before."""
    journal = Journal(MemoryStore())
    journal.begin()
    journal.append(8, RECORDS)
    journal.forget_below(9)
    assert journal.records(6, 0) == (SignsFrom(9),)
    journal.enter_epoch(1)
    assert journal.records(6, 1) == ()


def test_journal_knows_nothing_of_an_epoch_that_is_over() -> None:
    """[X4] The chain was lost and is fetched again from before the recovery: nothing may be signed there."""
    journal = Journal(MemoryStore())
    journal.begin()
    journal.enter_epoch(2)
    for epoch in (0, 1):
        assert journal.records(5, epoch) == (SignsFrom(UINT_MAX),)
    journal.enter_epoch(1)
    assert journal.epoch == 2


def test_journal_that_began_by_listening_does_not_cover_the_next_epoch() -> None:
    """[X4] What was lost may have been promises of that very epoch: the key listens again."""
    store = MemoryStore()
    journal = Journal(store)
    journal.append(1, (SignsFrom(7),))
    assert journal.is_begun
    journal.enter_epoch(1)
    for again in (journal, Journal(store.copy())):
        assert (again.is_begun, again.signs_from, again.records(9, 1)) == (False, 0, ())
