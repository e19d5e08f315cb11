"""`governance.propose`, `governance.vote`, `validator.activate`: who may, what they decide, and what is refused."""

import msgspec
import pytest

from node.chain.receipt import ReceiptEvent
from node.chain.records.common import Act
from node.chain.records.governance import (
    AddValidator,
    Authorities,
    LiveProposal,
    LiveProposals,
    Proposal,
    ProposalState,
    RemoveValidator,
    SetGovernanceKeys,
    SetParameters,
    UpgradeProtocol,
    UsedKey,
    WaitingChange,
    action_hash,
)
from node.chain.records.institution import UNLIMITED_SCOPE, Institution, InstitutionKey, Purpose, Role
from node.chain.records.network import CreditFramework, Governance, GovernanceKey, Parameters
from node.chain.rules.governance import GovernanceVote, VoteKind
from node.chain.rules.institutions import Accredit, Suspend
from node.chain.rules.keys import KeyAdd, KeyCompromise, KeyRetire, NewKey
from node.crypto.signing import Algorithm
from node.errors import Reason
from node.limits import PROPOSAL_LIFE_HEIGHTS, PROPOSALS_LIVE_PER_INSTITUTION_MAX
from node.state import keys
from tests.unit.chain.kit import (
    COEPES,
    CONOCER,
    ITLEON,
    PARAMETERS,
    SDES,
    SEG,
    UGTO,
    Key,
    recovery_key,
    transaction_key,
)
from tests.unit.chain.rules.council import SIX, Council, consensus, council

JOIN = AddValidator(CONOCER, consensus(CONOCER).public_key)
BIGGER = msgspec.structs.replace(PARAMETERS, pending_applications_max=3)


@pytest.fixture
def chain() -> Council:
    """Return a fresh network: SEG and SDES are authorities and validate, ITLEON and UGTO only validate."""
    return council()


# --- who proposes, who votes, and when it is enough ---


def test_proposal_is_opened_with_its_proposers_vote(chain: Council) -> None:
    """The record, the list of what is not over, and the event."""
    committed = chain.propose(JOIN)
    found = chain.proposal(1)
    made = found.made
    assert (made.height, made.actor, made.required) == (1, SEG, 1)
    assert found == Proposal(1, SEG, JOIN, made, ProposalState.OPEN, 1_001, found.votes, (), 0, None, 0, 0, "")
    assert [(ballot.institution, ballot.act) for ballot in found.votes] == [(SEG, made)]
    assert chain.ledger.read(keys.LIVE_PROPOSALS, LiveProposals) == LiveProposals(
        1, (LiveProposal(1, SEG, action_hash(JOIN), 1_001),)
    )
    assert committed.events == (ReceiptEvent("governance", "propose", "gov/proposal/0000000001", 1),)


def test_two_authorities_of_two_and_three_validators_of_four_approve(chain: Council) -> None:
    """Both majorities are needed: k = ⌊m/2⌋ + 1 and Q; an institution that is both counts in both."""
    chain.propose(JOIN, UGTO)
    chain.vote(1, ITLEON)
    chain.vote(1, SEG)  # three validators, one authority
    assert chain.proposal(1).state is ProposalState.OPEN
    committed = chain.vote(1, SDES)
    found = chain.proposal(1)
    assert (found.state, found.approved_height, found.due_height) == (ProposalState.APPROVED, 4, 1_004)
    assert [event.action for event in committed.events] == ["vote", "approve"]


def test_authorities_alone_are_not_enough(chain: Council) -> None:
    """Two authorities are two validators of the three that are needed."""
    chain.propose(JOIN)
    chain.vote(1, SDES)
    assert chain.proposal(1).state is ProposalState.OPEN


def test_suspended_authority_votes_as_a_validator_only(chain: Council) -> None:
    """Standings never change the set: with SDES suspended, one authority of one is enough."""
    chain.do("institution.suspend", Suspend(SDES, "audit"), signer=SEG)
    chain.propose(JOIN, SDES)
    chain.vote(1, UGTO)
    assert chain.proposal(1).state is ProposalState.OPEN
    chain.vote(1, SEG)
    assert chain.proposal(1).state is ProposalState.APPROVED


def test_accredited_authority_comes_into_the_electorate() -> None:
    """With COEPES made an authority two of three are needed; the two of before are still enough."""
    chain = council()
    accredited = Accredit(COEPES, (Role.AUTHORITY, Role.QUALITY_AGENCY), UNLIMITED_SCOPE, 0)
    chain.do("institution.accredit", accredited, signer=SEG)
    assert chain.ledger.read(keys.AUTHORITIES, Authorities) == Authorities((COEPES, SDES, SEG))
    chain.approve(JOIN, (COEPES, SEG, UGTO, ITLEON))


