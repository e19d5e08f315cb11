"""What waits to be sent to one peer: bounded, the lowest channel first, packed into plaintexts.

Source: ARCHITECTURE, rule 8: everything that can grow has a bound.
"""

from collections import deque
from typing import Final

from node.limits import P2P_CHANNELS_MAX
from node.p2p.frames import CONTINUE_BYTES, CONTROL_CHANNEL, START_BYTES, Frame, continuation

_ORDER: Final = (CONTROL_CHANNEL, *range(P2P_CHANNELS_MAX))
"""Channels by priority."""


class Outbox:
    """One queue per channel. Frames are not copied before they are taken."""

    def __init__(self, *, frames_max: int, bytes_max: int) -> None:
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._queues: dict[int, deque[Frame]] = {channel: deque() for channel in _ORDER}
        self._sent_bytes = dict.fromkeys(_ORDER, 0)
        """How much of the first frame of a channel was taken; 0: it has not started."""
        self.frames = 0
        """Frames that were not taken completely; at most `frames_max`."""
        self.size_bytes = 0
        """Payload bytes that were not taken; at most `bytes_max`."""

    def put(self, frame: Frame) -> list[Frame] | None:
        """Queue a frame; return the frames that had to give way, last come first, or None when it is refused.

        Frames of later channels that have not started give way, so a flood of transactions cannot keep
        a vote out.
        """
        evicted: list[Frame] = []
        if not self._has_room(frame):
            evicted = self._make_room(frame)
            if not self._has_room(frame):
                # Nothing was gained: put back what gave way, in its old order.
                for other in reversed(evicted):
                    self._append(other)
                return None
        self._append(frame)
        return evicted

    def take(self, plaintext_bytes_max: int) -> tuple[bytes, list[tuple[int, int]]]:
        """Return the next plaintext, empty when nothing waits, and the (channel, payload bytes) of its pieces."""
        parts: list[bytes | memoryview] = []
        moved: list[tuple[int, int]] = []
        room = plaintext_bytes_max
        for channel in _ORDER:
            queue = self._queues[channel]
            while queue:
                head_bytes = CONTINUE_BYTES if self._sent_bytes[channel] else START_BYTES
                # A piece carries something, unless its frame is empty.
                if room < head_bytes + min(1, len(queue[0].payload)):
                    return b"".join(parts), moved
                taken = self._take_piece(channel, room - head_bytes, parts)
                room -= head_bytes + taken
                moved.append((channel, taken))
        return b"".join(parts), moved

    def is_between_frames(self, channel: int) -> bool:
        """Tell whether no frame of a channel is half taken."""
        return self._sent_bytes[channel] == 0

    def _take_piece(self, channel: int, bytes_max: int, parts: list[bytes | memoryview]) -> int:
        queue = self._queues[channel]
        frame = queue[0]
        begin = self._sent_bytes[channel]
        end = min(len(frame.payload), begin + bytes_max)
        parts.append(continuation(channel) if begin else frame.start)
        whole = begin == 0 and end == len(frame.payload)
        parts.append(frame.payload if whole else memoryview(frame.payload)[begin:end])
        self.size_bytes -= end - begin
        if end == len(frame.payload):
            queue.popleft()
            self._sent_bytes[channel] = 0
            self.frames -= 1
        else:
            self._sent_bytes[channel] = end
        return end - begin

    def _has_room(self, frame: Frame) -> bool:
        return self.frames < self._frames_max and self.size_bytes + len(frame.payload) <= self._bytes_max

    def _make_room(self, frame: Frame) -> list[Frame]:
        evicted: list[Frame] = []
        for channel in reversed(_ORDER):
            if channel == frame.channel:
                break
            queue = self._queues[channel]
            while len(queue) > (1 if self._sent_bytes[channel] else 0):
                other = queue.pop()
                self.frames -= 1
                self.size_bytes -= len(other.payload)
                evicted.append(other)
                if self._has_room(frame):
                    return evicted
        return evicted

    def _append(self, frame: Frame) -> None:
        self._queues[frame.channel].append(frame)
        self.frames += 1
        self.size_bytes += len(frame.payload)
