"""State proofs as JSON: in the words of ICS23, and compactly for bundles.

ICS23 form (INTERFACE `state_proof`): field names of its Protobuf in snake case, enums by name, bytes
in lower-case hex. Every operation in it is a constant of ours; reading refuses any other, so a
parsed proof holds nothing but keys, values, sides and siblings. Source: PROTOCOL §4; ICS23.
"""

from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from node.errors import Reason, Rejected
from node.limits import PREFIX_PROOF_ENTRIES_MAX, PROOF_STEPS_MAX, STATE_RECORD_BYTES_MAX
from node.primitives import Hash
from node.state.proof import (
    PREFIX_PATTERN,
    Absence,
    Branch,
    Directions,
    ExistenceProof,
    Neighbour,
    NonExistenceProof,
    PlainKey,
    PrefixProof,
    StateProof,
)
from node.state.trie import TREE_KEY_BYTES, key_hash_from_tree_key, tree_key

S = TypeVar("S", bound=msgspec.Struct)

HexHash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
HexBytes: TypeAlias = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2})*\Z", max_length=2 * STATE_RECORD_BYTES_MAX)]
HexTreeKey: TypeAlias = Annotated[str, Meta(pattern=r"^(?:4[0-9a-f])*\Z", max_length=2 * TREE_KEY_BYTES)]


class LeafOp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICS23 `LeafOp`: the leaf operation of TendermintSpec, the only one we know."""

    hash: Literal["SHA256"]
    prehash_key: Literal["NO_HASH"]
    prehash_value: Literal["SHA256"]
    length: Literal["VAR_PROTO"]
    prefix: Literal["00"]


class InnerOp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICS23 `InnerOp`: `01` and the sibling on the left, or `01` with the sibling behind."""

    hash: Literal["SHA256"]
    prefix: Annotated[str, Meta(pattern=r"^01(?:[0-9a-f]{64})?\Z")]
    suffix: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{64})?\Z")]


class Exist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICS23 `ExistenceProof`."""

    key: HexTreeKey
    value: HexBytes
    leaf: LeafOp
    path: Annotated[list[InnerOp], Meta(max_length=PROOF_STEPS_MAX)]


class NonExist(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICS23 `NonExistenceProof`."""

    key: HexTreeKey
    left: Exist | None
    right: Exist | None


class ExistMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICS23 `CommitmentProof` with its `exist` set."""

    exist: Exist


class NonExistMember(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """ICS23 `CommitmentProof` with its `nonexist` set."""

    nonexist: NonExist


class CompactBranch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A branch: presence of a record that lies beside it."""

    directions: Directions
    siblings: Annotated[list[HexHash], Meta(max_length=PROOF_STEPS_MAX)]


class CompactNeighbour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A neighbour's leaf and branch."""

    key_hash: HexHash
    record_hash: HexHash
    directions: Directions
    siblings: Annotated[list[HexHash], Meta(max_length=PROOF_STEPS_MAX)]


class CompactAbsence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The neighbours of a gap."""

    left: CompactNeighbour | None
    right: CompactNeighbour | None


class PrefixEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record under a prefix."""

    key: PlainKey
    value: HexBytes


