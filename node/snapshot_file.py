"""A snapshot as one file: it is made in slices beside a running node, read by number of chunk, and carried by people.

Layout: 16 bytes of name | of each chunk its SHA-256 (32) and its bytes | manifest | length of the manifest (8, big
endian) | SHA-256 of the manifest (32). The sums notice what the disk changed; whether a snapshot is true is asked of
the chain's own certificates (`node.chain.snapshot`). A file that is not finished ends in `.part`.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, Self

from node import codec
from node.chain.genesis_document import GenesisDocument
from node.chain.snapshot import Manifest, snapshot_hash
from node.chain.snapshot_making import SnapshotMaking
from node.crypto.hashing import sha256
from node.errors import ConfigError, Rejected, StorageError
from node.limits import SNAPSHOT_CHUNKS_MAX, SNAPSHOT_MANIFEST_BYTES_MAX, SNAPSHOTS_KEPT
from node.primitives import HASH_BYTES, Hash, Height

MAGIC: Final = b"pila snapshot 1\n"
SUFFIX: Final = ".snapshot"
_UNFINISHED: Final = ".part"
_FOOTER_BYTES: Final = 8 + HASH_BYTES


class SnapshotFile:
    """A finished snapshot on disk."""

    def __init__(self, path: Path, manifest: Manifest, data: bytes) -> None:
        self.path: Final = path
        self.manifest: Final = manifest
        self.manifest_bytes: Final = data
        self.name: Final[Hash] = snapshot_hash(data)
        sizes = manifest.chunk_sizes()
        starts = accumulate((HASH_BYTES + size for size in sizes[:-1]), initial=len(MAGIC))
        self._places = list(zip(starts, sizes, strict=True))
        self.byte_count: Final = sum(sizes) + len(data)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file's manifest. Raises: ConfigError, a sentence that names the file."""
        try:
            with path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise ConfigError(f"{path} is no snapshot of a chain")
                end = file.seek(-_FOOTER_BYTES, os.SEEK_END)
                footer = file.read(_FOOTER_BYTES)
                length = int.from_bytes(footer[:8], "big")
                if not 0 < length <= min(SNAPSHOT_MANIFEST_BYTES_MAX, end - len(MAGIC)):
                    raise ConfigError(f"{path} is damaged: a manifest of {length} bytes")
                file.seek(end - length)
                data = file.read(length)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        if sha256(data) != footer[8:]:
            raise ConfigError(f"{path} is damaged: its manifest is not what was written")
        try:
            manifest = codec.decode(data, Manifest, bytes_max=SNAPSHOT_MANIFEST_BYTES_MAX)
        except Rejected as error:
            raise ConfigError(f"{path}: its manifest cannot be read: {error}") from None
        found = cls(path, manifest, data)
        if end - length != len(MAGIC) + sum(HASH_BYTES + size for size in manifest.chunk_sizes()):
            raise ConfigError(f"{path} is damaged: its chunks are not as long as the manifest says")
        return found

    @property
    def height(self) -> Height:
        """The snapshot's height."""
        return self.manifest.height

    def chunk(self, number: int) -> bytes:
        """Return a chunk. Raises: StorageError where the file is not what was written."""
        start, size = self._places[number]
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                digest, data = file.read(HASH_BYTES), file.read(size)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror}") from None
        if sha256(data) != digest:
            raise StorageError(f"{self.path} is damaged in chunk {number}")
        return data


class SnapshotWriter:
    """A snapshot that is being made into a file."""

    def __init__(self, making: SnapshotMaking, folder: Path) -> None:
        self._making = making
        self._path = path_of(folder, making.height)
        self._part = self._path.with_suffix(_UNFINISHED)
        self._chunks = making.chunks()
        self._is_whole = False
        try:
            folder.mkdir(exist_ok=True)
            self._file = self._part.open("wb")
            self._file.write(MAGIC)
        except OSError as error:
            raise StorageError(f"{self._part} cannot be written: {error.strerror}") from None

    @property
    def height(self) -> Height:
        """The snapshot's height."""
        return self._making.height

    def steps(self) -> Iterator[None]:
        """Do the work, giving way after each small step. Raises: StorageError."""
        for data in self._chunks:
            if data is not None:
                self._write(sha256(data) + data)
            yield
        self._is_whole = True

    def finish(self, *, is_alone: bool = False) -> SnapshotFile | None:
        """Write the manifest and give the file its name; None while the block above is not decided yet.

        `is_alone`: do not wait for that block.
        """
        assert self._is_whole
        manifest = self._making.manifest(is_alone=is_alone)
        if manifest is None:
            return None
        data = codec.encode(manifest)
        if manifest.chunk_count > SNAPSHOT_CHUNKS_MAX or len(data) > SNAPSHOT_MANIFEST_BYTES_MAX:
            raise StorageError(f"{manifest.chunk_count} chunks are more than a snapshot may have")
        self._write(data + len(data).to_bytes(8, "big") + sha256(data))
        try:
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from None
        return SnapshotFile(self._path, manifest, data)

    def abandon(self) -> None:
        """Throw away what was written."""
        self._file.close()
        self._part.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise StorageError(f"{self._part} cannot be written: {error.strerror}") from None


class SnapshotShelf:
    """The finished snapshots of a node, newest first; at most SNAPSHOTS_KEPT."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[SnapshotFile] = []
        for path in sorted(folder.glob(f"*{_UNFINISHED}")):
            path.unlink(missing_ok=True)
        for path in sorted(folder.glob(f"*{SUFFIX}"), reverse=True):
            try:
                self._files.append(SnapshotFile.open(path))
            except ConfigError:
                path.unlink(missing_ok=True)
        self._drop_old()

    def all(self) -> Sequence[SnapshotFile]:
        """Return what there is, newest first."""
        return tuple(self._files)

    def find(self, name: Hash) -> SnapshotFile | None:
        """Return a snapshot by its hash."""
        return next((file for file in self._files if file.name == name), None)

    def chunk(self, name: Hash, number: int) -> bytes | None:
        """Return a chunk; a snapshot that the disk has damaged is thrown away."""
        file = self.find(name)
        if file is None or number >= file.manifest.chunk_count:
            return None
        try:
            return file.chunk(number)
        except StorageError:
            self.remove(file)
            return None

    def add(self, file: SnapshotFile) -> None:
        """Put a new one on the shelf; the oldest goes."""
        self._files = [file, *(other for other in self._files if other.path != file.path)]
        self._files.sort(key=lambda item: item.height, reverse=True)
        self._drop_old()

    def remove(self, file: SnapshotFile) -> None:
        """Throw one away, such as a damaged one."""
        self._files = [other for other in self._files if other is not file]
        file.path.unlink(missing_ok=True)

    def _drop_old(self) -> None:
        for file in self._files[SNAPSHOTS_KEPT:]:
            self.remove(file)


def path_of(folder: Path, height: Height) -> Path:
    """Return the path of a snapshot; names sort as heights do."""
    return folder / f"{height:012d}{SUFFIX}"


def check_network(file: SnapshotFile, genesis: GenesisDocument, genesis_hash: Hash) -> None:
    """Refuse a snapshot of another network. Raises: ConfigError."""
    network = file.manifest.network
    if network.genesis_hash != genesis_hash:
        raise ConfigError(
            f"{file.path} is of the network {network.chain_id} {network.genesis_hash.hex()}, "
            f"the genesis document makes {genesis.chain_id} {genesis_hash.hex()}"
        )
