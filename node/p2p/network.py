"""All connections of this node: who is let in, who is dialled, what is sent to whom.

`run` listens, dials and watches until it is cancelled; everything else is called from the same event loop.
Callbacks are made from within that loop: they must return at once. A callback that raises `Rejected` has the
peer disconnected and penalised; anything else it raises ends `run`, for it is our own fault.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Final

from node.crypto.signing import Algorithm, Signer
from node.errors import ConfigError, Reason, Rejected
from node.limits import FRAME_BYTES_MAX, P2P_CHANNELS_MAX
from node.p2p.connection import Bounds, Connection, Stage
from node.p2p.doorman import Doorman
from node.p2p.frames import Frame, make_frame
from node.p2p.handshake import Handshake, Ourselves
from node.p2p.noise import KEY_BYTES, Role
from node.p2p.observer import Observer, PeerIdentity, PeerView, Tally
from node.p2p.peer_book import PeerAddress, PeerBook, Survivor, survivor
from node.primitives import Hash

TICK_MS: Final = 100
"""How often connections are checked and addresses dialled."""
STOP_MS_MAX: Final = 1_000
"""How long `run` waits for sockets to close once it is cancelled."""

_BACKLOG_SOCKETS: Final = 128


class Network:
    """The one owner of peers and sockets."""

    def __init__(
        self,
        *,
        identity: Signer,
        chain_id: str,
        genesis_hash: Hash,
        listen: tuple[str, int] | None,
        book: PeerBook,
        authorise: Callable[[bytes], str | None],
        on_message: Callable[[PeerIdentity, int, bytes], None],
        on_connect: Callable[[PeerIdentity], None],
        on_disconnect: Callable[[PeerIdentity], None],
        is_privileged: Callable[[str], bool] = lambda _: False,
        entropy: Callable[[int], bytes] = os.urandom,
        observer: Observer | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        """Take what the node is and whom it trusts.

        `identity`: Ed25519. `listen`: host and port, port 0 for any free one. `authorise`: the institution of a node
        key, or None. `is_privileged`: an institution that gets in even when all places are taken (a validator).
        """
        assert identity.algorithm is Algorithm.ED25519
        self._ourselves = Ourselves(identity, chain_id, genesis_hash, entropy(KEY_BYTES))
        self._listen = listen
        self._book = book
        self._authorise = authorise
        self._on_message = on_message
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._is_privileged = is_privileged
        self._entropy = entropy
        self._observer: Observer = observer if observer is not None else Tally()
        self._bounds = bounds or Bounds()
        self._connections: dict[Connection, None] = {}
        """Every socket that is not closed, in the order made."""
        self._peers: dict[str, Connection] = {}
        """Open connections by institution; at most `bounds.peers`."""
        self._doorman = Doorman(book.knows_host)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken: asyncio.Future[None] | None = None
        self._all_gone = asyncio.Event()
        """Set whenever the last socket was closed."""
        self._is_stopping = False
        self.listening = asyncio.Event()
        """Set once peers can come in, or at once if we do not listen."""
        self.listen_address: tuple[str, int] | None = None

    async def run(self) -> None:
        """Listen, dial, reconnect and watch until cancelled; then close all connections.

        Raises: ConfigError: the address to listen on is not usable; ExceptionGroup: a callback failed.
        """
        assert self._loop is None, "a network runs once"
        self._loop = asyncio.get_running_loop()
        self._broken = self._loop.create_future()
        server = await self._start_server()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(group), name="p2p watch")
                group.create_task(self._raise_when_broken(), name="p2p failure")
        finally:
            await self._stop(server)

    # --- what the node does with peers ---

    def send(self, institution: str, channel: int, payload: bytes) -> bool:
        """Queue a payload of at most FRAME_BYTES_MAX for a peer; tell whether it was queued. Never blocks or raises.

        False: not connected, too large, or no room; a peer without room for channel 0 is dropped.
        """
        connection = self._peers.get(institution)
        frame = _frame(channel, payload)
        return connection is not None and frame is not None and connection.send(frame)

    def broadcast(
        self,
        channel: int,
        payload: bytes,
        *,
        only: Collection[str] | None = None,
        except_: Collection[str] = (),
    ) -> int:
        """Queue a payload for all peers, or `only` these, `except_` those; return for how many it was queued."""
        frame = _frame(channel, payload)
        if frame is None:
            return 0
        targets = [
            connection
            for institution, connection in self._peers.items()
            if (only is None or institution in only) and institution not in except_
        ]
        return sum(connection.send(frame) for connection in targets)

    def peers(self) -> list[PeerView]:
        """Return a view of each open connection, by institution."""
        return [connection.view() for _, connection in sorted(self._peers.items()) if connection.stage is Stage.OPEN]

    def is_connected(self, institution: str) -> bool:
        """Tell whether a peer can be sent to."""
        connection = self._peers.get(institution)
        return connection is not None and connection.stage is Stage.OPEN

    def set_addresses(self, addresses: Iterable[PeerAddress]) -> None:
        """Make these the addresses to dial; open connections stay."""
        self._book.replace(addresses)

    def recheck(self) -> None:
        """Disconnect every peer that `authorise` would no longer let in under its name; call it when keys changed."""
        for institution, connection in list(self._peers.items()):
            public_key = connection.identity.public_key
            if self._authorise(public_key) != institution:
                detail = f"{public_key.hex()} is no longer a node key of {institution}"
                connection.end(Reason.NOT_A_PEER, detail)

    # --- what connections tell their keeper ---

    def opened(self, connection: Connection) -> None:
        """Make room among those that have said nothing yet, so that strangers cannot keep peers out."""
        self._connections[connection] = None
        self._all_gone.clear()
        if connection.dialled is None and not self._doorman.lets_in(connection.host, self._clock_ms()):
            connection.end(Reason.QUOTA_EXCEEDED, f"too many handshakes a second from {connection.host}", tell=False)
            return
        pending = [other for other in self._connections if other.dialled is None and other.stage is Stage.HANDSHAKE]
        if len(pending) <= self._bounds.handshakes_pending:
            return
        by_host = Counter(other.host for other in pending)
        crowd = max(by_host.values())
        oldest = next(other for other in pending if by_host[other.host] == crowd)
        detail = f"{len(pending)} handshakes at once, {crowd} of them from {oldest.host}"
        oldest.end(Reason.QUOTA_EXCEEDED, detail, tell=False)

    def judge(self, connection: Connection) -> None:
        """Keep one connection per institution and at most `bounds.peers`.

        Raises: Rejected(ALREADY_EXISTS): the older connection stays; Rejected(QUOTA_EXCEEDED): all places are taken.
        """
        institution = connection.identity.institution
        if connection.dialled is not None:
            self._book.answered(connection.dialled, institution)
        old = self._open_peer(institution)
        if old is not None:
            if survivor(self._ourselves.signer.public_key, old.link, connection.link) is Survivor.OLD:
                raise Rejected(Reason.ALREADY_EXISTS, f"{institution} is connected as {old.address}")
            return
        open_peers = [other for other in self._peers.values() if other.stage is Stage.OPEN]
        if len(open_peers) < self._bounds.peers:
            return
        removable = [other for other in open_peers if not self._is_privileged(other.identity.institution)]
        detail = f"{len(open_peers)} peers are connected, at most {self._bounds.peers}"
        if not removable or not self._is_privileged(institution):
            raise Rejected(Reason.QUOTA_EXCEEDED, detail)
        removable[-1].end(Reason.QUOTA_EXCEEDED, detail)

    def welcome(self, connection: Connection) -> None:
        """Put a connection in its institution's place; the one that was there goes first."""
        identity = connection.identity
        old = self._peers.pop(identity.institution, None)
        if old is not None:
            old.end("replaced", f"by {connection.address}")
            self._farewell(old)
        self._peers[identity.institution] = connection
        if connection.dialled is not None:
            self._book.connected(connection.dialled)
        self._observer.connected(identity, connection.address, is_dialled=connection.dialled is not None)
        self._on_connect(identity)

    def deliver(self, connection: Connection, channel: int, payload: bytes) -> None:
        """Hand a frame to the node."""
        self._on_message(connection.identity, channel, payload)

    def ended(self, connection: Connection) -> None:
        """Settle what the end of a connection means for its peer."""
        identity = connection.identity
        clock_ms = self._clock_ms()
        if connection.penalty_ms and identity.public_key:
            self._book.penalise(identity.public_key, clock_ms + connection.penalty_ms)
        if not connection.was_open:
            self._observer.refused(connection.address, connection.cause, connection.detail)
            if connection.dialled is not None:
                self._book.failed(connection.dialled, clock_ms, self._fraction())
        elif self._peers.get(identity.institution) is connection:
            del self._peers[identity.institution]
            self._book.lost(identity.institution, clock_ms - connection.open_ms, clock_ms, self._fraction())
            self._farewell(connection)

    def gone(self, connection: Connection) -> None:
        """Forget a closed socket."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_gone.set()

    def broken(self, error: Exception) -> None:
        """Have `run` raise what our own code raised in a callback of the loop."""
        assert self._broken is not None
        if not self._broken.done():
            self._broken.set_exception(error)

    # --- running ---

    async def _start_server(self) -> asyncio.Server | None:
        assert self._loop is not None
        if self._listen is None:
            self.listening.set()
            return None
        host, port = self._listen
        try:
            server = await self._loop.create_server(
                lambda: self._connection(Role.RESPONDER, None), host, port, backlog=_BACKLOG_SOCKETS
            )
        except (OSError, UnicodeError, OverflowError) as error:
            raise ConfigError(f"p2p: cannot listen on {host}:{port}: {error}") from error
        address = server.sockets[0].getsockname()
        self.listen_address = (str(address[0]), int(address[1]))
        self.listening.set()
        return server

    async def _watch(self, group: asyncio.TaskGroup) -> None:
        while True:
            for connection in list(self._connections):
                connection.check()
            connected = [name for name, peer in self._peers.items() if peer.stage is Stage.OPEN]
            for address in self._book.due(self._clock_ms(), connected):
                group.create_task(self._dial(address), name=f"p2p dial {address}")
            await asyncio.sleep(TICK_MS / 1_000)

    async def _dial(self, address: PeerAddress) -> None:
        """Connect a socket; the handshake then goes on by itself, within the time limit of its own."""
        assert self._loop is not None
        connection = self._connection(Role.INITIATOR, address)
        try:
            async with asyncio.timeout(self._bounds.handshake_ms / 1_000):
                await self._loop.create_connection(lambda: connection, address.host, address.port)
        except (OSError, UnicodeError) as error:
            # TimeoutError is an OSError.
            connection.end("unreachable", f"{type(error).__name__}: {error}", tell=False)

    async def _raise_when_broken(self) -> None:
        assert self._broken is not None
        await self._broken

    async def _stop(self, server: asyncio.Server | None) -> None:
        """Close everything in an orderly way, and in bounded time; no callback is made any more."""
        self._is_stopping = True
        if server is not None:
            server.close()
        for connection in list(self._connections):
            connection.end("stopping", "the node is being stopped")
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_MS_MAX / 1_000):
                    await self._all_gone.wait()
        for connection in list(self._connections):
            connection.abort()
        # One turn for the loop to close what was aborted.
        await asyncio.sleep(0)

    # --- letting in ---

    def _connection(self, role: Role, dialled: PeerAddress | None) -> Connection:
        def admit(public_key: bytes) -> str:
            return self._admit(public_key, dialled)

        handshake = Handshake(role, self._ourselves, ephemeral=self._entropy(KEY_BYTES), admit=admit)
        return Connection(handshake, self, observer=self._observer, bounds=self._bounds, dialled=dialled)

    def _admit(self, public_key: bytes, dialled: PeerAddress | None) -> str:
        """Name the institution of a proven identity.

        Raises: Rejected: NOT_A_PEER (ourselves, not authorised, or not whom we dialled), QUOTA_EXCEEDED (a penalty).
        """
        if public_key == self._ourselves.signer.public_key:
            raise Rejected(Reason.NOT_A_PEER, "the other side has our own identity")
        institution = self._authorise(public_key)
        if institution is None:
            raise Rejected(Reason.NOT_A_PEER, f"{public_key.hex()} is the node key of no institution")
        if dialled is not None and dialled.institution not in (None, institution):
            raise Rejected(Reason.NOT_A_PEER, f"{dialled} is {institution}, expected {dialled.institution}")
        left_ms = self._book.penalty_left_ms(public_key, self._clock_ms())
        if left_ms:
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{institution} has to wait for another {left_ms} ms")
        return institution

    def _open_peer(self, institution: str) -> Connection | None:
        connection = self._peers.get(institution)
        return connection if connection is not None and connection.stage is Stage.OPEN else None

    def _farewell(self, connection: Connection) -> None:
        identity = connection.identity
        self._observer.disconnected(identity, connection.address, connection.cause, connection.detail)
        if not self._is_stopping:
            self._on_disconnect(identity)

    def _fraction(self) -> float:
        return int.from_bytes(self._entropy(4), "big") / 2**32

    def _clock_ms(self) -> int:
        assert self._loop is not None
        return int(self._loop.time() * 1_000)


def _frame(channel: int, payload: bytes) -> Frame | None:
    """Return the frame, or None for a payload that no peer would take."""
    assert 0 <= channel < P2P_CHANNELS_MAX
    return make_frame(channel, payload) if len(payload) <= FRAME_BYTES_MAX else None
