"""The process that holds a consensus key: small, strict, one thing at a time.

It knows no consensus and no network but its own Unix socket. A node that was taken over can make it sign
nothing twice, nothing for another chain and nothing that is no statement of the protocol.
"""

import contextlib
import selectors
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, assert_never

from node.chain.certificate import Network
from node.errors import ConfigError, Rejected
from node.limits import SIGNER_CONNECTIONS_MAX, SIGNER_FRAME_BYTES_MAX
from node.log import get_logger
from node.signer.contract import SignerUnreachable, SigningRefused
from node.signer.frames import (
    VERSION,
    Answer,
    Destroy,
    Done,
    Failed,
    Hello,
    LastPosition,
    Refused,
    Request,
    SignatureMade,
    SignProposal,
    SignStatus,
    SignViewChange,
    SignVote,
    Welcome,
    clipped,
    decode_request,
    encode_answer,
)
from node.signer.local import LocalSigner
from node.unix_socket import FrameBuffer, check_peer, listen, to_frame

_READ_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class _Caller:
    """One connection and what has arrived of its next request."""

    connection: socket.socket
    buffer: FrameBuffer = field(default_factory=lambda: FrameBuffer(SIGNER_FRAME_BYTES_MAX))


class SignerProcess:
    """Answers at one socket until it is told to stop or its disk fails."""

    def __init__(self, signer: LocalSigner, network: Network, path: Path) -> None:
        """Listen at `path`. Raises: ConfigError."""
        self._signer = signer
        self._network = network
        self._path = path
        self._log = get_logger("signer")
        self._callers: dict[int, _Caller] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = listen(path, SIGNER_CONNECTIONS_MAX)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Answer until SIGINT or SIGTERM. Raises: StorageError, when nothing can be signed any more."""
        with _signals() as stop:
            self._log.info("signing", socket=str(self._path), last=self._signer.last_position)
            self.serve(stop)
        self._log.info("stopped", last=self._signer.last_position)

    def serve(self, stop: socket.socket) -> None:
        """Answer until something can be read from `stop`. Raises: StorageError."""
        self._selector.register(stop, selectors.EVENT_READ)
        try:
            while self._turn(stop):
                pass
        finally:
            self.close()

    def close(self) -> None:
        """Let everybody go, and take the socket's file away."""
        for caller in list(self._callers.values()):
            self._drop(caller)
        self._selector.close()
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _turn(self, stop: socket.socket) -> bool:
        """Serve whoever has something to say; False when it is time to stop."""
        for key, _ in self._selector.select():
            if key.fileobj is stop:
                return False
            if key.fileobj is self._listener:
                self._accept()
            else:
                self._read(self._callers[key.fd])
        return True

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # whoever knocked has gone again
            return
        try:
            check_peer(connection)
        except OSError as error:
            self._log.warning("turned away", cause=str(error))
            connection.close()
            return
        if len(self._callers) >= SIGNER_CONNECTIONS_MAX:
            self._log.warning("turned away", cause=f"{len(self._callers)} connections stand")
            connection.close()
            return
        connection.setblocking(False)
        self._callers[connection.fileno()] = _Caller(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _drop(self, caller: _Caller) -> None:
        self._selector.unregister(caller.connection)
        del self._callers[caller.connection.fileno()]
        caller.connection.close()

    def _read(self, caller: _Caller) -> None:
        """Take what has come and answer whole requests; who sends anything else is dropped."""
        try:
            data = caller.connection.recv(_READ_BYTES)
            if not data:
                self._drop(caller)
                return
            caller.buffer.add(data)
            while (body := caller.buffer.take()) is not None:
                answer = self.answer(decode_request(body))
                # Answers are small: a caller whose socket is full of them does not read, and is dropped.
                caller.connection.sendall(to_frame(encode_answer(answer)))
        except (OSError, Rejected) as error:
            self._log.warning("dropped", cause=str(error))
            self._drop(caller)

    def answer(self, request: Request) -> Answer:
        """Do what a request asks. Raises: StorageError, after which this process must not go on."""
        try:
            return self._do(request)
        except SigningRefused as error:
            self._log.warning("refused", cause=str(error))
            return Refused(clipped(error))
        except (SignerUnreachable, ConfigError) as error:
            self._log.warning("failed", cause=str(error))
            return Failed(clipped(error))

    def _do(self, request: Request) -> Answer:
        signer = self._signer
        match request:
            case Hello():
                last = signer.last_position
                position = None if last is None else LastPosition(*last)
                return Welcome(VERSION, self._network, signer.public_keys, position)
            case SignVote() | SignProposal() | SignViewChange():
                signer.choose(request.public_key)
                return SignatureMade(signer.sign_part(request.part))
            case SignStatus():
                signer.choose(request.public_key)
                return SignatureMade(signer.sign_status(request.part))
            case Destroy(public_key):
                signer.destroy(public_key)
                self._log.info("key destroyed", public_key=public_key.hex())
                return Done()
            case unreachable:
                assert_never(unreachable)


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """Give a socket that becomes readable when SIGINT or SIGTERM comes: a signature is never broken off."""
    receiver, sender = socket.socketpair()
    with receiver, sender:
        receiver.setblocking(False)
        sender.setblocking(False)
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        wakeup = signal.set_wakeup_fd(sender.fileno())
        try:
            yield receiver
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
