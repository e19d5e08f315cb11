"""Play one seed and say what came of it."""

from dataclasses import dataclass

from tests.simulation.checkers import Violation
from tests.simulation.plan import Plan, draw
from tests.simulation.plants import PLANTS
from tests.simulation.world import World


@dataclass(frozen=True)
class Verdict:
    """The outcome of one seed."""

    seed: int
    violation: str | None
    trace: str
    """Hash of everything that happened; empty after a violation."""
    heights: int
    steps: int
    crashes: int


def play(seed: int, *, plant: str | None = None, forks_only: bool = False) -> Verdict:
    """Play a seed; with a plant (already applied) the plan is drawn so that the bug can show."""
    plan = draw(seed) if plant is None else PLANTS[plant].draw(seed)
    return play_plan(plan, forks_only=forks_only)


def play_plan(plan: Plan, *, forks_only: bool = False) -> Verdict:
    """Play a plan."""
    world = World(plan, forks_only=forks_only)
    violation, trace = None, ""
    try:
        trace = world.run()
    except Violation as found:
        violation = str(found)
    heights = max(world.checkers.decided, default=0)
    return Verdict(plan.seed, violation, trace, heights, world.steps, world.faults.counts["crash at a write"])
