"""What one peer may send on one channel in one second; beyond it nothing of it is read until the next.

Not a reason to disconnect: the transport already slows a peer down that sends more than we can read, and a validator
that floods one channel must still be heard on the others.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """Spent by messages and by bytes; made anew with each second."""

    messages_max: int
    bytes_max: int
    messages: int = 0
    bytes: int = 0
    second: int = -1

    def spend(self, size: int, now_ms: int) -> bool:
        """Count one message of so many bytes; tell whether it may be read."""
        if now_ms // 1_000 != self.second:
            self.second, self.messages, self.bytes = now_ms // 1_000, 0, 0
        self.messages += 1
        self.bytes += size
        return self.messages <= self.messages_max and self.bytes <= self.bytes_max
