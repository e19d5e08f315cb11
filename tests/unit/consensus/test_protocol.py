"""One test for each labelled line of node/consensus/README.md."""

from dataclasses import replace
from itertools import product
from typing import TypeVar

import msgspec
import pytest

from node import codec
from node.chain.certificate import Phase
from node.chain.demerits import NO_DEMERITS, Demerit, Demerits
from node.chain.evidence import contradiction, make_evidence
from node.chain.missed_turns import demerits_after, record_demerits
from node.chain.rotation import Rotation
from node.chain.statements import Commit, Prepare, ProposalHead, SignedPart
from node.consensus import verification
from node.consensus.effects import (
    BuildBlock,
    CommitBlock,
    Effect,
    JudgeEvidence,
    LoadBlock,
    Persist,
    Replay,
    ReportEquivocation,
    RequestSync,
    SendBlock,
    SendDecided,
    SetTimer,
    SignAndBroadcast,
    SignAndSend,
    ValidateBlock,
)
from node.consensus.inputs import (
    BlockBuilt,
    BlockValidated,
    HeightStarted,
    MessageReceived,
    MessageSigned,
    Timer,
    TimerKind,
    TransactionsPending,
)
from node.consensus.messages import (
    UNSIGNED,
    BlockReply,
    BlockRequest,
    Decided,
    EvidenceReport,
    KeptBlock,
    NewView,
    Prepared,
    PromisedProposal,
    Proposal,
    Record,
    Signed,
    SignsFrom,
    Status,
    Step,
    ViewChange,
    header_of,
    with_signature,
)
from node.crypto import verified
from node.errors import Reason, Rejected
from node.limits import (
    CLOCK_AHEAD_MAX_MS,
    FUTURE_MESSAGES_PER_PEER_MAX,
    HEARTBEAT_MS,
    PROPOSALS_JUDGED_PER_PEER_MAX,
    STATUSES_PER_PEER_MAX,
)
from node.state.kv import MemoryStore
from node.state.world_state import StateStore, WorldState
from tests.unit.chain.kit import TestChain
from tests.unit.consensus.desk import NOW_MS, Desk, broadcasts, records, sends, timers

S = TypeVar("S", bound=Signed)


class AllGenuine(verification.Verifier):
    """Takes every signature for genuine."""

    def is_genuine(self, public_key: bytes, digest: bytes, signature: bytes) -> bool:
        """Say yes."""
        return True


def unsigned(message: S) -> S:
    """The message as the core made it."""
    return with_signature(message, UNSIGNED)


def status(desk: Desk, index: int, **changed: object) -> Status:
    """A Status of validator `index`: height 1, view 0, nothing seen."""
    plain = Status(0, 1, 0, Step.WAITING, False, b"\0", b"\0", b"", b"", None, index, UNSIGNED)
    return desk.signed(msgspec.structs.replace(plain, **changed))


# Proposing


def test_p1_proposes_at_once_when_there_is_something_to_include() -> None:
    """[P1] Pending transactions at the start of a height: block, persisted, then Proposal and Prepare."""
    desk = Desk(role=0, has_pending=True)
    assert BuildBlock(NOW_MS) in desk.opening
    effects = desk.build(desk.opening, b"t")
    block = desk.block(0, b"t")
    head = unsigned(desk.proposal(block)).head
    prepare = unsigned(desk.prepare(desk.me, 0, block.hash()))
    assert effects[:5] == [
        Persist(KeptBlock(block)),
        Persist(PromisedProposal(head, (), None)),
        SignAndBroadcast(Proposal(head, block)),
        Persist(prepare),
        SignAndBroadcast(prepare),
    ]


def test_p1_proposes_once() -> None:
    """[P1] More transactions for the same height and view change nothing."""
    desk = Desk(role=0, has_pending=True)
    desk.build(desk.opening, b"t")
    assert [e for e in desk.run(TransactionsPending(NOW_MS)) if isinstance(e, BuildBlock)] == []


@pytest.mark.parametrize("age_ms,proposes", [(HEARTBEAT_MS - 1, False), (HEARTBEAT_MS, True)])
def test_p2_heartbeat_is_due_sixty_seconds_after_the_parent(age_ms: int, proposes: bool) -> None:
    """[P2] An empty block at 60.000 s, none at 59.999 s."""
    desk = Desk(role=0, head_age_ms=age_ms)
    assert (BuildBlock(NOW_MS) in desk.opening) == proposes
    if proposes:
        assert [type(m) for m in broadcasts(desk.build(desk.opening))] == [Proposal, Prepare]


def test_p2_does_not_propose_an_empty_block_before_its_time() -> None:
    """[P2] The mempool promised something, but nothing could be included."""
    desk = Desk(role=0, has_pending=True)
    assert broadcasts(desk.build(desk.opening)) == []


def test_p3_new_view_without_claims_proposes_a_fresh_block() -> None:
    """[P3] Q ViewChanges for exactly this view, none with a claim: a block of our own, even an empty one."""
    desk = Desk(role=1)
    desk.receive(desk.view_change(desk.others[0], 1))
    effects = desk.receive(desk.view_change(desk.others[1], 1))
    assert BuildBlock(NOW_MS) in effects
    effects = desk.build(effects)
    new_view = broadcasts(effects)[0]
    assert isinstance(new_view, NewView)
    signers = sorted([desk.me, *desk.others[:2]])
    assert [head.validator for head in new_view.view_changes] == signers
    assert new_view.certificate is None
    assert new_view.block.transactions == ()
    assert records(effects)[:2] == [
        KeptBlock(new_view.block),
        PromisedProposal(new_view.head, new_view.view_changes, None),
    ]


def test_p3_view_changes_of_another_view_do_not_justify() -> None:
    """[P3] Two for view 1 and one for view 2 are three at least at 1, but not Q for exactly 1."""
    desk = Desk(role=1)
    desk.receive(desk.view_change(desk.others[0], 1))
    effects = desk.receive(desk.view_change(desk.others[1], 2))
    assert [e for e in effects if isinstance(e, BuildBlock)] == []


def test_p3_a_build_that_came_too_late_is_made_again_when_it_is_needed() -> None:
    """[P3] While the block was made a claim came that forbids it, then a ViewChange that displaces the claim."""
    desk = Desk(n=7, me=6, role=None)
    view = next(v for v in range(1, 8) if desk.rotation.proposer(v) == desk.me)
    desk.receive(*(desk.view_change(i, view) for i in (2, 3, 4, 5)))
    claim = desk.certificate(Phase.PREPARE, 0, b"h" * 32)
    late = BlockBuilt(NOW_MS, desk.chain.block_of((), proposer=desk.name(desk.me), timestamp_ms=NOW_MS))
    desk.receive(desk.view_change(1, view, claim))
    assert broadcasts(desk.run(late)) == []
    assert desk.state.building is False


def test_p4_new_view_repeats_the_highest_prepared_block() -> None:
    """[P4] Two claims: the block of the higher view is proposed again with its certificate."""
    desk = Desk(n=7, role=3)
    low, high = desk.block(0, b"low"), desk.block(1, b"high")
    claims = [desk.certificate(Phase.PREPARE, 0, low.hash()), desk.certificate(Phase.PREPARE, 1, high.hash())]
    effects = desk.receive(
        desk.view_change(desk.others[0], 3, claims[0]),
        desk.view_change(desk.others[1], 3, claims[1]),
        desk.view_change(desk.others[2], 3),
        desk.view_change(desk.others[3], 3),
    )
    (asked, request) = sends(effects)[0]
    assert request == BlockRequest(0, 1, high.hash())
    effects = desk.receive(BlockReply(high), sender=[desk.name(i) for i in range(7)].index(asked))
    new_view = next(m for m in broadcasts(effects) if isinstance(m, NewView))
    assert (new_view.block, new_view.certificate) == (high, claims[1])


# Accepting


def test_a1_refuses_a_proposal_of_somebody_else() -> None:
    """[A1] Only proposer(h,0) proposes in view 0."""
    desk = Desk()
    other = next(i for i in desk.others if i != desk.rotation.proposer(0))
    proposal = desk.proposal(desk.block())
    forged = desk.signed(Proposal(msgspec.structs.replace(proposal.head, validator=other), proposal.block))
    rejection = desk.refused(forged)
    assert (rejection.reason, rejection.detail) == (
        Reason.WRONG_PROPOSER,
        f"signed by validator {other} instead of {desk.rotation.proposer(0)}",
    )


def test_a1_refuses_a_block_that_was_not_signed() -> None:
    """[A1] The head names the block."""
    desk = Desk()
    proposal, other = desk.proposal(desk.block()), desk.block(0, b"other")
    rejection = desk.refused(Proposal(proposal.head, other))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_BLOCK,
        f"block is {other.hash().hex()}, signed is {proposal.head.block_hash.hex()}",
    )


