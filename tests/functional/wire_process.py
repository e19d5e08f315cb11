"""What both processes that carry bytes between nodes share: the table of links, and commands on standard input.

The first line says which ports the nodes have and is answered with how they are to be started; each later line is the
whole table of links that are not clear. The process ends with its input.
"""

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

RETRANSMISSION_S = 0.2
"""What Linux waits at least before it sends a lost segment again."""
LINE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Link:
    """What happens to what one node sends to another."""

    is_cut: bool = False
    loss: float = 0.0
    """Share of packets that do not arrive; 0 … 1."""
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """The delay varies by as much in both directions."""
    bytes_per_second: int = 0
    """0: as many as there are."""

    def delay_s(self) -> float:
        """Return how long the next packet takes."""
        return max(0.0, self.delay_ms + random.uniform(-self.jitter_ms, self.jitter_ms)) / 1_000

    def loses(self) -> bool:
        """Tell whether the next packet is lost."""
        return random.random() < self.loss


CLEAR = Link()


class Table:
    """The links by sender and receiver."""

    def __init__(self) -> None:
        self._links: dict[tuple[int, int], Link] = {}
        self._changed = asyncio.Event()

    def link(self, sender: int, receiver: int) -> Link:
        """Return the link from one to another."""
        return self._links.get((sender, receiver), CLEAR)

    def replace(self, entries: list[Any]) -> None:
        """Take a new table."""
        self._links = {(sender, receiver): Link(**fields) for sender, receiver, fields in entries}
        self._changed.set()
        self._changed = asyncio.Event()

    async def until_open(self, sender: int, receiver: int) -> None:
        """Wait until a link is not cut."""
        while self.link(sender, receiver).is_cut:
            await self._changed.wait()


async def obey(begin: Callable[[Table, list[list[int]]], Awaitable[dict[str, Any]]]) -> None:
    """Answer commands until there are no more; `begin` gets the ports of the nodes and says how to start them."""
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    table = Table()
    first = json.loads(await reader.readline())
    answer = await begin(table, first["ports"])
    while True:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
        line = await reader.readline()
        if not line:
            return
        table.replace(json.loads(line))
        answer = {"ok": True}
