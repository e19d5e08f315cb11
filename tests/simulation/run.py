"""Play one seed and say what came of it."""

import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.checkers import Violation
from tests.simulation.churn import with_churn
from tests.simulation.labels import Site, Watch
from tests.simulation.plan import Plan, draw
from tests.simulation.plants import plants
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
    """Inputs of cores."""
    faults: Counter[str] = field(default_factory=Counter)
    """What went wrong how often, by kind."""
    refusals: Counter[str] = field(default_factory=Counter)
    """What replicas refused, by reason."""
    views: tuple[int, int] = (0, 0)
    """Views to resume after the faults; the highest view of a later height."""
    passed: frozenset[Site] = frozenset()
    """Labelled lines, where they were watched."""


def play(seed: int, *, plant: str | None = None, forks_only: bool = False, watch: bool = False) -> Verdict:
    """Play a seed; with a plant (already applied) the plan is drawn so that the bug can show."""
    plan = with_churn(draw(seed)) if plant is None else plants()[plant].draw(seed)
    if not watch:
        return play_plan(plan, forks_only=forks_only)
    watching = Watch()
    with watching.on():
        verdict = play_plan(plan, forks_only=forks_only)
    return Verdict(**{**vars(verdict), "passed": frozenset(watching.passed)})


def play_plan(plan: Plan, *, forks_only: bool = False) -> Verdict:
    """Play a plan."""
    return play_world(World(plan, forks_only=forks_only))


def play_world(world: World) -> Verdict:
    """Play a world to its end."""
    violation, trace = None, ""
    try:
        trace = world.run()
    except Violation as found:
        violation = str(found)
    except Exception as error:  # noqa: BLE001 – whatever stops a replica is a finding, and its seed must be known
        place = traceback.extract_tb(error.__traceback__)[-1]
        violation = f"error: {type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    return Verdict(
        seed=world.plan.seed,
        violation=violation,
        trace=trace,
        heights=max(world.checkers.decided, default=0),
        steps=world.steps,
        faults=world.faults.tally() + world.churn.tally(),
        refusals=world.rejections,
        views=(world.liveness.views_to_resume, world.liveness.views_of_others),
    )
