"""Frames: the parcels that a connection carries, and how they are cut to fit Noise messages.

On the wire stands a sequence of Noise messages, each after its length (u16, big endian). The plaintext of
one message is a sequence of pieces:

    start       u8 channel         | u32 length of the frame, big endian | its bytes
    continue    u8 0x80 | channel                                        | more of its bytes

A piece ends where its frame ends or where the message ends, whichever comes first, so a frame that does
not fit goes on in a `continue` piece of a later message. Between two messages another channel may cut in:
a vote of 200 bytes never waits for the rest of a block of 4 MiB. At most one frame per channel is open.
"""

from dataclasses import dataclass
from typing import Final

from node.errors import Reason, Rejected
from node.limits import FRAME_BYTES_MAX, NOISE_MESSAGE_BYTES_MAX, P2P_CHANNELS_MAX

LENGTH_BYTES: Final = 2
"""Length of a Noise message on the wire."""
START_BYTES: Final = 5
CONTINUE_BYTES: Final = 1
CONTROL_CHANNEL: Final = P2P_CHANNELS_MAX
"""Accept, refuse, heartbeat and goodbye of the connection itself; comes before all others."""
CONTROL_BYTES_MAX: Final = 1_024

_CONTINUE_FLAG: Final = 0x80


@dataclass(frozen=True, slots=True)
class Frame:
    """One parcel, encoded once, however many peers get it."""

    channel: int
    """0 to P2P_CHANNELS_MAX − 1, the lowest goes first; or CONTROL_CHANNEL."""
    start: bytes
    """The head of its first piece, START_BYTES long."""
    payload: bytes
    """At most FRAME_BYTES_MAX."""


def make_frame(channel: int, payload: bytes) -> Frame:
    """Return the frame of a payload of at most FRAME_BYTES_MAX."""
    assert 0 <= channel <= CONTROL_CHANNEL
    assert len(payload) <= FRAME_BYTES_MAX
    return Frame(channel, bytes([channel]) + len(payload).to_bytes(4, "big"), payload)


def continuation(channel: int) -> bytes:
    """Return the head of a piece that goes on with the open frame of a channel, CONTINUE_BYTES long."""
    return bytes([_CONTINUE_FLAG | channel])


def delimit(message: bytes) -> bytes:
    """Return a Noise message as it goes on the wire, after its length."""
    assert len(message) <= NOISE_MESSAGE_BYTES_MAX
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


class MessageSplitter:
    """Cuts a stream of bytes, in whatever portions it arrives, into Noise messages."""

    def __init__(self, message_bytes_max: int = NOISE_MESSAGE_BYTES_MAX) -> None:
        self.message_bytes_max = message_bytes_max
        """Longer messages are refused as soon as their length was read."""
        self._buffer = bytearray()
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Add what arrived; take all messages out before adding more, so that the buffer stays bounded."""
        del self._buffer[: self._position]
        self._position = 0
        self._buffer += data

    def next_message(self) -> bytes | None:
        """Return the next complete message, or None until more was fed.

        Raises: Rejected(TOO_LARGE) for a length above `message_bytes_max`.
        """
        start = self._position + LENGTH_BYTES
        if len(self._buffer) < start:
            return None
        length = int.from_bytes(self._buffer[self._position : start], "big")
        if length > self.message_bytes_max:
            detail = f"a message of {length} bytes, at most {self.message_bytes_max}"
            raise Rejected(Reason.TOO_LARGE, detail)
        if len(self._buffer) < start + length:
            return None
        self._position = start + length
        with memoryview(self._buffer) as view:
            return bytes(view[start : self._position])

    @property
    def buffered_bytes(self) -> int:
        """Bytes that belong to a message which is not complete yet."""
        return len(self._buffer) - self._position


class FrameAssembler:
    """Puts the pieces of plaintexts together; holds at most one open frame per channel."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._open: dict[int, _OpenFrame] = {}

    def feed(self, plaintext: bytes) -> list[tuple[int, bytes]]:
        """Return the frames that this plaintext completes, as (channel, payload), in order.

        Raises: Rejected(MALFORMED): a piece without its head, an unknown channel, a frame that starts inside
        another or goes on without having started; Rejected(TOO_LARGE): a length above the bound. The
        assembler must not be used after that.
        """
        finished: list[tuple[int, bytes]] = []
        view = memoryview(plaintext)
        position = 0
        while position < len(plaintext):
            channel = plaintext[position] & ~_CONTINUE_FLAG
            if channel > CONTROL_CHANNEL:
                raise Rejected(Reason.MALFORMED, f"channel {channel}, at most {CONTROL_CHANNEL}")
            if plaintext[position] & _CONTINUE_FLAG:
                position += CONTINUE_BYTES
                frame = self._open.get(channel)
                if frame is None:
                    raise Rejected(Reason.MALFORMED, f"channel {channel}: goes on with a frame that never started")
            else:
                length = self._read_start(channel, plaintext, position)
                position += START_BYTES
                if length <= len(plaintext) - position:
                    # The usual case: the frame is whole, and one copy is enough.
                    finished.append((channel, plaintext[position : position + length]))
                    position += length
                    continue
                frame = self._open[channel] = _OpenFrame(length, bytearray())
            end = min(position + frame.missing_bytes, len(plaintext))
            frame.content += view[position:end]
            position = end
            if frame.missing_bytes == 0:
                del self._open[channel]
                finished.append((channel, bytes(frame.content)))
        return finished

    @property
    def buffered_bytes(self) -> int:
        """Bytes of frames that are not complete yet."""
        return sum(len(frame.content) for frame in self._open.values())

    def _read_start(self, channel: int, plaintext: bytes, position: int) -> int:
        """Return the length of a frame that may start here."""
        if channel in self._open:
            raise Rejected(Reason.MALFORMED, f"channel {channel}: a frame starts inside another")
        head = plaintext[position + 1 : position + START_BYTES]
        if len(head) < START_BYTES - 1:
            raise Rejected(Reason.MALFORMED, f"channel {channel}: a piece ends inside its head")
        length = int.from_bytes(head, "big")
        bytes_max = CONTROL_BYTES_MAX if channel == CONTROL_CHANNEL else self._frame_bytes_max
        if length > bytes_max:
            raise Rejected(Reason.TOO_LARGE, f"channel {channel}: a frame of {length} bytes, at most {bytes_max}")
        return length


@dataclass(slots=True)
class _OpenFrame:
    length: int
    content: bytearray
    """Grows with what arrives: a length that was only announced costs nothing."""

    @property
    def missing_bytes(self) -> int:
        return self.length - len(self.content)