def test_a1_refuses_a_bad_signature() -> None:
    """[A1] A proposal that its proposer did not sign."""
    desk = Desk()
    rejection = desk.refused(with_signature(desk.proposal(desk.block()), UNSIGNED))
    proposer = desk.name(desk.rotation.proposer(0))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_SIGNATURE,
        f"signature of {proposer} on ProposalHead is bad",
    )


def test_a1_refuses_a_plain_proposal_above_view_0() -> None:
    """[A1] Without a justification nothing can be proposed in view 1."""
    desk = Desk()
    block = desk.block(1)
    rejection = desk.refused(desk.signed(Proposal(desk.head(1, block.hash()), block)))
    assert (rejection.reason, rejection.detail) == (Reason.WRONG_VIEW, "Proposal in view 1")


def test_a2_refuses_a_fresh_block_of_another_original_proposer() -> None:
    """[A2] A fresh block is made by who proposes it."""
    desk = Desk()
    block = desk.block(1)
    rejection = desk.refused(desk.proposal(block))
    names = [desk.name(desk.rotation.proposer(view)) for view in (1, 0)]
    assert (rejection.reason, rejection.detail) == (
        Reason.WRONG_PROPOSER,
        f"original proposer is {names[0]} instead of {names[1]}",
    )


@pytest.mark.parametrize("ahead_ms,accepted", [(CLOCK_AHEAD_MAX_MS, True), (CLOCK_AHEAD_MAX_MS + 1, False)])
def test_a2_allows_two_seconds_ahead_of_our_clock(ahead_ms: int, accepted: bool) -> None:
    """[A2] 2.000 s ahead is taken, 2.001 s is not."""
    desk = Desk()
    proposal = desk.proposal(desk.block(timestamp_ms=NOW_MS + ahead_ms))
    if accepted:
        assert [type(m) for m in broadcasts(desk.receive(proposal))] == [Prepare]
    else:
        rejection = desk.refused(proposal)
        assert (rejection.reason, rejection.detail) == (
            Reason.BAD_TIMESTAMP,
            f"{NOW_MS + ahead_ms} ms is ahead of our {NOW_MS} ms",
        )


def test_a3_refuses_an_empty_block_of_view_0_before_the_heartbeat() -> None:
    """[A3] Nobody fills the disk with empty blocks."""
    desk = Desk()
    proposer = desk.name(desk.rotation.proposer(0))
    block = desk.chain.block_of((), proposer=proposer, timestamp_ms=NOW_MS)
    rejection = desk.refused(desk.proposal(block))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_TIMESTAMP,
        f"empty block at {NOW_MS} ms, allowed from {NOW_MS - 1_000 + HEARTBEAT_MS} ms",
    )


def test_a3_accepts_an_empty_block_in_a_higher_view() -> None:
    """[A3] A view change ends with a block, whether there is something to include or not."""
    desk = Desk()
    proposer = desk.name(desk.rotation.proposer(1))
    block = desk.chain.block_of((), proposer=proposer, timestamp_ms=NOW_MS)
    effects = desk.receive(desk.new_view(1, block, [desk.view_change(i, 1) for i in desk.others]))
    assert broadcasts(effects) == [unsigned(desk.prepare(desk.me, 1, block.hash()))]


def test_a4_refuses_too_few_view_changes() -> None:
    """[A4] Two of four are no quorum."""
    desk = Desk()
    message = desk.new_view(1, desk.block(1), [desk.view_change(i, 1) for i in desk.others[:2]])
    rejection = desk.refused(message)
    assert (rejection.reason, rejection.detail) == (Reason.BAD_JUSTIFICATION, "2 view changes, 3 needed")


def test_a4_refuses_one_member_twice() -> None:
    """[A4] Distinct members, so strictly ascending."""
    desk = Desk()
    changes = [desk.view_change(i, 1) for i in desk.others[:2]]
    rejection = desk.refused(desk.new_view(1, desk.block(1), [*changes, changes[0]]))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "view changes are not ascending by validator",
    )


def test_a4_refuses_view_changes_for_another_view() -> None:
    """[A4] For exactly this view: a higher one does not stand in."""
    desk = Desk()
    changes = [desk.view_change(i, 2 if i == max(desk.others) else 1) for i in desk.others]
    rejection = desk.refused(desk.new_view(1, desk.block(1), changes))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "view change for (epoch, height, view) (0, 1, 2) instead of (0, 1, 1)",
    )


def test_a4_refuses_a_forged_view_change() -> None:
    """[A4] Each head is signed by its member."""
    desk = Desk()
    changes = [desk.view_change(i, 1) for i in desk.others]
    changes[0] = with_signature(changes[0], UNSIGNED)
    rejection = desk.refused(desk.new_view(1, desk.block(1), changes))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_SIGNATURE,
        f"signature of {desk.name(desk.others[0])} on ViewChangeHead is bad",
    )


def test_a4_refuses_a_claim_that_is_not_below_the_view() -> None:
    """[A4] Nobody has prepared in a view that is only starting."""
    desk = Desk()
    block = desk.block(0)
    claim = desk.certificate(Phase.PREPARE, 1, block.hash())
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    rejection = desk.refused(desk.new_view(1, block, changes, claim))
    assert (rejection.reason, rejection.detail) == (Reason.BAD_JUSTIFICATION, "claims view 1, asks for view 1")


def test_a5_refuses_another_block_than_the_prepared_one() -> None:
    """[A5] What may have been decided must be proposed again."""
    desk = Desk()
    prepared, other = desk.block(0), desk.block(1, b"other")
    claim = desk.certificate(Phase.PREPARE, 0, prepared.hash())
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    rejection = desk.refused(desk.new_view(1, other, changes, claim))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        f"block {other.hash().hex()} instead of the prepared {prepared.hash().hex()}",
    )


def test_a5_refuses_a_missing_certificate() -> None:
    """[A5] A claim without proof would let anybody choose the block."""
    desk = Desk()
    prepared = desk.block(0)
    claim = desk.certificate(Phase.PREPARE, 0, prepared.hash())
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    rejection = desk.refused(desk.new_view(1, prepared, changes))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "no certificate for the highest claim, view 0",
    )


def test_a5_refuses_the_certificate_of_a_lower_claim() -> None:
    """[A5] Of claims in views 0 and 1 the one of view 1 counts."""
    desk = Desk()
    low, high = desk.block(0, b"low"), desk.block(1, b"high")
    claims = [desk.certificate(Phase.PREPARE, 0, low.hash()), desk.certificate(Phase.PREPARE, 1, high.hash())]
    changes = [
        desk.view_change(desk.others[0], 2, claims[0]),
        desk.view_change(desk.others[1], 2, claims[1]),
        desk.view_change(desk.others[2], 2),
    ]
    rejection = desk.refused(desk.new_view(2, low, changes, claims[0]))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "certificate of view 0, highest claim is 1",
    )


def test_a5_refuses_a_certificate_without_a_quorum() -> None:
    """[A5] The certificate itself is checked."""
    desk = Desk()
    block = desk.block(0)
    claim = desk.certificate(Phase.PREPARE, 0, block.hash(), [0, 1])
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    rejection = desk.refused(desk.new_view(1, block, changes, claim))
    assert (rejection.reason, rejection.detail) == (Reason.BAD_CERTIFICATE, "2 signatures, 3 needed")


def test_a5_refuses_a_certificate_that_nobody_claims() -> None:
    """[A5] With no claims the block is fresh and brings no certificate."""
    desk = Desk()
    block = desk.block(0)
    certificate = desk.certificate(Phase.PREPARE, 0, block.hash())
    message = desk.new_view(1, block, [desk.view_change(i, 1) for i in desk.others], certificate)
    rejection = desk.refused(message)
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "a certificate that no view change claims",
    )


def test_a5_refuses_commits_as_a_prepared_certificate() -> None:
    """[A5] Phases are not interchangeable."""
    desk = Desk()
    block = desk.block(0)
    claim = desk.certificate(Phase.COMMIT, 0, block.hash())
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    rejection = desk.refused(desk.new_view(1, block, changes, claim))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_CERTIFICATE,
        "(phase, epoch, height) is (2, 0, 1) instead of (1, 0, 1)",
    )


def test_a6_reproposal_is_exempt_from_the_clock() -> None:
    """[A6] A block that was timely once is not judged again: 10 s ahead of our clock passes."""
    desk = Desk()
    block = desk.block(0, timestamp_ms=NOW_MS + 10_000)
    claim = desk.certificate(Phase.PREPARE, 0, block.hash())
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    effects = desk.receive(desk.new_view(1, block, changes, claim))
    assert broadcasts(effects) == [unsigned(desk.prepare(desk.me, 1, block.hash()))]


