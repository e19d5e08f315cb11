"""A hundred validators far apart, in one process: blocks a minute, messages and CPU a block, what a view change costs.

    .venv/bin/python -m benchmarks.wide_area [--validators 100] [--seconds 20] [--rate 400]

Replica, journal, signer, ledger, encodings and signatures are the production code; network, clock and
disk are emulated. Each node is one core: while it works – its CPU time is measured as it happens – what
arrives waits. A synced write costs WRITE_US; a node's messages leave one after the other over an uplink
of UPLINK_MEGABITS; one-way delays are those of points on a square, 5 to 125 ms apart, with a tenth of jitter.
Each distinct signature is verified once in the emulation, and its measured time is charged to every node that
verifies it: the answers are the same, and a hundred nodes fit on one core. Not
emulated: loss, the transport's encryption, and who passes transactions on (each reaches every node after
one delay). With f dead, measuring begins once each of them has let a turn go by. Figures of others in the
results are published ones, not measured here.
"""

import argparse
import heapq
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest import mock

from benchmarks.report import save
from node import codec
from node.chain import verification
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.definition_file import read_definition
from node.chain.ledger import Ledger
from node.chain.records.institution import Purpose
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.transaction import make_transaction
from node.consensus.effects import Effect
from node.consensus.inputs import Input, Timer, TimerKind
from node.crypto import merkle
from node.crypto.signing import Algorithm, verify
from node.crypto.verified import SignatureCache
from node.errors import Rejected
from node.journal import Journal
from node.keystore import InstitutionSigner
from node.primitives import Hash, Height, InstitutionId, PublicKey, Signature
from node.replica import Member, Replica
from node.signer.local import HeldKeys, LocalSigner
from node.state.kv import MemoryStore, WriteBatch
from tools.commands.catalogue import read_table
from tools.commands.demo import DEMO_FOLDER
from tools.console import open_keystore
from tools.testnet import Testnet, write_testnet

WRITE_US: Final = 1_000
UPLINK_MEGABITS: Final = 1_000
DELAY_US: Final = (5_000, 125_000)
JITTER_PERCENT: Final = 10
IDS_PER_TRANSACTION: Final = 24
"""Makes a transaction of about 1 KB, the size that CometBFT publishes figures for."""
WARM_UP_US: Final = 3_000_000
VIEW_CHANGES: Final = 5
AUTHORITIES: Final = 2
"""The first validators of a test network; they issue nothing."""
ISSUERS: Final = 6
BASE_PORT: Final = 20_000
"""Written into the homes, never opened."""


class Verifications:
    """Verifies each distinct signature once; a node that asks again is charged what it cost the first time."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, PublicKey, Hash, Signature], tuple[bool, float]] = {}
        self.owed_us = 0.0
        """What the node at work has to pay beside its own CPU time."""

    def __call__(self, algorithm: int, public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
        """As `node.crypto.signing.verify`."""
        place = (algorithm, public_key, digest, signature)
        known = self._known.get(place)
        if known is not None:
            self.owed_us += known[1]
            return known[0]
        started = time.thread_time()
        answer = verify(algorithm, public_key, digest, signature)
        self._known[place] = (answer, (time.thread_time() - started) * 1e6)
        return answer


class SlowDisk(MemoryStore):
    """A store in memory that counts its synced writes: each costs its node WRITE_US."""

    def __init__(self) -> None:
        super().__init__()
        self.synced = 0

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        """Write at once; the node pays when its step is over."""
        super().write(batch, sync=sync)
        self.synced += sync


@dataclass(slots=True)
class Traffic:
    """What went over the network."""

    messages: int = 0
    bytes: int = 0

    def since(self, other: "Traffic") -> "Traffic":
        """Return what was added since a copy was made."""
        return Traffic(self.messages - other.messages, self.bytes - other.bytes)


@dataclass(slots=True)
class Emulation:
    """Simulated time in µs, the machines on it and the wires between them."""

    random: Random
    verifications: Verifications
    now_us: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    machines: "list[Machine]" = field(default_factory=list)
    places: list[tuple[float, float]] = field(default_factory=list)
    heap: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    numbered: int = 0

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        """Do something later."""
        self.numbered += 1
        heapq.heappush(self.heap, (time_us, self.numbered, action))

    def delay_us(self, one: int, other: int) -> int:
        """Return the one-way delay of a message between two machines."""
        (x, y), (u, v) = self.places[one], self.places[other]
        low, high = DELAY_US
        straight = low + (high - low) * min(1.0, ((x - u) ** 2 + (y - v) ** 2) ** 0.5 / 2**0.5)
        return int(straight * (1 + self.random.uniform(0, JITTER_PERCENT / 100)))

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Take events in order until a condition holds."""
        while not is_over():
            self.now_us, _, action = heapq.heappop(self.heap)
            action()


