"""A home in one file: made while the node runs, and put back so that nothing is ever signed twice.

The file is a tar archive: `config.toml`, `genesis.json`, `keys/…`, the database's records cut into
`chain/000000` …, and last `manifest.json` with every member's hash. The journal is left out on purpose:
it is old the moment after, and a validator that has none listens before it signs.
Source: INTERFACE §2; PROTOCOL §5, "a node with a key but no journal".
"""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from node.chain.genesis import genesis_hash
from node.chain.genesis_document import GenesisDocument
from node.chain.ledger import Ledger
from node.clock import wall_ms
from node.config import (
    CONFIG_FILE,
    DATA_FOLDER,
    FRESH_KEY_FILE,
    GENESIS_FILE,
    load_config,
)
from node.control import (
    CONTROL_SOCKET,
    AskBackup,
    BackupStored,
    Finished,
    Piece,
    Standing,
    decode_reply,
    encode_question,
    pieces,
    read_records,
    write_backup_time,
)
from node.custody import mark_restored
from node.errors import ConfigError, Rejected, StorageError
from node.home import locked, read_genesis
from node.limits import BACKUP_PIECE_BYTES, BACKUP_STALL_MS_MAX, CONTROL_FRAME_BYTES_MAX
from node.primitives import InstitutionId
from node.signer.frames import LastPosition
from node.signer.record import Position, SigningRecord
from node.state.kv import WriteBatch
from node.state.leveldb import open_leveldb
from node.unix_socket import FrameSocket, connect

FORMAT: Final = "pila-backup/1"
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 256 * 1024 * 1024
KEYS_FOLDER: Final = "keys"
CHAIN_FOLDER: Final = "chain"
MEMBER_BYTES: Final = 16 * BACKUP_PIECE_BYTES
"""Of the database in one member of the archive."""
BATCH_BYTES: Final = 4 * 1024 * 1024
CONNECT_MS: Final = 5_000


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member of the archive."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is of; the archive's last member."""

    format: str
    made_at: str
    """RFC 3339, UTC."""
    institution: InstitutionId
    chain_id: str
    genesis_hash: str
    height: int
    block_hash: str
    signed: tuple[int, int, int, int] | None
    """(epoch, height, view, step) that the consensus key had reached."""
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """A database at one moment."""

    height: int
    block_hash: str
    signed: Position | None
    pieces: Iterator[bytes]


def make_backup(home: Path, out: Path) -> tuple[Manifest, bool]:
    """Write a backup of a home; return its manifest and whether the node was running meanwhile.

    The file is readable by its owner only, and whole or not there. Raises: ConfigError, StorageError.
    """
    if out.exists():
        raise ConfigError(f"{out} exists; a backup is never overwritten")
    genesis = read_genesis(home)
    node = _connect(home)
    if node is not None:
        manifest = _write(home, genesis, out, _ask_copy(node))
        _confirm(node)
        return manifest, True
    with locked(home):
        manifest = _write(home, genesis, out, _read_copy(home, genesis))
        write_backup_time(home, wall_ms())
    return manifest, False


def _connect(home: Path) -> FrameSocket | None:
    """Return a connection with the node of a home; None where none runs. Raises: ConfigError."""
    try:
        return connect(home / CONTROL_SOCKET, CONNECT_MS, CONTROL_FRAME_BYTES_MAX)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise ConfigError(f"the node of {home} does not answer: {error.strerror or error}") from None


def _ask_copy(node: FrameSocket) -> Copy:
    """Have a running node send its database. Raises: ConfigError."""
    try:
        node.send(encode_question(AskBackup()), BACKUP_STALL_MS_MAX)
        standing = decode_reply(node.receive(BACKUP_STALL_MS_MAX))
    except (OSError, Rejected) as error:
        raise _broke_off(error) from None
    if not isinstance(standing, Standing):
        raise ConfigError("the node answered something else; is it of the same version?")
    return Copy(standing.height, standing.block_hash.hex(), _position(standing.signed), _received(node))


def _received(node: FrameSocket) -> Iterator[bytes]:
    while True:
        try:
            reply = decode_reply(node.receive(BACKUP_STALL_MS_MAX))
        except (OSError, Rejected) as error:
            raise _broke_off(error) from None
        if isinstance(reply, Finished):
            return
        if isinstance(reply, Piece):
            yield reply.data


