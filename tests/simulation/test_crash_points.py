"""A validator loses power before and after every single durable write, and never contradicts itself."""

import pytest

from tests.simulation.plan import quiet
from tests.simulation.world import World

HEIGHTS = 3


def run(crash_at: tuple[int, int] | None) -> World:
    """Play a quiet network of four until every validator has three blocks."""
    world = World(quiet(4, seed=7), crash_at=crash_at)
    world.run()
    return world


@pytest.mark.parametrize("index", range(4))
def test_crash_at_every_durable_write(index: int) -> None:
    """Two chances a write (before and after): each once; the checkers watch across the restart."""
    chances = run(None).nodes[index].writes
    assert chances > 30
    for chance in range(1, chances + 1):
        world = run((index, chance))
        assert world.faults.counts["crash at a write"] <= 1
        assert world.nodes[index].replica.counters.signing_refused == 0
