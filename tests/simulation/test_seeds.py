"""Many seeds: the same 300 each time, and 200 that nobody has seen before."""

import os
import secrets

import pytest

from tests.simulation.run import play

FIXED_CHUNKS = range(0, 300, 50)
FRESH_SEEDS = 200


def failures_of(first: int, count: int) -> list[str]:
    """Play seeds and return what was violated."""
    verdicts = [play(seed) for seed in range(first, first + count)]
    return [f"seed {verdict.seed}: {verdict.violation}" for verdict in verdicts if verdict.violation is not None]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", FIXED_CHUNKS)
def test_fixed_seeds(first: int) -> None:
    """Fifty seeds that everybody plays."""
    assert failures_of(first, 50) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_fresh_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    """Two hundred from a base that is printed; PILA_SIM_SEED=base plays them again."""
    first = int(os.environ.get("PILA_SIM_SEED") or secrets.randbelow(10**9) + 1_000)
    with capsys.disabled():
        print(f" fresh seeds from {first} ", end="", flush=True)
    assert failures_of(first, FRESH_SEEDS) == []
