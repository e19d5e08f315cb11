"""Proofs that a record is in the state under a root, or that none is; made by the state, checked by anybody.

A verifier takes no operation from a proof. It recomputes the leaf from the plain key and the record
(or, of a neighbour, from key hash and record hash), climbs by the one inner hash there is, and
compares with the root. What a proof brings is siblings and sides, nothing else.

*Presence.* A leaf's preimage begins with 0x00 and has 98 bytes, an inner node's begins with 0x01 and
has 65, a key in it is never re-parsed. So unless SHA-256 collides, a path that reaches the root ends
in a leaf that the tree's maker put there.

*Absence.* The maker put the leaves in ascending order of key hash. Two present leaves L < R are
neighbours if their paths, read from the root, are the same as far as the fork where L goes left and
R goes right, and below it L only goes right and R only left: then no leaf lies between. (That the
common part passes the same nodes, and that each side of the fork is the other's sibling, follows from
both reaching the root.) A key strictly between them is absent. At the edges one neighbour suffices:
R alone must be the left-most leaf, L alone the right-most. Under SHA-256("") every key is absent.

*Completeness of a range.* As absence, but siblings hang between the two paths: every right sibling on
L's path below the fork, then every left sibling on R's. All leaves between L and R are under these.
The given records, cut where they leave the neighbour's path, must hash to exactly these siblings.

*Directions.* An inner node does not commit to the bit at which it splits, so a verifier cannot demand
bit positions. What it can demand is that the sides are bits of the key at rising positions, and for
two neighbours that the fork is the first bit in which they differ, with the common sides before it and
the others after it. No proof of an honest tree fails that; soundness does not rest on it. It keeps
the number of steps within the key's bits.

Neither proof says that the root is right: a certificate does. Source: PROTOCOL §4; ICS23.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.limits import PREFIX_PROOF_ENTRIES_MAX, PROOF_STEPS_MAX, STATE_KEY_CHARS_MAX, STATE_RECORD_BYTES_MAX
from node.primitives import Hash
from node.state import keys
from node.state.trie import (
    EMPTY_ROOT,
    KEY_BITS,
    bit_at,
    climb,
    key_hash_of,
    leaf_hash,
    split_position,
    subtree_root,
)

PREFIX_DIGITS = 4
PREFIX_PATTERN = r"^[0-9a-f]{4}\Z"

Directions: TypeAlias = Annotated[str, Meta(max_length=PROOF_STEPS_MAX, pattern=r"^[01]*\Z")]
Record: TypeAlias = Annotated[bytes, Meta(max_length=STATE_RECORD_BYTES_MAX)]
PlainKey: TypeAlias = Annotated[str, Meta(min_length=1, max_length=STATE_KEY_CHARS_MAX)]


class Branch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The way from a leaf up to the root. With key and record at hand it is a whole presence proof."""

    directions: Directions
    """Own side at each step, from the leaf upwards: `0` left, `1` right."""
    siblings: Annotated[tuple[Hash, ...], Meta(max_length=PROOF_STEPS_MAX)]
    """The other side's hash at each step, from the leaf upwards."""


