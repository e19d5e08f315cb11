"""Real processes under every fault we know, with clients that remember what they were told; each fault for seconds.

`make drill` does the same for as long as one likes, with several validators more.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.functional import clocks, faults, harness
from tests.functional.arena import Arena, arena
from tests.functional.faults import Fault, endure, name_of
from tests.functional.wire import Kind, best_kind

HOLD_S = 2.5
"""Longer than the first two views may last on a network that decides in milliseconds."""

QUICK_FAULTS: tuple[Fault, ...] = (
    faults.kill_one, faults.kill_too_many, faults.kill_all, faults.restart_storm, faults.other_programs,
    faults.pause_one, faults.pause_too_many, faults.partition_minority, faults.partition_halves,
    faults.deaf, faults.mute, faults.bridge, faults.ring, faults.loss, faults.delay, faults.bad_weather,
    faults.far_away,
    faults.clock_ahead, faults.clock_behind, faults.clocks_hour_ahead, faults.clocks_hour_behind,
    faults.clocks_drift,
)  # fmt: skip


@pytest.fixture(scope="module")
def seed() -> int:
    """Chance that can be had again: PILA_TEST_SEED=n."""
    return harness.seed_of_run()


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Arena]:
    """Four validators under load on the best wire of this machine, with clocks that can be set."""
    require(clocks.library(), "faketime (the Debian package)")
    folder = tmp_path_factory.mktemp("nemesis")
    with arena(folder, best_kind(), rng=random.Random(seed), wrong_clocks=True, verbose=True) as made:
        made.wait_whole()
        yield made


@pytest.mark.timeout(420)
@pytest.mark.parametrize("fault", QUICK_FAULTS, ids=name_of)
def test_the_network_endures(harmed: Arena, fault: Fault) -> None:
    """Who can go on does, who was hit comes back, and every promise made so far is kept by every node."""
    outcome = endure(harmed, fault, HOLD_S)
    print(outcome)
    harmed.check()


@pytest.mark.timeout(420)
def test_everything_is_there_after_all_that(harmed: Arena) -> None:
    """All nodes started anew have one chain with every promise kept; nobody was heard saying two things."""
    assert harmed.network.stop() == dict.fromkeys(harmed.everybody, 0)
    harmed.network.start()
    harmed.wait_whole()
    assert harmed.check(anew=True) > 20
    harness.assert_no_double_votes(harmed.network)
    print(f"refused: {dict(harmed.clients.refused)}")


@pytest.mark.timeout(420)
def test_the_network_endures_behind_proxies(tmp_path: Path, seed: int) -> None:
    """The other wire, which works on every machine."""
    with arena(tmp_path, Kind.PROXY, rng=random.Random(seed)) as made:
        made.wait_whole()
        for fault in (faults.partition_halves, faults.mute, faults.loss):
            print(endure(made, fault, HOLD_S))
        made.check(anew=True)
