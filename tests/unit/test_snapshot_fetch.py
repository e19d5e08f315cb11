"""Getting a snapshot from honest peers, and in spite of peers that lie about what they have."""

import dataclasses
from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from node import codec
from node.chain.ledger import Ledger
from node.chain.restoring import Restoration
from node.errors import Reason, Rejected
from node.limits import (
    SNAPSHOT_CHUNK_BYTES_MAX,
    SNAPSHOT_LAG_HEIGHTS_MIN,
    SNAPSHOT_MANIFEST_BYTES_MAX,
    SNAPSHOT_OFFERS_WAIT_MS,
    SNAPSHOT_PIECE_BYTES,
    SYNC_BAN_MS,
    SYNC_TIMEOUT_MS,
)
from node.primitives import Hash, InstitutionId
from node.snapshot_fetch import Phase
from node.state.kv import MemoryStore
from node.sync import Surroundings, Sync
from node.sync_messages import (
    BlocksRequest,
    Chunk,
    ChunkRequest,
    Head,
    ManifestPiece,
    ManifestRequest,
    SnapshotOffer,
    Snapshots,
    SnapshotsRequest,
    SyncMessage,
    SyncParcel,
    decode_sync,
    encode_sync,
)
from tests.unit.chain.kit import ITLEON, SDES, SEG, UGTO, TestChain
from tests.unit.chain.snapshot_kit import Made, Shelf, snapshot_at_head
from tests.unit.links import Links

US = "reader.example"
HEIGHT = SNAPSHOT_LAG_HEIGHTS_MIN + 1
HEAD = HEIGHT + 1


@cache
def _long() -> tuple[MemoryStore, Made]:
    chain = TestChain()
    chain.skip_to(HEIGHT)
    made = snapshot_at_head(chain)
    assert isinstance(chain.store, MemoryStore)
    return chain.store, made


@pytest.fixture(scope="module")
def made() -> Made:
    """Return the snapshot that everybody could have."""
    return _long()[1]


class Restorer:
    """Builds in memory."""

    def __init__(self, chain: TestChain) -> None:
        self._document = chain.document
        self.store: MemoryStore | None = None
        self.finished: list[Restoration] = []

    def resume(self) -> Restoration | None:
        return None if self.store is None else Restoration.resume(self.store, self._document)

    def begin(self, manifest: bytes) -> Restoration:
        self.store = MemoryStore()
        return Restoration.begin(self.store, self._document, manifest)

    def abandon(self) -> None:
        self.store = None

    def done(self, restoration: Restoration) -> None:
        self.finished.append(restoration)


class Reader:
    """A validator that is far behind: it leaves small lags to consensus, so blocks come only when sync asks."""

    def __init__(self, links: Links, restorer: Restorer | None = None) -> None:
        self.chain = TestChain()
        self.restorer = restorer or Restorer(self.chain)
        self.rejections: list[tuple[InstitutionId, Reason]] = []
        self.sentences: list[str] = []
        self.sync = Sync(
            Surroundings(
                chain=self.chain.ledger,
                send=links.sender(US),
                call_later=links.call_later,
                now_ms=lambda: links.now_ms,
                moved=lambda: None,
                is_validator=lambda: True,
                rejected=lambda peer, rejection: self.rejections.append((peer, rejection.reason)),
                restorer=self.restorer,
                said=self.sentences.append,
            )
        )
        links.parts[US] = self.sync

    @property
    def phase(self) -> Phase | None:
        return None if self.sync.snapshot is None else self.sync.snapshot.phase

    def restored(self) -> Ledger:
        """Open what was restored."""
        assert self.restorer.store is not None
        return Ledger.open(self.restorer.store, self.chain.document)


