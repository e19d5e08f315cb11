"""Play whole networks in one process under seeded faults; `make sim SEEDS=n` runs this.

    python -m tests.simulation --seeds 2000 [--seed FIRST] [--plant NAME] [--jobs N]
    python -m tests.simulation --hours 24 [--seed N]       one long run, in simulated time

Exit status 1 when a seed violates what must hold (with --plant: when none does).
"""

import argparse
import secrets
import sys
import time

from tests.simulation.campaign import Totals, campaign, report
from tests.simulation.nemesis import Nemesis, nemesis_plan
from tests.simulation.plants import plants
from tests.simulation.run import play_world


def main() -> int:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--seed", type=int, help="the first one (default: drawn and printed)")
    parser.add_argument("--plant", choices=sorted(plants()), help="break one rule on purpose and expect to see it")
    parser.add_argument("--hours", type=int, help="instead: one run of so many simulated hours")
    parser.add_argument("--jobs", type=int, help="processes (default: one for each core)")
    options = parser.parse_args()
    if options.hours is not None:
        return _long_run(options.seed or 1, options.hours)
    first = secrets.randbelow(10**9) if options.seed is None else options.seed
    print(f"{options.seeds} seeds from {first}", flush=True)
    started = time.monotonic()
    totals = campaign(first, options.seeds, plant=options.plant, jobs=options.jobs, say=_say)
    for line in report(totals, time.monotonic() - started):
        _say(line)
    return int(bool(totals.violations) != (options.plant is not None))


def _long_run(seed: int, hours: int) -> int:
    _say(f"{hours} simulated hours from seed {seed}")
    started, cpu = time.monotonic(), time.process_time()
    world = Nemesis(nemesis_plan(seed, hours), _say)
    verdict = play_world(world)
    totals = Totals()
    totals.add(verdict, time.process_time() - cpu, is_watched=False)
    for line in report(totals, time.monotonic() - started):
        _say(line)
    _say(f"{len(world.checkers.acknowledged):,} transactions acknowledged; {world.describe()}")
    if verdict.violation is not None:
        _say(f"violation: {verdict.violation}")
    return int(verdict.violation is not None)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
