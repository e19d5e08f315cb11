"""What is on record of validators that contradicted themselves: each offence once, a bounded number of each.

A record names who did what and where the proof stands; it removes nobody. Source: PROTOCOL §5.
"""

from collections.abc import Iterable

from node.chain.evidence import Offence
from node.chain.frame import Frame
from node.chain.records.equivocation import Equivocation, Equivocations
from node.chain.rules.framework import Event
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected
from node.limits import EQUIVOCATIONS_RECORDED_MAX, EVIDENCE_PER_BLOCK_MAX
from node.primitives import Height
from node.state import keys
from node.state.world_state import Reader, WorldState


def check_new(state: Reader, offence: Offence) -> Equivocations:
    """Return what is recorded of a validator so far, where this is not.

    Raises: Rejected(ALREADY_EXISTS); Rejected(LIMIT_EXCEEDED): so much is recorded that more says nothing.
    """
    recorded = state.read(keys.equivocations(offence.institution), Equivocations) or Equivocations(())
    if any(item.place == offence.place for item in recorded.items):
        raise Rejected(Reason.ALREADY_EXISTS, f"{offence} is recorded")
    if len(recorded.items) >= EQUIVOCATIONS_RECORDED_MAX:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{len(recorded.items)} equivocations of {offence.institution}")
    return recorded


def record_evidence(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    """Record what the evidence of a block proves, each offence once for ever. Raises: Rejected."""
    return tuple(_record(state, offence, frame.height) for offence in frame.offences)


def choose_evidence(
    state: Reader, waiting: Iterable[tuple[Offence, bytes]], height: Height
) -> tuple[tuple[Offence, ...], tuple[bytes, ...]]:
    """Return what a block of a height can record together of the evidence that waits: offences and their proofs."""
    draft = WorldState(state)
    offences: list[Offence] = []
    chosen: list[bytes] = []
    for offence, data in waiting:
        if len(chosen) == EVIDENCE_PER_BLOCK_MAX:
            break
        try:
            _record(draft, offence, height)
        except Rejected:
            continue
        offences.append(offence)
        chosen.append(data)
    return tuple(offences), tuple(chosen)


def recorded_count(state: Reader, validators: ValidatorSet) -> int:
    """Return how many offences of a set's members are on record."""
    records = (state.read(keys.equivocations(member.institution), Equivocations) for member in validators.members)
    return sum(len(record.items) for record in records if record is not None)


def _record(state: WorldState, offence: Offence, height: Height) -> Event:
    recorded = check_new(state, offence)
    kind = int(offence.kind)
    item = Equivocation(offence.epoch, offence.height, offence.view, kind, offence.evidence_hash, height)
    name = keys.equivocations(offence.institution)
    state.put(name, Equivocations((*recorded.items, item)))
    return Event("governance", "equivocation", name)
