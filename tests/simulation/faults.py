"""What goes wrong with machines: power, disks and clocks. Never with more of them at once than the protocol bears."""

from collections import Counter
from typing import TYPE_CHECKING

from node.chain.statements import Commit, Prepare
from node.consensus.messages import Message, Proposal, header_of
from node.errors import StorageError
from tests.simulation.bounds import judge_bounds
from tests.simulation.checkers import Violation
from tests.simulation.disk import SimulatedDisk
from tests.simulation.parts import SimulatedCrash

if TYPE_CHECKING:
    from tests.simulation.machine import Node
    from tests.simulation.world import World

CLOCK_OFF_MAX_MS = 900
"""What a time server leaves; two clocks then differ by less than a proposal may lie ahead."""
STORM_MS = 1_000
"""After it the flood has arrived."""
RESTART_MS = (1, 2_500)
QUICK_MS = (1, 50)
WIPED_COMMITS = 0.2
"""Share of Commits after which records are lost, in the plans that do so."""
WIPED_CHAINS = 0.7
"""Share of these after which the chain is gone too."""
REPAIR_MS = (500, 5_000)
"""How long an operator takes who moves a damaged disk away."""


class Faults:
    """The faults of one run, and how often each of them really happened."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._lost_height: dict[int, int] = {}
        """Machine whose chain was lost → the height it had; until it is there again it counts as faulty."""
        self._without_records: set[int] = set()
        """Machines that lost journal and signer's record and have not voted since."""
        self.counts: Counter[str] = Counter()

    def plan(self) -> None:
        """Put the plan's faults on the calendar."""
        world = self._world
        plan = world.plan
        for time_ms, index in plan.kills:
            world.schedule(time_ms, None, self._cut_power, world.nodes[index])
        for time_ms, index in plan.wipes:
            world.schedule(time_ms, None, self.lose_records_where_bearable, world.nodes[index])
        for time_ms, index, disk in plan.rots:
            world.schedule(time_ms, None, self._rot, world.nodes[index], disk)
        for time_ms, index, step_ms in plan.clock_steps:
            world.schedule(time_ms, None, self._step_clock, world.nodes[index], step_ms)
        for time_ms in plan.storm_ms:
            for node in world.nodes:
                if node.is_liar:
                    world.schedule(time_ms, node, self._storm, node)

    def tally(self) -> Counter[str]:
        """Return what went wrong how often, in the network too."""
        world = self._world
        plan = world.plan
        counts = Counter(self.counts)
        counts["partition"] = sum(not partition.is_one_way for partition in plan.partitions)
        counts["one-way partition"] = sum(partition.is_one_way for partition in plan.partitions)
        counts["fault bound to a view"] = len(plan.round_faults)
        counts["slow machine"] = sum(slow_ms > 0 for slow_ms in plan.slow_ms)
        counts["parcel lost"] = world.network.lost
        counts["lying validator"] = len(plan.byzantine)
        counts["lying validator caught on record"] = len(world.accusations)
        if plan.byzantine:
            counts.update(f"lie: {attack}" for attack in plan.attacks)
        return +counts

    def heal(self) -> None:
        """Set the clocks and start what is down."""
        world = self._world
        for node in world.nodes:
            node.clock_ms = max(-CLOCK_OFF_MAX_MS, min(CLOCK_OFF_MAX_MS, world.plan.skew_ms[node.index]))
            if not node.is_up:
                world.schedule(0, node, world.start, node)

    # Power

    def on_write(self, node: "Node") -> None:
        """Cut the power at a durable write, perhaps: `node` asks before and after each."""
        world = self._world
        node.writes += 1
        if node.incarnation == 0:
            return
        if world.crash_at == (node.index, node.writes):
            raise SimulatedCrash
        per_mille = world.plan.crash_per_mille
        may_crash = per_mille and world.time_ms < world.plan.heal_ms and not node.is_liar
        if may_crash and world.random.randrange(2_000) < per_mille:
            raise SimulatedCrash

    def crash(self, node: "Node") -> None:
        """Stop a machine now, in the middle of whatever it did, and start it again after a while."""
        self.counts["crash at a write"] += 1
        self._restart(node, RESTART_MS)

    def _cut_power(self, node: "Node") -> None:
        if node.is_up and not node.is_liar:
            self.counts["power cut"] += 1
            self._restart(node, RESTART_MS)

    def _restart(self, node: "Node", after_ms: tuple[int, int]) -> None:
        world = self._world
        node.stop()
        world.schedule(world.random.randint(*after_ms), node, world.start, node)

    # Disks

    def lose_records_where_bearable(self, node: "Node") -> None:
        """Lose them unless too much is lost already."""
        if self._may_fail(node):
            self.lose_records(node)

    def _lose_everything(self, node: "Node") -> None:
        if self._may_fail(node):
            self.lose_records(node, QUICK_MS)
            if self._world.random.random() < WIPED_CHAINS:
                self.lose_chain(node)

    def lose_records(self, node: "Node", after_ms: tuple[int, int] = RESTART_MS) -> None:
        """The operator has lost journal and signer's record: the key may have signed anything."""
        self.counts["records lost"] += 1
        if node.is_up:
            self._restart(node, after_ms)
        self._forget(node)

    def on_said(self, node: "Node", message: Message) -> None:
        """Hit a validator where it hurts: it voted where nobody else has been, or has committed, and forgets that."""
        world = self._world
        if not isinstance(message, Prepare | Proposal | Commit) or world.time_ms >= world.plan.heal_ms:
            return
        height = header_of(message).height
        others = [other for other in world.honest() if other is not node and other.seat is not None]
        is_first = bool(others) and all(other.height < height - 1 for other in others)
        is_chosen = isinstance(message, Commit) and world.random.random() < WIPED_COMMITS
        if is_first or is_chosen:
            world.schedule(0, None, self._lose_everything, node)

    def _forget(self, node: "Node") -> None:
        self._without_records.add(node.index)
        node.journal_disk.wipe()
        node.signer_disk.wipe()

    def lose_chain(self, node: "Node") -> None:
        """The data folder is gone; the journal, on a disk of its own, stays."""
        self.counts["chain lost"] += 1
        self._lost_height[node.index] = node.height
        node.archive = self._world.backend.disk()
        node.watch_disks()

    def _rot(self, node: "Node", which: str) -> None:
        disk = {"journal": node.journal_disk, "signer": node.signer_disk, "chain": node.archive}[which]
        if self._may_fail(node) and disk.rot(self._world.random):
            self.counts[f"bit rot: {which}"] += 1

    def on_storage_error(self, node: "Node | None", error: StorageError) -> None:
        """A machine has stopped because of its disk: the operator moves away what is damaged."""
        assert node is not None
        if not any(disk.is_rotten for disk in self._disks(node)):
            raise Violation(f"disk: {node.name} stops though its disks are good: {error}")
        self.counts["stopped by bit rot"] += 1
        self._restart(node, REPAIR_MS)
        if node.journal_disk.is_rotten or node.signer_disk.is_rotten:
            self._forget(node)
        if node.archive.is_rotten:
            self.lose_chain(node)

    def _may_fail(self, node: "Node") -> bool:
        """With this machine no more than f lie, listen, or have lost what they had."""
        world = self._world
        failing = {other.index for other in world.nodes if self._is_failing(other) and other.seat is not None}
        may = not node.is_liar and len(failing | {node.index}) <= world.plan.max_faulty
        if not may:
            self.counts["disk fault left out: too many at once"] += 1
        return may

    def _is_failing(self, node: "Node") -> bool:
        if node.index in self._without_records and node.is_up and node.replica.view().may_sign:
            self._without_records.discard(node.index)
        if node.height >= self._lost_height.get(node.index, 0):
            self._lost_height.pop(node.index, None)
        return (
            node.is_liar
            or node.index in self._without_records
            or node.index in self._lost_height
            or any(disk.is_rotten for disk in self._disks(node))
        )

    @staticmethod
    def _disks(node: "Node") -> "tuple[SimulatedDisk, SimulatedDisk, SimulatedDisk]":
        return node.journal_disk, node.signer_disk, node.archive

    # Clocks and floods

    def _step_clock(self, node: "Node", step_ms: int) -> None:
        self.counts["clock step"] += 1
        node.clock_ms += step_ms

    def _storm(self, node: "Node") -> None:
        if node.is_up and node.liar is not None:
            self.counts["storm"] += 1
            node.liar.storm()
            self._world.schedule(STORM_MS, None, self._look_at_bounds)

    def _look_at_bounds(self) -> None:
        for node in self._world.honest():
            if node.is_up:
                judge_bounds(node)
