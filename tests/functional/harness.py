"""What the functional tests share: the command line as a process, a load, votes and hashes read from the outside.

Thin on purpose: networks are `tools/local_network.py`. Nothing here looks inside a node's memory; what a
node promised is read from the logs of those it promised it to.
"""

import ast
import contextlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from node import codec
from node.chain.block import PROTOCOL_VERSION
from node.chain.certificate import Network
from node.chain.definition_file import read_definition
from node.chain.genesis import parse_genesis
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.transaction import make_transaction, transaction_id
from node.crypto import merkle
from node.keystore import Keystore
from tools.commands.catalogue import read_table
from tools.local_network import LocalNetwork
from tools.node_client import CallFailed, NodeClient, NodeUnreachable
from tools.testnet import Testnet, TestnetNode, ports_of

REPOSITORY = Path(__file__).resolve().parents[2]
DEFINITIONS = REPOSITORY / "genesis" / "demo" / "definitions"
PATIENCE_S = 150.0
"""How long we wait for what must come; no test asserts on time, a loaded machine is slow."""
COMMAND_TIMEOUT_S = 150.0

ENCODING = threading.Lock()
"""The codec is for one thread, as a node has one; these tests have several that make transactions."""

# What the report hook in conftest.py shows when a test fails.
networks_in_use: list[LocalNetwork] = []


@dataclass(frozen=True)
class Ended:
    """How a command of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 – the command's own shape
        """What it printed, which must be one JSON value."""
        return json.loads(self.out)


def pila(
    *arguments: object,
    expect: int | None = 0,
    as_json: bool = True,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> Ended:
    """Run a command as a process of its own; it must end with `expect` (None: any) and never with a traceback.

    A command that does not end with 0 must say why: in one line on stderr, or by its answer on stdout.
    """
    words = [*prefix, sys.executable, "-m", "tools.pila", *map(str, arguments), *(["--json"] if as_json else [])]
    done = subprocess.run(
        words,
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
    )
    ended = Ended(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))
    shown = f"`pila {' '.join(map(str, arguments))}` ended with {ended.code}\n{ended.out}\n{ended.err}"
    assert "Traceback" not in ended.out + ended.err, shown
    assert expect is None or ended.code == expect, shown
    return ended


def refused(*arguments: object, code: int = 2) -> str:
    """Run a command that must end with a code and one sentence; return the sentence, the same in JSON as in text."""
    ended = pila(*arguments, expect=code)
    sentence = ended.err.strip()
    assert sentence, ended
    assert "\n" not in sentence, ended
    found = ended.json
    assert (found["ok"], found["error"]) == (False, sentence), ended
    return sentence


def start_pila(*arguments: object, log: Path) -> subprocess.Popen[bytes]:
    """Start a command without waiting for it."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "tools.pila", *map(str, arguments)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


@contextlib.contextmanager
def watched(network: LocalNetwork) -> Iterator[LocalNetwork]:
    """Show this network's logs when a test fails meanwhile, and stop its nodes in the end."""
    networks_in_use.append(network)
    try:
        yield network
    finally:
        network.stop()
        networks_in_use.remove(network)


def make_network(
    folder: Path,
    *,
    validators: int = 4,
    institutions: Path | None = None,
    verbose: bool = False,
    protocol_version: int = PROTOCOL_VERSION,
) -> LocalNetwork:
    """Write a network's files; `verbose`: nodes log every vote that they receive, for `votes_in`."""
    network = LocalNetwork.make(
        folder, validators=validators, institutions=institutions, protocol_version=protocol_version
    )
    if verbose:
        for node in network.nodes:
            log_votes(node.home)
    return network


def network_of(output: Path, genesis: Path, base_port: int, homes: Mapping[str, Path]) -> LocalNetwork:
    """Return the nodes of homes that somebody else has made; by institution, in order of their ports."""
    nodes = tuple(
        TestnetNode(home, institution, ports_of(base_port, index))
        for index, (institution, home) in enumerate(homes.items())
    )
    return LocalNetwork(Testnet(output, parse_genesis(genesis.read_bytes()), nodes))


def log_votes(home: Path) -> None:
    """Let a node log every consensus message that it receives."""
    config = home / "config.toml"
    text = config.read_text(encoding="utf-8")
    assert 'level = "info"' in text
    config.write_text(text.replace('level = "info"', 'level = "debug"'), encoding="utf-8")


