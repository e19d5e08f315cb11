"""Who a peer is, what can be seen of it, and whom the room tells about what happens."""

from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """A peer that proved who it is."""

    institution: str
    """The name that `authorise` gave its key."""
    public_key: bytes
    """Its Ed25519 node identity, 32 bytes."""


@dataclass(frozen=True, slots=True)
class PeerView:
    """One connection as metrics and `node.peers` show it."""

    identity: PeerIdentity
    address: str
    """`host:port` of the other end of the socket."""
    is_dialled: bool
    """We made the connection."""
    connected_ms: int
    """How long it has stood."""
    silence_ms: int
    """How long nothing has come in."""
    queue_frames: int
    queue_bytes: int
    received_bytes: int
    """On the wire, as are `sent_bytes`."""
    sent_bytes: int


class Observer(Protocol):
    """Is told what happens, for metrics and logs. Called in the event loop: must return at once and not raise."""

    def sent(self, channel: int, size_bytes: int) -> None:
        """Payload bytes of a channel were encrypted for one peer; a large frame comes in several calls."""
        ...

    def received(self, channel: int, size_bytes: int) -> None:
        """A frame of a channel is complete."""
        ...

    def dropped(self, peer: PeerIdentity, channel: int, size_bytes: int) -> None:
        """A frame found no room in a peer's queue, or gave way to a more urgent one."""
        ...

    def connected(self, peer: PeerIdentity, address: str, *, is_dialled: bool) -> None:
        """A connection stands; both sides accepted."""
        ...

    def disconnected(self, peer: PeerIdentity, address: str, cause: str, detail: str) -> None:
        """A connection that stood has ended, for one of CAUSES or a Reason."""
        ...

    def refused(self, address: str, cause: str, detail: str) -> None:
        """A connection never came to stand, for one of CAUSES or a Reason."""
        ...


CAUSES: Final = ("closed", "unreachable", "timeout", "silent", "slow_reader", "replaced", "peer_says", "stopping")
"""Why connections end without a rejection; metrics have one label value for each, and one for each Reason."""


# ruff: noqa: ARG002 - a tally is told more than it counts
class Tally:
    """An observer that counts: the memory twin, and what metrics read."""

    def __init__(self) -> None:
        self.sent_bytes: Counter[int] = Counter()
        """Payload bytes by channel, as are `received_bytes`."""
        self.received_bytes: Counter[int] = Counter()
        self.received_frames: Counter[int] = Counter()
        self.dropped_frames: Counter[int] = Counter()
        self.connections = 0
        self.disconnections: Counter[str] = Counter()
        """By cause, as are `refusals`."""
        self.refusals: Counter[str] = Counter()
        self.last_detail: dict[str, str] = {}
        """The sentence that came with a cause the last time."""

    def sent(self, channel: int, size_bytes: int) -> None:
        """Count payload bytes."""
        self.sent_bytes[channel] += size_bytes

    def received(self, channel: int, size_bytes: int) -> None:
        """Count a frame and its bytes."""
        self.received_bytes[channel] += size_bytes
        self.received_frames[channel] += 1

    def dropped(self, peer: PeerIdentity, channel: int, size_bytes: int) -> None:
        """Count a frame that was not sent."""
        self.dropped_frames[channel] += 1

    def connected(self, peer: PeerIdentity, address: str, *, is_dialled: bool) -> None:
        """Count a connection."""
        self.connections += 1

    def disconnected(self, peer: PeerIdentity, address: str, cause: str, detail: str) -> None:
        """Count an end by its cause."""
        self.disconnections[cause] += 1
        self.last_detail[cause] = detail

    def refused(self, address: str, cause: str, detail: str) -> None:
        """Count a refusal by its cause."""
        self.refusals[cause] += 1
        self.last_detail[cause] = detail
