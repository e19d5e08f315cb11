"""How long a view may last. [T3]

T0 = 4 × the moving average of proposal → decision, between 1 s and 10 s; ×1.5 per view, at most 30 s.
A cap keeps a long stall from becoming an hour of waiting after it is cured. Integers only.
"""

from node.limits import (
    VIEW_TIMEOUT_MAX_MS,
    VIEW_TIMEOUT_MIN_MS,
    VIEW_TIMEOUT_START_MAX_MS,
    VIEW_TIMEOUT_START_MS,
)
from node.primitives import View

_SAFETY_FACTOR = 4
_MEMORY = 8
"""A new sample weighs one eighth."""


class ViewTimeouts:
    """Adapts to how fast this network decides; lives as long as the process."""

    def __init__(self) -> None:
        self.average_ms = VIEW_TIMEOUT_START_MS // _SAFETY_FACTOR

    def observe(self, decision_ms: int) -> None:
        """Take in one proposal → decision; a stepped clock is clamped and soon forgotten."""
        sample = min(max(decision_ms, 0), VIEW_TIMEOUT_START_MAX_MS)
        self.average_ms = ((_MEMORY - 1) * self.average_ms + sample) // _MEMORY

    def duration_ms(self, view: View) -> int:
        """Return how long `view` may last, in milliseconds."""
        duration = min(max(_SAFETY_FACTOR * self.average_ms, VIEW_TIMEOUT_MIN_MS), VIEW_TIMEOUT_START_MAX_MS)
        for _ in range(view):
            duration = duration * 3 // 2
            if duration >= VIEW_TIMEOUT_MAX_MS:  # [T3]
                return VIEW_TIMEOUT_MAX_MS
        return duration
