"""Clients that remember what they were told, and the judge that holds every node to it.

What an answer "committed" promises: the transaction is at that place of the chain, once, on every node, for ever; and
what is submitted after the answer comes after it. A transaction whose fate a client never learned may be nowhere or
at one place, the same on every node. Time is that of the clients' own monotonic clock, so that nodes with wrong
clocks are judged by a right one. After Jepsen's analyses of Tendermint, etcd and PostgreSQL.
"""

import json
import random
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.functional import harness
from tests.functional.harness import ClientThreads, Issuer
from tools.local_network import LocalNetwork
from tools.node_client import CallFailed, NodeClient, NodeUnreachable

ANSWER_TIMEOUT_S = 5.0
"""How long a client waits for one answer: a node that sleeps or is cut off costs it this."""
WAIT_MS = 4_000
"""How long a node is asked to wait for the block."""
BLOCKS_PER_REQUEST = 100
FINDINGS_MAX = 20
"""A broken history has thousands of findings; the first ones say what it is."""


@dataclass(frozen=True)
class Place:
    """Where in the chain a transaction is."""

    height: int
    index: int


@dataclass(frozen=True)
class Told:
    """One transaction as its client saw it."""

    tx_id: str
    through: int
    """Index of the node that was asked first."""
    submitted_s: float
    """Monotonic time just before it left the client."""
    answered_s: float | None = None
    """Just after a node said "committed"; None: its fate is unknown to the client."""
    place: Place | None = None
    """What that node said; None exactly where `answered_s` is."""


@dataclass(frozen=True)
class BlockSeen:
    """A block as one node tells it."""

    hash: str
    parent_hash: str
    state_root: str
    tx_ids: tuple[str, ...]


@dataclass(frozen=True)
class NodeSeen:
    """What one node has and says of others."""

    blocks: tuple[BlockSeen, ...]
    """From height 0 to its head."""
    equivocations: int = 0
    """How many times it heard a validator say two things."""


# --- the judge: pure, so that it can be tried on histories that never happened ---


def judge(told: Sequence[Told], nodes: Mapping[int, NodeSeen]) -> list[str]:
    """Return what is wrong, at most FINDINGS_MAX sentences; an empty list: every promise was kept."""
    findings = [*_one_chain(nodes), *_promises(told, nodes), *_order(told, nodes)]
    findings += [
        f"node {i} heard {node.equivocations} equivocations" for i, node in nodes.items() if node.equivocations
    ]
    return findings[:FINDINGS_MAX]


def _one_chain(nodes: Mapping[int, NodeSeen]) -> Iterable[str]:
    """Equal hashes, state roots and transactions up to the lowest head; every block on its parent; nothing twice."""
    for height in range(min(len(node.blocks) for node in nodes.values())):
        for field in ("hash", "state_root", "tx_ids"):
            said = {i: getattr(node.blocks[height], field) for i, node in nodes.items()}
            if len(set(said.values())) > 1:
                yield f"height {height}: different {field}: {said}"
    for i, node in nodes.items():
        for height in range(1, len(node.blocks)):
            if node.blocks[height].parent_hash != node.blocks[height - 1].hash:
                yield f"node {i}: block {height} does not stand on block {height - 1}"
        for tx_id, places in _places(node).items():
            if len(places) > 1:
                yield f"node {i} has {tx_id} {len(places)} times: {places}"


def _promises(told: Sequence[Told], nodes: Mapping[int, NodeSeen]) -> Iterable[str]:
    """What was acknowledged is where the client was told, everywhere; what is unknown is nowhere or everywhere."""
    places = {i: _places(node) for i, node in nodes.items()}
    lowest = min(len(node.blocks) for node in nodes.values())
    for one in told:
        found = {i: tuple(place for place in places[i].get(one.tx_id, ())) for i in nodes}
        if one.place is None:
            # Above the lowest head a node may be ahead of another by a block; below it they must agree.
            settled = {tuple(place for place in of_node if place.height < lowest) for of_node in found.values()}
            if len(settled) > 1:
                yield f"{one.tx_id}, unknown to its client, is at different places: {found}"
        else:
            wrong = {i: of_node for i, of_node in found.items() if of_node != (one.place,)}
            if wrong:
                yield f"{one.tx_id}, acknowledged at {one.place}, is elsewhere or lost: {wrong}"


def _order(told: Sequence[Told], nodes: Mapping[int, NodeSeen]) -> Iterable[str]:
    """What was submitted after an acknowledgement lies in a later block than what was acknowledged."""
    longest = max(nodes.values(), key=lambda node: len(node.blocks))
    places = _places(longest)
    answers = sorted((one.answered_s, one.place.height) for one in told if one.answered_s is not None and one.place)
    highest, answered = -1, 0
    for one in sorted(told, key=lambda one: one.submitted_s):
        while answered < len(answers) and answers[answered][0] < one.submitted_s:
            highest = max(highest, answers[answered][1])
            answered += 1
        for place in places.get(one.tx_id, ()):
            if place.height <= highest:
                yield f"{one.tx_id} is in block {place.height}, but block {highest} was known before it was submitted"