class Prefix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All records under a prefix, and the neighbours of the range."""

    prefix: Annotated[str, Meta(pattern=PREFIX_PATTERN)]
    entries: Annotated[list[PrefixEntry], Meta(max_length=PREFIX_PROOF_ENTRIES_MAX)]
    left: CompactNeighbour | None
    right: CompactNeighbour | None


_LEAF_OP: Final = LeafOp("SHA256", "NO_HASH", "SHA256", "VAR_PROTO", "00")


def to_json(proof: StateProof) -> dict[str, object]:
    """Return `{"exist": …}` or `{"nonexist": …}` in the words of ICS23."""
    if isinstance(proof, ExistenceProof):
        return _builtins(ExistMember(_exist(proof)))
    left = None if proof.left is None else _exist(proof.left)
    right = None if proof.right is None else _exist(proof.right)
    return _builtins(NonExistMember(NonExist(tree_key(proof.key_hash).hex(), left, right)))


def from_json(data: object) -> StateProof:
    """Read what `to_json` writes. Raises: Rejected(BAD_PROOF) for any other shape or operation."""
    if isinstance(data, dict) and "nonexist" in data:
        proof = _convert(data, NonExistMember).nonexist
        left = None if proof.left is None else _existence(proof.left)
        right = None if proof.right is None else _existence(proof.right)
        return NonExistenceProof(_key_hash(proof.key), left, right)
    return _existence(_convert(data, ExistMember).exist)


def branch_to_json(branch: Branch) -> dict[str, object]:
    """Return `{"directions": "01…", "siblings": [hex, …]}`, from the leaf upwards."""
    return _builtins(CompactBranch(branch.directions, _hex(branch.siblings)))


def branch_from_json(data: object) -> Branch:
    """Read what `branch_to_json` writes. Raises: Rejected(BAD_PROOF)."""
    compact = _convert(data, CompactBranch)
    return Branch(compact.directions, _bytes(compact.siblings))


def absence_to_json(absence: Absence) -> dict[str, object]:
    """Return `{"left": …, "right": …}`: neighbours with key_hash, record_hash, directions, siblings, or null."""
    return _builtins(CompactAbsence(_compact(absence.left), _compact(absence.right)))


def absence_from_json(data: object) -> Absence:
    """Read what `absence_to_json` writes. Raises: Rejected(BAD_PROOF)."""
    compact = _convert(data, CompactAbsence)
    return Absence(_neighbour(compact.left), _neighbour(compact.right))


def prefix_to_json(proof: PrefixProof) -> dict[str, object]:
    """Return `{"prefix", "entries": [{"key", "value"}, …], "left", "right"}`."""
    entries = [PrefixEntry(key, value.hex()) for key, value in proof.entries]
    return _builtins(Prefix(proof.prefix, entries, _compact(proof.left), _compact(proof.right)))


def prefix_from_json(data: object) -> PrefixProof:
    """Read what `prefix_to_json` writes. Raises: Rejected(BAD_PROOF)."""
    read = _convert(data, Prefix)
    entries = tuple((entry.key, bytes.fromhex(entry.value)) for entry in read.entries)
    return PrefixProof(read.prefix, entries, _neighbour(read.left), _neighbour(read.right))


def _exist(proof: ExistenceProof) -> Exist:
    path = [
        InnerOp("SHA256", "01" + sibling.hex(), "") if side == "1" else InnerOp("SHA256", "01", sibling.hex())
        for side, sibling in zip(proof.branch.directions, proof.branch.siblings, strict=True)
    ]
    return Exist(tree_key(proof.key_hash).hex(), proof.value.hex(), _LEAF_OP, path)


def _existence(exist: Exist) -> ExistenceProof:
    directions, siblings = [], []
    for step in exist.path:
        # Exactly one of the two carries the sibling: nothing, or twice 32 bytes, is no inner node.
        if (len(step.prefix) == 2) == (step.suffix == ""):
            raise Rejected(Reason.BAD_PROOF, f"inner step 0x{step.prefix} … 0x{step.suffix} is not ours")
        directions.append("1" if step.suffix == "" else "0")
        siblings.append(bytes.fromhex(step.prefix[2:] + step.suffix))
    branch = Branch("".join(directions), tuple(siblings))
    return ExistenceProof(_key_hash(exist.key), bytes.fromhex(exist.value), branch)


def _key_hash(text: str) -> Hash:
    """Return the key hash of a tree key in hex."""
    key_hash = key_hash_from_tree_key(bytes.fromhex(text))
    if key_hash is None:
        raise Rejected(Reason.BAD_PROOF, f"a tree key of {len(text) // 2} bytes instead of {TREE_KEY_BYTES}")
    return key_hash


def _compact(neighbour: Neighbour | None) -> CompactNeighbour | None:
    if neighbour is None:
        return None
    branch = neighbour.branch
    return CompactNeighbour(
        neighbour.key_hash.hex(), neighbour.record_hash.hex(), branch.directions, _hex(branch.siblings)
    )


def _neighbour(compact: CompactNeighbour | None) -> Neighbour | None:
    if compact is None:
        return None
    branch = Branch(compact.directions, _bytes(compact.siblings))
    return Neighbour(bytes.fromhex(compact.key_hash), bytes.fromhex(compact.record_hash), branch)


def _hex(hashes: tuple[Hash, ...]) -> list[str]:
    return [item.hex() for item in hashes]


def _bytes(texts: list[str]) -> tuple[Hash, ...]:
    return tuple(bytes.fromhex(text) for text in texts)


def _builtins(value: msgspec.Struct) -> dict[str, object]:
    found = msgspec.to_builtins(value)
    assert isinstance(found, dict)
    return found


def _convert(data: object, shape: type[S]) -> S:
    try:
        return msgspec.convert(data, shape, strict=True)
    except msgspec.ValidationError as error:
        raise Rejected(Reason.BAD_PROOF, f"not a proof: {error}") from None
