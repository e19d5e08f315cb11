"""One core on a desk: the test plays its replica, its ledger and everybody else."""

from collections.abc import Iterable
from typing import TypeVar

from node.chain.block import Block
from node.chain.certificate import Certificate, Phase, VoteSignature, vote_digest
from node.chain.demerits import Demerits
from node.chain.rotation import Rotation
from node.chain.statements import Commit, Prepare, ProposalHead, ViewChangeHead
from node.chain.validator_set import Validator, ValidatorSet
from node.consensus.core import Core, CoreOptions
from node.consensus.effects import (
    Broadcast,
    BuildBlock,
    Effect,
    Persist,
    Send,
    SetTimer,
    SignAndBroadcast,
    ValidateBlock,
)
from node.consensus.height import HeightState
from node.consensus.inputs import (
    BlockBuilt,
    BlockValidated,
    HeightStarted,
    Input,
    MessageReceived,
    MessageSigned,
    Timer,
    TimerFired,
    TimerKind,
)
from node.consensus.messages import (
    UNSIGNED,
    Message,
    NewView,
    Proposal,
    Record,
    Signed,
    Status,
    ViewChange,
    signed_part,
    signing_digest,
    with_signature,
)
from node.errors import Rejected
from node.primitives import Hash
from tests.simulation.parts import KeyRing
from tests.simulation.twin_chain import Archive, TwinChain, genesis_header

NOW_MS = 1_700_000_000_000
S = TypeVar("S", bound=Signed)