def test_a6_refuses_a_reproposal_whose_maker_never_had_the_turn() -> None:
    """[A6] In view 1 only the proposer of view 0 can have made the block."""
    desk = Desk()
    block = desk.block(2)
    claim = desk.certificate(Phase.PREPARE, 0, block.hash())
    changes = [desk.view_change(desk.others[0], 1, claim), *(desk.view_change(i, 1) for i in desk.others[1:])]
    rejection = desk.refused(desk.new_view(1, block, changes, claim))
    assert (rejection.reason, rejection.detail) == (
        Reason.WRONG_PROPOSER,
        f"original proposer {block.header.proposer} proposed in no view below 1",
    )


def test_a7_only_the_first_proposal_of_a_view_is_accepted() -> None:
    """[A7] A second block of the same view gets no Prepare."""
    desk = Desk()
    desk.receive(desk.proposal(desk.block()))
    assert broadcasts(desk.receive(desk.proposal(desk.block(0, b"second")))) == []


def test_a7_a_bad_block_does_not_take_the_place_of_a_good_one() -> None:
    """[A7] The first *valid* one counts: a body that does not match its header is passed over."""
    desk = Desk()
    block = desk.block()
    proposal = desk.proposal(block)
    bad = Proposal(proposal.head, msgspec.structs.replace(block, transactions=(b"x",)))
    assert broadcasts(desk.receive(bad, sender=desk.others[0])) == []
    assert broadcasts(desk.receive(proposal)) == [unsigned(desk.prepare(desk.me, 0, block.hash()))]


def test_a7_a_known_block_is_accepted_and_passed_on_with_the_body_that_was_judged() -> None:
    """[A7] A peer hands on a genuine NewView with another body under a header that we know: ours goes on."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    claim = desk.certificate(Phase.PREPARE, 0, block.hash())
    changes = [desk.view_change(i, 1, claim) for i in desk.others]
    new_view = desk.new_view(1, block, changes, claim)
    mangled = msgspec.structs.replace(new_view, block=msgspec.structs.replace(block, transactions=(b"x",)))
    desk.receive(mangled, sender=desk.others[0])
    assert desk.state.accepted == new_view


def test_a7_a_bad_body_does_not_stand_in_the_way_of_the_good_one_behind_it() -> None:
    """[A7] Both came early and are judged in one go: the proposal is accepted, with the good body."""
    desk = Desk()
    block = desk.block()
    proposal = desk.proposal(block)
    bad = Proposal(proposal.head, msgspec.structs.replace(block, transactions=(b"x",)))
    messages = [MessageReceived(NOW_MS, desk.name(i), m) for i, m in zip(desk.others, (bad, proposal), strict=False)]
    asked = [e.block for m in messages for e in desk.core.step(m) if isinstance(e, ValidateBlock)]
    for body in asked:
        desk.run(BlockValidated(NOW_MS, body, desk.is_valid(body)))
    assert (desk.state.step, desk.state.accepted) == (Step.PREPARING, proposal)


def test_a7_new_view_carries_a_replica_up_to_its_view() -> None:
    """[A7] A justified NewView is enough, without a ViewChange of our own."""
    desk = Desk()
    block = desk.block(2)
    desk.receive(desk.new_view(2, block, [desk.view_change(i, 2) for i in desk.others]))
    assert (desk.state.view, desk.state.step) == (2, Step.PREPARING)


# Deciding


def test_c1_body_and_vote_are_durable_before_prepare() -> None:
    """[C1] In this order: block, vote, Prepare."""
    desk = Desk()
    block = desk.block()
    prepare = unsigned(desk.prepare(desk.me, 0, block.hash()))
    effects = desk.receive(desk.proposal(block))
    assert [e for e in effects if not isinstance(e, SetTimer)] == [
        ValidateBlock(block),
        Persist(KeptBlock(block)),
        Persist(prepare),
        SignAndBroadcast(prepare),
    ]


def test_c2_quorum_of_prepares_makes_a_durable_certificate_then_commit() -> None:
    """[C2] In this order: certificate, vote, Commit. Three of four, ours included."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    assert desk.receive(desk.prepare(desk.others[0], 0, block.hash())) == []
    commit = unsigned(desk.commit(desk.me, 0, block.hash()))
    signers = [desk.me, *desk.others[:2]]
    assert desk.receive(desk.prepare(desk.others[1], 0, block.hash())) == [
        Persist(Prepared(desk.certificate(Phase.PREPARE, 0, block.hash(), signers))),
        Persist(commit),
        SignAndBroadcast(commit),
    ]


def test_c2_prepares_of_another_view_do_not_count() -> None:
    """[C2] Two views are two tallies."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block), desk.prepare(desk.others[0], 0, block.hash()))
    assert desk.receive(desk.prepare(desk.others[1], 1, block.hash())) == []
    assert desk.state.step is Step.PREPARING


def test_c2_prepares_that_came_before_the_proposal_count() -> None:
    """[C2] No rule depends on the order of arrival."""
    desk = Desk()
    block = desk.block()
    desk.receive(*(desk.prepare(i, 0, block.hash()) for i in desk.others))
    assert [type(m) for m in broadcasts(desk.receive(desk.proposal(block)))] == [Prepare, Commit]


def test_d1_quorum_of_commits_decides() -> None:
    """[D1] Three Commits of view 0 from others decide, with a body that we hold."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    effects = desk.receive(*(desk.commit(i, 0, block.hash()) for i in desk.others))
    assert effects == [CommitBlock(block, desk.certificate(Phase.COMMIT, 0, block.hash(), desk.others))]


def test_d1_commit_quorum_from_earlier_view_still_commits() -> None:
    """[D1] Having left view 0 does not stop its decision."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    desk.fire(TimerKind.VIEW)
    assert desk.state.step is Step.VIEW_CHANGING
    effects = desk.receive(*(desk.commit(i, 0, block.hash()) for i in desk.others))
    assert effects[-1] == CommitBlock(block, desk.certificate(Phase.COMMIT, 0, block.hash(), desk.others))


def test_d1_commits_of_mixed_views_are_never_added_up() -> None:
    """[D1] Two Commits of view 0 and two of view 1 for one block are four voters and no quorum."""
    desk = Desk(n=4)
    block = desk.block()
    desk.receive(desk.proposal(block))
    effects = desk.receive(
        desk.commit(desk.others[0], 0, block.hash()),
        desk.commit(desk.others[1], 0, block.hash()),
        desk.commit(desk.others[1], 1, block.hash()),
        desk.commit(desk.others[2], 1, block.hash()),
    )
    assert [e for e in effects if isinstance(e, CommitBlock)] == []


def test_d2_missing_body_is_asked_from_the_signers_in_turn() -> None:
    """[D2] One signer each quarter of a second; only who was asked is heard."""
    desk = Desk()
    block = desk.block()
    effects = desk.receive(*(desk.commit(i, 0, block.hash()) for i in desk.others))
    request = BlockRequest(0, 1, block.hash())
    assert sends(effects) == [(desk.name(desk.others[0]), request)]
    assert sends(desk.fire(TimerKind.FETCH)) == [(desk.name(desk.others[1]), request)]
    assert desk.receive(BlockReply(block), sender=desk.others[2]) == []
    effects = desk.receive(BlockReply(block), sender=desk.others[1])
    assert effects[-1] == CommitBlock(block, desk.certificate(Phase.COMMIT, 0, block.hash(), desk.others))


def test_d2_a_false_body_is_followed_by_the_next_signer() -> None:
    """[D2] A reply that does not match the header is thrown away, and the next is asked."""
    desk = Desk()
    block = desk.block()
    desk.receive(*(desk.commit(i, 0, block.hash()) for i in desk.others))
    false = msgspec.structs.replace(block, transactions=())
    assert desk.receive(BlockReply(false), sender=desk.others[0]) == [ValidateBlock(false)]
    assert sends(desk.fire(TimerKind.FETCH)) == [(desk.name(desk.others[1]), BlockRequest(0, 1, block.hash()))]


def test_d2_a_body_of_our_own_journal_is_loaded_from_there() -> None:
    """[D2] What we kept ourselves is not asked from others, also when memory has let go of it."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    del desk.state.blocks[block.hash()]
    effects = desk.receive(*(desk.commit(i, 0, block.hash()) for i in desk.others))
    assert effects == [LoadBlock(1, block.hash())]


def test_d2_gives_a_kept_body_to_who_asks() -> None:
    """[D2] The replica reads it from the journal or the chain."""
    desk = Desk()
    effects = desk.receive(BlockRequest(0, 1, b"h" * 32), sender=desk.others[0])
    assert effects == [SendBlock(desk.name(desk.others[0]), 1, b"h" * 32)]


def test_d3_decided_brings_block_and_certificate() -> None:
    """[D3] As good as the votes that it is made of."""
    desk = Desk()
    block = desk.block()
    certificate = desk.certificate(Phase.COMMIT, 1, block.hash())
    assert desk.receive(Decided(block, certificate)) == [ValidateBlock(block), CommitBlock(block, certificate)]


