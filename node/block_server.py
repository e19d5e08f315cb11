"""Giving blocks and snapshots to peers that catch up."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, assert_never

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.limits import (
    SNAPSHOT_OFFERS_MAX,
    SNAPSHOT_PIECE_BYTES,
    SYNC_BYTES_MAX,
    SYNC_SERVE_PAUSE_MS,
    SYNC_SERVE_REST,
)
from node.primitives import Hash, Height, InstitutionId
from node.sync_messages import (
    BlocksReply,
    BlocksRequest,
    CertifiedBlock,
    Chunk,
    ChunkRequest,
    ManifestPiece,
    ManifestRequest,
    SnapshotOffer,
    Snapshots,
    SnapshotsRequest,
    SyncMessage,
    SyncRequest,
    encode_sync,
)

BlockAt: TypeAlias = Callable[[Height], tuple[Block, Certificate] | None]
"""Returns a committed block with a certificate of it; None where there is none."""


class Snapshot(Protocol):
    """A snapshot that can be given."""

    @property
    def height(self) -> Height:
        """Its height."""
        ...

    @property
    def name(self) -> Hash:
        """Hash of its manifest."""
        ...

    @property
    def manifest_bytes(self) -> bytes:
        """Canonical bytes of its manifest."""
        ...


class Shelf(Protocol):
    """Where snapshots lie."""

    def all(self) -> Sequence[Snapshot]:
        """Return what there is, newest first."""
        ...

    def find(self, name: Hash) -> Snapshot | None:
        """Return a snapshot by its hash."""
        ...

    def chunk(self, name: Hash, number: int) -> bytes | None:
        """Return a chunk; None where it is not here, or not as it was written."""
        ...


class EmptyShelf:
    """The shelf of a node that makes no snapshots."""

    def all(self) -> Sequence[Snapshot]:
        """Return nothing."""
        return ()

    def find(self, name: Hash) -> Snapshot | None:  # noqa: ARG002 – a shelf's signature
        """Return nothing."""
        return None

    def chunk(self, name: Hash, number: int) -> bytes | None:  # noqa: ARG002 – a shelf's signature
        """Return nothing."""
        return None


class BlockServer:
    """Answers requests: one at a time, in turns, with pauses, so that it never takes the node over."""

    def __init__(
        self,
        *,
        block_at: BlockAt,
        shelf: Shelf,
        send: Callable[[InstitutionId, bytes], bool],
        call_later: Callable[[int, Callable[[], None]], object],
        now_ms: Callable[[], int],
    ) -> None:
        self._block_at = block_at
        self._shelf = shelf
        self._send = send
        self._call_later = call_later
        self._now_ms = now_ms
        self._waiting: dict[InstitutionId, SyncRequest] = {}
        """One request of each peer, the latest; the dict's order is the order of turns."""
        self._is_busy = False

    def take(self, sender: InstitutionId, request: SyncRequest) -> None:
        """Answer when it is this peer's turn; an honest peer has one request under way."""
        self._waiting[sender] = request
        if not self._is_busy:
            self._is_busy = True
            self._call_later(0, self._serve)

    def forget(self, peer: InstitutionId) -> None:
        """The peer has gone."""
        self._waiting.pop(peer, None)

    def _serve(self) -> None:
        if not self._waiting:
            self._is_busy = False
            return
        started_ms = self._now_ms()
        receiver = next(iter(self._waiting))
        self._send(receiver, encode_sync(self._answer(self._waiting.pop(receiver))))
        took_ms = self._now_ms() - started_ms
        self._call_later(max(SYNC_SERVE_PAUSE_MS, SYNC_SERVE_REST * took_ms), self._serve)

    def _answer(self, request: SyncRequest) -> SyncMessage:
        match request:
            case BlocksRequest():
                return self._blocks(request)
            case SnapshotsRequest():
                newest = self._shelf.all()[:SNAPSHOT_OFFERS_MAX]
                return Snapshots(tuple(SnapshotOffer(at.height, at.name, len(at.manifest_bytes)) for at in newest))
            case ManifestRequest(name, offset):
                found = self._shelf.find(name)
                data = b"" if found is None else found.manifest_bytes[offset : offset + SNAPSHOT_PIECE_BYTES]
                return ManifestPiece(name, offset, data)
            case ChunkRequest(name, number):
                return Chunk(name, number, self._shelf.chunk(name, number))
            case unreachable:
                assert_never(unreachable)

    def _blocks(self, request: BlocksRequest) -> BlocksReply:
        items: list[bytes] = []
        size = 0
        for height in range(request.from_height, request.from_height + request.count):
            found = self._block_at(height)
            if found is None:
                break
            data = codec.encode(CertifiedBlock(*found))
            size += len(data)
            if items and size > SYNC_BYTES_MAX:
                break
            items.append(data)
        return BlocksReply(request.from_height, tuple(items))
