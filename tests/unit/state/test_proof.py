"""Proofs hold for what is so, and for nothing else: every refusal, every forgery that we could think of."""

import random
from collections.abc import Iterator
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.state import proof as proof_module
from node.state.proof import (
    Absence,
    Branch,
    ExistenceProof,
    Neighbour,
    NonExistenceProof,
    PrefixProof,
    verify_absence,
    verify_exist,
    verify_nonexist,
    verify_prefix,
    verify_presence,
)
from node.state.tree import Tree
from node.state.trie import EMPTY_ROOT, key_hash_of, leaf_hash
from node.state.world_state import StateStore
from tests.unit.state.kit import records_of, refusal, state_of

RECORDS = st.dictionaries(
    st.integers(0, 40).map(lambda number: f"acc/{number}"), st.binary(min_size=1, max_size=3), max_size=12
)


def existence(state: StateStore, plain_key: str) -> ExistenceProof:
    """Return the proof of a key that is there."""
    proof = state.prove(plain_key)
    assert isinstance(proof, ExistenceProof)
    return proof


def nonexistence(state: StateStore, plain_key: str) -> NonExistenceProof:
    """Return the proof of a key that is not there."""
    proof = state.prove(plain_key)
    assert isinstance(proof, NonExistenceProof)
    return proof


def detail_of(verify: object, *arguments: object) -> str:
    """Call a verifier that must refuse; return the detail after checking the reason."""
    assert callable(verify)
    with pytest.raises(Rejected) as refused:
        verify(*arguments)
    assert refused.value.reason == Reason.BAD_PROOF
    return refused.value.detail


@settings(max_examples=150)
@given(records=RECORDS, queries=st.sets(st.integers(0, 60)))
def test_every_key_is_proven_present_or_absent(records: dict[str, bytes], queries: set[int]) -> None:
    """Whatever the records, each query has a proof that verifies, in both forms."""
    state = state_of(records)
    for plain_key in (f"acc/{number}" for number in queries):
        proof = state.prove(plain_key)
        if plain_key in records:
            assert isinstance(proof, ExistenceProof)
            assert proof.value == records[plain_key]
            verify_exist(state.root, plain_key, records[plain_key], proof)
            verify_presence(state.root, plain_key, records[plain_key], proof.branch)
        else:
            assert isinstance(proof, NonExistenceProof)
            verify_nonexist(state.root, plain_key, proof)
            verify_absence(state.root, plain_key, proof.absence())


def test_proof_of_one_record_has_no_steps() -> None:
    """A single leaf is the root."""
    state = state_of({"acc/a": b"1"})
    assert state.prove("acc/a") == ExistenceProof(key_hash_of("acc/a"), b"1", Branch("", ()))
    assert state.root == leaf_hash(key_hash_of("acc/a"), sha256(b"1"))
    verify_nonexist(state.root, "acc/b", nonexistence(state, "acc/b"))


def test_nothing_is_in_the_empty_state() -> None:
    """Absence without neighbours holds under SHA-256("") only."""
    empty, full = state_of({}), state_of({"acc/a": b"1"})
    proof = nonexistence(empty, "acc/a")
    assert proof == NonExistenceProof(key_hash_of("acc/a"), None, None)
    verify_nonexist(EMPTY_ROOT, "acc/a", proof)
    assert detail_of(verify_nonexist, full.root, "acc/a", proof) == (
        f"root is {EMPTY_ROOT.hex()}, expected {full.root.hex()}"
    )


def test_presence_is_refused_for_another_record_key_or_root() -> None:
    """Each of the three that a presence proof binds, exchanged."""
    state = state_of(records_of(30))
    proof = existence(state, "acc/u7.mx")
    value, other = proof.value, existence(state, "acc/u8.mx")
    assert detail_of(verify_exist, state.root, "acc/u7.mx", b"record 8", proof) == (
        f"record's SHA-256 is {sha256(value).hex()}, expected {sha256(b'record 8').hex()}"
    )
    assert detail_of(verify_exist, state.root, "acc/u8.mx", value, proof) == (
        f"key hash is {proof.key_hash.hex()}, expected {other.key_hash.hex()}"
    )
    computed = state.root.hex()
    assert detail_of(verify_exist, EMPTY_ROOT, "acc/u7.mx", value, proof) == (
        f"root is {computed}, expected {EMPTY_ROOT.hex()}"
    )
    assert detail_of(verify_exist, state.root, "acc/ ", value, proof) == "'acc/ ' is no plain key"
    assert detail_of(verify_exist, state.root, "acc/ñ", value, proof) == "'acc/ñ' is no plain key"