def test_who_is_neither_authority_nor_validator_has_no_word(chain: Council) -> None:
    """It can neither propose nor vote."""
    refused = (Reason.NOT_PERMITTED, f"{CONOCER} is neither an accredited authority nor a validator")
    assert chain.refused_proposal(JOIN, CONOCER) == refused
    chain.propose(JOIN)
    assert chain.refused_vote(1, CONOCER) == refused


def test_one_vote_each(chain: Council) -> None:
    """The proposer's counts as its vote."""
    chain.propose(JOIN)
    assert chain.refused_vote(1, SEG) == (Reason.ALREADY_EXISTS, f"{SEG} has said so about proposal 1 before")


def test_vote_by_a_key_in_wrong_hands_does_not_count_and_may_be_given_again(chain: Council) -> None:
    """A vote is void with its keys; the institution votes anew with good ones."""
    chain.propose(JOIN)
    chain.vote(1, SDES)
    stolen = transaction_key(SDES)
    chain.do("key.compromise", KeyCompromise(SDES, stolen.key_id, 1), signer=SDES, by=[recovery_key(SDES)])
    chain.vote(1, UGTO)
    assert chain.proposal(1).state is ProposalState.OPEN
    other = Key(SDES, Purpose.TRANSACTION, 1)
    chain.do("governance.vote", chain.ballot(1), signer=SDES, by=[other])
    assert chain.proposal(1).state is ProposalState.APPROVED


def test_vote_names_what_the_voter_was_shown(chain: Council) -> None:
    """A node that shows one thing under another's number gets no vote for it."""
    chain.propose(JOIN)
    shown = action_hash(RemoveValidator(UGTO))
    assert chain.refusal("governance.vote", GovernanceVote(1, shown, VoteKind.APPROVE), signer=SDES) == (
        Reason.INVALID_VALUE,
        f"the vote is about {shown.hex()}, proposal 1 is {action_hash(JOIN).hex()}",
    )


@pytest.mark.parametrize("number", [0, 2, 2**53 - 1])
def test_vote_on_nothing_is_refused(chain: Council, number: int) -> None:
    """Numbers begin with 1 and have no gaps."""
    chain.propose(JOIN)
    vote = GovernanceVote(number, action_hash(JOIN), VoteKind.APPROVE)
    assert chain.refusal("governance.vote", vote, signer=SDES) == (Reason.NOT_FOUND, f"there is no proposal {number}")


def test_approved_proposal_takes_no_more_votes(chain: Council) -> None:
    """It is decided."""
    number = chain.approve(JOIN)
    assert chain.refused_vote(number, ITLEON) == (Reason.WRONG_STATE, "proposal 1 is approved")


def test_same_proposal_is_not_opened_twice(chain: Council) -> None:
    """A retry is safe, and votes are not split; once the first has lapsed it may be made again."""
    chain.propose(JOIN)
    assert chain.refused_proposal(JOIN, UGTO) == (Reason.ALREADY_EXISTS, "proposal 1 is the same")


def test_an_institution_has_four_proposals_that_are_not_over(chain: Council) -> None:
    """The fifth is refused; another institution has its own four."""
    for number in range(PROPOSALS_LIVE_PER_INSTITUTION_MAX):
        chain.propose(AddValidator(CONOCER, consensus(CONOCER, number).public_key))
    fifth = AddValidator(CONOCER, consensus(CONOCER, 7).public_key)
    assert chain.refused_proposal(fifth) == (
        Reason.LIMIT_EXCEEDED,
        f"4 proposals of {SEG} are not over, at most 4 may be",
    )
    chain.propose(fifth, SDES)


def test_proposal_lapses_a_thousand_blocks_after_it_was_made(chain: Council) -> None:
    """The last vote that counts stands in block 1,001; at its end it is over and makes room."""
    chain.propose(JOIN)
    chain.skip_to(PROPOSAL_LIFE_HEIGHTS)
    assert chain.proposal(1).state is ProposalState.OPEN
    chain.commit()
    found = chain.proposal(1)
    assert (found.state, found.due_height, found.ended_height, found.reason) == (
        ProposalState.LAPSED,
        0,
        1_001,
        "too few agreed in time",
    )
    assert chain.ledger.read(keys.LIVE_PROPOSALS, LiveProposals) == LiveProposals(1, ())
    assert chain.refused_vote(1, SDES) == (Reason.WRONG_STATE, "proposal 1 is lapsed")
    chain.propose(JOIN)
    assert chain.proposal(2).state is ProposalState.OPEN


# --- joining ---