def test_d3_refuses_a_prepared_certificate() -> None:
    """[D3] Prepares decide nothing."""
    desk = Desk()
    block = desk.block()
    rejection = desk.refused(Decided(block, desk.certificate(Phase.PREPARE, 0, block.hash())))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_CERTIFICATE,
        "(phase, epoch, height) is (1, 0, 1) instead of (2, 0, 1)",
    )


def test_d3_refuses_a_certificate_of_another_block() -> None:
    """[D3] Block and certificate belong together."""
    desk = Desk()
    block, other = desk.block(), desk.block(0, b"other")
    rejection = desk.refused(Decided(block, desk.certificate(Phase.COMMIT, 0, other.hash())))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_CERTIFICATE,
        f"certificate of {other.hash().hex()} with block {block.hash().hex()}",
    )


# Changing the view


def test_v1_timer_asks_for_the_next_view() -> None:
    """[V1] Nothing prepared: a claim of nothing; persisted before it is sent."""
    desk = Desk()
    message = unsigned(desk.view_change(desk.me, 1))
    assert desk.fire(TimerKind.VIEW)[:2] == [Persist(message), SignAndBroadcast(message)]


def test_v1_having_committed_never_stops_a_view_change() -> None:
    """[V1] The claim is the block that was committed to, with its certificate."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block), *(desk.prepare(i, 0, block.hash()) for i in desk.others[:2]))
    assert desk.state.step is Step.COMMITTING
    claim = desk.certificate(Phase.PREPARE, 0, block.hash(), [desk.me, *desk.others[:2]])
    message = unsigned(desk.view_change(desk.me, 1, claim))
    assert desk.fire(TimerKind.VIEW)[:2] == [Persist(message), SignAndBroadcast(message)]


def test_v1_timer_of_an_earlier_view_is_stale() -> None:
    """[V1] Only the timer of the present view counts."""
    desk = Desk()
    desk.fire(TimerKind.VIEW)
    assert broadcasts(desk.fire(TimerKind.VIEW, view=0)) == []


def test_v2_joins_the_smallest_view_of_f_plus_one_members() -> None:
    """[V2] f+1 = 2 of 4: views 3 and 5 take us to 3; one alone does nothing."""
    desk = Desk()
    assert broadcasts(desk.receive(desk.view_change(desk.others[0], 5))) == []
    effects = desk.receive(desk.view_change(desk.others[1], 3))
    assert broadcasts(effects) == [unsigned(desk.view_change(desk.me, 3))]


def test_v2_one_member_counts_once() -> None:
    """[V2] Two ViewChanges of one liar are one member."""
    desk = Desk()
    effects = desk.receive(desk.view_change(desk.others[0], 5), desk.view_change(desk.others[0], 3))
    assert broadcasts(effects) == []


def test_v3_refuses_a_claim_without_certificate() -> None:
    """[V3] Dropped on receipt: it counts for nothing."""
    desk = Desk()
    claim = desk.certificate(Phase.PREPARE, 0, desk.block().hash())
    rejection = desk.refused(ViewChange(desk.view_change(desk.others[0], 1, claim).head, None))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "no certificate for the claimed view 0",
    )
    assert desk.state.view_changes.members_at_least(1) == 0


def test_v3_refuses_a_certificate_of_another_claim() -> None:
    """[V3] View and block of certificate and claim are the same."""
    desk = Desk()
    claim = desk.certificate(Phase.PREPARE, 0, desk.block().hash())
    other = desk.certificate(Phase.PREPARE, 1, desk.block().hash())
    rejection = desk.refused(ViewChange(desk.view_change(desk.others[0], 2, claim).head, other))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        "certificate of view 1 for another claim than view 0",
    )


def test_v3_refuses_a_false_certificate() -> None:
    """[V3] Its signatures are checked."""
    desk = Desk()
    claim = desk.certificate(Phase.PREPARE, 0, desk.block().hash())
    signatures = (msgspec.structs.replace(claim.signatures[0], signature=UNSIGNED), *claim.signatures[1:])
    false = msgspec.structs.replace(claim, signatures=signatures)
    rejection = desk.refused(desk.view_change(desk.others[0], 1, false))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_CERTIFICATE,
        f"signature of {desk.name(0)} is bad",
    )


def test_v3_refuses_a_view_change_to_view_0() -> None:
    """[V3] There is no view below 0 to leave."""
    desk = Desk()
    rejection = desk.refused(desk.view_change(desk.others[0], 0))
    assert (rejection.reason, rejection.detail) == (Reason.WRONG_VIEW, "ViewChange to view 0")


def test_v4_nothing_below_the_new_view_is_prepared() -> None:
    """[V4] A valid proposal of view 0 comes too late after ViewChange → 1."""
    desk = Desk()
    desk.fire(TimerKind.VIEW)
    assert desk.receive(desk.proposal(desk.block())) == []


def test_v4_prepares_of_a_lower_view_change_nothing() -> None:
    """[V4] The quorum of view 0 completes after ViewChange → 1: no Commit, and the claim stays none."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    desk.fire(TimerKind.VIEW)
    assert broadcasts(desk.receive(*(desk.prepare(i, 0, block.hash()) for i in desk.others))) == []
    assert desk.state.prepared is None


def test_v5_view_change_is_sent_again_each_second() -> None:
    """[V5] The same signed message, until decided."""
    desk = Desk()
    desk.fire(TimerKind.VIEW)
    assert broadcasts(desk.fire(TimerKind.TICK)) == [desk.view_change(desk.me, 1)]


# Timers


def test_t1_idle_network_runs_no_timer() -> None:
    """[T1] Nothing to include, nothing seen, heartbeat not due; a lone ViewChange starts nothing."""
    desk = Desk()
    effects = [*desk.opening, *desk.fire(TimerKind.TICK), *desk.receive(desk.view_change(desk.others[0], 1))]
    assert timers(effects, TimerKind.VIEW) == []


VIEW_0 = SetTimer(Timer(TimerKind.VIEW, 1, 0), 2_000)


def test_t1_something_to_include_starts_the_timer() -> None:
    """[T1] Also when it arrives later."""
    desk = Desk()
    assert desk.run(TransactionsPending(NOW_MS)) == [VIEW_0]
    assert timers(desk.run(TransactionsPending(NOW_MS)), TimerKind.VIEW) == []


@pytest.mark.parametrize("age_ms,runs", [(61_999, False), (62_000, True)])
def test_t1_overdue_heartbeat_starts_the_timer(age_ms: int, runs: bool) -> None:
    """[T1] Sixty seconds and the two that a slow clock may be behind."""
    assert timers(Desk(head_age_ms=age_ms).opening, TimerKind.VIEW) == ([VIEW_0] if runs else [])


def test_t1_an_accepted_proposal_starts_the_timer() -> None:
    """[T1] There is something to decide, even if nothing waits in our mempool."""
    desk = Desk()
    assert timers(desk.receive(desk.proposal(desk.block())), TimerKind.VIEW) == [VIEW_0]


def test_t1_one_vote_starts_no_timer_but_those_of_f_plus_one_members_do() -> None:
    """[T1] One liar may say Prepare, Commit and in many views: an honest vote is known from f + 1 = 2 members on."""
    desk = Desk()
    liar, honest = desk.others[:2]
    block_hash = desk.block().hash()
    alone = [desk.prepare(liar, 0, block_hash), desk.commit(liar, 0, block_hash), desk.prepare(liar, 3, b"x" * 32)]
    assert timers(desk.receive(*alone), TimerKind.VIEW) == []
    assert timers(desk.receive(desk.prepare(honest, 0, block_hash)), TimerKind.VIEW) == [VIEW_0]


def test_t2_timer_of_a_higher_view_needs_a_quorum_at_it_or_above() -> None:
    """[T2] Ours at 1 and others at 1 and 4 are three of four."""
    desk = Desk()
    desk.fire(TimerKind.VIEW)
    assert timers(desk.receive(desk.view_change(desk.others[0], 4)), TimerKind.VIEW) == []
    effects = desk.receive(desk.view_change(desk.others[1], 1))
    assert timers(effects, TimerKind.VIEW) == [SetTimer(Timer(TimerKind.VIEW, 1, 1), 3_000)]


def test_t2_accepted_new_view_starts_the_timer() -> None:
    """[T2] It proves a quorum of ViewChanges."""
    desk = Desk()
    effects = desk.receive(desk.new_view(2, desk.block(2), [desk.view_change(i, 2) for i in desk.others]))
    assert timers(effects, TimerKind.VIEW) == [SetTimer(Timer(TimerKind.VIEW, 1, 2), 4_500)]


def test_t2_restart_in_an_accepted_new_view_starts_the_timer() -> None:
    """[T2] Those who sent the ViewChanges may never repeat them to us."""
    desk = Desk()
    block = desk.block(2)
    kept = records(desk.receive(desk.new_view(2, block, [desk.view_change(i, 2) for i in desk.others])))
    again = Desk(records=tuple(kept))
    assert timers(again.opening, TimerKind.VIEW) == [SetTimer(Timer(TimerKind.VIEW, 1, 2), 4_500)]


