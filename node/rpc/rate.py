"""How many calls an address may make: a token bucket each, as many addresses as fit.

Source: https://en.wikipedia.org/wiki/Token_bucket; the least recently seen address is forgotten first.
"""

from collections import OrderedDict

from node.limits import RPC_ADDRESSES_MAX


class RateLimiter:
    """Buckets by address; each holds two seconds' worth of calls."""

    def __init__(self, per_second: int) -> None:
        """`per_second`: 0 = no limit."""
        self.per_second = per_second
        self._burst = 2.0 * per_second
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Address → (tokens left, when that was, in seconds)."""

    def allows(self, address: str, calls: int, now_seconds: float) -> bool:
        """Take calls out of an address's bucket; say whether there were enough."""
        if not self.per_second:
            return True
        tokens, before = self._buckets.pop(address, (self._burst, now_seconds))
        tokens = min(self._burst, tokens + max(0.0, now_seconds - before) * self.per_second)
        enough = tokens >= calls
        self._buckets[address] = (tokens - calls if enough else tokens, now_seconds)
        if len(self._buckets) > RPC_ADDRESSES_MAX:
            self._buckets.popitem(last=False)
        return enough
