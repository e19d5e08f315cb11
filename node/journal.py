"""What this replica promised at the height it works on, so that after a crash it says the same again.

A record is durable before anything that relies on it leaves. The signer's record is another one, in a
store of its own: each of the two alone keeps us from saying two different things.
Source: PROTOCOL §5, "Persist before send".
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from node import codec
from node.chain.block import Block
from node.consensus.messages import KeptBlock, Record, SignsFrom
from node.errors import Rejected, StorageError
from node.limits import FRAME_BYTES_MAX
from node.primitives import UINT_MAX, Epoch, Hash, Height
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch

_BEGUN: Final = Column.JOURNAL.key(b"\x00begun")
_SIGNS_FROM: Final = Column.JOURNAL.key(b"\x00signs-from")
_FORGOTTEN_BELOW: Final = Column.JOURNAL.key(b"\x00forgotten-below")
_EPOCH: Final = Column.JOURNAL.key(b"\x00epoch")
_RECORDS: Final = Column.JOURNAL.key(b"\x01")
"""`j` | 01 | height (8) | number of the record (4) → record."""


class Entry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One record as it is stored."""

    record: Record


class Journal:
    """The only writer of the journal's column."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._blocks: dict[tuple[Height, Hash], bytes] = {}
        """Database key of each kept body."""
        self._next = 0
        """Number of the next record: it only grows, so that no record of a height takes the place of an earlier one."""
        for key, value in store.iterate(prefix=_RECORDS):
            height, number = _place(key)
            self._next = max(self._next, number + 1)
            self._note_block(height, key, _decode(key, value))

    @property
    def is_begun(self) -> bool:
        """Tell whether the journal covers everything the key ever signed; else the replica listens first."""
        return self._store.get(_BEGUN) is not None

    @property
    def signs_from(self) -> Height:
        """From which height on it holds everything, after a time of listening; 0 where it always did."""
        return self._height(_SIGNS_FROM)

    @property
    def knows_to(self) -> Height:
        """The highest height of which it holds or held promises; 0 for none. For who compares it with the chain."""
        heights = [_place(key)[0] for key, _ in self._store.iterate(prefix=_RECORDS)]
        return max(max(heights, default=0), self._height(_FORGOTTEN_BELOW) - 1, self.signs_from - 1, 0)

    def begin(self) -> None:
        """State that the key has signed nothing yet: for a key made a moment ago, and for nothing else."""
        batch = WriteBatch()
        batch.put(_BEGUN, b"\x01")
        self._store.write(batch, sync=True)

    @property
    def epoch(self) -> Epoch:
        """Whose promises it holds; of no other epoch does it know any."""
        return self._height(_EPOCH)

    def enter_epoch(self, epoch: Epoch) -> None:
        """Forget, durably, what was promised in older epochs: nobody counts it any more. Harmless when repeated.

        A journal that covers the old epoch whole also covers the new one, which begins now. One that had to
        listen because promises were lost does not: they may be of the new epoch, made before the loss.
        """
        if epoch <= self.epoch:
            return
        batch = WriteBatch()
        for key, _ in self._store.iterate(prefix=_RECORDS):
            batch.delete(key)
        if self._store.get(_SIGNS_FROM) is not None:
            batch.delete(_BEGUN)
        batch.delete(_SIGNS_FROM)
        batch.delete(_FORGOTTEN_BELOW)
        batch.put(_EPOCH, codec.encode(epoch))
        self._store.write(batch, sync=True)
        self._blocks.clear()

    def append(self, height: Height, records: Sequence[Record]) -> None:
        """Write records of a height in order, durably, in one batch. Raises: StorageError."""
        batch = WriteBatch()
        for record in records:
            if isinstance(record, SignsFrom):
                batch.put(_BEGUN, b"\x01")
                batch.put(_SIGNS_FROM, codec.encode(record.height))
                continue
            key = _RECORDS + height.to_bytes(8, "big") + self._next.to_bytes(4, "big")
            self._next += 1
            batch.put(key, codec.encode(Entry(record)))
            self._note_block(height, key, record)
        self._store.write(batch, sync=True)

    def records(self, height: Height, epoch: Epoch) -> tuple[Record, ...]:
        """Return what was promised at a height of an epoch, in the order written. Raises: StorageError.

        Where the promises were forgotten – the chain has fallen back under its journal – the last record
        says from which height on the journal knows them all; of an epoch that is over it knows none.
        """
        if epoch != self.epoch:
            return (SignsFrom(UINT_MAX),)
        prefix = _RECORDS + height.to_bytes(8, "big")
        found = [_decode(key, value) for key, value in self._store.iterate(prefix=prefix)]
        signs_from, forgotten_below = self._height(_SIGNS_FROM), self._height(_FORGOTTEN_BELOW)
        if signs_from or height < forgotten_below:
            found.append(SignsFrom(max(signs_from, forgotten_below)))
        return tuple(found)

    def block(self, height: Height, block_hash: Hash) -> Block | None:
        """Return a kept body, or None."""
        key = self._blocks.get((height, block_hash))
        value = None if key is None else self._store.get(key)
        if key is None or value is None:
            return None
        record = _decode(key, value)
        assert isinstance(record, KeptBlock)
        return record.block

    def forget_below(self, height: Height) -> None:
        """Drop heights that are decided; need not be durable, for what comes back is only forgotten again."""
        batch = WriteBatch()
        stop = _RECORDS + height.to_bytes(8, "big")
        for key, _ in self._store.iterate(prefix=_RECORDS, stop=stop):
            batch.delete(key)
        self._blocks = {place: key for place, key in self._blocks.items() if place[0] >= height}
        if len(batch):
            batch.put(_FORGOTTEN_BELOW, codec.encode(height))
            self._store.write(batch, sync=False)

    def _height(self, key: bytes) -> Height:
        """Return a height that stands by itself; 0 for none. Raises: StorageError."""
        value = self._store.get(key)
        if value is None:
            return 0
        try:
            return codec.decode(value, int, bytes_max=16)
        except Rejected as rejection:
            name = key.rpartition(b"\x00")[2].decode()
            raise StorageError(f"{name} in the journal is damaged ({rejection.detail})") from rejection

    def _note_block(self, height: Height, key: bytes, record: Record) -> None:
        if isinstance(record, KeptBlock):
            self._blocks[height, record.block.hash()] = key


def _place(key: bytes) -> tuple[Height, int]:
    """Return height and number from a record's key."""
    rest = key[len(_RECORDS) :]
    if len(rest) != 12:
        raise StorageError(f"the journal holds a key that is none of its own: {key.hex()}")
    return int.from_bytes(rest[:8], "big"), int.from_bytes(rest[8:], "big")


def _decode(key: bytes, value: bytes) -> Record:
    try:
        return codec.decode(value, Entry, bytes_max=FRAME_BYTES_MAX).record
    except Rejected as rejection:
        height, number = _place(key)
        raise StorageError(
            f"record {number} of height {height} in the journal is damaged ({rejection.detail}); "
            "move the journal away and let the node listen first; never put an older copy in its place"
        ) from rejection
