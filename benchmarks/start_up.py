"""How long a node with 1,000,000 state keys takes to start, and what it weighs then.

Makes a real chain in a node's own database – definitions, batches, status changes, two state keys an entry – with
certificates of the network's own validators, then starts the node as a process and waits until it answers.
Run: `.venv/bin/python -m benchmarks.start_up`.
"""

import argparse
import secrets
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.report import save
from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate, Phase, VoteSignature, vote_digest
from node.chain.definition_file import read_definition
from node.chain.ledger import Ledger
from node.chain.records.credential import ReasonCode, StatusListEntry
from node.chain.records.institution import Purpose
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue, StatusChange, StatusEntry
from node.chain.transaction import make_transaction
from node.config import DATA_FOLDER, NODE_KEYSTORE_FILE
from node.crypto import merkle
from node.crypto.signing import Algorithm, Ed25519Signer
from node.keystore import InstitutionSigner
from node.limits import STATUS_ENTRIES_PER_TRANSACTION_MAX, STATUS_LIST_BITS
from node.state.leveldb import open_leveldb
from tools.commands.catalogue import read_table
from tools.commands.demo import DEMO_FOLDER
from tools.console import open_keystore
from tools.local_network import LocalNetwork

ISSUER: Final = "anahuac.mx"
CREDENTIALS_PER_BATCH: Final = 4_096
ENTRIES_PER_BLOCK: Final = 2 * STATUS_ENTRIES_PER_TRANSACTION_MAX
KEYS_PER_ENTRY: Final = 2
STARTS: Final = 5


@dataclass(frozen=True, slots=True)
class ChainMaker:
    """A ledger whose blocks all validators sign at once."""

    ledger: Ledger
    signer: InstitutionSigner
    consensus: dict[str, Ed25519Signer]
    block_interval_ms: int = 1_000
    """A chain whose head lies in the future cannot go on: where blocks are many, keep it short."""

    def commit(self, kind: str, *payloads: msgspec.Struct) -> None:
        """Put transactions into one block."""
        ledger = self.ledger
        for payload in payloads:
            transaction = make_transaction(
                ledger.network,
                0,
                signer=self.signer.institution,
                kind=kind,
                valid_until_height=ledger.head.height + 100,
                payload=payload,
                signers=[self.signer],
            )
            ledger.submit(codec.encode(transaction))
        block = ledger.build_block(proposer=ISSUER, timestamp_ms=ledger.head.timestamp_ms + self.block_interval_ms)
        assert len(block.transactions) == len(payloads), f"{len(block.transactions)} of {len(payloads)} fit the block"
        ledger.commit_block(block, self.certificate(block))

    def certificate(self, block: Block) -> Certificate:
        """Sign a block by the first Q validators."""
        height, digest_of = block.header.height, block.hash()
        validators = self.ledger.validators_at(height)
        digest = vote_digest(self.ledger.network, Phase.COMMIT, 0, height, 0, digest_of)
        votes = tuple(
            VoteSignature(index, self.consensus[member.institution].sign(digest))
            for index, member in enumerate(validators.members[: validators.quorum])
        )
        return Certificate(int(Algorithm.ED25519), int(Phase.COMMIT), 0, height, 0, digest_of, votes)


def fill(maker: ChainMaker, state_keys: int) -> None:
    """Issue credentials, then change the status of each until the state has so many keys."""
    content = read_definition(
        {**read_table(min((DEMO_FOLDER / "definitions").glob("*.toml"))), "id": f"{ISSUER}/bench/1"}
    )
    maker.commit("definition.publish", DefinitionPublish(content))
    entries = max(0, state_keys - maker.ledger.state.key_count) // KEYS_PER_ENTRY + 1
    for _ in range(-(-entries // CREDENTIALS_PER_BATCH)):
        ids = [secrets.token_bytes(32) for _ in range(CREDENTIALS_PER_BATCH)]
        maker.commit(
            "credential.issue", CredentialIssue(content.id, merkle.root(ids), CREDENTIALS_PER_BATCH, b"".join(ids))
        )
    places = _places()
    while maker.ledger.state.key_count < state_keys:
        maker.commit("credential.suspend", *(_change(places) for _ in range(2)))


def _places() -> Iterator[StatusListEntry]:
    number = 0
    while True:
        yield StatusListEntry(number // STATUS_LIST_BITS, number % STATUS_LIST_BITS)
        number += 1


def _change(places: Iterator[StatusListEntry]) -> StatusChange:
    entries = sorted(
        (
            StatusEntry(secrets.token_bytes(32), ReasonCode.OTHER, next(places))
            for _ in range(STATUS_ENTRIES_PER_TRANSACTION_MAX)
        ),
        key=lambda entry: entry.status_key,
    )
    return StatusChange(ISSUER, tuple(entries))


def start_once(network: LocalNetwork) -> tuple[float, float, int]:
    """Start node 0 and return seconds until it answers, its CPU seconds by then, and its memory."""
    started = time.perf_counter()
    network.start(0)
    network.wait_until(lambda: network.height(0) > 0, "an answer", 120, 0)
    seconds, cpu = time.perf_counter() - started, network.cpu_seconds()[0]
    time.sleep(2)
    memory = network.memory_bytes(0)
    network.stop(0)
    return seconds, cpu, memory


def main() -> None:
    """Make the chain, start the node a few times and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="state keys")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        network = LocalNetwork.make(Path(folder) / "network")
        store = open_leveldb(network.nodes[0].home / DATA_FOLDER / "chain", cache_bytes=64 * 2**20)
        consensus = {
            node.institution: open_keystore(node.home / NODE_KEYSTORE_FILE).ed25519(Purpose.CONSENSUS)
            for node in network.nodes
        }
        signer = open_keystore(network.testnet.keystore(ISSUER)).institution_signers()[0]
        maker = ChainMaker(Ledger.open(store, network.testnet.document), signer, consensus)
        began = time.process_time()
        fill(maker, options.keys)
        filling = time.process_time() - began
        keys, height = maker.ledger.state.key_count, maker.ledger.head.height
        store.close()
        starts = [start_once(network) for _ in range(STARTS)]
        disk = sum(file.stat().st_size for file in (network.nodes[0].home / DATA_FOLDER).rglob("*") if file.is_file())
    save(
        "start_up",
        ".venv/bin/python -m benchmarks.start_up",
        {
            "state_keys": keys,
            "height": height,
            "cpu_us_per_key_to_execute_and_commit": round(filling * 1e6 / keys, 1),
            "seconds_until_it_answers_median": round(statistics.median(item[0] for item in starts), 2),
            "cpu_seconds_until_it_answers_median": round(statistics.median(item[1] for item in starts), 2),
            "resident_mib_max": round(max(item[2] for item in starts) / 2**20),
            "disk_mib": round(disk / 2**20),
        },
    )


if __name__ == "__main__":
    main()
