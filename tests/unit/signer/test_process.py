"""The signer's process and its client, over a real socket: strict, byte-identical, never waited for for long."""

import os
import socket
import stat
import struct
import threading
import time
from pathlib import Path

import pytest

from node import unix_socket
from node.chain.certificate import Network
from node.consensus.messages import UNSIGNED, Commit, Status, signing_digest
from node.crypto.signing import Algorithm, Ed25519Signer, verify
from node.errors import ConfigError, Reason, Rejected
from node.limits import SIGNER_FRAME_BYTES_MAX
from node.signer.contract import SignerUnreachable, SigningRefused
from node.signer.frames import (
    Answer,
    Failed,
    Hello,
    Refused,
    Request,
    SignStatus,
    decode_answer,
    encode_answer,
    encode_request,
)
from node.signer.local import HeldKeys, LocalSigner
from node.signer.process import SignerProcess
from node.signer.remote import SocketSigner
from node.state.kv import MemoryStore
from tests.unit.signer.processes import serving
from tests.unit.signer.test_local import DESK, KEY, in_order

NEXT = Ed25519Signer(b"n" * 32)


def local(store: MemoryStore, *keys: Ed25519Signer) -> LocalSigner:
    """Return the signer behind the process."""
    return LocalSigner(HeldKeys(*(keys or (KEY,))), DESK.network, store)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the process listens: deeper than the kernel's 107 bytes."""
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    return folder / "signer.sock"


def test_signs_as_the_key_in_our_own_process_does(path: Path) -> None:
    """Every kind of promise and a Status: the same bytes, in order, repeated after a restart of the process."""
    store = MemoryStore()
    expected = [local(MemoryStore()).sign(message) for message in in_order()]
    status = Status(0, 1, 0, 0, False, b"", b"", b"", b"", None, 0, UNSIGNED)
    with serving(local(store), DESK.network, path):
        remote = SocketSigner.open(path, DESK.network)
        assert remote.public_keys == (KEY.public_key,)
        assert [remote.sign(message) for message in in_order()] == expected
        assert verify(
            Algorithm.ED25519, KEY.public_key, signing_digest(DESK.network, status), remote.sign_status(status)
        )
        assert remote.last_position == (0, 1, 4, 0)
        remote.close()
    with serving(local(store), DESK.network, path):
        remote = SocketSigner.open(path, DESK.network)
        assert remote.last_position == (0, 1, 4, 0)
        assert [remote.sign(message) for message in in_order()] == expected
        remote.close()


