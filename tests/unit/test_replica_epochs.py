"""A replica across a recovery: it wipes its promises before its first word, and remembers who is elsewhere."""

import msgspec
import pytest

from node.chain.certificate import Phase
from node.consensus.messages import UNSIGNED, SignsFrom, Status, Step
from node.errors import Reason
from node.limits import PEERS_MAX
from node.replica import Member, Replica
from node.wire import encode_message
from tests.simulation.twin_chain import TwinChain
from tests.unit.consensus.desk import Desk
from tests.unit.test_replica import Diary


def recover(monkeypatch: pytest.MonkeyPatch, desk: Desk, epoch: int = 1) -> None:
    """Let the ledger say that the next height begins an epoch."""
    monkeypatch.setattr(TwinChain, "epoch", property(lambda chain: epoch if chain is desk.chain else 0))


def status(desk: Desk, index: int, epoch: int, height: int = 1) -> Status:
    """Return a signed Status."""
    return desk.signed(Status(epoch, height, 0, Step.WAITING, False, b"", b"", b"", b"", None, index, UNSIGNED))


def test_old_promises_are_wiped_before_the_first_word_of_the_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped node's journal holds a vote at the very height that begins the epoch: nobody says it again."""
    desk = Desk()
    diary = Diary(desk)
    diary.receive(desk.proposal(desk.block()))
    assert diary.replica.view().step is Step.PREPARING
    recover(monkeypatch, desk)
    member = diary.replica._member
    assert member is not None
    diary.sent.clear()
    started = Replica(
        institution=desk.name(desk.me),
        chain=desk.chain,
        environment=diary,
        member=member,
        verify_digest=desk.ring.verify,
    )
    started.start()
    assert (diary.journal.epoch, diary.journal.records(1, 1)) == (1, ())
    assert (started.view().step, started.view().may_sign, diary.sent) == (Step.WAITING, True, [])


def test_epoch_that_begins_while_the_node_runs_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sync reaches the last block that a document keeps: the next height is of the next epoch."""
    desk = Desk()
    diary = Diary(desk)
    diary.receive(status(desk, desk.others[0], 1))
    assert diary.replica.other_epochs == {desk.name(desk.others[0]): 1}
    block = desk.block()
    desk.chain.commit_block(block, desk.certificate(Phase.COMMIT, 0, block.hash()))
    recover(monkeypatch, desk)
    diary.replica.on_committed_by_sync()
    view = diary.replica.view()
    assert (view.height, view.may_sign, diary.journal.epoch) == (2, True, 1)
    assert diary.replica.other_epochs == {}


def test_key_that_once_lost_its_journal_listens_in_the_new_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it had been through with listening in the old one."""
    desk = Desk()
    diary = Diary(desk)
    diary.journal.append(1, (SignsFrom(1),))
    block = desk.block()
    desk.chain.commit_block(block, desk.certificate(Phase.COMMIT, 0, block.hash()))
    recover(monkeypatch, desk)
    diary.replica.on_committed_by_sync()
    assert not diary.replica.view().may_sign
    assert isinstance(diary.replica._member, Member)
    assert diary.replica._member.listens


def test_old_epoch_votes_refused_and_their_senders_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advisory class “evidence with unbound context”: who comes back from the old epoch counts for nothing."""
    desk = Desk()
    recover(monkeypatch, desk)
    diary = Diary(desk)
    sender = desk.name(desk.others[0])
    old = desk.block().hash()
    diary.receive(
        desk.proposal(desk.block()),
        desk.prepare(desk.others[0], 0, old),
        desk.commit(desk.others[0], 0, old),
        desk.view_change(desk.others[0], 1),
        status(desk, desk.others[0], 0),
    )
    assert diary.rejected_messages == [(sender, Reason.WRONG_EPOCH)] * 5
    view = diary.replica.view()
    assert (view.prepares, view.commits, view.view_changes, view.view) == ((), (), (), 0)
    assert diary.replica.other_epochs == {sender: 0}
    diary.receive(status(desk, desk.others[0], 1))
    assert diary.replica.other_epochs == {}


def test_not_more_strangers_are_remembered_than_there_are_peers() -> None:
    """What can grow has a bound."""
    desk = Desk()
    diary = Diary(desk)
    parcel = encode_message(msgspec.structs.replace(status(desk, desk.others[0], 7)))
    for number in range(PEERS_MAX + 5):
        diary.replica.receive(f"peer{number}.example", parcel)
    assert len(diary.replica.other_epochs) == PEERS_MAX
