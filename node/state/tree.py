"""The state tree in memory: hashes only; records stay on disk.

The top `depth` levels are a heap of 32-byte slots in one bytearray: slot 1 is the top, the children
of slot i are 2i and 2i+1, and the lowest level has one slot per bucket. A bucket holds every leaf
whose key hash begins with its `depth` bits, as ascending (key hash | leaf hash) pairs of 64 bytes in
one bytes object. Thirty-two zero bytes mean "no key below". A slot with one child that is empty
equals the other child: that is path compression, so the hashes do not depend on `depth`.

`depth` grows with the number of keys, so that a bucket holds four to eight leaves on average. At a
million keys: 64 MB of pairs, 16 MB of slots, 14 MB around the buckets. A block costs one recomputed
bucket per changed key and each slot above once.

Somebody who searches keys that share a bucket makes it long; recomputing it costs about a
microsecond per leaf and block, and each such key costs its finder 2^depth hashes and an accredited
signature.
"""

import hashlib
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from operator import xor
from struct import Struct
from typing import Final, Self

from node.crypto.merkle import inner_hash
from node.primitives import Hash
from node.state.trie import EMPTY_ROOT, join, subtree_branch, subtree_root

EMPTY_SLOT: Final = bytes(32)
DEPTH_MIN: Final = 10
DEPTH_MAX: Final = 28
BUCKET_LEAVES_AT_OPENING: Final = 4
BUCKET_LEAVES_MAX_AVERAGE: Final = 8
_PAIR_BYTES: Final = 64
_SHORT_BUCKET_LEAVES: Final = 32
_FIRST_BITS: Final = Struct(">I60x").iter_unpack
"""Reads the first 32 bits of each pair's key hash."""
_UNPACK: Final = tuple(Struct(">" + "Q24x32s" * count).unpack for count in range(_SHORT_BUCKET_LEAVES + 1))
"""By number of pairs: reads (first 64 bits of the key hash, leaf hash) of each at one call."""


class TreeView(ABC):
    """What can be read from a tree at one state: the committed one, or one laid over it."""

    depth: int
    key_count: int

    @abstractmethod
    def slot(self, index: int) -> bytes:
        """Return the hash in a slot of the heap; zeros where no key is below it."""

    @abstractmethod
    def bucket(self, index: int) -> bytes:
        """Return the pairs of a bucket."""

    @property
    def root(self) -> Hash:
        """The root hash; SHA-256("") of a tree without keys."""
        return self.slot(1) if self.key_count else EMPTY_ROOT

    def leaf(self, key_hash: Hash) -> Hash | None:
        """Return the leaf hash of a key, or None where it is absent."""
        pairs = self.bucket(self._bucket_of(key_hash))
        offset = pairs.find(key_hash)
        while offset > 0 and offset % _PAIR_BYTES:
            offset = pairs.find(key_hash, offset + 1)
        return None if offset < 0 else pairs[offset + 32 : offset + _PAIR_BYTES]

    def branch(self, key_hash: Hash) -> list[tuple[int, Hash]]:
        """Return (own side, sibling) from a present key's leaf up to the root; side 1 is right."""
        index = self._bucket_of(key_hash)
        keys, leaves = _unpack(self.bucket(index))
        place = bisect_left(keys, key_hash)
        assert keys[place] == key_hash
        steps = subtree_branch(keys, leaves, place)
        slot = (1 << self.depth) + index
        while slot > 1:
            sibling = self.slot(slot ^ 1)
            if sibling != EMPTY_SLOT:
                steps.append((slot & 1, sibling))
            slot >>= 1
        return steps

    def neighbours(self, key_hash: Hash) -> tuple[Hash | None, Hash | None]:
        """Return the greatest present key hash below and the least one above, None where there is none."""
        return self.below(key_hash), self.above(key_hash)

    def below(self, key_hash: Hash) -> Hash | None:
        """Return the greatest present key hash that is less."""
        index = self._bucket_of(key_hash)
        keys, _ = _unpack(self.bucket(index))
        place = bisect_left(keys, key_hash)
        if place:
            return keys[place - 1]
        other = self._next_bucket(index, side=0)
        return None if other is None else _unpack(self.bucket(other))[0][-1]

    def above(self, key_hash: Hash) -> Hash | None:
        """Return the least present key hash that is greater."""
        index = self._bucket_of(key_hash)
        keys, _ = _unpack(self.bucket(index))
        place = bisect_right(keys, key_hash)
        if place < len(keys):
            return keys[place]
        other = self._next_bucket(index, side=1)
        return None if other is None else _unpack(self.bucket(other))[0][0]

    def between(self, low: Hash, high: Hash) -> Iterator[Hash]:
        """Yield the present key hashes from `low` to `high`, both included, ascending."""
        for index in range(self._bucket_of(low), self._bucket_of(high) + 1):
            keys, _ = _unpack(self.bucket(index))
            yield from keys[bisect_left(keys, low) : bisect_right(keys, high)]

    def _bucket_of(self, key_hash: Hash) -> int:
        return int.from_bytes(key_hash[:4], "big") >> (32 - self.depth)

    def _next_bucket(self, index: int, *, side: int) -> int | None:
        """Return the nearest bucket with keys on one side (1 is right): up to a fork, then down."""
        slot = (1 << self.depth) + index
        while slot > 1 and (slot & 1 == side or self.slot(slot ^ 1) == EMPTY_SLOT):
            slot >>= 1
        if slot == 1:
            return None
        slot ^= 1
        while slot >> self.depth == 0:
            nearer = 2 * slot + (1 - side)
            slot = nearer if self.slot(nearer) != EMPTY_SLOT else nearer ^ 1
        return slot - (1 << self.depth)


