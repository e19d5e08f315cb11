"""A consensus message as bytes, and back: one parcel is one message in the canonical encoding."""

from typing import Final

import msgspec

from node import codec
from node.consensus.messages import Message
from node.limits import FRAME_BYTES_MAX


class Parcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Holds one message; its first element is the message's number."""

    message: Message


PARCEL_BYTES_MAX: Final = FRAME_BYTES_MAX
"""A block and the largest justification: 100 heads and a certificate of 100 signatures are below 32 kB."""


def encode_message(message: Message) -> bytes:
    """Return the canonical bytes of a message."""
    return codec.encode(Parcel(message))


def decode_message(payload: bytes) -> Message:
    """Read a message. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(payload, Parcel, bytes_max=PARCEL_BYTES_MAX).message
