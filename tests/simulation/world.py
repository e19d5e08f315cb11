"""A whole network in one process: simulated time, network, disks, clocks and liars around the real replica.

One seed decides everything. Events lie in a heap ordered by (time, number), so a run is a function of
its plan; its trace is hashed, and the same seed gives the same hash under any PYTHONHASHSEED.
"""

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.rotation import Rotation, RotationOf
from node.errors import Rejected, StorageError
from tests.simulation.backends import Backend, LedgerBackend, TwinBackend
from tests.simulation.bounds import judge_bounds
from tests.simulation.checkers import Checkers, Violation
from tests.simulation.churn import Churn
from tests.simulation.faults import Faults
from tests.simulation.liars.attacker import Conspiracy
from tests.simulation.liars.repertoire import COLLUSIONS
from tests.simulation.links import Links
from tests.simulation.liveness import Liveness
from tests.simulation.machine import Node
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle
from tests.simulation.parts import KeyRing, SharedSignatures, SimulatedCrash
from tests.simulation.plan import Plan, standby_names
from tests.simulation.sets import Sets
from tests.simulation.turns import Turns
from tests.simulation.wire import sharing

TRACE_CHUNK = 4_096


class World:
    """One run of one plan."""

    def __init__(
        self,
        plan: Plan,
        *,
        rotation: RotationOf = Rotation,
        forks_only: bool = False,
        crash_at: tuple[int, int] | None = None,
        journal_alone: bool = False,
        twins: Sequence[str] = (),
    ) -> None:
        """`crash_at` (machine, n): its n-th chance to crash is taken; `twins`: validators that run twice.

        `journal_alone`: no signer keeps a record, so nothing but the journal stands against a double vote.
        """
        self.plan = plan
        self.rotation = rotation
        self.random = Random(f"world/{plan.seed}")
        self.time_ms = 0
        self.steps = 0
        self.crash_at = crash_at
        self.journal_alone = journal_alone
        self.rejections: Counter[str] = Counter()
        self.accusations: set[str] = set()
        """Validators that honest nodes have caught contradicting themselves."""
        self._heap: list[tuple[int, int, Node | None, Callable[..., object], tuple[object, ...]]] = []
        self._count = 0
        self._trace = hashlib.sha256()
        self._times: list[int] = []
        self.network = Network(plan, self.random)
        n = plan.validators
        self.ring = KeyRing(n + plan.standbys, plan.seed, real=plan.real_signatures)
        self.signatures = SharedSignatures(self.ring.verify)
        """Machines share it, except where signatures are real."""
        self.backend: Backend = LedgerBackend(self.ring) if plan.real_ledger else TwinBackend(self.ring, n)
        self.validators = self.backend.validators
        self.validators.check()
        names = [member.institution for member in self.validators.members]
        names += standby_names(n, plan.standbys)
        self.seats = {name: seat for seat, name in enumerate(names)}
        """Number of the key of everybody who is or may become a validator."""
        self.names = [*names, *(["observer.example"] if plan.observer else twins)]
        self.machines: dict[str, list[int]] = {}
        """Which machines run under a name: two where a validator has a twin."""
        for index, name in enumerate(self.names):
            self.machines.setdefault(name, []).append(index)
        self.sets = Sets(self.validators)
        oracle = Oracle(self.backend.network, self.sets, self.ring, Turns(self.sets.at))
        self.checkers = Checkers(oracle, forks_only)
        self.conspiracy = Conspiracy(
            plan.attacks, self.ring, is_shared=any(name in plan.attacks for name in COLLUSIONS)
        )
        self.links = Links(self)
        self.faults = Faults(self)
        self.churn = Churn(self)
        self.liveness = Liveness(self)
        self.nodes: list[Node] = []
        for index in range(len(self.names)):
            self.nodes.append(Node(self, index, is_liar=index in plan.byzantine))
        self._submitted = 0

    # Time

    def schedule(self, delay_ms: int, node: Node | None, action: Callable[..., object], *arguments: object) -> None:
        """Do something later; a simulated crash in it is a crash of `node`."""
        self._count += 1
        heapq.heappush(self._heap, (self.time_ms + delay_ms, self._count, node, action, arguments))

    def run(self) -> str:
        """Play the plan to its end; return the hash of the trace. Raises: Violation."""
        plan = self.plan
        for node in self.nodes:
            self.schedule(0, node, self.start, node)
        self.schedule(1, None, self._submit)
        self.faults.plan()
        self.churn.plan()
        self.run_until(lambda: self.time_ms >= plan.heal_ms)
        self.faults.heal()
        self._gossip_again()
        self.liveness.await_progress()
        if self.checkers.forks_only:
            return ""
        for node in self.honest():
            judge_bounds(node)
            self.checkers.on_stopped(node)
            if not node.archive.is_rotten:  # what nobody has read yet is found when somebody does
                self.checkers.on_finished(node)
        self.trace(f"{self.time_ms} {self.steps} {sorted(self.rejections.items())}")
        return self._trace.hexdigest()

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Take events in order until a condition holds after one of them."""
        heap, times = self._heap, self._times
        with sharing(each_for_itself=self.plan.real_signatures):
            while heap and not is_over():
                self.time_ms, number, node, action, arguments = heapq.heappop(heap)
                times.append(self.time_ms << 32 | number)
                try:
                    action(*arguments)
                except SimulatedCrash:
                    assert node is not None
                    self.faults.crash(node)
                except StorageError as error:
                    self.faults.on_storage_error(node, error)
                if len(times) >= TRACE_CHUNK:
                    self._flush_times()
        self._flush_times()

    def _flush_times(self) -> None:
        self._trace.update(array("q", self._times).tobytes())
        self._times.clear()

    def trace(self, line: str) -> None:
        """Put something into the hash of the run."""
        self._trace.update(line.encode())

    def on_decided(self, node: Node, block: Block, certificate: Certificate) -> None:
        """A judged node has committed; for worlds that keep a transcript."""

    def on_refused(self, node: Node, rejection: Rejected) -> None:
        """A node has refused something; for worlds that keep a transcript."""

    def on_accused(self, node: Node, accused: str) -> None:
        """An honest node says, or has committed a block that says, that a validator contradicted itself."""
        self.accusations.add(accused)
        if self.is_honest(accused):
            raise Violation(f"evidence: {node.name} accuses {accused}, which is honest")

    def is_honest(self, name: str) -> bool:
        """Tell whether all machines of a name are judged."""
        return all(self.nodes[index].is_judged for index in self.machines.get(name, ()))

    def honest(self) -> list[Node]:
        return [node for node in self.nodes if node.is_judged]

    def describe(self) -> str:
        """Say where every node is."""
        return "; ".join(
            f"{node.name} {node.height}/{node.replica.view().view if node.is_up else 'down'}" for node in self.nodes
        )

    # Network

    def transmit(self, sender: int, receiver: int, payload: bytes, extra_ms: int = 0) -> None:
        """Carry a parcel, or lose it, or deliver it twice, sooner or later."""
        node, time_ms = self.nodes[receiver], self.time_ms
        for delay_ms in self.network.delays(time_ms, sender, receiver, payload):
            self._count += 1
            event = (time_ms + delay_ms + extra_ms, self._count, node, node.hear, (self.names[sender], payload))
            heapq.heappush(self._heap, event)

    # Clients and machines

    def _submit(self) -> None:
        """A client gives a transaction to some nodes; gossip reaches most."""
        self._submitted += 1
        transaction = self.backend.transaction(self._submitted)
        self.checkers.submitted.add(transaction)
        healed = self.time_ms >= self.plan.heal_ms
        for node in self.nodes:
            if healed or self.random.randrange(100) >= self.plan.loss_percent:
                self.schedule(self.random.randint(1, 60), node, self.take, node, transaction)
        every_ms = self.plan.transaction_every_ms
        self.schedule(self.random.randint(every_ms // 2, every_ms * 2), None, self._submit)

    def _gossip_again(self) -> None:
        """With a sound network gossip brings everybody what somebody still has."""
        for number in range(1, self._submitted + 1):
            transaction = self.backend.transaction(number)
            if transaction not in self.checkers.acknowledged:
                for node in self.nodes:
                    self.schedule(self.random.randint(1, 60), node, self.take, node, transaction)

    @staticmethod
    def take(node: Node, transaction: bytes) -> None:
        if node.is_up and node.chain.take(transaction):
            node.replica.on_transactions_pending()

    def on_write(self, node: Node) -> None:
        """A machine writes durably: the moment at which power fails."""
        self.faults.on_write(node)

    @staticmethod
    def start(node: Node) -> None:
        """Power on a machine that is off."""
        if not node.is_up:
            node.start()
