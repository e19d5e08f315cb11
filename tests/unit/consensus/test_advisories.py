"""What other BFT ledgers had to publish advisories about, each as a test named after its lesson.

The list with sources stands in docs/reliability.md; lessons about sync, evidence, governance and quorums have their
tests beside what they are about.
"""

import tracemalloc

import msgspec
import pytest

from node.chain.certificate import Certificate, Network, Phase
from node.chain.statements import Commit, Prepare, ProposalHead, ViewChangeHead
from node.consensus.effects import Effect, Persist, SetTimer, SignAndBroadcast, ValidateBlock
from node.consensus.inputs import MessageReceived, TimerKind
from node.consensus.messages import (
    UNSIGNED,
    NewView,
    PromisedProposal,
    Proposal,
    Signed,
    Status,
    Step,
    ViewChange,
    header_of,
)
from node.consensus.verification import Verifier
from node.errors import Reason, Rejected
from node.wire import decode_message, encode_message
from tests.unit.consensus.desk import NOW_MS, Desk, broadcasts, timers

VIEW_MAX = 2**32 - 1
NETWORK = set(Network.__struct_fields__)
FIELDS = set(Prepare.__struct_fields__)


def promises(effects: list[Effect]) -> list[tuple[int, Signed]]:
    """Everything that binds us, with its place among the effects."""
    found = [(place, effect.message) for place, effect in enumerate(effects) if isinstance(effect, SignAndBroadcast)]
    return [(place, message) for place, message in found if not isinstance(message, Status)]


# --- view numbers (FISCO-BCOS #2211 / CVE-2022-26534, #2312 / CVE-2022-28937, #2448) ---


@pytest.mark.parametrize("view", [2, 1_000, VIEW_MAX])
def test_view_number_as_attacker_input_moves_nobody(view: int) -> None:
    """One validator's huge view: no view change, no timer, no proposer of its choice."""
    desk = Desk()
    effects = desk.receive(desk.view_change(desk.others[0], view), desk.prepare(desk.others[0], view, b"h" * 32))
    assert broadcasts(effects) == []
    assert timers(effects, TimerKind.VIEW) == []
    assert desk.state.view == 0


def test_view_number_as_attacker_input_is_not_the_one_that_is_joined() -> None:
    """f+1 = 2 ask, one of them a liar for the last view there is: the smaller is entered, an honest one's."""
    desk = Desk()
    desk.receive(desk.view_change(desk.others[0], VIEW_MAX), desk.view_change(desk.others[1], 1))
    assert desk.state.view == 1


def test_view_number_as_attacker_input_does_not_overflow() -> None:
    """A number beyond 32 bits is no message; the last one that fits proves nothing without its justification."""
    desk = Desk()
    message = msgspec.structs.replace(desk.prepare(desk.others[0], 0, b"h" * 32), view=VIEW_MAX + 1)
    with pytest.raises(Rejected) as refusal:
        decode_message(encode_message(message))
    assert refusal.value.reason is Reason.MALFORMED
    block = desk.block()
    proposer = desk.rotation.proposer(VIEW_MAX)
    head = ProposalHead(0, 1, VIEW_MAX, block.hash(), proposer, UNSIGNED)
    rejection = desk.refused(desk.signed(NewView(head, (), None, block)), sender=proposer)
    assert (rejection.reason, rejection.detail) == (Reason.BAD_JUSTIFICATION, "0 view changes, 3 needed")
    assert desk.state.view == 0


@pytest.mark.parametrize("change", [{"view": 2}, {"prepared_view": 0, "prepared_hash": b"h" * 32}])
def test_signature_covers_every_field_that_is_used(change: dict[str, object]) -> None:
    """A ViewChange with another view or claim than was signed is forged, also with a good certificate beside it."""
    desk = Desk()
    changed = msgspec.structs.replace(desk.view_change(desk.others[0], 1).head, **change)
    certificate = None if changed.prepared_view is None else desk.certificate(Phase.PREPARE, 0, b"h" * 32)
    assert desk.refused(ViewChange(changed, certificate)).reason is Reason.BAD_SIGNATURE


# --- votes and the disk (Besu, indy-plenum, asonnino/hotstuff #15, bsc #2598, CometBFT PR 5668) ---


