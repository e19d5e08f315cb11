"""What happens to the core: closed list, each applied by `Core.step`. Time arrives here and nowhere else."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from node.chain.block import Block, Header
from node.chain.certificate import Certificate
from node.chain.demerits import NO_DEMERITS, Demerits
from node.chain.validator_set import ValidatorSet
from node.consensus.messages import Message, Record, Signed
from node.primitives import Epoch, Height, InstitutionId, View


class TimerKind(StrEnum):
    """The three timers; setting one replaces the earlier of its kind."""

    TICK = "tick"
    """Status, repetition, heartbeat: each second."""
    VIEW = "view"
    """The view has lasted too long."""
    FETCH = "fetch"
    """The next signer is asked for a body."""


@dataclass(frozen=True, slots=True)
class Timer:
    """Names what a timer was set for, so that a late firing is recognised."""

    kind: TimerKind
    height: Height
    view: View


@dataclass(frozen=True, slots=True)
class HeightStarted:
    """The ledger's head moved (or the process started): agree on the next height."""

    now_ms: int
    head: Header
    head_certificate: Certificate | None
    epoch: Epoch
    validators: ValidatorSet
    """Of height head + 1."""
    has_pending: bool
    """The mempool holds something that could be included."""
    records: tuple[Record, ...] = ()
    """What the journal holds of this height, in the order written; nothing unless there was a restart. [R1]"""
    demerits: Demerits = NO_DEMERITS
    """In the state after `head`: who is passed over. [L1]"""
    enters_epoch: bool = False
    """This process worked on an older epoch until now. [X4]"""
    listen_nonce: bytes | None = None
    """Then: fresh random bytes where the journal does not cover the new epoch, so that the key listens again."""
    head_validators: ValidatorSet | None = None
    """The set that decided `head`; None: the same as `validators`. [M1]"""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A peer sent a message; peers are authenticated by the transport."""

    now_ms: int
    sender: InstitutionId
    message: Message


@dataclass(frozen=True, slots=True)
class MessageSigned:
    """A message of ours came back from the signer and is on its way."""

    now_ms: int
    message: Signed


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer set by an effect ran out."""

    now_ms: int
    timer: Timer
    has_pending: bool = False
    """As in HeightStarted, now."""


@dataclass(frozen=True, slots=True)
class TransactionsPending:
    """The mempool got something that could be included."""

    now_ms: int


@dataclass(frozen=True, slots=True)
class BlockBuilt:
    """Answer to BuildBlock: full, executed, roots filled."""

    now_ms: int
    block: Block


@dataclass(frozen=True, slots=True)
class BlockValidated:
    """Answer to ValidateBlock."""

    now_ms: int
    block: Block
    valid: bool


@dataclass(frozen=True, slots=True)
class BlockLoaded:
    """Answer to LoadBlock: a body this replica had kept, so it is known to be valid."""

    now_ms: int
    block: Block


Input: TypeAlias = (
    HeightStarted
    | MessageReceived
    | MessageSigned
    | TimerFired
    | TransactionsPending
    | BlockBuilt
    | BlockValidated
    | BlockLoaded
)
