"""Root and paths of an ordered list, after RFC 6962 §2.1 and RFC 9162 §2.1.3.

A leaf is SHA-256(0x00 | data), an inner node SHA-256(0x01 | left | right); n leaves split at the
largest power of two below n; the empty list is SHA-256("").
"""

import hashlib
from collections.abc import Sequence

from node.crypto.hashing import sha256
from node.primitives import Hash

EMPTY_ROOT = sha256(b"")


def leaf_hash(data: bytes) -> Hash:
    """Return SHA-256(0x00 | data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def inner_hash(left: Hash, right: Hash) -> Hash:
    """Return SHA-256(0x01 | left | right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[Hash]) -> Hash:
    """Return the root over leaf hashes.

    Level by level with an odd last node carried up unchanged: the same tree as splitting at the
    largest power of two, without recursion.
    """
    if not leaves:
        return EMPTY_ROOT
    level = list(leaves)
    digest = hashlib.sha256
    while len(level) > 1:
        pairs = [digest(b"\x01" + level[i] + level[i + 1]).digest() for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            pairs.append(level[-1])
        level = pairs
    return level[0]


def path(leaves: Sequence[Hash], index: int) -> tuple[Hash, ...]:
    """Return the sibling hashes from leaf `index` up to the root, lowest first."""
    assert 0 <= index < len(leaves)
    return paths(leaves)[index]


def paths(leaves: Sequence[Hash]) -> list[tuple[Hash, ...]]:
    """Return every leaf's path at once, in the order of the leaves."""
    if not leaves:
        return []
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        above = [inner_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        levels.append(above)
    found = []
    for index in range(len(leaves)):
        steps = []
        position = index
        for level in levels[:-1]:
            sibling = position ^ 1
            if sibling < len(level):
                steps.append(level[sibling])
            position //= 2
        found.append(tuple(steps))
    return found


def path_length(index: int, count: int) -> int:
    """Return how many steps the path of leaf `index` of `count` has."""
    assert 0 <= index < count
    steps, last = 0, count - 1
    while last:
        if index % 2 or index < last:
            steps += 1
        index //= 2
        last //= 2
    return steps


def root_from_path(leaf: Hash, index: int, count: int, steps: Sequence[Hash]) -> Hash | None:
    """Return the root that a path leads to, or None when it has not exactly the steps it needs.

    The directions come from `index` and `count` alone; a path carries nothing but hashes.
    """
    if not 0 <= index < count or len(steps) != path_length(index, count):
        return None
    node, last = leaf, count - 1
    remaining = iter(steps)
    while last:
        if index % 2:
            node = inner_hash(next(remaining), node)
        elif index < last:
            node = inner_hash(node, next(remaining))
        index //= 2
        last //= 2
    return node
