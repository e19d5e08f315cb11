"""What a core takes along from height to height, as a value: with it a recording can begin at any height.

Everything else of a core is made anew when a height starts.
"""

from dataclasses import dataclass

from node.consensus.messages import Message
from node.primitives import Height, InstitutionId, ValidatorIndex


@dataclass(frozen=True, slots=True)
class CarriedSafeStart:
    """What a key without a journal has found out so far. [R2] [R3]"""

    nonce: bytes
    signs_from: Height | None
    heads: dict[ValidatorIndex, Height]
    is_kept: bool = False
    """The journal has the height."""


@dataclass(frozen=True, slots=True)
class Carried:
    """The memory of a core between two heights."""

    height: Height
    """The last height in progress; 0: none yet."""
    average_ms: int
    """Of proposal → decision. [T3]"""
    claims: dict[InstitutionId, Height]
    """What others said of their heights. [S4]"""
    ticks_behind: int
    safe_start: CarriedSafeStart | None
    early: dict[InstitutionId, list[Message]]
    """Messages of the next height, by peer. [B1]"""
    judged: dict[InstitutionId, int]
    answered: dict[InstitutionId, int]
    heard: dict[InstitutionId, int]
    reported: dict[InstitutionId, int]
    """All four since the last tick. [B4]"""
