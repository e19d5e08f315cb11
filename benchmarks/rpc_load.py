"""Reads over JSON-RPC: how many calls a second one node answers, and what a call costs it.

One node of an idle four-node network answers `credential_status` for keys that nobody asked for before;
the client is another process with some connections that each send the next call when the last is answered.
What counts is calls per CPU second of the node, which is what one core of its own would give.
Run: `.venv/bin/python -m benchmarks.rpc_load`.
"""

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.report import save
from tools.local_network import LocalNetwork, running

ISSUER: Final = "ugto.mx"


class Caller(asyncio.Protocol):
    """One connection: sends a call, waits for the answer, sends the next, until the time is over."""

    def __init__(self, host: str, bodies: list[bytes], until: float, over: asyncio.Future[None]) -> None:
        self._head = (
            f"POST /rpc HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: ".encode()
        )
        self._bodies = bodies
        self._until = until
        self._over = over
        self._buffer = b""
        self._sent = 0.0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first call."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        """Take the answer and send the next call."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = body[length:]
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        assert b'"result"' in body, body[:200]
        if now < self._until:
            self._next()
        else:
            self._transport.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Say that it is over."""
        if not self._over.done():
            self._over.set_result(None)

    def _next(self) -> None:
        body = self._bodies[len(self.latencies) % len(self._bodies)]
        self._sent = time.perf_counter()
        self._transport.write(self._head + str(len(body)).encode() + b"\r\n\r\n" + body)


async def load(url: str, bodies: list[bytes], *, connections: int, seconds: float) -> list[float]:
    """Call for some seconds; return how long each call took."""
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    until = time.perf_counter() + seconds
    callers = []
    share = len(bodies) // connections
    for index in range(connections):
        over: asyncio.Future[None] = loop.create_future()
        caller = Caller(address.netloc, bodies[index * share : (index + 1) * share], until, over)
        await loop.create_connection(partial(_same, caller), host, port)
        callers.append((caller, over))
    await asyncio.gather(*(over for _, over in callers))
    return [latency for caller, _ in callers for latency in caller.latencies]


def _same(caller: Caller) -> Caller:
    return caller


def call_body(method: str, **params: object) -> bytes:
    """Return one call."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()


def measure(network: LocalNetwork, bodies: list[bytes], connections: int, seconds: float) -> dict[str, float]:
    """Load node 0 and return rate, latency and CPU."""
    cpu = network.cpu_seconds()[0]
    started = time.perf_counter()
    latencies = asyncio.run(load(network.nodes[0].rpc, bodies, connections=connections, seconds=seconds))
    took = time.perf_counter() - started
    used = network.cpu_seconds()[0] - cpu
    return {
        "calls_per_second": round(len(latencies) / took),
        "calls_per_node_cpu_second": round(len(latencies) / used),
        "node_cpu_us_per_call": round(used / len(latencies) * 1e6, 1),
        "latency_p50_ms": round(statistics.median(latencies) * 1_000, 2),
        "latency_p99_ms": round(statistics.quantiles(latencies, n=100)[98] * 1_000, 2),
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    count = 64_000
    methods = {
        "credential_status": [
            call_body("credential_status", issuer=ISSUER, status_key=secrets.token_hex(32)) for _ in range(count)
        ],
        "credential_statusPrefix": [
            call_body("credential_statusPrefix", issuer=ISSUER, prefix=secrets.token_hex(2)) for _ in range(count)
        ],
        "node_status": [call_body("node_status")] * count,
        "state_proof": [call_body("state_proof", key=f"sta/{ISSUER}/{secrets.token_hex(32)}") for _ in range(count)],
    }
    figures: dict[str, object] = {"connections": options.connections, "seconds_each": options.seconds}
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "network") as network:
        for method, bodies in methods.items():
            measure(network, bodies, options.connections, 0.5)
            found = measure(network, bodies, options.connections, options.seconds)
            figures.update({f"{method}.{name}": value for name, value in found.items()})
    save("rpc_load", "python -m benchmarks.rpc_load", figures)


if __name__ == "__main__":
    main()