def test_joiner_votes_two_heights_after_it_activated_itself(chain: Council) -> None:
    """Approved in block 3, activated in 4: header 5 commits to the set that votes on 6."""
    number = chain.approve(JOIN)
    chain.activate(number, CONOCER, consensus(CONOCER))
    planned = chain.schedule.scheduled
    assert planned is not None
    assert (planned.effective_height, planned.proposals) == (6, (1,))
    assert chain.proposal(number).state is ProposalState.SCHEDULED
    old = chain.ledger.head.next_validators_hash
    chain.commit()
    header = chain.ledger.head
    assert (header.height, header.validators_hash, header.next_validators_hash) == (5, old, planned.validators.hash)
    found = chain.proposal(number)
    assert (found.state, found.effective_height) == (ProposalState.EFFECTIVE, 6)
    assert chain.members == [CONOCER, ITLEON, SDES, SEG, UGTO]
    chain.commit()
    assert chain.ledger.head.validators_hash == planned.validators.hash
    assert [len(chain.ledger.validators_at(height)) for height in (4, 5, 6, 7)] == [4, 4, 5, 5]


def test_joiners_key_is_its_institutions_and_taken_for_ever(chain: Council) -> None:
    """From the block that put it into the set; from its activation on nobody else may bring it."""
    number = chain.approve(JOIN)
    chain.activate(number, CONOCER, consensus(CONOCER))
    key = consensus(CONOCER)
    assert chain.ledger.read(keys.validator_key(key.public_key), UsedKey) == UsedKey(
        CONOCER, 4, chain.ledger.head.timestamp_ms, False
    )
    chain.commit()
    record = chain.ledger.read(keys.key(CONOCER, key.key_id), InstitutionKey)
    act = Act(5, chain.ledger.head.timestamp_ms, CONOCER, (), 0)
    assert record == InstitutionKey(CONOCER, 1, key.public_key, Purpose.CONSENSUS, act, None, None)
    institution = chain.ledger.read(keys.accreditation(CONOCER), Institution)
    assert institution is not None
    assert institution.keys[-1] == key.key_id


def test_approved_join_lapses_when_nobody_activates_it(chain: Council) -> None:
    """A thousand blocks after its approval."""
    number = chain.approve(JOIN)
    chain.skip_to(3 + PROPOSAL_LIFE_HEIGHTS)
    found = chain.proposal(number)
    assert (found.state, found.ended_height, found.reason) == (
        ProposalState.LAPSED,
        1_003,
        f"{CONOCER} did not activate itself in time",
    )


def activation_refused(
    chain: Council, number: int, institution: str = CONOCER, **changes: object
) -> tuple[Reason, str]:
    """Activate with a payload that differs."""
    payload = chain.activation(number, institution, consensus(CONOCER), **changes)  # type: ignore[arg-type]  # changes
    return chain.refusal("validator.activate", payload, signer=institution)


def test_activation_needs_the_approval_and_the_right_institution(chain: Council) -> None:
    """Neither before, nor of another's proposal, nor of one that is about something else, nor twice."""
    chain.propose(JOIN)
    assert activation_refused(chain, 1) == (Reason.WRONG_STATE, "proposal 1 is open")
    assert activation_refused(chain, 1, COEPES) == (
        Reason.NOT_PERMITTED,
        f"proposal 1 does not make {COEPES} a validator",
    )
    chain.vote(1, SDES)
    chain.vote(1, UGTO)
    chain.activate(1, CONOCER, consensus(CONOCER))
    assert activation_refused(chain, 1) == (Reason.WRONG_STATE, "proposal 1 is activated")


def test_activation_is_over_a_recent_block_of_this_chain(chain: Council) -> None:
    """At most 64 below the including block, and its very hash."""
    chain.approve(JOIN)
    chain.skip_to(70)
    header = chain.ledger.header_at(7)
    assert header is not None
    assert chain.refusal("validator.activate", chain.activation(1, CONOCER, consensus(CONOCER), 6), signer=CONOCER) == (
        Reason.INVALID_VALUE,
        "block 6 in block 71: at most 64 below it",
    )
    future = chain.activation(1, CONOCER, consensus(CONOCER), 70, block_height=71)
    assert chain.refusal("validator.activate", future, signer=CONOCER) == (
        Reason.INVALID_VALUE,
        "block 71 in block 71: at most 64 below it",
    )
    wrong = chain.activation(1, CONOCER, consensus(CONOCER), 7, block_hash=bytes(32))
    assert chain.refusal("validator.activate", wrong, signer=CONOCER) == (
        Reason.INVALID_VALUE,
        f"block 7 is {header.hash().hex()}, not {'00' * 32}",
    )
    chain.do("validator.activate", chain.activation(1, CONOCER, consensus(CONOCER), 7), signer=CONOCER)


