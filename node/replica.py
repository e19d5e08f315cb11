"""One running consensus member: takes inputs one by one, steps the core, performs the effects in order.

    take one input → core.step → for each effect, in order, perform it → next input

Synchronous and deterministic: everything outside comes through `Chain` and `Environment`
(replica_contract.py), so the simulator drives this very code. A run of `Persist` effects is one
durable write, always before the next effect. What peers send wrongly is `Rejected`: counted, never fatal.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate, VerifyDigest, verify_consensus_signature
from node.chain.evidence import Evidence, make_evidence
from node.chain.rotation import Rotation, RotationOf
from node.chain.statements import Commit, Prepare
from node.consensus.core import Core, CoreOptions
from node.consensus.effects import (
    Broadcast,
    BuildBlock,
    CommitBlock,
    Effect,
    JudgeEvidence,
    LoadBlock,
    Persist,
    Replay,
    ReportEquivocation,
    RequestSync,
    Send,
    SendBlock,
    SendDecided,
    SetTimer,
    SignAndBroadcast,
    SignAndSend,
    ValidateBlock,
)
from node.consensus.inputs import (
    BlockBuilt,
    BlockLoaded,
    BlockValidated,
    HeightStarted,
    Input,
    MessageReceived,
    MessageSigned,
    Timer,
    TimerFired,
    TimerKind,
    TransactionsPending,
)
from node.consensus.messages import (
    BlockReply,
    Decided,
    EvidenceReport,
    Message,
    NewView,
    Promise,
    Proposal,
    Record,
    Signed,
    Status,
    ViewChange,
)
from node.errors import Rejected
from node.journal import Journal
from node.limits import PEERS_MAX
from node.peer_quota import PeerQuota
from node.primitives import Epoch, Height, InstitutionId, View
from node.promise_queue import PromiseQueue
from node.replica_contract import Chain, Environment, NullObserver, NullRecorder, Observer, Recorder
from node.replica_view import ReplicaCounters, ReplicaView, view_of
from node.rounds import Round, round_of
from node.signer.contract import ConsensusSigner
from node.wire import decode_message, encode_message


@dataclass(frozen=True, slots=True)
class Member:
    """Our key with its two records; an observer has none."""

    signer: ConsensusSigner
    journal: Journal
    safe_start_nonce: bytes
    """Fresh random bytes of this start; used only when the journal does not cover all we signed."""
    was_restored: bool = False
    """The operator says that the data folder is a copy."""

    @property
    def listens(self) -> bool:
        """Tell whether the journal may lack something that the key has signed."""
        return self.was_restored or not self.journal.is_begun


class Replica:
    """Drives one core against one chain."""

    def __init__(
        self,
        *,
        institution: InstitutionId,
        chain: Chain,
        environment: Environment,
        member: Member | None,
        observer: Observer | None = None,
        recorder: Recorder | None = None,
        verify_digest: VerifyDigest = verify_consensus_signature,
        rotation: RotationOf = Rotation,
    ) -> None:
        self.counters = ReplicaCounters()
        self._institution = institution
        self._chain = chain
        self._environment = environment
        self._member = member
        self._observer: Observer = NullObserver() if observer is None else observer
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        self._quota = PeerQuota()
        self._queue: deque[Input] = deque()
        self._promises = None if member is None else PromiseQueue(member.signer, self.counters)
        self._is_running = False
        self._epoch = chain.epoch
        """Of the height in progress."""
        self._other_epochs: dict[InstitutionId, Epoch] = {}
        """Peers whose Status names another epoch; at most PEERS_MAX."""
        if member is not None:
            member.journal.enter_epoch(chain.epoch)
        listens = member is not None and member.listens
        options = CoreOptions(
            network=chain.network,
            institution=institution,
            public_keys=() if member is None else member.signer.public_keys,
            verify_digest=verify_digest,
            rotation=rotation,
            safe_start_nonce=member.safe_start_nonce if member is not None and listens else None,
        )
        self._core = Core(options)
        self._recorder.begin(options)

    # What happens to it

    def start(self) -> None:
        """Begin at the ledger's head; call once."""
        self._feed(self._height_started())

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        """Take a parcel from an authenticated peer."""
        now_ms = self._environment.now_ms()
        try:
            self._quota.spend(sender, len(payload), now_ms)
            message = decode_message(payload)
        except Rejected as rejection:
            self._quota.blame(sender, len(payload))
            self._on_rejected(sender, rejection)
            return
        if isinstance(message, Status):
            self._note_epoch(sender, message.epoch)
        if isinstance(message, Prepare | Commit) and message.height <= self._chain.head.height:
            self.counters.votes_late += 1
        self._feed(MessageReceived(now_ms, sender, message))

    def on_timer(self, timer: Timer) -> None:
        """A timer ran out."""
        if timer.kind is TimerKind.TICK:
            self._sign_waiting()
        self._feed(TimerFired(self._environment.now_ms(), timer, self._chain.has_pending()))

    def on_transactions_pending(self) -> None:
        """The mempool got something that could be included."""
        self._feed(TransactionsPending(self._environment.now_ms()))

    def on_committed_by_sync(self) -> None:
        """Sync has moved the ledger's head."""
        if self._chain.head.height >= self._core.height:
            self._feed(self._height_started())

    def view(self) -> ReplicaView:
        """Return where we are, for RPC and `why-stalled`."""
        return replace(view_of(self._core), signer_problem=None if self._promises is None else self._promises.problem)

    def round(self) -> Round:
        """Return who did what at this height, for the log."""
        return round_of(self._core)

    @property
    def other_epochs(self) -> Mapping[InstitutionId, Epoch]:
        """Which peers say that they are in another epoch, and in which: a hint, for who asks why nothing is decided."""
        return self._other_epochs

    def _note_epoch(self, sender: InstitutionId, epoch: Epoch) -> None:
        self._other_epochs.pop(sender, None)
        if epoch != self._epoch and len(self._other_epochs) < PEERS_MAX:
            self._other_epochs[sender] = epoch

    # What it does

    def _feed(self, event: Input) -> None:
        """Apply inputs until none is left; an input that arrives meanwhile waits its turn."""
        self._queue.append(event)
        if self._is_running:
            return
        self._is_running = True
        try:
            while self._queue:
                self._apply(self._queue.popleft())
        finally:
            self._is_running = False

    def _apply(self, event: Input) -> None:
        if isinstance(event, HeightStarted) and event.head.height < self._core.height:
            return  # sync and consensus have both announced it
        self._recorder.applying(event, self._core.carried)
        try:
            effects = self._core.step(event)
        except Rejected as rejection:
            self._recorder.refused(rejection)
            sender = self._institution
            if isinstance(event, MessageReceived):
                sender = event.sender
                self._quota.blame(sender, _body_bytes(event.message))
            self._on_rejected(sender, rejection)
            return
        self._recorder.applied(effects)
        self._observer.stepped(event, effects)
        self._perform(effects)

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Carry out effects in order; what is to be persisted is durable before the next begins."""
        pending: list[Record] = []
        for effect in effects:
            if isinstance(effect, Persist):
                pending.append(effect.record)
                continue
            self._persist(pending)
            self._perform_one(effect)
        self._persist(pending)

    def _persist(self, pending: list[Record]) -> None:
        if pending:
            assert self._member is not None
            self._member.journal.append(self._core.state.context.height, pending)
            pending.clear()

    def _perform_one(self, effect: Effect) -> None:
        environment = self._environment
        match effect:
            case SignAndBroadcast(message):
                self._sign_and_broadcast(message)
            case SignAndSend(receiver, message):
                signed = self._sign_status(message)
                if signed is not None:
                    self._send(receiver, signed)
            case Broadcast(message):
                self._broadcast(message)
            case Send(receiver, message):
                self._send(receiver, message)
            case SendBlock() | SendDecided():
                self._send_block(effect)
            case LoadBlock() | BuildBlock() | ValidateBlock() | CommitBlock():
                self._perform_on_blocks(effect)
            case SetTimer(timer, delay_ms):
                environment.set_timer(timer, delay_ms)
            case RequestSync(target_height, peers):
                environment.request_sync(target_height, peers)
            case Replay(messages):
                now_ms = environment.now_ms()
                self._queue.extend(MessageReceived(now_ms, peer, message) for peer, message in messages)
            case ReportEquivocation(_, (one, other)):
                self._take_evidence(self._institution, make_evidence(one, other))
            case JudgeEvidence(sender, evidence):
                self._take_evidence(sender, evidence)
            case Persist():
                raise AssertionError("persisted by _perform")
            case unreachable:
                assert_never(unreachable)

    def _take_evidence(self, sender: InstitutionId, evidence: Evidence) -> None:
        """[E4] Keep good evidence for a block; tell all validators of what is new here, once."""
        try:
            is_new = self._chain.submit_evidence(codec.encode(evidence))
        except Rejected as rejection:
            self._on_rejected(sender, rejection)
            return
        if is_new:
            self.counters.equivocations += 1
            self._broadcast(EvidenceReport(evidence))
            self._queue.append(TransactionsPending(self._environment.now_ms()))

    def _perform_on_blocks(self, effect: LoadBlock | BuildBlock | ValidateBlock | CommitBlock) -> None:
        """Ask journal or ledger; the answer is the next input."""
        now_ms = self._environment.now_ms
        match effect:
            case LoadBlock(height, block_hash):
                kept = None if self._member is None else self._member.journal.block(height, block_hash)
                assert kept is not None, "a kept body is in the journal until its height is decided"
                self._queue.append(BlockLoaded(now_ms(), kept))
            case BuildBlock(timestamp_ms):
                built = self._chain.build_block(proposer=self._institution, timestamp_ms=timestamp_ms)
                self._queue.append(BlockBuilt(now_ms(), built))
            case ValidateBlock(block):
                self._queue.append(BlockValidated(now_ms(), block, self._is_valid(block)))
            case CommitBlock(block, certificate):
                self._commit(block, certificate)

    def _sign_status(self, message: Status) -> Status | None:
        assert self._promises is not None
        return self._promises.sign_status(message)

    def _sign_and_broadcast(self, message: Signed) -> None:
        if isinstance(message, Status):
            signed = self._sign_status(message)
            if signed is not None:
                self._broadcast(signed)
            return
        assert self._promises is not None
        self._promises.add(message)
        self._sign_waiting()

    def _sign_waiting(self) -> None:
        """Say what is promised, as far as the signer signs it now."""
        if self._promises is not None:
            for signed in self._promises.signed(self._core.height):
                self._publish(signed)

    def _publish(self, signed: Promise) -> None:
        """Send our signed promise to everybody, ourselves included."""
        self._broadcast(signed)
        match signed:
            case Proposal() | NewView():
                self.counters.proposals["sent"] += 1
            case Prepare():
                self.counters.proposals["accepted"] += 1
            case ViewChange(head):
                self.counters.view_changes += 1
                self._count_missed(head.view)
            case Commit():
                pass
        self._queue.append(MessageSigned(self._environment.now_ms(), signed))

    def _count_missed(self, entered: View) -> None:
        context = self._core.state.context
        missed = context.rotation.proposer(entered - 1)
        self.counters.missed_proposals[context.institution(missed)] += 1

    def _broadcast(self, message: Message) -> None:
        """Send to every validator; a Status also to those who only follow, so that they know of new heights."""
        receivers: list[InstitutionId] | None = None
        if not isinstance(message, Status):
            members = self._core.state.context.validators.members
            receivers = [m.institution for m in members if m.institution != self._institution]
        self._environment.broadcast(receivers, encode_message(message))

    def _send(self, receiver: InstitutionId, message: Message) -> None:
        self._environment.send(receiver, encode_message(message))

    def _send_block(self, effect: SendBlock | SendDecided) -> None:
        found = self._chain.block_at(effect.height)
        if isinstance(effect, SendDecided):
            if found is not None:
                self._send(effect.receiver, Decided(*found))
            return
        block: Block | None = None
        if self._member is not None:
            block = self._member.journal.block(effect.height, effect.block_hash)
        if block is None and found is not None and found[0].hash() == effect.block_hash:
            block = found[0]
        if block is not None:
            self._send(effect.receiver, BlockReply(block))

    def _is_valid(self, block: Block) -> bool:
        try:
            self._chain.validate_block(block)
        except Rejected as rejection:
            self.counters.proposals["invalid"] += 1
            self._on_rejected(block.header.proposer or "", rejection)
            return False
        return True

    def _commit(self, block: Block, certificate: Certificate) -> None:
        """The one funnel: whatever decided it, a height is committed once, then the next begins."""
        if block.header.height == self._chain.head.height + 1:
            self._chain.commit_block(block, certificate)
            self.counters.blocks_committed += 1
            self._observer.committed(block, certificate)
        self._queue.append(self._height_started())

    def _height_started(self) -> HeightStarted:
        """Begin above the head with what the journal holds of that height.

        After a restart that is what was promised there; also later, when the chain had to be fetched again.
        """
        chain = self._chain
        height = chain.head.height + 1
        records: tuple[Record, ...] = ()
        enters_epoch, self._epoch = chain.epoch != self._epoch, chain.epoch
        listen_nonce = None
        if enters_epoch:
            self._other_epochs.clear()
        if self._member is not None:
            self._choose_key(height)
            self._member.journal.enter_epoch(chain.epoch)
            listen_nonce = self._member.safe_start_nonce if enters_epoch and self._member.listens else None
            records = self._member.journal.records(height, chain.epoch)
            self._member.journal.forget_below(height)
        return HeightStarted(
            now_ms=self._environment.now_ms(),
            head=chain.head,
            head_certificate=chain.head_certificate,
            epoch=chain.epoch,
            validators=chain.validators_at(height),
            demerits=chain.demerits,
            head_validators=chain.validators_at(chain.head.height),
            has_pending=chain.has_pending(),
            records=records,
            enters_epoch=enters_epoch,
            listen_nonce=listen_nonce,
        )

    def _choose_key(self, height: Height) -> None:
        """Sign with the key that the set of this height holds for us: so a new key takes over at its height."""
        assert self._member is not None
        signer, validators = self._member.signer, self._chain.validators_at(height)
        index = validators.index_of(self._institution)
        if index is not None and validators.members[index].public_key in signer.public_keys:
            signer.choose(validators.members[index].public_key)

    def _on_rejected(self, sender: InstitutionId, rejection: Rejected) -> None:
        self.counters.rejected[rejection.reason] += 1
        self._observer.rejected(sender, rejection)


def _body_bytes(message: Message) -> int:
    """Return about how many bytes of a message had to be looked at."""
    block = getattr(message, "block", None)
    return sum(map(len, block.transactions)) if isinstance(block, Block) else 0
