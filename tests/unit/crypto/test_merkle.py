"""Ordered Merkle trees after RFC 6962, against its recursive definition."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto import merkle


def leaves_of(count: int) -> list[bytes]:
    """Return so many different leaf hashes."""
    return [merkle.leaf_hash(number.to_bytes(2, "big")) for number in range(count)]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root as RFC 6962 §2.1 defines it: split at the largest power of two below n."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def test_published_roots() -> None:
    """The tree heads of Certificate Transparency's own test data, for 0, 1, 2 and 8 leaves."""
    inputs = [
        bytes.fromhex(text)
        for text in (
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        )
    ]
    hashes = [merkle.leaf_hash(data) for data in inputs]
    assert [merkle.root(hashes[:count]).hex() for count in (0, 1, 2, 8)] == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]


@pytest.mark.parametrize("count", [*range(1, 34), 63, 64, 65, 100, 1_000])
def test_root_is_the_recursive_one(count: int) -> None:
    """Level by level gives the tree that splitting gives."""
    assert merkle.root(leaves_of(count)) == naive_root(leaves_of(count))


@pytest.mark.parametrize("count", [*range(1, 20), 31, 32, 33, 100])
def test_every_path_leads_to_the_root(count: int) -> None:
    """Each leaf's path, alone or with all others, has the expected length and gives the root."""
    leaves = leaves_of(count)
    root, paths = merkle.root(leaves), merkle.paths(leaves)
    for index, leaf in enumerate(leaves):
        assert merkle.path(leaves, index) == paths[index]
        assert len(paths[index]) == merkle.path_length(index, count)
        assert merkle.root_from_path(leaf, index, count, paths[index]) == root


def test_empty_list_has_no_paths() -> None:
    """Nothing has no path."""
    assert merkle.paths([]) == []


@given(st.integers(2, 40), st.data())
def test_changed_path_does_not_lead_to_the_root(count: int, data: st.DataObject) -> None:
    """Another leaf, index, count or sibling gives another root or none."""
    leaves = leaves_of(count)
    index = data.draw(st.integers(0, count - 1))
    root, path = merkle.root(leaves), merkle.path(leaves, index)
    other = data.draw(st.integers(0, count - 1).filter(lambda number: number != index))
    assert merkle.root_from_path(leaves[other], index, count, path) != root
    assert merkle.root_from_path(leaves[index], other, count, path) != root
    step = data.draw(st.integers(0, len(path) - 1))
    changed = (*path[:step], bytes(32), *path[step + 1 :])
    assert merkle.root_from_path(leaves[index], index, count, changed) != root
    assert merkle.root_from_path(leaves[index], index, count, path[:-1]) is None
    assert merkle.root_from_path(leaves[index], index, count, (*path, bytes(32))) is None


@pytest.mark.parametrize("index, count", [(-1, 4), (4, 4), (0, 0), (5, 4)])
def test_index_outside_the_list_is_none(index: int, count: int) -> None:
    """A place that the list does not have is no proof."""
    assert merkle.root_from_path(bytes(32), index, count, ()) is None


def test_leaf_cannot_stand_for_an_inner_node() -> None:
    """The first byte keeps data of 64 bytes apart from two children."""
    left, right = leaves_of(2)
    assert merkle.leaf_hash(left + right) != merkle.inner_hash(left, right)
