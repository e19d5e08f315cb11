"""What a recovery means for consensus: one test for each label [X…] of node/consensus/README.md."""

from dataclasses import replace

import msgspec
import pytest

from node.chain.certificate import Certificate, Phase, VoteSignature, vote_digest
from node.consensus.effects import BuildBlock, Effect, Persist, SignAndBroadcast, SignAndSend
from node.consensus.inputs import BlockBuilt, HeightStarted, TimerKind
from node.consensus.messages import (
    UNSIGNED,
    BlockRequest,
    Decided,
    Message,
    NewView,
    SignsFrom,
    Status,
    Step,
    ViewChange,
    signed_part,
)
from node.errors import Reason
from node.primitives import UINT_MAX
from tests.unit.consensus.desk import NOW_MS, Desk, broadcasts


def enter_epoch(desk: Desk, *, listen_nonce: bytes | None = None, **changes: object) -> list[Effect]:
    """Let the ledger find a recovery document for block 1: height 2 begins epoch 1."""
    block = desk.block()
    certificate = desk.certificate(Phase.COMMIT, 0, block.hash())
    desk.chain.commit_block(block, certificate)
    started = HeightStarted(
        desk.now_ms,
        block.header,
        certificate,
        1,
        desk.validators,
        has_pending=False,
        enters_epoch=True,
        listen_nonce=listen_nonce,
    )
    return desk.run(replace(started, **changes))  # type: ignore[arg-type]  # fields by name


def of_epoch(desk: Desk, message: Message, epoch: int, height: int = 2) -> Message:
    """Return a message moved to an epoch and height, truly signed again."""
    part = signed_part(message)  # type: ignore[arg-type]  # signed ones only
    moved = msgspec.structs.replace(part, epoch=epoch, height=height)
    if isinstance(message, Status) or part is message:
        return desk.signed(moved)  # type: ignore[type-var]  # as it was
    return desk.signed(msgspec.structs.replace(message, head=moved))  # type: ignore[type-var]  # as it was


def said_by_others(desk: Desk, epoch: int) -> list[Message]:
    """Return one genuine message of each kind for height 2 of an epoch."""
    block = desk.block()
    changes = [of_epoch(desk, desk.view_change(index, 1), epoch) for index in desk.others]
    heads = tuple(change.head for change in changes if isinstance(change, ViewChange))
    new_view = of_epoch(desk, desk.new_view(1, block, []), epoch)
    assert isinstance(new_view, NewView)
    return [
        of_epoch(desk, desk.proposal(block), epoch),
        of_epoch(desk, desk.prepare(desk.others[0], 0, block.hash()), epoch),
        of_epoch(desk, desk.commit(desk.others[0], 0, block.hash()), epoch),
        changes[0],
        msgspec.structs.replace(new_view, view_changes=heads),
        Decided(block, msgspec.structs.replace(desk.certificate(Phase.COMMIT, 0, block.hash()), epoch=epoch, height=2)),
        BlockRequest(epoch, 2, block.hash()),
        status(desk, desk.others[0], epoch=epoch),
    ]


def status(desk: Desk, index: int, *, epoch: int = 1, height: int = 2, **changes: object) -> Status:
    """Return a signed Status."""
    plain = Status(epoch, height, 0, Step.WAITING, False, b"", b"", b"", b"", None, index, UNSIGNED)
    return desk.signed(msgspec.structs.replace(plain, **changes))


@pytest.mark.parametrize("epoch", [0, 2])
def test_x1_evidence_and_votes_with_an_unbound_context_are_refused(epoch: int) -> None:
    """[X1] Advisory class “context not bound”: whatever old or later epochs have signed counts for nothing here."""
    desk = Desk()
    enter_epoch(desk)
    for message in said_by_others(desk, epoch):
        rejection = desk.refused(message, sender=desk.others[0])
        assert (rejection.reason, rejection.detail) == (Reason.WRONG_EPOCH, f"epoch {epoch} instead of 1")
    assert desk.state.votes.seen(Phase.COMMIT, 0) == desk.state.votes.seen(Phase.PREPARE, 0)
    assert desk.state.view == 0


def test_x1_signature_of_the_old_epoch_is_bad_under_the_new_epochs_name() -> None:
    """[X1] Relabelled, an old vote is no vote: the epoch is inside what is signed."""
    desk = Desk()
    enter_epoch(desk)
    old = of_epoch(desk, desk.commit(desk.others[0], 0, b"h" * 32), 0)
    rejection = desk.refused(msgspec.structs.replace(old, epoch=1))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_SIGNATURE,
        f"signature of {desk.name(desk.others[0])} on Commit is bad",
    )


