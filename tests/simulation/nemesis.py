"""One long run in which something is always going wrong: hours of simulated time on seven validators.

Two may fail: one lies all the time and changes its ways with every run, one more at a time is down, cut off,
without its records or its chain, or has a wrong clock. At the end nothing acknowledged is lost and all are equal.
"""

from collections.abc import Callable
from random import Random

from tests.simulation.liars.repertoire import ATTACKS
from tests.simulation.plan import HOUR_MS, Partition, Plan
from tests.simulation.world import World

VALIDATORS = 7
MINUTE_MS = 60_000


def nemesis_plan(seed: int, hours: int) -> Plan:
    """Return the plan of a long run."""
    random = Random(f"nemesis/{seed}")
    end_ms = hours * HOUR_MS
    liar = random.randrange(VALIDATORS)

    def times(every_ms: int) -> list[int]:
        return sorted(random.randrange(MINUTE_MS, end_ms) for _ in range(max(1, end_ms // every_ms)))

    def somebody() -> int:
        return random.randrange(VALIDATORS)

    return Plan(
        seed=seed,
        validators=VALIDATORS,
        byzantine=(liar,),
        attacks=tuple(random.sample([name for name in ATTACKS if name != "silent"], 4)),
        real_signatures=False,
        real_ledger=False,
        delay_ms=(5, 120),
        loss_percent=1,
        loss_by_kind=(),
        duplication_percent=1,
        partitions=_partitions(random, times(6 * MINUTE_MS)),
        round_faults=(),
        slow_ms=tuple(random.choice((0, 0, 200)) for _ in range(VALIDATORS + 1)),
        skew_ms=tuple(random.randint(-900, 900) for _ in range(VALIDATORS + 1)),
        clock_steps=_clock_steps(random, times(40 * MINUTE_MS), liar),
        crash_per_mille=1,
        kills=tuple((time_ms, somebody()) for time_ms in times(7 * MINUTE_MS)),
        wipes=tuple((time_ms, somebody()) for time_ms in times(30 * MINUTE_MS)),
        rots=tuple((time_ms, somebody(), random.choice(("journal", "signer", "chain"))) for time_ms in times(HOUR_MS)),
        wipes_voters=False,
        observer=True,
        transaction_every_ms=12_000,
        heal_ms=end_ms,
        storm_ms=tuple(times(2 * HOUR_MS)),
    )


def _partitions(random: Random, times: list[int]) -> tuple[Partition, ...]:
    """Mostly one or two machines are cut off, sometimes the network falls apart."""
    found = []
    for start_ms in times:
        cut_off = random.sample(range(VALIDATORS), random.choice((1, 1, 2, 3)))
        sides = tuple(int(index in cut_off) for index in range(VALIDATORS))
        length_ms = random.choice((5_000, 30_000, 180_000))
        found.append(Partition(start_ms, start_ms + length_ms, sides, is_one_way=random.random() < 0.3))
    return tuple(found)


def _clock_steps(random: Random, times: list[int], liar: int) -> tuple[tuple[int, int, int], ...]:
    """One clock at a time is wrong, and right again ten minutes later."""
    steps: list[tuple[int, int, int]] = []
    free_ms = 0
    for start_ms in times:
        if start_ms < free_ms:
            continue
        index = random.choice([index for index in range(VALIDATORS) if index != liar])
        step_ms = random.choice((-24, -1, 1, 24)) * random.choice((1_500, HOUR_MS))
        free_ms = start_ms + 10 * MINUTE_MS
        steps += [(start_ms, index, step_ms), (free_ms, index, -step_ms)]
    return tuple(steps)


class Nemesis(World):
    """Plays a long plan and says each simulated hour how it goes."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        super().__init__(plan)
        self._say = say
        self.schedule(HOUR_MS, None, self._tell)

    def _tell(self) -> None:
        heights = [node.height for node in self.honest()]
        self._say(
            f"hour {self.time_ms // HOUR_MS}: heights {min(heights):,} to {max(heights):,}, {self.steps:,} inputs, "
            f"{len(self.checkers.acknowledged):,} transactions acknowledged"
        )
        self.checkers.forget_below(min(heights) - 100)
        self.schedule(HOUR_MS, None, self._tell)
