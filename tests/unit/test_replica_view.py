"""What others see of a replica: whom it waits for in each step."""

from node.consensus.inputs import TimerKind
from node.consensus.messages import Step
from tests.unit.consensus.desk import Desk
from tests.unit.test_replica import Diary


def test_view_says_whom_the_replica_waits_for() -> None:
    """The proposer first; then those whose vote is missing."""
    desk = Desk()
    diary = Diary(desk)
    proposer = desk.name(desk.rotation.proposer(0))
    view = diary.replica.view()
    assert (view.step, view.missing, view.quorum, view.may_sign) == (Step.WAITING, (proposer,), 3, True)
    diary.receive(desk.proposal(desk.block()))
    view = diary.replica.view()
    assert (view.step, view.prepares) == (Step.PREPARING, (desk.name(desk.me),))
    assert view.missing == tuple(desk.name(i) for i in desk.others)
    timer, _ = diary.timers[TimerKind.VIEW]
    diary.replica.on_timer(timer)
    view = diary.replica.view()
    assert (view.view, view.step, view.view_changes) == (1, Step.VIEW_CHANGING, (desk.name(desk.me),))
    assert diary.replica.counters.missed_proposals == {proposer: 1}
