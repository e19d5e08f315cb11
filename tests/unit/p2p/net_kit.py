"""Real networks on 127.0.0.1, and a peer on a bare socket that does only what a test tells it."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from node import codec
from node.crypto.hashing import sha256
from node.crypto.signing import Ed25519Signer
from node.errors import Reason, Rejected
from node.p2p.connection import Bounds, Control
from node.p2p.frames import CONTROL_CHANNEL, FrameAssembler, MessageSplitter, delimit, make_frame
from node.p2p.handshake import Handshake, Ourselves
from node.p2p.network import Network
from node.p2p.noise import Cipher, Role
from node.p2p.observer import PeerIdentity, Tally
from node.p2p.peer_book import Backoff, PeerAddress, PeerBook

CHAIN_ID: Final = "guanajuato-1"
GENESIS_HASH: Final = sha256(b"genesis")
WAIT_SECONDS: Final = 30.0
"""After which a test gives up; nothing is measured by it."""


def signer(name: str) -> Ed25519Signer:
    """Return the node identity of an institution in these tests."""
    return Ed25519Signer(sha256(name.encode()))


def directory(*names: str) -> Callable[[bytes], str | None]:
    """Return an `authorise` that knows the keys of these institutions."""
    keys = {signer(name).public_key: name for name in names}
    return keys.get


def reason_of(call: Callable[[], object]) -> Reason | None:
    """Return the reason for which a call is refused, or None if it is not; anything else goes through."""
    try:
        call()
    except Rejected as refusal:
        return refusal.reason
    return None


class Entropy:
    """Random-looking bytes that are the same in every run."""

    def __init__(self, seed: str) -> None:
        self._state = sha256(seed.encode())

    def __call__(self, length: int) -> bytes:
        """Return the next `length` bytes, at most 32."""
        self._state = sha256(self._state)
        return sha256(self._state + b"out")[:length]


@dataclass
class Node:
    """A running network and what it told its node."""

    name: str
    network: Network
    tally: Tally
    messages: list[tuple[str, int, bytes]] = field(default_factory=list)
    """(institution, channel, payload)"""
    events: list[tuple[str, str]] = field(default_factory=list)
    """("up" or "down", institution)"""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def address(self) -> PeerAddress:
        assert self.network.listen_address is not None
        return PeerAddress(*self.network.listen_address, self.name)

    @property
    def peers(self) -> list[str]:
        return [view.identity.institution for view in self.network.peers()]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; a test that waits in vain fails with what is known."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(
                f"{self.name}: {self.events} {Counter(m[:2] for m in self.messages)} {self.tally.__dict__}"
            ) from None

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@contextlib.asynccontextmanager
async def running(
    name: str,
    knows: Iterable[str],
    *,
    dials: Iterable[PeerAddress] = (),
    port: int = 0,
    listens: bool = True,
    bounds: Bounds | None = None,
    genesis_hash: bytes = GENESIS_HASH,
    seed: str = "",
    on_message: Callable[[PeerIdentity, int, bytes], None] | None = None,
    is_privileged: Callable[[str], bool] = lambda _: False,
) -> AsyncIterator[Node]:
    """Run a node for as long as the block lasts."""
    tally = Tally()
    messages: list[tuple[str, int, bytes]] = []
    events: list[tuple[str, str]] = []

    def take(peer: PeerIdentity, channel: int, payload: bytes) -> None:
        messages.append((peer.institution, channel, payload))

    network = Network(
        identity=signer(name),
        chain_id=CHAIN_ID,
        genesis_hash=genesis_hash,
        listen=("127.0.0.1", port) if listens else None,
        book=PeerBook(dials, backoff=Backoff(min_ms=20, max_ms=100)),
        authorise=directory(*knows),
        on_message=on_message or take,
        on_connect=lambda peer: events.append(("up", peer.institution)),
        on_disconnect=lambda peer: events.append(("down", peer.institution)),
        is_privileged=is_privileged,
        entropy=Entropy(name + seed),
        observer=tally,
        bounds=bounds,
    )
    node = Node(name, network, tally, messages, events)
    node.task = asyncio.create_task(network.run())
    waiter = asyncio.create_task(network.listening.wait())
    await asyncio.wait([node.task, waiter], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    try:
        yield node
    finally:
        if not node.task.done():
            await node.stop()


class BarePeer:
    """The initiator's side of a connection, written a second time over plain streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._splitter = MessageSplitter()
        self._assembler = FrameAssembler()
        self.send_cipher: Cipher | None = None
        self.receive_cipher: Cipher | None = None
        self.controls: list[Control] = []
        self.frames: list[tuple[int, bytes]] = []

    @classmethod
    async def dial(cls, address: PeerAddress, *, receive_buffer_bytes: int | None = None) -> "BarePeer":
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer_bytes is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (address.host, address.port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
        return cls(reader, writer)

    async def shake(self, name: str, *, seed: str = "bare", genesis_hash: bytes = GENESIS_HASH) -> None:
        """Do the handshake as an institution."""
        entropy = Entropy(name + seed)
        ourselves = Ourselves(signer(name), CHAIN_ID, genesis_hash, entropy(32))
        handshake = Handshake(Role.INITIATOR, ourselves, ephemeral=entropy(32), admit=lambda _: "whoever")
        self.writer.write(delimit(handshake.start()))
        reply = handshake.receive(await self.read_message())
        assert reply is not None
        self.writer.write(delimit(reply))
        self.send_cipher, self.receive_cipher = handshake.split()

    async def read_message(self) -> bytes:
        """Return the next Noise message; raises EOFError when the other side closed."""
        while True:
            message = self._splitter.next_message()
            if message is not None:
                return message
            data = await self.reader.read(65_536)
            if not data:
                raise EOFError
            self._splitter.feed(data)

    async def read_some(self) -> None:
        """Read one Noise message into `controls` and `frames`."""
        assert self.receive_cipher is not None
        for channel, payload in self._assembler.feed(self.receive_cipher.decrypt(await self.read_message())):
            if channel == CONTROL_CHANNEL:
                self.controls.append(codec.decode(payload, Control, bytes_max=1_024))
            else:
                self.frames.append((channel, payload))

    async def read_to_end(self) -> None:
        with contextlib.suppress(EOFError, ConnectionError):
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    await self.read_some()

    def say(self, channel: int, payload: bytes) -> None:
        """Send a small frame in a Noise message of its own."""
        frame = make_frame(channel, payload)
        self.say_plaintext(frame.start + frame.payload)

    def say_plaintext(self, plaintext: bytes) -> None:
        assert self.send_cipher is not None
        self.writer.write(delimit(self.send_cipher.encrypt(plaintext)))

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
