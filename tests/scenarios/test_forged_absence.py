"""Regression of PROTOCOL §9.6: a present leaf, re-parsed with a shorter key, passed off as somebody's neighbour.

A lax verifier takes leaf operations from the proof: it lets bytes of the key move into the leaf's prefix, so that the
same leaf hash stands for another key, and present keys are "absent" between two such neighbours.
"""

import copy
from typing import Any

import pytest

from node.errors import Reason, Rejected
from node.state.proof import NonExistenceProof, verify_nonexist
from node.state.proof_json import from_json, to_json
from node.state.trie import key_hash_of, tree_key
from tests.unit.state.kit import records_of, state_of


def reparsed(existence: dict[str, Any], moved: int) -> dict[str, Any]:
    """The same leaf hash with the first `moved` bytes of its key, and their length byte, read as prefix."""
    key = bytes.fromhex(existence["key"])
    forged = copy.deepcopy(existence)
    forged["leaf"]["prefix"] = (b"\x00\x40" + key[: moved - 1]).hex()
    forged["key"] = key[moved:].hex()
    return forged


@pytest.mark.parametrize("moved", [1, 2, 16, 32, 63])
def test_regression_re_parsed_leaf_as_forged_absence(moved: int) -> None:
    """Given a state, when a present key's own leaf is re-parsed as its neighbour, then no absence is read."""
    state = state_of(records_of(40))
    present = "acc/u7.mx"
    own = to_json(state.prove(present))["exist"]
    assert isinstance(own, dict)
    for side in ("left", "right"):
        forged = {
            "nonexist": {
                "key": tree_key(key_hash_of(present)).hex(),
                "left": None,
                "right": None,
                side: reparsed(own, moved),
            }
        }
        with pytest.raises(Rejected) as refused:
            verify_nonexist(state.root, present, _nonexistence(forged))
        assert refused.value.reason is Reason.BAD_PROOF


def test_length_byte_of_a_re_parsed_leaf_never_fits() -> None:
    """No byte of a tree key is below 64, and fewer than 64 bytes are left: no shorter key can be read."""
    for number in range(200):
        key = tree_key(key_hash_of(f"acc/u{number}.mx"))
        assert len(key) == 64
        assert all(key[position] > len(key) - position - 1 for position in range(64))


def _nonexistence(data: object) -> NonExistenceProof:
    proof = from_json(data)
    assert isinstance(proof, NonExistenceProof)
    return proof
