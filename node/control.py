"""The control socket of a running node: what its operator's commands ask on the same machine.

`node.sock` in the home, for the owner alone. So far one question: a copy of the database as it is now, with
the position that the key has reached, while the node goes on. The node writes no file for anybody: the
command does. Source: INTERFACE §2, `pila backup`.
"""

import asyncio
import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.archive import Archive
from node.clock import monotonic_seconds, wall_ms
from node.errors import Rejected, StorageError
from node.limits import (
    BACKUP_PIECE_BYTES,
    BACKUP_RECORD_BYTES_MAX,
    BACKUP_STALL_MS_MAX,
    BACKUP_TURN_MS_MAX,
    CONTROL_FRAME_BYTES_MAX,
)
from node.log import get_logger
from node.primitives import Hash, Height, PublicKey, TimestampMs
from node.signer.contract import ConsensusSigner
from node.signer.frames import KEYS_MAX, LastPosition
from node.state.kv import KeyValueStore
from node.unix_socket import FrameBuffer, check_peer, listen, to_frame

CONTROL_SOCKET: Final = "node.sock"
BACKUP_TIME_FILE: Final = "data/backup"
"""When the last backup was stored: milliseconds since 1970, as text."""
_READ_BYTES: Final = 4_096
_RECORD: Final = struct.Struct(">HI")
"""Lengths of key and value, in front of both."""


