"""ICS23 written a second time, from its specification, for tests: Protobuf reader, operations, TendermintSpec.

It knows nothing of `node.state` and takes operations from the proof where the specification lets it,
so that agreement with it means something.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

NO_HASH, SHA256, SHA512 = 0, 1, 2
NO_PREFIX, VAR_PROTO, FIXED32_BIG, FIXED32_LITTLE, FIXED64_BIG, FIXED64_LITTLE = 0, 1, 3, 4, 5, 6
_FIXED = {
    FIXED32_BIG: (4, "big"),
    FIXED32_LITTLE: (4, "little"),
    FIXED64_BIG: (8, "big"),
    FIXED64_LITTLE: (8, "little"),
}


class Ics23Error(Exception):
    """The proof does not hold, or is none."""


@dataclass(frozen=True)
class LeafOp:
    """How a leaf is hashed."""

    hash: int = 0
    prehash_key: int = 0
    prehash_value: int = 0
    length: int = 0
    prefix: bytes = b""

    def apply(self, key: bytes, value: bytes) -> bytes:
        if not key or not value:
            raise Ics23Error("a leaf needs key and value")
        parts = (prehashed(self.prehash_key, key), prehashed(self.prehash_value, value))
        return hashed(self.hash, self.prefix + b"".join(with_length(self.length, part) for part in parts))


@dataclass(frozen=True)
class InnerOp:
    """How a child becomes its parent."""

    hash: int = 0
    prefix: bytes = b""
    suffix: bytes = b""

    def apply(self, child: bytes) -> bytes:
        if not child:
            raise Ics23Error("an inner node needs a child")
        return hashed(self.hash, self.prefix + child + self.suffix)


@dataclass(frozen=True)
class Existence:
    """Key, value, and the operations up to the root."""

    key: bytes = b""
    value: bytes = b""
    leaf: LeafOp | None = None
    path: tuple[InnerOp, ...] = ()

    def root(self) -> bytes:
        if self.leaf is None:
            raise Ics23Error("a proof begins with a leaf")
        node = self.leaf.apply(self.key, self.value)
        for step in self.path:
            node = step.apply(node)
        return node


@dataclass(frozen=True)
class NonExistence:
    """A missing key's neighbours."""

    key: bytes = b""
    left: Existence | None = None
    right: Existence | None = None


TENDERMINT_LEAF = LeafOp(SHA256, NO_HASH, SHA256, VAR_PROTO, b"\x00")


def check_leaf(leaf: LeafOp, spec: LeafOp) -> None:
    """Refuse a leaf operation that differs from the specified one; the prefix may go on."""
    same = (leaf.hash, leaf.prehash_key, leaf.prehash_value, leaf.length) == (
        spec.hash,
        spec.prehash_key,
        spec.prehash_value,
        spec.length,
    )
    if not same or not leaf.prefix.startswith(spec.prefix):
        raise Ics23Error("another leaf operation")


def verify_existence(proof: Existence, root: bytes, key: bytes, value: bytes) -> None:
    """Check a proof by TendermintSpec."""
    if proof.leaf is None:
        raise Ics23Error("a proof begins with a leaf")
    check_leaf(proof.leaf, TENDERMINT_LEAF)
    for step in proof.path:
        if step.hash != SHA256 or step.prefix[:1] == b"\x00" or side(step) is None:
            raise Ics23Error("another inner operation")
    if (proof.root(), proof.key, proof.value) != (root, key, value):
        raise Ics23Error("another root, key or value")


