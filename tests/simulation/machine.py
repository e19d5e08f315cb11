"""One machine: the production replica and sync on disks that survive a crash, with a clock that may be wrong."""

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.evidence import decode_evidence
from node.consensus.effects import Effect, ReportEquivocation
from node.consensus.inputs import Input, Timer, TimerKind
from node.consensus.messages import Message, Status
from node.crypto.hashing import sha256
from node.crypto.verified import SignatureCache
from node.errors import Reason, Rejected
from node.journal import Journal
from node.replica import Member, Replica
from node.signer.local import HeldKeys, LocalSigner
from node.sync import Sync
from tests.simulation.backends import SimulatedChain
from tests.simulation.checkers import Violation
from tests.simulation.disk import SimulatedDisk
from tests.simulation.liars.attacker import Liar, UnscrupulousSigner
from tests.simulation.wire import decoded

if TYPE_CHECKING:
    from tests.simulation.world import World


NO_HONEST_FAULT = frozenset(
    {
        Reason.BAD_SIGNATURE,
        Reason.BAD_JUSTIFICATION,
        Reason.MALFORMED,
        Reason.NOT_A_VALIDATOR,
        Reason.WRONG_SIGNERS,
        Reason.WRONG_VIEW,
    }
)
"""What an honest machine never says, so that another honest one had to refuse it for this."""