def test_activation_is_signed_by_the_key_of_the_proposal(chain: Council) -> None:
    """Somebody else's signature, and one over something else, are bad."""
    chain.approve(JOIN)
    detail = f"signature with the consensus key {consensus(CONOCER).public_key.hex()}"
    other = chain.activation(1, CONOCER, consensus(CONOCER, 1))
    assert chain.refusal("validator.activate", other, signer=CONOCER) == (Reason.BAD_SIGNATURE, detail)
    good = chain.activation(1, CONOCER, consensus(CONOCER))
    late = chain.transaction("validator.activate", good, signer=CONOCER, valid_until=chain.next_height + 7)
    with pytest.raises(Exception, match=detail):
        chain.ledger.submit(late)


def test_joiner_needs_a_node_key_that_lets_its_node_in(chain: Council) -> None:
    """Else the network would count on a validator that nobody talks to."""
    chain.approve(JOIN)
    node = Key(CONOCER, Purpose.NODE)
    chain.do("key.retire", KeyRetire(CONOCER, node.key_id), signer=CONOCER, by=[recovery_key(CONOCER)])
    assert activation_refused(chain, 1) == (
        Reason.WRONG_STATE,
        f"{CONOCER} has no node key in force: add one first",
    )


JOINS_REFUSED = {
    "validator": (
        AddValidator(UGTO, consensus(UGTO, 1).public_key),
        Reason.WRONG_STATE,
        f"{UGTO} is a validator",
    ),
    "unknown": (
        AddValidator("nobody.example", consensus(CONOCER).public_key),
        Reason.UNKNOWN_INSTITUTION,
        "nobody.example is not on the chain",
    ),
    "voting_key": (
        AddValidator(CONOCER, consensus(UGTO).public_key),
        Reason.ALREADY_USED,
        f"{consensus(UGTO).public_key.hex()} is or was the consensus key of {UGTO}",
    ),
    "other_purpose": (
        AddValidator(CONOCER, Key(CONOCER, Purpose.NODE).public_key),
        Reason.ALREADY_USED,
        f"{Key(CONOCER, Purpose.NODE).public_key.hex()} is or was another key of {CONOCER}",
    ),
    "small_order": (
        AddValidator(CONOCER, bytes([1]) + bytes(31)),
        Reason.BAD_PUBLIC_KEY,
        f"{'01' + '00' * 31} is no usable point",
    ),
    "p256": (AddValidator(CONOCER, bytes([2]) * 33), Reason.BAD_PUBLIC_KEY, "33 bytes instead of 32"),
}


@pytest.mark.parametrize("case", JOINS_REFUSED)
def test_join_that_cannot_be_is_refused_at_once(chain: Council, case: str) -> None:
    """Who is on the chain and no validator, with a key that nobody has used."""
    action, reason, detail = JOINS_REFUSED[case]
    assert chain.refused_proposal(action) == (reason, detail)