# Passing over who lets its turn go by


def demerits_of(desk: Desk, *misses: tuple[int, int], until: int = 100) -> Demerits:
    """A record that holds misses against validators, given by index."""
    held = sorted((desk.name(index), count) for index, count in misses)
    return Demerits(tuple(Demerit(name, count, until) for name, count in held), 0, ())


def at_height_2(
    n: int, view: int, *, maker: int | None = None, before: Demerits = NO_DEMERITS
) -> tuple[Desk, Demerits]:
    """Decide height 1 in a view and let block 2 say so; return the record that holds for height 3."""
    desk = Desk(n)
    block = desk.block(view if maker is None else maker)
    certificate = desk.certificate(Phase.COMMIT, view, block.hash())
    return desk, demerits_after(before, desk.validators, block.header, certificate)


def test_l1_at_most_f_with_most_misses_are_passed_over() -> None:
    """[L1] Three of seven missed turns: no proposal of the worst two is taken, the turn goes to the next."""
    desk = Desk(7)
    order = [desk.rotation.proposer(view) for view in range(7)]
    record = demerits_of(desk, (order[0], 3), (order[1], 2), (order[2], 1))
    desk.open(record)
    rotation = desk.state.context.rotation
    turns = [rotation.proposer(view) for view in range(5)]
    assert sorted(turns) == sorted(order[2:])
    rejection = desk.refused(desk.proposal(desk.block()))
    assert (rejection.reason, rejection.detail) == (
        Reason.WRONG_PROPOSER,
        f"signed by validator {order[0]} instead of {turns[0]}",
    )


def test_l1_ends_with_passed_until() -> None:
    """[L1] At height 100 of passed_until = 100, no more at 101."""
    desk = Desk()
    record = demerits_of(desk, (2, 1), until=100)
    assert record.passed_over(desk.validators, 100) == {2}
    assert record.passed_over(desk.validators, 101) == set()


def test_l2_each_missed_turn_counts_against_its_proposer() -> None:
    """[L2] Decided in view 2: two missed, passed over until 1 + 32N; another miss doubles it."""
    desk, record = at_height_2(4, 2)
    late = [desk.rotation.proposer(view) for view in (0, 1)]
    assert record.entries == demerits_of(desk, *((index, 1) for index in late), until=129).entries
    desk, record = at_height_2(4, 2, before=demerits_of(desk, (late[0], 1), until=0))
    assert {(entry.institution, entry.misses, entry.passed_until) for entry in record.entries} == {
        (desk.name(late[0]), 2, 257),
        (desk.name(late[1]), 1, 129),
    }


def test_l3_who_made_the_decided_block_missed_nothing() -> None:
    """[L3] The block of view 0, decided in view 2: only view 1 went by."""
    desk, record = at_height_2(4, 2, maker=0)
    assert record.entries == demerits_of(desk, (desk.rotation.proposer(1), 1), until=129).entries


def test_l4_misses_are_forgotten_after_32_n_heights() -> None:
    """[L4] Of passed_until = 100 up to block 228 with N = 4; from 229 on a miss is a first one."""
    for height, misses in ((228, 2), (229, 1)):
        desk = Desk()
        (late,) = {desk.rotation.proposer(0)}
        header = msgspec.structs.replace(desk.block(1).header, height=height - 1)
        certificate = desk.certificate(Phase.COMMIT, 4, header.hash(), height=height - 1)
        after = demerits_after(demerits_of(desk, (late, 1)), desk.validators, header, certificate)
        assert {entry.misses for entry in after.entries if entry.institution == desk.name(late)} == {misses}


def test_l5_the_last_height_of_a_set_and_the_first_of_an_epoch_blame_nobody() -> None:
    """[L5] The header names another next set; a first block of an epoch carries no certificate."""
    desk = Desk()
    header = msgspec.structs.replace(desk.block(2).header, next_validators_hash=b"n" * 32)
    certificate = desk.certificate(Phase.COMMIT, 2, header.hash())
    assert demerits_after(NO_DEMERITS, desk.validators, header, certificate) == NO_DEMERITS
    frame = TestChain().next_frame
    state = WorldState(StateStore.open(MemoryStore()))
    record_demerits(state, replace(frame, parent_certificate=None))
    assert dict(state.written) == {}


# Saying where we are


def test_s1_status_says_each_second_what_was_seen() -> None:
    """[S1] Bitmaps by validator index."""
    desk = Desk(me=1)
    block = desk.block()
    desk.receive(desk.proposal(block), desk.prepare(2, 0, block.hash()), desk.commit(3, 0, block.hash()))
    effects = desk.fire(TimerKind.TICK)
    expected = Status(0, 1, 0, Step.PREPARING, True, b"\x06", b"\x08", b"", b"", None, 1, UNSIGNED)
    assert SignAndBroadcast(expected) in effects
    assert SetTimer(Timer(TimerKind.TICK, 1, 0), 1_000) in effects


def test_s2_answers_with_our_votes_that_the_other_lacks() -> None:
    """[S2] Its bitmap lacks our Prepare, first while that is on its way; then it has it."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    other = next(i for i in desk.others if i != desk.rotation.proposer(0))
    has_bit = bytes([1 << desk.me])
    assert sends(desk.receive(status(desk, other, has_proposal=True))) == []
    desk.now_ms += 1_000
    answer = sends(desk.receive(status(desk, other, has_proposal=True)))
    assert answer == [(desk.name(other), desk.prepare(desk.me, 0, block.hash()))]
    assert sends(desk.receive(status(desk, other, has_proposal=True, prepares=has_bit))) == []


def test_s2_proposer_repeats_its_proposal_to_who_lacks_it() -> None:
    """[S2] The block travels only to who says that it has none."""
    desk = Desk(role=0, has_pending=True)
    desk.build(desk.opening, b"t")
    block = desk.block(0, b"t")
    message = status(desk, desk.others[0], prepares=b"\xff")
    assert sends(desk.receive(message)) == []
    desk.now_ms += 1_000
    assert sends(desk.receive(message)) == [(desk.name(desk.others[0]), desk.proposal(block))]


def test_s2_refuses_a_status_that_somebody_else_sends() -> None:
    """[S2] An answer goes to its sender, so a relayed Status is refused."""
    desk = Desk()
    rejection = desk.refused(status(desk, desk.others[0]), sender=desk.others[1])
    names = [desk.name(desk.others[i]) for i in (0, 1)]
    assert (rejection.reason, rejection.detail) == (
        Reason.WRONG_SIGNERS,
        f"status of {names[0]} sent by {names[1]}",
    )


def start_height_2(desk: Desk) -> list[Effect]:
    """Let the ledger decide block 1."""
    block = desk.block()
    certificate = desk.certificate(Phase.COMMIT, 0, block.hash())
    desk.chain.commit_block(block, certificate)
    return desk.run(HeightStarted(desk.now_ms, block.header, certificate, 0, desk.validators, has_pending=False))


def test_s3_two_validators_answer_a_laggard_and_they_rotate() -> None:
    """[S3] In four seconds of four validators each answers twice."""
    desk = Desk()
    start_height_2(desk)
    assert desk.receive(status(desk, desk.others[0], height=1)) == []
    answers = []
    for second in range(1, 5):
        desk.now_ms = NOW_MS + 1_000 * second
        answers.append(desk.receive(status(desk, desk.others[0], height=1)) != [])
    assert sorted(answers) == [False, False, True, True]
    assert desk.core.step(
        MessageReceived(
            NOW_MS + 1_000 * (1 + answers.index(True)), desk.name(desk.others[0]), status(desk, desk.others[0])
        )
    ) == (SendDecided(desk.name(desk.others[0]), 1),)


def test_s4_asks_for_sync_when_f_plus_one_are_further() -> None:
    """[S4] One liar at height 1,000 is no reason; with a second at 5 the head 4 is one that somebody honest has."""
    desk = Desk()
    desk.receive(status(desk, desk.others[0], height=1_000))
    assert [e for e in desk.fire(TimerKind.TICK) if isinstance(e, RequestSync)] == []
    desk.receive(status(desk, desk.others[1], height=5))
    asked = [e for e in desk.fire(TimerKind.TICK) if isinstance(e, RequestSync)]
    assert asked == [RequestSync(4, (desk.name(desk.others[0]), desk.name(desk.others[1])))]


def test_s4_leaves_one_block_behind_to_decided_for_three_seconds() -> None:
    """[S4] Sync only at the third tick."""
    desk = Desk()
    desk.receive(status(desk, desk.others[0], height=2), status(desk, desk.others[1], height=2))
    asked = [[e for e in desk.fire(TimerKind.TICK) if isinstance(e, RequestSync)] != [] for _ in range(3)]
    assert asked == [False, False, True]


# Starting again


def test_r1_restart_repeats_what_was_promised() -> None:
    """[R1] After each prefix of the records the restarted core says exactly what had been sent by then."""
    desk = Desk()
    block = desk.block()
    effects = desk.receive(desk.proposal(block), *(desk.prepare(i, 0, block.hash()) for i in desk.others[:2]))
    effects += desk.fire(TimerKind.VIEW)
    written, said = [], []
    for effect in effects:
        if isinstance(effect, Persist):
            written.append(effect.record)
        elif isinstance(effect, SignAndBroadcast):
            said.append(effect.message)
            again = Desk(records=tuple(written))
            assert broadcasts(again.opening) == said
    assert [type(message) for message in said] == [Prepare, Commit, ViewChange]
    assert (again.state.view, again.state.step, again.state.prepared) == (1, Step.VIEW_CHANGING, desk.state.prepared)


def test_r1_of_a_long_stall_only_what_can_still_matter_is_repeated() -> None:
    """[R1] A day without a quorum leaves thousands of ViewChanges: others would refuse the flood."""
    views = range(1, 3_000)
    kept: list[Record] = [unsigned(Desk().view_change(Desk().me, view)) for view in views]
    again = Desk(records=tuple(kept))
    assert broadcasts(again.opening) == kept[-1:]
    assert (again.state.view, again.state.own_view_change) == (2_999, again.view_change(again.me, 2_999))


def test_r1_restarted_proposer_repeats_its_proposal() -> None:
    """[R1] The block comes from the journal, not from the mempool of the new life."""
    desk = Desk(role=0, has_pending=True)
    effects = desk.build(desk.opening, b"t")
    again = Desk(role=0, has_pending=True, records=tuple(records(effects)[:2]))
    assert broadcasts(again.opening) == broadcasts(effects)
    assert [e for e in again.opening if isinstance(e, BuildBlock)] == []


def test_r2_without_journal_nothing_is_signed_but_status() -> None:
    """[R2] It probes with its nonce, ignores proposals and still counts Commits."""
    desk = Desk(nonce=b"nonce")
    assert desk.receive(desk.proposal(desk.block())) == []
    (probe,) = [e.message for e in desk.fire(TimerKind.TICK) if isinstance(e, SignAndBroadcast)]
    assert isinstance(probe, Status) and probe.probe == b"nonce"
    effects = desk.receive(*(desk.commit(i, 0, desk.block().hash()) for i in desk.others))
    assert [type(message) for _, message in sends(effects)] == [BlockRequest]


def test_r2_answers_a_probe_with_the_head_certificate() -> None:
    """[R2] Signed, for this nonce only."""
    desk = Desk()
    start_height_2(desk)
    effects = desk.receive(status(desk, desk.others[0], height=2, probe=b"nonce"))
    (answer,) = [e.message for e in effects if isinstance(e, SignAndSend)]
    assert isinstance(answer, Status)
    assert (answer.answer, answer.head_certificate, answer.height) == (b"nonce", desk.core._head_certificate, 2)


def answered(desk: Desk, *heads: int) -> list[Effect]:
    """Let the others answer a listener's question, each with a head."""
    effects = desk.receive(status(desk, desk.others[0], answer=b"old"))
    for index, head in zip(desk.others, heads, strict=True):
        certificate = desk.certificate(Phase.COMMIT, 0, b"h" * 32, height=head) if head else None
        answer = status(desk, index, height=head + 1, answer=b"nonce", head_certificate=certificate)
        effects += desk.receive(answer)
    return effects


