"""The tree in memory against the definition of the trie, written naively."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.state import tree as tree_module
from node.state.tree import BUCKET_LEAVES_MAX_AVERAGE, DEPTH_MIN, Tree, TreeView, depth_for
from node.state.trie import EMPTY_ROOT, climb
from tests.unit.state.kit import naive_root

# Short alphabets make key hashes that share long beginnings, which SHA-256 never would.
KEY_HASHES = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.builds(
        lambda start, end: bytes([start]) + bytes(29) + bytes(end),
        st.sampled_from([0, 1, 0x80, 0xFF]),
        st.tuples(st.integers(0, 3), st.integers(0, 255)),
    ),
)
LEAVES = st.binary(min_size=32, max_size=32).filter(any)
CHANGES = st.dictionaries(KEY_HASHES, st.none() | LEAVES, max_size=12)


def apply_naively(leaves: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    """Do to a dictionary what the changes do to a tree."""
    for key, leaf in changes.items():
        if leaf is None:
            leaves.pop(key, None)
        else:
            leaves[key] = leaf


def built(leaves: dict[bytes, bytes], key_count_expected: int, chunk_pairs: int = 7) -> Tree:
    """Return a tree built at once, its pairs coming a few at a time."""
    pairs = b"".join(key + leaf for key, leaf in sorted(leaves.items()))
    size = 64 * chunk_pairs
    return Tree.from_sorted((pairs[i : i + size] for i in range(0, len(pairs), size)), key_count_expected)


def check_against(tree: TreeView, leaves: dict[bytes, bytes], probe: bytes) -> None:
    """Compare everything that can be asked of a tree."""
    assert (tree.root, tree.key_count) == (naive_root(leaves), len(leaves))
    present = sorted(leaves)
    assert list(tree.between(bytes(32), b"\xff" * 32)) == present
    assert list(tree.between(probe, probe[:1] + b"\xff" * 31)) == [
        key for key in present if probe <= key <= probe[:1] + b"\xff" * 31
    ]
    below = [key for key in present if key < probe]
    above = [key for key in present if key > probe]
    assert tree.neighbours(probe) == (below[-1] if below else None, above[0] if above else None)
    assert tree.leaf(probe) == leaves.get(probe)
    for key in present:
        steps = tree.branch(key)
        assert climb(leaves[key], [side for side, _ in steps], [sibling for _, sibling in steps]) == tree.root


@settings(max_examples=150)
@given(blocks=st.lists(CHANGES, max_size=6), probe=KEY_HASHES)
def test_tree_is_the_naive_trie(blocks: list[dict[bytes, bytes | None]], probe: bytes) -> None:
    """After any inserts, overwrites and removals, prepared or installed, every answer is the naive one's."""
    tree = Tree()
    leaves: dict[bytes, bytes] = {}
    for changes in blocks:
        before = dict(leaves)
        prepared = tree.prepare(changes)
        apply_naively(leaves, changes)
        check_against(prepared, leaves, probe)
        check_against(tree, before, probe)
        tree.install(prepared)
        check_against(tree, leaves, probe)
    for chunk_pairs in (1, 7, 1_000):
        check_against(built(leaves, len(leaves), chunk_pairs), leaves, probe)


def test_empty_tree_has_the_root_of_nothing() -> None:
    """Without keys the root is SHA-256(""), also after the last one went."""
    tree = Tree()
    assert tree.root == EMPTY_ROOT
    tree.install(tree.prepare({b"\x01" * 32: b"\x02" * 32}))
    tree.install(tree.prepare({b"\x01" * 32: None}))
    assert (tree.root, tree.key_count) == (EMPTY_ROOT, 0)


def test_root_does_not_depend_on_depth_or_order() -> None:
    """A tree that grew, one that was built at once and one of another depth have one root."""
    rng = random.Random(1)
    leaves = {rng.randbytes(32): rng.randbytes(32) for _ in range(3_000 * BUCKET_LEAVES_MAX_AVERAGE)}
    grown = Tree()
    for first in range(0, len(leaves), 5_000):
        grown.install(grown.prepare(dict(list(leaves.items())[first : first + 5_000])))
    deep = built(leaves, 40 * len(leaves))
    shallow = built(leaves, 0)
    at_once = Tree()
    at_once.install(at_once.prepare(leaves))
    expected = naive_root(leaves)
    assert grown.depth == DEPTH_MIN + 2  # 24,000 keys: 8 a bucket are exceeded at 8,192 and at 16,384
    assert deep.depth > grown.depth
    assert [tree.root for tree in (grown, deep, shallow, at_once)] == [expected] * 4


