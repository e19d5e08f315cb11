"""What nodes say to each other to catch up. Source: PROTOCOL §6."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.limits import (
    FRAME_BYTES_MAX,
    SNAPSHOT_CHUNK_BYTES_MAX,
    SNAPSHOT_CHUNKS_MAX,
    SNAPSHOT_MANIFEST_BYTES_MAX,
    SNAPSHOT_OFFERS_MAX,
    SNAPSHOT_PIECE_BYTES,
    SYNC_BLOCKS_MAX,
)
from node.primitives import UINT_MAX, Hash, Height


class CertifiedBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block and the quorum of commits that decided it."""

    block: Block
    certificate: Certificate


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Height of the sender's head, and which blocks it has: a hint."""

    height: Height
    base: Height = 0
    """Lowest height, besides 0, whose block it has; 0 where it has every block."""


class BlocksRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Asks for `count` blocks in ascending order, the first at `from_height`."""

    from_height: Annotated[int, Meta(ge=1, le=UINT_MAX)]
    count: Annotated[int, Meta(ge=1, le=SYNC_BLOCKS_MAX)]


class BlocksReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Answers a request for `from_height`: as many of the blocks as there are and as one frame should hold."""

    from_height: Annotated[int, Meta(ge=1, le=UINT_MAX)]
    items: Annotated[tuple[bytes, ...], Meta(max_length=SYNC_BLOCKS_MAX)]
    """Canonical bytes of a `CertifiedBlock` each, so that they are read one by one."""


class SnapshotsRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """Asks which snapshots there are."""


class SnapshotOffer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A snapshot that the sender has; its manifest proves the height."""

    height: Annotated[int, Meta(ge=1, le=UINT_MAX)]
    name: Hash
    """Hash of its manifest."""
    manifest_bytes: Annotated[int, Meta(ge=1, le=SNAPSHOT_MANIFEST_BYTES_MAX)]
    """Length of its manifest."""


class Snapshots(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """Answers which snapshots there are."""

    offers: Annotated[tuple[SnapshotOffer, ...], Meta(max_length=SNAPSHOT_OFFERS_MAX)]


class ManifestRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """Asks for a piece of a manifest."""

    name: Hash
    offset: Annotated[int, Meta(ge=0, le=SNAPSHOT_MANIFEST_BYTES_MAX)]


class ManifestPiece(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """A piece of a manifest; empty where the sender has no such snapshot any more."""

    name: Hash
    offset: Annotated[int, Meta(ge=0, le=SNAPSHOT_MANIFEST_BYTES_MAX)]
    data: Annotated[bytes, Meta(max_length=SNAPSHOT_PIECE_BYTES)]


class ChunkRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=8):
    """Asks for a chunk of a snapshot."""

    name: Hash
    number: Annotated[int, Meta(ge=0, lt=SNAPSHOT_CHUNKS_MAX)]


class Chunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=9):
    """A chunk of a snapshot; nil where the sender has no such snapshot any more."""

    name: Hash
    number: Annotated[int, Meta(ge=0, lt=SNAPSHOT_CHUNKS_MAX)]
    data: Annotated[bytes, Meta(max_length=SNAPSHOT_CHUNK_BYTES_MAX)] | None


SyncRequest: TypeAlias = BlocksRequest | SnapshotsRequest | ManifestRequest | ChunkRequest
SnapshotAnswer: TypeAlias = Snapshots | ManifestPiece | Chunk
SyncMessage: TypeAlias = (
    Head
    | BlocksRequest
    | BlocksReply
    | SnapshotsRequest
    | Snapshots
    | ManifestRequest
    | ManifestPiece
    | ChunkRequest
    | Chunk
)


class SyncParcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message on the channel of sync."""

    message: SyncMessage


def encode_sync(message: SyncMessage) -> bytes:
    """Return the canonical bytes of a message."""
    return codec.encode(SyncParcel(message))


def decode_sync(payload: bytes) -> SyncMessage:
    """Read a message. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(payload, SyncParcel, bytes_max=FRAME_BYTES_MAX).message
