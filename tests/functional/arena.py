"""A network that can be harmed in every way we know, with clients that watch it. Everything ends with the context."""

import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from node.config import config_text, parse_config
from tests.functional import harness
from tests.functional.acknowledged import BlockSeen, Clients, NodeSeen, judge, read_node
from tests.functional.clocks import Clocks
from tests.functional.small_disk import SmallDisk, mounted
from tests.functional.wire import Kind, Wire, wired
from tools.local_network import LocalNetwork
from tools.node_client import CallFailed, NodeUnreachable

DISK_BYTES = 512 * 1024 * 1024
LOADING = "carga"
EQUIVOCATIONS = "pila_equivocations_total"
OLD_VERSION = 1
"""The network's protocol version: what programs that know this one only still take part in."""
METRICS_TIMEOUT_S = 2.0
"""A node that sleeps does not answer."""


@dataclass
class Arena:
    """One network under load."""

    network: LocalNetwork
    wire: Wire
    clients: Clients
    rng: random.Random
    clocks: Clocks | None = None
    """None where faketime was not asked for."""
    disks: dict[int, SmallDisk] = field(default_factory=dict)
    """Nodes whose data lie on a disk that can be filled."""
    seen: dict[int, list[BlockSeen]] = field(default_factory=dict)
    """Blocks read by earlier checks."""

    @property
    def size(self) -> int:
        """How many validators there are: N."""
        return len(self.network.nodes)

    @property
    def max_faulty(self) -> int:
        """How many may be missing: f."""
        return (self.size - 1) // 3

    @property
    def everybody(self) -> tuple[int, ...]:
        """All indexes."""
        return tuple(range(self.size))

    def chosen(self, number: int) -> tuple[int, ...]:
        """Return so many nodes at random, ascending."""
        return tuple(sorted(self.rng.sample(self.everybody, number)))

    def others(self, *indexes: int) -> tuple[int, ...]:
        """Return all but these."""
        return tuple(index for index in self.everybody if index not in indexes)

    def wait_whole(self) -> float:
        """Wait until every node is ready and acknowledges; return the seconds that took."""
        started = time.monotonic()
        self.network.wait_ready(timeout_s=harness.PATIENCE_S)
        self.clients.wait(*self.everybody)
        return time.monotonic() - started

    def check(self, *, anew: bool = False) -> int:
        """Hold all nodes to what clients were told; `anew`: read also what was read before. Returns the height."""
        told = list(self.clients.told)
        height = _level_at(self.network, max(self.network.height(i) for i in self.everybody))
        nodes = {}
        for index in self.everybody:
            known = [] if anew else self.seen.get(index, [])
            read = read_node(self.network, index, first=len(known))
            self.seen[index] = [*known, *read.blocks]
            nodes[index] = NodeSeen(tuple(self.seen[index]), read.equivocations)
        findings = judge(told, nodes)
        assert not findings, "\n".join(findings)
        return height

    def heard_equivocations(self) -> int:
        """Return how many times nodes that answer have heard somebody say two things; a restart forgets them."""
        heard = 0
        for index in self.everybody:
            with contextlib.suppress(NodeUnreachable, CallFailed, OSError):
                heard += int(harness.metric(self.network, index, EQUIVOCATIONS, timeout_s=METRICS_TIMEOUT_S))
        return heard


def set_version(home: Path, version_max: int) -> None:
    """Let a node's program be one that knows no newer protocol version than this; 0: all that it knows."""
    path = home / "config.toml"
    config = parse_config(path.read_bytes())
    path.write_text(config_text(replace(config, node=replace(config.node, protocol_version_max=version_max))), "utf-8")


def _level_at(network: LocalNetwork, height: int) -> int:
    """Wait until all nodes have a height; they may be above it, for the load goes on."""
    network.wait_height(height, timeout_s=harness.PATIENCE_S)
    return height


@contextlib.contextmanager
def arena(
    folder: Path,
    kind: Kind,
    *,
    rng: random.Random,
    validators: int = 4,
    wrong_clocks: bool = False,
    small_disks: Sequence[int] = (),
    pause_s: float = 0.02,
    verbose: bool = False,
) -> Iterator[Arena]:
    """Make a network, its wire, clocks and disks, start it, and let clients work; all gone on leaving.

    Every second node's program is an older one, which does not know the newest version of the protocol.
    """
    network = harness.make_network(
        folder / "network", validators=validators, verbose=verbose, protocol_version=OLD_VERSION
    )
    for node in network.nodes[::2]:
        set_version(node.home, OLD_VERSION)
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(wired(network, kind))
        disks = {i: stack.enter_context(mounted(network.nodes[i].home / "data", DISK_BYTES)) for i in small_disks}
        clocks = Clocks(network.testnet.output, validators) if wrong_clocks else None
        for index in range(validators):
            network.prefixes[index] = [
                *network.prefixes[index],
                *(disks[index].prefix if index in disks else ()),
                *(clocks.prefix(index) if clocks else ()),
            ]
        stack.enter_context(harness.watched(network))
        network.start()
        network.wait_ready(timeout_s=harness.PATIENCE_S)
        issuer = harness.publish(network, "udec.edu.mx", LOADING)
        # Every node must know the definition before its client issues under it.
        harness.wait_level(network)
        timeout_s = harness.PATIENCE_S
        clients = stack.enter_context(Clients(network, issuer, rng=rng, pause_s=pause_s, timeout_s=timeout_s))
        yield Arena(network, wire, clients, rng, clocks, disks)
