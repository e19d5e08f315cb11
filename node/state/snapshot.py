"""The state cut into chunks, each of which is checked alone against the state root.

A chunk holds every record whose key hash begins with some bits, so it is one sub-tree of the state tree, and
its records hash to that sub-tree's root. The sub-tree roots of all chunks, in order, fold to the state root: who has
them and a proven header knows at once whether a chunk is whole and true, whoever sent it and in whatever order.
(A `PrefixProof` per chunk would say the same with two branches each; here the other chunks' roots are the branches.)

Where to cut depends on the state alone: a chunk is the largest sub-tree of at most SNAPSHOT_CHUNK_BYTES, or a single
record. So every node cuts a height's state into the same chunks, and one can be asked for what another offered.

*Why folding suffices.* An inner node does not commit to the bit at which it splits, so a liar can give a true sub-tree
root a wrong place. The leaves below it commit to their key hashes: no chunk fits such a place, and he is found out with
its first chunk. Source: PROTOCOL §4, §6.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node import codec
from node.crypto.hashing import sha256
from node.crypto.merkle import inner_hash
from node.errors import Reason, Rejected
from node.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES_MAX
from node.primitives import Hash, Uint
from node.state import flat, keys
from node.state.proof import PlainKey, Record
from node.state.trie import EMPTY_ROOT, KEY_BITS, key_hash_of, leaf_hash, subtree_root

EMPTY: Final = bytes(32)
"""In the place of the root of a sub-tree without records, as in the tree in memory."""
_KEYS_END: Final = 1 << KEY_BITS
_ENTRY_BYTES: Final = 16
"""What the encoding of an entry takes besides key and record, and more."""


class StatePart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One chunk as a manifest lists it; its place is where the one before it ends."""

    depth: Annotated[int, Meta(ge=0, le=KEY_BITS)]
    """How many bits the key hashes in it have in common: it covers 2^(256 − depth) key hashes."""
    record_count: Uint
    root: Hash
    """Root of the sub-tree; 32 zero bytes where it has no record."""
    byte_count: Annotated[int, Meta(ge=0, le=SNAPSHOT_CHUNK_BYTES_MAX)]
    """Length of the chunk."""


class StateChunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The records of a part."""

    entries: tuple[tuple[PlainKey, Record], ...]
    """(plain key, record), ascending by key hash."""


@dataclass(frozen=True, slots=True)
class CheckedRecord:
    """A record of a chunk that fits its part."""

    key_hash: Hash
    plain_key: str
    record: bytes
    packed: bytes
    """As it lies on disk."""


def cut(records: Iterable[tuple[Hash, bytes]]) -> Iterator[tuple[StatePart, bytes] | None]:
    """Yield (part, chunk) of a whole state from its (key hash, flat record) pairs, ascending.

    Yields None now and then in between, so that the caller can let others work: after about a hundred records, or
    when a chunk is complete.
    """
    waiting: deque[tuple[Hash, bytes]] = deque()
    size, start = 0, 0
    for count, (key_hash, packed) in enumerate(records, start=1):
        waiting.append((key_hash, packed))
        size += len(packed) - 34 + _ENTRY_BYTES
        while size > SNAPSHOT_CHUNK_BYTES and len(waiting) > 1:
            depth = _deepest_before(start, int.from_bytes(key_hash, "big"))
            end = start + (_KEYS_END >> depth)
            inside = _take_below(waiting, end)
            size -= sum(len(item) - 34 + _ENTRY_BYTES for _, item in inside)
            yield _chunk_of(depth, inside)
            start = end
        if count % 128 == 0:
            yield None
    while start < _KEYS_END:
        depth = _deepest_before(start, _KEYS_END)
        end = start + (_KEYS_END >> depth)
        yield _chunk_of(depth, _take_below(waiting, end))
        start = end


def fold(parts: Sequence[StatePart]) -> Hash:
    """Return the state root that the parts come to.

    Raises: Rejected(BAD_PROOF) where they do not cover every key hash exactly once.
    """
    stack: list[tuple[int, Hash]] = []
    for part, start in zip(parts, _starts(parts), strict=True):
        depth, node = part.depth, part.root
        if (part.record_count == 0) != (node == EMPTY):
            raise Rejected(
                Reason.BAD_PROOF, f"the part at {_name(start)} has {part.record_count} records, its root differs"
            )
        while stack and stack[-1][0] == depth:
            node = _join(stack.pop()[1], node)
            depth -= 1
        stack.append((depth, node))
    # Parts that lie without a gap from the first key hash to the last are joined to one.
    ((_, root),) = stack
    return EMPTY_ROOT if root == EMPTY else root


def starts_of(parts: Sequence[StatePart]) -> list[int]:
    """Return the first key hash that each part covers, as a number; `fold` has checked the parts."""
    return list(_starts(parts))


def check_chunk(part: StatePart, start: int, data: bytes) -> list[CheckedRecord]:
    """Read a chunk and return its records.

    Raises: Rejected(TOO_LARGE), Rejected(MALFORMED), Rejected(BAD_PROOF) unless it is exactly what the part commits to.
    """
    if len(data) != part.byte_count:
        raise Rejected(Reason.BAD_PROOF, f"the chunk has {len(data)} bytes, announced are {part.byte_count}")
    chunk = codec.decode(data, StateChunk, bytes_max=SNAPSHOT_CHUNK_BYTES_MAX)
    if len(chunk.entries) != part.record_count:
        raise Rejected(
            Reason.BAD_PROOF, f"the chunk has {len(chunk.entries)} records, announced are {part.record_count}"
        )
    records = []
    for plain_key, record in chunk.entries:
        if not keys.is_plain_key(plain_key):
            raise Rejected(Reason.BAD_PROOF, f"{plain_key!r} is no plain key")
        key_hash = key_hash_of(plain_key)
        leaf = leaf_hash(key_hash, sha256(record))
        records.append(CheckedRecord(key_hash, plain_key, record, flat.pack(leaf, plain_key, record)))
    hashes = [item.key_hash for item in records]
    for before, after in pairwise(hashes):
        if before >= after:
            raise Rejected(Reason.BAD_PROOF, f"{after.hex()} does not follow {before.hex()}")
    end = start + (_KEYS_END >> part.depth)
    if hashes and not start <= int.from_bytes(hashes[0], "big") <= int.from_bytes(hashes[-1], "big") < end:
        raise Rejected(Reason.BAD_PROOF, f"records outside the part at {_name(start)}")
    root = subtree_root(hashes, [flat.leaf_of(item.packed) for item in records]) if hashes else EMPTY
    if root != part.root:
        raise Rejected(Reason.BAD_PROOF, f"the records hash to {root.hex()}, the part to {part.root.hex()}")
    return records


def _starts(parts: Sequence[StatePart]) -> Iterator[int]:
    """Yield where each part begins. Raises: Rejected(BAD_PROOF) where parts do not fit together."""
    start = 0
    for part in parts:
        width = _KEYS_END >> part.depth
        if start % width or start + width > _KEYS_END:
            raise Rejected(Reason.BAD_PROOF, f"a part of depth {part.depth} cannot begin at {_name(start)}")
        yield start
        start += width
    if start != _KEYS_END:
        raise Rejected(Reason.BAD_PROOF, f"the parts end at {_name(start)} instead of the last key")


def _deepest_before(start: int, limit: int) -> int:
    """Return the least depth of a sub-tree that begins at `start` and ends at or before `limit`."""
    alignment = (start & -start).bit_length() - 1 if start else KEY_BITS
    width_bits = min(alignment, (limit - start).bit_length() - 1)
    return KEY_BITS - width_bits


def _take_below(waiting: deque[tuple[Hash, bytes]], end: int) -> list[tuple[Hash, bytes]]:
    taken = []
    while waiting and int.from_bytes(waiting[0][0], "big") < end:
        taken.append(waiting.popleft())
    return taken


def _chunk_of(depth: int, records: list[tuple[Hash, bytes]]) -> tuple[StatePart, bytes]:
    entries = tuple(flat.split(packed) for _, packed in records)
    data = codec.encode(StateChunk(entries))
    hashes = [key_hash for key_hash, _ in records]
    root = subtree_root(hashes, [flat.leaf_of(packed) for _, packed in records]) if records else EMPTY
    return StatePart(depth, len(records), root, len(data)), data


def _join(left: Hash, right: Hash) -> Hash:
    if left == EMPTY:
        return right
    return left if right == EMPTY else inner_hash(left, right)


def _name(start: int) -> str:
    """Return the first key hash of a part in short."""
    return f"{start >> (KEY_BITS - 64):016x}…" if start < _KEYS_END else "the end"
