"""One validator's consensus as a deterministic machine: inputs in, ordered effects out.

No clock, socket, disk, thread, logger or randomness. Handlers only record what is genuine; then
`_progress` does whatever the records now allow, so no rule depends on the order of arrival. Here is
when each rule is asked; the rules are functions over the height's state in proposal.py, decision.py,
view_change.py, body.py, status.py and recovery.py. Labels such as [C2] are those of README.md beside
this file.

    replica:  take one input → core.step → for each effect, in order, perform it → next input
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import assert_never

from node.chain.block import Block
from node.chain.certificate import Certificate, Network, VerifyDigest, verify_consensus_signature
from node.chain.rotation import Rotation, RotationOf
from node.chain.statements import Commit, Prepare
from node.chain.validator_set import ValidatorSet
from node.consensus import body, decision, proposal, status, view_change
from node.consensus.carried import Carried
from node.consensus.effects import (
    Broadcast,
    Effect,
    JudgeEvidence,
    Replay,
    SendBlock,
    SetTimer,
    SignAndBroadcast,
    SignAndSend,
)
from node.consensus.height import HeightContext, HeightState, Said
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
    AnyProposal,
    BlockReply,
    BlockRequest,
    Decided,
    EvidenceReport,
    Message,
    NewView,
    Proposal,
    Signed,
    SignsFrom,
    Status,
    Step,
    ViewChange,
    Vote,
    header_of,
)
from node.consensus.recovery import SafeStart, restore
from node.consensus.status import Claims
from node.consensus.tick_quota import TickQuota
from node.consensus.timeouts import ViewTimeouts
from node.consensus.verification import Verifier
from node.consensus.votes import ViewChangeBook, VoteBook, phase_of
from node.errors import Reason, Rejected
from node.limits import (
    CLOCK_AHEAD_MAX_MS,
    FUTURE_MESSAGES_PER_PEER_MAX,
    HEARTBEAT_MS,
    STATUS_INTERVAL_MS,
)
from node.primitives import Epoch, Height, InstitutionId, PublicKey


@dataclass(frozen=True, slots=True)
class CoreOptions:
    """Who we are and how signatures are checked; fixed for the life of a process."""

    network: Network
    institution: InstitutionId
    public_keys: tuple[PublicKey, ...]
    """Our consensus keys: the present one and one that is to follow it. Empty for an observer."""
    verify_digest: VerifyDigest = verify_consensus_signature
    rotation: RotationOf = Rotation
    safe_start_nonce: bytes | None = None
    """Fresh random bytes when the journal is missing or restored; None when it is complete. [R2]"""


class Core:
    """The consensus of one replica, one height in flight."""

    def __init__(self, options: CoreOptions, carried: Carried | None = None) -> None:
        """`carried`: what another core took along to the height that starts next, to go on exactly as it would."""
        self._options = options
        self._verifier = Verifier(options.network, options.verify_digest)
        self._timeouts = ViewTimeouts()
        self._claims = Claims()
        nonce = options.safe_start_nonce
        self._safe_start = None if nonce is None else SafeStart(nonce)
        self._state: HeightState | None = None
        self._head_certificate: Certificate | None = None
        self._early: dict[InstitutionId, list[Message]] = {}
        """Messages of the next height by peer, not verified yet. [B1]"""
        self._quota = TickQuota(carried)
        self._is_ticking = False
        """The first tick was asked for."""
        if carried is not None:
            self._take_up(carried)

    @property
    def state(self) -> HeightState:
        """The height in progress, for those who only look."""
        assert self._state is not None, "HeightStarted comes first"
        return self._state

    @property
    def height(self) -> Height:
        """The height in progress; 0 before the first HeightStarted."""
        return 0 if self._state is None else self._state.context.height

    @property
    def signs_from(self) -> Height | None:
        """From which height on a validator that lost its journal signs; None without one or while it asks. [R3]"""
        return None if self._safe_start is None else self._safe_start.signs_from

    def carried(self) -> Carried:
        """Return what this core takes along to the next height."""
        heights, ticks_behind = self._claims.carried()
        judged, answered, heard, reported = self._quota.carried()
        safe_start = self._safe_start
        return Carried(
            height=self.height,
            average_ms=self._timeouts.average_ms,
            claims=heights,
            ticks_behind=ticks_behind,
            safe_start=None if safe_start is None else safe_start.carried(),
            early={peer: list(messages) for peer, messages in self._early.items()},
            judged=judged,
            answered=answered,
            heard=heard,
            reported=reported,
        )

    def _take_up(self, carried: Carried) -> None:
        self._timeouts.average_ms = carried.average_ms
        self._claims = Claims(carried.claims, carried.ticks_behind)
        found = carried.safe_start
        self._safe_start = (
            None if found is None else SafeStart(found.nonce, found.signs_from, found.heads, is_kept=found.is_kept)
        )
        self._early = {peer: list(messages) for peer, messages in carried.early.items()}
        self._is_ticking = carried.height > 0

    def step(self, event: Input) -> tuple[Effect, ...]:
        """Apply one input; the effects must be carried out in the order given.

        Raises: Rejected when the input is a peer's message that cannot be taken: it counts for nothing but against its
        sender's quota, and for the height that an early one claims.
        """
        return tuple(self._transition(event))

    def _transition(self, event: Input) -> Iterator[Effect]:
        match event:
            case HeightStarted():
                yield from self._on_height_started(event)
            case MessageReceived(now_ms, sender, message):
                yield from self._on_message(now_ms, sender, message)
            case MessageSigned(now_ms, message):
                yield from self._on_own_message(now_ms, message)
            case TimerFired():
                yield from self._on_timer(event)
            case TransactionsPending():
                self.state.has_pending = True
                self._may_build_again()
            case BlockBuilt(_, block):
                yield from proposal.propose_built(self.state, block)
            case BlockValidated(now_ms, block, valid):
                yield from proposal.take_verdict(self.state, self._quota, block, now_ms, valid=valid)
            case BlockLoaded(now_ms, block):
                yield from proposal.take_verdict(self.state, self._quota, block, now_ms, valid=True)
            case unreachable:
                assert_never(unreachable)
        yield from self._progress(event.now_ms)

    # What has become possible

    def _progress(self, now_ms: int) -> Iterator[Effect]:
        """Fire every rule whose condition holds now."""
        state = self.state
        if not state.is_decided:
            yield from decision.decide(state, now_ms)
        if not state.may_sign or state.step is Step.DECIDED:
            return
        if state.step is Step.PREPARING:
            yield from decision.commit(state)
        if state.view > 0 or not state.view_changes.is_empty:
            yield from view_change.progress(state, now_ms)
        if state.view == 0:
            yield from proposal.propose(state, now_ms)
            yield from self._start_first_timer(now_ms)

    def _start_first_timer(self, now_ms: int) -> Iterator[Effect]:
        """[T1] The timer of view 0 never runs on an idle network, whatever a liar sends."""
        state = self.state
        if state.timer_view is not None:
            return
        is_under_way = state.active or state.votes.voter_count > state.context.validators.max_faulty
        overdue_ms = state.context.head.timestamp_ms + HEARTBEAT_MS + CLOCK_AHEAD_MAX_MS
        if state.has_pending or is_under_way or now_ms >= overdue_ms:
            yield from view_change.start_timer(state)

    # A new height

    def _on_height_started(self, event: HeightStarted) -> Iterator[Effect]:
        previous = self._state
        height = event.head.height + 1
        assert previous is None or height > previous.context.height
        options = self._options
        rotation = options.rotation(event.validators, height, event.demerits)
        before = event.validators if event.head_validators is None else event.head_validators
        context = HeightContext(options.network, event.epoch, height, event.head, event.validators, rotation, before)
        me = self._index_in(event.validators)
        if event.enters_epoch:  # [X4]
            self._claims = Claims()
            self._safe_start = None if event.listen_nonce is None else SafeStart(event.listen_nonce)
        for record in event.records:
            if isinstance(record, SignsFrom) and self._safe_start is None:  # a copied journal's is too old
                self._safe_start = SafeStart(b"", signs_from=record.height, is_kept=True)
        safe_start = self._safe_start
        if safe_start is not None and before != event.validators and not safe_start.is_over(height - 1):
            safe_start.ask_again()  # [M2]
        may_sign = me is not None and (safe_start is None or safe_start.is_over(height))
        self._state = HeightState(
            context=context,
            timeouts=self._timeouts,
            me=me,
            may_sign=may_sign,
            has_pending=event.has_pending,
            votes=VoteBook(event.validators, event.epoch, height),
            view_changes=ViewChangeBook(event.validators),
            begun_at_ms=event.now_ms,
        )
        # [X3] of the last block before an epoch none is shown: the document says that it is kept.
        self._head_certificate = None if context.begins_epoch else event.head_certificate
        self._claims.keep(event.validators)
        if not self._is_ticking:
            self._is_ticking = True
            yield self._tick(height)
        if safe_start is not None and may_sign:
            yield from safe_start.keep()  # [R3]
        yield from restore(self._state, event.records)  # [R1]
        early, self._early = self._early, {}
        if early:
            yield Replay(tuple((peer, message) for peer in early for message in early[peer]))

    def _index_in(self, validators: ValidatorSet) -> int | None:
        """[M3] Return our place in a set, if a key of ours is the one that votes there."""
        index = validators.index_of(self._options.institution)
        if index is None or validators.members[index].public_key not in self._options.public_keys:
            return None
        return index

    # Messages

    def _on_message(self, now_ms: int, sender: InstitutionId, message: Message) -> Iterator[Effect]:
        match message:
            case BlockReply(block):
                yield from self._on_block_reply(sender, block)
                return
            case BlockRequest():
                self._check_epoch(message.epoch)
                yield from self._on_block_request(sender, message)
                return
            case Status():
                self._check_epoch(message.epoch)
                yield from self._on_status(now_ms, sender, message)
                return
            case Decided(_, certificate):
                epoch, height = certificate.epoch, certificate.height
            case EvidenceReport(evidence):
                epoch, height = evidence.epoch, evidence.height
            case Proposal() | NewView() | Prepare() | Commit() | ViewChange():
                head = header_of(message)
                epoch, height = head.epoch, head.height
            case unreachable:
                assert_never(unreachable)
        self._check_epoch(epoch)
        current = self.state.context.height
        if height > current:
            self._on_early(sender, height, message)
        if isinstance(message, EvidenceReport):
            if height <= current:
                yield from self._on_report(sender, message)
            return
        if height != current or self.state.is_decided:
            return
        if isinstance(message, Decided):
            yield from decision.take_decided(self.state, self._verifier, self._quota, sender, message)
        else:
            yield from self._on_promise(now_ms, sender, message)

    def _on_promise(
        self, now_ms: int, sender: InstitutionId, message: AnyProposal | Vote | ViewChange
    ) -> Iterator[Effect]:
        """What a member says about the present height; a listener without vote only counts Commits."""
        if isinstance(message, Commit):
            yield from decision.count_vote(self.state, self._verifier, message)
        elif self.state.may_sign:
            match message:
                case Proposal() | NewView():
                    yield from proposal.judge(self.state, self._verifier, self._quota, sender, message, now_ms)
                case Prepare():
                    yield from decision.count_vote(self.state, self._verifier, message)
                case ViewChange():
                    yield from view_change.take(self.state, self._verifier, message)

    def _on_own_message(self, now_ms: int, message: Signed) -> Iterator[Effect]:
        """Our own signed message counts like anybody's; it is also kept for those who miss it."""
        if isinstance(message, Status):
            return
        state = self.state
        head = header_of(message)
        self._verifier.trust(state.context.validators, head)
        if (head.epoch, head.height) != (state.context.epoch, state.context.height):
            return
        match message:
            case Prepare() | Commit():
                state.own_votes[phase_of(message), message.view] = Said(message, now_ms)
            case ViewChange():
                state.own_view_change = message
            case Proposal() | NewView():
                if (message.head.view, message.head.block_hash) == (state.view, state.accepted_hash):
                    state.accepted = message
        if not state.is_decided:
            yield from self._on_promise(now_ms, self._options.institution, message)

    def _on_early(self, sender: InstitutionId, height: Height, message: Message) -> None:
        """[B1] Keep a little of the next height; anything higher is a hint that we are behind."""
        context = self.state.context
        if context.validators.index_of(sender) is None:
            return
        self._claims.raise_to(sender, height)
        if height != context.height + 1 or isinstance(message, Decided):
            return
        held = self._early.setdefault(sender, [])
        if message in held:
            return
        if isinstance(message, Proposal | NewView):  # counted by peer: a liar's takes no place of the proposer's
            held[:] = [other for other in held if not isinstance(other, Proposal | NewView)]
        if len(held) >= FUTURE_MESSAGES_PER_PEER_MAX:
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{len(held)} messages of {sender} for height {height} are kept")
        held.append(message)

    def _on_report(self, sender: InstitutionId, report: EvidenceReport) -> Iterator[Effect]:
        """[E4] Have the ledger judge what somebody else has found, a few per peer and tick."""
        self._quota.report(sender)
        yield JudgeEvidence(sender, report.evidence)

    def _on_block_request(self, sender: InstitutionId, request: BlockRequest) -> Iterator[Effect]:
        """[D2] Give a body that we kept, a few per peer and tick."""
        self._quota.answer(sender)
        yield SendBlock(sender, request.height, request.block_hash)

    def _on_block_reply(self, sender: InstitutionId, block: Block) -> Iterator[Effect]:
        """[D2] A body that we asked this peer for."""
        state = self.state
        if state.is_decided or block.header.height != state.context.height:
            return
        block_hash = block.hash()
        if body.is_wanted(state, block_hash, sender):
            yield from body.validate(state, block_hash, block)

    def _on_status(self, now_ms: int, sender: InstitutionId, message: Status) -> Iterator[Effect]:
        state = self.state
        validators = state.context.validators_of(message.height)  # [M1]
        members = validators.members
        if message.validator < len(members) and members[message.validator].institution != sender:
            institution = members[message.validator].institution
            raise Rejected(Reason.WRONG_SIGNERS, f"status of {institution} sent by {sender}")
        self._quota.hear(sender)
        self._verifier.check_signature(validators, message)
        if self._safe_start is not None:
            self._safe_start.take(self._verifier, state, message, members[message.validator].institution)
        self._claims.note(sender, message.height)
        if message.probe and state.me is not None and self._quota.may_answer(sender):  # [R2]
            certificate = self._head_certificate
            answer = status.make(state, answer=message.probe, head_certificate=certificate)
            yield SignAndSend(sender, answer)
        if not message.answer:
            yield from status.answer_with_missing(state, sender, message, self._quota, now_ms)

    def _check_epoch(self, epoch: Epoch) -> None:
        if epoch != self.state.context.epoch:  # [X1]
            raise Rejected(Reason.WRONG_EPOCH, f"epoch {epoch} instead of {self.state.context.epoch}")

    # Time

    def _on_timer(self, event: TimerFired) -> Iterator[Effect]:
        state, timer = self.state, event.timer
        match timer.kind:
            case TimerKind.TICK:
                yield from self._on_tick(event)
            case TimerKind.VIEW:
                is_current = (timer.height, timer.view) == (state.context.height, state.view)
                if is_current and state.may_sign and not state.is_decided:
                    yield from view_change.start(state, state.view + 1)  # [V1]
            case TimerKind.FETCH:
                if timer.height == state.context.height and not state.is_decided:
                    yield from body.ask_next(state)
            case unreachable:
                assert_never(unreachable)

    def _on_tick(self, event: TimerFired) -> Iterator[Effect]:
        """[S1] [V5] Each second: say where we are, repeat the ViewChange, forgive quotas."""
        state = self.state
        self._quota.forgive()
        state.has_pending = event.has_pending
        self._may_build_again()
        yield self._tick(state.context.height)
        if state.me is not None:
            probe = b""
            if self._safe_start is not None and self._safe_start.signs_from is None:
                probe = self._safe_start.nonce
            yield SignAndBroadcast(status.make(state, probe=probe))
        if state.own_view_change is not None and not state.is_decided:
            yield Broadcast(state.own_view_change)
        yield from self._claims.request_sync(state)

    def _tick(self, height: Height) -> SetTimer:
        return SetTimer(Timer(TimerKind.TICK, height, 0), STATUS_INTERVAL_MS)

    def _may_build_again(self) -> None:
        """A build that found nothing to include may find something now."""
        if self.state.view == 0:
            self.state.building = False
