"""One seed decides all: the trace of a run is a function of its seed."""

import os
import subprocess
import sys
from pathlib import Path

from tests.simulation.run import play

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (3, 12, 17)


def traces_in_another_process(hash_seed: int) -> str:
    """Play the seeds under a PYTHONHASHSEED and return their traces."""
    program = f"from tests.simulation.run import play\nprint([play(s).trace for s in {SEEDS}])"
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_same_seed_same_run_in_one_process() -> None:
    """Nothing is carried over from one run to the next."""
    assert play(SEEDS[0]) == play(SEEDS[0])


def test_same_seed_same_run_under_two_hash_seeds() -> None:
    """No order depends on the hash of anything."""
    expected = str([play(seed).trace for seed in SEEDS])
    assert [traces_in_another_process(hash_seed) for hash_seed in (1, 2)] == [expected, expected]


def test_different_seeds_differ() -> None:
    """The trace says something."""
    assert len({play(seed).trace for seed in SEEDS}) == len(SEEDS)
