"""What the core wants done: closed list, carried out by the replica in the order given.

The contract: a `Persist` is durable before any later effect of the same step is started.
"""

from dataclasses import dataclass
from typing import TypeAlias

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.evidence import Evidence
from node.chain.statements import SignedPart
from node.consensus.inputs import Timer
from node.consensus.messages import Message, Record, Signed, Status
from node.primitives import Hash, Height, InstitutionId, TimestampMs


@dataclass(frozen=True, slots=True)
class Persist:
    """Write to the journal, durably."""

    record: Record


@dataclass(frozen=True, slots=True)
class SignAndBroadcast:
    """Sign, send to every validator, and hand back as `MessageSigned`."""

    message: Signed


@dataclass(frozen=True, slots=True)
class SignAndSend:
    """Sign and send to one peer; binds nobody, so it is not handed back."""

    receiver: InstitutionId
    message: Status


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send again what was signed before."""

    message: Message


@dataclass(frozen=True, slots=True)
class Send:
    """Send to one peer."""

    receiver: InstitutionId
    message: Message


@dataclass(frozen=True, slots=True)
class SendBlock:
    """Answer a BlockRequest with a body from the journal, or from the chain."""

    receiver: InstitutionId
    height: Height
    block_hash: Hash


@dataclass(frozen=True, slots=True)
class SendDecided:
    """Send the decided block of a height with its certificate."""

    receiver: InstitutionId
    height: Height


@dataclass(frozen=True, slots=True)
class LoadBlock:
    """Read a body of this height back from the journal: answered by `BlockLoaded`."""

    height: Height
    block_hash: Hash


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Make a block on the head: answered by `BlockBuilt`."""

    timestamp_ms: TimestampMs


@dataclass(frozen=True, slots=True)
class ValidateBlock:
    """Execute a block on the head and compare all it commits to: answered by `BlockValidated`."""

    block: Block


@dataclass(frozen=True, slots=True)
class CommitBlock:
    """Final: write it, then `HeightStarted` for the next height."""

    block: Block
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire after so many milliseconds; replaces the timer of the same kind."""

    timer: Timer
    delay_ms: int


@dataclass(frozen=True, slots=True)
class RequestSync:
    """f+1 validators say that they are further: fetch blocks with certificates."""

    target_height: Height
    """Height of a head that at least one honest validator has."""
    peers: tuple[InstitutionId, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """Messages that came too early: feed each as `MessageReceived` now."""

    messages: tuple[tuple[InstitutionId, Message], ...]


@dataclass(frozen=True, slots=True)
class ReportEquivocation:
    """One validator signed two different things for one place: both of them. [E1]"""

    institution: InstitutionId
    evidence: tuple[SignedPart, SignedPart]


@dataclass(frozen=True, slots=True)
class JudgeEvidence:
    """Have evidence that a peer sent judged by the ledger; what is new goes to everybody, once. [E4]"""

    sender: InstitutionId
    evidence: Evidence


Effect: TypeAlias = (
    Persist
    | SignAndBroadcast
    | SignAndSend
    | Broadcast
    | Send
    | SendBlock
    | SendDecided
    | LoadBlock
    | BuildBlock
    | ValidateBlock
    | CommitBlock
    | SetTimer
    | RequestSync
    | Replay
    | ReportEquivocation
    | JudgeEvidence
)
