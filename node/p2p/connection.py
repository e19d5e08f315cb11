"""One connection: bytes of a socket ↔ frames of a proven peer.

All work is done in the event loop's callbacks, without a task per peer: what arrives is decrypted and delivered
at once; what is sent within one turn of the loop goes out at its end, in one write and as few Noise messages as
it fits. Stages: handshake → accepting (initiator only) → open → closing. The responder decides last, so the
initiator waits for its accept before it calls the connection open.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Annotated, Final, ParamSpec, Protocol, cast

import msgspec

from node import codec, limits
from node.errors import Reason, Rejected
from node.p2p.frames import (
    CONTROL_BYTES_MAX,
    CONTROL_CHANNEL,
    Frame,
    FrameAssembler,
    MessageSplitter,
    delimit,
    make_frame,
)
from node.p2p.handshake import Handshake
from node.p2p.noise import PLAINTEXT_BYTES_MAX, Cipher, Role
from node.p2p.observer import Observer, PeerIdentity, PeerView
from node.p2p.outbox import Outbox
from node.p2p.pace import Pace
from node.p2p.peer_book import Link, PeerAddress

P = ParamSpec("P")

URGENT_CHANNEL: Final = 0
"""Consensus. A peer that leaves no room for it, after everything else gave way, is dropped."""

_MESSAGES_PER_WRITE_MAX: Final = 4
_PAUSE_MS_MAX: Final = 1_000
_CLOSE_MS_MAX: Final = 1_000
_DETAIL_CHARS_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of connections; tests set smaller ones. Units and reasons: node/limits.py."""

    peers: int = limits.PEERS_MAX
    handshakes_pending: int = limits.HANDSHAKES_PENDING_MAX
    handshake_ms: int = limits.HANDSHAKE_TIMEOUT_MS
    keepalive_ms: int = limits.PEER_KEEPALIVE_MS
    silence_ms: int = limits.PEER_SILENCE_MAX_MS
    blocked_ms: int = limits.PEER_BLOCKED_MAX_MS
    penalty_ms: int = limits.PEER_PENALTY_MS
    unproven_penalty_ms: int = limits.PEER_UNPROVEN_PENALTY_MS
    queue_frames: int = limits.PEER_QUEUE_FRAMES_MAX
    queue_bytes: int = limits.PEER_QUEUE_BYTES_MAX
    write_buffer_bytes: int = limits.PEER_WRITE_BUFFER_BYTES_MAX
    read_bytes_per_second: int = limits.PEER_READ_BYTES_PER_SECOND_MAX
    read_items_per_second: int = limits.PEER_READ_ITEMS_PER_SECOND_MAX


class Stage(Enum):
    """Where a connection is in its life; it never goes back."""

    HANDSHAKE = "handshake"
    ACCEPTING = "accepting"
    OPEN = "open"
    CLOSING = "closing"


class ControlKind(IntEnum):
    """What the two ends of a connection say to each other."""

    HEARTBEAT = 0
    ACCEPT = 1
    GOODBYE = 2


