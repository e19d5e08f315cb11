"""Whom to dial and when, whom to keep waiting, and which of two connections to one peer survives.

Times are milliseconds on one monotonic clock; `fraction` is a random number, 0 ≤ fraction < 1. Both are arguments.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import Enum

from node.limits import (
    DIALS_PENDING_MAX,
    HANDSHAKE_TIMEOUT_MS,
    PEER_ADDRESSES_MAX,
    PEER_PENALTIES_MAX,
    PEER_STABLE_MS,
    RECONNECT_BACKOFF_MAX_MS,
    RECONNECT_BACKOFF_MIN_MS,
)


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where somebody listens."""

    host: str
    """A name or an IP address."""
    port: int
    """1 to 65,535."""
    institution: str | None = None
    """Who must answer there; None: any authorised peer."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts: they double from the least to the greatest; half of each is random."""

    min_ms: int = RECONNECT_BACKOFF_MIN_MS
    max_ms: int = RECONNECT_BACKOFF_MAX_MS

    def delay_ms(self, failures: int, fraction: float) -> int:
        """Return the delay after so many failures in a row (at least 1)."""
        assert failures >= 1
        whole = min(self.max_ms, self.min_ms << min(failures - 1, 32))
        return int(whole * (1 + fraction) / 2)


@dataclass(slots=True)
class _Entry:
    """What is known about one address."""

    address: PeerAddress
    due_ms: int = 0
    failures: int = 0
    is_dialling: bool = False
    answered: str | None = field(default=None)
    """Who answered there the last time."""

    @property
    def institution(self) -> str | None:
        return self.address.institution or self.answered


class PeerBook:
    """The addresses that we dial, at most PEER_ADDRESSES_MAX, and the keys that must wait."""

    def __init__(self, addresses: Iterable[PeerAddress] = (), *, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._penalties: dict[bytes, int] = {}
        """Until when a public key must wait; at most PEER_PENALTIES_MAX, in the order imposed."""
        self.replace(addresses)

    def addresses(self) -> list[PeerAddress]:
        """Return what is in the book, in the order it came in."""
        return [entry.address for entry in self._entries.values()]

    def knows_host(self, host: str) -> bool:
        """Tell whether an address of this host is in the book."""
        return any(entry.address.host == host for entry in self._entries.values())

    def replace(self, addresses: Iterable[PeerAddress]) -> None:
        """Make these the addresses, keeping what is known about those that stay; beyond the bound, the first ones."""
        entries: dict[tuple[str, int], _Entry] = {}
        for address in addresses:
            if len(entries) == PEER_ADDRESSES_MAX:
                break
            assert 1 <= address.port <= 65_535, address
            key = (address.host, address.port)
            old = self._entries.get(key)
            entries[key] = old if old is not None and old.address == address else _Entry(address)
        self._entries = entries

    def due(self, at_ms: int, connected: Collection[str]) -> list[PeerAddress]:
        """Return the addresses to dial now and note that they are being dialled: at most DIALS_PENDING_MAX at once.

        Left out: institutions that are connected or being dialled at another address. The longest due come first.
        """
        dialling = [entry for entry in self._entries.values() if entry.is_dialling]
        count_max = DIALS_PENDING_MAX - len(dialling)
        taken = {entry.institution for entry in dialling} | set(connected)
        found: list[PeerAddress] = []
        for entry in sorted(self._entries.values(), key=lambda entry: entry.due_ms):
            if len(found) >= count_max or entry.due_ms > at_ms:
                break
            institution = entry.institution
            if entry.is_dialling or (institution is not None and institution in taken):
                continue
            taken.add(institution)
            entry.is_dialling = True
            found.append(entry.address)
        return found

    def answered(self, address: PeerAddress, institution: str) -> None:
        """Note who answers at an address."""
        entry = self._entry(address)
        if entry is not None:
            entry.answered = institution

    def connected(self, address: PeerAddress) -> None:
        """Note that a dialled connection stands."""
        entry = self._entry(address)
        if entry is not None:
            entry.is_dialling = False

    def failed(self, address: PeerAddress, at_ms: int, fraction: float) -> None:
        """Note that a dialled connection did not come to stand: the next attempt waits longer."""
        entry = self._entry(address)
        if entry is not None:
            entry.is_dialling = False
            self._postpone(entry, at_ms, fraction)

    def lost(self, institution: str, lasted_ms: int, at_ms: int, fraction: float) -> None:
        """Note that a connection to an institution ended, whoever had made it."""
        for entry in self._entries.values():
            if entry.institution == institution and not entry.is_dialling:
                if lasted_ms >= PEER_STABLE_MS:
                    entry.failures = 0
                self._postpone(entry, at_ms, fraction)

    def penalise(self, public_key: bytes, until_ms: int) -> None:
        """Keep an identity out until then, whether it dials or is dialled."""
        until_ms = max(until_ms, self._penalties.pop(public_key, 0))
        while len(self._penalties) >= PEER_PENALTIES_MAX:
            del self._penalties[next(iter(self._penalties))]
        self._penalties[public_key] = until_ms

    def penalty_left_ms(self, public_key: bytes, at_ms: int) -> int:
        """Return how long an identity still has to wait, 0 for not at all."""
        left_ms = self._penalties.get(public_key, 0) - at_ms
        if left_ms <= 0:
            self._penalties.pop(public_key, None)
        return max(0, left_ms)

    def _entry(self, address: PeerAddress) -> _Entry | None:
        entry = self._entries.get((address.host, address.port))
        return entry if entry is not None and entry.address == address else None

    def _postpone(self, entry: _Entry, at_ms: int, fraction: float) -> None:
        entry.failures += 1
        entry.due_ms = at_ms + self._backoff.delay_ms(entry.failures, fraction)


@dataclass(frozen=True, slots=True)
class Link:
    """What decides between two connections to one institution."""

    public_key: bytes
    """The peer's identity."""
    instance: bytes
    """The peer's static Noise key: fresh for each start of its process."""
    is_dialled: bool
    """We made it."""
    since_ms: int
    """When it came to stand."""


class Survivor(Enum):
    """Which connection stays."""

    OLD = "old"
    NEW = "new"


def survivor(own_key: bytes, old: Link, new: Link) -> Survivor:
    """Decide so that both sides, asked in any order, keep the same one of two that were dialled at once.

    - Another identity of the institution: the old one stays (it is alive, or will soon be found silent).
    - Another instance: the peer was started again, so the old one is dead.
    - The same side dialled both: it knows that the old one is gone, or it would not have dialled.
    - Each side dialled one, long after each other: likewise.
    - Each side dialled one at the same time: the one dialled by the smaller identity stays.
    """
    if old.public_key != new.public_key:
        return Survivor.OLD
    if old.instance != new.instance or old.is_dialled == new.is_dialled:
        return Survivor.NEW
    # A handshake is over within its time limit, so two that crossed came to stand at most two limits apart.
    if new.since_ms - old.since_ms > 2 * HANDSHAKE_TIMEOUT_MS:
        return Survivor.NEW
    ours_stays = own_key < new.public_key
    return Survivor.NEW if new.is_dialled == ours_stays else Survivor.OLD
