"""The validators change while all else goes wrong: they join, leave, swap keys, lose their records and rejoin."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.simulation.churn import with_churn
from tests.simulation.labels import Watch
from tests.simulation.plan import draw, quiet
from tests.simulation.run import play_plan
from tests.simulation.world import World


@pytest.mark.parametrize("first", range(1_000, 1_040, 10))
def test_changing_validators_under_faults(first: int) -> None:
    """Every checker holds, each height judged by its own set, and hand-overs do happen."""
    plans = [with_churn(draw(seed), percent=100) for seed in range(first, first + 10)]
    verdicts = [play_plan(plan) for plan in plans if plan.churn]
    assert [verdict for verdict in verdicts if verdict.violation is not None] == []
    assert sum(verdict.faults["hand-over to another set"] for verdict in verdicts) >= len(verdicts) // 2


def test_machine_wiped_before_it_joins_listens_first() -> None:
    """A key without records in the new set signs nothing until a quorum of that set has said where it is. [M2] [M3]"""
    plan = replace(
        quiet(4, machines=5, scripted_ms=14_000),
        transaction_every_ms=200,
        standbys=1,
        churn=((5_000, "join"), (10_000, "swap")),
        validators_min=4,
    )
    world = World(plan)
    joiner = world.nodes[4]
    world.schedule(500, None, world.faults.lose_records, joiner)
    watch = Watch()
    with watch.on():
        world.run()
    assert world.churn.tally() == Counter(
        {
            "validator joined": 1,
            "consensus key swapped": 1,
            "hand-over to another set": 2,
            "run with changing validators": 1,
        }
    )
    assert joiner.is_member
    assert joiner.replica.view().may_sign
    assert {"M1", "M2", "M3"} <= {site.label for site in watch.passed}
