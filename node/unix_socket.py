"""Unix sockets of one machine and one user: frames of bounded length between a node and its helpers.

A frame is its length (4 bytes, big endian) and as many bytes. The socket's file is for its owner alone
(0600), and each end asks the kernel who the other is. Used by the signer's process and for backups.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from node.clock import monotonic_seconds
from node.errors import ConfigError, Reason, Rejected

_LENGTH: Final = struct.Struct(">I")
_CREDENTIALS: Final = struct.Struct("3i")
"""pid, uid, gid: the kernel's answer to SO_PEERCRED."""
_READ_BYTES: Final = 64 * 1024


def to_frame(body: bytes) -> bytes:
    """Return a body with its length in front."""
    return _LENGTH.pack(len(body)) + body


class FrameBuffer:
    """What has arrived of a stream of frames."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max`: of one body; a longer one is refused before it is read."""
        self._bytes_max = bytes_max
        self._data = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no frame is half here."""
        return not self._data

    def add(self, data: bytes) -> None:
        """Take what was read."""
        self._data += data

    def take(self) -> bytes | None:
        """Return the next body; None while it is not all here. Raises: Rejected(TOO_LARGE)."""
        if len(self._data) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._data)
        if length > self._bytes_max:
            raise Rejected(Reason.TOO_LARGE, f"a frame of {length} bytes, at most {self._bytes_max}")
        end = _LENGTH.size + length
        if len(self._data) < end:
            return None
        body = bytes(self._data[_LENGTH.size : end])
        del self._data[:end]
        return body


class FrameSocket:
    """Our end of a connection, for who can wait."""

    def __init__(self, connection: socket.socket, bytes_max: int) -> None:
        self._socket = connection
        self._buffer = FrameBuffer(bytes_max)

    def send(self, body: bytes, timeout_ms: int) -> None:
        """Send one frame. Raises: OSError."""
        self._socket.settimeout(timeout_ms / 1_000)
        self._socket.sendall(to_frame(body))

    def receive(self, timeout_ms: int) -> bytes:
        """Wait for one whole frame. Raises: OSError (TimeoutError, ConnectionError), Rejected(TOO_LARGE)."""
        deadline = monotonic_seconds() + timeout_ms / 1_000
        while True:
            body = self._buffer.take()
            if body is not None:
                return body
            left = deadline - monotonic_seconds()
            if left <= 0:
                raise TimeoutError(f"no answer within {timeout_ms} ms")
            self._socket.settimeout(left)
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._buffer.add(data)

    def is_broken(self) -> bool:
        """Tell whether the other end is gone, or has said something that nobody asked."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Let go. Harmless when repeated."""
        self._socket.close()


def connect(path: Path, timeout_ms: int, bytes_max: int) -> FrameSocket:
    """Connect with a process of our own user. Raises: OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_ms / 1_000)
        with _short(path) as address:
            connection.connect(address)
        check_peer(connection)
    except BaseException:
        connection.close()
        raise
    return FrameSocket(connection, bytes_max)


def listen(path: Path, backlog: int) -> socket.socket:
    """Listen at a path, in place of what an earlier process left there. Who calls holds a lock on the folder.

    Raises: ConfigError.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with _short(path) as address:
                listener.bind(address)
        finally:
            os.umask(before)
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen at {path}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


class AskKernel(Protocol):
    """A socket, or what asyncio shows of one."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return what the kernel knows."""
        ...


def check_peer(connection: AskKernel) -> None:
    """Refuse a process of another user. Raises: PermissionError."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(packed)
    if user != os.getuid():
        raise PermissionError(f"process {process} is of user {user}, this one of user {os.getuid()}")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give an address for a path of any length: the kernel takes 107 bytes, through the open folder it is short."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
