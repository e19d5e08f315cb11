"""A recording: what one core was told and what came of it, as bytes; and the same fed to a core again.

    file      one record after the other: length (u32, big endian) | CRC-32 of the payload (u32) | payload
    payload   MessagePack array [kind, …]: first an OPENING, then BLOCKs, INPUTs and their OUTCOMEs

A block is written once and referred to by its number, so a replayed core sees the very same object wherever the
recorded one did. An input is written before it is applied: if the core fails on it, it is the last of the file. Of
effects only names and digests are kept. This is a tool's format, neither hashed nor signed, so other than in
`node.codec` shapes are read by their field names and may grow.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Annotated, Final, get_args, get_type_hints

import msgpack
import msgspec
from msgspec import Meta

from node import codec
from node.chain.block import Block
from node.chain.certificate import VerifyDigest, verify_consensus_signature
from node.consensus.carried import Carried
from node.consensus.core import Core, CoreOptions
from node.consensus.effects import Effect
from node.consensus.inputs import Input
from node.crypto.hashing import sha256
from node.errors import Rejected
from node.limits import BLOCK_BYTES_MAX, RECORD_BYTES_MAX

FORMAT: Final = 1
HEAD_BYTES: Final = 8
"""Length and checksum before each payload."""
DIGEST_BYTES: Final = 16
_BLOCK_REFERENCE: Final = 1
"""MessagePack extension: the number of a block, 4 bytes big endian."""
_INPUTS: Final = {shape.__name__: shape for shape in get_args(Input)}
_NOT_RECORDED: Final = frozenset({"verify_digest", "rotation"})
"""Options that are code."""


class Kind(IntEnum):
    """What a record is."""

    OPENING = 0
    BLOCK = 1
    INPUT = 2
    OUTCOME = 3
    PAUSE = 4
    """The height had filled the file: nothing more of it was recorded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one input."""

    effects: tuple[tuple[str, Annotated[bytes, Meta(max_length=DIGEST_BYTES)]], ...]
    """Name and digest of each, in order."""
    refusal: tuple[str, str] | None
    """Reason and detail; then there are no effects."""


class RecordingDamaged(Exception):
    """A recording cannot be read from here on; the sentence says where and why."""


class RecordingTorn(RecordingDamaged):
    """The last record is incomplete: the node ended while it was written; everything before it is whole."""


class Encoder:
    """Turns one core's life into records; one encoder for each file."""

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[int, Block, bytes]] = {}
        """By identity: number, the block itself (so that nothing else gets its identity), digest. No more than a
        file holds."""
        self._new: list[bytes] = []
        self._packer = msgpack.Packer(default=self._plain, use_bin_type=True)
        self._digester = msgpack.Packer(default=self._digestible, use_bin_type=True)

    def opening(self, options: CoreOptions, carried: Carried, program: str) -> bytes:
        """Return the record that a file begins with, after those it refers to. `program`: name and version."""
        kept = {
            field.name: getattr(options, field.name) for field in fields(options) if field.name not in _NOT_RECORDED
        }
        return self._records([Kind.OPENING, FORMAT, program, kept, carried])

    def input(self, event: Input) -> bytes:
        """Return the record of an input that is about to be applied, after those it refers to."""
        return self._records([Kind.INPUT, type(event).__name__, event])

    def outcome(self, effects: Sequence[Effect], refusal: Rejected | None = None) -> bytes:
        """Return the record of what came of the last input."""
        return self._records([Kind.OUTCOME, self.outcome_of(effects, refusal)])

    def outcome_of(self, effects: Sequence[Effect], refusal: Rejected | None = None) -> Outcome:
        """Return names and digests."""
        found = tuple((type(effect).__name__, self._digest(effect)) for effect in effects)
        return Outcome(found, None if refusal is None else (refusal.reason.value, refusal.detail))

    def pause(self) -> bytes:
        """Return the record that says that the rest of this height is missing."""
        return self._records([Kind.PAUSE])

    def _records(self, value: list[object]) -> bytes:
        last: bytes = self._packer.pack(value)
        new, self._new = self._new, []
        return b"".join(map(_framed, [*new, last]))

    def _digest(self, effect: Effect) -> bytes:
        packed: bytes = self._digester.pack(effect)
        return sha256(packed)[:DIGEST_BYTES]

    def _plain(self, value: object) -> object:
        if isinstance(value, Block):
            return msgpack.ExtType(_BLOCK_REFERENCE, self._entry(value)[0].to_bytes(4, "big"))
        return _taken_apart(value)

    def _digestible(self, value: object) -> object:
        return self._entry(value)[2] if isinstance(value, Block) else _taken_apart(value)

    def _entry(self, block: Block) -> tuple[int, Block, bytes]:
        """Return a block's number and digest; a new one is written before what refers to it."""
        found = self._blocks.get(id(block))
        if found is None:
            data = codec.encode(block)
            found = self._blocks[id(block)] = (len(self._blocks), block, sha256(data))
            self._new.append(msgpack.packb([Kind.BLOCK, data], use_bin_type=True))
        return found


