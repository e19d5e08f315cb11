"""What a block does to the state besides its transactions: before the first of them and after the last.

Each step is one call into the module that knows about it; most blocks change nothing here.
Source: PROTOCOL §5.
"""

from node.chain.epoch import begin_epoch, is_first_of_epoch
from node.chain.equivocations import record_evidence
from node.chain.frame import Frame
from node.chain.governance import settle_governance
from node.chain.missed_turns import record_demerits
from node.chain.rules.framework import Event
from node.state.world_state import WorldState


def begin_block(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    """Apply what the block brings beside its transactions. Raises: Rejected."""
    if is_first_of_epoch(frame):
        return begin_epoch(state, frame)
    record_demerits(state, frame)
    return record_evidence(state, frame)


def end_block(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    """Apply what falls due with this height."""
    return settle_governance(state, frame)
