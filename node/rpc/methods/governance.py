"""`governance_…`: what is proposed, how the votes stand, and what is about to change the network."""

from typing import Annotated, Final, TypeAlias, assert_never

from msgspec import Meta, Struct

from node import codec
from node.chain.ballot import Electorate, count_ready, electorate, tally
from node.chain.membership import schedule_of, validators_of
from node.chain.proposals import live_of, proposal_of
from node.chain.reading import is_void
from node.chain.records.governance import (
    Action,
    AddValidator,
    Ballot,
    Leave,
    Proposal,
    ProposalState,
    RemoveValidator,
    RotateKey,
    Schedule,
    SetGovernanceKeys,
    SetParameters,
    UpgradeProtocol,
    action_hash,
)
from node.chain.rules.governance import GovernancePropose
from node.chain.upgrades import coming_upgrade
from node.primitives import UINT_MAX
from node.rpc.methods.chain import ParametersView, parameters_view
from node.rpc.services import Services
from node.rpc.shapes import (
    LIMIT_DEFAULT,
    ActView,
    Cursor,
    HeightNumber,
    Hex,
    Hex32,
    Institution,
    Limit,
    Page,
    Time,
    act_view,
    algorithm_name,
    invalid,
    not_found,
    time_text,
)
from node.state.world_state import WorldState

Number: TypeAlias = Annotated[int, Meta(ge=1, le=UINT_MAX, description="number of a proposal")]
PAGE_PROPOSALS_MAX: Final = 100
"""Items of a page: each one's ballots are held against the keys that gave them."""


class BallotView(Struct, frozen=True):
    """One institution's word."""

    institution: Institution
    height: HeightNumber
    time: Time
    void: bool
    """Its keys turned out to be in wrong hands: it does not count."""


class GovernanceKeyView(Struct, frozen=True):
    """One governance key."""

    institution: Institution
    algorithm: str
    public_key: Hex


class ActionView(Struct, frozen=True, kw_only=True):
    """What a proposal wants; a member that an action does not have is nil."""

    kind: str
    """add_validator, remove_validator, leave, rotate_key, set_parameters, upgrade or set_governance_keys."""
    institution: Institution | None = None
    public_key: Hex32 | None = None
    version: int | None = None
    height: HeightNumber | None = None
    """First block that it applies to."""
    parameters: ParametersView | None = None
    threshold: int | None = None
    governance_keys: list[GovernanceKeyView] | None = None


class VoteView(Struct, frozen=True):
    """How the votes stand today."""

    authorities: int
    authorities_needed: int
    validators: int
    validators_needed: int
    ready: int
    """Validators whose nodes know the version of an upgrade."""
    ready_needed: int
    """0 where nobody need be ready."""


class ProposalView(Struct, frozen=True, kw_only=True):
    """A proposal and what became of it."""

    number: Number
    proposer: Institution
    action: ActionView
    action_hash: Hex32
    """What a vote names."""
    raw: Hex
    """Canonical bytes of the proposal's payload, from which a voter computes the hash itself."""
    state: str
    """open, approved, scheduled, effective or lapsed."""
    made: ActView
    due_height: HeightNumber | None
    """At the end of this block it lapses, or what it fixed is looked at; nil where nothing is due by itself."""
    votes: list[BallotView]
    ready: list[BallotView]
    tally: VoteView
    approved_height: HeightNumber | None
    activated: ActView | None
    """The joining validator's own act."""
    effective_height: HeightNumber | None
    """First height to which it applies."""
    ended_height: HeightNumber | None
    reason: str
    """Why it lapsed."""


class WaitingView(Struct, frozen=True):
    """A change of the validators that waits for its turn."""

    proposal: Number
    institution: Institution
    change: str
    """join, leave or rotate."""
    public_key: Hex32 | None
    lapses_height: HeightNumber


class ScheduledView(Struct, frozen=True):
    """The next change of the validators."""

    effective_height: HeightNumber
    validators_hash: Hex32
    validators: list[Institution]
    """All of them, from then on."""
    proposals: list[Number]


class UpgradeView(Struct, frozen=True):
    """The next version of the protocol."""

    version: int
    height: HeightNumber
    proposal: Number
    known: bool
    """Whether this node knows it; else it stops before that height."""


class ScheduleView(Struct, frozen=True):
    """What is about to change the network."""

    height: HeightNumber
    last_effective_height: HeightNumber
    """First height of the latest change of the validators."""
    scheduled: ScheduledView | None
    waiting: list[WaitingView]
    protocol_version: int
    """Of the next block."""
    upgrade: UpgradeView | None


