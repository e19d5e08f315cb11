"""Four validators and the load on one machine: batches, single credentials, latency on an idle network.

Transactions are made and signed before the clock starts; the clock stops when a node has the last one
in a block. CPU is that of the four node processes, by the operating system's account. Writes are durable:
every block and every vote is synced. Run: `.venv/bin/python -m benchmarks.cluster`.
"""

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from benchmarks.report import save
from node import codec
from node.chain.definition_file import read_definition
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.transaction import make_transaction
from node.crypto import merkle
from node.keystore import InstitutionSigner
from node.primitives import CatalogueId
from tools.commands.catalogue import read_table
from tools.commands.demo import DEMO_FOLDER
from tools.console import open_keystore
from tools.local_network import LocalNetwork, running

ISSUERS: Final = ("anahuac.mx", "bajio.delasalle.edu.mx", "itleon.edu.mx", "ugto.mx", "udec.edu.mx", "tecmilenio.mx")
CALLS_PER_REQUEST_MAX: Final = 50
REQUEST_BYTES: Final = 900_000
REQUESTS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Issuer:
    """One university that issues under its own definition."""

    signer: InstitutionSigner
    definition: CatalogueId


def publish_definitions(network: LocalNetwork) -> list[Issuer]:
    """Let every issuer publish the same definition under its own name."""
    template = read_table(min((DEMO_FOLDER / "definitions").glob("*.toml")))
    client, issuers = network.client(), []
    for institution in ISSUERS:
        signer = open_keystore(network.testnet.keystore(institution)).institution_signers()[0]
        content = read_definition({**template, "id": f"{institution}/bench/1"})
        client.transact(
            signer=institution, kind="definition.publish", payload=DefinitionPublish(content), signers=[signer]
        )
        issuers.append(Issuer(signer, content.id))
    return issuers


def make_batches(network: LocalNetwork, issuers: Sequence[Issuer], *, number: int, size: int) -> list[bytes]:
    """Make and sign `number` batches of `size` random credential ids, issuers in turn."""
    chain, epoch, height = network.client().network()
    made = []
    for index in range(number):
        issuer = issuers[index % len(issuers)]
        ids = [secrets.token_bytes(32) for _ in range(size)]
        transaction = make_transaction(
            chain,
            epoch,
            signer=issuer.signer.institution,
            kind="credential.issue",
            valid_until_height=height + 900,
            payload=CredentialIssue(issuer.definition, merkle.root(ids), size, b"".join(ids)),
            signers=[issuer.signer],
        )
        made.append(codec.encode(transaction))
    return made


async def submit_all(network: LocalNetwork, transactions: Sequence[bytes]) -> list[str]:
    """Submit to all nodes in turn, a few calls a request; returns the ids in order."""
    urls = [node.rpc + "/rpc" for node in network.nodes]
    ids: list[str] = [""] * len(transactions)
    calls = max(1, min(CALLS_PER_REQUEST_MAX, REQUEST_BYTES // (2 * len(transactions[0]) + 100)))
    starts = range(0, len(transactions), calls)
    groups = [range(start, min(start + calls, len(transactions))) for start in starts]
    gate = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def one(session: aiohttp.ClientSession, number: int, group: range) -> None:
        body = [
            {"jsonrpc": "2.0", "id": i, "method": "tx_submit", "params": {"tx": transactions[i].hex()}} for i in group
        ]
        async with gate, session.post(urls[number % len(urls)], json=body) as response:
            for answer in await response.json():
                if "error" in answer:
                    raise RuntimeError(f"transaction {answer['id']} refused: {answer['error']}")
                ids[answer["id"]] = answer["result"]["tx_id"]

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session, number, group) for number, group in enumerate(groups)))
    return ids


async def wait_committed(network: LocalNetwork, ids: Sequence[str]) -> None:
    """Wait until the first node has every transaction in a block."""
    async with aiohttp.ClientSession() as session:
        for start in range(0, len(ids), CALLS_PER_REQUEST_MAX):
            waiting = list(ids[start : start + CALLS_PER_REQUEST_MAX])
            while waiting:
                body = [
                    {"jsonrpc": "2.0", "id": tx_id, "method": "tx_wait", "params": {"tx_id": tx_id}}
                    for tx_id in waiting
                ]
                async with session.post(network.nodes[0].rpc + "/rpc", json=body) as response:
                    answers = await response.json()
                waiting = [answer["id"] for answer in answers if answer["result"]["status"] != "committed"]


def burst(network: LocalNetwork, transactions: Sequence[bytes], credentials: int) -> dict[str, Any]:
    """Submit everything at once and measure until all of it is committed."""

    async def run() -> float:
        started = time.perf_counter()
        await wait_committed(network, await submit_all(network, transactions))
        return time.perf_counter() - started

    height, cpu = network.height(), sum(network.cpu_seconds().values())
    seconds = asyncio.run(run())
    used = sum(network.cpu_seconds().values()) - cpu
    return {
        "transactions": len(transactions),
        "credentials": credentials,
        "blocks": network.height() - height,
        "seconds": round(seconds, 2),
        "transactions_per_second": round(len(transactions) / seconds),
        "credentials_per_second": round(credentials / seconds),
        "cpu_ms_per_transaction_all_nodes": round(used * 1000 / len(transactions), 3),
        "cpu_us_per_credential_all_nodes": round(used * 1e6 / credentials, 2),
    }


def idle_latency(network: LocalNetwork, transactions: Sequence[bytes]) -> dict[str, Any]:
    """Submit one at a time on an idle network and wait for its block."""
    client, taken = network.client(), []
    for data in transactions:
        time.sleep(0.05)
        started = time.perf_counter()
        client.wait(client.submit(data))
        taken.append((time.perf_counter() - started) * 1000)
    ordered = sorted(taken)
    return {
        "transactions": len(taken),
        "median_ms": round(statistics.median(taken), 1),
        "p90_ms": round(ordered[int(len(ordered) * 0.9)], 1),
        "max_ms": round(ordered[-1], 1),
    }


def main() -> None:
    """Run the three loads on one fresh network and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=240, help="batches of 1,000 credentials")
    parser.add_argument("--singles", type=int, default=6_000, help="single-credential transactions")
    parser.add_argument("--idle", type=int, default=40, help="transactions on the idle network")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "network") as network:
        issuers = publish_definitions(network)
        figures: dict[str, Any] = {
            "idle": idle_latency(network, make_batches(network, issuers, number=options.idle, size=1)),
            "batches_of_1000": burst(
                network, make_batches(network, issuers, number=options.batches, size=1_000), options.batches * 1_000
            ),
            "single_credentials": burst(
                network, make_batches(network, issuers, number=options.singles, size=1), options.singles
            ),
            "node_memory_mib": round(network.memory_bytes(0) / 2**20),
        }
    save("cluster", ".venv/bin/python -m benchmarks.cluster", figures)


if __name__ == "__main__":
    main()
