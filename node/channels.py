"""What travels on which channel of a peer connection; lower numbers go first."""

from enum import IntEnum


class Channel(IntEnum):
    """A channel's number is its priority: nothing waits behind something of a higher number."""

    CONSENSUS = 0
    """Proposals, votes, view changes, Status."""
    BODIES = 1
    """Large answers to one replica: Decided, BlockReply. A vote must not wait behind 4 MiB."""
    TRANSACTIONS = 2
    SYNC = 3
