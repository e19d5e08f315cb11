"""Do votes wait? From accepting a proposal to its decision, calm and under loads that are not votes, in one run.

Calm and loaded phases take turns on one four-node network, so that the ratios hold whatever else the machine does:
transactions flood in through three nodes; every node answers reads; one node that lost its chain fetches it from the
others. In each phase single transactions are sent through the first node, one after the other. Two things are read
from the nodes' own metrics: the round trip from accepting a proposal to its decision, and how late the event loop
comes back.
Run: `.venv/bin/python -m benchmarks.vote_latency`.
"""

import argparse
import http.client
import json
import secrets
import shutil
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster import Issuer, burst, make_batches, publish_definitions
from benchmarks.report import save
from tools.local_network import LocalNetwork, running

LAG: Final = "pila_loop_lag_seconds"
TRIP: Final = "pila_consensus_round_trip_seconds"
READERS_PER_NODE: Final = 2
CALLS_PER_READ: Final = 20
WIPED: Final = 3
"""The node that loses its chain."""


class Reading:
    """Cumulative histograms of some nodes at one moment."""

    def __init__(self, network: LocalNetwork, indexes: Sequence[int]) -> None:
        self.values: dict[str, float] = {}
        for index in indexes:
            with urllib.request.urlopen(network.nodes[index].metrics, timeout=60) as response:
                for line in response.read().decode().splitlines():
                    name, _, value = line.rpartition(" ")
                    if name.startswith((LAG, TRIP)) and "_created" not in name:
                        self.values[name] = self.values.get(name, 0.0) + float(value)

    def since(self, before: "Reading", name: str) -> dict[str, float]:
        """Return mean, and the upper ends in ms of the buckets of the 99th percentile and of the worst."""
        gained = {key: value - before.values.get(key, 0.0) for key, value in self.values.items()}
        count = gained[f"{name}_count"]
        buckets = sorted(
            (float(key.partition('le="')[2].partition('"')[0]), value)
            for key, value in gained.items()
            if key.startswith(f"{name}_bucket")
        )
        below = [(bound, value) for bound, value in buckets if value >= 0.99 * count]
        worst = next(bound for bound, value in buckets if value >= count)
        mean = gained[f"{name}_sum"] / max(1.0, count)
        return {
            "count": count,
            "mean_ms": round(mean * 1_000, 2),
            "p99_below_ms": below[0][0] * 1_000,
            "worst_below_ms": worst * 1_000,
        }


class Load:
    """Something that goes on in threads until it is told to stop."""

    def __init__(self, *calls: Callable[[], None]) -> None:
        """Each call is made again and again by a thread of its own."""
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(call,), daemon=True) for call in calls]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call: Callable[[], None]) -> None:
        while not self._is_over.is_set():
            call()


def probe(network: LocalNetwork, transactions: Sequence[bytes], indexes: Sequence[int]) -> dict[str, Any]:
    """Send single transactions one after the other; return their latency and what the nodes measured meanwhile."""
    before, client, taken = Reading(network, indexes), network.client(), []
    for data in transactions:
        started = time.perf_counter()
        client.wait(client.submit(data))
        taken.append((time.perf_counter() - started) * 1_000)
        time.sleep(0.05)
    after = Reading(network, indexes)
    return {
        "transaction_median_ms": round(statistics.median(taken), 1),
        "round_trip": after.since(before, TRIP),
        "loop_lag": after.since(before, LAG),
    }


def flood_of_transactions(network: LocalNetwork, issuers: Sequence[Issuer], number: int) -> Load:
    """Singles come in through three nodes as fast as they are taken."""
    made = make_batches(network, issuers, number=number, size=1)
    parts = [iter(made[index::3]) for index in range(3)]

    def submitter(index: int) -> Callable[[], None]:
        client, part = network.client(1 + index), parts[index]

        def submit() -> None:
            data = next(part, None)
            if data is None:
                time.sleep(0.05)
            else:
                client.submit(data)

        return submit

    return Load(*(submitter(index) for index in range(3)))


def flood_of_reads(network: LocalNetwork) -> Load:
    """Every node answers batches of status questions."""

    def reader(index: int) -> Callable[[], None]:
        connection = http.client.HTTPConnection("127.0.0.1", network.nodes[index].ports.rpc, timeout=60)

        def read() -> None:
            params = [{"issuer": "ugto.mx", "status_key": secrets.token_hex(32)} for _ in range(CALLS_PER_READ)]
            calls = [
                {"jsonrpc": "2.0", "id": number, "method": "credential_status", "params": one}
                for number, one in enumerate(params)
            ]
            connection.request("POST", "/rpc", json.dumps(calls), {"Content-Type": "application/json"})
            connection.getresponse().read()

        return read

    return Load(*(reader(index) for index in range(4) for _ in range(READERS_PER_NODE)))


def main() -> None:
    """Take calm and loaded phases in turns and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=60, help="transactions a phase")
    parser.add_argument("--flood", type=int, default=6_000, help="transactions that flood in")
    parser.add_argument("--batches", type=int, default=300, help="batches of 1,000 on the chain that is fetched")
    options = parser.parse_args()
    phases: dict[str, list[dict[str, Any]]] = {"calm": [], "transactions": [], "reads": [], "sync_upload": []}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "network") as network:
        issuers = publish_definitions(network)
        everybody, staying = (0, 1, 2, 3), (0, 1, 2)

        def take(name: str, indexes: Sequence[int] = everybody) -> None:
            probes = make_batches(network, issuers, number=options.probes, size=1)
            phases[name].append(probe(network, probes, indexes))

        take("calm")
        with flood_of_transactions(network, issuers, options.flood):
            take("transactions")
        time.sleep(2)
        take("calm")
        with flood_of_reads(network):
            take("reads")
        take("calm")
        burst(network, make_batches(network, issuers, number=options.batches, size=1_000), options.batches * 1_000)
        network.stop(WIPED)
        shutil.rmtree(network.nodes[WIPED].home / "data" / "chain")
        take("calm", staying)
        network.start(WIPED)
        take("sync_upload", staying)
    calm_trip = statistics.median(found["round_trip"]["mean_ms"] for found in phases["calm"])
    calm_lag = statistics.median(found["loop_lag"]["mean_ms"] for found in phases["calm"])
    ratios = {
        name: {
            "round_trip": round(found[0]["round_trip"]["mean_ms"] / calm_trip, 2),
            "loop_lag": round(found[0]["loop_lag"]["mean_ms"] / calm_lag, 2),
        }
        for name, found in phases.items()
        if name != "calm"
    }
    command = " ".join([".venv/bin/python -m benchmarks.vote_latency", *sys.argv[1:]])
    save("vote_latency", command, {**phases, "ratio_to_calm": ratios})


if __name__ == "__main__":
    main()