class PreparedTree(TreeView):
    """The tree as some changes would leave it; readable while the tree under it stays as it is."""

    def __init__(self, base: "Tree", slots: dict[int, bytes], buckets: dict[int, bytes], key_count: int) -> None:
        self.depth = base.depth
        self.version: Final = base.version
        """The version of the tree that this was computed from."""
        self.slots: Final = slots
        """Changed slots of the heap."""
        self.buckets: Final = buckets
        """Changed buckets."""
        self.key_count = key_count
        self._base = base

    def slot(self, index: int) -> bytes:
        """Return the hash in a slot of the heap; zeros where no key is below it."""
        changed = self.slots.get(index)
        return self._base.slot(index) if changed is None else changed

    def bucket(self, index: int) -> bytes:
        """Return the pairs of a bucket."""
        changed = self.buckets.get(index)
        return self._base.bucket(index) if changed is None else changed


class Tree(TreeView):
    """The committed tree. Changed by `install` alone."""

    def __init__(self, key_count_expected: int = 0) -> None:
        self.depth = depth_for(key_count_expected)
        self.version = 0
        """Counts installed changes: what was prepared for another version is stale."""
        self.key_count = 0
        self._heap = bytearray(64 << self.depth)
        self._buckets = [b""] * (1 << self.depth)

    @classmethod
    def from_sorted(cls, chunks: Iterable[bytes], key_count_expected: int) -> Self:
        """Build a tree from ascending pairs (key hash | leaf hash), any number of them at a time.

        The expected number of keys only sizes it.
        """
        tree = cls(key_count_expected)
        rest = b""
        for chunk in chunks:
            rest = tree._fill_complete(rest + chunk)
        if rest:
            tree._fill(tree._bucket_of(rest), rest)
        tree._hash_heap()
        tree._grow_if_crowded()
        return tree

    def slot(self, index: int) -> bytes:
        """Return the hash in a slot of the heap; zeros where no key is below it."""
        return bytes(self._heap[32 * index : 32 * index + 32])

    def bucket(self, index: int) -> bytes:
        """Return the pairs of a bucket."""
        return self._buckets[index]

    def prepare(self, changes: Mapping[Hash, Hash | None]) -> PreparedTree:
        """Return the tree with some leaves set (or removed: None), changing nothing."""
        grouped: dict[int, list[tuple[Hash, Hash | None]]] = {}
        shift = 32 - self.depth
        for key, leaf in changes.items():
            index = int.from_bytes(key[:4], "big") >> shift
            if index in grouped:
                grouped[index].append((key, leaf))
            else:
                grouped[index] = [(key, leaf)]
        buckets: dict[int, bytes] = {}
        level: dict[int, bytes] = {}
        key_count = self.key_count
        first = 1 << self.depth
        for index in sorted(grouped):
            before = self._buckets[index]
            after, node = _change_bucket(before, grouped[index])
            key_count += (len(after) - len(before)) // _PAIR_BYTES
            buckets[index] = after
            level[first + index] = node
        return PreparedTree(self, self._hash_above(level), buckets, key_count)

    def install(self, prepared: PreparedTree) -> None:
        """Make what was prepared the tree. It must have been prepared from the tree as it stands."""
        assert prepared.version == self.version
        heap = self._heap
        for index, node in prepared.slots.items():
            heap[32 * index : 32 * index + 32] = node
        for index, pairs in prepared.buckets.items():
            self._buckets[index] = pairs
        self.key_count = prepared.key_count
        self.version += 1
        self._grow_if_crowded()

    def _hash_above(self, level: dict[int, bytes]) -> dict[int, bytes]:
        """Return changed slots of all levels, given those of the lowest in ascending order."""
        digest = hashlib.sha256
        heap = self._heap
        slots = dict(level)
        for _ in range(self.depth):
            above: dict[int, bytes] = {}
            for index, node in level.items():
                parent = index >> 1
                if index & 1:
                    if parent not in above:
                        sibling = heap[32 * index - 32 : 32 * index]
                        if sibling[0] and node[0]:
                            above[parent] = digest(b"\x01" + sibling + node).digest()
                        else:
                            above[parent] = _join_slots(bytes(sibling), node)
                    continue
                other = level.get(index + 1) or heap[32 * index + 32 : 32 * index + 64]
                if node[0] and other[0]:
                    above[parent] = digest(b"\x01" + node + other).digest()
                else:
                    above[parent] = _join_slots(node, bytes(other))
            slots.update(above)
            level = above
        return slots

    def _fill_complete(self, pairs: bytes) -> bytes:
        """Fill every bucket but the last that some pairs belong to; return the pairs of the last."""
        shift = 32 - self.depth
        sizes = Counter([bits >> shift for (bits,) in _FIRST_BITS(pairs)])
        start = 0
        for index, count in islice(sizes.items(), max(len(sizes) - 1, 0)):
            end = start + _PAIR_BYTES * count
            self._fill(index, pairs[start:end])
            start = end
        return pairs[start:]

    def _fill(self, index: int, pairs: bytes) -> None:
        """Set one bucket and its slot, not what is above."""
        if pairs:
            slot = 32 * ((1 << self.depth) + index)
            self._heap[slot : slot + 32] = _bucket_root(pairs)
            self._buckets[index] = pairs
            self.key_count += len(pairs) // _PAIR_BYTES

    def _end_of(self, index: int) -> bytes:
        """Return what every key hash in a bucket is below and every later one is not."""
        if index + 1 == 1 << self.depth:
            return b"\xff" * 33
        return ((index + 1) << (32 - self.depth)).to_bytes(4, "big")

    def _hash_heap(self) -> None:
        """Compute every slot above the lowest level."""
        digest = hashlib.sha256
        heap = self._heap
        for index in range((1 << self.depth) - 1, 0, -1):
            both = heap[64 * index : 64 * index + 64]
            # A hash that begins with 0x00 is rare and takes the longer way, as an empty slot does.
            if both[0] and both[32]:
                heap[32 * index : 32 * index + 32] = digest(b"\x01" + both).digest()
            else:
                heap[32 * index : 32 * index + 32] = _join_slots(bytes(both[:32]), bytes(both[32:]))

    def _grow_if_crowded(self) -> None:
        """Add levels below while buckets are too full: only the new lowest level is computed."""
        while self.key_count > BUCKET_LEAVES_MAX_AVERAGE << self.depth and self.depth < DEPTH_MAX:
            crowded, self._buckets = self._buckets, [b""] * (2 << self.depth)
            self._heap.extend(bytes(64 << self.depth))
            self.depth += 1
            self.key_count = 0
            for index, pairs in enumerate(crowded):
                middle = _offset_of(pairs, self._end_of(2 * index))
                self._fill(2 * index, pairs[:middle])
                self._fill(2 * index + 1, pairs[middle:])