class Machine:
    """One validator with one core; fills the replica's `Environment` and `Observer`."""

    def __init__(self, emulation: Emulation, index: int, testnet: Testnet) -> None:
        check = partial(emulation.verifications, Algorithm.ED25519)
        disk, signatures = SlowDisk(), SignatureCache(check)
        ledger = Ledger.open(disk, testnet.document, verify_digest=signatures)
        self._emulation = emulation
        self._index = index
        self._start_ms = ledger.genesis.time_ms + 1_000
        self._disks = (disk, SlowDisk(), SlowDisk())
        self._paid = disk.synced
        self._outbox: list[tuple[int, bytes]] = []
        self._timers: dict[TimerKind, int] = {}
        self._free_us = 0
        self._uplink_free_us = 0
        self.is_dead = False
        self.cpu_us = 0.0
        self.ledger = ledger
        self.committed_us: dict[Height, int] = {}
        self.views: dict[Height, int] = {}
        home = testnet.nodes[index]
        self.name = home.institution
        key = open_keystore(home.home / "keys" / "node.json").ed25519(Purpose.CONSENSUS)
        journal = Journal(self._disks[1])
        journal.begin()
        self.replica = Replica(
            institution=self.name,
            chain=ledger,
            environment=self,
            member=Member(LocalSigner(HeldKeys(key), ledger.network, self._disks[2]), journal, bytes(32)),
            observer=self,
            verify_digest=signatures,
        )

    def work(self, action: Callable[[], None]) -> None:
        """Do something when this machine's core is free, and pay for it."""
        emulation = self._emulation
        if self.is_dead:
            return
        if self._free_us > emulation.now_us:
            emulation.at(self._free_us, lambda: self.work(action))
            return
        emulation.verifications.owed_us = 0.0
        started = time.thread_time()
        action()
        cpu_us = (time.thread_time() - started) * 1e6 + emulation.verifications.owed_us
        synced = sum(disk.synced for disk in self._disks)
        self.cpu_us += cpu_us
        self._free_us = emulation.now_us + round(cpu_us) + (synced - self._paid) * WRITE_US
        self._paid = synced
        self._post()

    def _post(self) -> None:
        """Send what the step wanted sent, one after the other over the uplink."""
        emulation = self._emulation
        leaves_us = max(self._free_us, self._uplink_free_us)
        for receiver, payload in self._outbox:
            leaves_us += max(1, len(payload) * 8 // UPLINK_MEGABITS)
            emulation.traffic.messages += 1
            emulation.traffic.bytes += len(payload)
            machine = emulation.machines[receiver]
            emulation.at(leaves_us + emulation.delay_us(self._index, receiver), machine.delivery(self.name, payload))
        self._uplink_free_us = leaves_us
        self._outbox.clear()

    def delivery(self, sender: InstitutionId, payload: bytes) -> Callable[[], None]:
        """Return the arrival of a message."""
        return lambda: self.work(lambda: self.replica.receive(sender, payload))

    def submit(self, data: bytes) -> None:
        """A transaction arrives."""
        self.ledger.submit(data)
        self.replica.on_transactions_pending()

    # What the replica needs

    def now_ms(self) -> int:
        """Simulated time by an exact clock."""
        return self._start_ms + self._emulation.now_us // 1_000

    def set_timer(self, timer: Timer, delay_ms: int) -> None:
        """Fire later, unless another of the kind was set."""
        version = self._timers[timer.kind] = self._timers.get(timer.kind, 0) + 1

        def fire() -> None:
            if self._timers[timer.kind] == version:
                self.work(lambda: self.replica.on_timer(timer))

        self._emulation.at(self._emulation.now_us + delay_ms * 1_000, fire)

    def send(self, receiver: InstitutionId, payload: bytes) -> None:
        """Put into the outbox of this step."""
        self._outbox += [(m._index, payload) for m in self._emulation.machines if m.name == receiver]  # noqa: SLF001 – machines of one class

    def broadcast(self, receivers: Sequence[InstitutionId] | None, payload: bytes) -> None:
        """As `send`, to all others; every machine here is a validator."""
        del receivers
        self._outbox += [(index, payload) for index in range(len(self._emulation.machines)) if index != self._index]

    def request_sync(self, target_height: Height, peers: Sequence[InstitutionId]) -> None:
        """Nobody is ever so far behind here."""

    # What the replica tells

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        """Of no interest."""

    def rejected(self, sender: InstitutionId, rejection: Rejected) -> None:
        """Say what should not happen."""
        sys.stderr.write(f"{self.name} refused {sender}: {rejection}\n")

    def committed(self, block: Block, certificate: Certificate) -> None:
        """Note when and in which view a block was final here."""
        self.committed_us[block.header.height] = self._emulation.now_us
        self.views[block.header.height] = certificate.view

    def heights_of_later_views(self) -> set[Height]:
        """Return the heights that needed another view than the first."""
        return {height for height, view in self.views.items() if view > 0}


class Load:
    """Signed transactions of some universities, a new one every so often, which every node gets."""

    def __init__(self, emulation: Emulation, testnet: Testnet) -> None:
        self._emulation = emulation
        self._ledger = emulation.machines[0].ledger
        issuers = [node.institution for node in testnet.nodes[AUTHORITIES:][:ISSUERS]]
        self._signers = [open_keystore(testnet.keystore(issuer)).institution_signers()[0] for issuer in issuers]
        self._made = 0
        self.bytes = 0

    def publish(self) -> None:
        """Let each issuer publish what it will issue."""
        template = read_table(min((DEMO_FOLDER / "definitions").glob("*.toml")))
        for signer in self._signers:
            content = read_definition({**template, "id": f"{signer.institution}/bench/1"})
            self._spread(self._transaction(signer, "definition.publish", DefinitionPublish(content)))

    def keep_coming(self, rate: int) -> None:
        """Issue `rate` transactions a second from now on."""
        emulation = self._emulation

        def next_one() -> None:
            signer = self._signers[self._made % len(self._signers)]
            ids = [emulation.random.randbytes(32) for _ in range(IDS_PER_TRANSACTION)]
            issue = CredentialIssue(f"{signer.institution}/bench/1", merkle.root(ids), len(ids), b"".join(ids))
            data = self._transaction(signer, "credential.issue", issue)
            self.bytes = len(data)
            self._spread(data)
            emulation.at(emulation.now_us + 1_000_000 // rate, next_one)

        next_one()

    def _transaction(self, signer: InstitutionSigner, kind: str, payload: DefinitionPublish | CredentialIssue) -> bytes:
        self._made += 1
        return codec.encode(
            make_transaction(
                self._ledger.network,
                self._ledger.epoch,
                signer=signer.institution,
                kind=kind,
                valid_until_height=self._ledger.head.height + 900,
                payload=payload,
                signers=[signer],
            )
        )

    def _spread(self, data: bytes) -> None:
        emulation = self._emulation
        source = emulation.random.randrange(len(emulation.machines))
        for index, machine in enumerate(emulation.machines):
            at_us = emulation.now_us + (0 if index == source else emulation.delay_us(source, index))
            emulation.at(at_us, _arrival(machine, data))


def _arrival(machine: Machine, data: bytes) -> Callable[[], None]:
    return lambda: machine.work(lambda: machine.submit(data))


class Network:
    """All machines of one run, started, warm and under load."""

    def __init__(self, testnet: Testnet, verifications: Verifications, *, rate: int, dead: int = 0) -> None:
        self.emulation = Emulation(Random(7), verifications)
        emulation = self.emulation
        for index in range(len(testnet.nodes)):
            emulation.places.append((emulation.random.random(), emulation.random.random()))
            emulation.machines.append(Machine(emulation, index, testnet))
        for machine in emulation.machines[1 : 1 + dead]:
            machine.is_dead = True
        for machine in emulation.machines:
            emulation.at(0, _starter(machine))
        self.load = Load(emulation, testnet)
        self.load.publish()
        self.pass_time(WARM_UP_US)
        self.load.keep_coming(rate)
        self.pass_time(WARM_UP_US)
        heights = self.witness.ledger.head.height + len(testnet.nodes)
        if dead:
            self.emulation.run_until(lambda: self.witness.ledger.head.height >= heights)

    @property
    def witness(self) -> Machine:
        """A machine that lives; what it has committed is what is measured."""
        return self.emulation.machines[0]

    def living(self) -> list[Machine]:
        """Return the machines that work."""
        return [machine for machine in self.emulation.machines if not machine.is_dead]

    def pass_time(self, microseconds: int) -> None:
        """Let simulated time pass."""
        end_us = self.emulation.now_us + microseconds
        self.emulation.at(end_us, lambda: None)
        self.emulation.run_until(lambda: self.emulation.now_us >= end_us)

    def measure(self, seconds: int) -> dict[str, Any]:
        """Return what `seconds` of simulated time brought."""
        emulation, witness = self.emulation, self.witness
        first, before = witness.ledger.head.height, Traffic(emulation.traffic.messages, emulation.traffic.bytes)
        cpu_us = sum(machine.cpu_us for machine in self.living())
        self.pass_time(seconds * 1_000_000)
        last = witness.ledger.head.height
        blocks = last - first
        if blocks == 0:
            return {"blocks": 0}
        found = [witness.ledger.block_at(height) for height in range(first + 1, last + 1)]
        included = sum(len(item[0].transactions) for item in found if item is not None)
        used_ms = (sum(machine.cpu_us for machine in self.living()) - cpu_us) / 1_000
        traffic = emulation.traffic.since(before)
        return {
            "simulated_seconds": seconds,
            "blocks_a_minute": round(blocks * 60 / seconds, 1),
            "transactions_a_second": round(included / seconds),
            "bytes_a_transaction": self.load.bytes,
            "credentials_a_second": round(included * IDS_PER_TRANSACTION / seconds),
            "milliseconds_between_blocks_median": round(self._interval_ms(first, last)),
            "blocks_by_view": dict(sorted(Counter(witness.views[h] for h in range(first + 1, last + 1)).items())),
            "messages_a_block": round(traffic.messages / blocks),
            "megabytes_a_block_all_nodes": round(traffic.bytes / blocks / 1e6, 2),
            "cpu_ms_a_block_a_node": round(used_ms / blocks / len(self.living()), 1),
        }

    def _interval_ms(self, first: Height, last: Height) -> float:
        times = [self.witness.committed_us[height] for height in range(max(first, 1), last + 1)]
        return statistics.median(after - before for before, after in pairwise(times)) / 1_000

    def view_changes(self, count: int) -> dict[str, Any]:
        """Kill the proposer of the height in progress `count` times; return what the change of view cost."""
        gaps_ms, timeouts_ms, messages, megabytes = [], [], [], []
        for _ in range(count):
            view = self.witness.replica.view()
            victim = next(m for m in self.emulation.machines if m.name == view.proposer)
            if victim is self.witness or victim.is_dead:
                self.pass_time(100_000)
                continue
            before, started = (
                Traffic(self.emulation.traffic.messages, self.emulation.traffic.bytes),
                self.emulation.now_us,
            )
            victim.is_dead = True
            known = self.witness.heights_of_later_views()
            limit_us = started + 60_000_000
            self.emulation.at(limit_us, lambda: None)
            self.emulation.run_until(
                lambda known=known, limit=limit_us: (  # type: ignore[misc]  # bound now
                    self.witness.heights_of_later_views() != known or self.emulation.now_us >= limit
                )
            )
            traffic = self.emulation.traffic.since(before)
            changed = max(self.witness.heights_of_later_views(), default=0)
            if changed and changed - 1 in self.witness.committed_us:
                gaps_ms.append((self.witness.committed_us[changed] - self.witness.committed_us[changed - 1]) / 1_000)
                timeouts_ms.append(view.view_timeout_ms)
                messages.append(traffic.messages)
                megabytes.append(traffic.bytes / 1e6)
        if not gaps_ms:
            return {"seen": 0}
        return {
            "seen": len(gaps_ms),
            "ms_between_blocks_median": round(statistics.median(gaps_ms)),
            "view_timeout_ms_median": round(statistics.median(timeouts_ms)),
            "worst_ratio_to_timeout": round(max(g / t for g, t in zip(gaps_ms, timeouts_ms, strict=True)), 2),
            "messages_median": round(statistics.median(messages)),
            "megabytes_median_all_nodes": round(statistics.median(megabytes), 1),
        }


def _starter(machine: Machine) -> Callable[[], None]:
    return lambda: machine.work(machine.replica.start)


PUBLISHED: Final = {
    "CometBFT v1-alpha.2, 175 validators, 200 cloud machines": "400 tx/s of 1 KB at saturation, 20–40 blocks a minute "
    "in one region; about 10 blocks a minute and up to 4 rounds with emulated wide-area delays",
    "Besu QBFT, 4 validators": "520–645 token transfers a second, 750–1,200 simple transactions a second",
    "HotStuff (2-chain), 10 nodes in 5 regions, 3 of them dead": "15,500 of 97,000 tx/s: 84 % lost",
}
"""Sources: CometBFT QA report v1; Hyperledger Besu wiki, QBFT performance; asonnino/hotstuff, benchmark data."""


def main() -> None:
    """Measure with everybody alive, then view changes, then with f dead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=int, default=400)
    arguments = parser.parse_args()
    count, seconds, rate = arguments.validators, arguments.seconds, arguments.rate
    figures: dict[str, Any] = {"validators": count, "transactions_a_second_offered": rate}
    verifications = Verifications()
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(verification, "verify", verifications):
        testnet = write_testnet(Path(folder) / "network", validators=count, base_port=BASE_PORT)
        network = Network(testnet, verifications, rate=rate)
        figures["all alive"] = network.measure(seconds)
        figures["proposer killed under load"] = network.view_changes(min(VIEW_CHANGES, (count - 1) // 3))
        dead = (count - 1) // 3
        figures[f"{dead} dead"] = Network(testnet, verifications, rate=rate, dead=dead).measure(seconds)
    figures["published by others"] = PUBLISHED
    command = f"python -m benchmarks.wide_area --validators {count} --seconds {seconds} --rate {rate}"
    save("wide_area", command, figures)


if __name__ == "__main__":
    main()
