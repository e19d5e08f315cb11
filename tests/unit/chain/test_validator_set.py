"""The counting formulas and the shape of a validator set."""

import msgspec
import pytest

from node import codec
from node.chain.validator_set import Validator, ValidatorSet, max_faulty, quorum
from node.crypto.hashing import Tag, tagged
from node.limits import VALIDATORS_MAX, VALIDATORS_MIN
from tests.unit.chain.kit import SEG, UGTO, genesis

FIGURES = {4: (1, 3), 5: (1, 4), 6: (1, 4), 7: (2, 5), 8: (2, 6), 10: (3, 7), 100: (33, 67)}


@pytest.mark.parametrize("n", FIGURES)
def test_known_figures(n: int) -> None:
    """f and Q of sizes that people know by heart."""
    assert (max_faulty(n), quorum(n)) == FIGURES[n]


@pytest.mark.parametrize("n", range(VALIDATORS_MIN, VALIDATORS_MAX + 1))
def test_two_quorums_share_an_honest_member_and_the_honest_are_one(n: int) -> None:
    """Safety: 2Q − N ≥ f + 1. Liveness: Q ≤ N − f. No smaller Q is safe."""
    f, q = max_faulty(n), quorum(n)
    assert 2 * q - n >= f + 1
    assert q <= n - f
    assert 2 * (q - 1) - n < f + 1


def test_hash_and_indexes_are_those_of_the_members() -> None:
    """What headers commit to, and where a member stands."""
    validators = genesis().validator_set()
    assert validators.hash == tagged(Tag.VALIDATOR_SET, codec.encode(validators))
    assert [validators.index_of(member.institution) for member in validators.members] == [0, 1, 2, 3]
    assert validators.index_of("nobody.example") is None
    assert (len(validators), validators.max_faulty, validators.quorum) == (4, 1, 3)
    validators.check()


def test_disordered_repeated_and_small_sets_are_caught() -> None:
    """Ours, not theirs: a set in force that is out of shape stops the process."""
    members = genesis().validator_set().members
    twice = msgspec.structs.replace(members[1], public_key=members[0].public_key)
    for wrong in (
        members[::-1],
        members[:3],
        (members[0], *members[:3]),
        (members[0], twice, *members[2:]),
    ):
        with pytest.raises(AssertionError):
            ValidatorSet(tuple(wrong)).check()


def test_validator_names_its_institution() -> None:
    """One validator per institution."""
    members = {member.institution for member in genesis().validator_set().members}
    assert {SEG, UGTO} <= members
    assert all(isinstance(member, Validator) for member in genesis().validator_set().members)