def flips(data: bytes) -> Iterator[bytes]:
    """Yield the bytes with each single bit turned."""
    for position in range(8 * len(data)):
        changed = bytearray(data)
        changed[position // 8] ^= 1 << position % 8
        yield bytes(changed)


def forged_branches(branch: Branch) -> Iterator[Branch]:
    """Yield a branch with each bit turned, each side turned, steps exchanged, left out or added."""
    for index, sibling in enumerate(branch.siblings):
        for changed in flips(sibling):
            yield Branch(branch.directions, (*branch.siblings[:index], changed, *branch.siblings[index + 1 :]))
        side = "0" if branch.directions[index] == "1" else "1"
        yield Branch(branch.directions[:index] + side + branch.directions[index + 1 :], branch.siblings)
        yield Branch(
            branch.directions[:index] + branch.directions[index + 1 :],
            (*branch.siblings[:index], *branch.siblings[index + 1 :]),
        )
    for first, second in combinations(range(len(branch.siblings)), 2):
        swapped = list(branch.siblings)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        yield Branch(branch.directions, tuple(swapped))
    yield Branch("0" + branch.directions, (bytes(32), *branch.siblings))
    yield Branch(branch.directions + "1", (*branch.siblings, bytes(32)))
    yield Branch(branch.directions, branch.siblings[1:])
    yield Branch(branch.directions[1:], branch.siblings)


def test_any_turned_bit_of_a_presence_proof_is_refused() -> None:
    """No bit of key hash, record, siblings or sides can be another one."""
    state = state_of(records_of(12))
    proof = existence(state, "acc/u3.mx")
    forgeries = [ExistenceProof(key, proof.value, proof.branch) for key in flips(proof.key_hash)]
    forgeries += [ExistenceProof(proof.key_hash, value, proof.branch) for value in flips(proof.value)]
    forgeries += [ExistenceProof(proof.key_hash, proof.value, branch) for branch in forged_branches(proof.branch)]
    for forged in forgeries:
        detail_of(verify_exist, state.root, "acc/u3.mx", proof.value, forged)


def test_any_turned_bit_of_an_absence_proof_is_refused() -> None:
    """No bit of either neighbour can be another one."""
    state = state_of(records_of(12))
    proof = nonexistence(state, "acc/x5")
    left, right = proof.absence().left, proof.absence().right
    assert left is not None
    assert right is not None
    for neighbour, other_side in ((left, right), (right, left)):
        forgeries = [Neighbour(key, neighbour.record_hash, neighbour.branch) for key in flips(neighbour.key_hash)]
        forgeries += [Neighbour(neighbour.key_hash, value, neighbour.branch) for value in flips(neighbour.record_hash)]
        forgeries += [
            Neighbour(neighbour.key_hash, neighbour.record_hash, branch) for branch in forged_branches(neighbour.branch)
        ]
        for forged in forgeries:
            absence = Absence(forged, other_side) if neighbour is left else Absence(other_side, forged)
            detail_of(verify_absence, state.root, "acc/x5", absence)


def test_every_gap_that_is_none_is_refused() -> None:
    """Over all pairs of true leaves: a present key is never absent, an absent one only between its neighbours."""
    records = records_of(14)
    state = state_of(records)
    true_leaves: list[Neighbour | None] = [existence(state, plain_key).neighbour() for plain_key in records]
    queries = [*records, *(f"acc/x{number}" for number in range(20))]
    accepted = 0
    for plain_key in queries:
        expected = None if plain_key in records else nonexistence(state, plain_key).absence()
        for left in [None, *true_leaves]:
            for right in [None, *true_leaves]:
                absence = Absence(left, right)
                if absence == expected:
                    verify_absence(state.root, plain_key, absence)
                    accepted += 1
                else:
                    detail_of(verify_absence, state.root, plain_key, absence)
    assert accepted == 20


def test_refused_gaps_say_why() -> None:
    """Wrong order, wrong edge and leaves in between have their sentences."""
    state = state_of(records_of(14))
    hashes = sorted(key_hash_of(plain_key) for plain_key in records_of(14))
    name_of = {key_hash_of(plain_key): plain_key for plain_key in records_of(14)}
    leaf = {key_hash: existence(state, name_of[key_hash]).neighbour() for key_hash in hashes}
    present = name_of[hashes[5]]
    assert detail_of(verify_absence, state.root, present, Absence(leaf[hashes[5]], leaf[hashes[6]])) == (
        f"left neighbour {hashes[5].hex()} is not below {hashes[5].hex()}"
    )
    assert detail_of(verify_absence, state.root, present, Absence(leaf[hashes[4]], leaf[hashes[5]])) == (
        f"right neighbour {hashes[5].hex()} is not above {hashes[5].hex()}"
    )
    details = {
        detail_of(verify_absence, state.root, present, Absence(leaf[hashes[4]], leaf[hashes[6]])),
        detail_of(verify_absence, state.root, present, Absence(leaf[hashes[4]], None)),
        detail_of(verify_absence, state.root, present, Absence(None, leaf[hashes[6]])),
    }
    assert all(detail.endswith(" sub-trees lie in between, the records make 0") for detail in details)
    proof = nonexistence(state, "acc/x1")
    assert detail_of(verify_nonexist, state.root, "acc/x2", proof) == (
        f"key hash is {key_hash_of('acc/x1').hex()}, expected {key_hash_of('acc/x2').hex()}"
    )


@pytest.mark.parametrize(
    "branch, detail",
    [
        (Branch("0" * 257, (bytes(32),) * 257), "257 steps, at most 256"),
        (Branch("0", ()), "1 sides but 0 siblings"),
        (Branch("2", (bytes(32),)), "sides are '2', expected 0 and 1 only"),
        (Branch("0", (bytes(31),)), "a sibling has 31 bytes instead of 32"),
        (Branch("0", (bytes(33),)), "a sibling has 33 bytes instead of 32"),
        # SHA-256("acc/a") has far fewer than 250 zero bits.
        (Branch("0" * 250, (bytes(32),) * 250), None),
    ],
)
def test_branch_of_another_shape_is_refused(branch: Branch, detail: str | None) -> None:
    """Steps have a bound, hashes have 32 bytes, sides follow the key's bits."""
    expected = detail or f"sides are not bits of {key_hash_of('acc/a').hex()} in rising order"
    assert detail_of(verify_presence, EMPTY_ROOT, "acc/a", b"1", branch) == expected


def test_fork_must_be_where_the_keys_differ() -> None:
    """A root over leaves out of order, which no honest tree has, does not prove a gap."""
    low, high = key_hash_of("acc/a"), key_hash_of("acc/b")
    low, high = min(low, high), max(low, high)
    first, second = leaf_hash(low, bytes(32)), leaf_hash(high, bytes(32))
    swapped_root = sha256(b"\x01" + second + first)
    left = Neighbour(low, bytes(32), Branch("1", (second,)))
    right = Neighbour(high, bytes(32), Branch("0", (first,)))
    between = next(f"q/{i}" for i in range(1_000) if low < key_hash_of(f"q/{i}") < high)
    assert detail_of(verify_absence, swapped_root, between, Absence(left, right)) == (
        "the neighbours' paths do not fork with the left one to the left"
    )


def crowded_prefix(count: int) -> tuple[str, list[str]]:
    """Return a prefix of four digits and so many plain keys whose SHA-256 begins with it."""
    prefix = key_hash_of("acc/0").hex()[:4]
    wanted = bytes.fromhex(prefix)
    found = [f"acc/{n}" for n in range(600_000) if key_hash_of(f"acc/{n}")[:2] == wanted]
    assert len(found) >= count
    return prefix, found[:count]


@pytest.fixture(scope="module")
def crowd() -> tuple[str, list[str]]:
    """Return a prefix with five plain keys."""
    return crowded_prefix(5)


@pytest.mark.parametrize("others", [0, 1, 2, 3, 10, 200])
@pytest.mark.parametrize("inside", [0, 1, 2, 5])
def test_prefix_proof_holds_every_record(crowd: tuple[str, list[str]], inside: int, others: int) -> None:
    """All records under the prefix come, with empty ranges and edges of the tree among the cases."""
    prefix, names = crowd
    wanted = {name: name.encode() for name in names[:inside]}
    state = state_of(records_of(others) | wanted)
    proof = state.prove_prefix(prefix)
    assert verify_prefix(state.root, prefix, proof) == wanted
    assert [key_hash_of(name) for name, _ in proof.entries] == sorted(key_hash_of(name) for name in wanted)


def test_prefix_proof_with_anything_missing_is_refused(crowd: tuple[str, list[str]]) -> None:
    """Every proper subset of the records is refused, whichever true leaves are called neighbours."""
    prefix, names = crowd
    records = records_of(10) | {name: name.encode() for name in names}
    state = state_of(records)
    proof = state.prove_prefix(prefix)
    leaves: list[Neighbour | None] = [None, *(existence(state, name).neighbour() for name in records)]
    for count in range(len(proof.entries)):
        for entries in combinations(proof.entries, count):
            for left in leaves:
                detail_of(verify_prefix, state.root, prefix, PrefixProof(prefix, entries, left, proof.right))
                detail_of(verify_prefix, state.root, prefix, PrefixProof(prefix, entries, proof.left, left))


def test_prefix_proof_with_anything_false_is_refused(crowd: tuple[str, list[str]]) -> None:
    """Another record, a foreign one, a repeated one, another order, another prefix."""
    prefix, names = crowd
    state = state_of(records_of(10) | {name: name.encode() for name in names})
    proof = state.prove_prefix(prefix)
    entries, left, right = proof.entries, proof.left, proof.right
    hashes = [key_hash_of(name).hex() for name, _ in entries]
    changed = ((entries[0][0], b"another"), *entries[1:])
    assert detail_of(verify_prefix, state.root, prefix, PrefixProof(prefix, changed, left, right)).startswith(
        "sub-tree between the neighbours is "
    )
    twice = (entries[0], *entries)
    assert detail_of(verify_prefix, state.root, prefix, PrefixProof(prefix, twice, left, right)) == (
        f"{hashes[0]} does not follow {hashes[0]}"
    )
    turned = (entries[1], entries[0], *entries[2:])
    assert detail_of(verify_prefix, state.root, prefix, PrefixProof(prefix, turned, left, right)) == (
        f"{hashes[0]} does not follow {hashes[1]}"
    )
    foreign = (("acc/u1.mx", b"record 1"),)
    assert detail_of(verify_prefix, state.root, prefix, PrefixProof(prefix, foreign, left, right)) == (
        f"{key_hash_of('acc/u1.mx').hex()} does not begin with {prefix}"
    )
    assert detail_of(verify_prefix, state.root, "0000", proof) == f"prefix is {prefix}, expected 0000"


def range_proof_holds(tree: Tree, low: bytes, high: bytes, leaf_of: dict[bytes, bytes], chosen: list[bytes]) -> bool:
    """Tell whether some key hashes pass for everything between two present ones (or an edge)."""

    def neighbour(key_hash: bytes) -> Neighbour | None:
        if key_hash not in leaf_of:
            return None
        steps = tree.branch(key_hash)
        branch = Branch("".join(str(side) for side, _ in steps), tuple(sibling for _, sibling in steps))
        return Neighbour(key_hash, leaf_of[key_hash], branch)

    leaves = [leaf_hash(key_hash, leaf_of[key_hash]) for key_hash in chosen]
    try:
        proof_module._check_range(tree.root, neighbour(low), neighbour(high), chosen, leaves)
    except Rejected:
        return False
    return True


@settings(max_examples=40)
@given(
    key_hashes=st.sets(
        st.tuples(st.integers(0, 3), st.integers(0, 255)).map(lambda p: bytes([p[0]]) + bytes(30) + bytes([p[1]])),
        min_size=1,
        max_size=7,
    )
)
def test_range_is_complete_or_refused(key_hashes: set[bytes]) -> None:
    """Over all ranges between present keys or the edges, and all choices within: only everything passes."""
    leaf_of = {key_hash: sha256(key_hash) for key_hash in key_hashes}
    tree = Tree()
    tree.install(tree.prepare({key: leaf_hash(key, record_hash) for key, record_hash in leaf_of.items()}))
    present = sorted(key_hashes)
    edges = [b"", *present, b"\xff" * 33]
    for low, high in combinations(edges, 2):
        between = [key for key in present if low < key < high]
        for count in range(len(between) + 1):
            for chosen in combinations(between, count):
                assert range_proof_holds(tree, low, high, leaf_of, list(chosen)) == (list(chosen) == between)


def test_proofs_at_many_sizes() -> None:
    """One to a thousand keys: queries below, between and above, and each key itself."""
    rng = random.Random(5)
    for count in (1, 2, 3, 7, 64, 1_000):
        records = records_of(count)
        state = state_of(records)
        hashes = sorted(key_hash_of(name) for name in records)
        for name in rng.sample(sorted(records), min(count, 40)):
            verify_exist(state.root, name, records[name], existence(state, name))
        below = next(n for n in (f"b/{i}" for i in range(10**6)) if key_hash_of(n) < hashes[0])
        above = next(n for n in (f"a/{i}" for i in range(10**6)) if key_hash_of(n) > hashes[-1])
        assert nonexistence(state, below).left is None
        assert nonexistence(state, above).right is None
        for name in (below, above, *(f"c/{i}" for i in range(40))):
            verify_nonexist(state.root, name, nonexistence(state, name))


def test_prefix_of_another_shape_is_refused() -> None:
    """Four lower-case hex digits, nothing else."""
    state = state_of({"acc/a": b"1"})
    for prefix in ("", "abc", "abcde", "ABCD", "abcg", "ab d"):
        with pytest.raises(Rejected) as refused:
            state.prove_prefix(prefix)
        assert refusal(refused.value) == (Reason.INVALID_VALUE, "a prefix has 4 lower-case hex digits")
