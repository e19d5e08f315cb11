"""Twins scenarios: one validator runs twice with one key, leaders and partitions are scripted per round.

Reads the published JSON files as they are. A round of a scenario is a view of height 1, the lowest round
being view 0; a message obeys the partition of the view that its sender is in. Higher views and heights are
connected and proposed in the usual order.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from node.chain.demerits import Demerits
from node.chain.rotation import Rotation
from node.chain.validator_set import ValidatorSet
from node.primitives import ValidatorIndex, View
from tests.simulation.network import Network
from tests.simulation.plan import quiet
from tests.simulation.world import World


@dataclass(frozen=True)
class Scenario:
    """One schedule; machine `validators` is the twin of validator 0."""

    validators: int
    twins: int
    leaders: tuple[int, ...]
    """Validator that proposes in view 0, 1, …"""
    partitions: tuple[tuple[frozenset[int], ...], ...]
    firewall: tuple[dict[int, frozenset[int]], ...]
    """Per view: sender → receivers that hear nothing from it."""


def load(path: Path) -> list[Scenario]:
    """Return the scenarios of a file."""
    document = json.loads(path.read_text(encoding="ascii"))
    return [_scenario(document, entry) for entry in document["scenarios"]]


def _scenario(document: dict[str, Any], entry: dict[str, Any]) -> Scenario:
    rounds = sorted(entry["round_leaders"], key=int)
    n = document["num_of_nodes"]
    firewall = entry.get("firewall", {})
    return Scenario(
        validators=n,
        twins=document["num_of_twins"],
        leaders=tuple(entry["round_leaders"][r][0] % n for r in rounds),
        partitions=tuple(tuple(frozenset(side) for side in entry["round_partitions"][r]) for r in rounds),
        firewall=tuple({int(sender): frozenset(deaf) for sender, deaf in firewall.get(r, {}).items()} for r in rounds),
    )


class TwinsWorld(World):
    """Plays one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        def rotation(validators: ValidatorSet, height: int, demerits: Demerits) -> Rotation:
            return ScriptedRotation(validators, height, demerits, scenario.leaders)

        n = scenario.validators
        names = [f"v{index:02}.example" for index in range(scenario.twins)]
        super().__init__(
            quiet(n, machines=n + scenario.twins, scripted_ms=3_000 * (len(scenario.leaders) + 1)),
            rotation=rotation,
            twins=names,
        )
        self.scenario = scenario
        for node in self.nodes:
            node.is_judged = len(self.machines[node.name]) == 1
        self.checkers.oracle = replace(self.checkers.oracle, leaders=scenario.leaders)

        self.network = ScriptedNetwork(self)

    def are_parted(self, sender: int, receiver: int) -> bool:
        """Tell whether the script keeps a message of the view that its sender is in from a receiver."""
        replica = self.nodes[sender].replica.view()
        view = replica.view
        if replica.height > 1 or view >= len(self.scenario.leaders):
            return False
        if receiver in self.scenario.firewall[view].get(sender, ()):
            return True
        return not any(sender in side and receiver in side for side in self.scenario.partitions[view])


class ScriptedNetwork(Network):
    """The scenario's partitions."""

    def __init__(self, world: TwinsWorld) -> None:
        super().__init__(world.plan, world.random)
        self._may_part = True
        self._world = world

    def are_parted(self, time_ms: int, sender: int, receiver: int) -> bool:
        return self._world.are_parted(sender, receiver)


class ScriptedRotation(Rotation):
    """The scenario's leaders at height 1."""

    def __init__(self, validators: ValidatorSet, height: int, demerits: Demerits, leaders: tuple[int, ...]) -> None:
        super().__init__(validators, height, demerits)
        self._leaders = leaders if height == 1 else ()

    def proposer(self, view: View) -> ValidatorIndex:
        return self._leaders[view] if view < len(self._leaders) else super().proposer(view)

    def proposed_before(self, validator: ValidatorIndex, view: View) -> bool:
        return any(self.proposer(u) == validator for u in range(min(view, len(self._leaders) + 100)))
