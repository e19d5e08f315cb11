"""Validators that come, go and swap their keys while everything else goes wrong as well."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from node.chain.validator_set import max_faulty
from node.crypto.signing import Signer
from node.limits import VALIDATORS_MIN
from tests.simulation.membership import join, leave
from tests.simulation.plan import Plan

if TYPE_CHECKING:
    from tests.simulation.machine import Node
    from tests.simulation.world import World

CHURN_PERCENT = 20
"""Of all seeds."""
KEYS_HELD = 4
RETRY_MS = 300
WIPE_PERCENT = 40
"""Of changes, in runs in which records are lost, somebody has just lost its own and listens."""
LISTENING_MS = (0, 4_000)
"""How long before the change."""
VALIDATORS_UNDER_CHURN_MAX = 10


def with_churn(plan: Plan, *, percent: int = CHURN_PERCENT) -> Plan:
    """Return the plan with changes of the validators, for a share of the seeds."""
    random = Random(f"churn/{plan.seed}")
    too_large = plan.validators > VALIDATORS_UNDER_CHURN_MAX
    if plan.real_ledger or too_large or random.randrange(100) >= percent:
        return plan
    standbys = random.choice((1, 2, 3))
    least = random.randint(VALIDATORS_MIN, plan.validators)
    liars = plan.byzantine[: max_faulty(least)]
    machines = plan.validators + standbys
    wipes = [
        (random.randrange(1_000, plan.heal_ms), random.randrange(machines)) for _ in range(random.choice((0, 1, 2, 3)))
    ]
    kinds = ("join", "join", "leave", "swap", "swap")
    churn = [(random.randrange(500, plan.heal_ms), random.choice(kinds)) for _ in range(random.choice((2, 4, 8)))]
    extra = tuple(random.choice((0, random.randint(-900, 900))) for _ in range(standbys))
    return replace(
        plan,
        byzantine=liars,
        storm_ms=plan.storm_ms if liars else (),
        slow_ms=(*plan.slow_ms, *(0 for _ in extra)),
        skew_ms=(*plan.skew_ms, *extra),
        wipes=tuple(sorted((*plan.wipes, *wipes))),
        transaction_every_ms=min(plan.transaction_every_ms, 700),
        standbys=standbys,
        churn=tuple(sorted(churn)),
        validators_min=least,
    )


class Churn:
    """The operators of one run: one change at a time, asked for again until it is decided."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._keys_used: Counter[int] = Counter()
        """Machine → how many of its keys were in a set, or are asked to be."""
        self._asked: tuple[bytes, ...] = ()
        """Changes that are not decided yet."""
        self._number = 0

    def keys_of(self, node: "Node") -> Sequence[Signer]:
        """Return the keys of a machine; a liar and a world without churn need one each."""
        if node.seat is None:
            return ()
        first = self._world.ring.signers[node.seat]
        count = KEYS_HELD if self._world.plan.churn and not node.is_liar else 1
        seed = self._world.plan.seed
        return (first, *(self._world.ring.make(f"{seed}/{node.index}/{number}") for number in range(1, count)))

    def plan(self) -> None:
        """Put the changes on the calendar."""
        world = self._world
        for node in world.nodes:
            if node.name in (member.institution for member in world.validators.members):
                self._keys_used[node.index] = 1
        for time_ms, kind in world.plan.churn:
            world.schedule(time_ms, None, self._change, kind)

    def tally(self) -> Counter[str]:
        """Return which changes took effect how often."""
        counts: Counter[str] = Counter()
        sets = self._world.sets
        for height in sets.hand_overs():
            before = {member.institution: member.public_key for member in sets.at(height - 1).members}
            after = {member.institution: member.public_key for member in sets.at(height).members}
            counts["validator joined"] += len(after.keys() - before.keys())
            counts["validator left"] += len(before.keys() - after.keys())
            counts["consensus key swapped"] += sum(after[name] != before[name] for name in before.keys() & after.keys())
            counts["hand-over to another set"] += 1
        counts["run with changing validators"] += bool(self._world.plan.churn)
        return +counts

    def _change(self, kind: str) -> None:
        """Ask for a change, once the last one is done."""
        world = self._world
        if world.time_ms >= world.plan.heal_ms:
            return
        acknowledged = world.checkers.acknowledged
        is_waiting = any(transaction not in acknowledged for transaction in self._asked)
        if is_waiting or not world.sets.is_settled:
            world.schedule(RETRY_MS, None, self._change, kind)
            return
        self._asked = tuple(self._made(kind))
        world.checkers.submitted.update(self._asked)
        if world.plan.wipes and world.random.randrange(100) < WIPE_PERCENT:
            keyed = [node for node in world.nodes if node.seat is not None]
            world.faults.lose_records_where_bearable(world.random.choice(keyed))
            world.schedule(world.random.randrange(*LISTENING_MS), None, self._gossip, self._asked)
        else:
            self._gossip(self._asked)

    def _made(self, kind: str) -> list[bytes]:
        """Return the transactions of a change; where the set is large, of several members at once."""
        world = self._world
        validators = world.sets.coming
        most = max(1, validators.max_faulty)
        count = world.random.randint(1, most)
        inside = [node for node in world.nodes if validators.index_of(node.name) is not None]
        outside = [node for node in world.nodes if node.seat is not None and node not in inside]
        match kind:
            case "join" | "swap":
                candidates = [node for node in (outside if kind == "join" else inside) if self._has_key(node)]
                return [self._with_next_key(node) for node in _some(world.random, candidates, count)]
            case _:
                count = min(count, len(validators) - (world.plan.validators_min or len(validators)))
                return [self._leave(node) for node in _some(world.random, inside, count)]

    def _has_key(self, node: "Node") -> bool:
        return self._keys_used[node.index] < len(node.keys)

    def _with_next_key(self, node: "Node") -> bytes:
        key = node.keys[self._keys_used[node.index]]
        self._keys_used[node.index] += 1
        return join(node.name, key.public_key)

    def _leave(self, node: "Node") -> bytes:
        self._number += 1
        return leave(node.name, self._number)

    def _gossip(self, transactions: Sequence[bytes]) -> None:
        """Bring them to everybody, again and again until they are decided."""
        world = self._world
        left = [transaction for transaction in transactions if transaction not in world.checkers.acknowledged]
        if not left:
            return
        for node in world.nodes:
            for transaction in left:
                if world.random.randrange(100) >= world.plan.loss_percent:
                    world.schedule(world.random.randint(1, 60), node, world.take, node, transaction)
        world.schedule(1_000, None, self._gossip, left)


def _some(random: Random, candidates: "Sequence[Node]", count: int) -> "list[Node]":
    return random.sample(candidates, max(0, min(count, len(candidates))))
