"""Bugs that broke other systems, planted one at a time: the simulator must see each of them."""

import pytest

from tests.scenarios import conversations
from tests.simulation.plants import PLANTS, planted
from tests.simulation.run import play, play_plan


@pytest.mark.parametrize(
    "plant,seed,seen",
    [
        ("skip-prepared-certificate", 0, "evidence: validator"),
        ("vote-before-persist", 0, "evidence: validator"),
        ("quorum-2f+1", 0, "oracle: "),
    ],
)
def test_planted_bug_is_seen(plant: str, seed: int, seen: str) -> None:
    """With the bug the seed is a violation; without it the same plan is clean."""
    with planted(plant):
        violation = play(seed, plant=plant).violation
    assert violation is not None and violation.startswith(seen)
    assert play_plan(PLANTS[plant].draw(seed)).violation is None


def test_nobody_meets_when_higher_views_do_not_count() -> None:
    """[T2] The scenario of one faulty validator comes to where C waits and no timer of its runs."""
    with planted("timer-for-exactly-this-view"), pytest.raises(AssertionError, match="the timer of C does not run"):
        conversations.one_faulty_freezes_nobody()


def test_nothing_ends_when_nobody_joins() -> None:
    """[V2] Two ask for view 1, the third has no reason of its own to: without joining nothing is decided."""
    assert conversations.idle_one_is_taken_along().heights() == {"A": 0, "B": 1, "C": 1, "D": 1}
    with planted("join-nobody"):
        table = conversations.idle_one_is_taken_along()
    assert table.heights() == {"A": 0, "B": 0, "C": 0, "D": 0}