def seed_of_run() -> int:
    """Return the seed that PILA_TEST_SEED names, else a new one; printed, so that chance can be had again."""
    seed = int(os.environ.get("PILA_TEST_SEED") or secrets.randbits(32))
    print(f"PILA_TEST_SEED={seed}")
    return seed


# --- institutions at work ---


@dataclass(frozen=True)
class Issuer:
    """An institution that issues batches of random ids under one definition: the cheapest real load."""

    keystore: Keystore
    definition: str

    def batch(self, client: NodeClient, size: int = 1) -> bytes:
        """Return a signed transaction that nobody has seen yet."""
        return self.signed(*client.network(), size)[0]

    def signed(self, network: Network, epoch: int, height: int, size: int = 1) -> tuple[bytes, str]:
        """Return a signed transaction that nobody has seen yet, and its id."""
        ids = [secrets.token_bytes(32) for _ in range(size)]
        with ENCODING:
            transaction = make_transaction(
                network,
                epoch,
                signer=self.keystore.institution,
                kind="credential.issue",
                valid_until_height=height + 900,
                payload=CredentialIssue(self.definition, merkle.root(ids), size, b"".join(ids)),
                signers=self.keystore.institution_signers()[:1],
            )
            return codec.encode(transaction), transaction_id(transaction, network, epoch).hex()

    def issue(self, client: NodeClient, size: int = 1) -> str:
        """Issue one batch, wait until it is in a block, and return the transaction's id."""
        tx_id = client.submit(self.batch(client, size))
        client.wait(tx_id)
        return tx_id


def publish(network: LocalNetwork, institution: str, slug: str) -> Issuer:
    """Let an institution publish a definition of its own; return its desk once every running node has it."""
    template = read_table(DEFINITIONS / "pespunte.toml")
    content = read_definition({**template, "id": f"{institution}/{slug}/1"})
    keystore = Keystore.open(network.testnet.keystore(institution))
    done = network.client().transact(
        signer=institution,
        kind="definition.publish",
        payload=DefinitionPublish(content),
        signers=keystore.institution_signers()[:1],
    )
    running_nodes = [i for i in range(len(network.nodes)) if network.is_running(i)]
    network.wait_height(done["height"], *running_nodes, timeout_s=PATIENCE_S)
    return Issuer(keystore, content.id)


class ClientThreads:
    """Clients that work beside the test, each in a thread of its own, from entering to leaving."""

    def __init__(self, turns: Iterable[Callable[[], float]]) -> None:
        """`turns`: what each client does over and over; a turn returns the seconds to pause before the next."""
        self._failure: BaseException | None = None
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(turn,), daemon=True) for turn in turns]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise in the test's own thread what has ended a client."""
        if self._failure is not None:
            raise AssertionError("a client failed") from self._failure

    def _work(self, turn: Callable[[], float]) -> None:
        try:
            while not self._is_over.is_set():
                self._is_over.wait(turn())
        except BaseException as error:  # noqa: BLE001 – shown by `check`, which is called in another thread
            self._failure = error


class Load(ClientThreads):
    """Issues through several nodes, one batch after the other each, and remembers what was acknowledged.

    Acknowledged means: a node said that the transaction is in a block.
    """

    def __init__(self, network: LocalNetwork, issuer: Issuer, *indexes: int) -> None:
        super().__init__([partial(self._issue, network.client(i)) for i in indexes])
        self.acknowledged: list[str] = []
        self._issuer = issuer

    def _issue(self, client: NodeClient) -> float:
        try:
            tx_id = client.submit(self._issuer.batch(client))
            found = client.call("tx_wait", tx_id=tx_id, timeout_ms=2_000)
        except (NodeUnreachable, CallFailed):
            # The node was killed, or is catching up: whoever asks tries again.
            return 0.1
        if found["status"] == "committed":
            self.acknowledged.append(tx_id)
        return 0.0

    def wait_acknowledged(self, more: int) -> None:
        """Wait for so many more acknowledgements."""
        wanted = len(self.acknowledged) + more
        deadline = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < wanted:
            self.check()
            assert time.monotonic() < deadline, f"{len(self.acknowledged)} of {wanted} acknowledged"
            time.sleep(0.02)


# --- what all nodes must agree on ---


def assert_same_chain(network: LocalNetwork, *indexes: int) -> int:
    """Every node has the same block hash at every height up to the lowest head; return that height."""
    clients = [network.client(i) for i in indexes or range(len(network.nodes))]
    height = min(int(client.call("node_status")["height"]) for client in clients)
    for number in range(height + 1):
        hashes = {client.call("chain_header", height=number)["hash"] for client in clients}
        assert len(hashes) == 1, f"height {number}: {hashes}"
    return height