def governance_list(
    services: Services,
    state: str | None = None,
    cursor: Cursor | None = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[ProposalView]:
    """List the proposals by number, those in one state only if it is given."""
    if state is not None and state not in tuple(ProposalState):
        raise invalid(f"state {state}: none of {', '.join(ProposalState)}")
    records = WorldState(services.ledger.state)
    live = live_of(records)
    after = _number(cursor)
    # What is not over is few; the others are all that ever were.
    is_live = state in (ProposalState.OPEN, ProposalState.APPROVED, ProposalState.SCHEDULED)
    numbers = (item.number for item in live.items) if is_live else range(after + 1, live.last_number + 1)
    voters = electorate(records, services.ledger.head.timestamp_ms)
    items: list[ProposalView] = []
    for number in numbers:
        if number <= after:
            continue
        if len(items) == min(limit, PAGE_PROPOSALS_MAX):
            return Page(items, str(items[-1].number))
        found = proposal_of(records, number)
        assert found is not None
        if state in (None, found.state):
            items.append(_view(services, found, voters))
    return Page(items, None)


def governance_get(services: Services, number: Number) -> ProposalView:
    """Return a proposal with its votes."""
    records = WorldState(services.ledger.state)
    found = proposal_of(records, number)
    if found is None:
        raise not_found(f"there is no proposal {number}")
    return _view(services, found, electorate(records, services.ledger.head.timestamp_ms))


def governance_schedule(services: Services) -> ScheduleView:
    """Say what is about to change the validators and the protocol."""
    ledger = services.ledger
    records = WorldState(ledger.state)
    schedule, upgrade = schedule_of(records), coming_upgrade(records, ledger.head.height)
    return ScheduleView(
        ledger.head.height,
        schedule.last_effective_height,
        _scheduled_view(schedule),
        [
            WaitingView(
                change.proposal,
                change.institution,
                "leave" if change.public_key is None else "join" if change.is_join else "rotate",
                None if change.public_key is None else change.public_key.hex(),
                change.lapses_height,
            )
            for change in schedule.waiting
        ],
        ledger.next_version,
        None
        if upgrade is None
        else UpgradeView(upgrade.version, upgrade.height, upgrade.proposal, upgrade.version <= ledger.version_max),
    )


def _number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit():
        raise invalid(f"cursor {cursor!r} is none of ours")
    return int(cursor)


def _scheduled_view(schedule: Schedule) -> ScheduledView | None:
    found = schedule.scheduled
    if found is None:
        return None
    names = [member.institution for member in found.validators.members]
    return ScheduledView(found.effective_height, found.validators.hash.hex(), names, list(found.proposals))


def _view(services: Services, proposal: Proposal, voters: Electorate) -> ProposalView:
    return ProposalView(
        number=proposal.number,
        proposer=proposal.proposer,
        action=_action_view(proposal),
        action_hash=action_hash(proposal.action).hex(),
        raw=codec.encode(GovernancePropose(proposal.action)).hex(),
        state=proposal.state.value,
        made=act_view(proposal.made),
        due_height=proposal.due_height or None,
        votes=_ballots(services, proposal.votes),
        ready=_ballots(services, proposal.ready),
        tally=_tally(services, proposal, voters),
        approved_height=proposal.approved_height or None,
        activated=None if proposal.activated is None else act_view(proposal.activated),
        effective_height=proposal.effective_height or None,
        ended_height=proposal.ended_height or None,
        reason=proposal.reason,
    )


def _ballots(services: Services, ballots: tuple[Ballot, ...]) -> list[BallotView]:
    return [
        BallotView(
            ballot.institution, ballot.act.height, time_text(ballot.act.time_ms), is_void(services.records, ballot.act)
        )
        for ballot in ballots
    ]


def _tally(services: Services, proposal: Proposal, voters: Electorate) -> VoteView:
    records = WorldState(services.ledger.state)
    found = tally(records, proposal.votes, voters)
    validators = validators_of(records)
    is_upgrade = isinstance(proposal.action, UpgradeProtocol)
    return VoteView(
        found.authorities,
        found.authorities_needed,
        found.validators,
        found.validators_needed,
        count_ready(records, proposal.ready, validators),
        len(validators) - validators.max_faulty if is_upgrade else 0,
    )


def _action_view(proposal: Proposal) -> ActionView:
    action: Action = proposal.action
    match action:
        case AddValidator(institution, public_key):
            return ActionView(kind="add_validator", institution=institution, public_key=public_key.hex())
        case RemoveValidator(institution):
            return ActionView(kind="remove_validator", institution=institution)
        case Leave():
            return ActionView(kind="leave", institution=proposal.proposer)
        case RotateKey():
            return ActionView(kind="rotate_key", institution=proposal.proposer, public_key=action.public_key.hex())
        case SetParameters(parameters, height):
            return ActionView(kind="set_parameters", height=height, parameters=parameters_view(parameters))
        case UpgradeProtocol(version, height):
            return ActionView(kind="upgrade", version=version, height=height)
        case SetGovernanceKeys(governance):
            keys = [
                GovernanceKeyView(key.institution, algorithm_name(key.algorithm), key.public_key.hex())
                for key in governance.keys
            ]
            return ActionView(kind="set_governance_keys", threshold=governance.threshold, governance_keys=keys)
        case unreachable:
            assert_never(unreachable)