def verify_nonexistence(proof: NonExistence, root: bytes, key: bytes) -> None:
    """Check an absence by TendermintSpec."""
    for neighbour in (proof.left, proof.right):
        if neighbour is not None:
            verify_existence(neighbour, root, neighbour.key, neighbour.value)
    if proof.left is not None and not proof.left.key < key:
        raise Ics23Error("left neighbour is not below")
    if proof.right is not None and not key < proof.right.key:
        raise Ics23Error("right neighbour is not above")
    left = [] if proof.left is None else list(proof.left.path)
    right = [] if proof.right is None else list(proof.right.path)
    if proof.left is None and proof.right is None:
        raise Ics23Error("no neighbour")
    if proof.left is not None and proof.right is not None:
        while left and right and left[-1] == right[-1]:
            left.pop()
            right.pop()
        if not left or not right or side(left.pop()) != 0 or side(right.pop()) != 1:
            raise Ics23Error("the paths do not fork")
    if any(side(step) != 1 for step in left) or any(side(step) != 0 for step in right):
        raise Ics23Error("leaves lie in between")


def side(step: InnerOp) -> int | None:
    """Return 0 for a left child, 1 for a right one, None for what is no inner node of TendermintSpec."""
    return {(1, 32): 0, (33, 0): 1}.get((len(step.prefix), len(step.suffix)))


def hashed(operation: int, data: bytes) -> bytes:
    """Apply a hash operation."""
    if operation == SHA256:
        return hashlib.sha256(data).digest()
    if operation == SHA512:
        return hashlib.sha512(data).digest()
    raise Ics23Error(f"hash operation {operation}")


def prehashed(operation: int, data: bytes) -> bytes:
    """Apply a hash operation that may be none."""
    return data if operation == NO_HASH else hashed(operation, data)


def with_length(operation: int, data: bytes) -> bytes:
    """Put a length before the data."""
    if operation == NO_PREFIX:
        return data
    if operation == VAR_PROTO:
        count, prefix = len(data), bytearray()
        while count >= 0x80:
            prefix.append(count & 0x7F | 0x80)
            count >>= 7
        return bytes(prefix) + bytes([count]) + data
    if operation in _FIXED:
        size, order = _FIXED[operation]
        return len(data).to_bytes(size, "big" if order == "big" else "little") + data
    raise Ics23Error(f"length operation {operation}")


@dataclass
class Fields:
    """A Protobuf message: by field number its values in order, numbers or bytes."""

    numbers: dict[int, int] = field(default_factory=dict)
    byte_strings: dict[int, list[bytes]] = field(default_factory=dict)

    def last(self, number: int) -> bytes:
        return self.byte_strings.get(number, [b""])[-1]


def read_message(data: bytes) -> Fields:
    """Read varint and length-delimited fields, all that ICS23 uses."""
    fields = Fields()
    position = 0

    def varint() -> int:
        nonlocal position
        value, shift = 0, 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(data):
        tag = varint()
        if tag & 7 == 0:
            fields.numbers[tag >> 3] = varint()
        elif tag & 7 == 2:
            length = varint()
            fields.byte_strings.setdefault(tag >> 3, []).append(data[position : position + length])
            position += length
        else:
            raise Ics23Error(f"wire type {tag & 7}")
    return fields


def read_commitment(data: bytes) -> Existence | NonExistence:
    """Read a CommitmentProof with `exist` (1) or `nonexist` (2)."""
    fields = read_message(data)
    if 1 in fields.byte_strings:
        return read_existence(fields.last(1))
    member = read_message(fields.last(2))
    sides = [read_existence(member.last(n)) if n in member.byte_strings else None for n in (2, 3)]
    return NonExistence(member.last(1), *sides)


def read_existence(data: bytes) -> Existence:
    """Read an ExistenceProof."""
    fields = read_message(data)
    leaf = read_leaf(fields.last(3)) if 3 in fields.byte_strings else None
    return Existence(fields.last(1), fields.last(2), leaf, tuple(read_steps(fields.byte_strings.get(4, []))))


def read_leaf(data: bytes) -> LeafOp:
    """Read a LeafOp."""
    fields = read_message(data)
    return LeafOp(*(fields.numbers.get(n, 0) for n in (1, 2, 3, 4)), prefix=fields.last(5))


def read_steps(messages: list[bytes]) -> Iterator[InnerOp]:
    """Read InnerOps."""
    for fields in map(read_message, messages):
        yield InnerOp(fields.numbers.get(1, 0), fields.last(2), fields.last(3))
