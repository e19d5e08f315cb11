"""The published Twins schedules: one validator with two machines never makes the others disagree."""

from pathlib import Path

import pytest

from tests.simulation.twins import TwinsWorld, load

FILES = Path(__file__).resolve().parents[1] / "vectors" / "twins"


@pytest.mark.parametrize("name", ["test_scenarios", "streamlet_twins", "fhs_twins"])
def test_twins_scenarios_agree_and_go_on(name: str) -> None:
    """Every scenario of the file: no violation, and three more heights once its rounds are over."""
    scenarios = load(FILES / f"{name}.json")
    assert scenarios
    for scenario in scenarios:
        TwinsWorld(scenario).run()


def test_twins_really_contradict_each_other() -> None:
    """The schedules are not tame: in some of them the two machines of one key are seen to equivocate."""
    worlds = [TwinsWorld(scenario) for scenario in load(FILES / "test_scenarios.json")[:20]]
    for world in worlds:
        world.run()
    assert sum(node.replica.counters.equivocations for world in worlds for node in world.honest()) > 0