class Node:
    """Its disks survive a crash, everything else is made anew."""

    def __init__(self, world: "World", index: int, *, is_liar: bool) -> None:
        self.world = world
        self.index = index
        self.name = world.names[index]
        self.is_liar = is_liar
        self.is_judged = not is_liar
        self.archive = world.backend.disk()
        self.journal_disk = SimulatedDisk()
        self.signer_disk = SimulatedDisk()
        self.is_up = False
        self.incarnation = 0
        self.writes = 0
        self.judged_height = 0
        """Up to here the checkers have seen what it committed, whichever way it did."""
        self.clock_ms = world.plan.skew_ms[index]
        """How far its clock is off."""
        self.timers: dict[TimerKind, int] = {}
        self.is_starting = False
        self.view_ran_out = False
        """Only while the replica is told so."""
        self.chain: SimulatedChain
        self.replica: Replica
        self.sync: Sync
        self.liar: Liar | None = None
        self.seat = world.seats.get(self.name)
        """Its place among all who are or may become validators; an observer has none."""
        self.keys = world.churn.keys_of(self)
        """Consensus keys, oldest first; the first is in the first set, the others wait for their turn."""
        self._heard: Message | None = None
        """What it is just being told."""
        self.watch_disks()
        if self.seat is not None:
            Journal(self.journal_disk).begin()

    def watch_disks(self) -> None:
        """Give each of its writes a chance to be the last."""
        for disk in (self.archive, self.journal_disk, self.signer_disk):
            disk.before_write = self._on_write
            disk.after_write = self._on_write

    def _on_write(self) -> None:
        self.world.on_write(self)

    @property
    def height(self) -> int:
        """Of its head; 0 when it never came as far as opening its chain."""
        return self.chain.head.height if hasattr(self, "chain") else 0

    @property
    def is_member(self) -> bool:
        """Whether it votes on the next height that it knows of."""
        return self.chain.validators_at(self.height + 1).index_of(self.name) is not None

    @property
    def is_listening(self) -> bool:
        """Whether it is a validator that cannot vote now, or could not if it were up."""
        if self.seat is None or self.is_liar:
            return False
        if not self.is_up:
            return not Journal(self.journal_disk).is_begun
        return not self.replica.view().may_sign

    def start(self) -> None:
        """Power on."""
        world = self.world
        self.is_up = True
        self.view_ran_out = False
        self.incarnation += 1
        self.timers = {}
        self.chain = world.backend.open(self.archive)
        self.chain.on_new_head = self.on_new_head
        self._judge_what_was_committed_last()
        verify = SignatureCache(world.ring.verify) if world.plan.real_signatures else world.signatures
        self.replica = Replica(
            institution=self.name,
            chain=self.chain,
            environment=self,
            member=self._member(),
            observer=self,
            verify_digest=verify,
            rotation=world.rotation,
        )
        world.links.join(self, verify)
        self.is_starting = True
        self.replica.start()
        self.is_starting = False
        world.links.connect_all(self)

    def _member(self) -> Member | None:
        if self.seat is None:
            return None
        world = self.world
        key = self.keys[0]
        signer: UnscrupulousSigner | LocalSigner
        if self.is_liar:
            random = Random(f"liar/{world.plan.seed}/{self.index}")
            self.liar = Liar(self.index, self.name, key, self.chain, world, world.conspiracy, random)
            self.liar.others = [index for index in world.seats.values() if index != self.index]
            signer = UnscrupulousSigner(key, self.chain.network)
        elif world.journal_alone:
            signer = UnscrupulousSigner(key, self.chain.network)
        else:
            signer = LocalSigner(HeldKeys(*self.keys), self.chain.network, self.signer_disk)
        nonce = sha256(f"nonce/{world.plan.seed}/{self.index}/{self.incarnation}".encode())
        return Member(signer, Journal(self.journal_disk), nonce)

    def stop(self) -> None:
        """Power off: of what was not synced any suffix is lost."""
        self.is_up = False
        if self.is_judged and hasattr(self, "replica"):
            self.world.checkers.on_stopped(self)
        self.world.links.leave(self)
        for disk in (self.journal_disk, self.signer_disk, self.archive):
            disk.crash(self.world.random)

    def hear(self, sender: str, payload: bytes) -> None:
        """A parcel of consensus arrives."""
        if self.is_up:
            if self.liar is not None:
                self.liar.hear(sender, payload)
            self._heard = decoded(payload)
            self.replica.receive(sender, payload)
            self._heard = None

    # What the replica needs of the world

    def now_ms(self) -> int:
        return self.world.backend.start_ms + self.world.time_ms + self.clock_ms

    def set_timer(self, timer: Timer, delay_ms: int) -> None:
        version = self.timers.get(timer.kind, 0) + 1
        self.timers[timer.kind] = version
        self.world.schedule(delay_ms, self, self._on_timer, timer, version, self.incarnation)

    def _on_timer(self, timer: Timer, version: int, incarnation: int) -> None:
        if self.is_up and incarnation == self.incarnation and self.timers[timer.kind] == version:
            self.fire(timer)

    def fire(self, timer: Timer) -> None:
        """Let a timer run out."""
        self.view_ran_out = timer.kind is TimerKind.VIEW
        self.replica.on_timer(timer)
        self.view_ran_out = False

    def send(self, receiver: str, payload: bytes) -> None:
        self._say(self.world.machines[receiver], payload)

    def broadcast(self, receivers: Sequence[str] | None, payload: bytes) -> None:
        machines = self.world.machines
        names = machines if receivers is None else receivers
        self._say([index for name in names for index in machines[name] if index != self.index], payload)

    def request_sync(self, target_height: int, peers: Sequence[str]) -> None:
        self.sync.request(target_height, peers)

    def _say(self, receivers: Sequence[int], payload: bytes) -> None:
        if self.liar is not None:
            self.liar.say(receivers, payload)
            return
        if self.is_judged:
            message = decoded(payload)
            self.world.checkers.on_sent(self, message)
            if self.world.plan.wipes_voters:
                self.world.faults.on_said(self, message)
        for receiver in receivers:
            self.world.transmit(self.index, receiver, payload)

    # What the replica tells

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        self.world.steps += 1
        if self.is_judged:
            for effect in effects:
                if isinstance(effect, ReportEquivocation):
                    self.world.on_accused(self, effect.institution)

    def rejected(self, sender: str, rejection: Rejected) -> None:
        world = self.world
        world.on_refused(self, rejection)
        world.rejections[rejection.reason] += 1
        if self.is_judged and rejection.reason in NO_HONEST_FAULT and world.is_honest(sender):
            if self._is_of_another_set():
                return
            raise Violation(f"refusal: {self.name} refuses what honest {sender} said: {rejection}")

    def _is_of_another_set(self) -> bool:
        """Tell whether it just heard a Status from a height whose set it does not know, or not any more. [M1]"""
        said, sets = self._heard, self.world.sets
        if not isinstance(said, Status) or said.height in (self.height, self.height + 1):
            return False
        judged_by = sets.at(min(max(said.height, self.height), self.height + 1))
        return sets.at(said.height) != judged_by

    def committed(self, block: Block, certificate: Certificate) -> None:
        self.sync.committed()

    def on_new_head(self, block: Block, certificate: Certificate) -> None:
        """The chain has a new head, by consensus or by sync."""
        self.judged_height = block.header.height
        if self.is_judged:
            world = self.world
            world.checkers.on_committed(self.name, block, certificate, self.chain.executed_root())
            for data in block.evidence:
                part = decode_evidence(data).parts[0]
                world.on_accused(self, world.sets.at(part.height).members[part.validator].institution)
            world.on_decided(self, block, certificate)
            world.trace(f"{self.name} {block.header.height} {block.hash().hex()}")

    def _judge_what_was_committed_last(self) -> None:
        """A crash between the write and the next line of the program hid one block from the checkers."""
        if self.chain.head.height > self.judged_height:
            last = self.chain.block_at(self.chain.head.height)
            assert last is not None
            self.on_new_head(*last)
