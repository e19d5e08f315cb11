"""What catching up remembers of peers: who failed, who lied, who is fast. It outlives a connection.

A failure (no answer, fewer blocks than claimed) makes a peer rest, longer each time, and is forgiven with time. A lie
bans it for a while, and connecting anew does not end that. Among those who may be asked, the fewest failures go first,
then the highest throughput; who was never asked counts as fast, so that everybody gets his chance.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from node.limits import (
    SYNC_BACKOFF_MAX_MS,
    SYNC_BACKOFF_MS,
    SYNC_BAN_MS,
    SYNC_FORGIVE_MS,
    SYNC_STANDINGS_MAX,
)
from node.primitives import InstitutionId


@dataclass(slots=True)
class Standing:
    """What is known of one peer."""

    failures: int = 0
    failed_ms: int = 0
    """When `failures` last changed."""
    rests_until_ms: int = 0
    asked_ms: int = 0
    bytes_per_second: int | None = None
    """Moving average over its answers; None before the first."""


class Standings:
    """All peers that were asked, also those that have gone."""

    def __init__(self) -> None:
        self._by_name: dict[InstitutionId, Standing] = {}

    def of(self, name: InstitutionId) -> Standing:
        """Return a peer's standing; a new one is made where there is none."""
        found = self._by_name.get(name)
        if found is None:
            if len(self._by_name) >= SYNC_STANDINGS_MAX:
                # Whoever's rest ends first is forgotten: bans last longest.
                del self._by_name[min(self._by_name, key=lambda other: self._by_name[other].rests_until_ms)]
            found = self._by_name[name] = Standing()
        return found

    def may_ask(self, name: InstitutionId, now_ms: int) -> bool:
        """Tell whether a peer neither rests nor is banned."""
        return self.of(name).rests_until_ms <= now_ms

    def best(self, names: Iterable[InstitutionId], now_ms: int) -> list[InstitutionId]:
        """Return those who may be asked, the most promising first."""

        def rank(name: InstitutionId) -> tuple[int, bool, int, int, InstitutionId]:
            peer = self.of(name)
            speed = peer.bytes_per_second
            return (self._failures(peer, now_ms), speed is not None, -(speed or 0), peer.asked_ms, name)

        return sorted((name for name in names if self.may_ask(name, now_ms)), key=rank)

    def asked(self, name: InstitutionId, now_ms: int) -> None:
        """A request went to a peer."""
        self.of(name).asked_ms = now_ms

    def answered(self, name: InstitutionId, byte_count: int, took_ms: int) -> None:
        """A peer gave what it was asked for."""
        peer = self.of(name)
        speed = 1_000 * byte_count // max(1, took_ms)
        peer.bytes_per_second = speed if peer.bytes_per_second is None else (3 * peer.bytes_per_second + speed) // 4

    def helped(self, name: InstitutionId, now_ms: int) -> None:
        """What a peer gave was good."""
        peer = self.of(name)
        peer.failures, peer.failed_ms = self._failures(peer, now_ms) // 2, now_ms

    def kept_waiting(self, name: InstitutionId) -> None:
        """A peer is so slow that another was asked for the same: whoever is faster goes first from now on."""
        peer = self.of(name)
        peer.bytes_per_second = (peer.bytes_per_second or 0) // 2

    def rests(self, name: InstitutionId, until_ms: int) -> None:
        """Leave a peer alone until then; no fault of its own."""
        peer = self.of(name)
        peer.rests_until_ms = max(peer.rests_until_ms, until_ms)

    def failed(self, name: InstitutionId, now_ms: int) -> None:
        """Leave a peer alone for a while, longer each time."""
        peer = self.of(name)
        failures = self._failures(peer, now_ms)
        self.rests(name, now_ms + min(SYNC_BACKOFF_MS << min(failures, 16), SYNC_BACKOFF_MAX_MS))
        peer.failures, peer.failed_ms = failures + 1, now_ms

    def banned(self, name: InstitutionId, now_ms: int) -> None:
        """A peer sent what no honest one has."""
        self.failed(name, now_ms)
        self.rests(name, now_ms + SYNC_BAN_MS)

    @staticmethod
    def _failures(peer: Standing, now_ms: int) -> int:
        """Return what is left of a peer's failures."""
        return peer.failures >> min(64, max(0, now_ms - peer.failed_ms) // SYNC_FORGIVE_MS)
