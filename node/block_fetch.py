"""Asking peers for blocks: several at once, each for other heights, in a window above the head.

What comes waits in the window until it is its turn to be judged. Where the lowest heights take long, another peer is
asked for them too, so that one that stalls costs a moment, not the window. Source: PROTOCOL §6.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from node.errors import Reason, Rejected
from node.limits import (
    SYNC_BLOCKS_MAX,
    SYNC_HEDGE_MS,
    SYNC_LATE_MAX,
    SYNC_REQUESTS_MAX,
    SYNC_TIMEOUT_MS,
    SYNC_WINDOW_BLOCKS,
    SYNC_WINDOW_BYTES,
)
from node.peer_standing import Standings
from node.primitives import Height, InstitutionId
from node.sync_messages import BlocksReply, BlocksRequest, encode_sync


@dataclass(frozen=True, slots=True)
class Claim:
    """What a peer says of its blocks: from which height on it has them, and up to which."""

    base: Height
    head: Height


@dataclass(frozen=True, slots=True)
class _Request:
    """One question that is under way."""

    from_height: Height
    count: int
    sent_ms: int
    is_poll: bool
    """The peer never said that it has more."""

    @property
    def end(self) -> Height:
        """First height above."""
        return self.from_height + self.count


@dataclass(frozen=True, slots=True)
class Item:
    """A block that came and is not read yet."""

    height: Height
    data: bytes
    sender: InstitutionId


class BlockFetch:
    """What is asked of whom, and what has come."""

    def __init__(
        self, *, send: Callable[[InstitutionId, bytes], bool], now_ms: Callable[[], int], standings: Standings
    ) -> None:
        self._send = send
        self._now_ms = now_ms
        self._standings = standings
        self._requests: dict[InstitutionId, _Request] = {}
        """At most one of each peer."""
        self._late: dict[InstitutionId, deque[Height]] = {}
        """First heights of requests that nobody waits for any more: their answers may still come."""
        self._buffer: dict[Height, Item] = {}
        self._buffer_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing waits."""
        return not self._requests and not self._buffer

    def has(self, height: Height) -> bool:
        """Tell whether a height waits to be judged."""
        return height in self._buffer

    def pop(self, height: Height) -> Item | None:
        """Return what waits at a height, and forget it and everything below."""
        found = self._buffer.pop(height, None)
        if found is not None:
            self._buffer_bytes -= len(found.data)
        for passed in [other for other in self._buffer if other < height]:
            self._buffer_bytes -= len(self._buffer.pop(passed).data)
        return found

    def ask(self, head: Height, claims: Mapping[InstitutionId, Claim]) -> bool:
        """Ask whoever may be asked for what is missing above the head; tell whether anybody was."""
        now_ms = self._now_ms()
        has_asked = False
        idle = [name for name in claims if name not in self._requests]
        for name in self._standings.best(idle, now_ms):
            if len(self._requests) >= SYNC_REQUESTS_MAX or self._buffer_bytes >= SYNC_WINDOW_BYTES:
                break
            gap = self._slow_gap(head, claims[name], now_ms) or self._gap(head, claims[name])
            if gap is not None:
                has_asked |= self._ask(name, *gap, is_poll=False)
        return has_asked

    def poll(self, name: InstitutionId, head: Height) -> bool:
        """Ask a peer for the next blocks though it never said that it has any."""
        return self._ask(name, head + 1, SYNC_BLOCKS_MAX, is_poll=True)

    def take(self, sender: InstitutionId, reply: BlocksReply, head: Height) -> Height | None:
        """Keep an answer.

        Returns the height from which on the peer has no blocks, contrary to what it said. Raises:
        Rejected(QUOTA_EXCEEDED) where nobody asked.
        """
        request = self._requests.get(sender)
        if request is None or request.from_height != reply.from_height:
            late = self._late.get(sender, deque())
            if reply.from_height not in late:
                raise Rejected(Reason.QUOTA_EXCEEDED, f"blocks from {reply.from_height}, nobody asked for them")
            late.remove(reply.from_height)
            return None
        del self._requests[sender]
        if not reply.items:
            if request.is_poll:
                return None
            self._standings.failed(sender, self._now_ms())
            return request.from_height
        size = sum(map(len, reply.items))
        self._standings.answered(sender, size, self._now_ms() - request.sent_ms)
        for height, data in zip(range(request.from_height, request.end), reply.items, strict=False):
            if height > head and height not in self._buffer:
                self._buffer[height] = Item(height, data, sender)
                self._buffer_bytes += len(data)
        return None

    def tick(self) -> None:
        """Give up on who does not answer."""
        now_ms = self._now_ms()
        for name, request in list(self._requests.items()):
            if now_ms - request.sent_ms >= SYNC_TIMEOUT_MS:
                self._give_up(name)
                self._standings.failed(name, now_ms)

    def forget(self, name: InstitutionId) -> None:
        """A peer has gone; what it sent is still judged."""
        self._requests.pop(name, None)
        self._late.pop(name, None)

    def drop(self, sender: InstitutionId) -> None:
        """Throw away what a peer has sent."""
        for height in [height for height, item in self._buffer.items() if item.sender == sender]:
            self._buffer_bytes -= len(self._buffer.pop(height).data)
        if sender in self._requests:
            self._give_up(sender)

    def clear(self) -> None:
        """Throw away everything that waits, and wait for nothing."""
        self._buffer.clear()
        self._buffer_bytes = 0
        for name in list(self._requests):
            self._give_up(name)

    def _gap(self, head: Height, claim: Claim) -> tuple[Height, int] | None:
        """Return (first height, how many) of the lowest blocks that are neither here nor asked for."""
        following = head + 1
        window_end = following + SYNC_WINDOW_BLOCKS
        taken = sorted((request.from_height, request.end) for request in self._requests.values())
        start = following
        while True:
            passed = start
            while start in self._buffer:
                start += 1
            for first, end in taken:
                if first <= start < end:
                    start = end
            if start == passed:
                break
        # Up to the whole of an answer: it may have more by now than it said last.
        stop = min(window_end, start + SYNC_BLOCKS_MAX)
        stop = min([stop, *(first for first, _ in taken if first > start)])
        if start >= stop or not claim.base <= start <= claim.head:
            return None
        count = next((height for height in range(start, stop) if height in self._buffer), stop) - start
        return start, count

    def _slow_gap(self, head: Height, claim: Claim, now_ms: int) -> tuple[Height, int] | None:
        """Return the blocks that everything waits for, where who was asked for them takes long."""
        if head + 1 in self._buffer:
            return None
        asked = [name for name, request in self._requests.items() if request.from_height <= head + 1 < request.end]
        if len(asked) != 1:
            return None
        (name,) = asked
        request = self._requests[name]
        if now_ms - request.sent_ms < SYNC_HEDGE_MS or not claim.base <= head + 1 <= claim.head:
            return None
        self._standings.kept_waiting(name)
        return head + 1, request.end - (head + 1)

    def _ask(self, name: InstitutionId, from_height: Height, count: int, *, is_poll: bool) -> bool:
        now_ms = self._now_ms()
        self._standings.asked(name, now_ms)
        if not self._send(name, encode_sync(BlocksRequest(from_height, count))):
            self._standings.failed(name, now_ms)
            return False
        self._requests[name] = _Request(from_height, count, now_ms, is_poll)
        return True

    def _give_up(self, name: InstitutionId) -> None:
        """Wait no more for an answer."""
        self._late.setdefault(name, deque(maxlen=SYNC_LATE_MAX)).append(self._requests.pop(name).from_height)
