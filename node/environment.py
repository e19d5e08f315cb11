"""The world as the replica needs it: timers of the event loop, sending by the transport.

Nothing here blocks or raises. What a timer calls is guarded: a callback of the loop has no caller
that would learn of its failure. Source: `node.replica_contract.Environment`.
"""

import asyncio
from collections.abc import Callable, Sequence

from node.channels import Channel
from node.clock import wall_ms
from node.consensus.inputs import Timer, TimerKind
from node.limits import BODY_BYTES_MIN
from node.p2p.network import Network
from node.primitives import Height, InstitutionId
from node.replica import Replica
from node.sync import Sync


class Callbacks:
    """Calls back from the event loop, and says when a callback failed."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fail: Callable[[BaseException], None]) -> None:
        """`fail` stops the node."""
        self._loop = loop
        self._fail = fail

    def call_later(self, delay_ms: int, callback: Callable[[], None]) -> asyncio.Handle:
        """Call back after so many milliseconds; 0 = in the next turn of the loop."""
        if delay_ms <= 0:
            return self._loop.call_soon(self._run, callback)
        return self._loop.call_later(delay_ms / 1_000, self._run, callback)

    def _run(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:  # noqa: BLE001 – whatever it is, it stops the node, with its traceback in the log
            self._fail(error)


class ReplicaEnvironment:
    """Fills `node.replica_contract.Environment`."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._timers: dict[TimerKind, asyncio.Handle] = {}
        self._network: Network | None = None
        self._replica: Replica | None = None
        self._sync: Sync | None = None

    def attach(self, network: Network, replica: Replica, sync: Sync) -> None:
        """Learn of the parts that are made after this one; before the replica starts."""
        self._network = network
        self._replica = replica
        self._sync = sync

    def stop(self) -> None:
        """Let no timer fire any more."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def now_ms(self) -> int:
        """Milliseconds since 1970 by this machine's clock."""
        return wall_ms()

    def set_timer(self, timer: Timer, delay_ms: int) -> None:
        """Tell the replica after a delay; replaces the timer of the same kind."""
        replica = self._replica
        assert replica is not None
        earlier = self._timers.get(timer.kind)
        if earlier is not None:
            earlier.cancel()
        self._timers[timer.kind] = self._callbacks.call_later(delay_ms, lambda: replica.on_timer(timer))

    def send(self, receiver: InstitutionId, payload: bytes) -> None:
        """Send to one peer; a body goes where no vote waits behind it."""
        assert self._network is not None
        channel = Channel.CONSENSUS if len(payload) < BODY_BYTES_MIN else Channel.BODIES
        self._network.send(receiver, channel, payload)

    def broadcast(self, receivers: Sequence[InstitutionId] | None, payload: bytes) -> None:
        """Send to many, None = to every peer; the votes on a proposal follow it on the same channel."""
        assert self._network is not None
        only = None if receivers is None else frozenset(receivers)
        self._network.broadcast(Channel.CONSENSUS, payload, only=only)

    def request_sync(self, target_height: Height, peers: Sequence[InstitutionId]) -> None:
        """Have blocks fetched."""
        assert self._sync is not None
        self._sync.request(target_height, peers)
