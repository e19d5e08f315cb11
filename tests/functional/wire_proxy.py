"""A wire of TCP connections: every node dials every other through a port of its own here.

What is cut is held, not refused: so does a network that swallows packets. Data come after it is healed, as TCP's
retransmissions would; an end of the connection too. Loss is the pause that TCP makes of it.
"""

import asyncio
import contextlib
import functools
from typing import Any

from tests.functional.wire_process import RETRANSMISSION_S, Table, obey

CHUNK_BYTES = 16 * 1024
CHUNKS_MAX = 64
"""Chunks of one direction on their way: a megabyte, then the sender is not read any more."""


class Lane:
    """What flows one way in one connection."""

    def __init__(self, table: Table, sender: int, receiver: int) -> None:
        self._table = table
        self._sender = sender
        self._receiver = receiver
        self._chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        self._arrives_at = 0.0
        """When the last chunk arrives: none overtakes another."""
        self._free_at = 0.0
        """When a narrow link has sent what was given to it."""

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes until the sender has closed and all has arrived."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(reader))
            group.create_task(self._write(writer))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                chunk = await reader.read(CHUNK_BYTES)
            except OSError:
                chunk = b""
            link, now = self._table.link(self._sender, self._receiver), loop.time()
            if link.bytes_per_second:
                self._free_at = max(now, self._free_at) + len(chunk) / link.bytes_per_second
            lost_s = RETRANSMISSION_S + link.delay_s() if link.loses() else 0.0
            self._arrives_at = max(self._arrives_at, now + link.delay_s() + lost_s, self._free_at)
            await self._chunks.put((self._arrives_at, chunk))
            if not chunk:
                return

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            arrives_at, chunk = await self._chunks.get()
            await asyncio.sleep(max(0.0, arrives_at - loop.time()))
            await self._table.until_open(self._sender, self._receiver)
            if not chunk:
                writer.close()
                return
            with contextlib.suppress(OSError):
                writer.write(chunk)
                await writer.drain()


async def _join(
    table: Table, dialler: int, listener: int, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Connect a node that dials with the one it wants."""
    await table.until_open(dialler, listener)
    await table.until_open(listener, dialler)
    try:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    async with asyncio.TaskGroup() as group:
        group.create_task(Lane(table, dialler, listener).carry(reader, inner_writer))
        group.create_task(Lane(table, listener, dialler).carry(inner_reader, writer))


async def _begin(table: Table, ports: list[list[int]]) -> dict[str, Any]:
    dial = [["" for _ in ports] for _ in ports]
    for dialler in range(len(ports)):
        for listener, (_, p2p, _) in enumerate(ports):
            if dialler != listener:
                join = functools.partial(_join, table, dialler, listener, p2p)
                server = await asyncio.start_server(join, "127.0.0.1", 0)
                dial[dialler][listener] = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    return {"listen": [f"127.0.0.1:{p2p}" for _, p2p, _ in ports], "dial": dial, "prefix": [[] for _ in ports]}


if __name__ == "__main__":
    asyncio.run(obey(_begin))
