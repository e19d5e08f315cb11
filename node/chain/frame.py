"""Where, when and on what a block executes. Source: PROTOCOL §4."""

from collections.abc import Callable
from dataclasses import dataclass

from node.chain.block import Header
from node.chain.certificate import Certificate, Network
from node.chain.evidence import Offence
from node.primitives import Epoch, Hash, Height, TimestampMs


def no_hash(_height: Height) -> Hash | None:
    """Know no earlier block."""
    return None


@dataclass(frozen=True, slots=True)
class Frame:
    """What an execution depends on besides the state and the transactions."""

    network: Network
    epoch: Epoch
    height: Height
    time_ms: TimestampMs
    """Block time."""
    version: int
    """Protocol version that judges the block."""
    parent: Header
    parent_certificate: Certificate | None
    """The one inside the block, so every node reads the same view and the same signers from it."""
    evidence: tuple[bytes, ...] = ()
    """Of the block; in the first block of an epoch its recovery document alone."""
    offences: tuple[Offence, ...] = ()
    """What that evidence proves, judged by the sets of its heights."""
    hash_at: Callable[[Height], Hash | None] = no_hash
    """Hash of the block at a height below this one, at least ACTIVATION_AGE_HEIGHTS_MAX back; None further away."""
