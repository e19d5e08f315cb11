"""`governance.propose`, `governance.vote`: how the network changes itself; joining is in `rules.joining`.

Whoever has a vote may propose. Adding and removing validators, parameters, protocol versions and governance keys
need a majority of the authorities and a quorum of the validators; a validator leaves and changes its own key by
itself. What falls due later (a turn, a height) is done at the end of a block: `node.chain.governance`.
Source: PROTOCOL §5, "Membership", "Upgrades and parameters".
"""

from enum import StrEnum
from typing import Final, assert_never

import msgspec

from node.chain import membership
from node.chain.ballot import Electorate, electorate, tally
from node.chain.proposals import complete, lapse, live_of, proposal_of, store
from node.chain.reading import is_void
from node.chain.records.governance import (
    LIVE_PROPOSALS_MAX,
    VOTERS_MAX,
    Action,
    AddValidator,
    Ballot,
    Leave,
    LiveProposals,
    Proposal,
    ProposalState,
    RemoveValidator,
    RotateKey,
    SetGovernanceKeys,
    SetParameters,
    UpgradeProtocol,
    WaitingChange,
    action_hash,
)
from node.chain.rules.framework import Context, Event, Rule, signer_group
from node.chain.rules.governance_keys import check_governance, replace_governance
from node.chain.rules.parameters import check_parameters
from node.chain.transaction import Transaction
from node.chain.upgrades import coming_upgrade
from node.errors import Reason, Rejected
from node.limits import (
    COST_PER_SIGNATURE,
    COST_PER_STATE_KEY,
    KEY_ROTATION_INTERVAL_MS,
    PROPOSAL_AHEAD_HEIGHTS_MAX,
    PROPOSAL_LIFE_HEIGHTS,
    PROPOSALS_LIVE_PER_INSTITUTION_MAX,
    UPGRADE_READY_HEIGHTS,
)
from node.primitives import Hash, Height, InstitutionId, PublicKey, Uint
from node.state import keys


class VoteKind(StrEnum):
    """What a vote says."""

    APPROVE = "approve"
    READY = "ready"
    """This validator's node knows the version of an upgrade."""


class GovernancePropose(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`governance.propose`: something that the network should do; counts as the proposer's vote."""

    action: Action


class GovernanceVote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`governance.vote`: an institution agrees, or says that its node is ready for an upgrade."""

    proposal: Uint
    action_hash: Hash
    """Of the proposal's action, as the voter was shown it."""
    kind: VoteKind


# --- proposing ---


def execute_propose(context: Context, transaction: Transaction, payload: GovernancePropose) -> tuple[Event, ...]:
    """Open a proposal, or queue what needs no vote."""
    voters = electorate(context.state, context.time_ms)
    live = live_of(context.state)
    _check_proposer(transaction.signer, voters, live, is_own=isinstance(payload.action, Leave | RotateKey))
    _check_not_proposed(live, payload.action)
    act = context.act(transaction)
    number = live.last_number + 1
    due = _check_action(context, transaction, payload.action)
    proposal = Proposal(
        number,
        transaction.signer,
        payload.action,
        act,
        ProposalState.OPEN,
        due,
        (),
        (),
        0,
        None,
        0,
        0,
        "",
    )
    event = Event("governance", "propose", keys.proposal(number))
    if isinstance(payload.action, Leave | RotateKey):
        return (event, *_queue_own(context, proposal, payload.action))
    voted = msgspec.structs.replace(proposal, votes=(Ballot(transaction.signer, act),))
    return (event, *_decide(context, voted, voters))


def _check_proposer(signer: InstitutionId, voters: Electorate, live: LiveProposals, *, is_own: bool) -> None:
    """Refuse whoever has no vote, or too much that is not over.

    What a validator does by itself – one thing at a time – does not wait for that: whoever stole its
    transaction keys could else keep it, and a stolen consensus key, in the set.
    """
    if signer not in voters:
        raise Rejected(Reason.NOT_PERMITTED, f"{signer} is neither an accredited authority nor a validator")
    if len(live.items) >= LIVE_PROPOSALS_MAX:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{len(live.items)} proposals are not over, at most {LIVE_PROPOSALS_MAX}")
    own = sum(item.proposer == signer for item in live.items)
    if own >= PROPOSALS_LIVE_PER_INSTITUTION_MAX and not is_own:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"{own} proposals of {signer} are not over, at most {PROPOSALS_LIVE_PER_INSTITUTION_MAX} may be",
        )


def _check_not_proposed(live: LiveProposals, action: Action) -> None:
    """Refuse what is proposed already: votes would be split, and a retry would open it twice."""
    wanted = action_hash(action)
    for item in live.items:
        if item.action_hash == wanted:
            raise Rejected(Reason.ALREADY_EXISTS, f"proposal {item.number} is the same")