class Desk:
    """`n` validators at height 1 whose genesis is one second old; the core under test is validator `me`."""

    def __init__(
        self,
        n: int = 4,
        *,
        me: int | None = None,
        role: int | None = None,
        head_age_ms: int = 1_000,
        has_pending: bool = False,
        records: tuple[Record, ...] = (),
        nonce: bytes | None = None,
        has_key: bool = True,
    ) -> None:
        """`role` v makes the core the proposer of view v; by default it proposes in no view below n − 1."""
        self.ring = KeyRing(n, 1, real=False)
        self.validators = ValidatorSet(
            tuple(Validator(f"v{i}.example", self.ring.signers[i].public_key) for i in range(n))
        )
        self.chain = TwinChain(
            genesis_header(self.validators, NOW_MS - head_age_ms), self.validators, Archive(), self.ring.verify
        )
        self.network = self.chain.network
        self.rotation = Rotation(self.validators, 1)
        self.now_ms = NOW_MS
        role = n - 1 if role is None else role
        self.me = self.rotation.proposer(role) if me is None else me
        self.others = [i for i in range(n) if i != self.me]
        self.options = CoreOptions(
            network=self.network,
            institution=self.name(self.me),
            public_keys=(self.ring.signers[self.me].public_key,) if has_key else (),
            verify_digest=self.ring.verify,
            safe_start_nonce=nonce,
        )
        self.core = Core(self.options)
        self.opening = self.run(HeightStarted(NOW_MS, self.chain.head, None, 0, self.validators, has_pending, records))

    @property
    def state(self) -> HeightState:
        return self.core.state

    def name(self, index: int) -> str:
        return self.validators.members[index].institution

    def open(self, demerits: Demerits) -> None:
        """Begin height 1 anew, with a record of missed turns."""
        self.core = Core(self.options)
        self.run(HeightStarted(NOW_MS, self.chain.head, None, 0, self.validators, False, demerits=demerits))

    # What happens to the core

    def run(self, event: Input) -> list[Effect]:
        """Step, sign what is to be signed and validate what is to be validated until nothing is left."""
        effects: list[Effect] = []
        waiting = [event]
        while waiting:
            for effect in self.core.step(waiting.pop(0)):
                effects.append(effect)
                match effect:
                    case SignAndBroadcast(message) if not isinstance(message, Status):
                        waiting.append(MessageSigned(self.now_ms, self.signed(message)))
                    case ValidateBlock(block):
                        waiting.append(BlockValidated(self.now_ms, block, self.is_valid(block)))
                    case _:
                        pass
        return effects

    def receive(self, *messages: Message, sender: int | None = None) -> list[Effect]:
        """Deliver messages, from their signers unless told otherwise."""
        effects: list[Effect] = []
        for message in messages:
            if sender is not None:
                index = sender
            elif isinstance(message, Proposal | NewView | Prepare | Commit | ViewChange | Status):
                index = signed_part(message).validator
            else:
                index = self.others[0]
            effects += self.run(MessageReceived(self.now_ms, self.name(index), message))
        return effects

    def refused(self, message: Message, sender: int | None = None) -> Rejected:
        """Deliver a message that must be refused; return the refusal."""
        try:
            self.receive(message, sender=sender)
        except Rejected as rejection:
            return rejection
        raise AssertionError("was accepted")

    def fire(self, kind: TimerKind, *, view: int | None = None, has_pending: bool = False) -> list[Effect]:
        """Let a timer of this height run out."""
        timer = Timer(kind, self.state.context.height, self.state.view if view is None else view)
        return self.run(TimerFired(self.now_ms, timer, has_pending))

    def build(self, effects: Iterable[Effect], *transactions: bytes) -> list[Effect]:
        """Answer the one BuildBlock among the effects."""
        (request,) = [effect for effect in effects if isinstance(effect, BuildBlock)]
        block = self.chain.block_of(transactions, proposer=self.name(self.me), timestamp_ms=request.timestamp_ms)
        return self.run(BlockBuilt(self.now_ms, block))

    def is_valid(self, block: Block) -> bool:
        try:
            self.chain.validate_block(block)
        except Rejected:
            return False
        return True

    # What others say

    def block(self, view: int = 0, *transactions: bytes, timestamp_ms: int = NOW_MS) -> Block:
        """A valid block of height 1 by the proposer of `view`."""
        proposer = self.name(self.rotation.proposer(view))
        return self.chain.block_of(transactions or (b"t",), proposer=proposer, timestamp_ms=timestamp_ms)

    def signed(self, message: S) -> S:
        """The message with the true signature of the validator it names."""
        part = signed_part(message)
        return with_signature(message, self.ring.signers[part.validator].sign(signing_digest(self.network, part)))

    def head(self, view: int, block_hash: Hash) -> ProposalHead:
        return ProposalHead(0, 1, view, block_hash, self.rotation.proposer(view), UNSIGNED)

    def proposal(self, block: Block) -> Proposal:
        return self.signed(Proposal(self.head(0, block.hash()), block))

    def prepare(self, index: int, view: int, block_hash: Hash) -> Prepare:
        return self.signed(Prepare(0, 1, view, block_hash, index, UNSIGNED))

    def commit(self, index: int, view: int, block_hash: Hash) -> Commit:
        return self.signed(Commit(0, 1, view, block_hash, index, UNSIGNED))

    def certificate(
        self, phase: Phase, view: int, block_hash: Hash, indexes: Iterable[int] | None = None, *, height: int = 1
    ) -> Certificate:
        """A certificate by these validators, by default the first Q."""
        digest = vote_digest(self.network, phase, 0, height, view, block_hash)
        signers = sorted(range(self.validators.quorum) if indexes is None else indexes)
        votes = tuple(VoteSignature(i, self.ring.signers[i].sign(digest)) for i in signers)
        return Certificate(1, phase, 0, height, view, block_hash, votes)

    def view_change(self, index: int, view: int, claim: Certificate | None = None) -> ViewChange:
        head = ViewChangeHead(
            0,
            1,
            view,
            None if claim is None else claim.view,
            None if claim is None else claim.block_hash,
            index,
            UNSIGNED,
        )
        return self.signed(ViewChange(head, claim))

    def new_view(
        self, view: int, block: Block, changes: Iterable[ViewChange], certificate: Certificate | None = None
    ) -> NewView:
        heads = tuple(sorted((change.head for change in changes), key=lambda head: head.validator))
        return self.signed(NewView(self.head(view, block.hash()), heads, certificate, block))


def broadcasts(effects: Iterable[Effect]) -> list[Message]:
    """Everything said to all, unsigned, without Status."""
    said = [effect.message for effect in effects if isinstance(effect, SignAndBroadcast | Broadcast)]
    return [message for message in said if not isinstance(message, Status)]


def sends(effects: Iterable[Effect]) -> list[tuple[str, Message]]:
    """Everything said to one."""
    return [(effect.receiver, effect.message) for effect in effects if isinstance(effect, Send)]


def records(effects: Iterable[Effect]) -> list[Record]:
    """Everything to be made durable."""
    return [effect.record for effect in effects if isinstance(effect, Persist)]


def timers(effects: Iterable[Effect], kind: TimerKind) -> list[SetTimer]:
    """The timers of a kind that were set."""
    return [effect for effect in effects if isinstance(effect, SetTimer) and effect.timer.kind is kind]
