"""State proofs as JSON: exactly ICS23's words, and nothing else is read."""

import copy

import pytest

from node.errors import Reason, Rejected
from node.state.proof import ExistenceProof, NonExistenceProof
from node.state.proof_json import (
    absence_from_json,
    absence_to_json,
    branch_from_json,
    branch_to_json,
    from_json,
    prefix_from_json,
    prefix_to_json,
    to_json,
)
from node.state.trie import key_hash_of, leaf_hash, tree_key
from tests.unit.state.kit import refusal, state_of

RECORDS = {"acc/a": b"1", "acc/b": b"2", "acc/c": b"3", "acc/d": b"4"}
LEAF_OP = {
    "hash": "SHA256",
    "prehash_key": "NO_HASH",
    "prehash_value": "SHA256",
    "length": "VAR_PROTO",
    "prefix": "00",
}


def test_existence_is_written_in_the_words_of_ics23() -> None:
    """One leaf, one step to the left and one to the right, by hand."""
    state = state_of({"acc/a": b"1", "acc/b": b"2"})
    first, second = sorted(("acc/a", "acc/b"), key=key_hash_of)
    values = {"acc/a": "31", "acc/b": "32"}
    leaves = {}
    for name, value in values.items():
        proof = state.prove(name)
        assert isinstance(proof, ExistenceProof)
        leaves[name] = leaf_hash(key_hash_of(name), proof.neighbour().record_hash).hex()
        assert bytes.fromhex(value) == proof.value
    assert to_json(state.prove(first)) == {
        "exist": {
            "key": tree_key(key_hash_of(first)).hex(),
            "value": values[first],
            "leaf": LEAF_OP,
            "path": [{"hash": "SHA256", "prefix": "01", "suffix": leaves[second]}],
        }
    }
    assert to_json(state.prove(second)) == {
        "exist": {
            "key": tree_key(key_hash_of(second)).hex(),
            "value": values[second],
            "leaf": LEAF_OP,
            "path": [{"hash": "SHA256", "prefix": "01" + leaves[first], "suffix": ""}],
        }
    }


def test_nonexistence_names_key_and_neighbours() -> None:
    """A missing neighbour is null."""
    state = state_of({"acc/a": b"1"})
    name = next(f"q/{i}" for i in range(100) if key_hash_of(f"q/{i}") > key_hash_of("acc/a"))
    assert to_json(state.prove(name)) == {
        "nonexist": {
            "key": tree_key(key_hash_of(name)).hex(),
            "left": {"key": tree_key(key_hash_of("acc/a")).hex(), "value": "31", "leaf": LEAF_OP, "path": []},
            "right": None,
        }
    }


@pytest.mark.parametrize("name", ["acc/a", "acc/b", "q/1", "q/2", "q/3", "q/4"])
def test_both_forms_read_back_what_they_wrote(name: str) -> None:
    """A round trip is exact, in ICS23's form and in the compact one."""
    proof = state_of(RECORDS).prove(name)
    assert from_json(to_json(proof)) == proof
    if isinstance(proof, ExistenceProof):
        assert branch_from_json(branch_to_json(proof.branch)) == proof.branch
    else:
        assert absence_from_json(absence_to_json(proof.absence())) == proof.absence()


def test_prefix_proof_reads_back() -> None:
    """A round trip of all records under a prefix is exact."""
    proof = state_of(RECORDS).prove_prefix(key_hash_of("acc/a").hex()[:4])
    assert proof.entries == (("acc/a", b"1"),)
    assert prefix_from_json(prefix_to_json(proof)) == proof


def test_compact_branch_is_sides_and_siblings() -> None:
    """The compact form has two members, from the leaf upwards."""
    proof = state_of(RECORDS).prove("acc/a")
    assert isinstance(proof, ExistenceProof)
    assert branch_to_json(proof.branch) == {
        "directions": proof.branch.directions,
        "siblings": [sibling.hex() for sibling in proof.branch.siblings],
    }


def changed(path: tuple[str | int, ...], value: object) -> dict[str, object]:
    """Return a true existence proof's JSON with one place replaced (or removed: ...)."""
    data: dict[str, object] = copy.deepcopy(to_json(state_of(RECORDS).prove("acc/a")))
    place: object = data
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]  # JSON of a known shape
    if value is ...:
        del place[path[-1]]  # type: ignore[attr-defined]  # JSON of a known shape
    else:
        place[path[-1]] = value  # type: ignore[index]  # JSON of a known shape
    return data


KEY = tree_key(key_hash_of("acc/a")).hex()


