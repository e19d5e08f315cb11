"""`make sim SEEDS=n`: play many seeded networks and report the first seed of every kind of violation.

    python -m tools.simulate --seeds 2000 [--seed FIRST] [--plant NAME]

Runs from a checkout: the simulator lives in tests/simulation and drives the production replica.
"""

import argparse
import secrets
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Play the seeds; exit 1 when one of them violates what must hold (0 when a planted bug is caught)."""
    sys.path.insert(0, str(_ROOT))
    from tests.simulation.plants import PLANTS, planted
    from tests.simulation.run import Verdict, play

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=500, help="how many")
    parser.add_argument("--seed", type=int, help="the first one (default: drawn and printed)")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="break one rule on purpose and expect to see it")
    options = parser.parse_args()
    first = secrets.randbelow(10**9) if options.seed is None else options.seed
    print(f"{options.seeds} seeds from {first}", flush=True)
    started = time.monotonic()
    failures: list[Verdict] = []
    heights = steps = crashes = 0
    with planted(options.plant):
        for seed in range(first, first + options.seeds):
            verdict = play(seed, plant=options.plant)
            heights, steps, crashes = (
                heights + verdict.heights,
                steps + verdict.steps,
                crashes + verdict.crashes,
            )
            if verdict.violation is not None:
                failures.append(verdict)
                print(f"seed {seed}: {verdict.violation}", flush=True)
    minutes = (time.monotonic() - started) / 60
    print(
        f"{len(failures)} of {options.seeds} seeds violated something; {options.seeds / minutes:.0f} seeds a minute, "
        f"{heights} heights, {steps} core inputs ({steps / minutes / 60:.0f} a second), {crashes} crashes"
    )
    return int(bool(failures) != (options.plant is not None))


if __name__ == "__main__":
    sys.exit(main())