def depth_for(key_count: int) -> int:
    """Return the depth with which a tree of so many keys begins."""
    depth = DEPTH_MIN
    while depth < DEPTH_MAX and key_count > BUCKET_LEAVES_AT_OPENING << depth:
        depth += 1
    return depth


def _unpack(pairs: bytes) -> tuple[list[Hash], list[Hash]]:
    """Return the key hashes and the leaf hashes of a bucket."""
    offsets = range(0, len(pairs), _PAIR_BYTES)
    return [pairs[i : i + 32] for i in offsets], [pairs[i + 32 : i + 64] for i in offsets]


def _join_slots(left: bytes, right: bytes) -> bytes:
    """Return the slot above two: their inner hash, or the one that is not empty."""
    if left == EMPTY_SLOT:
        return right
    if right == EMPTY_SLOT:
        return left
    return inner_hash(left, right)


def _offset_of(pairs: bytes, key_hash: bytes) -> int:
    """Return where in a bucket the first key hash lies that is not below this one."""
    if len(pairs) > _PAIR_BYTES * _SHORT_BUCKET_LEAVES:
        return _PAIR_BYTES * bisect_left(_unpack(pairs)[0], key_hash)
    offset, end = 0, len(pairs)
    while offset < end and pairs[offset : offset + 32] < key_hash:
        offset += _PAIR_BYTES
    return offset