def _check_action(context: Context, transaction: Transaction, action: Action) -> Height:
    """Refuse what cannot come about as things are; return at which block's end the proposal falls due."""
    lapses = context.height + PROPOSAL_LIFE_HEIGHTS
    match action:
        case AddValidator():
            check_joiner(context, action.institution)
            membership.check_new_key(context.state, action.institution, action.public_key)
        case RemoveValidator():
            _member_key(context, action.institution)
        case Leave():
            _check_leave(context, transaction, action)
        case RotateKey():
            _check_rotation(context, transaction, action)
        case SetParameters():
            _check_height(context, action.height, 2)
            check_parameters(context.parameters, action.parameters)
            lapses = min(lapses, action.height - 1)
        case UpgradeProtocol():
            _check_height(context, action.height, UPGRADE_READY_HEIGHTS + 1)
            _check_upgrade(context, action)
            lapses = min(lapses, action.height - UPGRADE_READY_HEIGHTS)
        case SetGovernanceKeys():
            check_governance(context, action.governance)
        case unreachable:
            assert_never(unreachable)
    return lapses


def check_joiner(context: Context, institution: InstitutionId) -> None:
    """Refuse whoever is not accredited, or votes already. Raises: Rejected."""
    context.accredited(institution)
    if membership.validators_of(context.state).index_of(institution) is not None:
        raise Rejected(Reason.WRONG_STATE, f"{institution} is a validator")


def _member_key(context: Context, institution: InstitutionId) -> PublicKey:
    """Return the consensus key of a validator. Raises: Rejected(WRONG_STATE)."""
    validators = membership.validators_of(context.state)
    index = validators.index_of(institution)
    if index is None:
        raise Rejected(Reason.WRONG_STATE, f"{institution} is no validator")
    return validators.members[index].public_key


def _check_leave(context: Context, transaction: Transaction, action: Leave) -> None:
    public_key = _member_key(context, transaction.signer)
    membership.check_no_change(context.state, transaction.signer)
    digest = membership.leave_digest(
        context.network, context.epoch, transaction.signer, public_key, transaction.valid_until_height
    )
    membership.check_signature(public_key, digest, action.signature, "the consensus key")


def _check_rotation(context: Context, transaction: Transaction, action: RotateKey) -> None:
    """Refuse a key that was used, a signature that is missing, and a change too soon after another."""
    signer = transaction.signer
    old = _member_key(context, signer)
    membership.check_no_change(context.state, signer)
    membership.check_new_key(context.state, signer, action.public_key)
    rotated_ms = membership.last_rotation_ms(context.state, old)
    if rotated_ms is not None and context.time_ms < rotated_ms + KEY_ROTATION_INTERVAL_MS:
        hours = KEY_ROTATION_INTERVAL_MS // 3_600_000
        raise Rejected(
            Reason.LIMIT_EXCEEDED, f"{signer} changed its consensus key less than {hours} hours of block time ago"
        )
    digest = membership.rotation_digest(
        context.network, context.epoch, signer, old, action.public_key, transaction.valid_until_height
    )
    membership.check_signature(old, digest, action.old_signature, "the present consensus key")
    membership.check_signature(action.public_key, digest, action.new_signature, "the new consensus key")


def _check_height(context: Context, height: Height, ahead: int) -> None:
    """Refuse a height that comes too soon, or that nobody will see."""
    earliest, latest = context.height + ahead, context.height + PROPOSAL_AHEAD_HEIGHTS_MAX
    if not earliest <= height <= latest:
        raise Rejected(Reason.INVALID_VALUE, f"height {height}, from {earliest} to {latest} are possible")


def _check_upgrade(context: Context, action: UpgradeProtocol) -> None:
    coming = coming_upgrade(context.state, context.height)
    if coming is not None:
        raise Rejected(
            Reason.WRONG_STATE, f"version {coming.version} begins at height {coming.height}; nothing else until then"
        )
    if action.version != context.version + 1:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"version {action.version}: version {context.version} is in force, {context.version + 1} comes next",
        )


def _queue_own(context: Context, proposal: Proposal, action: Leave | RotateKey) -> tuple[Event, ...]:
    """Queue what a validator does by itself."""
    public_key = None
    if isinstance(action, RotateKey):
        public_key = action.public_key
        membership.note_key(context.state, proposal.proposer, public_key, context.height, context.time_ms, rotated=True)
    return queue(context, proposal, proposal.proposer, public_key, is_join=False)


# --- voting ---


def execute_vote(context: Context, transaction: Transaction, payload: GovernanceVote) -> tuple[Event, ...]:
    """Count a vote, and do what the last one needed decides."""
    proposal = known_proposal(context, payload.proposal)
    found = action_hash(proposal.action)
    if payload.action_hash != found:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"the vote is about {payload.action_hash.hex()}, proposal {proposal.number} is {found.hex()}",
        )
    voters = electorate(context.state, context.time_ms)
    ballot = Ballot(transaction.signer, context.act(transaction))
    if payload.kind is VoteKind.READY:
        return _execute_ready(context, proposal, ballot, voters)
    if proposal.state is not ProposalState.OPEN:
        raise Rejected(Reason.WRONG_STATE, f"proposal {proposal.number} is {proposal.state}")
    if ballot.institution not in voters:
        raise Rejected(Reason.NOT_PERMITTED, f"{ballot.institution} is neither an accredited authority nor a validator")
    votes = _with_ballot(context, proposal, proposal.votes, ballot, voters)
    event = Event("governance", "vote", keys.proposal(proposal.number))
    return (event, *_decide(context, msgspec.structs.replace(proposal, votes=votes), voters))


