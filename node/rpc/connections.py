"""Who may hold a connection to the HTTP listener: so many in all, so many an address, and nobody who does not read.

A connection costs its socket and whatever of its answers was not read; HTTP servers bound neither.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import cast

from node.limits import RPC_BLOCKED_MS_MAX, RPC_CONNECTIONS_SHARE, RPC_UNSENT_BYTES_MAX

_IPV6_PREFIX_BITS = 64
"""What one subscriber has at least."""


def caller_of(remote: str) -> str | None:
    """Return what stands for one caller: an IPv4 address, an IPv6 network; None for this machine."""
    address = ip_address(remote.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif not address.is_loopback:
            return str(IPv6Network((address, _IPV6_PREFIX_BITS), strict=False))
    return None if address.is_loopback else str(address)


class Gate:
    """All connections of one listener."""

    def __init__(self, connections_max: int) -> None:
        """One caller gets a share of `connections_max`; this machine, where a proxy may stand, is not counted apart."""
        self._connections_max = connections_max
        self._per_caller_max = max(1, connections_max // RPC_CONNECTIONS_SHARE)
        self._visitors: set[Visitor] = set()
        self._by_caller: Counter[str] = Counter()

    def visitor(self, make: Callable[[], asyncio.Protocol]) -> "Visitor":
        """Return the protocol of a new connection; what `make` makes speaks with those who are let in."""
        return Visitor(self, make)

    def enter(self, visitor: "Visitor") -> bool:
        """Let somebody in if there is room."""
        caller = visitor.caller
        if len(self._visitors) >= self._connections_max:
            return False
        if caller is not None:
            if self._by_caller[caller] >= self._per_caller_max:
                return False
            self._by_caller[caller] += 1
        self._visitors.add(visitor)
        return True

    def leave(self, visitor: "Visitor") -> None:
        """Forget somebody who was let in."""
        self._visitors.discard(visitor)
        if visitor.caller is not None:
            self._by_caller[visitor.caller] -= 1
            if not self._by_caller[visitor.caller]:
                del self._by_caller[visitor.caller]

    def check(self, now_seconds: float) -> None:
        """End connections that take nothing, and the fullest while all together hold too much; call once a second."""
        unsent = {visitor: visitor.check(now_seconds) for visitor in self._visitors}
        total = sum(unsent.values())
        for visitor in sorted(unsent, key=lambda visitor: unsent[visitor], reverse=True):
            if total <= RPC_UNSENT_BYTES_MAX:
                break
            total -= unsent[visitor]
            visitor.end()


class Visitor(asyncio.Protocol):
    """One connection: what the loop says of it goes on to the protocol behind, if it is let in."""

    def __init__(self, gate: Gate, make: Callable[[], asyncio.Protocol]) -> None:
        self._gate = gate
        self._make = make
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent_bytes = 0
        """When progress was last seen, which was at `_progress_seconds`."""
        self._progress_seconds = 0.0
        self.caller: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let it in, or close at once."""
        transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.caller = caller_of(str(peer[0])) if peer else None
        if not self._gate.enter(self):
            transport.abort()
            return
        self._transport = transport
        self._inner = self._make()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make room for the next."""
        if self._inner is not None:
            self._gate.leave(self)
            self._inner.connection_lost(exc)

    def check(self, now_seconds: float) -> int:
        """Return how many bytes wait to be taken; end the connection when nothing was for too long."""
        assert self._transport is not None
        unsent_bytes = self._transport.get_write_buffer_size()
        if unsent_bytes == 0 or unsent_bytes < self._unsent_bytes or self._unsent_bytes == 0:
            self._progress_seconds = now_seconds
        elif (now_seconds - self._progress_seconds) * 1_000 > RPC_BLOCKED_MS_MAX:
            self.end()
        self._unsent_bytes = unsent_bytes
        return unsent_bytes

    def end(self) -> None:
        """Close without sending the rest."""
        assert self._transport is not None
        self._transport.abort()
