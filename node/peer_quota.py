"""What of one peer consensus reads in a second: messages, bytes, and how much of it was refused."""

from collections import Counter
from typing import NoReturn

from node.errors import Reason, Rejected
from node.limits import (
    CONSENSUS_BYTES_PER_PEER_PER_SECOND_MAX,
    CONSENSUS_FAULT_BYTES,
    CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX,
    CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX,
)
from node.primitives import InstitutionId


class PeerQuota:
    """[B4] What each peer has used up of the present second."""

    def __init__(self) -> None:
        self._second = 0
        self._messages: Counter[InstitutionId] = Counter()
        self._bytes: Counter[InstitutionId] = Counter()
        self._faults: Counter[InstitutionId] = Counter()
        """All three are cleared with each second, so they name connected peers only."""

    def spend(self, sender: InstitutionId, size: int, now_ms: int) -> None:
        """Count one parcel before it is read. Raises: Rejected(QUOTA_EXCEEDED)."""
        if now_ms // 1_000 != self._second:
            self._second = now_ms // 1_000
            self._messages.clear()
            self._bytes.clear()
            self._faults.clear()
        self._messages[sender] += 1
        self._bytes[sender] += size
        if self._messages[sender] > CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX:
            self._refuse(sender, CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX, "messages")
        if self._bytes[sender] > CONSENSUS_BYTES_PER_PEER_PER_SECOND_MAX:
            self._refuse(sender, CONSENSUS_BYTES_PER_PEER_PER_SECOND_MAX, "bytes")
        if self._faults[sender] > CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX:
            self._refuse(sender, CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX, "points of fault")

    @staticmethod
    def _refuse(sender: InstitutionId, limit: int, what: str) -> NoReturn:
        raise Rejected(Reason.QUOTA_EXCEEDED, f"more than {limit} {what} a second from {sender}")

    def blame(self, sender: InstitutionId, size: int) -> None:
        """Count one message that was refused: it cost us work and brought nothing."""
        self._faults[sender] += 1 + size // CONSENSUS_FAULT_BYTES
