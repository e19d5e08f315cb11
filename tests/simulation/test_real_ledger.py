"""The same runs over node.chain.ledger: real transactions, executed state, a store that can lose its tail."""

from dataclasses import replace

import pytest

from tests.simulation.plan import draw, quiet
from tests.simulation.world import World


@pytest.mark.parametrize("seed", range(12))
def test_real_ledger_under_faults(seed: int) -> None:
    """Equal roots, nothing acknowledged is lost, progress once healed; definitions really get published."""
    plan = replace(draw(seed, sizes=(4,)), real_ledger=True, real_signatures=True)
    world = World(plan)
    world.run()
    assert world.checkers.acknowledged


@pytest.mark.parametrize("index", range(4))
def test_real_ledger_survives_a_crash_at_every_durable_write(index: int) -> None:
    """Block, state, head and index are one batch: before it or after it, never between."""
    plan = replace(quiet(4, seed=7), real_ledger=True, real_signatures=True)
    calm = World(plan)
    calm.run()
    for chance in range(1, calm.nodes[index].writes + 1, 3):
        World(plan, crash_at=(index, chance)).run()
