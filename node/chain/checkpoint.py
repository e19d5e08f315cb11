"""Checkpoints: blocks that are known to be this network's, beside the genesis.

Genesis alone proves only that some past quorum's keys signed: whoever collects a quorum of retired keys
could sign another history. A release ships what its makers saw, the authorities publish the same
elsewhere, and whatever contradicts one is refused. Source: PROTOCOL §8.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from node.chain.block import Header
from node.chain.hops import Hop, RecoveryHop
from node.chain.validator_set import ValidatorSet
from node.errors import ConfigError, Reason, Rejected
from node.limits import CHECKPOINTS_BYTES_MAX, CHECKPOINTS_MAX
from node.primitives import UINT_MAX, Hash, Height, TimestampMs

FORMAT: Final = "pila-checkpoints/1"
_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One block of one network."""

    genesis_hash: Hash
    height: Height
    block_hash: Hash
    next_validators_hash: Hash
    """Of the set that votes on the next height."""
    time_ms: TimestampMs
    """Block time: how old the checkpoint is."""


class CheckpointJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of them in the file."""

    genesis_hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    height: Annotated[int, Meta(ge=1, le=UINT_MAX)]
    block_hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    next_validators_hash: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    date: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")]


class CheckpointsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    format: Literal["pila-checkpoints/1"]
    checkpoints: Annotated[tuple[CheckpointJson, ...], Meta(max_length=CHECKPOINTS_MAX)]


def checkpoint_of(header: Header, genesis_hash: Hash) -> Checkpoint:
    """Return the checkpoint that a header makes."""
    return Checkpoint(genesis_hash, header.height, header.hash(), header.next_validators_hash, header.timestamp_ms)


def parse_checkpoints(data: bytes) -> tuple[Checkpoint, ...]:
    """Read the file. Raises: ConfigError: not one, or two checkpoints of one height that disagree."""
    if len(data) > CHECKPOINTS_BYTES_MAX:
        raise ConfigError(f"{len(data)} bytes, a file of checkpoints has at most {CHECKPOINTS_BYTES_MAX}")
    try:
        read = msgspec.json.decode(data, type=CheckpointsFile)
        found = tuple(_checkpoint(item) for item in read.checkpoints)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"no checkpoints: {error}") from None
    return merged(found)


def merged(checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Return checkpoints of several sources, each once. Raises: ConfigError where two of one height disagree."""
    by_place: dict[tuple[Hash, Height], Checkpoint] = {}
    for item in checkpoints:
        other = by_place.setdefault((item.genesis_hash, item.height), item)
        if other != item:
            raise ConfigError(
                f"two checkpoints of height {item.height} disagree: {other.block_hash.hex()} and "
                f"{item.block_hash.hex()}"
            )
    return tuple(by_place[place] for place in sorted(by_place))


def checkpoints_json(checkpoints: Iterable[Checkpoint]) -> str:
    """Return the text of the file."""
    items = [
        {
            "genesis_hash": item.genesis_hash.hex(),
            "height": item.height,
            "block_hash": item.block_hash.hex(),
            "next_validators_hash": item.next_validators_hash.hex(),
            "date": _date(item.time_ms),
        }
        for item in checkpoints
    ]
    return json.dumps({"format": FORMAT, "checkpoints": items}, indent=2) + "\n"


def check_way(
    genesis_hash: Hash,
    validators: ValidatorSet,
    hops: Sequence[Hop],
    header: Header,
    checkpoints: Iterable[Checkpoint],
) -> Checkpoint | None:
    """Hold a way from genesis to a header against what is known; return the newest checkpoint it was held against.

    `validators`: of height 1; the way was followed before. A header at a checkpoint's height must be its
    block; the set that votes above the checkpoint must be the one it names, unless a recovery replaced it there.
    Raises: Rejected(CONTRADICTS_CHECKPOINT).
    """
    newest: Checkpoint | None = None
    seen = {item.height: item.hash() for item in [header, *(hop.header for hop in hops)]}
    for checkpoint in checkpoints:
        if checkpoint.genesis_hash != genesis_hash or checkpoint.height > header.height:
            continue
        found = seen.get(checkpoint.height)
        if found is not None:
            check_block(checkpoint, found)
        if checkpoint.height < header.height:
            _check_set(checkpoint, validators, hops)
        if newest is None or checkpoint.height > newest.height:
            newest = checkpoint
    return newest


def check_block(checkpoint: Checkpoint, block_hash: Hash) -> None:
    """Refuse another block at a checkpoint's height. Raises: Rejected(CONTRADICTS_CHECKPOINT)."""
    if block_hash != checkpoint.block_hash:
        raise Rejected(
            Reason.CONTRADICTS_CHECKPOINT,
            f"block {checkpoint.height} is {block_hash.hex()}, the checkpoint of {_date(checkpoint.time_ms)} says "
            f"{checkpoint.block_hash.hex()}",
        )


def _check_set(checkpoint: Checkpoint, validators: ValidatorSet, hops: Sequence[Hop]) -> None:
    passed = [hop for hop in hops if hop.header.height <= checkpoint.height]
    if passed and isinstance(passed[-1], RecoveryHop) and passed[-1].header.height == checkpoint.height:
        return  # its header is the checkpoint's block, and who votes above it is the document's
    following = passed[-1].validators if passed else validators
    if following.hash != checkpoint.next_validators_hash:
        raise Rejected(
            Reason.CONTRADICTS_CHECKPOINT,
            f"validator set {following.hash.hex()} above height {checkpoint.height}, the checkpoint of "
            f"{_date(checkpoint.time_ms)} says {checkpoint.next_validators_hash.hex()}",
        )


def _checkpoint(item: CheckpointJson) -> Checkpoint:
    moment = datetime.strptime(item.date, _DATE).replace(tzinfo=UTC)
    return Checkpoint(
        bytes.fromhex(item.genesis_hash),
        item.height,
        bytes.fromhex(item.block_hash),
        bytes.fromhex(item.next_validators_hash),
        (moment - _START) // timedelta(milliseconds=1),
    )


def _date(time_ms: TimestampMs) -> str:
    moment = _START + timedelta(milliseconds=time_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1_000:03d}Z"
