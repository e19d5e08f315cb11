"""What the node asks of a key-value store, the batch that it writes, and the twin in memory.

Keys sort as bytes. A batch is written whole or not at all; one synced batch per block is what
makes a block durable. `node.state.leveldb` is the store on disk.
"""

from bisect import bisect_left
from collections.abc import Iterator
from typing import Protocol, Self

KEY_BYTES_MAX = 512


class WriteBatch:
    """Ordered puts and deletes that are written together; the last word on a key wins."""

    def __init__(self) -> None:
        self._items: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        """Write `value` under `key`."""
        assert 0 < len(key) <= KEY_BYTES_MAX
        self._items.append((key, value))

    def delete(self, key: bytes) -> None:
        """Remove `key`; nothing happens where it is absent."""
        assert 0 < len(key) <= KEY_BYTES_MAX
        self._items.append((key, None))

    def __iter__(self) -> Iterator[tuple[bytes, bytes | None]]:
        """(key, value) in the order given; None deletes."""
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class KeyValueStore(Protocol):
    """An ordered map of bytes with atomic batches. One writer."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None. Raises: StorageError where it cannot be read as it was written."""
        ...

    def iterate(
        self,
        *,
        prefix: bytes = b"",
        start: bytes | None = None,
        stop: bytes | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in key order, as they were when the iteration began.

        `start` (included) and `stop` (excluded) are complete keys; with `prefix` the range is what
        lies in both. Raises: StorageError.
        """
        ...

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        """Write the whole batch or nothing; with `sync` it survives a power cut. Raises: StorageError.

        After a failure the store takes no further write: what the disk holds is known again only
        when it is opened anew.
        """
        ...

    def approximate_bytes(self) -> int:
        """Return about how many bytes the store takes."""
        ...

    def close(self) -> None:
        """Let go of the files. Harmless when repeated."""
        ...


class MemoryStore:
    """The twin in memory: same answers, nothing on disk."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._sorted: list[bytes] | None = []
        """The keys in order; None after a write that brought or removed one."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None."""
        return self._values.get(key)

    def iterate(
        self,
        *,
        prefix: bytes = b"",
        start: bytes | None = None,
        stop: bytes | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in key order, as they were when the iteration began."""
        low, high = bounds(prefix, start, stop)
        keys = self._sorted_keys()
        first = bisect_left(keys, low)
        last = len(keys) if high is None else bisect_left(keys, high)
        chosen = [(key, self._values[key]) for key in keys[first:last]]
        return iter(reversed(chosen) if reverse else chosen)

    def write(self, batch: WriteBatch, *, sync: bool) -> None:  # noqa: ARG002 - nothing to sync in memory
        """Apply the batch."""
        count = len(self._values)
        brought = False
        for key, value in batch:
            if value is None:
                brought |= self._values.pop(key, None) is not None
            else:
                self._values[key] = value
        if brought or len(self._values) != count:
            self._sorted = None

    def approximate_bytes(self) -> int:
        """Return the bytes of all keys and values."""
        return sum(len(key) + len(value) for key, value in self._values.items())

    def close(self) -> None:
        """Nothing to let go of."""

    def copy(self) -> Self:
        """Return an independent store with the same contents: what a crash would leave."""
        everything = WriteBatch()
        for key, value in self._values.items():
            everything.put(key, value)
        twin = type(self)()
        twin.write(everything, sync=True)
        return twin

    def _sorted_keys(self) -> list[bytes]:
        if self._sorted is None:
            self._sorted = sorted(self._values)
        return self._sorted


def bounds(prefix: bytes, start: bytes | None, stop: bytes | None) -> tuple[bytes, bytes | None]:
    """Return the first key of a range and the one it stops before; None where it has no end."""
    low = prefix if start is None else max(prefix, start)
    end = prefix_end(prefix)
    if end is None or stop is None:
        return low, end if stop is None else stop
    return low, min(end, stop)


def prefix_end(prefix: bytes) -> bytes | None:
    """Return the least key above every key with this prefix; None where there is none (empty, or all 0xff)."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None