def wait_level(network: LocalNetwork, *indexes: int) -> int:
    """Wait until nodes (default: all) have the highest head that any of them has, and return it."""
    chosen = indexes or tuple(range(len(network.nodes)))
    height = max(network.height(i) for i in chosen)
    network.wait_height(height, *chosen, timeout_s=PATIENCE_S)
    return height


def settled_height(network: LocalNetwork, *indexes: int) -> int:
    """Wait until nodes have one height that has not moved for two seconds, and return it: nothing is on its way."""
    deadline = time.monotonic() + PATIENCE_S
    seen, since = -1, time.monotonic()
    while time.monotonic() < deadline:
        heights = {network.height(i) for i in indexes}
        if heights != {seen}:
            seen, since = max(heights), time.monotonic()
        elif time.monotonic() - since > 2.0:
            return seen
        time.sleep(0.1)
    raise AssertionError(f"nodes {indexes} go on: {seen}")


def assert_committed(client: NodeClient, tx_ids: Iterable[str]) -> None:
    """A node has every one of these transactions in a block."""
    missing = [tx_id for tx_id in tx_ids if client.call("tx_get", tx_id=tx_id)["status"] != "committed"]
    assert missing == [], f"acknowledged, and lost: {missing}"


# --- votes, as others received them ---

_BYTES = r"(b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\")"
_VOTE = re.compile(
    r"message=(Prepare|Commit)\(epoch=(\d+), height=(\d+), view=(\d+), block_hash=" + _BYTES + r", validator=(\d+),"
)
_PROPOSAL = re.compile(
    r"message=(Proposal|NewView)\(head=ProposalHead\(epoch=(\d+), height=(\d+), view=(\d+), block_hash="
    + _BYTES
    + r", validator=(\d+),"
)
_VIEW_CHANGE = re.compile(
    r"message=(ViewChange)\(head=ViewChangeHead\(epoch=(\d+), height=(\d+), view=(\d+), "
    r"prepared_view=(?:None|\d+), prepared_hash=(None|" + _BYTES[1:-1] + r"), validator=(\d+),"
)


@dataclass(frozen=True, order=True)
class Place:
    """Where a validator may say one thing only."""

    height: int
    view: int
    kind: str
    validator: int


def votes_in(logs: Iterable[Path]) -> dict[Place, set[str]]:
    """What validators said, place by place, as the nodes with these logs received it."""
    found: dict[Place, set[str]] = defaultdict(set)
    for path in logs:
        with path.open(encoding="utf-8", errors="replace") as log:
            for line in log:
                if '"event":"step"' not in line or "MessageReceived" not in line:
                    continue
                text = str(json.loads(line)["input"])
                match = _VOTE.search(text) or _PROPOSAL.search(text) or _VIEW_CHANGE.search(text)
                if match is None:
                    continue
                kind, _, height, view, said, validator = match.groups()
                place = Place(int(height), int(view), kind, int(validator))
                found[place].add(repr(ast.literal_eval(said)))
    return found


def votes_since(network: LocalNetwork, offsets: dict[int, int]) -> list[Place]:
    """Return where votes were heard in the logs beyond these offsets."""
    parts = []
    for index, offset in offsets.items():
        log = network.nodes[index].home / "node.log"
        part = log.with_name("node.log.part")
        with log.open("rb") as file:
            file.seek(offset)
            part.write_bytes(file.read())
        parts.append(part)
    return list(votes_in(parts))


def assert_no_double_votes(network: LocalNetwork) -> None:
    """Nobody was heard saying two things at one place, by the logs and by the nodes' own count."""
    seen = votes_in(node.home / "node.log" for node in network.nodes)
    assert len(seen) > 20, "the logs show no votes"
    assert {place: said for place, said in seen.items() if len(said) > 1} == {}
    for index in range(len(network.nodes)):
        if network.is_running(index):
            assert metric(network, index, "pila_equivocations_total") == 0


def metric(network: LocalNetwork, index: int, name: str, *, timeout_s: float = 30.0) -> float:
    """Return one value of a node's metrics."""
    with urllib.request.urlopen(network.nodes[index].metrics, timeout=timeout_s) as response:
        text = response.read().decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + " "))


# --- raw HTTP ---


def http_call(
    network: LocalNetwork, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send one request to node 0 exactly as given; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", network.nodes[0].ports.rpc, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {"Content-Type": "application/json"}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