class AskPosition(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """How far are chain and key?"""


class AskBackup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Send the database as it is now."""


class BackupStored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """It is safely written."""


class Standing(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=17):
    """Where the node is; also the first answer to AskBackup."""

    height: Height
    block_hash: Hash
    time_ms: TimestampMs
    signed: LastPosition | None
    """The highest position that its key has signed; nil for a node without key, or a key that has signed nothing."""
    public_keys: Annotated[tuple[PublicKey, ...], Meta(max_length=KEYS_MAX)]
    """Its consensus keys, oldest first."""


class Piece(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=18):
    """Of the records, in key order, as `to_record` writes them; cut anywhere."""

    data: Annotated[bytes, Meta(max_length=BACKUP_PIECE_BYTES)]


class Finished(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=19):
    """That was all."""


Question: TypeAlias = AskPosition | AskBackup | BackupStored
Reply: TypeAlias = Standing | Piece | Finished


class _QuestionFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    question: Question


class _ReplyFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    reply: Reply


def encode_question(question: Question) -> bytes:
    """Return the bytes of a question."""
    return codec.encode(_QuestionFrame(question))


def decode_reply(data: bytes) -> Reply:
    """Read a reply. Raises: Rejected."""
    return codec.decode(data, _ReplyFrame, bytes_max=CONTROL_FRAME_BYTES_MAX).reply


def to_record(key: bytes, value: bytes) -> bytes:
    """Return one record of a database as it stands in a backup."""
    return _RECORD.pack(len(key), len(value)) + key + value


def read_records(data: bytearray) -> Iterator[tuple[bytes, bytes]]:
    """Take the whole records out of what has been read so far. Raises: StorageError for one of absurd length."""
    start = 0
    try:
        while len(data) - start >= _RECORD.size:
            key_bytes, value_bytes = _RECORD.unpack_from(data, start)
            if not key_bytes or value_bytes > BACKUP_RECORD_BYTES_MAX:
                raise StorageError(f"the backup is damaged: a record of {key_bytes} + {value_bytes} bytes")
            end = start + _RECORD.size + key_bytes + value_bytes
            if end > len(data):
                return
            value_start = end - value_bytes
            yield bytes(data[start + _RECORD.size : value_start]), bytes(data[value_start:end])
            start = end
    finally:
        del data[:start]


def pieces(store: KeyValueStore) -> Generator[bytes, None, None]:
    """Yield a database as it is now in pieces; an empty one after each record that completes none.

    Raises: StorageError.
    """
    waiting = bytearray()
    for key, value in store.iterate():
        waiting += to_record(key, value)
        if len(waiting) < BACKUP_PIECE_BYTES:
            yield b""
        while len(waiting) >= BACKUP_PIECE_BYTES:
            yield bytes(waiting[:BACKUP_PIECE_BYTES])
            del waiting[:BACKUP_PIECE_BYTES]
    yield bytes(waiting)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the control socket asks of its node."""

    home: Path
    ledger: Archive
    store: KeyValueStore
    """The chain's database."""
    signer: ConsensusSigner | None
    """None on a node that only follows."""


class Control:
    """Answers at `node.sock`."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._around = surroundings
        self._log = get_logger("control")
        self._is_copying = False
        self._callers: set[asyncio.Task[None]] = set()
        self._stored_ms = read_backup_time(surroundings.home)

    def backup_age_seconds(self) -> float:
        """Return how long ago the last backup was stored; infinite where there is none."""
        return float("inf") if self._stored_ms is None else (wall_ms() - self._stored_ms) / 1_000

    async def run(self) -> None:
        """Serve until cancelled. Raises: ConfigError."""
        path = self._around.home / CONTROL_SOCKET
        server = await asyncio.start_unix_server(self._serve, sock=listen(path, 8))
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            for caller in self._callers:
                caller.cancel()
            path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one caller until it hangs up; whoever asks anything else is dropped."""
        task = asyncio.current_task()
        assert task is not None
        self._callers.add(task)
        connection = writer.get_extra_info("socket")
        try:
            check_peer(connection)
            buffer = FrameBuffer(CONTROL_FRAME_BYTES_MAX)
            while data := await asyncio.wait_for(reader.read(_READ_BYTES), BACKUP_STALL_MS_MAX / 1_000):
                buffer.add(data)
                while (body := buffer.take()) is not None:
                    await self._answer(_question(body), writer)
        except (OSError, Rejected, StorageError) as error:
            self._log.warning("dropped", cause=str(error) or type(error).__name__)
        finally:
            self._callers.discard(task)
            writer.close()

    async def _answer(self, question: Question, writer: asyncio.StreamWriter) -> None:
        match question:
            case AskPosition():
                await _send(writer, self._standing())
            case AskBackup():
                await self._copy(writer)
            case BackupStored():
                self._stored_ms = wall_ms()
                write_backup_time(self._around.home, self._stored_ms)
                self._log.info("backup stored")
                await _send(writer, Finished())

    def _standing(self) -> Standing:
        head, signer = self._around.ledger.head, self._around.signer
        signed = None if signer is None else signer.last_position
        position = None if signed is None else LastPosition(*signed)
        keys = () if signer is None else signer.public_keys
        return Standing(head.height, head.hash(), wall_ms(), position, keys)

    async def _copy(self, writer: asyncio.StreamWriter) -> None:
        """Send head and records of one moment, a little at a time."""
        if self._is_copying:
            raise ConnectionRefusedError("a backup is being made already")
        self._is_copying = True
        found = pieces(self._around.store)
        try:
            piece: bytes | None = next(found)  # from here on it is the database of this moment
            await _send(writer, self._standing())
            turn_ends = 0.0
            while piece is not None:
                if piece:
                    await _send(writer, Piece(piece))
                if monotonic_seconds() > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = monotonic_seconds() + BACKUP_TURN_MS_MAX / 1_000
                piece = next(found, None)
            await _send(writer, Finished())
        finally:
            found.close()  # the database may forget again
            self._is_copying = False


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Send one reply; who takes nothing for a minute is dropped. Raises: OSError."""
    writer.write(to_frame(codec.encode(_ReplyFrame(reply))))
    await asyncio.wait_for(writer.drain(), BACKUP_STALL_MS_MAX / 1_000)


def _question(data: bytes) -> Question:
    return codec.decode(data, _QuestionFrame, bytes_max=CONTROL_FRAME_BYTES_MAX).question


def read_backup_time(home: Path) -> TimestampMs | None:
    """Return when the last backup of a home was stored; None where there is none."""
    try:
        return int((home / BACKUP_TIME_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def write_backup_time(home: Path, time_ms: TimestampMs) -> None:
    """Remember when a backup was stored. Raises: OSError."""
    (home / BACKUP_TIME_FILE).write_text(f"{time_ms}\n", encoding="ascii")
