"""The hashes of the state tree: a path-compressed binary Merkle trie over SHA-256(plain key).

- key hash: SHA-256 of the plain key, 32 bytes. Its 256 bits, most significant first, are the path.
- tree key: the key hash as 64 bytes `0x40 | nibble`, high nibble first; sorts as the key hash does.
- leaf:  SHA-256(0x00 | 0x40 | tree key | 0x20 | SHA-256(record)); 0x40 and 0x20 are the lengths
  64 and 32 as Protobuf varints, which makes the leaf one of ICS23's TendermintSpec.
- inner: SHA-256(0x01 | left | right). A node with one child *is* that child, so there are exactly
  n - 1 inner nodes, the shape is a function of the set of keys alone, and depth is about log2 n.
- nothing: SHA-256("").

No byte of a tree key is below 0x40: a leaf cannot be read as one of a shorter key (a verifier that is
lax about leaf prefixes would otherwise let a present key be proven absent). Source: PROTOCOL §4.
"""

import hashlib
from binascii import hexlify
from collections.abc import Sequence
from operator import xor
from typing import Final

from node.crypto.hashing import sha256
from node.crypto.merkle import inner_hash
from node.primitives import HASH_BYTES, Hash

EMPTY_ROOT: Final = sha256(b"")
KEY_BITS: Final = 256
TREE_KEY_BYTES: Final = 2 * HASH_BYTES
LEAF_PREFIX: Final = b"\x00"
INNER_PREFIX: Final = b"\x01"

_NIBBLES: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(0x40, 0x50)))
_DIGITS: Final = bytes.maketrans(bytes(range(0x40, 0x50)), b"0123456789abcdef")
_LEAF_START: Final = LEAF_PREFIX + bytes([TREE_KEY_BYTES])
_LEAF_MIDDLE: Final = bytes([HASH_BYTES])


def key_hash_of(plain_key: str) -> Hash:
    """Return SHA-256 of a plain key."""
    return hashlib.sha256(plain_key.encode("ascii")).digest()


def tree_key(key_hash: Hash) -> bytes:
    """Return the 64 bytes that stand for a key hash in a leaf."""
    return hexlify(key_hash).translate(_NIBBLES)


def key_hash_from_tree_key(key: bytes) -> Hash | None:
    """Return the key hash that a tree key stands for, or None where these are not such 64 bytes."""
    if len(key) != TREE_KEY_BYTES or not all(0x40 <= byte < 0x50 for byte in key):
        return None
    return bytes.fromhex(key.translate(_DIGITS).decode("ascii"))


def leaf_hash(key_hash: Hash, record_hash: Hash) -> Hash:
    """Return the hash of the leaf that binds SHA-256(plain key) to SHA-256(record)."""
    key = hexlify(key_hash).translate(_NIBBLES)
    return hashlib.sha256(_LEAF_START + key + _LEAF_MIDDLE + record_hash).digest()


def bit_at(key_hash: Hash, position: int) -> int:
    """Return one bit of a key hash; position 0 is the most significant."""
    return key_hash[position >> 3] >> (7 - (position & 7)) & 1


def split_position(first: Hash, second: Hash) -> int:
    """Return the position of the first bit in which two different key hashes differ."""
    difference = int.from_bytes(first, "big") ^ int.from_bytes(second, "big")
    assert difference
    return KEY_BITS - difference.bit_length()


def subtree_root(keys: Sequence[Hash], leaves: Sequence[Hash]) -> Hash:
    """Return the root over at least one leaf, given by ascending different key hashes.

    Neighbours split at the first bit in which they differ, and the higher of two splits is nearer
    to the root. So one walk from left to right suffices: a stack of finished sub-trees, each with
    the split to its right, in which a new split first joins everything that splits lower. XORs are
    compared in place of positions: of two splits in reach of each other the higher has the larger one.
    """
    numbers = [int.from_bytes(key, "big") for key in keys]
    return join(list(map(xor, numbers, numbers[1:])), leaves)


def join(splits: Sequence[int], leaves: Sequence[Hash]) -> Hash:
    """Return the root over leaves, given each neighbouring pair's XOR (or its first bits, if not zero)."""
    digest = hashlib.sha256
    node = leaves[0]
    waiting: list[Hash] = []
    splits_waiting: list[int] = []
    for split, leaf in zip(splits, leaves[1:], strict=True):
        while splits_waiting and splits_waiting[-1] < split:
            splits_waiting.pop()
            node = digest(b"\x01" + waiting.pop() + node).digest()
        waiting.append(node)
        splits_waiting.append(split)
        node = leaf
    while waiting:
        node = digest(b"\x01" + waiting.pop() + node).digest()
    return node


def subtree_branch(keys: Sequence[Hash], leaves: Sequence[Hash], index: int) -> list[tuple[int, Hash]]:
    """Return (own side, sibling) from a leaf up to the root over all the leaves; side 1 is right."""
    steps: list[tuple[int, Hash]] = []
    first, last = 0, len(keys)
    while last - first > 1:
        position = split_position(keys[first], keys[last - 1])
        middle = next(i for i in range(first + 1, last) if bit_at(keys[i], position))
        if index < middle:
            steps.append((0, subtree_root(keys[middle:last], leaves[middle:last])))
            last = middle
        else:
            steps.append((1, subtree_root(keys[first:middle], leaves[first:middle])))
            first = middle
    steps.reverse()
    return steps


def climb(node: Hash, directions: Sequence[int], siblings: Sequence[Hash]) -> Hash:
    """Return the root above a node, given its side (1 is right) and sibling at each step upwards."""
    for direction, sibling in zip(directions, siblings, strict=True):
        node = inner_hash(sibling, node) if direction else inner_hash(node, sibling)
    return node