def _confirm(node: FrameSocket) -> None:
    """Tell the node that the backup is stored; it is so even where nobody hears of it."""
    try:
        node.send(encode_question(BackupStored()), CONNECT_MS)
        node.receive(CONNECT_MS)
    except (OSError, Rejected) as error:
        raise _broke_off(error) from None
    finally:
        node.close()


def _broke_off(error: Exception) -> ConfigError:
    return ConfigError(f"the node broke off ({error}); its log says why. Nothing was kept: try again")


def _position(last: LastPosition | None) -> Position | None:
    return None if last is None else (last.epoch, last.height, last.view, last.step)


def _read_copy(home: Path, genesis: GenesisDocument) -> Copy:
    """Read the database of a node that does not run. Raises: ConfigError, StorageError."""
    data = home / DATA_FOLDER
    if not (data / "chain" / "CURRENT").exists():
        raise ConfigError(f"{home} holds no chain; of a signer's home copy {CONFIG_FILE}, {GENESIS_FILE} and keys/")
    with open_leveldb(data / "chain") as store:
        head = Ledger.open(store, genesis).head
    signed = None
    if (data / "signer").exists():
        with open_leveldb(data / "signer") as record:
            signed = SigningRecord(record).last
    return Copy(head.height, head.hash().hex(), signed, _pieces_of(data / "chain"))


def _pieces_of(folder: Path) -> Iterator[bytes]:
    with open_leveldb(folder) as store:
        yield from pieces(store)


