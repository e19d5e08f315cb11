"""The official ICS23 vectors, an evaluator that passes them, and that evaluator on our proofs.

The official Tendermint proofs carry plain keys, so our verifiers, which recompute tree keys, cannot be
given them. What they share with us is the hashing: `trie.climb` must lead to the official roots.
"""

import json
from base64 import b64decode
from pathlib import Path
from typing import TypedDict

import pytest

from node.state.proof_json import to_json
from node.state.trie import climb, key_hash_of, tree_key
from tests.unit.state.ics23_evaluator import (
    SHA256,
    TENDERMINT_LEAF,
    Existence,
    Ics23Error,
    InnerOp,
    LeafOp,
    NonExistence,
    check_leaf,
    read_commitment,
    side,
    verify_existence,
    verify_nonexistence,
)
from tests.unit.state.kit import records_of, state_of

VECTORS = Path(__file__).parents[2] / "vectors" / "ics23"
EXISTING = ["exist_left", "exist_middle", "exist_right"]
MISSING = ["nonexist_left", "nonexist_middle", "nonexist_right"]


class Operation(TypedDict, total=False):
    """An operation as the vectors write it: zero fields left out, bytes in base64."""

    hash: int
    prehash_key: int
    prehash_value: int
    length: int
    prefix: str
    suffix: str


def cases(name: str) -> list[tuple[str, dict[str, object]]]:
    """Return the named cases of one file."""
    loaded: dict[str, dict[str, object]] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return sorted(loaded.items())


def data_of(text: object) -> bytes:
    """Return base64 decoded; nothing for null."""
    return b64decode(text) if isinstance(text, str) else b""


def leaf_of(operation: Operation) -> LeafOp:
    """Return a leaf operation."""
    return LeafOp(
        operation.get("hash", 0),
        operation.get("prehash_key", 0),
        operation.get("prehash_value", 0),
        operation.get("length", 0),
        data_of(operation.get("prefix")),
    )


def step_of(operation: Operation) -> InnerOp:
    """Return an inner operation."""
    prefix, suffix = data_of(operation.get("prefix")), data_of(operation.get("suffix"))
    return InnerOp(operation.get("hash", 0), prefix, suffix)


def load(name: str) -> tuple[Existence | NonExistence, bytes, bytes, bytes]:
    """Return proof, root, key and value of a proof vector."""
    vector = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    proof, root, key, value = (bytes.fromhex(vector[field]) for field in ("proof", "root", "key", "value"))
    return read_commitment(proof), root, key, value


@pytest.mark.parametrize("name, case", cases("TestLeafOpData"))
def test_evaluator_applies_leaf_operations(name: str, case: dict[str, object]) -> None:
    """Each official leaf operation gives the official hash, or is refused."""
    operation = leaf_of(case["Op"])  # type: ignore[arg-type]  # shape of the published file
    key, value = data_of(case["Key"]), data_of(case["Value"])
    if case["IsErr"]:
        with pytest.raises(Ics23Error):
            operation.apply(key, value)
    else:
        assert operation.apply(key, value) == data_of(case["Expected"])


@pytest.mark.parametrize("name, case", cases("TestInnerOpData"))
def test_evaluator_applies_inner_operations(name: str, case: dict[str, object]) -> None:
    """Each official inner operation gives the official hash, or is refused."""
    operation = step_of(case["Op"])  # type: ignore[arg-type]  # shape of the published file
    if case["IsErr"]:
        with pytest.raises(Ics23Error):
            operation.apply(data_of(case["Child"]))
    else:
        assert operation.apply(data_of(case["Child"])) == data_of(case["Expected"])


@pytest.mark.parametrize("name, case", cases("TestCheckLeafData"))
def test_evaluator_compares_leaf_operations(name: str, case: dict[str, object]) -> None:
    """Each official pair of operation and specification agrees or not as published."""
    operation, spec = leaf_of(case["Leaf"]), leaf_of(case["Spec"])  # type: ignore[arg-type]  # published shape
    if case["IsErr"]:
        with pytest.raises(Ics23Error):
            check_leaf(operation, spec)
    else:
        check_leaf(operation, spec)