def test_r3_signs_from_three_above_the_highest_verified_head() -> None:
    """[R3] Q = 3 other members answer; G = 4 makes it 7. Answers to another nonce do not count."""
    desk = Desk(nonce=b"nonce")
    assert records(answered(desk, 0, 4, 2)) == []
    assert desk.core.signs_from == 7


def test_r3_the_distance_is_on_disk_before_anything_is_signed() -> None:
    """[R3] Written once, as the first height begins that it signs at; a restart before that asks again."""
    desk = Desk(nonce=b"nonce")
    answered(desk, 0, 0, 0)
    found = []
    for height in (2, 3, 4):
        head = msgspec.structs.replace(desk.block().header, height=height - 1)
        started = HeightStarted(NOW_MS, head, None, 0, desk.validators, has_pending=False)
        found.append((records(list(desk.core.step(started))), desk.core.state.may_sign))
    assert found == [([], False), ([SignsFrom(3)], True), ([], True)]


def test_r3_refuses_a_head_that_is_not_proven() -> None:
    """[R3] A height without its certificate is only a claim."""
    desk = Desk(nonce=b"nonce")
    rejection = desk.refused(status(desk, desk.others[0], height=9, answer=b"nonce"))
    assert (rejection.reason, rejection.detail) == (Reason.BAD_CERTIFICATE, "no certificate for head 8")


@pytest.mark.parametrize("signs_from,prepares", [(1, True), (2, False)])
def test_r3_the_distance_survives_a_restart(signs_from: int, prepares: bool) -> None:
    """[R3] It stands in the journal."""
    desk = Desk(records=(SignsFrom(signs_from),))
    assert (broadcasts(desk.receive(desk.proposal(desk.block()))) != []) == prepares


def test_r3_the_distance_of_a_copied_journal_does_not_count() -> None:
    """[R3] What the copy had learnt is older than what the key may have signed since."""
    desk = Desk(records=(SignsFrom(1),), nonce=b"nonce")
    assert desk.receive(desk.proposal(desk.block())) == []


# Bounds and evidence


def test_b1_messages_of_the_next_height_wait_for_it() -> None:
    """[B1] Kept unverified, then fed again; higher ones are not kept."""
    desk = Desk()
    early = [msgspec.structs.replace(desk.commit(desk.others[0], 0, b"h" * 32), height=h) for h in (2, 3)]
    assert desk.receive(*early) == []
    block = desk.block()
    certificate = desk.certificate(Phase.COMMIT, 0, block.hash())
    started = HeightStarted(NOW_MS, block.header, certificate, 0, desk.validators, has_pending=False)
    assert Replay(((desk.name(desk.others[0]), early[0]),)) in desk.core.step(started)


def test_b1_a_peer_keeps_sixteen_messages_of_the_next_height() -> None:
    """[B1] The seventeenth is refused."""
    desk = Desk()
    name = desk.name(desk.others[0])
    for view in range(FUTURE_MESSAGES_PER_PEER_MAX):
        desk.receive(Commit(0, 2, view, b"h" * 32, 0, UNSIGNED), sender=desk.others[0])
    rejection = desk.refused(Commit(0, 2, 99, b"h" * 32, 0, UNSIGNED), sender=desk.others[0])
    assert (rejection.reason, rejection.detail) == (
        Reason.QUOTA_EXCEEDED,
        f"16 messages of {name} for height 2 are kept",
    )


def test_b1_a_liar_takes_no_place_from_the_proposer_of_the_next_height() -> None:
    """[B1] Whatever others have sent before, the proposal of the next height waits for it."""
    desk = Desk(n=7)
    honest, *liars = desk.others
    block = desk.block()
    head = msgspec.structs.replace(desk.head(0, block.hash()), height=2)
    for liar in liars:
        for view in range(FUTURE_MESSAGES_PER_PEER_MAX):
            desk.receive(Proposal(msgspec.structs.replace(head, view=view), block), sender=liar)
    desk.receive(Proposal(head, block), sender=honest)
    replay = next(e for e in start_height_2(desk) if isinstance(e, Replay))
    assert (desk.name(honest), Proposal(head, block)) in replay.messages


def test_b1_a_peer_keeps_one_block_of_the_next_height_the_latest() -> None:
    """[B1] A later proposal takes the place of the earlier one."""
    desk = Desk()
    block = desk.block()
    early = [Proposal(msgspec.structs.replace(desk.head(0, block.hash()), height=2, view=v), block) for v in (0, 4)]
    desk.receive(*early, sender=desk.others[0])
    replay = next(e for e in start_height_2(desk) if isinstance(e, Replay))
    assert replay.messages == ((desk.name(desk.others[0]), early[1]),)


def test_b1_only_validators_are_kept_waiting_for() -> None:
    """[B1] A peer that only follows has nothing to say about the next height."""
    desk = Desk()
    vote = msgspec.structs.replace(desk.commit(desk.others[0], 0, b"h" * 32), height=2)
    desk.run(MessageReceived(NOW_MS, "follower.example", vote))
    assert [e for e in start_height_2(desk) if isinstance(e, Replay)] == []


def test_b2_two_highest_view_changes_of_each_validator() -> None:
    """[B2] A liar's thousand views take two places."""
    desk = Desk()
    for view in (5, 9, 7, 3):
        desk.receive(desk.view_change(desk.others[0], view))
    held = [v for v in range(10) if desk.state.view_changes.held(desk.others[0], v) is not None]
    assert held == [7, 9]