def test_x1_old_heads_inside_a_new_view_are_refused() -> None:
    """[X1] A quorum's ViewChanges of epoch 0 justify nothing in epoch 1."""
    desk = Desk(role=2)
    enter_epoch(desk)
    view = next(v for v in range(1, 4) if desk.state.context.rotation.proposer(v) != desk.me)
    proposer = desk.state.context.rotation.proposer(view)
    heads = []
    for index in range(4):
        change = of_epoch(desk, desk.view_change(index, view), 0)
        assert isinstance(change, ViewChange)
        heads.append(change.head)
    new_view = desk.new_view(view, desk.block(), [])
    head = msgspec.structs.replace(new_view.head, epoch=1, height=2, validator=proposer)
    message = desk.signed(msgspec.structs.replace(new_view, head=head, view_changes=tuple(heads)))
    rejection = desk.refused(message)
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_JUSTIFICATION,
        f"view change for (epoch, height, view) (0, 2, {view}) instead of (1, 2, {view})",
    )


def test_x2_first_block_of_an_epoch_is_proposed_at_once() -> None:
    """[X2] There is the document to include; the block is not empty though it has no transactions."""
    desk = Desk(role=1)  # the same validator proposes height 2 in view 0
    effects = enter_epoch(desk, has_pending=True)
    assert desk.state.proposer == desk.me
    (request,) = [effect for effect in effects if isinstance(effect, BuildBlock)]
    block = desk.chain.block_of((), proposer=desk.name(desk.me), timestamp_ms=request.timestamp_ms)
    block = msgspec.structs.replace(block, evidence=(b"document",))
    said = broadcasts(desk.run(BlockBuilt(NOW_MS, block)))
    assert [type(message).__name__ for message in said][:1] == ["Proposal"]


def test_x3_answer_at_the_first_height_shows_no_certificate() -> None:
    """[X3] The head's certificate is the old epoch's, by other validators."""
    desk = Desk()
    enter_epoch(desk)
    effects = desk.receive(status(desk, desk.others[0], probe=b"nonce"))
    (answer,) = [effect.message for effect in effects if isinstance(effect, SignAndSend)]
    assert isinstance(answer, Status)
    assert (answer.epoch, answer.height, answer.head_certificate) == (1, 2, None)


def test_x3_listener_takes_the_kept_block_for_proven() -> None:
    """[X3] At the first height of the epoch; above it a certificate is needed again."""
    desk = Desk()
    enter_epoch(desk, listen_nonce=b"again")
    rejection = desk.refused(status(desk, desk.others[0], height=9, answer=b"again"))
    assert (rejection.reason, rejection.detail) == (Reason.BAD_CERTIFICATE, "no certificate for head 8")
    desk.receive(*(status(desk, index, answer=b"again") for index in desk.others))
    assert desk.core.signs_from == 1 + 3


def test_x3_head_of_the_old_epoch_proves_nothing_to_a_listener() -> None:
    """[X3] A certificate that names another epoch than the Status around it."""
    desk = Desk()
    enter_epoch(desk, listen_nonce=b"again")
    old: Certificate = desk.certificate(Phase.COMMIT, 0, b"h" * 32, height=4)
    rejection = desk.refused(status(desk, desk.others[0], height=5, answer=b"again", head_certificate=old))
    assert (rejection.reason, rejection.detail) == (
        Reason.BAD_CERTIFICATE,
        "(phase, epoch, height) is (<Phase.COMMIT: 2>, 0, 4) instead of (2, 1, 4)",
    )
    digest = vote_digest(desk.network, Phase.COMMIT, 1, 4, 0, b"h" * 32)
    votes = tuple(VoteSignature(i, desk.ring.signers[i].sign(digest)) for i in range(3))
    good = Certificate(1, Phase.COMMIT, 1, 4, 0, b"h" * 32, votes)
    desk.receive(status(desk, desk.others[0], height=5, answer=b"again", head_certificate=good))


def test_x4_new_epoch_ends_an_old_distance_and_begins_a_new_one() -> None:
    """[X4] A journal that said “not yet” spoke of its own epoch; one that does not cover the new epoch listens."""
    for listen_nonce, may_sign in ((None, True), (b"again", False)):
        desk = Desk(records=(SignsFrom(UINT_MAX),))
        assert not desk.state.may_sign
        enter_epoch(desk, listen_nonce=listen_nonce)
        assert desk.state.may_sign is may_sign
        (said,) = [e.message for e in desk.fire(TimerKind.TICK) if isinstance(e, SignAndBroadcast)]
        assert isinstance(said, Status)
        assert said.probe == (listen_nonce or b"")


def test_x4_records_of_the_epoch_are_taken_up_as_ever() -> None:
    """[X4] What was promised in the new epoch is said again after a restart, under its name."""
    desk = Desk()
    vote = of_epoch(desk, desk.prepare(desk.me, 0, b"h" * 32), 1)
    effects = enter_epoch(desk, records=(vote,))
    assert broadcasts(effects) == [vote]
    assert [effect for effect in effects if isinstance(effect, Persist)] == []
