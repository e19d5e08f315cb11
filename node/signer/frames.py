"""What a node and the process that holds its key say to each other: one request, one answer.

Canonical MessagePack. A request to sign carries the signed part itself, never a digest: the process makes
the digest, so it knows what it signs and where in its record that stands.
"""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.certificate import Network
from node.chain.statements import Commit, Prepare, ProposalHead, ViewChangeHead
from node.consensus.messages import Status
from node.limits import SIGNER_FRAME_BYTES_MAX, SIGNER_SENTENCE_CHARS_MAX
from node.primitives import Epoch, Height, PublicKey, Signature, View

VERSION: Final = 1
KEYS_MAX: Final = 16
"""Consensus keys in one process: the present one, and a few that are to follow."""

_Sentence: TypeAlias = Annotated[str, Meta(max_length=SIGNER_SENTENCE_CHARS_MAX)]
_Version: TypeAlias = Annotated[int, Meta(ge=0, le=255)]


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Who are you, and how far have you signed?"""

    version: _Version
    """Of these frames."""


class SignVote(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Sign a Prepare or a Commit."""

    public_key: PublicKey
    """Which key is to sign."""
    part: Prepare | Commit


class SignProposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Sign the head of a Proposal or NewView."""

    public_key: PublicKey
    part: ProposalHead


class SignViewChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """Sign the head of a ViewChange."""

    public_key: PublicKey
    part: ViewChangeHead


class SignStatus(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """Sign what binds nobody."""

    public_key: PublicKey
    part: Status


class Destroy(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """Wipe a key that another one has followed."""

    public_key: PublicKey


class LastPosition(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The highest position ever signed."""

    epoch: Epoch
    height: Height
    view: View
    step: Annotated[int, Meta(ge=0, le=255)]


class Welcome(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=17):
    """Answer to Hello."""

    version: _Version
    network: Network
    """The one chain for which this process signs."""
    public_keys: Annotated[tuple[PublicKey, ...], Meta(max_length=KEYS_MAX)]
    """Oldest first."""
    last: LastPosition | None
    """Nil for keys that have signed nothing."""


class SignatureMade(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=18):
    """The signature asked for."""

    signature: Signature


class Done(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=19):
    """The key is gone."""


class Refused(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=20):
    """Never: it would contradict what was signed."""

    sentence: _Sentence


class Failed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=21):
    """Not now: the disk or the device does not do what it should."""

    sentence: _Sentence


SignRequest: TypeAlias = SignVote | SignProposal | SignViewChange
Request: TypeAlias = Hello | SignRequest | SignStatus | Destroy
Answer: TypeAlias = Welcome | SignatureMade | Done | Refused | Failed


class _RequestFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    request: Request


class _AnswerFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    answer: Answer


def encode_request(request: Request) -> bytes:
    """Return the bytes of a request."""
    return codec.encode(_RequestFrame(request))


def decode_request(data: bytes) -> Request:
    """Read a request. Raises: Rejected."""
    return codec.decode(data, _RequestFrame, bytes_max=SIGNER_FRAME_BYTES_MAX).request


def encode_answer(answer: Answer) -> bytes:
    """Return the bytes of an answer."""
    return codec.encode(_AnswerFrame(answer))


def decode_answer(data: bytes) -> Answer:
    """Read an answer. Raises: Rejected."""
    return codec.decode(data, _AnswerFrame, bytes_max=SIGNER_FRAME_BYTES_MAX).answer


def clipped(error: Exception) -> str:
    """Return an error's sentence as it may stand in an answer."""
    text = "".join(character if codec.is_clean_text(character) else "?" for character in str(error))
    return text[:SIGNER_SENTENCE_CHARS_MAX] if codec.is_clean_text(text) else "an error without readable text"
