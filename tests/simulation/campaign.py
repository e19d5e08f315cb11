"""Many seeds on all cores: progress while it runs, and figures at the end."""

import gc
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.simulation.labels import Site, defined, sites
from tests.simulation.plants import planted
from tests.simulation.run import Verdict, play

WATCHED_EVERY = 20
"""One seed in so many is watched for labelled lines."""
CHUNK = 5
PROGRESS_SECONDS = 10.0


@dataclass
class Totals:
    """What many seeds add up to."""

    seeds: int = 0
    watched: int = 0
    heights: int = 0
    steps: int = 0
    cpu_seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    passed: Counter[Site] = field(default_factory=Counter)
    """In how many of the watched seeds."""
    views: tuple[int, int] = (0, 0)
    """The highest of all seeds."""
    violations: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict, cpu_seconds: float, *, is_watched: bool) -> None:
        """Count one seed."""
        self.seeds += 1
        self.watched += is_watched
        self.heights += verdict.heights
        self.steps += verdict.steps
        self.cpu_seconds += cpu_seconds
        self.faults.update(verdict.faults)
        self.refusals.update(verdict.refusals)
        self.passed.update(verdict.passed)
        self.views = (max(self.views[0], verdict.views[0]), max(self.views[1], verdict.views[1]))
        if verdict.violation is not None:
            self.violations.append(verdict)

    @property
    def steps_per_minute(self) -> float:
        """Core inputs in a minute of one core."""
        return self.steps / max(self.cpu_seconds, 1e-9) * 60

    def unpassed(self) -> list[str]:
        """Return the labels of the page that no watched seed has passed anywhere."""
        reached = {site.label for site in self.passed}
        return [label for label in defined() if label not in reached]


def campaign(
    first: int, count: int, *, plant: str | None = None, jobs: int | None = None, say: Callable[[str], None] = print
) -> Totals:
    """Play seeds first … first + count − 1, in processes of their own; report violations as they are found."""
    totals, started, told = Totals(), time.monotonic(), time.monotonic()
    for verdict, cpu_seconds, is_watched in _played(first, count, plant, jobs or os.cpu_count() or 1):
        totals.add(verdict, cpu_seconds, is_watched=is_watched)
        if verdict.violation is not None:
            say(f"seed {verdict.seed}: {verdict.violation}")
            say(f"    again: {replay_line(verdict.seed, plant)}")
        if time.monotonic() - told >= PROGRESS_SECONDS:
            told = time.monotonic()
            minutes = (told - started) / 60
            say(
                f"{totals.seeds} of {count} seeds, {totals.steps:,} core inputs, {totals.seeds / minutes:.0f} seeds "
                f"and {totals.steps / minutes:,.0f} inputs a minute, {len(totals.violations)} violations"
            )
    return totals


def replay_line(seed: int, plant: str | None = None) -> str:
    """Return the command that plays one seed again."""
    return f".venv/bin/python -m tests.simulation --seeds 1 --seed {seed}" + (f" --plant {plant}" if plant else "")


def _played(first: int, count: int, plant: str | None, jobs: int) -> Iterator[tuple[Verdict, float, bool]]:
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    if jobs == 1 or len(chunks) == 1:
        for chunk in chunks:
            yield from play_chunk(chunk, plant)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for found in pool.map(play_chunk, chunks, [plant] * len(chunks)):
            yield from found


def play_chunk(seeds: range, plant: str | None = None) -> list[tuple[Verdict, float, bool]]:
    """Play some seeds; a world is one web of references, so it is collected between seeds and never within one."""
    found = []
    gc.disable()
    try:
        with planted(plant):
            for seed in seeds:
                before = time.process_time()
                is_watched = plant is None and seed % WATCHED_EVERY == 0
                verdict = play(seed, plant=plant, watch=is_watched)
                found.append((verdict, time.process_time() - before, is_watched))
    finally:
        gc.enable()
        gc.collect()
    return found


def report(totals: Totals, seconds: float) -> list[str]:
    """Return the closing lines."""
    lines = [
        f"{len(totals.violations)} of {totals.seeds} seeds violated something",
        f"{totals.heights:,} heights, {totals.steps:,} core inputs, {seconds:,.0f} s ({totals.cpu_seconds:,.0f} s CPU)",
        f"{totals.steps_per_minute:,.0f} core inputs a minute of one core",
        f"after the faults: up to {totals.views[0]} more views to decide; later heights up to view {totals.views[1]}",
        "",
        *_table("fault", totals.faults),
        "",
        *_table("refused by replicas", totals.refusals),
    ]
    if totals.watched:
        lines += ["", *_coverage(totals)]
    return lines


def _table(title: str, counts: Counter[str]) -> list[str]:
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return [f"{title:<44} times", *(f"  {name:<42} {count:,}" for name, count in rows)]


def _coverage(totals: Totals) -> list[str]:
    """Return which labelled lines were passed, by label: in how many watched seeds, at how many of its places."""
    lines = [f"labelled lines of node/consensus/README.md, in {totals.watched} watched seeds", "  label  seeds  places"]
    for label in defined():
        here = [site for site in sites() if site.label == label]
        passed = [site for site in here if totals.passed[site]]
        seeds = max((totals.passed[site] for site in passed), default=0)
        missing = ", ".join(f"{site.file}:{site.line}" for site in here if site not in passed)
        lines.append(
            f"  {label:<6} {seeds:>5}  {len(passed)} of {len(here)}" + (f"  not: {missing}" if missing else "")
        )
    unpassed = totals.unpassed()
    lines.append(f"  never passed: {', '.join(unpassed) if unpassed else 'none'}")
    return lines