def test_b4_a_flood_of_status_is_not_verified() -> None:
    """[B4] Each Status is another digest: eight of one peer between two ticks, the ninth costs no verification."""
    desk = Desk()
    liar = desk.others[0]
    before = desk.core._verifier._signatures.verifications
    for view in range(STATUSES_PER_PEER_MAX):
        desk.receive(status(desk, liar, view=view))
    rejection = desk.refused(status(desk, liar, view=99))
    name = desk.name(liar)
    assert (rejection.reason, rejection.detail) == (Reason.QUOTA_EXCEEDED, f"8 status of {name} were heard")
    assert desk.core._verifier._signatures.verifications - before == STATUSES_PER_PEER_MAX
    desk.fire(TimerKind.TICK)
    desk.receive(status(desk, liar, view=99))


def test_b3_each_signature_is_verified_once() -> None:
    """[B3] The same vote again, also a bad one, costs no verification."""
    desk = Desk()
    checked: list[bytes] = []
    verify = desk.ring.verify

    def counting(public_key: bytes, digest: bytes, signature: bytes) -> bool:
        checked.append(signature)
        return verify(public_key, digest, signature)

    desk.core._verifier._signatures._verify = counting
    bad = with_signature(desk.prepare(desk.others[0], 0, b"h" * 32), UNSIGNED)
    for _ in range(2):
        desk.refused(bad)
        desk.receive(desk.prepare(desk.others[1], 0, b"h" * 32))
    assert len(checked) == 2


def test_b3_a_certificate_of_votes_seen_one_by_one_costs_nothing() -> None:
    """[B3] The certificate in block h+1 may have other signers: what was counted at h is not verified again."""
    desk = Desk(7)
    cache = verified.SignatureCache(desk.ring.verify)
    desk.core._verifier._signatures = cache
    block_hash = desk.block().hash()
    desk.receive(desk.proposal(desk.block()))
    for other in desk.others:
        desk.receive(desk.prepare(other, 0, block_hash))
    for other in desk.others[:4]:  # with our own: Q = 5
        desk.receive(desk.commit(other, 0, block_hash))
    before = cache.verifications
    for signers in ([desk.me, *desk.others[:4]], [desk.me, *desk.others[1:5]]):
        desk.certificate(Phase.COMMIT, 0, block_hash, signers).check(desk.network, desk.validators, cache)
    assert cache.verifications - before == 1  # the Commit that came after the decision


def test_b3_what_our_own_signer_made_counts_towards_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """[B3] Each height brings messages of our own: they too push out the oldest results."""
    monkeypatch.setattr(verified, "VERIFIED_SIGNATURES_MAX", 4)
    desk = Desk()
    for view in range(1, 9):
        desk.run(MessageSigned(NOW_MS, desk.view_change(desk.me, view)))
    assert len(desk.core._verifier._signatures._good) == 4


def test_b4_a_peer_gets_four_proposals_judged_a_tick() -> None:
    """[B4] Then its further ones are refused until the next tick."""
    desk = Desk()
    sender = desk.others[0]
    block = desk.block()
    proposal = desk.proposal(block)
    for number in range(PROPOSALS_JUDGED_PER_PEER_MAX):
        bad = msgspec.structs.replace(block, transactions=(b"%d" % number,))
        desk.receive(Proposal(proposal.head, bad), sender=sender)
    rejection = desk.refused(proposal, sender=sender)
    assert (rejection.reason, rejection.detail) == (Reason.QUOTA_EXCEEDED, "4 proposals were judged")
    desk.fire(TimerKind.TICK)
    assert [type(m) for m in broadcasts(desk.receive(proposal, sender=sender))] == [Prepare]


def test_b4_accepted_proposals_are_not_counted() -> None:
    """[B4] Twenty-four heights in one second, six of each proposer: none is refused, and a liar's four are left."""
    desk = Desk()
    for height in range(1, 25):
        proposer = Rotation(desk.validators, height).proposer(0)
        block = desk.chain.block_of((b"%d" % height,), proposer=desk.name(proposer), timestamp_ms=NOW_MS + height)
        head = ProposalHead(0, height, 0, block.hash(), proposer, UNSIGNED)
        if proposer != desk.me:
            desk.receive(desk.signed(Proposal(head, block)))
            assert desk.state.accepted_hash == block.hash()
        certificate = desk.certificate(Phase.COMMIT, 0, block.hash(), height=height)
        desk.chain.commit_block(block, certificate)
        desk.run(HeightStarted(NOW_MS, block.header, certificate, 0, desk.validators, has_pending=False))
    assert desk.core.carried().judged == dict.fromkeys(map(desk.name, desk.others), 0)


def test_b4_a_peer_gets_four_large_answers_a_tick() -> None:
    """[B4] Bodies and answers to probes share the quota; another peer has its own."""
    desk = Desk()
    liar, other = desk.others[:2]
    request, probe = BlockRequest(0, 1, b"h" * 32), status(desk, liar, probe=b"nonce")
    answers = [*desk.receive(*[request] * 3, sender=liar), *desk.receive(probe, probe)]
    assert [type(e) for e in answers if isinstance(e, SendBlock | SignAndSend)] == [SendBlock] * 3 + [SignAndSend]
    rejection = desk.refused(request, sender=liar)
    assert (rejection.reason, rejection.detail) == (
        Reason.QUOTA_EXCEEDED,
        f"4 blocks were sent to {desk.name(liar)}",
    )
    assert [type(e) for e in desk.receive(request, sender=other)] == [SendBlock]
    desk.fire(TimerKind.TICK)
    assert [type(e) for e in desk.receive(request, sender=liar)] == [SendBlock]


def test_s2_two_validators_pass_a_proposal_on_and_they_rotate() -> None:
    """[S2] One that did not make it repeats it in two of four seconds."""
    desk = Desk()
    desk.receive(desk.proposal(desk.block()))
    other = next(i for i in desk.others if i != desk.rotation.proposer(0))
    answered = []
    for second in range(1, 5):
        desk.now_ms = NOW_MS + 1_000 * second
        said = sends(desk.receive(status(desk, other, prepares=b"\xff")))
        answered.append(said == [(desk.name(other), desk.proposal(desk.block()))])
    assert sorted(answered) == [False, False, True, True]


def test_e1_equivocation_is_reported_once_with_both_votes() -> None:
    """[E1] Two Prepares of one view; the first counts, a third is not reported again."""
    desk = Desk()
    votes = [desk.prepare(desk.others[0], 0, bytes([n]) * 32) for n in range(3)]
    effects = [e for e in desk.receive(*votes) if isinstance(e, ReportEquivocation)]
    assert effects == [ReportEquivocation(desk.name(desk.others[0]), (votes[0], votes[1]))]


def test_e1_reports_of_one_validator_are_bounded() -> None:
    """[E1] A liar that contradicts itself in view after view is known by sixteen reports a height."""
    desk = Desk()
    liar = desk.others[0]
    votes = [desk.prepare(liar, view, bytes([n]) * 32) for view in range(40) for n in range(2)]
    other = [desk.prepare(desk.others[1], 0, bytes([n]) * 32) for n in range(2)]
    effects = [e for e in desk.receive(*votes, *other) if isinstance(e, ReportEquivocation)]
    assert [e.institution for e in effects] == [desk.name(liar)] * 16 + [desk.name(desk.others[1])]


def test_e1_two_proposals_and_two_view_changes_are_evidence_too() -> None:
    """[E1] Each type once."""
    desk = Desk()
    proposals = [desk.proposal(desk.block(0, text)) for text in (b"one", b"two")]
    claim = desk.certificate(Phase.PREPARE, 0, desk.block().hash())
    changes = [desk.view_change(desk.others[0], 1), desk.view_change(desk.others[0], 1, claim)]
    effects = [e for e in desk.receive(*proposals, *changes) if isinstance(e, ReportEquivocation)]
    assert [e.evidence for e in effects] == [
        (proposals[0].head, proposals[1].head),
        (changes[0].head, changes[1].head),
    ]


def accused(effects: list[Effect]) -> list[tuple[SignedPart, SignedPart]]:
    """The statements of each report."""
    return [effect.evidence for effect in effects if isinstance(effect, ReportEquivocation)]


def test_e1_another_signature_under_the_same_content_is_no_second_statement() -> None:
    """[E1] A key can make several signatures for one digest; repeats of each kind accuse nobody."""
    desk = Desk()
    index = desk.others[0]
    block = desk.block()
    statements = [
        desk.prepare(index, 0, block.hash()),
        desk.commit(index, 0, block.hash()),
        desk.view_change(index, 1, desk.certificate(Phase.PREPARE, 0, block.hash())),
        desk.proposal(block),
    ]
    again = [with_signature(message, b"other".ljust(64)) for message in statements]
    desk.core._verifier = AllGenuine(desk.network, desk.ring.verify)
    assert accused(desk.receive(*statements, *again, *statements)) == []


