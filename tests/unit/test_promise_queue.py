"""A replica whose signer is away for a while: nothing is lost, nothing later goes before what waits."""

import dataclasses

from node.chain.statements import Prepare
from node.consensus.inputs import TimerKind
from node.consensus.messages import Promise, Status, ViewChange
from node.signer.contract import SignerUnreachable
from node.signer.local import LocalSigner
from tests.unit.consensus.desk import Desk
from tests.unit.test_replica import Diary


class AwaySigner:
    """A signer's process that can be away; it keeps its record like any other."""

    def __init__(self, signer: LocalSigner) -> None:
        self._signer = signer
        self.is_away = False
        self.public_keys = signer.public_keys
        self.choose = signer.choose

    def sign(self, message: Promise) -> bytes:
        if self.is_away:
            raise SignerUnreachable("nobody is there")
        return self._signer.sign(message)

    def sign_status(self, message: Status) -> bytes:
        if self.is_away:
            raise SignerUnreachable("nobody is there")
        return self._signer.sign_status(message)


def away(diary: Diary) -> AwaySigner:
    """Put a signer that can be away in the place of a diary's."""
    member, promises = diary.replica._member, diary.replica._promises
    assert member is not None
    assert promises is not None
    made = AwaySigner(member.signer)
    diary.replica._member = dataclasses.replace(member, signer=made)
    promises._signer = made
    return made


def test_promise_that_cannot_be_signed_now_is_signed_when_the_signer_is_back() -> None:
    """The vote is in the journal; nothing is sent; at the next tick it leaves as it would have, before the Status."""
    desk = Desk()
    diary = Diary(desk)
    signer = away(diary)
    signer.is_away = True
    tick, _ = diary.timers[TimerKind.TICK]
    diary.receive(desk.proposal(desk.block()))
    diary.replica.on_timer(tick)
    assert diary.lines == ["journal 2 synced"]
    assert diary.replica.view().signer_problem == "nobody is there"
    assert diary.replica.view().prepares == ()  # a vote that nobody signed counts for nothing, not even here
    signer.is_away = False
    tick, _ = diary.timers[TimerKind.TICK]
    diary.replica.on_timer(tick)
    assert diary.lines == ["journal 2 synced", "signer 1 synced", "broadcast Prepare", "broadcast Status"]
    assert diary.replica.view().signer_problem is None
    assert diary.replica.view().prepares == (desk.name(desk.me),)


def test_nothing_later_is_signed_before_what_waits() -> None:
    """Prepare, then ViewChanges of three views: back, the Prepare and the latest ViewChange leave, in this order."""
    desk = Desk()
    diary = Diary(desk)
    signer = away(diary)
    signer.is_away = True
    diary.receive(desk.proposal(desk.block()))
    for _ in range(3):
        timer, _ = diary.timers[TimerKind.VIEW]
        diary.replica.on_timer(timer)
        diary.receive(*(desk.view_change(i, diary.replica.view().view) for i in desk.others))
    assert [line for line in diary.lines if not line.startswith("journal")] == []
    signer.is_away = False
    tick, _ = diary.timers[TimerKind.TICK]
    diary.replica.on_timer(tick)
    spoken = [message for message in diary.sent if isinstance(message, Prepare | ViewChange)]
    assert [type(message) for message in spoken[:2]] == [Prepare, ViewChange]
    assert isinstance(spoken[1], ViewChange)
    assert spoken[1].head.view == diary.replica.view().view


def test_what_a_decision_has_overtaken_is_not_signed_any_more() -> None:
    """The height is decided by others while the signer is away; back, it is asked for nothing of that height."""
    desk = Desk()
    diary = Diary(desk)
    signer = away(diary)
    signer.is_away = True
    block = desk.block()
    diary.receive(desk.proposal(block))
    diary.receive(*(desk.commit(i, 0, block.hash()) for i in desk.others))
    assert diary.replica.view().height == 2
    signer.is_away = False
    diary.lines.clear()
    tick, _ = diary.timers[TimerKind.TICK]
    diary.replica.on_timer(tick)
    assert [line for line in diary.lines if "signer" in line or "Prepare" in line] == []