def _execute_ready(context: Context, proposal: Proposal, ballot: Ballot, voters: Electorate) -> tuple[Event, ...]:
    if not isinstance(proposal.action, UpgradeProtocol):
        raise Rejected(Reason.WRONG_STATE, f"proposal {proposal.number} is no upgrade: nobody need be ready for it")
    if proposal.state not in (ProposalState.OPEN, ProposalState.APPROVED):
        raise Rejected(Reason.WRONG_STATE, f"proposal {proposal.number} is {proposal.state}")
    if ballot.institution not in voters.validators:
        raise Rejected(Reason.NOT_PERMITTED, f"{ballot.institution} is no validator")
    ready = _with_ballot(context, proposal, proposal.ready, ballot, voters)
    store(context.state, msgspec.structs.replace(proposal, ready=ready))
    return (Event("governance", "ready", keys.proposal(proposal.number)),)


def known_proposal(context: Context, number: Uint) -> Proposal:
    """Return a proposal. Raises: Rejected(NOT_FOUND)."""
    found = proposal_of(context.state, number)
    if found is None:
        raise Rejected(Reason.NOT_FOUND, f"there is no proposal {number}")
    return found


def _with_ballot(
    context: Context, proposal: Proposal, ballots: tuple[Ballot, ...], ballot: Ballot, voters: Electorate
) -> tuple[Ballot, ...]:
    """Return the ballots with one more; one by keys that turned bad may be given again."""
    for earlier in ballots:
        if earlier.institution == ballot.institution and not is_void(context.state, earlier.act):
            raise Rejected(
                Reason.ALREADY_EXISTS, f"{ballot.institution} has said so about proposal {proposal.number} before"
            )
    rest = tuple(earlier for earlier in ballots if earlier.institution != ballot.institution)
    if len(rest) >= VOTERS_MAX:
        rest = tuple(earlier for earlier in rest if earlier.institution in voters)
    return (*rest, ballot)


def _decide(context: Context, proposal: Proposal, voters: Electorate) -> tuple[Event, ...]:
    """Keep a proposal, approved if enough agree."""
    if not tally(context.state, proposal.votes, voters).is_approved:
        store(context.state, proposal)
        return ()
    approved = msgspec.structs.replace(proposal, state=ProposalState.APPROVED, approved_height=context.height)
    event = Event("governance", "approve", keys.proposal(proposal.number))
    match proposal.action:
        case AddValidator():
            due = context.height + PROPOSAL_LIFE_HEIGHTS
            store(context.state, msgspec.structs.replace(approved, due_height=due))
            return (event,)
        case RemoveValidator(institution):
            _member_key(context, institution)
            return (event, *queue(context, approved, institution, None, is_join=False))
        case SetParameters(_, height):
            store(context.state, msgspec.structs.replace(approved, due_height=height - 1))
            return (event,)
        case UpgradeProtocol(_, height):
            due = height - UPGRADE_READY_HEIGHTS
            store(context.state, msgspec.structs.replace(approved, due_height=due))
            return (event,)
        case SetGovernanceKeys(governance):
            check_governance(context, governance)
            replace_governance(context, governance)
            store(context.state, approved)
            return (event, complete(context.state, proposal.number, context.height + 1))
        case Leave() | RotateKey():
            raise AssertionError("queued when it is proposed")
        case unreachable:
            assert_never(unreachable)


def queue(
    context: Context, proposal: Proposal, institution: InstitutionId, public_key: PublicKey | None, *, is_join: bool
) -> tuple[Event, ...]:
    """Let a change of the set wait for its turn; the end of the block may give it one."""
    lapses = context.height + PROPOSAL_LIFE_HEIGHTS
    change = WaitingChange(proposal.number, institution, is_join, public_key, lapses)
    replaced = membership.queue_change(context.state, change)
    queued = msgspec.structs.replace(
        proposal,
        state=ProposalState.APPROVED,
        approved_height=proposal.approved_height or context.height,
        due_height=0,
    )
    store(context.state, queued)
    reason = f"proposal {proposal.number} removes {institution}"
    return tuple(lapse(context.state, number, context.height, reason) for number in replaced)


# --- costs ---


def _cost_of_votes(_payload: GovernanceVote) -> int:
    """Counting asks how each voter stands."""
    return 256 * COST_PER_STATE_KEY


def _cost_of_proposal(_payload: GovernancePropose) -> int:
    return 256 * COST_PER_STATE_KEY + 2 * COST_PER_SIGNATURE


RULES: Final = (
    Rule("governance.propose", GovernancePropose, signer_group, execute_propose, _cost_of_proposal, priority=True),
    Rule("governance.vote", GovernanceVote, signer_group, execute_vote, _cost_of_votes, priority=True),
)
