"""How many handshakes strangers may make us compute: so many a second from one address, so many from all unknown ones.

A handshake costs two key agreements and a signature before anybody has proven anything; slots alone bound how many are
open, not how many there are in a second. Whom we dial ourselves is no stranger: others cannot use up his share.
Token buckets; the least recently seen address is forgotten first.
"""

from collections import OrderedDict
from collections.abc import Callable

from node.limits import (
    HANDSHAKE_ADDRESSES_MAX,
    HANDSHAKES_BURST_SECONDS,
    HANDSHAKES_OF_STRANGERS_PER_SECOND_MAX,
    HANDSHAKES_PER_ADDRESS_PER_SECOND_MAX,
)


class Doorman:
    """Lets sockets begin a handshake, or not."""

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        """`is_known`: whether we dial this host ourselves."""
        self._is_known = is_known
        self._by_host: OrderedDict[str, _Bucket] = OrderedDict()
        self._strangers = _Bucket(HANDSHAKES_OF_STRANGERS_PER_SECOND_MAX)

    def lets_in(self, host: str, at_ms: int) -> bool:
        """Count one more handshake of a host, at a time in ms; tell whether it may begin."""
        bucket = self._by_host.pop(host, None) or _Bucket(HANDSHAKES_PER_ADDRESS_PER_SECOND_MAX)
        self._by_host[host] = bucket
        if len(self._by_host) > HANDSHAKE_ADDRESSES_MAX:
            self._by_host.popitem(last=False)
        if not bucket.has(at_ms):
            return False
        if not self._is_known(host):
            if not self._strangers.has(at_ms):
                return False
            self._strangers.tokens -= 1
        bucket.tokens -= 1
        return True


class _Bucket:
    """Fills with time up to a few seconds' worth."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self.tokens = float(per_second * HANDSHAKES_BURST_SECONDS)
        self._at_ms: int | None = None

    def has(self, at_ms: int) -> bool:
        """Fill up to now; tell whether one may be taken."""
        elapsed_ms = 0 if self._at_ms is None else max(0, at_ms - self._at_ms)
        self._at_ms = at_ms
        filled = self.tokens + elapsed_ms * self._per_second / 1_000
        self.tokens = min(float(self._per_second * HANDSHAKES_BURST_SECONDS), filled)
        return self.tokens >= 1
