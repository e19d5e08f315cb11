"""The control socket: a database in pieces and back, one backup at a time, and nothing but questions."""

import asyncio
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.block import Header
from node.control import (
    CONTROL_SOCKET,
    AskBackup,
    AskPosition,
    BackupStored,
    Control,
    Finished,
    Piece,
    Standing,
    Surroundings,
    decode_reply,
    encode_question,
    pieces,
    read_backup_time,
    read_records,
    to_record,
)
from node.errors import StorageError
from node.limits import BACKUP_PIECE_BYTES, CONTROL_FRAME_BYTES_MAX
from node.state.kv import MemoryStore, WriteBatch
from node.unix_socket import FrameSocket, connect, to_frame
from tests.unit.consensus.desk import Desk

WAIT_MS = 30_000
HEAD: Header = Desk().chain.head


def filled(records: dict[bytes, bytes]) -> MemoryStore:
    """Return a store with records."""
    store, batch = MemoryStore(), WriteBatch()
    for key, value in records.items():
        batch.put(key, value)
    store.write(batch, sync=True)
    return store


@given(
    st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(max_size=300), max_size=30),
    st.lists(st.integers(1, 500), max_size=50),
)
def test_records_survive_however_the_stream_is_cut(records: dict[bytes, bytes], cuts: list[int]) -> None:
    """Sorted, complete, and nothing left over."""
    stream = b"".join(pieces(filled(records)))
    found: list[tuple[bytes, bytes]] = []
    waiting = bytearray()
    for size in [*cuts, len(stream)]:
        waiting += stream[:size]
        stream = stream[size:]
        found += list(read_records(waiting))
    assert (found, bytes(waiting)) == (sorted(records.items()), b"")


def test_a_large_record_is_cut_into_pieces() -> None:
    """None is larger than a frame may be."""
    store = filled({b"a": b"x", b"b": bytes(3 * BACKUP_PIECE_BYTES + 5), b"c": b"y"})
    found = [piece for piece in pieces(store) if piece]
    assert [len(piece) for piece in found[:-1]] == [BACKUP_PIECE_BYTES] * 3
    assert b"".join(found) == b"".join(to_record(*item) for item in store.iterate())


@pytest.mark.parametrize("lengths", [(0, 1), (1, 2**31)], ids=["no key", "absurd value"])
def test_an_absurd_record_is_refused_before_it_is_waited_for(lengths: tuple[int, int]) -> None:
    """By the lengths alone."""
    with pytest.raises(StorageError) as error:
        list(read_records(bytearray(struct.pack(">HI", *lengths))))
    assert str(error.value) == f"the backup is damaged: a record of {lengths[0]} + {lengths[1]} bytes"


def ask(node: FrameSocket, question: object) -> object:
    """Put one question."""
    node.send(encode_question(question), WAIT_MS)
    return decode_reply(node.receive(WAIT_MS))


def copied(node: FrameSocket) -> bytes:
    """Read a copy to its end."""
    parts = []
    while not isinstance(reply := decode_reply(node.receive(WAIT_MS)), Finished):
        assert isinstance(reply, Piece)
        parts.append(reply.data)
    return b"".join(parts)


def with_control(home: Path, store: MemoryStore, caller: object) -> float:
    """Run a control socket while `caller` talks to it in a thread; return the age of the backup then."""
    (home / "data").mkdir()
    signer = SimpleNamespace(last_position=(0, 3, 0, 2), public_keys=(b"k" * 32,))
    control = Control(Surroundings(home, SimpleNamespace(head=HEAD), store, signer))
    assert control.backup_age_seconds() == float("inf")

    async def run() -> None:
        task = asyncio.create_task(control.run())
        while not (home / CONTROL_SOCKET).exists():
            await asyncio.sleep(0.01)
        await asyncio.to_thread(caller)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    assert not (home / CONTROL_SOCKET).exists()
    return control.backup_age_seconds()


def test_a_copy_is_of_one_moment_though_the_store_goes_on(tmp_path: Path) -> None:
    """What is written after the first answer is not in it; the age counts once the copy is stored, not before."""
    records = {bytes([i]): bytes(40_000) for i in range(200)}
    store = filled(records)

    def caller() -> None:
        node = connect(tmp_path / CONTROL_SOCKET, WAIT_MS, CONTROL_FRAME_BYTES_MAX)
        standing = ask(node, AskBackup())
        assert isinstance(standing, Standing)
        assert (standing.height, standing.block_hash) == (HEAD.height, HEAD.hash())
        assert standing.signed is not None
        assert standing.signed.height == 3
        assert standing.public_keys == (b"k" * 32,)
        store.write(changed, sync=True)
        waiting = bytearray(copied(node))
        assert dict(read_records(waiting)) == records
        assert read_backup_time(tmp_path) is None
        assert isinstance(ask(node, BackupStored()), Finished)
        assert read_backup_time(tmp_path) is not None
        node.close()

    changed = WriteBatch()
    changed.put(b"\xff", b"later")
    assert with_control(tmp_path, store, caller) < WAIT_MS


def test_one_copy_at_a_time_and_questions_meanwhile(tmp_path: Path) -> None:
    """A second one is dropped; a position is told."""
    store = filled({bytes([i, j]): bytes(60_000) for i in range(8) for j in range(100)})

    def caller() -> None:
        first, second, third = (connect(tmp_path / CONTROL_SOCKET, WAIT_MS, CONTROL_FRAME_BYTES_MAX) for _ in range(3))
        ask(first, AskBackup())
        with pytest.raises(OSError):
            ask(second, AskBackup())
        assert isinstance(ask(third, AskPosition()), Standing)
        copied(first)
        for node in (first, second, third):
            node.close()

    assert with_control(tmp_path, store, caller) == float("inf")


def test_who_asks_anything_else_is_dropped(tmp_path: Path) -> None:
    """Without an answer; the next caller is served."""

    def caller() -> None:
        for sent in (b"\xc1", b"", encode_question(AskPosition()) + b"\x00"):
            node = connect(tmp_path / CONTROL_SOCKET, WAIT_MS, CONTROL_FRAME_BYTES_MAX)
            node._socket.sendall(to_frame(sent))
            with pytest.raises(ConnectionError):
                node.receive(WAIT_MS)
            node.close()
        node = connect(tmp_path / CONTROL_SOCKET, WAIT_MS, CONTROL_FRAME_BYTES_MAX)
        assert isinstance(ask(node, AskPosition()), Standing)
        node.close()

    with_control(tmp_path, MemoryStore(), caller)
