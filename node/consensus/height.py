"""Everything a replica remembers of the height that is being agreed on; a new one for each height."""

from dataclasses import dataclass, field

from node.chain.block import Block, Header
from node.chain.certificate import Certificate, Network, Phase
from node.chain.rotation import Rotation
from node.chain.validator_set import ValidatorSet
from node.consensus.messages import AnyProposal, Step, ViewChange, Vote
from node.consensus.timeouts import ViewTimeouts
from node.consensus.votes import ViewChangeBook, VoteBook
from node.limits import BLOCKS_PER_HEIGHT_MAX
from node.primitives import Epoch, Hash, Height, InstitutionId, ValidatorIndex, View


@dataclass(frozen=True, slots=True)
class HeightContext:
    """What is fixed for a height and every message is judged against."""

    network: Network
    epoch: Epoch
    height: Height
    head: Header
    """The parent of whatever is decided here."""
    validators: ValidatorSet
    rotation: Rotation
    head_validators: ValidatorSet
    """The set that decided the parent; another one at the first height of a change. [M1]"""

    def validators_of(self, height: Height) -> ValidatorSet:
        """Return the set that what is said of a height is judged by: its own where known, else the newest. [M1]"""
        return self.head_validators if height < self.height else self.validators

    @property
    def begins_epoch(self) -> bool:
        """The parent is the last block that a recovery document kept."""
        return self.epoch != self.head.epoch

    def institution(self, index: ValidatorIndex) -> InstitutionId:
        """Return a member's name."""
        return self.validators.members[index].institution


@dataclass(slots=True)
class Fetch:
    """A body that is being looked for: who may have it, asked in turn. [D2]"""

    peers: tuple[InstitutionId, ...]
    """The signers of a certificate for it, without ourselves; f+1 honest ones keep it."""
    asked: set[InstitutionId] = field(default_factory=set)
    """Asked and not yet answered."""
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """A vote of ours and when it was signed."""

    vote: Vote
    at_ms: int


@dataclass(slots=True)
class HeightState:
    """Mutable, owned by one core."""

    context: HeightContext
    timeouts: ViewTimeouts
    me: ValidatorIndex | None
    """None: an observer."""
    may_sign: bool
    """Member of the set, with a journal that is known to be complete. [R2]"""
    has_pending: bool
    votes: VoteBook
    view_changes: ViewChangeBook
    begun_at_ms: int
    """When the height below was decided here."""
    view: View = 0
    """Raised by our own ViewChange or by an accepted NewView; never lowered. No vote below it. [V4]"""
    step: Step = Step.WAITING
    accepted_hash: Hash | None = None
    """Block of the proposal accepted in this view."""
    accepted: AnyProposal | None = None
    """That proposal, to pass on; None after a restart."""
    accepted_at_ms: int = 0
    prepared: Certificate | None = None
    """The highest prepared certificate that we committed to."""
    own_votes: dict[tuple[Phase, View], Said] = field(default_factory=dict)
    """Our signed votes, for those who missed them."""
    own_view_change: ViewChange | None = None
    """Our latest signed ViewChange, repeated each second. [V5]"""
    blocks: dict[Hash, Block] = field(default_factory=dict)
    """Validated bodies, at most BLOCKS_PER_HEIGHT_MAX."""
    kept: set[Hash] = field(default_factory=set)
    """Bodies that the journal holds."""
    judging: list[AnyProposal] = field(default_factory=list)
    """Genuine proposals whose block is being validated."""
    validating: set[Hash] = field(default_factory=set)
    """Blocks that the ledger is judging."""
    building: bool = False
    """BuildBlock is under way, or had nothing to include."""
    proposed: View | None = None
    """The highest view in which we proposed."""
    timer_view: View | None = None
    """The view whose timer runs or has run."""
    active: bool = False
    """A proposal of this height was accepted. [T1]"""
    fetches: dict[Hash, Fetch] = field(default_factory=dict)
    decision: Certificate | None = None
    """A commit certificate; its block may still be missing."""
    accused: set[tuple[ValidatorIndex, View, int]] = field(default_factory=set)
    """Whose equivocation was reported: once per validator, view and kind, a few of each validator. [E1]"""

    @property
    def is_decided(self) -> bool:
        """The block of this height is with the ledger: nothing more is to be done here."""
        return self.step is Step.DECIDED

    @property
    def proposer(self) -> ValidatorIndex:
        """proposer(h, v) of the present view."""
        return self.context.rotation.proposer(self.view)

    def remember_block(self, block_hash: Hash, block: Block) -> None:
        """Hold a validated body; beyond the bound the oldest that nobody needs now gives way."""
        self.blocks[block_hash] = block
        needed = {
            block_hash,
            self.accepted_hash,
            self.prepared.block_hash if self.prepared else None,
            self.decision.block_hash if self.decision else None,
        }
        for other in list(self.blocks):
            if len(self.blocks) <= BLOCKS_PER_HEIGHT_MAX:
                return
            if other not in needed:
                del self.blocks[other]
