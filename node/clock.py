"""The two clocks of a process: what time it is, and how much of it has passed.

Only edges and shells may ask; pure rooms get time as an argument. Source: ARCHITECTURE, rule 2.
"""

import time

from node.primitives import TimestampMs


def wall_ms() -> TimestampMs:
    """Return milliseconds since 1970-01-01T00:00:00Z by this machine's clock, which may step."""
    return time.time_ns() // 1_000_000


def monotonic_seconds() -> float:
    """Return seconds from an arbitrary start; never goes back."""
    return time.monotonic()