def test_votes_not_persisted_are_never_sent() -> None:
    """Proposal, Prepare, Commit and ViewChange: each has its record among the effects before it."""
    desk = Desk(role=0, has_pending=True)
    effects = [*desk.opening, *desk.build(desk.opening, b"t")]
    (proposal,) = (message for _, message in promises(effects) if isinstance(message, Proposal))
    for other in desk.others[:2]:
        effects += desk.receive(desk.prepare(other, 0, proposal.head.block_hash))
    effects += desk.fire(TimerKind.VIEW)
    sent = promises(effects)
    assert [type(message) for _, message in sent] == [Proposal, Prepare, Commit, ViewChange]
    for place, message in sent:
        head = header_of(message)
        durable = [effect.record for effect in effects[:place] if isinstance(effect, Persist)]
        expected = PromisedProposal(head, (), None) if isinstance(message, Proposal) else message
        assert expected in durable


# --- re-proposals (Besu #3785, PR 2141, PR 7875; indy-plenum #1488) ---


def test_re_proposal_not_byte_identical_is_refused() -> None:
    """What Q prepared comes back as it was: the same transactions under another time are another block."""
    desk = Desk()
    prepared = desk.block()
    claim = desk.certificate(Phase.PREPARE, 0, prepared.hash())
    changes = [desk.view_change(other, 1, claim) for other in desk.others]
    again = desk.block(0, timestamp_ms=NOW_MS + 1)
    rejection = desk.refused(desk.new_view(1, again, changes, claim))
    assert rejection.reason is Reason.BAD_JUSTIFICATION
    assert rejection.detail == f"block {again.hash().hex()} instead of the prepared {prepared.hash().hex()}"


def test_re_proposal_is_exempt_from_the_clock_and_carries_no_view() -> None:
    """An hour later the prepared block is as good as it was, byte for byte, in whatever view."""
    desk = Desk()
    prepared = desk.block()
    claim = desk.certificate(Phase.PREPARE, 0, prepared.hash())
    changes = [desk.view_change(other, 1, claim) for other in desk.others]
    desk.now_ms += 3_600_000
    effects = desk.receive(desk.new_view(1, prepared, changes, claim))
    assert any(isinstance(message, Prepare) and message.view == 1 for message in broadcasts(effects))
    assert desk.state.blocks[prepared.hash()] == prepared
    assert "view" not in type(prepared.header).__struct_fields__


def test_differing_prepared_claims_do_not_stop_a_view_change() -> None:
    """Q members need not agree on what was prepared (sigp/anchor #600): the highest claim counts."""
    desk = Desk()
    low, high = desk.block(0, b"low"), desk.block(1, b"high")
    claims = [desk.certificate(Phase.PREPARE, view, block.hash()) for view, block in enumerate((low, high))]
    changes = [
        desk.view_change(desk.others[0], 2, claims[0]),
        desk.view_change(desk.others[1], 2, claims[1]),
        desk.view_change(desk.others[2], 2),
    ]
    desk.receive(desk.new_view(2, high, changes, claims[1]))
    assert (desk.state.view, desk.state.accepted_hash) == (2, high.hash())


# --- time (CometBFT GHSA-c32p-wcqj-j677) ---


def test_time_derived_from_votes_does_not_exist() -> None:
    """No vote carries a time; whoever decides, and by whichever votes, the block has its proposer's."""
    for shape in (Prepare, Commit, ViewChangeHead, Certificate):
        assert not [name for name in shape.__struct_fields__ if "time" in name]
    times = set()
    for voters in ([0, 1, 2], [1, 2, 3]):
        desk = Desk(me=0, role=None)
        block = desk.block()
        desk.receive(desk.proposal(block))
        for voter in voters:
            if voter != desk.me:
                desk.receive(desk.prepare(voter, 0, block.hash()), desk.commit(voter, 0, block.hash()))
        desk.now_ms += 77
        assert desk.state.decision is not None
        times.add(desk.state.blocks[desk.state.decision.block_hash].header.timestamp_ms)
    assert times == {NOW_MS}


# --- lengths and shapes (CometBFT ASA-2024-011, ASA-2025-003, #5324; Fabric CVE-2022-31121, CVE-2021-43669) ---


