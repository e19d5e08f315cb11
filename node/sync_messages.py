"""What nodes say to each other to catch up. Source: PROTOCOL §6."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.limits import FRAME_BYTES_MAX, SYNC_BLOCKS_MAX
from node.primitives import UINT_MAX, Height


class CertifiedBlock(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A block and the quorum of commits that decided it."""

    block: Block
    certificate: Certificate


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Height of the sender's head: a hint."""

    height: Height


class BlocksRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Asks for `count` blocks in ascending order, the first at `from_height`."""

    from_height: Annotated[int, Meta(ge=1, le=UINT_MAX)]
    count: Annotated[int, Meta(ge=1, le=SYNC_BLOCKS_MAX)]


class BlocksReply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Answers a request for `from_height`: as many of the blocks as there are and as one frame should hold."""

    from_height: Annotated[int, Meta(ge=1, le=UINT_MAX)]
    items: Annotated[tuple[bytes, ...], Meta(max_length=SYNC_BLOCKS_MAX)]
    """Canonical bytes of a `CertifiedBlock` each, so that they are read one by one."""


SyncMessage: TypeAlias = Head | BlocksRequest | BlocksReply


class SyncParcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message on the channel of sync."""

    message: SyncMessage


def encode_sync(message: SyncMessage) -> bytes:
    """Return the canonical bytes of a message."""
    return codec.encode(SyncParcel(message))


def decode_sync(payload: bytes) -> SyncMessage:
    """Read a message. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(payload, SyncParcel, bytes_max=FRAME_BYTES_MAX).message
