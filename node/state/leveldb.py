"""The store on disk: LevelDB. The only place that knows plyvel.

Opened with paranoid checks, and every read checks its checksum: with LevelDB's defaults one flipped
byte in the log silently loses committed batches, and one in a table is served as if it were true.
"""

from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Final, Protocol, Self, cast

import plyvel

from node.errors import StorageError
from node.state.kv import WriteBatch, bounds

CACHE_BYTES: Final = 16 * 1024 * 1024
"""Decompressed blocks kept in memory; hot records are cached above the store."""
WRITE_BUFFER_BYTES: Final = 8 * 1024 * 1024
OPEN_FILES_MAX: Final = 200
"""Tables of 2 MiB are mapped into memory while open: this bounds what they add to the process."""
BLOOM_FILTER_BITS: Final = 10


class _Batch(Protocol):
    """What we use of plyvel's write batch."""

    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def write(self) -> None: ...


class _Database(Protocol):
    """What we use of plyvel's database, which ships no types."""

    closed: bool

    def get(self, key: bytes, *, verify_checksums: bool) -> bytes | None: ...
    def iterator(
        self,
        *,
        start: bytes | None,
        stop: bytes | None,
        reverse: bool,
        verify_checksums: bool,
        fill_cache: bool,
    ) -> Iterator[tuple[bytes, bytes]]: ...
    def write_batch(self, *, transaction: bool, sync: bool) -> _Batch: ...
    def approximate_size(self, start: bytes, stop: bytes) -> int: ...
    def compact_range(self, *, start: bytes, stop: bytes) -> None: ...
    def close(self) -> None: ...


class LevelDbStore:
    """A `KeyValueStore` in one folder that no other process holds."""

    def __init__(self, database: _Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._failure: str | None = None
        """Why an earlier write failed; LevelDB itself would go on behind a half-written log record."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None. Raises: StorageError."""
        try:
            return self._database.get(key, verify_checksums=True)
        except (plyvel.Error, RuntimeError) as error:
            raise StorageError(f"cannot read from {self._path}: {_text(error)}") from error

    def iterate(
        self,
        *,
        prefix: bytes = b"",
        start: bytes | None = None,
        stop: bytes | None = None,
        reverse: bool = False,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) in key order, as they were when the iteration began. Raises: StorageError."""
        low, high = bounds(prefix, start, stop)
        if high is not None and low >= high:
            return iter(())
        try:
            # plyvel 1.5.1 walks a range with one key in it backwards as if it were empty, so the lower
            # bound of a walk backwards is ours.
            found = self._database.iterator(
                start=None if reverse else low,
                stop=high,
                reverse=reverse,
                verify_checksums=True,
                fill_cache=False,
            )
        except (plyvel.Error, RuntimeError) as error:
            raise StorageError(f"cannot read from {self._path}: {_text(error)}") from error
        return self._checked(found if not reverse else takewhile(lambda item: item[0] >= low, found))

    def _checked(self, found: Iterator[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield from found
        except (plyvel.Error, RuntimeError) as error:
            raise StorageError(f"cannot read from {self._path}: {_text(error)}") from error

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        """Write the whole batch or nothing. Raises: StorageError, and at every write after a failed one."""
        if self._failure is not None:
            raise StorageError(f"{self._path} takes no more writes since one failed: {self._failure}")
        try:
            native = self._database.write_batch(transaction=False, sync=sync)
            for key, value in batch:
                if value is None:
                    native.delete(key)
                else:
                    native.put(key, value)
            native.write()
        except (plyvel.Error, RuntimeError) as error:
            self._failure = _text(error)
            raise StorageError(f"cannot write to {self._path}: {_text(error)}") from error

    def approximate_bytes(self) -> int:
        """Return about how many bytes the tables take; what is only in the log is not counted."""
        return self._database.approximate_size(b"\x00", b"\xff" * 8)

    def compact(self, start: bytes = b"\x00", stop: bytes = b"\xff" * 8) -> None:
        """Give the space of deleted records in a range back to the disk; takes seconds, in whatever thread."""
        try:
            self._database.compact_range(start=start, stop=stop)
        except (plyvel.Error, RuntimeError) as error:
            raise StorageError(f"cannot compact {self._path}: {_text(error)}") from error

    def close(self) -> None:
        """Let go of the folder. Harmless when repeated."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_leveldb(path: Path, *, cache_bytes: int = CACHE_BYTES) -> LevelDbStore:
    """Open the database in a folder, made where it is absent (its parent must be there).

    Raises: StorageError, with a sentence, where another process holds it, it is corrupt, or the disk fails.
    """
    try:
        database = plyvel.DB(
            str(path),
            create_if_missing=True,
            paranoid_checks=True,
            lru_cache_size=cache_bytes,
            write_buffer_size=WRITE_BUFFER_BYTES,
            max_open_files=OPEN_FILES_MAX,
            bloom_filter_bits=BLOOM_FILTER_BITS,
        )
    except plyvel.CorruptionError as error:
        raise StorageError(f"the database in {path} is corrupt: {_text(error)}") from error
    except plyvel.Error as error:
        if "lock" in str(error):
            raise StorageError(f"the database in {path} is in use by another process: {_text(error)}") from error
        raise StorageError(f"cannot open the database in {path}: {_text(error)}") from error
    return LevelDbStore(cast(_Database, database), path)


def _text(error: Exception) -> str:
    """Return what LevelDB says; plyvel hands its sentences on as bytes."""
    said = (part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in error.args)
    return " ".join(said)