class Control(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A frame of the control channel."""

    kind: ControlKind
    cause: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """Of a goodbye: a Reason or one of CAUSES."""
    detail: Annotated[str, msgspec.Meta(max_length=_DETAIL_CHARS_MAX)] = ""
    """Of a goodbye: a sentence for the peer's operator, printable ASCII."""


class Keeper(Protocol):
    """Who owns the connections. Everything is called in the event loop."""

    def opened(self, connection: "Connection") -> None:
        """A socket is connected, nothing was said."""
        ...

    def judge(self, connection: "Connection") -> None:
        """Raise Rejected if a proven and admitted peer may not stay; the last word of this side."""
        ...

    def welcome(self, connection: "Connection") -> None:
        """The connection is open from now on."""
        ...

    def deliver(self, connection: "Connection", channel: int, payload: bytes) -> None:
        """Take a frame; raise Rejected to have the peer disconnected and penalised."""
        ...

    def ended(self, connection: "Connection") -> None:
        """The connection is closing; comes once, in a turn of the loop of its own."""
        ...

    def gone(self, connection: "Connection") -> None:
        """The socket is closed."""
        ...

    def broken(self, error: Exception) -> None:
        """Our own code failed: the node must stop."""
        ...


class Connection(asyncio.Protocol):
    """A socket with its handshake, ciphers, queue and limits. Made by `Network`."""

    def __init__(
        self,
        handshake: Handshake,
        keeper: Keeper,
        *,
        observer: Observer,
        bounds: Bounds,
        dialled: PeerAddress | None = None,
    ) -> None:
        """Take `dialled`: the address we called, None for a connection that came in."""
        self._loop = asyncio.get_running_loop()
        self._handshake = handshake
        self._keeper = keeper
        self._observer = observer
        self._bounds = bounds
        self.dialled = dialled
        self.stage = Stage.HANDSHAKE
        self.host = ""
        """The other end's IP address; empty until connected."""
        self.address = "" if dialled is None else str(dialled)
        """`host:port` of the other end."""
        self.cause = ""
        """Why it ended: a Reason or one of CAUSES."""
        self.detail = ""
        self.penalty_ms = 0
        """For how long the peer must stay away: 0, unless the end was its fault."""
        self.was_open = False
        self.made_ms = self._clock_ms()
        self.open_ms = self.made_ms
        self._transport: asyncio.Transport | None = None
        self._send_cipher: Cipher | None = None
        self._receive_cipher: Cipher | None = None
        self._splitter = MessageSplitter(limits.HANDSHAKE_MESSAGE_BYTES_MAX)
        self._assembler = FrameAssembler()
        self._outbox = Outbox(frames_max=bounds.queue_frames, bytes_max=bounds.queue_bytes)
        self._byte_pace = Pace(bounds.read_bytes_per_second)
        self._item_pace = Pace(bounds.read_items_per_second)
        self._received_ms = self._sent_ms = self._progress_ms = self._backlog_ms = self.made_ms
        self._received_bytes = self._sent_bytes = 0
        self._unwritten_bytes = 0
        """What the transport held when progress was last seen."""
        self._is_blocked = False
        """The transport holds more than it should; nothing is taken from the outbox."""
        self._is_flush_due = False

    # --- what the network asks of it ---

    @property
    def identity(self) -> PeerIdentity:
        """Return who the peer is; empty fields until it is proven and admitted."""
        return PeerIdentity(self._handshake.institution, self._handshake.public_key)

    @property
    def link(self) -> Link:
        """Return what decides between this and another connection to the peer."""
        return Link(self._handshake.public_key, self._handshake.instance, self.dialled is not None, self.open_ms)

    def view(self) -> PeerView:
        """Return what metrics show of it."""
        clock_ms = self._clock_ms()
        return PeerView(
            identity=self.identity,
            address=self.address,
            is_dialled=self.dialled is not None,
            connected_ms=clock_ms - self.open_ms,
            silence_ms=clock_ms - self._received_ms,
            queue_frames=self._outbox.frames,
            queue_bytes=self._outbox.size_bytes,
            received_bytes=self._received_bytes,
            sent_bytes=self._sent_bytes,
        )

    def send(self, frame: Frame) -> bool:
        """Queue a frame; tell whether there was room. Never blocks; drops the peer if it does not read."""
        if self.stage is not Stage.OPEN:
            return False
        if self._outbox.frames == 0:
            self._backlog_ms = self._clock_ms()
        evicted = self._outbox.put(frame)
        if evicted is None:
            self._observer.dropped(self.identity, frame.channel, len(frame.payload))
            backlog_ms = self._clock_ms() - self._backlog_ms
            if frame.channel == URGENT_CHANNEL or backlog_ms > self._bounds.blocked_ms:
                waiting = f"{self._outbox.frames} frames of {self._outbox.size_bytes} bytes"
                self.end("slow_reader", f"{waiting} wait, since {backlog_ms} ms without a gap", tell=False)
            return False
        for other in evicted:
            self._observer.dropped(self.identity, other.channel, len(other.payload))
        self._flush_soon()
        return True

    def check(self) -> None:
        """Do what is due by the clock: give up on a silent or blocked peer, break our own silence."""
        clock_ms = self._clock_ms()
        bounds = self._bounds
        if self.stage in (Stage.HANDSHAKE, Stage.ACCEPTING):
            if clock_ms - self.made_ms > bounds.handshake_ms:
                self.end("timeout", f"no handshake within {bounds.handshake_ms} ms", tell=False)
            return
        if self.stage is not Stage.OPEN:
            return
        if clock_ms - self._received_ms > bounds.silence_ms:
            self.end("silent", f"nothing came in for {clock_ms - self._received_ms} ms", tell=False)
        elif self._is_blocked:
            self._check_progress(clock_ms)
        elif clock_ms - self._sent_ms >= bounds.keepalive_ms:
            self._say(Control(ControlKind.HEARTBEAT))

    def end(self, cause: str, detail: str, *, tell: bool = True, penalty_ms: int = 0) -> None:
        """Close for a cause; `tell`: say so to the peer, if it can still be told."""
        if self.stage is Stage.CLOSING:
            return
        self.was_open = self.stage is Stage.OPEN
        self.stage = Stage.CLOSING
        self.cause, self.detail, self.penalty_ms = cause, detail, penalty_ms
        self._loop.call_soon(self._guard, self._keeper.ended, self)
        if self._transport is None:
            return
        if not (tell and self._say_goodbye()):
            self._transport.abort()
            return
        self._transport.close()
        # A peer that does not read would keep the socket open for ever.
        self._loop.call_later(_CLOSE_MS_MAX / 1_000, self._transport.abort)

    def abort(self) -> None:
        """Close the socket without sending what is left."""
        self.end("closed", "aborted", tell=False)
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop tells it ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._bounds.write_buffer_bytes)
        _set_options(self._transport, self._bounds.write_buffer_bytes)
        peer = transport.get_extra_info("peername")
        if peer:
            self.host = str(peer[0])
            self.address = f"{peer[0]}:{peer[1]}" if self.dialled is None else str(self.dialled)
        self._received_ms = self._clock_ms()
        if self.stage is Stage.CLOSING:
            self._transport.abort()
            return
        self._guard(self._keeper.opened, self)
        if self._handshake.role is Role.INITIATOR and self.stage is Stage.HANDSHAKE:
            self._write(delimit(self._handshake.start()))

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the socket is gone, whoever closed it."""
        detail = "closed by the other side" if exc is None else f"{type(exc).__name__}: {exc}"
        self.end("closed", detail, tell=False)
        self._transport = None
        self._guard(self._keeper.gone, self)

    def data_received(self, data: bytes) -> None:
        """Decrypt and deliver what arrived; a fault of the peer ends the connection."""
        if self.stage is not Stage.CLOSING:
            self._guard(self._receive, data)

    def pause_writing(self) -> None:
        """Leave what waits in the outbox, where it can still be overtaken."""
        self._is_blocked = True
        self._progress_ms = self._clock_ms()
        self._unwritten_bytes = self._transport.get_write_buffer_size() if self._transport else 0

    def resume_writing(self) -> None:
        """Go on with the outbox."""
        self._is_blocked = False
        self._flush_soon()

    # --- receiving ---

    def _receive(self, data: bytes) -> None:
        self._received_ms = self._clock_ms()
        self._received_bytes += len(data)
        self._splitter.feed(data)
        items = 0
        while self.stage is not Stage.CLOSING:
            message = self._splitter.next_message()
            if message is None:
                break
            items += 1
            if self.stage is Stage.HANDSHAKE:
                self._shake(message)
            else:
                items += self._take(message)
        pause_ms = max(
            self._byte_pace.spend(len(data), self._received_ms), self._item_pace.spend(items, self._received_ms)
        )
        if pause_ms > 0 and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._loop.call_later(min(pause_ms, _PAUSE_MS_MAX) / 1_000, self._resume_reading)

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _shake(self, message: bytes) -> None:
        reply = self._handshake.receive(message)
        if reply is not None:
            self._write(delimit(reply))
        if not self._handshake.is_finished:
            return
        self._send_cipher, self._receive_cipher = self._handshake.split()
        self._splitter.message_bytes_max = limits.NOISE_MESSAGE_BYTES_MAX
        if self._handshake.role is Role.INITIATOR:
            self.stage = Stage.ACCEPTING
        else:
            self._open()

    def _open(self) -> None:
        """Let the peer in, unless the keeper objects."""
        self.open_ms = self._clock_ms()
        try:
            self._keeper.judge(self)
        except Rejected as rejection:
            self.end(rejection.reason, rejection.detail)
            return
        self.stage = Stage.OPEN
        if self._handshake.role is Role.RESPONDER:
            self._say(Control(ControlKind.ACCEPT))
        self._keeper.welcome(self)

    def _take(self, message: bytes) -> int:
        """Decrypt a message and deliver its frames; return how many."""
        assert self._receive_cipher is not None
        try:
            plaintext = self._receive_cipher.decrypt(message)
        except Rejected as rejection:
            # Anybody on the way can change a byte, so this says little about the peer.
            penalty_ms = self._bounds.unproven_penalty_ms
            self.end(rejection.reason, rejection.detail, tell=False, penalty_ms=penalty_ms)
            return 0
        frames = self._assembler.feed(plaintext)
        for channel, payload in frames:
            if channel == CONTROL_CHANNEL:
                self._take_control(codec.decode(payload, Control, bytes_max=CONTROL_BYTES_MAX))
            elif self.stage is Stage.OPEN:
                self._observer.received(channel, len(payload))
                self._keeper.deliver(self, channel, payload)
            elif self.stage is Stage.ACCEPTING:
                raise Rejected(Reason.MALFORMED, f"channel {channel}: a frame before the accept")
        return len(frames)

    def _take_control(self, control: Control) -> None:
        match control.kind:
            case ControlKind.GOODBYE:
                self.end("peer_says", f"{control.cause}: {control.detail}", tell=False)
            case ControlKind.ACCEPT:
                if self.stage is Stage.OPEN:
                    raise Rejected(Reason.MALFORMED, "an accept on a connection that is open")
                if self.stage is Stage.ACCEPTING:
                    self._open()
            case ControlKind.HEARTBEAT:
                return

    # --- sending ---

    def _flush_soon(self) -> None:
        """Send at the end of this turn of the loop: what is queued until then shares a write."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._guard, self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._is_blocked or self.stage is not Stage.OPEN:
            return
        messages: list[bytes] = []
        while len(messages) < _MESSAGES_PER_WRITE_MAX:
            message = self._next_message()
            if message is None:
                break
            messages.append(message)
        if messages:
            self._write(b"".join(messages))
        if self._outbox.frames and not self._is_blocked:
            # Others get their turn first: 256 KiB cost about 0.4 ms.
            self._flush_soon()

    def _next_message(self) -> bytes | None:
        plaintext, moved = self._outbox.take(PLAINTEXT_BYTES_MAX)
        if not plaintext:
            return None
        for channel, size_bytes in moved:
            self._observer.sent(channel, size_bytes)
        return self._seal(plaintext)

    def _seal(self, plaintext: bytes) -> bytes:
        assert self._send_cipher is not None
        return delimit(self._send_cipher.encrypt(plaintext))

    def _say(self, control: Control) -> None:
        """Queue a control frame, ahead of everything that has not been encrypted."""
        self._outbox.put(make_frame(CONTROL_CHANNEL, codec.encode(control)))
        self._flush_soon()

    def _say_goodbye(self) -> bool:
        """Write a goodbye past the queue; tell whether that was possible."""
        if self._send_cipher is None and self._handshake.is_over and self._handshake.role is Role.RESPONDER:
            # The channel stands, only the peer is not admitted: it may know why.
            self._send_cipher, self._receive_cipher = self._handshake.split()
        if self._send_cipher is None or self._is_blocked or not self._outbox.is_between_frames(CONTROL_CHANNEL):
            return False
        goodbye = Control(ControlKind.GOODBYE, self.cause[:64], _printable(self.detail))
        frame = make_frame(CONTROL_CHANNEL, codec.encode(goodbye))
        self._write(self._seal(frame.start + frame.payload))
        return True

    def _write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._sent_ms = self._clock_ms()
        self._sent_bytes += len(data)
        self._transport.write(data)

    def _check_progress(self, clock_ms: int) -> None:
        assert self._transport is not None
        unwritten_bytes = self._transport.get_write_buffer_size()
        if unwritten_bytes < self._unwritten_bytes:
            self._unwritten_bytes = unwritten_bytes
            self._progress_ms = clock_ms
        elif clock_ms - self._progress_ms > self._bounds.blocked_ms:
            detail = f"took none of {unwritten_bytes} bytes for {clock_ms - self._progress_ms} ms"
            self.end("slow_reader", detail, tell=False)

    # --- whose fault ---

    def _guard(self, call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run a step: what the peer did wrong ends the connection, what we did wrong ends the node."""
        try:
            call(*args, **kwargs)
        except Rejected as rejection:
            # A fault before the peer is admitted has no culprit; dialling backs off anyway.
            penalty_ms = self._bounds.penalty_ms if self._receive_cipher is not None else 0
            self.end(rejection.reason, rejection.detail, penalty_ms=penalty_ms)
        except Exception as error:  # noqa: BLE001 - the loop would only log it; the keeper stops the node
            self.end("stopping", f"{type(error).__name__} in our own code", tell=False)
            self._keeper.broken(error)

    def _clock_ms(self) -> int:
        return int(self._loop.time() * 1_000)


def _set_options(transport: asyncio.Transport, unsent_bytes_max: int) -> None:
    """Send small writes at once, and keep what waits in the outbox rather than in the kernel."""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes_max)


def _printable(text: str) -> str:
    return "".join(char if char.isascii() and char.isprintable() else "?" for char in text[:_DETAIL_CHARS_MAX])
