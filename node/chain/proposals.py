"""Proposals in the state: each in a record of its own for ever, and a short list of those that are not over.

Rules, the end of a block and a recovery change proposals through here, so that list and records agree.
"""

from typing import Final

import msgspec

from node.chain.reading import Records
from node.chain.records.governance import (
    NO_PROPOSALS,
    LiveProposal,
    LiveProposals,
    Proposal,
    ProposalState,
    action_hash,
)
from node.chain.rules.framework import Event
from node.primitives import Height, Uint
from node.state import keys
from node.state.world_state import WorldState

_OVER: Final = frozenset({ProposalState.EFFECTIVE, ProposalState.LAPSED})


def live_of(records: Records) -> LiveProposals:
    """Return the proposals for which something is still to come."""
    return records.get(keys.LIVE_PROPOSALS, LiveProposals) or NO_PROPOSALS


def proposal_of(records: Records, number: Uint) -> Proposal | None:
    """Return a proposal by its number."""
    if not 0 < number <= live_of(records).last_number:
        return None
    return records.get(keys.proposal(number), Proposal)


def store(state: WorldState, proposal: Proposal) -> None:
    """Write a proposal; the list follows: new ones come in, those that are over go."""
    live = live_of(state)
    items = {item.number: item for item in live.items}
    if proposal.state in _OVER:
        items.pop(proposal.number, None)
    else:
        items[proposal.number] = LiveProposal(
            proposal.number, proposal.proposer, action_hash(proposal.action), proposal.due_height
        )
    changed = LiveProposals(max(live.last_number, proposal.number), tuple(items[number] for number in sorted(items)))
    if changed != live:
        state.put(keys.LIVE_PROPOSALS, changed)
    state.put(keys.proposal(proposal.number), proposal)


def lapse(state: WorldState, number: Uint, height: Height, reason: str) -> Event:
    """End a proposal without effect."""
    proposal = _must_have(state, number)
    lapsed = msgspec.structs.replace(
        proposal,
        state=ProposalState.LAPSED,
        due_height=0,
        effective_height=0,
        ended_height=height,
        reason=reason,
    )
    store(state, lapsed)
    return Event("governance", "lapse", keys.proposal(number))


def schedule_for(state: WorldState, number: Uint, effective_height: Height, due_height: Height = 0) -> Event:
    """Note the height from which a proposal applies."""
    proposal = _must_have(state, number)
    scheduled = msgspec.structs.replace(
        proposal, state=ProposalState.SCHEDULED, effective_height=effective_height, due_height=due_height
    )
    store(state, scheduled)
    return Event("governance", "schedule", keys.proposal(number))


def complete(state: WorldState, number: Uint, effective_height: Height) -> Event:
    """Note that a proposal applies from a height on, for good."""
    proposal = _must_have(state, number)
    done = msgspec.structs.replace(
        proposal, state=ProposalState.EFFECTIVE, effective_height=effective_height, due_height=0
    )
    store(state, done)
    return Event("governance", "effective", keys.proposal(number))


def _must_have(state: WorldState, number: Uint) -> Proposal:
    proposal = state.get(keys.proposal(number), Proposal)
    assert proposal is not None, f"proposal {number}"
    return proposal