def test_crowded_bucket_is_still_right() -> None:
    """Keys searched to share a bucket, and even 64 bits, change nothing but the time."""
    rng = random.Random(2)
    crowd = {b"same beginning!!" + rng.randbytes(16): rng.randbytes(32) for _ in range(200)}
    few = {b"same beginning!!" + bytes(14) + bytes([9, i]): rng.randbytes(32) for i in range(5)}
    for leaves in (crowd, few):
        tree = Tree()
        for key, leaf in leaves.items():
            tree.install(tree.prepare({key: leaf}))
        check_against(tree, leaves, b"same beginning!!" + b"\x80" + bytes(15))


def test_stale_preparation_cannot_be_installed() -> None:
    """What was prepared before another block was installed is refused."""
    tree = Tree()
    first, second = tree.prepare({b"a" * 32: b"1" * 32}), tree.prepare({b"b" * 32: b"2" * 32})
    tree.install(first)
    with pytest.raises(AssertionError):
        tree.install(second)
    assert tree.root == b"1" * 32


def test_hashes_that_begin_with_zero_are_not_empty() -> None:
    """Only thirty-two zero bytes mean that no key is below."""
    rng = random.Random(3)
    leaves = {bytes([i]) + rng.randbytes(31): b"\x00" + rng.randbytes(31) for i in range(256)}
    tree = Tree()
    tree.install(tree.prepare(leaves))
    assert tree.root == naive_root(leaves)
    assert built(leaves, 256).root == naive_root(leaves)


def test_leaf_is_found_only_at_its_own_place() -> None:
    """Bytes of a leaf hash that look like a key hash are none."""
    key, other = bytes(31) + b"\x01", bytes(31) + b"\x02"
    tree = Tree()
    tree.install(tree.prepare({key: other}))
    assert (tree.leaf(key), tree.leaf(other)) == (other, None)
    tree.install(tree.prepare({other: key}))
    assert (tree.leaf(key), tree.leaf(other)) == (other, key)


@pytest.mark.parametrize(
    "key_count, depth",
    [(0, 10), (4_096, 10), (4_097, 11), (1_000_000, 18), (1_048_576, 18), (1_048_577, 19)],  # 4 a bucket
)
def test_depth_fits_the_number_of_keys(key_count: int, depth: int) -> None:
    """At opening a bucket holds between two and four leaves on average."""
    assert depth_for(key_count) == depth


def test_branches_share_their_upper_part() -> None:
    """Two neighbours' paths are equal above their fork, where one goes left and the other right."""
    rng = random.Random(4)
    tree = Tree()
    tree.install(tree.prepare({rng.randbytes(32): rng.randbytes(32) for _ in range(300)}))
    for left, right in pairwise(tree.between(bytes(32), b"\xff" * 32)):
        left_down, right_down = tree.branch(left)[::-1], tree.branch(right)[::-1]
        fork = next(i for i, pair in enumerate(zip(left_down, right_down, strict=False)) if pair[0] != pair[1])
        assert [side for side, _ in left_down[fork:]] == [0] + [1] * (len(left_down) - fork - 1)
        assert [side for side, _ in right_down[fork:]] == [1] + [0] * (len(right_down) - fork - 1)


def test_many_changes_of_one_long_bucket() -> None:
    """Keys searched for to share a bucket are changed in one pass, to what the definition says."""
    start = bytes(2)
    leaves = {start + number.to_bytes(30, "big"): bytes([1]) * 32 for number in range(0, 600, 3)}
    tree = built(leaves, 0)
    changes: dict[bytes, bytes | None] = {
        start + number.to_bytes(30, "big"): None if number % 2 else bytes([2]) * 32 for number in range(500, 0, -1)
    }
    tree.install(tree.prepare(changes))
    apply_naively(leaves, changes)
    assert tree.depth == DEPTH_MIN
    check_against(tree, leaves, start + (250).to_bytes(30, "big"))


def test_changing_a_long_bucket_does_not_read_it_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of many changes there takes a bucket apart a fixed number of times."""
    start = bytes(2)
    tree = built({start + number.to_bytes(30, "big"): bytes([1]) * 32 for number in range(600)}, 0)
    unpacked: list[int] = []

    def counting(pairs: bytes) -> tuple[list[bytes], list[bytes]]:
        unpacked.append(len(pairs))
        return take_apart(pairs)

    take_apart = tree_module._unpack
    monkeypatch.setattr(tree_module, "_unpack", counting)
    tree.prepare({start + number.to_bytes(30, "big"): bytes([2]) * 32 for number in range(300)})
    assert len(unpacked) <= 2
