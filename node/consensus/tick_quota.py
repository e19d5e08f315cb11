"""What of one peer is judged and answered between two ticks: whatever costs a verification or a block. [B4]"""

from collections import Counter
from typing import TypeAlias

from node.consensus.carried import Carried
from node.errors import Reason, Rejected
from node.limits import (
    BLOCK_ANSWERS_PER_PEER_MAX,
    EVIDENCE_JUDGED_PER_PEER_MAX,
    PROPOSALS_JUDGED_PER_PEER_MAX,
    STATUSES_PER_PEER_MAX,
)
from node.primitives import InstitutionId

_Counts: TypeAlias = dict[InstitutionId, int]


class TickQuota:
    """What each peer has used up since the last tick; it names connected peers only."""

    def __init__(self, carried: Carried | None = None) -> None:
        """`carried`: what another core had counted so far."""
        self._judged: Counter[InstitutionId] = Counter({} if carried is None else carried.judged)
        self._answered: Counter[InstitutionId] = Counter({} if carried is None else carried.answered)
        self._heard: Counter[InstitutionId] = Counter({} if carried is None else carried.heard)
        self._reported: Counter[InstitutionId] = Counter({} if carried is None else carried.reported)

    def carried(self) -> tuple[_Counts, _Counts, _Counts, _Counts]:
        """Return what makes another object like this one: judged, answered, heard, reported."""
        return dict(self._judged), dict(self._answered), dict(self._heard), dict(self._reported)

    def forgive(self) -> None:
        """Begin anew; called once a tick."""
        for spent in (self._judged, self._answered, self._heard, self._reported):
            spent.clear()

    def judge(self, sender: InstitutionId, *, is_own: bool) -> None:
        """Count a proposal that is to be judged; our own costs nothing. Raises: Rejected(QUOTA_EXCEEDED)."""
        if self._judged[sender] >= PROPOSALS_JUDGED_PER_PEER_MAX:  # [B4]
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{self._judged[sender]} proposals were judged")
        if not is_own:
            self._judged[sender] += 1

    def accepted(self, maker: InstitutionId) -> None:
        """Take back one proposal: it was no waste, so an honest proposer of many heights a second is never refused."""
        if self._judged[maker]:  # [B4]
            self._judged[maker] -= 1

    def may_judge(self, sender: InstitutionId) -> bool:
        """Count a decided block that is to be judged, if one is left."""
        if self._judged[sender] >= PROPOSALS_JUDGED_PER_PEER_MAX:  # [B4]
            return False
        self._judged[sender] += 1
        return True

    def answer(self, sender: InstitutionId) -> None:
        """Count a block that is sent on request. Raises: Rejected(QUOTA_EXCEEDED)."""
        if not self.may_answer(sender):
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{self._answered[sender]} blocks were sent to {sender}")

    def may_answer(self, sender: InstitutionId) -> bool:
        """Count a block or the answer to a probe, if one is left."""
        if self._answered[sender] >= BLOCK_ANSWERS_PER_PEER_MAX:  # [B4]
            return False
        self._answered[sender] += 1
        return True

    def hear(self, sender: InstitutionId) -> None:
        """Count a Status: each is another digest, so each costs a verification. Raises: Rejected(QUOTA_EXCEEDED)."""
        if self._heard[sender] >= STATUSES_PER_PEER_MAX:  # [B4]
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{self._heard[sender]} status of {sender} were heard")
        self._heard[sender] += 1

    def report(self, sender: InstitutionId) -> None:
        """Count evidence that is to be judged. Raises: Rejected(QUOTA_EXCEEDED)."""
        if self._reported[sender] >= EVIDENCE_JUDGED_PER_PEER_MAX:  # [E4]
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{self._reported[sender]} reports of {sender} were judged")
        self._reported[sender] += 1
