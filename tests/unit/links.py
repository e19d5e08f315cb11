"""Nodes joined without sockets: a clock that only tests move, and messages that arrive in the order sent."""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Protocol

from node.errors import Rejected
from node.primitives import InstitutionId

TICK_MS = 200


class Part(Protocol):
    """A room of a node that talks with the same room of others: gossip or sync."""

    def connected(self, peer: InstitutionId) -> None: ...
    def disconnected(self, peer: InstitutionId) -> None: ...
    def receive(self, sender: InstitutionId, payload: bytes) -> None: ...
    def tick(self) -> None: ...


class Links:
    """Carries payloads between parts, disconnects who is rejected, and runs what was put off."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.parts: dict[InstitutionId, Part] = {}
        self.latency_ms = 1
        self.ended: list[tuple[InstitutionId, InstitutionId, Rejected]] = []
        """Who disconnected whom, and why."""
        self.carried: list[tuple[InstitutionId, InstitutionId, bytes]] = []
        """Sender, receiver and payload of all that was sent."""
        self._open: set[frozenset[InstitutionId]] = set()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()

    def call_later(self, delay_ms: int, callback: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + delay_ms, next(self._numbers), callback))

    def sender(self, name: InstitutionId) -> Callable[[InstitutionId, bytes], bool]:
        """Return how `name` sends."""

        def send(receiver: InstitutionId, payload: bytes) -> bool:
            if frozenset((name, receiver)) not in self._open:
                return False
            self.carried.append((name, receiver, payload))
            self.call_later(self.latency_ms, lambda: self._deliver(name, receiver, payload))
            return True

        return send

    def _deliver(self, sender: InstitutionId, receiver: InstitutionId, payload: bytes) -> None:
        if frozenset((sender, receiver)) not in self._open:
            return
        try:
            self.parts[receiver].receive(sender, payload)
        except Rejected as rejection:
            self.ended.append((receiver, sender, rejection))
            self.disconnect(receiver, sender)

    def connect(self, one: InstitutionId, other: InstitutionId) -> None:
        self._open.add(frozenset((one, other)))
        self.parts[one].connected(other)
        self.parts[other].connected(one)

    def disconnect(self, one: InstitutionId, other: InstitutionId) -> None:
        self._open.discard(frozenset((one, other)))
        self.parts[one].disconnected(other)
        self.parts[other].disconnected(one)

    def connect_all(self) -> None:
        names = sorted(self.parts)
        for index, one in enumerate(names):
            for other in names[index + 1 :]:
                self.connect(one, other)

    def run(self, milliseconds: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + milliseconds
        next_tick_ms = self.now_ms
        while True:
            at_ms = min(self._queue[0][0] if self._queue else end_ms, next_tick_ms)
            if at_ms >= end_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            if self._queue and self._queue[0][0] <= at_ms:
                heapq.heappop(self._queue)[2]()
                continue
            next_tick_ms += TICK_MS
            for part in list(self.parts.values()):
                part.tick()
        self.now_ms = end_ms
