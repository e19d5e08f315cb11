"""`make sim SEEDS=n`: play many seeded networks and report every violation.

    python -m tools.simulate --seeds 2000 [--seed FIRST] [--plant NAME]

Runs from a checkout: the simulator lives in tests/simulation and drives the production replica.
"""

import runpy
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Hand over to the simulator."""
    sys.path.insert(0, str(_ROOT))
    runpy.run_module("tests.simulation", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
