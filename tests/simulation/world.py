"""A whole network in one process: simulated time, network, disks, clocks and liars around the real replica.

One seed decides everything. Events lie in a heap ordered by (time, number), so a run is a function of
its plan; its trace is hashed, and the same seed gives the same hash under any PYTHONHASHSEED.
"""

import hashlib
import heapq
from collections.abc import Callable, Sequence
from random import Random

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.evidence import decode_evidence
from node.chain.rotation import Rotation, RotationOf, proposer_order
from node.consensus.effects import Effect, ReportEquivocation
from node.consensus.inputs import Input, Timer, TimerKind
from node.crypto.hashing import sha256
from node.errors import Rejected
from node.journal import Journal
from node.replica import Member, Replica
from node.signer.local import HeldKeys, LocalSigner
from node.wire import decode_message
from tests.simulation.backends import Backend, LedgerBackend, SimulatedChain, TwinBackend, crash_disk
from tests.simulation.byzantine import Attacker, UnscrupulousSigner
from tests.simulation.checkers import Checkers, Violation
from tests.simulation.oracle import Oracle
from tests.simulation.parts import KeyRing, SimulatedCrash, SimulatedDisk
from tests.simulation.plan import Plan
from tests.simulation.turns import Turns

PROGRESS_HEIGHTS = 3
PROGRESS_LIMIT_MS = 400_000
"""Simulated; a healed network has to add three heights within it, whatever its timers had grown to."""
SYNC_BLOCKS = 10
KIND_BYTE = 2
"""Where a parcel says which message it holds: array of 1, array of its fields, number."""


