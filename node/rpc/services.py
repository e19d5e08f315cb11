"""What methods answer from: the ledger, and what the running node knows besides.

`app.py` fills `NodeView`; tests fill it with a twin. So this room knows neither peers nor consensus.
Source: ARCHITECTURE, rule 1.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from node.chain.answers import Submission
from node.chain.ledger import Ledger
from node.chain.reading import Records
from node.documents.answer import Answer
from node.limits import LOOKBACK_CHANGES_MIN
from node.primitives import Hash, Height, InstitutionId, PublicKey, TimestampMs, View
from node.rpc.catalogue import Catalogue
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.rpc.rate import RateLimiter
from node.rpc.statistics import Statistics
from node.state.world_state import WorldState

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """One connection."""

    institution: InstitutionId
    address: str
    is_dialled: bool
    connected_ms: int
    silence_ms: int
    height: Height | None
    """Height of its head as it claims; None until it has said so."""


@dataclass(frozen=True, slots=True)
class ConsensusInfo:
    """Where this replica is with the next height."""

    height: Height
    """The height being agreed on."""
    view: View
    step: str
    """waiting, preparing, committing, view_changing or decided."""
    waiting_since_ms: TimestampMs | None
    """Since when there is something to agree on without a decision; None when there is nothing."""
    missing: tuple[InstitutionId, ...]
    """Validators that have not been heard from lately, in set order."""
    listens: bool = False
    """This validator does not know all that it has signed, so for now it signs nothing."""
    signs_from: Height | None = None
    """While it listens: the height from which it signs; None while too few others have said where they are."""
    signer_problem: str | None = None
    """Why the process or device that holds its key does not answer; None while it does."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something with a peer went wrong."""

    cause: str
    """A Reason, or one of `p2p.observer.CAUSES`."""
    detail: str


@dataclass(frozen=True, slots=True)
class ValidatorState:
    """What this node last saw and heard of another validator."""

    institution: InstitutionId
    is_connected: bool
    address: str | None
    """Where this node dials it; None where the configuration names none."""
    trouble: Trouble | None
    """Why the last connection ended, or never came to stand."""
    status_ms_ago: int | None = None
    """Since it last said where it is; None for never, as below."""
    height: Height | None = None
    """Where it said it is, as `view`."""
    view: View | None = None
    listens: bool = False
    """It has lost its journal and has promised nothing since it said so."""
    refused_ms_ago: int | None = None
    refusal: Trouble | None = None
    """Its last message that this node could not take."""


@dataclass(frozen=True, slots=True)
class OwnTrouble:
    """Something that is wrong with this node itself."""

    cause: Literal["clock", "disk", "epoch"]
    amount: int
    """`clock`: milliseconds that we seem to be ahead, negative for behind. `disk`: bytes that are free. `epoch`: the
    next one, where peers are already while this node lacks its recovery document."""


class NodeView(Protocol):
    """The running node beyond its ledger."""

    @property
    def institution(self) -> InstitutionId:
        """Who runs it."""
        ...

    @property
    def node_key(self) -> PublicKey:
        """Ed25519 identity of the node, 32 bytes."""
        ...

    @property
    def version(self) -> str:
        """Version of this program."""
        ...

    @property
    def syncing(self) -> bool:
        """Whether blocks are known to exist that this node does not have."""
        ...

    @property
    def contradiction(self) -> str | None:
        """What this node finds wrong with a block that a quorum has decided; None where it agrees."""
        ...

    @property
    def is_ready(self) -> bool:
        """In sync and, for a validator, taking part."""
        ...

    def now_ms(self) -> TimestampMs:
        """Return this machine's time."""
        ...

    def peers(self) -> Sequence[PeerInfo]:
        """Return the connections that stand."""
        ...

    def consensus(self) -> ConsensusInfo | None:
        """Return where the replica is; None on a node that only follows."""
        ...

    def validator_state(self, institution: InstitutionId) -> ValidatorState:
        """Return what was last seen and heard of another validator."""
        ...

    def own_troubles(self) -> tuple[OwnTrouble, ...]:
        """Return what is wrong with this node itself."""
        ...

    def submit(self, data: bytes) -> Submission:
        """Take a transaction into the mempool and tell the network. Raises: Rejected."""
        ...

    def settled(self, tx_id: Hash, timeout_ms: int, answer: Callable[[], T]) -> Awaitable[T]:
        """Give the answer once a transaction is in a block, or when the time is over."""
        ...

    def verify(self, bundle: bytes, *, is_file: bool) -> Awaitable[Answer]:
        """Verify a bundle against this network, beside the event loop.

        `is_file`: these are a file's exact bytes; else any JSON of it. Raises: RpcError(LIMIT_EXCEEDED).
        """
        ...


class Later(Generic[A, B]):
    """What something awaited will be turned into; so that methods need not wait themselves."""

    def __init__(self, awaited: Awaitable[A], turn: Callable[[A], B]) -> None:
        self._awaited = awaited
        self._turn = turn

    def __await__(self) -> Generator[object, None, B]:
        """Wait, then turn."""
        return self._turn((yield from self._awaited.__await__()))


@dataclass(frozen=True, slots=True)
class Services:
    """All that a method may use."""

    ledger: Ledger
    node: NodeView
    catalogue: Catalogue
    statistics: Statistics
    lookbacks: RateLimiter
    """Overwritten records that proofs under earlier state roots put back."""

    @property
    def records(self) -> Records:
        """Return the committed state for reading."""
        return WorldState(self.ledger.state)

    def check_height(self, height: Height | None) -> None:
        """Count what a proof under an earlier root puts back: it keeps the event loop that long.

        Raises: RpcError(LIMIT_EXCEEDED).
        """
        if height is None or height == self.ledger.head.height:
            return
        changes = self.ledger.state.changes_above(height)
        if not self.lookbacks.allows("", max(changes, LOOKBACK_CHANGES_MIN), self.node.now_ms() / 1_000):
            limit = self.lookbacks.per_second
            detail = (
                f"height {height} lies {changes} changes back; proofs may undo {limit} a second, {2 * limit} at once"
            )
            raise RpcError(ErrorCode.LIMIT_EXCEEDED, detail)