@pytest.mark.parametrize(
    "path, value",
    [
        (("exist", "leaf", "prefix"), ""),
        (("exist", "leaf", "prefix"), "0040"),  # a leaf re-parsed with a shorter key
        (("exist", "leaf", "hash"), "SHA512"),
        (("exist", "leaf", "hash"), 1),
        (("exist", "leaf", "prehash_key"), "SHA256"),
        (("exist", "leaf", "prehash_value"), "NO_HASH"),
        (("exist", "leaf", "length"), "NO_PREFIX"),
        (("exist", "leaf", "length"), ...),
        (("exist", "leaf", "extra"), "x"),
        (("exist", "leaf"), {}),
        (("exist", "leaf"), None),
        (("exist", "key"), KEY[:-2]),
        (("exist", "key"), KEY + "40"),
        (("exist", "key"), ""),
        (("exist", "key"), "30" + KEY[2:]),  # below 0x40
        (("exist", "key"), "50" + KEY[2:]),  # above 0x4f
        (("exist", "key"), KEY.replace("a", "A").replace("b", "B").replace("c", "C")),
        (("exist", "key"), KEY + "\n"),
        (("exist", "value"), "3"),
        (("exist", "value"), "zz"),
        (("exist", "value"), None),
        (("exist", "path", 0, "hash"), "NO_HASH"),
        (("exist", "path", 0, "prefix"), ""),
        (("exist", "path", 0, "prefix"), "00"),
        (("exist", "path", 0, "prefix"), "01" * 2),
        (("exist", "path", 0, "prefix"), "01" + "00" * 31),
        (("exist", "path", 0), {"hash": "SHA256", "prefix": "01", "suffix": ""}),
        (("exist", "path", 0), {"hash": "SHA256", "prefix": "01", "suffix": "00" * 33}),
        (("exist", "path", 0), {"hash": "SHA256", "prefix": "01", "suffix": "00" * 64}),
        (("exist", "path", 0), {"hash": "SHA256", "prefix": "01" + "00" * 32, "suffix": "00" * 32}),
        (("exist", "path", 0), {"hash": "SHA256", "prefix": "01" + "00" * 64, "suffix": ""}),
        (("exist", "path"), [{"hash": "SHA256", "prefix": "01", "suffix": "00" * 32}] * 257),
        (("exist", "path"), None),
        (("extra",), 1),
        (("exist",), ...),
    ],
)
def test_any_other_operation_or_shape_is_refused(path: tuple[str | int, ...], value: object) -> None:
    """Operations are constants: a proof that brings another one is no proof of ours."""
    with pytest.raises(Rejected) as refused:
        from_json(changed(path, value))
    assert refused.value.reason == Reason.BAD_PROOF


@pytest.mark.parametrize(
    "data", [None, 1, "exist", [], {}, {"exist": None}, {"nonexist": None}, {"nonexist": {}}, {"batch": {}}]
)
def test_what_is_no_proof_is_refused(data: object) -> None:
    """Anything that JSON can hold is read or refused."""
    with pytest.raises(Rejected) as refused:
        from_json(data)
    assert refused.value.reason == Reason.BAD_PROOF


def test_refusal_says_what_is_wrong() -> None:
    """The detail names the place, or shows the step."""
    with pytest.raises(Rejected) as refused:
        from_json(changed(("exist", "leaf", "prefix"), "01"))
    assert refusal(refused.value) == (
        Reason.BAD_PROOF,
        "not a proof: Invalid enum value '01' - at `$.exist.leaf.prefix`",
    )
    with pytest.raises(Rejected) as refused:
        from_json(changed(("exist", "path", 0), {"hash": "SHA256", "prefix": "01", "suffix": ""}))
    assert refusal(refused.value) == (Reason.BAD_PROOF, "inner step 0x01 … 0x is not ours")
    with pytest.raises(Rejected) as refused:
        from_json(changed(("exist", "key"), "40"))
    assert refusal(refused.value) == (Reason.BAD_PROOF, "a tree key of 1 bytes instead of 64")


def test_neighbours_of_a_nonexistence_are_read_as_strictly() -> None:
    """The same refusals hold inside left and right."""
    proof = state_of(RECORDS).prove("q/1")
    assert isinstance(proof, NonExistenceProof)
    data = to_json(proof)
    member = data["nonexist"]
    assert isinstance(member, dict)
    side = "left" if member["left"] is not None else "right"
    member[side]["leaf"]["prefix"] = "0040"
    with pytest.raises(Rejected) as refused:
        from_json(data)
    assert refusal(refused.value) == (
        Reason.BAD_PROOF,
        f"not a proof: Invalid enum value '0040' - at `$.nonexist.{side}.leaf.prefix`",
    )
