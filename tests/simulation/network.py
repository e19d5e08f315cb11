"""What happens to a parcel between two machines: it is late, lost, doubled, or overtaken by another."""

from random import Random

from node.chain.statements import Commit, Prepare
from node.consensus.messages import NewView, Proposal, ViewChange, header_of
from tests.simulation.plan import HOUR_MS, Partition, Plan, RoundFault
from tests.simulation.wire import decoded

KIND_BYTE = 2
"""Where a parcel says which message it holds: array of 1, array of its fields, number."""
HEALED_DELAY_MS = (1, 40)


class Network:
    """The network of one run; a function of its plan, its random numbers and the time."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self._plan = plan
        self._random = random
        self._may_part = bool(plan.partitions)
        self._loss_of_kind = dict(plan.loss_by_kind)
        self._faulty_kinds = {kind for fault in plan.round_faults for kind in fault.kinds}
        self._from_ms = self._until_ms = 0
        self._active: list[Partition] = []
        self.lost = 0

    def delays(self, time_ms: int, sender: int, receiver: int, payload: bytes) -> tuple[int, ...]:
        """Return how long each copy of a parcel travels; nothing when it is lost."""
        plan, draw = self._plan, self._random.random
        if time_ms >= plan.heal_ms:
            low, high = HEALED_DELAY_MS
            return (low + int(draw() * (high - low + 1)),)
        kind = payload[KIND_BYTE]
        loss_percent = self._loss_of_kind.get(kind, plan.loss_percent)
        if (
            (loss_percent and draw() * 100 < loss_percent)
            or (self._may_part and self.are_parted(time_ms, sender, receiver))
            or (kind in self._faulty_kinds and self._is_round_fault(sender, receiver, kind, payload))
        ):
            self.lost += 1
            return ()
        low, high = plan.delay_ms
        spread_ms = high - low + 1 + plan.slow_ms[receiver] + plan.slow_ms[sender] // 2
        delay_ms = low + int(draw() * spread_ms)
        if plan.duplication_percent and draw() * 100 < plan.duplication_percent:
            return (delay_ms, low + int(draw() * spread_ms))
        return (delay_ms,)

    def delay_of_sync(self, time_ms: int, sender: int, receiver: int) -> int | None:
        """Return how long a parcel of sync travels; TCP loses nothing unless the two are parted, then it is lost."""
        plan, draw = self._plan, self._random.random
        if time_ms >= plan.heal_ms:
            low, high = HEALED_DELAY_MS
            return low + int(draw() * (high - low + 1))
        if self.are_parted(time_ms, sender, receiver):
            return None
        low, high = plan.delay_ms
        retransmitted_ms = 200 if draw() * 100 < plan.loss_percent else 0
        return low + int(draw() * (high - low + 1 + plan.slow_ms[receiver])) + retransmitted_ms

    def are_parted(self, time_ms: int, sender: int, receiver: int) -> bool:
        """Tell whether a partition lies between two machines now."""
        if not self._from_ms <= time_ms < self._until_ms:
            self._look_at_partitions(time_ms)
        return any(partition.parts(sender, receiver) for partition in self._active)

    def _look_at_partitions(self, time_ms: int) -> None:
        """Find the partitions of now, and until when they stay the same: a long run has hundreds."""
        partitions = self._plan.partitions
        edges = [edge for partition in partitions for edge in (partition.from_ms, partition.until_ms)]
        self._from_ms = max((edge for edge in edges if edge <= time_ms), default=0)
        self._until_ms = min((edge for edge in edges if edge > time_ms), default=time_ms + HOUR_MS)
        self._active = [partition for partition in partitions if partition.from_ms <= time_ms < partition.until_ms]

    def _is_round_fault(self, sender: int, receiver: int, kind: int, payload: bytes) -> bool:
        message = decoded(payload)
        if not isinstance(message, Proposal | Prepare | Commit | ViewChange | NewView):
            return False
        head = header_of(message)
        return any(
            kind in fault.kinds
            and fault.view == head.view
            and head.height % fault.every == 0
            and _side(fault, sender) != _side(fault, receiver)
            for fault in self._plan.round_faults
        )


def _side(fault: RoundFault, index: int) -> int:
    return fault.sides[index] if index < len(fault.sides) else 0
