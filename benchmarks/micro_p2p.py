"""What a message between nodes costs: CPU per small message, round trips, and throughput of large ones.

    .venv/bin/python -m benchmarks.micro_p2p [--rounds 3]

Two networks in one process and one event loop on 127.0.0.1, so CPU is that of both sides together. Best of the
rounds. Reading is not paced here: the limits per peer would otherwise be what is measured.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from typing import Final

import uvloop

from benchmarks.report import save
from node.crypto.hashing import sha256
from node.crypto.signing import Ed25519Signer
from node.p2p.connection import Bounds
from node.p2p.frames import FrameAssembler, make_frame
from node.p2p.network import Network
from node.p2p.noise import PLAINTEXT_BYTES_MAX, Cipher
from node.p2p.observer import PeerIdentity
from node.p2p.outbox import Outbox
from node.p2p.peer_book import PeerAddress, PeerBook

SMALL_BYTES: Final = 200
LARGE_BYTES: Final = 200_000
BURST_FRAMES: Final = 100
BURSTS: Final = 200
ROUND_TRIPS: Final = 2_000
LARGE_FRAMES: Final = 500
UNPACED: Final = Bounds(read_bytes_per_second=10**12, read_items_per_second=10**9)


class Pair:
    """Two connected networks."""

    def __init__(self) -> None:
        names = ("one.mx", "two.mx")
        signers = {name: Ed25519Signer(sha256(name.encode())) for name in names}
        keys = {signer.public_key: name for name, signer in signers.items()}
        self.received = 0
        self.expected = 0
        self.done = asyncio.Event()
        self.echoes = False

        def network(name: str, on_message: Callable[[PeerIdentity, int, bytes], None], book: PeerBook) -> Network:
            return Network(
                identity=signers[name],
                chain_id="benchmark-1",
                genesis_hash=sha256(b"genesis"),
                listen=("127.0.0.1", 0) if name == "one.mx" else None,
                book=book,
                authorise=keys.get,
                on_message=on_message,
                on_connect=lambda _: None,
                on_disconnect=lambda _: None,
                bounds=UNPACED,
            )

        self.one = network("one.mx", self.take, PeerBook())
        self.book = PeerBook()
        self.two = network("two.mx", self.take_back, self.book)

    def take(self, peer: PeerIdentity, channel: int, payload: bytes) -> None:
        """Count what the listener gets, or send it back."""
        if self.echoes:
            self.one.send(peer.institution, channel, payload)
            return
        self._count()

    def take_back(self, _peer: PeerIdentity, _channel: int, _payload: bytes) -> None:
        """Count what comes back."""
        self._count()

    async def until(self, count: int) -> None:
        """Wait until so many messages have arrived."""
        self.expected = count
        self.done.clear()
        if self.received < count:
            await self.done.wait()

    def _count(self) -> None:
        self.received += 1
        if self.received == self.expected:
            self.done.set()


async def measure_sockets() -> dict[str, float]:
    """Return the figures of one round over real sockets."""
    pair = Pair()
    tasks = [asyncio.create_task(pair.one.run())]
    await pair.one.listening.wait()
    assert pair.one.listen_address is not None
    pair.two.set_addresses([PeerAddress(*pair.one.listen_address, "one.mx")])
    tasks.append(asyncio.create_task(pair.two.run()))
    while not (  # noqa: ASYNC110 - waits once, before anything is measured
        pair.two.is_connected("one.mx") and pair.one.is_connected("two.mx")
    ):
        await asyncio.sleep(0.01)
    figures: dict[str, float] = {}

    payload = bytes(SMALL_BYTES)
    cpu = time.process_time()
    for _ in range(BURSTS):
        before = pair.received
        for _ in range(BURST_FRAMES):
            pair.two.send("one.mx", 0, payload)
        await pair.until(before + BURST_FRAMES)
    figures["200 B in bursts of 100, µs CPU a message, both sides"] = (
        (time.process_time() - cpu) * 1e6 / (BURSTS * BURST_FRAMES)
    )

    pair.echoes = True
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(ROUND_TRIPS):
        before = pair.received
        pair.two.send("one.mx", 0, payload)
        await pair.until(before + 1)
    figures["200 B alone, µs a round trip"] = (time.perf_counter() - wall) * 1e6 / ROUND_TRIPS
    figures["200 B alone, µs CPU a message, both sides"] = (time.process_time() - cpu) * 1e6 / ROUND_TRIPS / 2
    pair.echoes = False

    payload = bytes(LARGE_BYTES)
    begin, wall = pair.received, time.perf_counter()
    for sent in range(1, LARGE_FRAMES + 1):
        pair.two.send("one.mx", 2, payload)
        if sent % 20 == 0:
            await pair.until(begin + sent)
    figures["200 kB one way, MB/s, both sides on one core"] = (
        LARGE_FRAMES * LARGE_BYTES / 1e6 / (time.perf_counter() - wall)
    )

    block = bytes(4 * 1024 * 1024)
    begin, wall = pair.received, time.perf_counter()
    for sent in range(1, 11):
        pair.two.send("one.mx", 2, block)
        await pair.until(begin + sent)
    figures["4 MiB alone, ms"] = (time.perf_counter() - wall) * 1e3 / 10

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return figures


def measure_without_sockets() -> dict[str, float]:
    """Return what packing, encryption, decryption and unpacking alone cost."""
    figures: dict[str, float] = {}
    payload = bytes(SMALL_BYTES)
    for together in (1, BURST_FRAMES):
        outbox = Outbox(frames_max=1_000, bytes_max=10**9)
        send, receive, assembler = Cipher(bytes(32)), Cipher(bytes(32)), FrameAssembler()
        count = 0
        cpu = time.process_time()
        while count < 20_000:
            for _ in range(together):
                outbox.put(make_frame(0, payload))
            plaintext, _ = outbox.take(PLAINTEXT_BYTES_MAX)
            count += len(assembler.feed(receive.decrypt(send.encrypt(plaintext))))
        figures[f"200 B, {together} a Noise message, no sockets, µs both sides"] = (
            (time.process_time() - cpu) * 1e6 / count
        )
    return figures


def main() -> None:
    """Measure on both event loops and keep the best of each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    figures: dict[str, float] = {}

    def keep(label: str, measured: dict[str, float]) -> None:
        for name, value in measured.items():
            key = f"{label}{name}"
            better = max if "MB/s" in name else min
            figures[key] = round(better(figures.get(key, value), value), 1)

    for _ in range(rounds):
        keep("", measure_without_sockets())
        for label, factory in (("asyncio: ", asyncio.new_event_loop), ("uvloop: ", uvloop.new_event_loop)):
            with asyncio.Runner(loop_factory=factory) as runner:
                keep(label, runner.run(measure_sockets()))
    save("micro_p2p", f"python -m benchmarks.micro_p2p --rounds {rounds}", figures)


if __name__ == "__main__":
    main()