class Node:
    """One machine: its disks survive a crash, everything else is made anew."""

    def __init__(self, world: "World", index: int, *, is_liar: bool) -> None:
        self.world = world
        self.index = index
        self.name = world.names[index]
        self.is_liar = is_liar
        self.archive = world.backend.disk()
        self.journal_disk = SimulatedDisk()
        self.signer_disk = SimulatedDisk()
        self.is_up = False
        self.incarnation = 0
        self.writes = 0
        self.skew_ms = world.plan.skew_ms[index]
        self.timers: dict[TimerKind, int] = {}
        self.chain: SimulatedChain
        self.replica: Replica
        self.attacker: Attacker | None = None
        self.seat = world.validators.index_of(self.name)
        """Its place in the set; an observer has none."""
        self.is_judged = not is_liar
        for disk in (self.archive, self.journal_disk, self.signer_disk):
            disk.before_write = lambda: world.on_write(self)
            disk.after_write = lambda: world.on_write(self)
        if self.seat is not None:
            Journal(self.journal_disk).begin()

    @property
    def height(self) -> int:
        """Of its head; 0 when it never came as far as opening its chain."""
        return self.chain.head.height if hasattr(self, "chain") else 0

    def start(self) -> None:
        """Power on."""
        world = self.world
        self.is_up = True
        self.incarnation += 1
        self.timers = {}
        self.chain = world.backend.open(self.archive)
        member = None
        if self.seat is not None:
            key = world.ring.signers[self.seat]
            nonce = sha256(f"nonce/{world.plan.seed}/{self.index}/{self.incarnation}".encode())
            if self.is_liar:
                random = Random(f"liar/{world.plan.seed}/{self.index}")
                self.attacker = Attacker(
                    self.index, len(world.validators), key, self.chain, world, world.plan.attacks, random
                )
                signer: UnscrupulousSigner | LocalSigner = UnscrupulousSigner(key, self.chain.network)
            elif world.journal_alone:
                signer = UnscrupulousSigner(key, self.chain.network)
            else:
                signer = LocalSigner(HeldKeys(key), self.chain.network, self.signer_disk)
            member = Member(signer, Journal(self.journal_disk), nonce)
        self.replica = Replica(
            institution=self.name,
            chain=self.chain,
            environment=self,
            member=member,
            observer=self,
            verify_digest=world.ring.verify,
            rotation=world.rotation,
        )
        self.replica.start()

    def stop(self) -> None:
        """Power off: of what was not synced any suffix is lost."""
        self.is_up = False
        if self.is_judged and hasattr(self, "replica"):
            self.world.refusals += self.replica.counters.signing_refused
        for disk in (self.journal_disk, self.signer_disk, self.archive):
            crash_disk(disk, self.world.random)

    # What the replica needs of the world

    def now_ms(self) -> int:
        return self.world.backend.start_ms + self.world.time_ms + self.skew_ms

    def set_timer(self, timer: Timer, delay_ms: int) -> None:
        version = self.timers.get(timer.kind, 0) + 1
        self.timers[timer.kind] = version
        incarnation = self.incarnation

        def fire() -> None:
            if self.is_up and incarnation == self.incarnation and self.timers[timer.kind] == version:
                self.replica.on_timer(timer)

        self.world.schedule(delay_ms, self, fire)

    def send(self, receiver: str, payload: bytes) -> None:
        self._say(self.world.machines[receiver], payload)

    def broadcast(self, receivers: Sequence[str] | None, payload: bytes) -> None:
        machines = self.world.machines
        names = machines if receivers is None else receivers
        self._say([index for name in names for index in machines[name] if index != self.index], payload)

    def request_sync(self, target_height: int, peers: Sequence[str]) -> None:
        self.world.sync(self, target_height, peers)

    def _say(self, receivers: Sequence[int], payload: bytes) -> None:
        if self.attacker is not None:
            self.attacker.on_outgoing(receivers, payload)
            return
        accepted = self.replica._core.state.accepted
        if self.is_judged:
            self.world.checkers.on_sent(self.index, decode_message(payload), accepted)
        for receiver in receivers:
            self.world.transmit(self.index, receiver, payload)

    # What the replica tells

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        self.world.steps += 1
        if not self.is_judged:
            return
        for effect in effects:
            if isinstance(effect, ReportEquivocation):
                self.world.on_accused(self, effect.institution)

    def rejected(self, sender: str, rejection: Rejected) -> None:
        self.world.on_refused(self, rejection)
        self.world.rejections[rejection.reason] = self.world.rejections.get(rejection.reason, 0) + 1

    def committed(self, block: Block, certificate: Certificate) -> None:
        if self.is_judged:
            self.world.checkers.on_committed(self.name, block, certificate, self.chain.executed_root())
            for data in block.evidence:
                accused = decode_evidence(data).parts[0].validator
                self.world.on_accused(self, self.world.names[accused])
            self.world.on_decided(self, block, certificate)
            self.world.trace(f"{self.name} {block.header.height} {block.hash().hex()}")


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
        self.crashes = 0
        self.crash_at = crash_at
        self.journal_alone = journal_alone
        self.refusals = 0
        self.rejections: dict[str, int] = {}
        self.accusations: set[str] = set()
        """Validators that honest nodes have caught contradicting themselves."""
        self._heap: list[tuple[int, int, Node | None, Callable[[], None]]] = []
        self._count = 0
        self._trace = hashlib.sha256()
        n = plan.validators
        self.ring = KeyRing(n, plan.seed, real=plan.real_signatures)
        self.backend: Backend = LedgerBackend(self.ring) if plan.real_ledger else TwinBackend(self.ring)
        self.validators = self.backend.validators
        self.validators.check()
        names = [member.institution for member in self.validators.members]
        self.names = [*names, *(["observer.example"] if plan.observer else twins)]
        self.machines: dict[str, list[int]] = {}
        """Which machines run under a name: two where a validator has a twin."""
        for index, name in enumerate(self.names):
            self.machines.setdefault(name, []).append(index)
        turns = Turns(names, proposer_order(self.validators))
        oracle = Oracle(self.backend.network, self.validators, self.ring, turns)
        self.checkers = Checkers(oracle, forks_only)
        self.nodes = [Node(self, index, is_liar=index in plan.byzantine) for index in range(len(self.names))]
        self._submitted = 0
        self._loss_of_kind = dict(plan.loss_by_kind)

    # Time

    def schedule(self, delay_ms: int, node: Node | None, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (self.time_ms + delay_ms, self._count, node, action))

    def run(self) -> str:
        """Play the plan to its end; return the hash of the trace. Raises: Violation."""
        plan = self.plan
        for node in self.nodes:
            self.schedule(0, node, self._starter(node))
        self.schedule(1, None, self._submit)
        for time_ms, index in plan.kills:
            self.schedule(time_ms, None, self._killer(self.nodes[index]))
        if plan.amnesiac is not None:
            self.schedule(plan.amnesiac[0], None, self._wiper(self.nodes[plan.amnesiac[1]]))
        self.run_until(lambda: self.time_ms >= plan.heal_ms)
        for node in self.nodes:
            if not node.is_up:
                self.schedule(0, node, self._starter(node))
        target = max(node.height for node in self.honest()) + PROGRESS_HEIGHTS
        limit_ms = self.time_ms + PROGRESS_LIMIT_MS
        self.run_until(lambda: self.time_ms > limit_ms or self._all_reached(target))
        if self.checkers.forks_only:
            return ""
        if not self._all_reached(target):
            raise Violation(f"progress: {self.describe()} instead of height {target}")
        for node in self.honest():
            self.checkers.on_finished(node.name, node.chain.included(), node.chain.head.height)
        self.trace(f"{self.time_ms} {self.steps} {sorted(self.rejections.items())}")
        return self._trace.hexdigest()

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Take events in order until a condition holds after one of them."""
        while self._heap and not is_over():
            self.time_ms, number, node, action = heapq.heappop(self._heap)
            self._trace.update(b"%d %d;" % (self.time_ms, number))
            try:
                action()
            except SimulatedCrash:
                assert node is not None
                self.crash(node)

    def trace(self, line: str) -> None:
        self._trace.update(line.encode())

    def on_decided(self, node: Node, block: Block, certificate: Certificate) -> None:
        """A judged node has committed; for worlds that keep a transcript."""

    def on_refused(self, node: Node, rejection: Rejected) -> None:
        """A node has refused something; for worlds that keep a transcript."""

    def on_accused(self, node: Node, accused: str) -> None:
        """An honest node says, or has committed a block that says, that a validator contradicted itself."""
        self.accusations.add(accused)
        if any(other.name == accused for other in self.honest()):
            raise Violation(f"evidence: {node.name} accuses {accused}, which is honest")

    def honest(self) -> list[Node]:
        return [node for node in self.nodes if node.is_judged]

    def describe(self) -> str:
        """Say where every node is."""
        return "; ".join(f"{node.name} {node.chain.head.height}/{node.replica.view().view}" for node in self.nodes)

    def _all_reached(self, target: int) -> bool:
        return all(node.is_up and node.height >= target for node in self.honest())

    # Network

    def transmit(self, sender: int, receiver: int, payload: bytes, extra_ms: int = 0) -> None:
        """Carry a parcel, or lose it, or deliver it twice, sooner or later."""
        plan, random = self.plan, self.random
        self._trace.update(payload[:64])
        healed = self.time_ms >= plan.heal_ms
        if not healed:
            loss_percent = self._loss_of_kind.get(payload[KIND_BYTE], plan.loss_percent)
            if not self.are_connected(sender, receiver) or random.randrange(100) < loss_percent:
                return
        low, high = (1, 40) if healed else plan.delay_ms
        copies = 1 if healed or random.randrange(100) >= plan.duplication_percent else 2
        node = self.nodes[receiver]
        for _ in range(copies):
            self.schedule(random.randint(low, high) + extra_ms, node, self._delivery(sender, node, payload))

    def are_connected(self, one: int, other: int) -> bool:
        for start, end, sides in self.plan.partitions:
            if start <= self.time_ms < end and one < len(sides) and other < len(sides) and sides[one] != sides[other]:
                return False
        return True

    def _delivery(self, sender: int, node: Node, payload: bytes) -> Callable[[], None]:
        def deliver() -> None:
            if node.is_up:
                if node.attacker is not None:
                    node.attacker.on_incoming(payload)
                node.replica.receive(self.names[sender], payload)

        return deliver

    def sync(self, node: Node, target_height: int, peers: Sequence[str]) -> None:
        """A stand-in for node/sync.py: fetch a few blocks with certificates from one peer, check, commit."""
        incarnation = node.incarnation
        peer = self.nodes[self.machines[self.random.choice(list(peers))][0]]

        def fetch() -> None:
            if not node.is_up or node.incarnation != incarnation or not peer.is_up or peer.is_liar:
                return
            if not self.are_connected(node.index, peer.index):
                return
            first = node.chain.head.height + 1
            for height in range(first, min(target_height + 1, first + SYNC_BLOCKS)):
                found = peer.chain.block_at(height)
                if found is None:
                    break
                block, certificate = found
                certificate.check(node.chain.network, self.validators, self.ring.verify)
                node.chain.commit_block(block, certificate)
                node.committed(block, certificate)
            node.replica.on_committed_by_sync()

        self.schedule(self.random.randint(10, 100), node, fetch)

    # Clients and faults

    def _submit(self) -> None:
        """A client gives a transaction to some nodes; gossip reaches most."""
        self._submitted += 1
        transaction = self.backend.transaction(self._submitted)
        self.checkers.submitted.add(transaction)
        healed = self.time_ms >= self.plan.heal_ms
        for node in self.nodes:
            if healed or self.random.randrange(100) >= self.plan.loss_percent:
                self.schedule(self.random.randint(1, 60), node, self._gossip(node, transaction))
        every_ms = self.plan.transaction_every_ms
        self.schedule(self.random.randint(every_ms // 2, every_ms * 2), None, self._submit)

    @staticmethod
    def _gossip(node: Node, transaction: bytes) -> Callable[[], None]:
        def arrive() -> None:
            if node.is_up and node.chain.take(transaction):
                node.replica.on_transactions_pending()

        return arrive

    def on_write(self, node: Node) -> None:
        """Before and after every durable write: perhaps the power goes."""
        node.writes += node.incarnation > 0
        may_crash = self.time_ms < self.plan.heal_ms and not node.is_liar and node.incarnation > 0
        if node.incarnation > 0 and self.crash_at == (node.index, node.writes):
            raise SimulatedCrash
        if may_crash and self.random.randrange(2_000) < self.plan.crash_per_mille:
            raise SimulatedCrash

    def crash(self, node: Node) -> None:
        """Stop a node now and start it again after a while."""
        self.crashes += 1
        node.stop()
        self.schedule(self.random.randint(1, 2_500), node, self._starter(node))

    def _starter(self, node: Node) -> Callable[[], None]:
        def start() -> None:
            if not node.is_up:
                node.start()

        return start

    def _killer(self, node: Node) -> Callable[[], None]:
        def kill() -> None:
            if node.is_up and not node.is_liar:
                self.crash(node)

        return kill

    def _wiper(self, node: Node) -> Callable[[], None]:
        def wipe() -> None:
            if node.is_up:
                self.crash(node)
            node.journal_disk.wipe()
            node.signer_disk.wipe()

        return wipe
