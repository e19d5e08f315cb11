"""What governance does at the end of a block, whoever signs nothing: turns, heights and ends of proposals.

In this order: the validator set that is due, the next change that is planned, then every proposal whose height has
come. Costs one look at two records where nothing waits. Source: PROTOCOL §5.
"""

from node.chain import membership
from node.chain.ballot import count_ready
from node.chain.frame import Frame
from node.chain.proposals import complete, lapse, live_of, proposal_of, schedule_for
from node.chain.records.governance import (
    AddValidator,
    Proposal,
    ProposalState,
    RemoveValidator,
    Schedule,
    SetParameters,
    Upgrade,
    UpgradeProtocol,
)
from node.chain.records.network import Parameters
from node.chain.rules.framework import Event
from node.chain.rules.parameters import check_parameters
from node.chain.upgrades import coming_upgrade
from node.errors import Rejected
from node.primitives import Height
from node.state import keys
from node.state.world_state import WorldState


def settle_governance(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    """Do what falls due at the end of a block."""
    return (*_settle_membership(state, frame), *_settle_proposals(state, frame))


def clear_changes(state: WorldState, height: Height) -> tuple[Event, ...]:
    """Drop every change of the validators that is planned or waits: after a recovery the set is the document's."""
    schedule = membership.schedule_of(state)
    planned = () if schedule.scheduled is None else schedule.scheduled.proposals
    numbers = (*planned, *(change.proposal for change in schedule.waiting))
    if numbers:
        state.put(keys.VALIDATOR_SCHEDULE, Schedule(schedule.last_effective_height, None, ()))
    reason = "the network was recovered with other validators"
    events = tuple(lapse(state, number, height, reason) for number in numbers)
    return (*events, *_lapse_overtaken(state, height))


def _settle_membership(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    outcome = membership.settle(state, frame.height, frame.time_ms)
    events = [complete(state, number, frame.height + 1) for number in outcome.in_force]
    if outcome.in_force:
        events.append(Event("governance", "validators", keys.VALIDATOR_SET))
    events += [lapse(state, number, frame.height, reason) for number, reason in outcome.lapsed]
    if outcome.in_force:
        events += _lapse_overtaken(state, frame.height)
    events += [schedule_for(state, number, outcome.scheduled_height) for number in outcome.scheduled]
    return tuple(events)


def _lapse_overtaken(state: WorldState, height: Height) -> list[Event]:
    """End every other proposal to take in somebody who is in, or to remove somebody who is out.

    Else who was removed could come back by an older approval, and who came back be removed by older votes.
    """
    validators = membership.validators_of(state)
    events = []
    for item in live_of(state).items:
        proposal = proposal_of(state, item.number)
        assert proposal is not None
        match proposal.action:
            case AddValidator(institution) if validators.index_of(institution) is not None:
                events.append(lapse(state, item.number, height, f"{institution} is a validator"))
            case RemoveValidator(institution) if validators.index_of(institution) is None:
                events.append(lapse(state, item.number, height, f"{institution} is no validator"))
            case _:
                pass
    return events


def _settle_proposals(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    """Look at every proposal whose height has come, in the order in which they were made."""
    live = live_of(state)
    due = [item.number for item in live.items if 0 < item.due_height <= frame.height]
    events = []
    for number in due:
        proposal = proposal_of(state, number)
        assert proposal is not None
        events.append(_settle_one(state, frame, proposal))
    return tuple(events)


def _settle_one(state: WorldState, frame: Frame, proposal: Proposal) -> Event:
    number = proposal.number
    match proposal.state, proposal.action:
        case ProposalState.APPROVED, SetParameters(parameters, height):
            return _set_parameters(state, frame, number, parameters, height)
        case ProposalState.APPROVED, UpgradeProtocol(version, height):
            return _judge_upgrade(state, frame, proposal, version, height)
        case ProposalState.SCHEDULED, UpgradeProtocol(_, height):
            return complete(state, number, height)
        case ProposalState.APPROVED, AddValidator(institution):
            return lapse(state, number, frame.height, f"{institution} did not activate itself in time")
        case ProposalState.OPEN, _:
            return lapse(state, number, frame.height, "too few agreed in time")
        case _:
            raise AssertionError(f"proposal {number} is {proposal.state} and due")


def _set_parameters(state: WorldState, frame: Frame, number: int, parameters: Parameters, height: Height) -> Event:
    """Put other parameters into force if they are still possible: others may have been set meanwhile."""
    present = state.get(keys.NETWORK_PARAMETERS, Parameters)
    assert present is not None
    try:
        check_parameters(present, parameters)
    except Rejected as error:
        return lapse(state, number, frame.height, error.detail)
    state.put(keys.NETWORK_PARAMETERS, parameters)
    return complete(state, number, height)


def _judge_upgrade(state: WorldState, frame: Frame, proposal: Proposal, version: int, height: Height) -> Event:
    """Make an upgrade certain if at least N - f validators are ready for it, else let it lapse."""
    validators = membership.validators_of(state)
    needed = len(validators) - validators.max_faulty
    ready = count_ready(state, proposal.ready, validators)
    coming = coming_upgrade(state, frame.height)
    if coming is not None or version != frame.version + 1:
        found = f"version {frame.version}" if coming is None else f"version {coming.version} from {coming.height} on"
        return lapse(state, proposal.number, frame.height, f"the network has {found}")
    if ready < needed:
        return lapse(
            state, proposal.number, frame.height, f"{ready} of {len(validators)} validators were ready, {needed} needed"
        )
    state.put(keys.UPGRADE, Upgrade(version, height, proposal.number))
    return schedule_for(state, proposal.number, height, due_height=height)
