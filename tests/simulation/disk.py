"""A disk that behaves as badly as disks do: what was not synced may be lost, and bits rot.

A batch is there whole or not at all, as in LevelDB, whose log drops a torn tail by its checksum. Rot is
what LevelDB with its checksums makes of a flipped bit: whoever reads the entry gets a StorageError.
"""

from collections.abc import Callable, Iterator
from random import Random

from node.errors import StorageError
from node.state.kv import MemoryStore, WriteBatch


def _nothing() -> None:
    return


class SimulatedDisk(MemoryStore):
    """A key-value store whose unsynced tail may be lost in a crash, any suffix of it."""

    def __init__(self) -> None:
        super().__init__()
        self._undo: list[dict[bytes, bytes | None]] = []
        """For each batch not synced yet, oldest first: what its keys held before."""
        self._rotten: set[bytes] = set()
        self.before_write: Callable[[], None] = _nothing
        self.after_write: Callable[[], None] = _nothing

    def get(self, key: bytes) -> bytes | None:
        if key in self._rotten:
            raise StorageError(f"{key.hex()} cannot be read as it was written")
        return self._values.get(key)

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        found = super().iterate(prefix=prefix, start=start, stop=stop, reverse=reverse)
        return self._sound(found) if self._rotten else found

    def _sound(self, found: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for key, value in found:
            if key in self._rotten:
                raise StorageError(f"{key.hex()} cannot be read as it was written")
            yield key, value

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        self.before_write()
        if sync:
            self._undo.clear()
        else:
            self._undo.append({key: self._values.get(key) for key, _ in batch})
        super().write(batch, sync=sync)
        if self._rotten:
            self._rotten.difference_update(key for key, _ in batch)
        self.after_write()

    def crash(self, random: Random) -> None:
        """Power off: of the batches not synced any number of the latest did not reach the disk."""
        for _ in range(random.randint(0, len(self._undo))):
            before = WriteBatch()
            for key, value in self._undo.pop().items():
                if value is None:
                    before.delete(key)
                else:
                    before.put(key, value)
            super().write(before, sync=True)
        self._undo.clear()

    def rot(self, random: Random) -> bool:
        """Flip a bit somewhere; False where there is nothing to spoil."""
        if not self._values:
            return False
        self._rotten.add(random.choice(sorted(self._values)))
        return True

    @property
    def is_rotten(self) -> bool:
        return bool(self._rotten)

    def wipe(self) -> None:
        """The operator has lost this disk, or moved it away."""
        self._values.clear()
        self._sorted = None
        self._undo.clear()
        self._rotten.clear()
