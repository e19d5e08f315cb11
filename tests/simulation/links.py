"""Catching up, by node/sync.py: who is connected to whom, and what travels between them, in order as over TCP."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from node.crypto.verified import SignatureCache
from node.errors import Rejected
from node.limits import PEER_PENALTY_MS
from node.sync import Surroundings, Sync
from tests.simulation.checkers import Violation

if TYPE_CHECKING:
    from tests.simulation.machine import Node
    from tests.simulation.world import World

TICK_MS = 500


class Links:
    """The connections of a world; of machines that share a name only the first has any."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._open: dict[tuple[int, int], int] = {}
        """(lower, higher) machine → number of their connection."""
        self._numbers = 0
        self._latest_ms: dict[tuple[int, int], int] = {}
        """(sender, receiver) → when the last parcel arrives: none overtakes another."""

    def join(self, node: "Node", verify: SignatureCache) -> None:
        """Give a machine that is starting its sync."""
        world = self._world
        incarnation = node.incarnation

        def call_later(delay_ms: int, callback: Callable[[], None]) -> None:
            world.schedule(delay_ms, node, self._call, node, incarnation, callback)

        node.sync = Sync(
            Surroundings(
                chain=node.chain,
                send=lambda receiver, payload: self._send(node, receiver, payload),
                call_later=call_later,
                now_ms=lambda: world.time_ms,
                moved=node.replica.on_committed_by_sync,
                is_validator=lambda: node.is_member,
                rejected=lambda sender, rejection: self._on_refused(node, sender, rejection),
                verify_digest=verify,
            )
        )
        world.schedule(TICK_MS, node, self._tick, node, incarnation)

    def connect_all(self, node: "Node") -> None:
        """Connect a machine with all that are up."""
        for other in self._world.nodes:
            if other is not node:
                self.connect(node, other)

    def leave(self, node: "Node") -> None:
        """A machine has stopped: the others notice."""
        for place in [place for place in self._open if node.index in place]:
            del self._open[place]
            other = self._world.nodes[place[0] if place[1] == node.index else place[1]]
            if other.is_up:
                other.sync.disconnected(node.name)

    def connect(self, one: "Node", other: "Node") -> None:
        """Open a connection between two machines that are up and may have one."""
        machines = self._world.machines
        has_sync = one.is_up and other.is_up and hasattr(one, "sync") and hasattr(other, "sync")
        if not has_sync or machines[one.name][0] != one.index or machines[other.name][0] != other.index:
            return
        place = _place(one.index, other.index)
        if place not in self._open:
            self._numbers += 1
            self._open[place] = self._numbers
            one.sync.connected(other.name)
            other.sync.connected(one.name)

    def _send(self, node: "Node", receiver: str, payload: bytes) -> bool:
        """Put a parcel on its way; False where there is no connection."""
        world = self._world
        to = world.nodes[world.machines[receiver][0]]
        number = self._open.get(_place(node.index, to.index))
        if number is None:
            return False
        if node.liar is not None:
            payload = node.liar.falsify_sync(payload)
        delay_ms = world.network.delay_of_sync(world.time_ms, node.index, to.index)
        if delay_ms is not None:
            arrival_ms = max(world.time_ms + delay_ms, self._latest_ms.get((node.index, to.index), 0))
            self._latest_ms[node.index, to.index] = arrival_ms
            world.schedule(arrival_ms - world.time_ms, to, self._deliver, node, to, number, payload)
        return True

    def _deliver(self, sender: "Node", receiver: "Node", number: int, payload: bytes) -> None:
        if self._open.get(_place(sender.index, receiver.index)) != number:
            return
        try:
            receiver.sync.receive(sender.name, payload)
        except Rejected as rejection:
            self._on_refused(receiver, sender.name, rejection)
            self._disconnect(sender, receiver)
            self._world.schedule(PEER_PENALTY_MS, None, self.connect, sender, receiver)

    def _disconnect(self, one: "Node", other: "Node") -> None:
        if self._open.pop(_place(one.index, other.index), None) is not None:
            one.sync.disconnected(other.name)
            other.sync.disconnected(one.name)

    def _on_refused(self, node: "Node", sender: str, rejection: Rejected) -> None:
        """An honest machine never sends what another honest one refuses."""
        world = self._world
        world.rejections[rejection.reason] += 1
        if node.is_judged and world.is_honest(sender):
            raise Violation(f"sync: {node.name} refuses what honest {sender} sent: {rejection}")

    def _tick(self, node: "Node", incarnation: int) -> None:
        if node.is_up and node.incarnation == incarnation:
            node.sync.tick()
            self._world.schedule(TICK_MS, node, self._tick, node, incarnation)

    @staticmethod
    def _call(node: "Node", incarnation: int, callback: Callable[[], None]) -> None:
        if node.is_up and node.incarnation == incarnation:
            callback()


def _place(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)