class Peer:
    """A peer that serves a snapshot, or something else in its place."""

    def __init__(self, links: Links, name: InstitutionId, made: Made, *, claims: int = HEAD) -> None:
        self.name = name
        self.made = made
        self.requests: list[SyncMessage] = []
        self.offers = [SnapshotOffer(made.height, made.name, len(made.manifest_bytes))]
        self.manifest: Callable[[ManifestRequest], SyncMessage | None] = self._piece
        self.chunk: Callable[[ChunkRequest], SyncMessage | None] = self._chunk
        self._shelf = Shelf(made)
        self._send = links.sender(name)
        self._claims = claims
        links.parts[name] = self

    def connected(self, peer: InstitutionId) -> None:
        self._send(peer, encode_sync(Head(self._claims)))

    def disconnected(self, peer: InstitutionId) -> None:
        return

    def tick(self) -> None:
        return

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        message = decode_sync(payload)
        answer: SyncMessage | None = None
        match message:
            case SnapshotsRequest():
                answer = Snapshots(tuple(self.offers))
            case ManifestRequest():
                answer = self.manifest(message)
            case ChunkRequest():
                answer = self.chunk(message)
            case BlocksRequest():
                answer = None
            case _:
                return
        self.requests.append(message)
        if answer is not None:
            self._send(sender, encode_sync(answer))

    def count(self, kind: type[SyncMessage]) -> int:
        """Return how often it was asked for something."""
        return sum(isinstance(request, kind) for request in self.requests)

    def _piece(self, request: ManifestRequest) -> ManifestPiece:
        found = self._shelf.find(request.name)
        data = b"" if found is None else found.manifest_bytes[request.offset : request.offset + SNAPSHOT_PIECE_BYTES]
        return ManifestPiece(request.name, request.offset, data)

    def _chunk(self, request: ChunkRequest) -> Chunk:
        return Chunk(request.name, request.number, self._shelf.chunk(request.name, request.number))


# --- honest peers ---


def test_a_node_that_is_far_behind_gets_a_snapshot(made: Made) -> None:
    """Offers, manifest, chunks; then the restored chain has the proven header as its head."""
    links = Links()
    peers = [Peer(links, name, made) for name in (SDES, SEG)]
    reader = Reader(links)
    links.connect_all()
    links.run(2_000)
    assert reader.phase is Phase.DONE
    assert [restoration.height for restoration in reader.restorer.finished] == [HEIGHT]
    assert reader.restored().head == made.manifest.header
    assert links.ended == []
    assert sum(peer.count(ChunkRequest) for peer in peers) == len(made.chunks)
    assert reader.sentences == [
        f"{HEAD} blocks behind: looking for a snapshot",
        f"fetching the snapshot of height {HEIGHT}",
    ]


def test_no_blocks_are_asked_for_beside_a_snapshot(made: Made) -> None:
    """What the snapshot brings is not fetched twice, and after it the node starts anew."""
    links = Links()
    peers = [Peer(links, name, made) for name in (SDES, SEG)]
    reader = Reader(links)
    links.connect_all()
    links.run(10_000)
    assert reader.phase is Phase.DONE
    assert sum(peer.count(BlocksRequest) for peer in peers) == 0


def test_an_interrupted_restoration_goes_on_where_it_was(made: Made) -> None:
    """A new process finds what the last one had taken, and asks for the rest only."""
    chain = TestChain()
    restorer = Restorer(chain)
    restorer.begin(made.manifest_bytes).take(0, made.chunks[0])
    links = Links()
    peers = [Peer(links, name, made) for name in (SDES, SEG)]
    reader = Reader(links, restorer)
    links.connect_all()
    links.run(SNAPSHOT_OFFERS_WAIT_MS + 1_000)
    assert reader.phase is Phase.DONE
    assert sum(peer.count(ManifestRequest) for peer in peers) == 0
    asked = {request.number for peer in peers for request in peer.requests if isinstance(request, ChunkRequest)}
    assert asked == set(range(1, len(made.chunks)))


def test_a_small_lag_goes_by_blocks(made: Made) -> None:
    """A snapshot is for who is more than two thousand blocks behind."""
    links = Links()
    for name in (SDES, SEG):
        Peer(links, name, made, claims=SNAPSHOT_LAG_HEIGHTS_MIN - 1)
    reader = Reader(links)
    links.connect_all()
    links.run(3_000)
    assert reader.phase is None


def test_who_can_get_the_next_block_from_nobody_looks_for_a_snapshot(made: Made) -> None:
    """Where all who are further have pruned what we need, blocks cannot help, however small the lag."""
    links = Links()
    peers = [Peer(links, name, made, claims=500) for name in (SDES, SEG)]
    reader = Reader(links)
    links.connect_all()
    for peer in peers:
        peer._send(US, encode_sync(Head(500, 300)))
    links.run(3_000)
    assert reader.phase is Phase.DONE
    assert sum(peer.count(BlocksRequest) for peer in peers) == 0


def test_an_archive_node_whose_next_block_nobody_has_says_so(made: Made) -> None:
    """It takes no snapshot, for it would lose blocks; it tells its operator what to do."""
    links = Links()
    peers = [Peer(links, name, made, claims=500) for name in (SDES, SEG)]
    reader = Reader(links)
    reader.sync._node = dataclasses.replace(reader.sync._node, restorer=None)
    links.connect_all()
    for peer in peers:
        peer._send(US, encode_sync(Head(500, 300)))
    links.run(30_000)
    assert reader.phase is None
    assert reader.sentences == [
        "every peer that is further has pruned block 1: connect an archive node, or set storage.restore_from_snapshot"
    ]