class Neighbour(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A present leaf that bounds a gap or a range; says nothing of its record but the hash."""

    key_hash: Hash
    """SHA-256 of its plain key."""
    record_hash: Hash
    """SHA-256 of its record."""
    branch: Branch


class Absence(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That no record lies strictly between two neighbouring leaves."""

    left: Neighbour | None
    """Greatest present key hash below; None where there is none."""
    right: Neighbour | None
    """Least present key hash above; None where there is none."""


class ExistenceProof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """ICS23's existence proof: a leaf with its whole record."""

    key_hash: Hash
    """SHA-256 of the plain key; ICS23 gets its 64-byte tree key."""
    value: Record
    """The record."""
    branch: Branch

    def neighbour(self) -> Neighbour:
        """Return it without the record, as the edge of a gap."""
        return Neighbour(self.key_hash, sha256(self.value), self.branch)


class NonExistenceProof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """ICS23's non-existence proof: the neighbours of a missing key with their records."""

    key_hash: Hash
    """SHA-256 of the plain key that is absent."""
    left: ExistenceProof | None
    right: ExistenceProof | None

    def absence(self) -> Absence:
        """Return the compact form, which says nothing of the neighbours' records."""
        return Absence(
            self.left.neighbour() if self.left else None,
            self.right.neighbour() if self.right else None,
        )


StateProof: TypeAlias = ExistenceProof | NonExistenceProof


class PrefixProof(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every record whose key hash begins with four hex digits, and that there is no other."""

    prefix: Annotated[str, Meta(pattern=PREFIX_PATTERN)]
    entries: Annotated[tuple[tuple[PlainKey, Record], ...], Meta(max_length=PREFIX_PROOF_ENTRIES_MAX)]
    """(plain key, record), ascending by key hash."""
    left: Neighbour | None
    """Greatest present key hash below the range; None where there is none."""
    right: Neighbour | None
    """Least present key hash above the range; None where there is none."""


def verify_exist(root: Hash, plain_key: str, value: bytes, proof: ExistenceProof) -> None:
    """Check that the record of a key under a root is exactly `value`. Raises: Rejected(BAD_PROOF)."""
    key_hash = _key_hash(plain_key)
    _require_equal("key hash", proof.key_hash, key_hash)
    _require_equal("record's SHA-256", sha256(proof.value), sha256(value))
    verify_presence(root, plain_key, value, proof.branch)


def verify_nonexist(root: Hash, plain_key: str, proof: NonExistenceProof) -> None:
    """Check that a key has no record under a root. Raises: Rejected(BAD_PROOF)."""
    _require_equal("key hash", proof.key_hash, _key_hash(plain_key))
    verify_absence(root, plain_key, proof.absence())


def verify_presence(root: Hash, plain_key: str, value: bytes, branch: Branch) -> None:
    """Check that the record of a key under a root is exactly `value`. Raises: Rejected(BAD_PROOF)."""
    _check_leaf(root, Neighbour(_key_hash(plain_key), sha256(value), branch))


def verify_absence(root: Hash, plain_key: str, absence: Absence) -> None:
    """Check that a key has no record under a root. Raises: Rejected(BAD_PROOF)."""
    key_hash = _key_hash(plain_key)
    _check_order(absence.left, key_hash, key_hash, absence.right)
    _check_range(root, absence.left, absence.right, [], [])


def verify_prefix(root: Hash, prefix: str, proof: PrefixProof) -> dict[str, bytes]:
    """Return every record under four hex digits of SHA-256(plain key), by plain key.

    Raises: Rejected(BAD_PROOF) where a record is false, foreign, out of order or left out.
    """
    if proof.prefix != prefix:
        raise Rejected(Reason.BAD_PROOF, f"prefix is {proof.prefix}, expected {prefix}")
    hashes = [_key_hash(plain_key) for plain_key, _ in proof.entries]
    for before, after in pairwise(hashes):
        if before >= after:
            raise Rejected(Reason.BAD_PROOF, f"{after.hex()} does not follow {before.hex()}")
    for key_hash in hashes:
        if not key_hash.hex().startswith(prefix):
            raise Rejected(Reason.BAD_PROOF, f"{key_hash.hex()} does not begin with {prefix}")
    low, high = prefix_range(prefix)
    _check_order(proof.left, low, high, proof.right)
    leaves = [leaf_hash(key_hash, sha256(record)) for key_hash, (_, record) in zip(hashes, proof.entries, strict=True)]
    _check_range(root, proof.left, proof.right, hashes, leaves)
    return dict(proof.entries)


def prefix_range(prefix: str) -> tuple[Hash, Hash]:
    """Return the least and the greatest key hash under four hex digits."""
    start = bytes.fromhex(prefix)
    return start + bytes(32 - len(start)), start + b"\xff" * (32 - len(start))


def _key_hash(plain_key: str) -> Hash:
    if not keys.is_plain_key(plain_key):
        raise Rejected(Reason.BAD_PROOF, f"{plain_key[:STATE_KEY_CHARS_MAX]!r} is no plain key")
    return key_hash_of(plain_key)


def _require_equal(what: str, found: Hash, expected: Hash) -> None:
    if found != expected:
        raise Rejected(Reason.BAD_PROOF, f"{what} is {found.hex()}, expected {expected.hex()}")


def _check_order(left: Neighbour | None, low: Hash, high: Hash, right: Neighbour | None) -> None:
    """Refuse neighbours that do not enclose the range strictly."""
    if left is not None and not left.key_hash < low:
        raise Rejected(Reason.BAD_PROOF, f"left neighbour {left.key_hash.hex()} is not below {low.hex()}")
    if right is not None and not right.key_hash > high:
        raise Rejected(Reason.BAD_PROOF, f"right neighbour {right.key_hash.hex()} is not above {high.hex()}")


def _check_leaf(root: Hash, leaf: Neighbour) -> None:
    """Refuse a leaf whose branch does not lead to the root or is not along its key's bits."""
    directions = _directions(leaf.branch)
    if not _follow(leaf.key_hash, directions[::-1], range(KEY_BITS)):
        raise Rejected(Reason.BAD_PROOF, f"sides are not bits of {leaf.key_hash.hex()} in rising order")
    node = leaf_hash(leaf.key_hash, leaf.record_hash)
    _require_equal("root", climb(node, directions, leaf.branch.siblings), root)


def _directions(branch: Branch) -> list[int]:
    """Return the sides from the leaf upwards; refuse a branch of another shape."""
    count = len(branch.directions)
    if count > PROOF_STEPS_MAX:
        raise Rejected(Reason.BAD_PROOF, f"{count} steps, at most {PROOF_STEPS_MAX}")
    if count != len(branch.siblings):
        raise Rejected(Reason.BAD_PROOF, f"{count} sides but {len(branch.siblings)} siblings")
    if branch.directions.strip("01"):
        raise Rejected(Reason.BAD_PROOF, f"sides are {branch.directions!r}, expected 0 and 1 only")
    for sibling in branch.siblings:
        if len(sibling) != 32:
            raise Rejected(Reason.BAD_PROOF, f"a sibling has {len(sibling)} bytes instead of 32")
    return [int(direction) for direction in branch.directions]


def _follow(key_hash: Hash, downwards: Sequence[int], positions: range) -> bool:
    """Tell whether sides, read from the root, are bits of the key at rising ones of the positions."""
    remaining: Iterator[int] = iter(positions)
    return all(any(bit_at(key_hash, position) == side for position in remaining) for side in downwards)


def _check_range(
    root: Hash,
    left: Neighbour | None,
    right: Neighbour | None,
    hashes: Sequence[Hash],
    leaves: Sequence[Hash],
) -> None:
    """Refuse unless the leaves, ascending, are all that lies strictly between the two neighbours."""
    if left is None and right is None:
        _require_equal("root", subtree_root(hashes, leaves) if hashes else EMPTY_ROOT, root)
        return
    for neighbour in (left, right):
        if neighbour is not None:
            _check_leaf(root, neighbour)
    left_steps = _steps_down(left)
    right_steps = _steps_down(right)
    fork = 0
    if left is not None and right is not None:
        fork = _check_fork(left.key_hash, right.key_hash, left_steps, right_steps)
    # Ascending order: what hangs lowest on the left path comes first, what hangs lowest on the right last.
    hanging = [sibling for side, sibling in reversed(left_steps) if side == 0]
    hanging += [sibling for side, sibling in right_steps if side == 1]
    subtrees = _cut(left, right, hashes, leaves, fork)
    if len(subtrees) != len(hanging):
        raise Rejected(Reason.BAD_PROOF, f"{len(hanging)} sub-trees lie in between, the records make {len(subtrees)}")
    for subtree, sibling in zip(subtrees, hanging, strict=True):
        _require_equal("sub-tree between the neighbours", subtree, sibling)


def _steps_down(neighbour: Neighbour | None) -> list[tuple[int, Hash]]:
    """Return (own side, sibling) from the root to a neighbour; none for a missing one."""
    if neighbour is None:
        return []
    return list(zip(_directions(neighbour.branch), neighbour.branch.siblings, strict=True))[::-1]


def _check_fork(
    left_key: Hash, right_key: Hash, left_steps: list[tuple[int, Hash]], right_steps: list[tuple[int, Hash]]
) -> int:
    """Cut both paths down to what is below their fork; return the position of the fork's bit.

    Raises: Rejected(BAD_PROOF) where they never fork, or the key's bits say that it is elsewhere.
    """
    common = 0
    shortest = min(len(left_steps), len(right_steps))
    while common < shortest and left_steps[common][0] == right_steps[common][0]:
        common += 1
    if common == shortest or left_steps[common][0] != 0:
        raise Rejected(Reason.BAD_PROOF, "the neighbours' paths do not fork with the left one to the left")
    fork = split_position(left_key, right_key)
    above = [side for side, _ in left_steps[:common]]
    below = range(fork + 1, KEY_BITS)
    del left_steps[: common + 1], right_steps[: common + 1]
    if not (
        _follow(left_key, above, range(fork))
        and _follow(left_key, [side for side, _ in left_steps], below)
        and _follow(right_key, [side for side, _ in right_steps], below)
    ):
        raise Rejected(Reason.BAD_PROOF, f"the neighbours' paths do not fork at bit {fork}")
    return fork


def _cut(
    left: Neighbour | None,
    right: Neighbour | None,
    hashes: Sequence[Hash],
    leaves: Sequence[Hash],
    fork: int,
) -> list[Hash]:
    """Return the roots of the sub-trees that leaves between two neighbours form beside their paths.

    A leaf belongs to the neighbour on its side of the fork, and to the sub-tree at the bit where it
    leaves that neighbour's key.
    """

    def place(index: int) -> tuple[bool, int]:
        key_hash = hashes[index]
        is_left = right is None or (left is not None and bit_at(key_hash, fork) == 0)
        neighbour = left if is_left else right
        assert neighbour is not None
        return is_left, split_position(key_hash, neighbour.key_hash)

    subtrees = []
    for _, group in groupby(range(len(hashes)), key=place):
        indexes = list(group)
        first, last = indexes[0], indexes[-1] + 1
        subtrees.append(subtree_root(hashes[first:last], leaves[first:last]))
    return subtrees