def _places(node: NodeSeen) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = defaultdict(list)
    for height, block in enumerate(node.blocks):
        for index, tx_id in enumerate(block.tx_ids):
            found[tx_id].append(Place(height, index))
    return found


# --- the clients ---


class Clients(ClientThreads):
    """One client per node, each with one transaction after the other, from entering to leaving.

    A client that gets no answer sometimes gives up, which leaves a transaction whose fate it does not know, and
    sometimes submits the same bytes through another node, which must not make two of one.
    """

    def __init__(
        self,
        network: LocalNetwork,
        issuer: Issuer,
        *,
        rng: random.Random,
        pause_s: float = 0.02,
        timeout_s: float = 120.0,
    ) -> None:
        urls = [node.rpc for node in network.nodes]
        clients = [[NodeClient(url, timeout_s=ANSWER_TIMEOUT_S) for url in urls] for _ in urls]
        super().__init__(partial(self._turn, i, clients[i], random.Random(rng.random())) for i in range(len(urls)))
        self.told: list[Told] = []
        """In the order in which their clients were done with them."""
        self.refused: Counter[str] = Counter()
        """Why nodes did not take a transaction, by reason."""
        self._issuer = issuer
        self._pause_s = pause_s
        self._timeout_s = timeout_s
        self._acknowledged = Counter[int]()
        self._lock = threading.Lock()

    def acknowledged(self, index: int) -> int:
        """Return how many transactions a node has acknowledged to anybody."""
        return self._acknowledged[index]

    def wait(self, *indexes: int, more: int = 1) -> float:
        """Wait until each of these nodes has acknowledged so many more; return the seconds it took."""
        started = time.monotonic()
        wanted = {i: self._acknowledged[i] + more for i in indexes}
        while True:
            missing = [i for i, count in wanted.items() if self._acknowledged[i] < count]
            if not missing:
                return time.monotonic() - started
            self.check()
            taken = time.monotonic() - started
            assert taken < self._timeout_s, f"for {taken:.0f} s nodes {missing} have acknowledged nothing"
            time.sleep(0.02)

    def _turn(self, index: int, clients: Sequence[NodeClient], rng: random.Random) -> float:
        return self._pause_s if self._one(index, clients, rng) else 0.1

    def _one(self, index: int, clients: Sequence[NodeClient], rng: random.Random) -> bool:
        """Submit one transaction and remember what became of it; tell whether it was acknowledged."""
        try:
            data, tx_id = self._issuer.signed(*clients[index].network())
        except (NodeUnreachable, CallFailed):
            return False
        asked = [index, *rng.sample([i for i in range(len(clients)) if i != index], rng.randrange(2))]
        submitted_s = time.monotonic()
        for through in asked:
            place = self._ask(clients[through], data, tx_id)
            if place is not None:
                self.told.append(Told(tx_id, index, submitted_s, time.monotonic(), place))
                with self._lock:
                    self._acknowledged[through] += 1
                return through == index
        self.told.append(Told(tx_id, index, submitted_s))
        return False

    def _ask(self, client: NodeClient, data: bytes, tx_id: str) -> Place | None:
        """Submit to one node and wait; None: it did not say that the transaction is in a block."""
        try:
            client.submit(data)
            found = client.call("tx_wait", tx_id=tx_id, timeout_ms=WAIT_MS)
        except CallFailed as error:
            self.refused[error.reason or error.detail] += 1
            return None
        except NodeUnreachable:
            return None
        return Place(found["height"], found["index"]) if found["status"] == "committed" else None


# --- what nodes have ---


def read_node(network: LocalNetwork, index: int, *, first: int = 0) -> NodeSeen:
    """Ask a node for its blocks from a height on, and how many equivocations it heard."""
    head = network.height(index)
    blocks: list[BlockSeen] = []
    for start in range(first, head + 1, BLOCKS_PER_REQUEST):
        heights = range(start, min(start + BLOCKS_PER_REQUEST, head + 1))
        for found in _call_many(network, index, "chain_block", [{"height": height} for height in heights]):
            tx_ids = tuple(item["tx_id"] for item in found["transactions"])
            blocks.append(BlockSeen(found["hash"], found["parent_hash"], found["state_root"], tx_ids))
    return NodeSeen(tuple(blocks), int(harness.metric(network, index, "pila_equivocations_total")))


def _call_many(network: LocalNetwork, index: int, method: str, many: Sequence[Mapping[str, object]]) -> list[Any]:
    calls = [{"jsonrpc": "2.0", "id": i, "method": method, "params": dict(params)} for i, params in enumerate(many)]
    request = urllib.request.Request(
        network.nodes[index].rpc + "/rpc", json.dumps(calls).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answers = json.load(response)
    assert len(answers) == len(many), answers
    return [answer["result"] for answer in sorted(answers, key=lambda answer: int(answer["id"]))]