@pytest.mark.parametrize(
    "payload",
    [
        b"\x91\xdd\xff\xff\xff\xff",  # an array of 4 Gi elements
        b"\x91\x93\x01\xc6\xff\xff\xff\xff",  # a byte string of 4 GiB where a head should be
        b"\x91\x92\x07\x94\xdd\xff\xff\xff\xff",  # a block with 4 Gi fields
        b"\x91\xdf\xff\xff\xff\xff",  # a map of 4 Gi pairs
        b"\x91" * 100_000,  # as deep as it is long
    ],
)
def test_unbounded_lengths_before_allocation(payload: bytes) -> None:
    """A length that is announced and not sent costs nothing: refused, and little memory was asked for."""
    tracemalloc.start()
    try:
        with pytest.raises(Rejected) as refusal:
            decode_message(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refusal.value.reason is Reason.MALFORMED
    assert peak < 8 * len(payload) + 100_000


def test_a_validator_index_that_is_none_is_refused() -> None:
    """Votes, Status and certificates of validator 255 of four: a refusal, nothing else."""
    desk = Desk()
    block_hash = desk.block().hash()
    vote = msgspec.structs.replace(desk.prepare(desk.others[0], 0, block_hash), validator=255)
    assert desk.refused(vote, sender=desk.others[0]).detail == "signer 255 of 4 validators"
    good = desk.certificate(Phase.PREPARE, 0, block_hash)
    signatures = (*good.signatures[:2], msgspec.structs.replace(good.signatures[2], validator=255))
    claim = msgspec.structs.replace(good, signatures=signatures)
    assert desk.refused(desk.view_change(desk.others[0], 1, claim)).detail == "signer 255 of 4 validators"


@pytest.mark.parametrize("bitmap", [b"", b"\xff" * 13])
def test_a_bitmap_of_another_length_is_read_as_far_as_it_goes(bitmap: bytes) -> None:
    """Four validators need one byte: none, or thirteen full ones, only say which of our votes are lacking."""
    desk = Desk()
    block = desk.block()
    desk.receive(desk.proposal(block))
    other = desk.others[0]
    message = desk.signed(Status(0, 1, 0, Step.PREPARING, True, bitmap, bitmap, b"", b"", None, other, UNSIGNED))
    desk.now_ms += 2_000
    effects = desk.receive(message)
    assert bool(effects) == (bitmap == b"")


# --- replay (signing bytes that do not bind their place) ---


@pytest.mark.parametrize(
    "place",
    [
        {"chain_id": "another.chain"},
        {"genesis_hash": b"g" * 32},
        {"epoch": 1},
        {"height": 2},
        {"view": 1},
        {"phase": Phase.COMMIT},
    ],
)
def test_a_vote_counts_nowhere_but_at_its_place(place: dict[str, object]) -> None:
    """The same bytes under another chain, genesis, epoch, height, view or type are signed by nobody."""
    desk = Desk()
    vote = desk.prepare(desk.others[0], 0, b"h" * 32)
    network = msgspec.structs.replace(desk.network, **{key: place[key] for key in NETWORK & set(place)})
    moved = msgspec.structs.replace(vote, **{key: place[key] for key in FIELDS & set(place)})
    elsewhere = Commit(*msgspec.structs.astuple(moved)) if "phase" in place else moved
    verifier = Verifier(network, desk.ring.verify)
    Verifier(desk.network, desk.ring.verify).check_signature(desk.validators, vote)
    with pytest.raises(Rejected) as refusal:
        verifier.check_signature(desk.validators, elsewhere)
    assert refusal.value.reason is Reason.BAD_SIGNATURE


# --- punishment (autonity #1082) ---


def test_punishment_cannot_halt_the_chain() -> None:
    """Whoever signed two things still counts: its later votes help to decide, and nothing asks to disconnect it."""
    desk = Desk()
    liar, block = desk.others[0], desk.block()
    desk.receive(desk.prepare(liar, 0, b"x" * 32), desk.prepare(liar, 0, b"y" * 32))
    desk.receive(desk.proposal(block), *(desk.prepare(other, 0, block.hash()) for other in desk.others[1:]))
    effects = desk.receive(desk.commit(liar, 0, block.hash()), desk.commit(desk.others[1], 0, block.hash()))
    assert desk.state.is_decided
    kinds = {type(effect).__name__ for effect in effects}
    assert kinds <= {"CommitBlock", "SetTimer", "SignAndBroadcast", "Persist", "ReportEquivocation"}


def test_a_block_is_executed_before_anybody_prepares_it() -> None:
    """A block is not what its header says until it was executed (FISCO-BCOS #2307): no Prepare leaves before."""
    desk = Desk()
    block = desk.block()
    event = desk.proposal(block)
    effects = desk.core.step(MessageReceived(NOW_MS, desk.name(desk.rotation.proposer(0)), event))
    assert [type(effect) for effect in effects if not isinstance(effect, SetTimer)] == [ValidateBlock]
