"""How the validator set changes: what one hand-over may do, when the next is planned, and that headers commit to it."""

from itertools import pairwise

import pytest

from node.chain.governance import clear_changes
from node.chain.hops import check_header, first_quorum, follow_hops
from node.chain.membership import plan, schedule_of
from node.chain.proposals import proposal_of
from node.chain.records.governance import ProposalState, RemoveValidator, Schedule, WaitingChange
from node.chain.rules.governance import GovernancePropose
from node.chain.validator_set import Validator, ValidatorSet, max_faulty
from node.crypto.hashing import sha256
from node.limits import VALIDATORS_MAX, VALIDATORS_MIN
from node.state.kv import MemoryStore
from node.state.world_state import WorldState
from tests.unit.chain.kit import COEPES, CONOCER, SDES, SEG, UGTO, TestChain
from tests.unit.chain.rules.council import SIX, consensus, council


def members(*numbers: int) -> ValidatorSet:
    """Return a set of numbered members."""
    return ValidatorSet(tuple(Validator(f"v{n:03d}.example", sha256(bytes([n]))) for n in sorted(numbers)))


def join(number: int) -> WaitingChange:
    """A numbered member waits to join."""
    return WaitingChange(number, f"v{number:03d}.example", True, sha256(bytes([number])), 1_000)


def leave(number: int) -> WaitingChange:
    """A numbered member waits to leave."""
    return WaitingChange(number, f"v{number:03d}.example", False, None, 1_000)


def rotate(number: int) -> WaitingChange:
    """A numbered member waits for another key."""
    return WaitingChange(number, f"v{number:03d}.example", False, sha256(bytes([number, 1])), 1_000)


PLANS = {
    "one_of_four": (4, [join(10), join(11)], [10]),
    "two_of_seven": (7, [join(10), leave(1), join(11)], [10, 1]),
    "swap_counts_one": (7, [rotate(0), rotate(1), rotate(2)], [0, 1]),
    "fourth_stays": (4, [leave(0), rotate(1)], [1]),
    "leave_after_join": (7, [join(10), leave(0)], [10, 0]),
    "who_is_there_does_not_join": (4, [join(0), join(10)], [10]),
    "who_is_gone_does_not_leave": (5, [leave(10), leave(0)], [0]),
    "hundred_are_full": (100, [join(200), leave(0)], [0]),
}


@pytest.mark.parametrize("case", PLANS)
def test_one_hand_over_takes_what_it_may_in_order(case: str) -> None:
    """At most max(1, f) members differ, never below 4, never above 100; what cannot be is passed over."""
    size, waiting, expected = PLANS[case]
    _, chosen = plan(members(*range(size)), waiting)
    assert [change.proposal for change in chosen] == expected


@pytest.mark.parametrize("size", range(VALIDATORS_MIN, VALIDATORS_MAX + 1))
def test_hand_over_of_any_size_keeps_the_bounds(size: int) -> None:
    """The set planned differs in at most max(1, f) members from the one before, counted by a naive twin."""
    before = members(*range(size))
    waiting = [change for n in range(40) for change in (leave(n), join(100 + n), rotate(60 + n))]
    after, chosen = plan(before, waiting)
    after.check()
    old = {member.institution: member.public_key for member in before.members}
    new = {member.institution: member.public_key for member in after.members}
    differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    assert len(differing) == len(chosen) <= max(1, max_faulty(size))
    assert chosen


def test_plan_of_nothing_changes_nothing() -> None:
    """Nobody waits."""
    assert plan(members(0, 1, 2, 3), []) == (members(0, 1, 2, 3), ())


def test_changes_wait_until_a_height_of_the_last_one_was_decided() -> None:
    """Two leave one after the other: each votes until two heights after its plan, and the plans keep apart."""
    chain = council(SIX)
    for institution in (UGTO, CONOCER):
        chain.submit("governance.propose", GovernancePropose(chain.leave(institution)), signer=institution)
    chain.run_on(8)
    assert chain.ledger.head.height == 8
    sizes = [len(chain.ledger.validators_at(height)) for height in range(1, 10)]
    # Planned in 1, effective at 3; the next is planned in the first block above 3 and effective at 6.
    assert sizes == [6, 6, 5, 5, 5, 4, 4, 4, 4]


def test_consecutive_headers_commit_to_each_others_sets() -> None:
    """`next_validators_hash` of every header is `validators_hash` of the one above, whatever changes."""
    chain = council(SIX)
    chain.approve(RemoveValidator(UGTO), (SEG, SDES, COEPES, CONOCER))
    chain.propose(chain.rotation(SEG, consensus(SEG), consensus(SEG, 1)), SEG)
    chain.run_on(8)
    headers = [chain.ledger.header_at(height) for height in range(chain.next_height)]
    for low, high in pairwise(headers):
        assert low is not None
        assert high is not None
        assert low.next_validators_hash == high.validators_hash
        assert chain.ledger.validators_at(high.height).hash == high.validators_hash


def test_light_client_follows_every_change_from_the_genesis_hash_alone() -> None:
    """Hop by hop to the last header: a removal and a swap are two hand-overs."""
    chain = council(SIX)
    chain.approve(RemoveValidator(UGTO), (SEG, SDES, COEPES, CONOCER))
    chain.run_on(4)
    chain.propose(chain.rotation(SEG, consensus(SEG), consensus(SEG, 1)), SEG)
    chain.run_on(5)
    ledger = chain.ledger
    genesis = ledger.header_at(0)
    assert genesis is not None
    hops = ledger.hops_to(ledger.head.height)
    assert [hop.header.height for hop in hops] == [5, 10]
    standing = follow_hops(genesis, ledger.validators_at(1), hops, chain.network.genesis_hash)
    assert standing.validators == ledger.validators_at(chain.next_height)
    certificate = ledger.head_certificate
    assert certificate is not None
    check_header(standing, ledger.head, first_quorum(certificate, standing.validators))


def test_another_node_replays_every_change_from_the_blocks() -> None:
    """Blocks and certificates alone, each judged by the set of its height."""
    chain = council(SIX)
    chain.approve(RemoveValidator(UGTO), (SEG, SDES, COEPES, CONOCER))
    chain.propose(chain.rotation(SEG, consensus(SEG), consensus(SEG, 1)), SEG)
    chain.run_on(8)
    other = TestChain(chain.document, MemoryStore())
    for height in range(1, chain.next_height):
        found = chain.ledger.block_at(height)
        assert found is not None
        block, certificate = found
        certificate.check(other.network, other.ledger.validators_at(height))
        other.ledger.commit_block(block, certificate)
    assert other.ledger.head == chain.ledger.head
    assert other.ledger.state.root == chain.ledger.state.root


def test_recovery_drops_what_was_planned_and_what_waits() -> None:
    """The set is the document's then; the proposals say why they came to nothing."""
    chain = council(SIX)
    for institution in (UGTO, CONOCER):
        chain.submit("governance.propose", GovernancePropose(chain.leave(institution)), signer=institution)
    chain.commit()
    state = WorldState(chain.ledger.state)
    assert chain.schedule.scheduled is not None
    assert len(chain.schedule.waiting) == 1
    events = clear_changes(state, 2)
    assert [event.action for event in events] == ["lapse", "lapse"]
    assert schedule_of(state) == Schedule(0, None, ())
    for number in (1, 2):
        found = proposal_of(state, number)
        assert found is not None
        assert (found.state, found.effective_height, found.ended_height, found.reason) == (
            ProposalState.LAPSED,
            0,
            2,
            "the network was recovered with other validators",
        )
    assert clear_changes(state, 3) == ()
