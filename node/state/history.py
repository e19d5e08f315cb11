"""What recent blocks overwrote, so that states below the head can still be proven against.

Each block's old records lie under one key of the undo column, written and pruned in the block's own
batch. The tree of an earlier height is the tree of the head with every key that changed since put
back to what it was: the oldest overwritten record above that height, or nothing.
Source: PROTOCOL §4.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from node import codec
from node.errors import Rejected, StorageError
from node.limits import UNDO_BYTES_MAX, UNDO_CHANGES_MAX, UNDO_HEIGHTS_MAX
from node.primitives import Hash, Height, Uint
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch


class Undo(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one block overwrote; stored under its height."""

    root: Hash
    """State root before the block."""
    key_count: Uint
    """Number of keys before the block."""
    overwritten: tuple[tuple[Hash, bytes | None], ...]
    """(key hash, flat record before the block), nil where the block brought the key."""


@dataclass(frozen=True, slots=True)
class UndoSpan:
    """Where one block's undo lies, and what it weighs."""

    height: Height
    change_count: int
    byte_count: int

    @property
    def key(self) -> bytes:
        """The database key."""
        return Column.UNDO.at(self.height, self.change_count.to_bytes(4, "big"))


class UndoRing:
    """The undo records of the most recent heights, without a gap, ending at the head."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._spans: deque[UndoSpan] = deque()
        for key, value in store.iterate(prefix=Column.UNDO.value):
            height, count = int.from_bytes(key[1:9], "big"), int.from_bytes(key[9:], "big")
            self._spans.append(UndoSpan(height, count, len(value)))
        self._change_count = sum(span.change_count for span in self._spans)
        self._byte_count = sum(span.byte_count for span in self._spans)

    @property
    def heights(self) -> range:
        """Heights whose block can be undone."""
        if not self._spans:
            return range(0)
        return range(self._spans[0].height, self._spans[-1].height + 1)

    def changes_above(self, height: Height) -> int:
        """Return how many records the blocks above a height overwrote, as far as they can be undone."""
        return sum(span.change_count for span in self._spans if span.height > height)

    def stage(self, height: Height, undo: Undo, batch: WriteBatch) -> UndoSpan:
        """Put a block's undo into its batch, and the removal of those that fall out."""
        data = codec.encode(undo)
        span = UndoSpan(height, len(undo.overwritten), len(data))
        batch.put(span.key, data)
        for old in self._falling_out(span):
            batch.delete(old.key)
        return span

    def apply(self, span: UndoSpan) -> None:
        """Follow what `stage` put into a batch that is now written."""
        assert not self._spans or span.height == self._spans[-1].height + 1
        for old in self._falling_out(span):
            self._spans.popleft()
            self._change_count -= old.change_count
            self._byte_count -= old.byte_count
        self._spans.append(span)
        self._change_count += span.change_count
        self._byte_count += span.byte_count

    def stage_return(self, height: Height, batch: WriteBatch) -> None:
        """Put the removal of every undo above a height into a batch."""
        for span in self._spans:
            if span.height > height:
                batch.delete(span.key)

    def read(self, height: Height) -> Undo:
        """Return what the block at a height overwrote. Raises: StorageError."""
        span = self._spans[height - self._spans[0].height]
        assert span.height == height
        data = self._store.get(span.key)
        if data is None:
            raise StorageError(f"the undo record of height {height} is missing")
        try:
            return codec.decode(data, Undo, bytes_max=len(data))
        except Rejected as error:
            raise StorageError(f"the undo record of height {height} is corrupt: {error}") from error

    def _falling_out(self, added: UndoSpan) -> Sequence[UndoSpan]:
        """Return the oldest spans for which a new one leaves no room."""
        heights = len(self._spans) + 1
        changes = self._change_count + added.change_count
        size = self._byte_count + added.byte_count
        fallen = []
        for span in self._spans:
            if heights <= UNDO_HEIGHTS_MAX and changes <= UNDO_CHANGES_MAX and size <= UNDO_BYTES_MAX:
                break
            fallen.append(span)
            heights -= 1
            changes -= span.change_count
            size -= span.byte_count
        return fallen