def test_e1_two_proposals_of_which_none_is_accepted_yet_are_compared_too() -> None:
    """[E1] The ledger still judges the first when the second comes."""
    desk = Desk()
    first, second = (desk.proposal(desk.block(0, text)) for text in (b"one", b"two"))
    sender = desk.name(first.head.validator)
    effects = [*desk.core.step(MessageReceived(NOW_MS, sender, first))]
    effects += desk.core.step(MessageReceived(NOW_MS, sender, second))
    assert accused(effects) == [(first.head, second.head)]


def test_e1_view_changes_inside_a_new_view_are_compared_with_those_received() -> None:
    """[E1] A liar told the proposer of view 1 another claim than us."""
    desk = Desk()
    liar = desk.others[0]
    block = desk.block()
    claim = desk.certificate(Phase.PREPARE, 0, block.hash())
    told_us, told_the_proposer = desk.view_change(liar, 1), desk.view_change(liar, 1, claim)
    changes = [told_the_proposer, *(desk.view_change(index, 1, claim) for index in desk.others[1:])]
    effects = desk.receive(told_us, desk.new_view(1, block, changes, claim))
    assert accused(effects) == [(told_us.head, told_the_proposer.head)]


@pytest.mark.parametrize("commit_first", [True, False])
def test_e2_commit_and_a_view_change_that_denies_it_are_evidence(commit_first: bool) -> None:
    """[E2] Whichever comes first; the ViewChange of another member with the same words is none."""
    desk = Desk(7)
    liar, honest = desk.others[:2]
    commit = desk.commit(liar, 0, desk.block().hash())
    denial = desk.view_change(liar, 1)
    order = [commit, denial] if commit_first else [denial, commit]
    effects = desk.receive(desk.view_change(honest, 1), *order)
    parts = (commit, denial.head) if commit_first else (denial.head, commit)
    assert accused(effects) == [parts]


def test_e2_a_claim_that_covers_the_commit_is_none() -> None:
    """[E2] The block that was committed to, or one of a higher view."""
    desk = Desk(7)
    index = desk.others[0]
    block_hash = desk.block().hash()
    claims = [desk.certificate(Phase.PREPARE, 0, block_hash), desk.certificate(Phase.PREPARE, 2, b"x" * 32)]
    effects = desk.receive(
        desk.commit(index, 0, block_hash), desk.view_change(index, 1, claims[0]), desk.view_change(index, 3, claims[1])
    )
    assert accused(effects) == []


@pytest.mark.parametrize("kept", range(8))
def test_e3_nothing_signed_before_and_after_a_crash_is_evidence(kept: int) -> None:
    """[E3] A proposer prepares, commits, gives up; the power goes after any record, and afterwards it goes on."""

    def life(desk: Desk, *, is_first: bool) -> list[Effect]:
        block = desk.block(0, b"t")
        effects = [*desk.opening, *(desk.build(desk.opening, b"t") if is_first else [])]
        effects += desk.receive(*(desk.prepare(index, 0, block.hash()) for index in desk.others[:2]))
        effects += desk.fire(TimerKind.VIEW)
        return effects + desk.receive(*(desk.view_change(index, 3) for index in desk.others[:2]))

    def said(effects: list[Effect]) -> list[SignedPart]:
        return [header_of(message) for message in broadcasts(effects) if not isinstance(message, EvidenceReport)]

    effects = life(Desk(role=0, has_pending=True), is_first=True)
    places = [place for place, effect in enumerate(effects) if isinstance(effect, Persist)]
    assert len(places) == 7
    until_crash = effects[: [*places, len(effects)][kept]]
    after = life(Desk(role=0, records=tuple(records(until_crash))), is_first=False)
    pairs = product(said(until_crash), said(after))
    assert [pair for pair in pairs if contradiction(*pair) is not None] == []


def report(desk: Desk, *, height: int = 1, epoch: int = 0, number: int = 0) -> EvidenceReport:
    """Evidence of two Prepares at a height."""
    index = desk.others[0]
    votes = [
        desk.signed(Prepare(epoch, height, number, block_hash, index, UNSIGNED))
        for block_hash in (b"x" * 32, b"y" * 32)
    ]
    return EvidenceReport(make_evidence(votes[0], votes[1]))


def test_e4_reports_are_judged_by_the_ledger() -> None:
    """[E4] Also when the height is decided; sixteen of one peer between two ticks."""
    desk = Desk()
    sender = desk.name(desk.others[1])
    for number in range(16):
        message = report(desk, number=number)
        assert desk.receive(message, sender=desk.others[1]) == [JudgeEvidence(sender, message.evidence)]
    rejection = desk.refused(report(desk, number=17), sender=desk.others[1])
    assert (rejection.reason, rejection.detail) == (Reason.QUOTA_EXCEEDED, f"16 reports of {sender} were judged")
    desk.fire(TimerKind.TICK)
    assert len(desk.receive(report(desk, number=17), sender=desk.others[1])) == 1


def test_e4_a_report_of_the_next_height_waits_for_it() -> None:
    """[E4] Its set is not known before; one of a height above is only a hint that we are behind."""
    desk = Desk()
    early, sender = report(desk, height=2), desk.others[1]
    assert desk.receive(early, report(desk, height=3), sender=sender) == []
    assert Replay(((desk.name(sender), early),)) in start_height_2(desk)
    assert desk.receive(early, sender=sender) == [JudgeEvidence(desk.name(sender), early.evidence)]


def test_e4_evidence_alone_is_something_to_include() -> None:
    """[E4] [P1] [A3] Its block needs no transactions and no heartbeat, in making it and in accepting it."""
    desk = Desk(role=0, has_pending=True)
    assert desk.chain.submit_evidence(codec.encode(report(desk).evidence))
    effects = desk.build(desk.opening)
    (proposal,) = (message for message in broadcasts(effects) if isinstance(message, Proposal))
    assert (len(proposal.block.transactions), len(proposal.block.evidence)) == (0, 1)
    other = Desk()
    assert [type(message) for message in broadcasts(other.receive(other.signed(proposal)))] == [Prepare]


def test_e5_evidence_of_an_old_epoch_is_refused() -> None:
    """[E5] By the core before anything is checked, and by the chain that carries it."""
    desk = Desk()
    old = report(desk, epoch=1)
    rejection = desk.refused(old)
    assert (rejection.reason, rejection.detail) == (Reason.WRONG_EPOCH, "epoch 1 instead of 0")
    with pytest.raises(Rejected) as refused:
        desk.chain.submit_evidence(codec.encode(old.evidence))
    assert (refused.value.reason, refused.value.detail) == (Reason.WRONG_EPOCH, "evidence of epoch 1, this is 0")


def test_e5_who_was_caught_goes_on_voting() -> None:
    """[E5] Never an ejection: its later votes count like anybody's."""
    desk = Desk()
    liar, other = desk.others[:2]
    block = desk.block()
    lies = [desk.prepare(liar, 0, block.hash()), desk.prepare(liar, 0, b"x" * 32)]
    effects = desk.receive(desk.proposal(block), *lies, desk.prepare(other, 0, block.hash()))
    assert len(accused(effects)) == 1
    assert [type(message) for message in broadcasts(effects)] == [Prepare, Commit]


def test_an_observer_counts_only_what_is_final() -> None:
    """Without a key: no vote, no timer, no Status; Decided still commits."""
    desk = Desk(has_key=False, has_pending=True)
    assert timers(desk.opening, TimerKind.VIEW) == []
    block = desk.block()
    assert desk.receive(desk.proposal(block)) == []
    assert [e for e in desk.fire(TimerKind.TICK) if isinstance(e, SignAndBroadcast)] == []
    certificate = desk.certificate(Phase.COMMIT, 0, block.hash())
    assert desk.receive(Decided(block, certificate))[-1] == CommitBlock(block, certificate)


def test_another_epoch_is_refused() -> None:
    """Votes of an epoch that a recovery has ended are void."""
    desk = Desk()
    rejection = desk.refused(msgspec.structs.replace(desk.commit(desk.others[0], 0, b"h" * 32), epoch=1))
    assert (rejection.reason, rejection.detail) == (Reason.WRONG_EPOCH, "epoch 1 instead of 0")


def test_a_refusal_changes_nothing() -> None:
    """Every refused message leaves the state as it was."""
    desk = Desk()
    before = repr(replace(desk.state))
    desk.refused(with_signature(desk.proposal(desk.block()), UNSIGNED))
    desk.refused(with_signature(desk.prepare(desk.others[0], 0, b"h" * 32), UNSIGNED))
    desk.refused(with_signature(desk.view_change(desk.others[0], 1), UNSIGNED))
    assert repr(replace(desk.state)) == before