def _change_bucket(pairs: bytes, changes: list[tuple[Hash, Hash | None]]) -> tuple[bytes, bytes]:
    """Return a bucket with leaves set or removed, and its root (zeros where nothing is left)."""
    if len(pairs) // _PAIR_BYTES + len(changes) > _SHORT_BUCKET_LEAVES:
        # One pass whatever the number of changes: long buckets come from keys that were searched for.
        leaves: dict[Hash, Hash | None] = dict(zip(*_unpack(pairs), strict=True))
        leaves.update(changes)
        pairs = b"".join([key + leaf for key, leaf in sorted(leaves.items()) if leaf is not None])
        return pairs, _bucket_root(pairs)
    for key, leaf in changes:
        start = _offset_of(pairs, key)
        end = start + _PAIR_BYTES if pairs[start : start + 32] == key else start
        pair = b"" if leaf is None else key + leaf
        pairs = pairs[:start] + pair + pairs[end:]
    return pairs, _bucket_root(pairs)


def _bucket_root(pairs: bytes) -> bytes:
    """Return the root over a bucket; zeros where it is empty."""
    count = len(pairs) // _PAIR_BYTES
    if count == 0:
        return EMPTY_SLOT
    if count == 1:
        return pairs[32:]
    if count == 2:
        return inner_hash(pairs[32:64], pairs[96:])
    if count <= _SHORT_BUCKET_LEAVES:
        fields = _UNPACK[count](pairs)
        numbers = fields[::2]
        splits = list(map(xor, numbers, numbers[1:]))
        # Two key hashes that share 64 bits have been searched for; the long way tells them apart.
        if 0 not in splits:
            return join(splits, fields[1::2])
    return subtree_root(*_unpack(pairs))