# --- lies about heights and offers ---


def test_a_false_claimed_height_in_sync_starts_no_search(made: Made) -> None:
    """One liar of four that claims a billion blocks makes nobody throw away a chain: f+1 must claim it.

    The class of CometBFT's advisories on claimed heights (ASA-2025-001, a falling height; PR 5803, a poisoned maximum).
    """
    links = Links()
    Peer(links, UGTO, made, claims=10**9)
    for name in (ITLEON, SDES, SEG):
        Peer(links, name, made, claims=0)
    reader = Reader(links)
    links.connect_all()
    links.run(5_000)
    assert reader.phase is None


def test_a_claimed_height_without_a_certificate_gets_its_peer_banned(made: Made) -> None:
    """The highest offer is tried first; its manifest proves nothing: its peer is gone, the true one is fetched."""
    links = Links()
    header = msgspec.structs.replace(made.manifest.header, height=10**6)
    false = Made(msgspec.structs.replace(made.manifest, headers=(*made.manifest.headers[:-1], header)), made.chunks)
    liar = Peer(links, UGTO, false)
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(3_000)
    assert liar.count(ManifestRequest) == -(-len(false.manifest_bytes) // SNAPSHOT_PIECE_BYTES)
    assert reader.rejections == [(UGTO, Reason.BAD_CERTIFICATE)]
    assert reader.phase is Phase.DONE
    assert reader.restored().head == made.manifest.header


def test_an_old_snapshot_under_a_high_offer_is_refused(made: Made) -> None:
    """The offer says a million, the manifest proves its own height: what does not help is not restored."""
    links = Links()
    chain = TestChain()
    chain.skip_to(5)
    old = snapshot_at_head(chain)
    liar = Peer(links, UGTO, old)
    liar.offers = [SnapshotOffer(10**6, old.name, len(old.manifest_bytes))]
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(3_000)
    assert reader.rejections == [(UGTO, Reason.WRONG_HEIGHT)]
    assert [restoration.height for restoration in reader.restorer.finished] == [HEIGHT]


def test_a_manifest_of_another_name_is_refused(made: Made) -> None:
    """What is offered under a name must hash to it."""
    links = Links()
    liar = Peer(links, UGTO, made)
    liar.offers = [SnapshotOffer(10**6, bytes(32), len(made.manifest_bytes))]
    liar.manifest = lambda request: ManifestPiece(
        request.name, request.offset, made.manifest_bytes[request.offset :][:SNAPSHOT_PIECE_BYTES]
    )
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(3_000)
    assert reader.rejections == [(UGTO, Reason.BAD_PROOF)]
    assert reader.phase is Phase.DONE


def test_an_endless_manifest_is_not_gathered(made: Made) -> None:
    """More than was announced is not kept: the announcement bounds it, and the announcement has a bound of its own."""
    links = Links()
    liar = Peer(links, UGTO, made)
    liar.offers = [SnapshotOffer(10**6, bytes(32), 2 * SNAPSHOT_PIECE_BYTES)]
    liar.manifest = lambda request: ManifestPiece(request.name, request.offset, bytes(SNAPSHOT_PIECE_BYTES))
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(3_000)
    assert liar.count(ManifestRequest) == 2
    assert reader.rejections == [(UGTO, Reason.BAD_PROOF)]


@pytest.mark.parametrize(
    "message",
    [
        Snapshots((SnapshotOffer(1, bytes(32), SNAPSHOT_MANIFEST_BYTES_MAX + 1),)),
        Snapshots((SnapshotOffer(1, bytes(32), 1),) * 5),
        ManifestPiece(bytes(32), 0, bytes(SNAPSHOT_PIECE_BYTES + 1)),
        Chunk(bytes(32), 0, bytes(SNAPSHOT_CHUNK_BYTES_MAX + 1)),
        ChunkRequest(bytes(32), 10**9),
        ManifestRequest(bytes(32), 10**12),
    ],
)
def test_an_unbounded_length_is_refused_before_allocation(message: SyncMessage) -> None:
    """Too long, too many, too far: no message of the kind has such a form, whoever sends it."""
    with pytest.raises(Rejected) as refused:
        decode_sync(codec.encode(SyncParcel(message)))
    assert refused.value.reason is Reason.MALFORMED


# --- lies in chunks ---


def test_a_wrong_chunk_bans_its_peer_and_comes_from_another(made: Made) -> None:
    """It is found out at once, costs one chunk, and a new connection does not end the ban."""
    links = Links()
    liar = Peer(links, UGTO, made)
    liar.chunk = lambda request: Chunk(request.name, request.number, made.chunks[request.number][:-1] + b"\x00")
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(1_000)
    assert reader.phase is Phase.DONE
    assert [peer for peer, _ in reader.rejections] == [UGTO]
    assert liar.count(ChunkRequest) == 1
    assert not reader.sync._standings.may_ask(UGTO, links.now_ms + SYNC_BAN_MS // 2)
    liar._send(US, encode_sync(Head(HEAD)))
    links.run(100)
    assert [(by, whom, rejection.reason) for by, whom, rejection in links.ended] == [(US, UGTO, Reason.BAD_PROOF)]
    links.connect(US, UGTO)
    assert not reader.sync._standings.may_ask(UGTO, links.now_ms + SYNC_BAN_MS // 2)


def test_a_peer_that_lost_its_snapshot_is_no_liar(made: Made) -> None:
    """Snapshots get old and go: others are asked, and nobody is disconnected."""
    links = Links()
    forgetful = Peer(links, UGTO, made)
    forgetful.chunk = lambda request: Chunk(request.name, request.number, None)
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(2_000)
    assert (reader.phase, reader.rejections, links.ended) == (Phase.DONE, [], [])
    assert forgetful.count(ChunkRequest) == 1


def test_a_stalling_peer_costs_its_time_limit_at_most(made: Made) -> None:
    """A chunk that does not come is asked of another; when it comes after all, that is no fault."""
    links = Links()
    silent = Peer(links, ITLEON, made)
    silent.chunk = lambda _: None
    Peer(links, SEG, made)
    reader = Reader(links)
    links.connect_all()
    links.run(SYNC_TIMEOUT_MS + 2_000)
    assert reader.phase is Phase.DONE
    request = next(request for request in silent.requests if isinstance(request, ChunkRequest))
    silent._send(US, encode_sync(Chunk(request.name, request.number, made.chunks[request.number])))
    links.run(100)
    assert links.ended == []


def test_what_nobody_asked_for_disconnects(made: Made) -> None:
    """Chunks without a question are refused before they are looked at."""
    links = Links()
    pushy = Peer(links, UGTO, made, claims=0)
    Reader(links)
    links.connect_all()
    pushy._send(US, encode_sync(Chunk(made.name, 0, made.chunks[0])))
    links.run(100)
    [(_, _, rejection)] = links.ended
    assert (rejection.reason, rejection.detail) == (Reason.QUOTA_EXCEEDED, "Chunk that nobody asked for")


# --- when it cannot be had ---


def test_without_offers_the_node_goes_by_blocks(made: Made) -> None:
    """No peer has one: a sentence, and the blocks are asked for."""
    links = Links()
    peers = [Peer(links, name, made) for name in (SDES, SEG)]
    for peer in peers:
        peer.offers = []
    reader = Reader(links)
    links.connect_all()
    links.run(5_000)
    assert reader.phase is Phase.FAILED
    assert reader.sentences[-1] == (
        f"no peer offers a snapshot at height {1 + SNAPSHOT_LAG_HEIGHTS_MIN // 2} or above; going on by blocks"
    )
    assert sum(peer.count(BlocksRequest) for peer in peers) > 0


def test_where_the_last_holder_goes_the_node_goes_by_blocks(made: Made) -> None:
    """Nobody is left who has the snapshot that was begun."""
    links = Links()
    holder, other = Peer(links, SEG, made), Peer(links, SDES, made)
    other.offers = []
    holder.chunk = lambda request: Chunk(request.name, request.number, None)
    reader = Reader(links)
    links.connect_all()
    links.run(5_000)
    assert reader.sentences[-1] == (f"no peer is left that has the snapshot of height {HEIGHT}; going on by blocks")
    assert reader.chain.ledger.head.height == 0


def test_messages_keep_their_form() -> None:
    """Each message comes back as it was sent."""
    name: Hash = bytes(range(32))
    messages: list[SyncMessage] = [
        Head(7, 3),
        SnapshotsRequest(),
        Snapshots((SnapshotOffer(5, name, 100),)),
        ManifestRequest(name, 5),
        ManifestPiece(name, 5, b"x"),
        ChunkRequest(name, 3),
        Chunk(name, 3, b"x"),
        Chunk(name, 3, None),
    ]
    assert [decode_sync(encode_sync(message)) for message in messages] == messages
