"""What a replica needs of the world: the chain, its surroundings, and who watches or writes down what happens."""

from collections.abc import Callable, Sequence
from typing import Protocol

from node.chain.block import Block, Header
from node.chain.certificate import Certificate, Network
from node.chain.demerits import Demerits
from node.chain.validator_set import ValidatorSet
from node.consensus.carried import Carried
from node.consensus.core import CoreOptions
from node.consensus.effects import Effect
from node.consensus.inputs import Input, Timer
from node.errors import Rejected
from node.primitives import Epoch, Height, InstitutionId


class Chain(Protocol):
    """What consensus needs of the ledger."""

    @property
    def network(self) -> Network:
        """Chain id and genesis hash."""
        ...

    @property
    def head(self) -> Header:
        """Header of the last committed block."""
        ...

    @property
    def epoch(self) -> Epoch:
        """Of the height being agreed on."""
        ...

    @property
    def demerits(self) -> Demerits:
        """Who let turns to propose go by, as it holds for head + 1."""
        ...

    @property
    def head_certificate(self) -> Certificate | None:
        """Commit certificate of the head; None at height 0."""
        ...

    def validators_at(self, height: Height) -> ValidatorSet:
        """The set that votes at a height ≤ head + 1."""
        ...

    def has_pending(self) -> bool:
        """Tell whether the mempool holds something includable, or evidence waits."""
        ...

    def submit_evidence(self, data: bytes) -> bool:
        """Take evidence for one of the next blocks; tell whether it is new. Raises: Rejected."""
        ...

    def build_block(self, *, proposer: InstitutionId, timestamp_ms: int) -> Block:
        """Make a block on the head: full, executed, roots filled."""
        ...

    def validate_block(self, block: Block) -> None:
        """Check everything but who proposes and the clock. Raises: Rejected. Idempotent."""
        ...

    def commit_block(self, block: Block, certificate: Certificate) -> object:
        """Make a decided block durable. Raises: StorageError."""
        ...

    def block_at(self, height: Height) -> tuple[Block, Certificate] | None:
        """Return a committed block with a certificate of it; None where there is none or it was pruned."""
        ...


class Environment(Protocol):
    """What consensus needs of the world; none of it blocks or raises."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 by this machine's clock."""
        ...

    def set_timer(self, timer: Timer, delay_ms: int) -> None:
        """Call `Replica.on_timer` after a delay; replaces the timer of the same kind."""
        ...

    def send(self, receiver: InstitutionId, payload: bytes) -> None:
        """Hand a parcel to the transport."""
        ...

    def broadcast(self, receivers: Sequence[InstitutionId] | None, payload: bytes) -> None:
        """Hand one parcel to the transport for many; None: for every peer, read-only ones too."""
        ...

    def request_sync(self, target_height: Height, peers: Sequence[InstitutionId]) -> None:
        """Fetch blocks up to a height; whoever does calls `Replica.on_committed_by_sync`."""
        ...


class Observer(Protocol):
    """Who wants to know: metrics, logs, events. Must not call back into the replica."""

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        """One input was applied."""
        ...

    def rejected(self, sender: InstitutionId, rejection: Rejected) -> None:
        """Something a peer sent could not be taken."""
        ...

    def committed(self, block: Block, certificate: Certificate) -> None:
        """The head moved, by consensus."""
        ...


class NullObserver:
    """Nobody is watching."""

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        """Ignore it."""

    def rejected(self, sender: InstitutionId, rejection: Rejected) -> None:
        """Ignore it."""

    def committed(self, block: Block, certificate: Certificate) -> None:
        """Ignore it."""


class Recorder(Protocol):
    """Who writes down all that a core is told, so that it can be replayed. Must not raise, nor call back."""

    def begin(self, options: CoreOptions) -> None:
        """Learn of whose core this is; before anything is applied."""
        ...

    def applying(self, event: Input, carried: Callable[[], Carried]) -> None:
        """An input is about to be applied; `carried`: what the core has carried along until now."""
        ...

    def applied(self, effects: Sequence[Effect]) -> None:
        """The input was taken."""
        ...

    def refused(self, rejection: Rejected) -> None:
        """The input was a peer's, and was refused."""
        ...


class NullRecorder:
    """Nothing is written down."""

    def begin(self, options: CoreOptions) -> None:
        """Ignore it."""

    def applying(self, event: Input, carried: Callable[[], Carried]) -> None:
        """Ignore it."""

    def applied(self, effects: Sequence[Effect]) -> None:
        """Ignore it."""

    def refused(self, rejection: Rejected) -> None:
        """Ignore it."""
