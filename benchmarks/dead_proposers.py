"""What f dead proposers cost: clients one transaction after the other on the same nodes, all alive and with f killed.

Clients talk to the nodes that stay, in both phases, so that none loses its partner. On a machine whose cores are all
busy the dead also leave their share of them to the living, which hides a loss; so beside the ratio of transactions
stands what does not depend on cores: the share of time that heights with a view above 0 took beyond an ordinary height.
`at_once` begins with the kill, `later` is the same again when what is held against the dead has grown.
Run: `.venv/bin/python -m benchmarks.dead_proposers`.
"""

import argparse
import asyncio
import contextlib
import itertools
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from benchmarks.cluster import Issuer, make_batches, publish_definitions
from benchmarks.report import save
from tools.local_network import LocalNetwork, running

WAIT_MS: Final = 30_000
AHEAD: Final = 400
"""Transactions that are signed before somebody wants them."""


async def _call(session: aiohttp.ClientSession, url: str, method: str, **params: object) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with session.post(url + "/rpc", json=body) as response:
        answer = await response.json()
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return dict(answer["result"])


class Supply:
    """Fresh transactions, signed by a thread a little ahead of those who submit them: they expire with the height."""

    def __init__(self, network: LocalNetwork, issuers: Sequence[Issuer]) -> None:
        self._network = network
        self._issuers = issuers
        self._ready: queue.Queue[bytes] = queue.Queue(AHEAD)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sign, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    async def take(self) -> bytes:
        """Return the next one."""
        while True:
            try:
                return self._ready.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.002)

    def _sign(self) -> None:
        while not self._is_over.is_set():
            for data in make_batches(self._network, self._issuers, number=AHEAD // 8, size=1):
                while not self._is_over.is_set():
                    with contextlib.suppress(queue.Full):
                        self._ready.put(data, timeout=0.1)
                        break


async def _work(urls: Sequence[str], supply: Supply, clients: int, seconds: float) -> int:
    """Let clients submit and wait, one transaction after the other each, and return how many were committed in time."""
    until = time.monotonic() + seconds
    done = 0

    async def one(session: aiohttp.ClientSession, url: str) -> None:
        nonlocal done
        while True:
            data = await supply.take()
            tx_id = (await _call(session, url, "tx_submit", tx=data.hex()))["tx_id"]
            while (await _call(session, url, "tx_wait", tx_id=tx_id, timeout_ms=WAIT_MS))["status"] != "committed":
                pass
            if time.monotonic() > until:
                return
            done += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(one(session, urls[i % len(urls)]) for i in range(clients)))
    return done


def phase(network: LocalNetwork, alive: Sequence[int], supply: Supply, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one phase through the nodes that live in every phase."""
    node = network.client(alive[0])
    first = network.height(alive[0])
    done = asyncio.run(_work([network.nodes[i].rpc for i in alive], supply, options.clients, options.seconds))
    headers = [node.call("chain_header", height=height) for height in range(first, network.height(alive[0]) + 1)]
    times = [datetime.fromisoformat(header["time"]).timestamp() for header in headers]
    taken = [later - earlier for earlier, later in itertools.pairwise(times)]
    views = [int(header["view"]) for header in headers[1:]]
    ordinary = statistics.median(took for took, view in zip(taken, views, strict=True) if view == 0)
    lost = sum(max(0.0, took - ordinary) for took, view in zip(taken, views, strict=True) if view > 0)
    return {
        "transactions_per_second": round(done / options.seconds, 1),
        "blocks": len(views),
        "blocks_above_view_0": sum(view > 0 for view in views),
        "share_of_time_lost_to_views": round(lost / (times[-1] - times[0]), 4),
    }


def measure(validators: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a network of its own: all alive and f dead, in turns."""
    max_faulty = (validators - 1) // 3
    alive, dead = range(validators - max_faulty), range(validators - max_faulty, validators)
    found: dict[str, list[dict[str, Any]]] = {"all_alive": [], "at_once": [], "later": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "network", validators=validators) as network,
        Supply(network, publish_definitions(network)) as supply,
    ):
        for _ in range(options.rounds):
            found["all_alive"].append(phase(network, alive, supply, options))
            for index in dead:
                network.kill(index)
            found["at_once"].append(phase(network, alive, supply, options))
            found["later"].append(phase(network, alive, supply, options))
            network.start(*dead)
            network.wait_ready()
    figures: dict[str, Any] = {"validators": validators, "dead": max_faulty, "phases": found}
    for name in ("at_once", "later"):
        ratios = [
            one["transactions_per_second"] / whole["transactions_per_second"]
            for one, whole in zip(found[name], found["all_alive"], strict=True)
        ]
        figures[f"throughput_against_all_alive_{name}_median"] = round(statistics.median(ratios), 3)
        lost = statistics.median(one["share_of_time_lost_to_views"] for one in found[name])
        figures[f"share_of_time_lost_to_views_{name}_median"] = round(lost, 4)
    return figures


def main() -> None:
    """Measure four validators with one dead, and seven with two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validators", type=int, nargs="+", default=[4, 7])
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=12, help="each with one transaction under way")
    parser.add_argument("--name", default="dead_proposers", help="of the result file")
    options = parser.parse_args()
    figures = {f"validators_{count}": measure(count, options) for count in options.validators}
    save(
        options.name,
        f".venv/bin/python -m benchmarks.dead_proposers --seconds {options.seconds:g} --rounds {options.rounds}",
        figures,
    )


if __name__ == "__main__":
    main()