def _write(home: Path, genesis: GenesisDocument, out: Path, copy: Copy) -> Manifest:
    """Write the archive under another name, sync it, then give it its name."""
    partial = out.with_name(out.name + ".partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                members = [_add(archive, name, (home / name).read_bytes()) for name in _plain_files(home)]
                members += [_add(archive, name, data) for name, data in _chain_members(copy.pieces)]
                manifest = Manifest(
                    FORMAT,
                    datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                    load_config(home).node.institution,
                    genesis.chain_id,
                    genesis_hash(genesis).hex(),
                    copy.height,
                    copy.block_hash,
                    copy.signed,
                    tuple(members),
                )
                _add(archive, MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def _plain_files(home: Path) -> list[str]:
    """Return what is copied as it is; never the statement that the keys have signed nothing."""
    keys = sorted(f"{KEYS_FOLDER}/{path.name}" for path in (home / KEYS_FOLDER).iterdir() if path.is_file())
    return [CONFIG_FILE, GENESIS_FILE, *(name for name in keys if name != FRESH_KEY_FILE and not name.endswith(".new"))]


def _chain_members(found: Iterator[bytes]) -> Iterator[tuple[str, bytes]]:
    """Put pieces together to members of a good size."""
    number, waiting = 0, bytearray()
    for piece in found:
        waiting += piece
        if len(waiting) >= MEMBER_BYTES:
            yield f"{CHAIN_FOLDER}/{number:06}", bytes(waiting)
            number, waiting = number + 1, bytearray()
    yield f"{CHAIN_FOLDER}/{number:06}", bytes(waiting)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, wall_ms() // 1_000
    archive.addfile(info, io.BytesIO(data))
    return Member(name, len(data), hashlib.sha256(data).hexdigest())


# --- putting it back ---


def check_backup(path: Path) -> Manifest:
    """Read a backup to its end and compare every hash. Raises: ConfigError."""
    try:
        with tarfile.open(path, mode="r:") as archive:
            found = [(info, archive.extractfile(info)) for info in archive]
            if not found or found[-1][0].name != MANIFEST or found[-1][0].size > MANIFEST_BYTES_MAX:
                raise ConfigError(f"{path} is no backup, or only the beginning of one: its manifest is missing")
            *others, (_, last) = found
            assert last is not None
            manifest = msgspec.json.decode(last.read(), type=Manifest)
            if manifest.format != FORMAT:
                raise ConfigError(f"{path}: format {manifest.format!r}, this program reads {FORMAT!r}")
            names = [info.name for info, _ in others]
            if names != [member.name for member in manifest.members]:
                raise ConfigError(f"{path}: its members are not those of its manifest")
            for member, (info, file) in zip(manifest.members, others, strict=True):
                _check_member(path, member, info, file)
    except (OSError, tarfile.TarError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} is no backup: {error}") from None
    return manifest


def _check_member(path: Path, member: Member, info: tarfile.TarInfo, file: object) -> None:
    folder, _, name = member.name.rpartition("/")
    is_ours = member.name in (CONFIG_FILE, GENESIS_FILE) or (
        folder in (KEYS_FOLDER, CHAIN_FOLDER) and name not in ("", "..", ".")
    )
    if not is_ours or not info.isreg():
        raise ConfigError(f"{path}: {member.name!r} has no place in a backup")
    assert isinstance(file, io.BufferedIOBase)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    if info.size != member.size or digest != member.sha256:
        raise ConfigError(f"{path}: {member.name} is damaged: it is not what the manifest says")


def restore_backup(path: Path, home: Path) -> Manifest:
    """Make a home of a backup, marked so that its validator listens before it signs. All of it or nothing.

    Raises: ConfigError, StorageError.
    """
    manifest = check_backup(path)
    partial = home.with_name(home.name + ".partial")
    if partial.exists():
        raise ConfigError(f"{partial} is left of an attempt that was killed; delete it first")
    try:
        _fill(path, manifest, partial)
        if home.exists():
            home.rmdir()
        partial.rename(home)
    except OSError as error:
        raise ConfigError(f"{partial} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _fill(path: Path, manifest: Manifest, partial: Path) -> None:
    (partial / DATA_FOLDER).mkdir(parents=True)
    (partial / KEYS_FOLDER).mkdir(mode=0o700)
    with tarfile.open(path, mode="r:") as archive:
        _write_plain_files(archive, manifest, partial)
        _check_genesis(partial, manifest)
        _write_chain(archive, manifest, partial)
    _check_chain(partial, manifest)
    if manifest.signed is not None and load_config(partial).signer.kind != "socket":
        with open_leveldb(partial / DATA_FOLDER / "signer") as store:
            SigningRecord(store).append(manifest.signed, None)
    mark_restored(partial)


def _write_plain_files(archive: tarfile.TarFile, manifest: Manifest, partial: Path) -> None:
    for member in manifest.members:
        if member.name.startswith(f"{CHAIN_FOLDER}/"):
            continue
        descriptor = os.open(partial / member.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_read(archive, member.name))
            file.flush()
            os.fsync(file.fileno())


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def _check_genesis(partial: Path, manifest: Manifest) -> None:
    found = genesis_hash(read_genesis(partial)).hex()
    if found != manifest.genesis_hash:
        raise ConfigError(f"the backup is of the network {manifest.genesis_hash}, its genesis.json makes {found}")


def _write_chain(archive: tarfile.TarFile, manifest: Manifest, partial: Path) -> None:
    """Put the records into a new database."""
    waiting = bytearray()
    with open_leveldb(partial / DATA_FOLDER / "chain") as store:
        for member in manifest.members:
            if not member.name.startswith(f"{CHAIN_FOLDER}/"):
                continue
            waiting += _read(archive, member.name)
            batch, size = WriteBatch(), 0
            for key, value in read_records(waiting):
                batch.put(key, value)
                size += len(key) + len(value)
                if size >= BATCH_BYTES:
                    store.write(batch, sync=False)
                    batch, size = WriteBatch(), 0
            store.write(batch, sync=False)
        store.write(WriteBatch(), sync=True)
    if waiting:
        raise StorageError(f"the backup is damaged: its last record is cut off after {len(waiting)} bytes")


def _check_chain(partial: Path, manifest: Manifest) -> None:
    """Open the chain as a node does, which compares its state with the root that the head commits to."""
    with open_leveldb(partial / DATA_FOLDER / "chain") as store:
        head = Ledger.open(store, read_genesis(partial)).head
    if (head.height, head.hash().hex()) != (manifest.height, manifest.block_hash):
        raise StorageError(
            f"the backup is damaged: its chain ends at {head.height} ({head.hash().hex()}), its manifest says "
            f"{manifest.height} ({manifest.block_hash})"
        )