def test_suspended_institution_does_not_join(chain: Council) -> None:
    """Neither when it is proposed nor when it activates itself."""
    chain.approve(JOIN)
    chain.do("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    assert activation_refused(chain, 1) == (Reason.NOT_ACCREDITED, f"{CONOCER} is not accredited now")
    assert chain.refused_proposal(AddValidator(CONOCER, consensus(CONOCER, 1).public_key)) == (
        Reason.NOT_ACCREDITED,
        f"{CONOCER} is not accredited now",
    )


# --- removing and leaving ---


def test_removal_takes_effect_without_the_removed() -> None:
    """Of six validators five stay; its key is retired and taken for ever."""
    chain = council(SIX)
    chain.approve(RemoveValidator(UGTO), (SEG, SDES, COEPES, CONOCER))
    chain.run_on(2)
    assert chain.members == [COEPES, CONOCER, ITLEON, SDES, SEG]
    key = consensus(UGTO)
    record = chain.ledger.read(keys.key(UGTO, key.key_id), InstitutionKey)
    assert record is not None
    assert record.retired is not None
    assert record.retired.height == 5
    institution = chain.ledger.read(keys.accreditation(UGTO), Institution)
    assert institution is not None
    assert key.key_id not in institution.keys
    assert chain.refused_proposal(AddValidator(UGTO, key.public_key)) == (
        Reason.ALREADY_USED,
        f"{key.public_key.hex()} is or was the consensus key of {UGTO}",
    )


def test_removal_ends_what_had_been_approved_before() -> None:
    """A validator that was removed does not come back by a second approval that it had kept."""
    chain = council(SIX[1:])
    voters = (SEG, SDES, UGTO, CONOCER)
    kept = chain.approve(AddValidator(COEPES, consensus(COEPES, 1).public_key), voters)
    chain.propose(AddValidator(COEPES, consensus(COEPES, 2).public_key))
    number = chain.approve(AddValidator(COEPES, consensus(COEPES).public_key), voters)
    chain.activate(number, COEPES, consensus(COEPES))
    chain.commit()
    assert COEPES in chain.members
    for other in (kept, kept + 1):
        found = chain.proposal(other)
        assert (found.state, found.reason) == (ProposalState.LAPSED, f"{COEPES} is a validator")
    chain.approve(RemoveValidator(COEPES), voters)
    chain.run_on(3)
    assert COEPES not in chain.members
    payload = chain.activation(kept, COEPES, consensus(COEPES, 1))
    assert chain.refusal("validator.activate", payload, signer=COEPES) == (
        Reason.WRONG_STATE,
        f"proposal {kept} is lapsed",
    )


def test_removal_that_was_open_ends_when_its_validator_leaves() -> None:
    """Who comes back later is not removed by votes that were given before."""
    chain = council(SIX)
    chain.propose(RemoveValidator(UGTO))
    chain.propose(chain.leave(UGTO), UGTO)
    chain.commit()
    assert UGTO not in chain.members
    found = chain.proposal(1)
    assert (found.state, found.reason) == (ProposalState.LAPSED, f"{UGTO} is no validator")


def test_removal_of_nobody_is_refused(chain: Council) -> None:
    """Only validators can be removed."""
    assert chain.refused_proposal(RemoveValidator(COEPES)) == (Reason.WRONG_STATE, f"{COEPES} is no validator")


def test_validator_leaves_by_itself() -> None:
    """No vote; its consensus key signs too. It votes until its turn has come."""
    chain = council(SIX)
    chain.propose(chain.leave(UGTO), UGTO)
    assert UGTO in chain.members
    chain.commit()
    assert UGTO not in chain.members
    assert chain.proposal(1).state is ProposalState.EFFECTIVE


def test_leaving_needs_the_consensus_key() -> None:
    """A stolen transaction key takes nobody out of the set."""
    chain = council(SIX)
    detail = f"signature with the consensus key {consensus(UGTO).public_key.hex()}"
    assert chain.refused_proposal(chain.leave(UGTO, consensus(UGTO, 1)), UGTO) == (Reason.BAD_SIGNATURE, detail)
    assert chain.refused_proposal(chain.leave(SEG, consensus(SEG)), UGTO) == (Reason.BAD_SIGNATURE, detail)


def test_fourth_validator_waits_until_another_has_joined(chain: Council) -> None:
    """Never below four: the leave waits, and takes its turn after the join."""
    chain.propose(chain.leave(UGTO), UGTO)
    chain.run_on(5)
    assert chain.schedule.waiting == (WaitingChange(1, UGTO, False, None, 1_001),)
    number = chain.approve(JOIN)
    chain.activate(number, CONOCER, consensus(CONOCER))
    chain.run_on(6)
    assert chain.members == [CONOCER, ITLEON, SDES, SEG]
    assert chain.schedule.waiting == ()


def test_leave_that_never_gets_its_turn_lapses_and_says_why(chain: Council) -> None:
    """A thousand blocks."""
    chain.propose(chain.leave(UGTO), UGTO)
    chain.skip_to(1_001)
    found = chain.proposal(1)
    assert (found.state, found.reason) == (ProposalState.LAPSED, "there are 4 validators, 4 are the least")
    assert chain.schedule.waiting == ()


def test_removal_replaces_what_the_institution_itself_asked_for(chain: Council) -> None:
    """Else a validator that keeps asking could put its removal off for ever."""
    chain.propose(chain.leave(UGTO), UGTO)
    number = chain.approve(RemoveValidator(UGTO), (SEG, SDES, ITLEON))
    assert [change.proposal for change in chain.schedule.waiting] == [number]
    found = chain.proposal(1)
    assert (found.state, found.reason) == (ProposalState.LAPSED, f"proposal 2 removes {UGTO}")


def test_second_change_of_one_institution_is_refused(chain: Council) -> None:
    """While one waits, and while one is about to take effect."""
    chain.propose(chain.leave(UGTO), UGTO)
    rotation = chain.rotation(UGTO, consensus(UGTO), consensus(UGTO, 1))
    assert chain.refused_proposal(rotation, UGTO) == (
        Reason.WRONG_STATE,
        f"proposal 1 about {UGTO} waits for its turn",
    )
    chain.propose(chain.rotation(SEG, consensus(SEG), consensus(SEG, 1)), SEG)
    assert chain.refused_proposal(chain.leave(SEG), SEG) == (
        Reason.WRONG_STATE,
        f"a change of {SEG} takes effect at height 4",
    )


# --- changing a consensus key ---


def test_key_is_swapped_by_both_keys(chain: Council) -> None:
    """One place in the set has another key; the old one is retired."""
    chain.propose(chain.rotation(UGTO, consensus(UGTO), consensus(UGTO, 1)), UGTO)
    chain.commit()
    members = {item.institution: item.public_key for item in chain.ledger.validators_at(3).members}
    assert members[UGTO] == consensus(UGTO, 1).public_key
    assert chain.members == [ITLEON, SDES, SEG, UGTO]
    old = chain.ledger.read(keys.key(UGTO, consensus(UGTO).key_id), InstitutionKey)
    assert old is not None
    assert old.retired is not None
    chain.run_on(2)  # certified with the new key


def test_key_change_needs_both_signatures(chain: Council) -> None:
    """The old key's, so that nobody else swaps it; the new one's, so that it is in hand."""
    good = chain.rotation(UGTO, consensus(UGTO), consensus(UGTO, 1))
    forged = chain.forge(good, old_signature=good.new_signature)
    assert chain.refused_proposal(forged, UGTO) == (
        Reason.BAD_SIGNATURE,
        f"signature with the present consensus key {consensus(UGTO).public_key.hex()}",
    )
    forged = chain.forge(good, new_signature=good.old_signature)
    assert chain.refused_proposal(forged, UGTO) == (
        Reason.BAD_SIGNATURE,
        f"signature with the new consensus key {consensus(UGTO, 1).public_key.hex()}",
    )
    assert chain.refused_proposal(good, COEPES) == (
        Reason.NOT_PERMITTED,
        f"{COEPES} is neither an accredited authority nor a validator",
    )


def test_key_change_brings_a_key_that_nobody_has_used(chain: Council) -> None:
    """Not its own present one, not another validator's, not one of before."""
    for key, holder in ((consensus(UGTO), UGTO), (consensus(SEG), SEG)):
        assert chain.refused_proposal(chain.rotation(UGTO, consensus(UGTO), key), UGTO) == (
            Reason.ALREADY_USED,
            f"{key.public_key.hex()} is or was the consensus key of {holder}",
        )
    chain.propose(chain.rotation(UGTO, consensus(UGTO), consensus(UGTO, 1)), UGTO)
    chain.run_on(4)
    assert chain.refused_proposal(chain.rotation(SEG, consensus(SEG), consensus(UGTO)), SEG) == (
        Reason.ALREADY_USED,
        f"{consensus(UGTO).public_key.hex()} is or was the consensus key of {UGTO}",
    )


def test_key_changes_once_a_day(chain: Council) -> None:
    """Each change is a hop in every later bundle: a validator must not make a thousand of them."""
    chain.propose(chain.rotation(UGTO, consensus(UGTO), consensus(UGTO, 1)), UGTO)
    chain.run_on(4)
    again = chain.rotation(UGTO, consensus(UGTO, 1), consensus(UGTO, 2))
    assert chain.refused_proposal(again, UGTO) == (
        Reason.LIMIT_EXCEEDED,
        f"{UGTO} changed its consensus key less than 24 hours of block time ago",
    )


def test_own_key_changes_also_when_four_proposals_are_not_over(chain: Council) -> None:
    """Whoever has an institution's transaction keys cannot keep its consensus key in place."""
    for number in range(PROPOSALS_LIVE_PER_INSTITUTION_MAX):
        chain.propose(AddValidator(CONOCER, consensus(CONOCER, number).public_key), UGTO)
    chain.propose(chain.rotation(UGTO, consensus(UGTO), consensus(UGTO, 1)), UGTO)
    chain.commit()
    assert consensus(UGTO, 1).public_key in {
        member.public_key for member in chain.ledger.validators_at(chain.next_height).members
    }


def test_consensus_key_has_no_other_purpose_before_or_after_its_time(chain: Council) -> None:
    """Neither while it waits for its turn nor when another has followed it: the key's record stays what it was."""
    old, new = consensus(UGTO), consensus(UGTO, 1)

    def refused(key: Key) -> tuple[Reason, str]:
        added = KeyAdd(UGTO, NewKey(Algorithm.ED25519, key.public_key, Purpose.TRANSACTION))
        return chain.refusal("key.add", added, signer=UGTO, by=[recovery_key(UGTO), key])

    def refusal(key: Key) -> tuple[Reason, str]:
        return Reason.ALREADY_USED, f"{key.public_key.hex()} is or was the consensus key of {UGTO}"

    chain.propose(chain.rotation(UGTO, old, new), UGTO)
    assert refused(new) == refusal(new)
    wanted = Governance(1, (GovernanceKey(UGTO, 1, new.public_key),))
    assert chain.refused_proposal(SetGovernanceKeys(wanted)) == refusal(new)
    chain.run_on(2)
    assert refused(old) == refusal(old)
    record = chain.ledger.read(keys.key(UGTO, old.key_id), InstitutionKey)
    assert record is not None
    assert (record.purpose, record.retired is not None) == (Purpose.CONSENSUS, True)


def test_governance_key_that_another_followed_has_no_other_purpose(chain: Council) -> None:
    """It left its institution's list; that it was one stays on record."""
    chain.approve(SetGovernanceKeys(governance(SEG, SDES, COEPES)))
    old = Key(SEG, Purpose.GOVERNANCE)
    added = KeyAdd(SEG, NewKey(Algorithm.ED25519, old.public_key, Purpose.TRANSACTION))
    assert chain.refusal("key.add", added, signer=SEG, by=[recovery_key(SEG), old]) == (
        Reason.ALREADY_EXISTS,
        f"{SEG} has or had the key {old.key_id.hex()}",
    )


# --- parameters ---


def test_parameters_apply_from_their_height_on(chain: Council) -> None:
    """Approved in block 3, in force from block 10 on; the block before still has the old ones."""
    number = chain.approve(SetParameters(BIGGER, 10))
    chain.skip_to(8)
    assert chain.ledger.parameters == PARAMETERS
    chain.commit()
    assert chain.ledger.parameters == BIGGER
    found = chain.proposal(number)
    assert (found.state, found.effective_height) == (ProposalState.EFFECTIVE, 10)


def test_parameters_are_judged_again_when_they_come_into_force(chain: Council) -> None:
    """Two proposals of the same: the second finds them in force already."""
    chain.approve(SetParameters(BIGGER, 10))
    number = chain.approve(SetParameters(BIGGER, 12))
    chain.skip_to(12)
    found = chain.proposal(number)
    assert (found.state, found.reason) == (ProposalState.LAPSED, "these are the parameters in force")


def test_parameters_that_are_not_approved_before_their_height_lapse(chain: Council) -> None:
    """There is no later height for them."""
    chain.propose(SetParameters(BIGGER, 5))
    chain.skip_to(4)
    assert chain.proposal(1).state is ProposalState.LAPSED


HOURS = CreditFramework("SATCA", 0, "https://example.org")
PARAMETERS_REFUSED: dict[str, tuple[Parameters, int, Reason, str]] = {
    "same": (PARAMETERS, 10, Reason.ALREADY_EXISTS, "these are the parameters in force"),
    "host": (
        msgspec.structs.replace(PARAMETERS, did_host="example.org"),
        10,
        Reason.INVALID_VALUE,
        "did_host: 'example.org', it stays '': documents name it",
    ),
    "twice": (
        msgspec.structs.replace(PARAMETERS, credit_frameworks=PARAMETERS.credit_frameworks[:1] * 2),
        10,
        Reason.INVALID_VALUE,
        "credit_frameworks: one is there twice",
    ),
    "nameless": (
        msgspec.structs.replace(PARAMETERS, credit_frameworks=(CreditFramework(" ", 1, ""),)),
        10,
        Reason.INVALID_VALUE,
        "credit_frameworks: one has no name",
    ),
    "no_hours": (
        msgspec.structs.replace(PARAMETERS, credit_frameworks=(HOURS,)),
        10,
        Reason.INVALID_VALUE,
        "credit_frameworks: SATCA has no hours",
    ),
    "too_soon": (BIGGER, 2, Reason.INVALID_VALUE, "height 2, from 3 to 10000001 are possible"),
    "too_late": (BIGGER, 10_000_002, Reason.INVALID_VALUE, "height 10000002, from 3 to 10000001 are possible"),
}


@pytest.mark.parametrize("case", PARAMETERS_REFUSED)
def test_parameters_that_cannot_be_are_refused(chain: Council, case: str) -> None:
    """At the proposal already."""
    parameters, height, reason, detail = PARAMETERS_REFUSED[case]
    assert chain.refused_proposal(SetParameters(parameters, height)) == (reason, detail)


def test_parameters_beyond_their_bounds_are_no_payload(chain: Council) -> None:
    """4,096 credentials a batch are the most that the record can say."""
    wanted = msgspec.structs.replace(PARAMETERS, credentials_per_batch_max=4_097)
    reason, _ = chain.refused_proposal(SetParameters(wanted, 10))
    assert reason is Reason.MALFORMED


# --- governance keys ---


def governance(*institutions: str, threshold: int = 0, number: int = 1) -> Governance:
    """Return governance keys of institutions, `number` apart from those of the genesis."""
    made = tuple(
        GovernanceKey(name, 1, Key(name, Purpose.GOVERNANCE, number).public_key) for name in sorted(institutions)
    )
    return Governance(threshold or -(-2 * len(made) // 3), made)


def test_governance_keys_are_replaced_at_once(chain: Council) -> None:
    """In the block of the last vote; institutions' lists follow."""
    wanted = governance(SEG, SDES, COEPES)
    number = chain.approve(SetGovernanceKeys(wanted))
    assert chain.ledger.read(keys.GOVERNANCE_KEYS, Governance) == wanted
    assert chain.proposal(number).state is ProposalState.EFFECTIVE
    new, old = Key(SEG, Purpose.GOVERNANCE, 1), Key(SEG, Purpose.GOVERNANCE)
    institution = chain.ledger.read(keys.accreditation(SEG), Institution)
    assert institution is not None
    assert institution.keys[-1] == new.key_id
    assert old.key_id not in institution.keys
    record = chain.ledger.read(keys.key(SEG, old.key_id), InstitutionKey)
    assert record is not None
    assert record.retired is not None


GOVERNANCE_REFUSED: dict[str, tuple[Governance, Reason, str]] = {
    "none": (Governance(1, ()), Reason.INVALID_VALUE, "governance keys: there are none"),
    "too_few_needed": (
        governance(SEG, SDES, COEPES, threshold=1),
        Reason.INVALID_VALUE,
        "threshold 1, from 2 to 3 are possible with 3 keys",
    ),
    "too_many_needed": (
        governance(SEG, SDES, COEPES, threshold=4),
        Reason.INVALID_VALUE,
        "threshold 4, from 2 to 3 are possible with 3 keys",
    ),
    "unordered": (
        Governance(2, governance(SEG, SDES).keys[::-1]),
        Reason.INVALID_VALUE,
        "governance keys: not ascending by institution",
    ),
    "twice": (
        Governance(2, governance(SEG).keys * 2),
        Reason.INVALID_VALUE,
        "governance keys: one is there twice",
    ),
    "stranger": (
        governance("nobody.example"),
        Reason.UNKNOWN_INSTITUTION,
        "nobody.example is not on the chain",
    ),
    "other_purpose": (
        Governance(1, (GovernanceKey(SEG, 1, consensus(SEG).public_key),)),
        Reason.ALREADY_USED,
        f"{consensus(SEG).key_id.hex()} is or was a consensus key of {SEG}",
    ),
    "eight_of_one": (
        Governance(6, tuple(GovernanceKey(SEG, 1, Key(SEG, Purpose.GOVERNANCE, n).public_key) for n in range(8))),
        Reason.LIMIT_EXCEEDED,
        f"{SEG} has 8 of them, at most 7",
    ),
}


@pytest.mark.parametrize("case", GOVERNANCE_REFUSED)
def test_governance_keys_that_could_recover_nothing_are_refused(chain: Council, case: str) -> None:
    """At the proposal, and again with the last vote."""
    wanted, reason, detail = GOVERNANCE_REFUSED[case]
    assert chain.refused_proposal(SetGovernanceKeys(wanted)) == (reason, detail)


# --- upgrades ---


def test_upgrade_needs_the_next_version_and_time_to_get_ready(chain: Council) -> None:
    """Version 2 is in force here: 3 follows, at least 101 blocks ahead."""
    assert chain.refused_proposal(UpgradeProtocol(4, 500)) == (
        Reason.INVALID_VALUE,
        "version 4: version 2 is in force, 3 comes next",
    )
    assert chain.refused_proposal(UpgradeProtocol(3, 101)) == (
        Reason.INVALID_VALUE,
        "height 101, from 102 to 10000001 are possible",
    )
    chain.propose(UpgradeProtocol(3, 102))
    assert chain.proposal(1).due_height == 2


def test_only_validators_say_that_they_are_ready_and_only_for_upgrades(chain: Council) -> None:
    """Once each, while it is open or approved."""
    chain.propose(JOIN)
    assert chain.refused_vote(1, UGTO, VoteKind.READY) == (
        Reason.WRONG_STATE,
        "proposal 1 is no upgrade: nobody need be ready for it",
    )
    chain.propose(UpgradeProtocol(3, 500))
    assert chain.refused_vote(2, COEPES, VoteKind.READY) == (Reason.NOT_PERMITTED, f"{COEPES} is no validator")
    committed = chain.vote(2, UGTO, VoteKind.READY)
    assert committed.events == (ReceiptEvent("governance", "ready", "gov/proposal/0000000002", 1),)
    assert chain.refused_vote(2, UGTO, VoteKind.READY) == (
        Reason.ALREADY_EXISTS,
        f"{UGTO} has said so about proposal 2 before",
    )


# --- keys and standings never change the set ---


def test_nothing_about_keys_or_standings_changes_the_set(chain: Council) -> None:
    """Suspended, its transaction key compromised, one more key: it votes until governance ends that."""
    before = chain.ledger.validators_at(chain.next_height)
    chain.do("institution.suspend", Suspend(UGTO, "audit"), signer=SEG)
    added = Key(UGTO, Purpose.NODE, 3)
    chain.do("key.add", KeyAdd(UGTO, added.new), signer=UGTO, by=[recovery_key(UGTO), added])
    stolen = Key(UGTO, Purpose.TRANSACTION, 1)
    chain.do("key.compromise", KeyCompromise(UGTO, stolen.key_id, 1), signer=UGTO, by=[recovery_key(UGTO)])
    chain.run_on(3)
    assert chain.ledger.validators_at(chain.next_height) == before