def test_refuses_a_contradiction_with_its_sentence(path: Path) -> None:
    """The sentence crosses the socket; the connection stays."""
    with serving(local(MemoryStore()), DESK.network, path):
        remote = SocketSigner.open(path, DESK.network)
        first, other = DESK.prepare(0, 0, b"a" * 32), DESK.prepare(0, 0, b"b" * 32)
        remote.sign(first)
        with pytest.raises(SigningRefused) as refusal:
            remote.sign(other)
        a, b = (signing_digest(DESK.network, vote).hex() for vote in (first, other))
        assert str(refusal.value) == f"(0, 1, 0, 2) has signed {a}, asked for {b}"
        remote.sign(DESK.commit(0, 0, b"a" * 32))
        remote.close()


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_process(path: Path) -> None:
    """Mode 0600; what an earlier process left is replaced; nothing stays behind."""
    path.write_bytes(b"left over")
    with serving(local(MemoryStore()), DESK.network, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()


def test_a_process_of_another_user_is_turned_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever the kernel names as another user gets no answer, not even to Hello."""
    real = os.getuid()
    with serving(local(MemoryStore()), DESK.network, path):
        connection = socket.socket(socket.AF_UNIX)
        with unix_socket._short(path) as address:
            monkeypatch.setattr(os, "getuid", lambda: real + 1)
            connection.connect(address)
            connection.settimeout(10)
            assert connection.recv(1) == b""
        connection.close()
        with pytest.raises(PermissionError) as error:
            unix_socket.connect(path, 1_000, SIGNER_FRAME_BYTES_MAX)
        assert str(error.value) == f"process {os.getpid()} is of user {real}, this one of user {real + 1}"


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">I", SIGNER_FRAME_BYTES_MAX + 1),
        unix_socket.to_frame(b""),
        unix_socket.to_frame(b"\xc1"),
        unix_socket.to_frame(encode_request(Hello(1)) + b"\x00"),
        unix_socket.to_frame(b"\x91\x92\x07\xc4\x20" + bytes(32)),
        unix_socket.to_frame(encode_answer(Refused("no"))),
    ],
    ids=["too long", "empty", "no MessagePack", "more behind it", "a bare digest", "an answer"],
)
def test_who_sends_anything_but_a_request_is_dropped(path: Path, sent: bytes) -> None:
    """Without an answer; the next caller is served."""
    with serving(local(MemoryStore()), DESK.network, path):
        connection = socket.socket(socket.AF_UNIX)
        with unix_socket._short(path) as address:
            connection.connect(address)
        connection.sendall(sent)
        connection.settimeout(10)
        assert connection.recv(1) == b""
        connection.close()
        SocketSigner.open(path, DESK.network).close()


def test_half_a_request_keeps_nobody_else_waiting(path: Path) -> None:
    """One caller sends three bytes and is silent; another is answered; connections have a bound."""
    with serving(local(MemoryStore()), DESK.network, path):
        held = []
        for _ in range(7):
            connection = socket.socket(socket.AF_UNIX)
            with unix_socket._short(path) as address:
                connection.connect(address)
            connection.sendall(b"\x00\x00\x00")
            held.append(connection)
        remote = SocketSigner.open(path, DESK.network)
        remote.sign(DESK.prepare(0, 0, b"a" * 32))
        with pytest.raises(ConfigError):
            SocketSigner.open(path, DESK.network)
        remote.close()
        for connection in held:
            connection.close()


def test_start_without_a_process_says_what_to_do(tmp_path: Path) -> None:
    """One sentence with the path, the cause and the command."""
    missing = tmp_path / "signer.sock"
    with pytest.raises(ConfigError) as error:
        SocketSigner.open(missing, DESK.network)
    assert str(error.value) == (
        f"the signer at {missing} does not answer (No such file or directory); start it first "
        "(pila signer run --home DIR), or mend signer.socket in config.toml"
    )


def test_a_process_for_another_chain_is_refused(path: Path) -> None:
    """A home with the wrong genesis must not sign for this one."""
    with serving(local(MemoryStore()), DESK.network, path):
        with pytest.raises(ConfigError) as error:
            SocketSigner.open(path, Network("other", bytes(32)))
        assert f"signs for {DESK.network.chain_id}" in str(error.value)


@pytest.fixture
def clock() -> list[float]:
    """Return a clock that the test moves."""
    return [100.0]


def test_a_process_that_goes_and_comes_back(path: Path, clock: list[float]) -> None:
    """Lost: unreachable at once, then without asking until the pause is over, which grows; back: the same bytes."""
    store = MemoryStore()
    remote = SocketSigner(path, DESK.network, now_seconds=lambda: clock[0])
    with serving(local(store), DESK.network, path):
        remote._connect()
        vote = remote.sign(DESK.prepare(0, 0, b"a" * 32))
    causes = []
    for seconds in (0.0, 0.15, 0.15):
        clock[0] += seconds
        with pytest.raises(SignerUnreachable) as error:
            remote.sign(DESK.commit(0, 0, b"a" * 32))
        causes.append(str(error.value))
    assert causes == [f"the signer at {path} does not answer (No such file or directory)"] * 3
    with serving(local(store), DESK.network, path):
        with pytest.raises(SignerUnreachable):
            remote.sign(DESK.commit(0, 0, b"a" * 32))  # not asked: of the second pause, 0.2 s, 0.15 have passed
        clock[0] += 0.1
        assert remote.sign(DESK.prepare(0, 0, b"a" * 32)) == vote
        remote.sign(DESK.commit(0, 0, b"a" * 32))
        remote.close()


def test_a_process_that_hangs_is_waited_for_a_bounded_time(path: Path) -> None:
    """It accepts and never answers: unreachable, and the late answer is not taken for that of the next question."""
    listener = unix_socket.listen(path, 8)
    remote = SocketSigner(path, DESK.network, wait_ms=20)
    with pytest.raises(SignerUnreachable) as error:
        remote._connect()
    assert str(error.value).startswith(f"the signer at {path} does not answer (")
    assert remote._connection is None
    listener.close()


def test_a_wrong_signature_is_never_used(path: Path) -> None:
    """A process whose answers are no signatures of its key: unreachable, with a sentence."""

    class Liar(SignerProcess):
        def answer(self, request: Request) -> Answer:
            made = super().answer(request)
            return made if isinstance(request, Hello) else type(made)(b"\x01" * 64)

    liar = Liar(local(MemoryStore()), DESK.network, path)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=liar.serve, args=(theirs,))
    thread.start()
    try:
        remote = SocketSigner.open(path, DESK.network)
        with pytest.raises(SignerUnreachable) as error:
            remote.sign(DESK.prepare(0, 0, b"a" * 32))
        assert str(error.value).endswith(f"gave a signature that is not of the key {KEY.public_key.hex()}")
    finally:
        ours.send(b"x")
        thread.join()
        ours.close()
        theirs.close()


def test_the_key_that_follows_signs_and_the_old_one_is_destroyed_only_then(path: Path) -> None:
    """Both keys are held; the old one goes when the latest signature is the new one's, not before."""
    gone: list[bytes] = []
    keys = HeldKeys(KEY, NEXT, wipe=gone.append)
    with serving(LocalSigner(keys, DESK.network, MemoryStore()), DESK.network, path):
        remote = SocketSigner.open(path, DESK.network)
        assert remote.public_keys == (KEY.public_key, NEXT.public_key)
        remote.choose(KEY.public_key)
        remote.sign(DESK.prepare(0, 0, b"a" * 32))
        remote.choose(NEXT.public_key)
        in_use = f"the key {KEY.public_key.hex()} is in use: no other one has signed since"
        with pytest.raises(SigningRefused) as refusal:
            remote.destroy(KEY.public_key)
        assert str(refusal.value) == in_use
        vote = Commit(0, 2, 0, b"a" * 32, 0, UNSIGNED)
        assert verify(Algorithm.ED25519, NEXT.public_key, signing_digest(DESK.network, vote), remote.sign(vote))
        with pytest.raises(SigningRefused):
            remote.destroy(NEXT.public_key)
        assert gone == []
        remote.destroy(KEY.public_key)
        remote.destroy(KEY.public_key)  # once more does no harm
        assert (gone, remote.public_keys) == ([KEY.public_key], (NEXT.public_key,))
        with pytest.raises(SigningRefused) as refusal:
            remote._ask(SignStatus(KEY.public_key, Status(0, 1, 0, 0, False, b"", b"", b"", b"", None, 0, UNSIGNED)))
        assert str(refusal.value) == f"the key {KEY.public_key.hex()} is not held here"
        remote.close()


def test_answers_that_cannot_stand_as_text_are_made_so() -> None:
    """Whatever an operating system says fits into an answer."""
    from node.signer.frames import clipped

    answer = Failed(clipped(OSError("a\x00b\n" + "é" * 1_000)))
    assert decode_answer(encode_answer(answer)) == answer
    assert len(answer.sentence) == 500


def test_frames_have_a_bound_before_they_are_read() -> None:
    """The length in front is judged, not what follows it."""
    buffer = unix_socket.FrameBuffer(10)
    buffer.add(struct.pack(">I", 11))
    with pytest.raises(Rejected) as refusal:
        buffer.take()
    assert (refusal.value.reason, refusal.value.detail) == (Reason.TOO_LARGE, "a frame of 11 bytes, at most 10")


def test_a_slow_answer_in_pieces_is_put_together(path: Path) -> None:
    """Bytes come one by one; the frame is whole in the end."""
    listener = unix_socket.listen(path, 1)
    client = unix_socket.connect(path, 1_000, 100)
    server, _ = listener.accept()

    def trickle() -> None:
        for byte in unix_socket.to_frame(b"answer"):
            server.sendall(bytes([byte]))
            time.sleep(0.001)

    thread = threading.Thread(target=trickle)
    thread.start()
    assert client.receive(10_000) == b"answer"
    thread.join()
    for end in (client, server, listener):
        end.close()