@pytest.mark.parametrize("name, case", cases("TestExistenceProofData"))
def test_evaluator_computes_roots(name: str, case: dict[str, object]) -> None:
    """Each official proof leads to the official root, or is refused."""
    given = case["Proof"]
    assert isinstance(given, dict)
    leaf = leaf_of(given["leaf"]) if "leaf" in given else None
    path = tuple(step_of(step) for step in given.get("path", ()))
    proof = Existence(data_of(given["key"]), data_of(given["value"]), leaf, path)
    if case["IsErr"]:
        with pytest.raises(Ics23Error):
            proof.root()
    else:
        assert proof.root() == data_of(case["Expected"])


@pytest.mark.parametrize("name", EXISTING)
def test_official_presence_holds(name: str) -> None:
    """The official Tendermint presence proofs verify, and not for another value."""
    proof, root, key, value = load(name)
    assert isinstance(proof, Existence)
    verify_existence(proof, root, key, value)
    with pytest.raises(Ics23Error):
        verify_existence(proof, root, key, value + b"x")


@pytest.mark.parametrize("name", MISSING)
def test_official_absence_holds(name: str) -> None:
    """The official Tendermint absence proofs verify, and not for a key that is there."""
    proof, root, key, _ = load(name)
    assert isinstance(proof, NonExistence)
    verify_nonexistence(proof, root, key)
    neighbour = proof.left or proof.right
    assert neighbour is not None
    with pytest.raises(Ics23Error):
        verify_nonexistence(proof, root, neighbour.key)


@pytest.mark.parametrize("name", EXISTING + MISSING)
def test_our_hashing_leads_to_the_official_roots(name: str) -> None:
    """From an official leaf, our inner hash climbs over the official siblings to the official root."""
    proof, root, _, _ = load(name)
    leaves = [proof] if isinstance(proof, Existence) else [proof.left, proof.right]
    climbed = 0
    for existence in leaves:
        if existence is None:
            continue
        assert existence.leaf == TENDERMINT_LEAF
        directions = [side(step) for step in existence.path]
        siblings = [step.prefix[1:] + step.suffix for step in existence.path]
        start = existence.leaf.apply(existence.key, existence.value)
        assert climb(start, [direction or 0 for direction in directions], siblings) == root
        climbed += 1
    assert climbed == (2 if name == "nonexist_middle" else 1)


def existence_of(data: object) -> Existence:
    """Return one of our JSON existence proofs in the evaluator's terms."""
    assert isinstance(data, dict)
    assert data["leaf"] == {
        "hash": "SHA256",
        "prehash_key": "NO_HASH",
        "prehash_value": "SHA256",
        "length": "VAR_PROTO",
        "prefix": "00",
    }
    assert all(step["hash"] == "SHA256" for step in data["path"])
    path = tuple(InnerOp(SHA256, bytes.fromhex(step["prefix"]), bytes.fromhex(step["suffix"])) for step in data["path"])
    return Existence(bytes.fromhex(data["key"]), bytes.fromhex(data["value"]), TENDERMINT_LEAF, path)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 300])
def test_evaluator_accepts_our_proofs(count: int) -> None:
    """What passes the official vectors passes our proofs, of presence and of absence."""
    records = records_of(count)
    state = state_of(records)
    for plain_key in [*list(records)[:40], *(f"q/{number}" for number in range(40))]:
        data = to_json(state.prove(plain_key))
        key = tree_key(key_hash_of(plain_key))
        if plain_key in records:
            verify_existence(existence_of(data["exist"]), state.root, key, records[plain_key])
            continue
        member = data["nonexist"]
        assert isinstance(member, dict)
        sides = [None if member[name] is None else existence_of(member[name]) for name in ("left", "right")]
        verify_nonexistence(NonExistence(bytes.fromhex(member["key"]), *sides), state.root, key)


def test_leaf_cannot_be_read_as_one_of_a_shorter_key() -> None:
    """A lax verifier lets a leaf's prefix go on into the key; no byte of our tree keys is a length that fits.

    With a longer prefix the next byte of the leaf would have to be the length of the rest of the key.
    Each is at least 0x40 = 64, more than what is left.
    """
    key = tree_key(key_hash_of("acc/a"))
    for taken in range(1, len(key)):
        # The prefix swallows 00, the length and `taken` - 1 bytes; key[taken - 1] becomes the length.
        length_byte, rest = key[taken - 1], len(key) - taken
        assert length_byte > rest
