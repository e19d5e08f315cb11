"""Bugs planted on purpose, in tests only, to show that the simulator would see them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from unittest import mock

from node.chain import validator_set
from node.consensus import view_change
from node.consensus.effects import Effect, Persist
from node.consensus.height import HeightState
from node.consensus.votes import ViewChangeBook
from node.primitives import View
from node.replica import Replica
from node.state.kv import WriteBatch
from tests.simulation.disk import SimulatedDisk
from tests.simulation.plan import Plan, draw


@dataclass(frozen=True)
class Plant:
    """A bug, and the plans in which it can show itself."""

    draw: Callable[[int], Plan]
    apply: Callable[[], AbstractContextManager[object]]


def _skip_prepared_certificate() -> AbstractContextManager[object]:
    """A ViewChange that forgets what its signer has prepared (as sawtooth-pbft did)."""
    real = view_change.start

    def forgetful(state: HeightState, view: View) -> Iterator[Effect]:
        state.prepared = None
        yield from real(state, view)

    return mock.patch.object(view_change, "start", forgetful)


def _vote_before_persist() -> AbstractContextManager[object]:
    """Send first, write later and without sync, in the replica and in the signer's record."""

    def send_first(self: Replica, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, Persist):
                self._perform_one(effect)
        self._persist([effect.record for effect in effects if isinstance(effect, Persist)])

    real = SimulatedDisk.write

    def unsynced(self: SimulatedDisk, batch: WriteBatch, *, sync: bool) -> None:
        real(self, batch, sync=False)

    @contextmanager
    def both() -> Iterator[None]:
        with mock.patch.object(Replica, "_perform", send_first), mock.patch.object(SimulatedDisk, "write", unsynced):
            yield

    return both()


def _quorum_2f_plus_1() -> AbstractContextManager[object]:
    """The quorum that is right only when n = 3f + 1: with six validators two quorums need not meet."""
    return mock.patch.object(validator_set, "quorum", lambda n: 2 * validator_set.max_faulty(n) + 1)


def _timer_for_exactly_this_view() -> AbstractContextManager[object]:
    """[T2] without "or any higher view": one liar leads one honest validator away, and the others wait for ever."""

    def exactly(self: ViewChangeBook, view: View) -> int:
        return len(self.at(view))

    return mock.patch.object(ViewChangeBook, "members_at_least", exactly)


def _join_nobody() -> AbstractContextManager[object]:
    """No [V2]: who has nothing to include never leaves view 0, and those who have are no quorum."""

    def never(self: ViewChangeBook, current: View) -> None:
        return None

    return mock.patch.object(ViewChangeBook, "view_to_join", never)


def _of_six(seed: int) -> Plan:
    return draw(seed, sizes=(6,))


def _crashing(seed: int) -> Plan:
    return replace(draw(seed), crash_per_mille=40)


PLANTS = {
    "skip-prepared-certificate": Plant(draw, _skip_prepared_certificate),
    "vote-before-persist": Plant(_crashing, _vote_before_persist),
    "quorum-2f+1": Plant(_of_six, _quorum_2f_plus_1),
}


SCENARIO_PLANTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "timer-for-exactly-this-view": _timer_for_exactly_this_view,
    "join-nobody": _join_nobody,
}
"""Bugs for which a named scenario is the witness: random seeds rarely bring about what they need."""


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Break one rule for a while; None breaks nothing."""
    if name is None:
        yield
        return
    with PLANTS[name].apply() if name in PLANTS else SCENARIO_PLANTS[name]():
        yield