def _taken_apart(value: object) -> object:
    """Return a struct as an array, its tag first, and a dataclass as a map."""
    if isinstance(value, msgspec.Struct):
        tag = type(value).__struct_config__.tag
        items = msgspec.structs.astuple(value)
        return items if tag is None else (tag, *items)
    return {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]  # a dataclass


def _framed(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + zlib.crc32(payload).to_bytes(4, "big") + payload


# --- reading ---


@dataclass(frozen=True, slots=True)
class Opening:
    """What a file begins with."""

    program: str
    options: CoreOptions
    carried: Carried


@dataclass(frozen=True, slots=True)
class Recorded:
    """One input and what came of it; None where the node ended before it was written."""

    event: Input
    outcome: Outcome | None


class Reader:
    """Reads a file's bytes: first the opening, then the inputs in order."""

    def __init__(self, data: bytes, verify_digest: VerifyDigest = verify_consensus_signature) -> None:
        """Read the opening. Raises: RecordingDamaged."""
        self._data = memoryview(data)
        self._position = 0
        self._blocks: list[Block] = []
        self._verify_digest = verify_digest
        self.is_paused = False
        """The height filled the file; what else happened at it is missing."""
        self.problem: str | None = None
        """Why the file could not be read to its end."""
        self.is_torn = False
        """Only its last record, which the node did not finish."""
        self.opening = self._read_opening()

    def inputs(self) -> Iterator[Recorded]:
        """Yield what the core was told, as far as it can be read; then `problem` and `is_paused` say how it ended."""
        waiting: Input | None = None
        try:
            for record in self._records():
                match record:
                    case [Kind.INPUT, str(name), dict(content)]:
                        if waiting is not None:
                            yield Recorded(waiting, None)
                        waiting = self._input(name, content)
                    case [Kind.OUTCOME, content] if waiting is not None:
                        yield Recorded(waiting, msgspec.convert(content, Outcome))
                        waiting = None
                    case [Kind.PAUSE]:
                        self.is_paused = True
                    case _:
                        raise RecordingDamaged(f"an unexpected record ends at byte {self._position}")
        except (RecordingDamaged, msgspec.ValidationError) as error:
            self.problem = str(error)
            self.is_torn = isinstance(error, RecordingTorn)
        if waiting is not None:
            yield Recorded(waiting, None)

    def _read_opening(self) -> Opening:
        try:
            for record in self._records():
                match record:
                    case [Kind.OPENING, int(found), str(program), dict(kept), dict(carried)]:
                        if found != FORMAT:
                            raise RecordingDamaged(
                                f"format {found}, this program reads {FORMAT}: recorded by {program}"
                            )
                        return Opening(program, self._options(kept), msgspec.convert(carried, Carried))
                    case _:
                        break
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            raise RecordingDamaged(f"the opening does not fit this program: {error}") from error
        raise RecordingDamaged("this is no recording: it does not begin with an opening")

    def _options(self, kept: dict[str, object]) -> CoreOptions:
        hints = get_type_hints(CoreOptions, include_extras=True)
        found = {name: msgspec.convert(value, hints[name]) for name, value in kept.items()}
        return CoreOptions(**found, verify_digest=self._verify_digest)

    def _input(self, name: str, content: dict[str, object]) -> Input:
        shape = _INPUTS.get(name)
        if shape is None:
            raise RecordingDamaged(f"the input {name} is not known to this program")
        found: Input = msgspec.convert(content, shape)
        return found

    def _records(self) -> Iterator[list[object]]:
        """Yield records from where the last one ended; blocks are kept, not yielded. Raises: RecordingDamaged."""
        while self._position < len(self._data):
            begin = self._position
            head, rest = self._data[begin : begin + HEAD_BYTES], len(self._data) - begin - HEAD_BYTES
            length = int.from_bytes(head[:4], "big")
            if rest < 0 or (length > rest and length <= RECORD_BYTES_MAX):
                raise RecordingTorn(f"the last record is torn: it begins at byte {begin} of {len(self._data)}")
            payload = self._data[begin + HEAD_BYTES : begin + HEAD_BYTES + length]
            if length > RECORD_BYTES_MAX or zlib.crc32(payload) != int.from_bytes(head[4:], "big"):
                raise RecordingDamaged(f"the record at byte {begin} is damaged")
            record = self._unpacked(payload, begin)
            self._position = begin + HEAD_BYTES + length
            match record:
                case [Kind.BLOCK, bytes(data)]:
                    self._blocks.append(_block(data, begin))
                case list():
                    yield record
                case _:
                    raise RecordingDamaged(f"the record at byte {begin} is none")

    def _unpacked(self, payload: memoryview, begin: int) -> object:
        try:
            found: object = msgpack.unpackb(payload, ext_hook=self._referred, strict_map_key=False)
        except (ValueError, IndexError, msgpack.UnpackException) as error:
            raise RecordingDamaged(f"the record at byte {begin} cannot be read: {error}") from error
        return found

    def _referred(self, code: int, number: bytes) -> Block:
        if code != _BLOCK_REFERENCE:
            raise ValueError(f"extension {code}")
        return self._blocks[int.from_bytes(number, "big")]


def _block(data: bytes, begin: int) -> Block:
    try:
        return codec.decode(data, Block, bytes_max=BLOCK_BYTES_MAX)
    except Rejected as rejection:
        raise RecordingDamaged(f"the block at byte {begin} cannot be read: {rejection.detail}") from rejection


# --- replaying ---


@dataclass(frozen=True, slots=True)
class Replayed:
    """One input that was applied once more."""

    event: Input
    effects: tuple[Effect, ...]
    refusal: Rejected | None
    failure: str | None
    """The core itself failed on this input: our own fault, the sentence says where."""
    recorded: Outcome | None
    found: Outcome
    """What came of it this time; without an outcome where the core failed."""

    @property
    def is_as_recorded(self) -> bool:
        """The same came of it; where the node ended before its outcome was written there is nothing to compare."""
        return self.recorded is None or (self.failure is None and self.recorded == self.found)


def replay(reader: Reader) -> Iterator[Replayed]:
    """Feed a recording to a core of its own, input by input; ends early where the core fails."""
    core = Core(reader.opening.options, reader.opening.carried)
    encoder = Encoder()
    for recorded in reader.inputs():
        effects: tuple[Effect, ...] = ()
        refusal: Rejected | None = None
        failure: str | None = None
        try:
            effects = core.step(recorded.event)
        except Rejected as rejection:
            refusal = rejection
        except Exception as error:  # noqa: BLE001 – a fault of the core is what a recording is looked through for
            failure = _place_of(error)
        found = encoder.outcome_of(effects, refusal)
        yield Replayed(recorded.event, effects, refusal, failure, recorded.outcome, found)
        if failure is not None:
            return


def _place_of(error: Exception) -> str:
    """Return an error with its last line of code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}: {error}".rstrip(": ")
