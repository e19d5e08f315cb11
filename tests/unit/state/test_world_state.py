"""The authenticated state: blocks, recent heights, restarts, and disks that lie."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node import codec
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected, StorageError
from node.state import history, keys, world_state
from node.state.keys import Column
from node.state.kv import KeyValueStore, MemoryStore, WriteBatch
from node.state.leveldb import open_leveldb
from node.state.proof import ExistenceProof, NonExistenceProof, verify_exist, verify_nonexist, verify_prefix
from node.state.trie import EMPTY_ROOT, key_hash_of, leaf_hash
from node.state.world_state import StateStore, WorldState
from tests.unit.state.kit import commit, naive_root, records_of, refusal, state_of


class Counter(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A record for tests."""

    count: int


@pytest.fixture(params=["memory", "leveldb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    """Return each store in turn, empty."""
    opened: KeyValueStore = MemoryStore() if request.param == "memory" else open_leveldb(tmp_path / "db")
    yield opened
    opened.close()


def root_of(records: dict[str, bytes]) -> bytes:
    """Return the root over records, naively."""
    leaves = {}
    for plain_key, record in records.items():
        key_hash = key_hash_of(plain_key)
        leaves[key_hash] = leaf_hash(key_hash, sha256(record))
    return naive_root(leaves)


def put(store: KeyValueStore, key: bytes, value: bytes | None) -> None:
    """Change the disk behind the state's back."""
    batch = WriteBatch()
    if value is None:
        batch.delete(key)
    else:
        batch.put(key, value)
    store.write(batch, sync=True)


def test_new_store_is_the_empty_state(store: KeyValueStore) -> None:
    """Nothing stored: the root of nothing, height 0, no key."""
    state = StateStore.open(store)
    assert (state.root, state.height, state.key_count, state.get("acc/a")) == (EMPTY_ROOT, 0, 0, None)
    assert state.provable_heights == range(1)


def test_committed_block_is_read_and_survives_a_restart(store: KeyValueStore) -> None:
    """Records, root, height and number of keys are the same before and after opening again."""
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"1", "acc/b": b"2"}, 0)
    commit(state, store, {"acc/a": b"3"}, 1)
    for opened in (state, StateStore.open(store)):
        assert (opened.root, opened.height, opened.key_count) == (root_of({"acc/a": b"3", "acc/b": b"2"}), 1, 2)
        assert (opened.get("acc/a"), opened.get("acc/b"), opened.get("acc/c")) == (b"3", b"2", None)


def test_prepare_changes_nothing() -> None:
    """Several drafts of one height leave root, records and proofs as they are."""
    state = state_of(records_of(20))
    root, proof = state.root, state.prove("acc/u1.mx")
    first = state.prepare({"acc/u1.mx": b"x"})
    second = state.prepare({"acc/new": b"y"})
    assert first.root == root_of(records_of(20) | {"acc/u1.mx": b"x"})
    assert second.root == root_of(records_of(20) | {"acc/new": b"y"})
    assert (state.root, state.get("acc/u1.mx"), state.prove("acc/u1.mx")) == (root, b"record 1", proof)


def test_block_without_changes_keeps_the_root(store: KeyValueStore) -> None:
    """An empty block moves the height alone."""
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"1"}, 0)
    commit(state, store, {}, 1)
    assert (state.root, state.height) == (root_of({"acc/a": b"1"}), 1)
    assert StateStore.open(store).height == 1


def test_first_block_may_have_any_height(store: KeyValueStore) -> None:
    """A snapshot begins at its own height, and only that one is provable."""
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"1"}, 77)
    commit(state, store, {"acc/a": b"2"}, 78)
    assert (state.height, state.provable_heights) == (78, range(77, 79))
    assert StateStore.open(store).provable_heights == range(77, 79)


def test_height_must_follow() -> None:
    """A block that skips or repeats a height is our own mistake."""
    state = state_of({"acc/a": b"1"})
    for height in (0, 2):
        with pytest.raises(AssertionError):
            state.stage(state.prepare({}), height, WriteBatch())


def test_stale_preparation_cannot_be_staged(store: KeyValueStore) -> None:
    """What was prepared over another block is our own mistake."""
    state = StateStore.open(store)
    stale = state.prepare({"acc/a": b"1"})
    commit(state, store, {"acc/b": b"1"}, 0)
    with pytest.raises(AssertionError):
        state.stage(stale, 1, WriteBatch())


class FullDisk(MemoryStore):
    """A store whose disk may be full."""

    is_full = False

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        if self.is_full:
            raise StorageError("cannot write: no space left on device")
        super().write(batch, sync=sync)


def test_failed_write_leaves_everything_as_it_was() -> None:
    """Given a block that could not be written, when space is back, then another one takes its place."""
    store = FullDisk()
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"1"}, 0)
    before = (state.root, state.height, state.key_count, state.provable_heights, state.prove("acc/a"))
    store.is_full = True
    with pytest.raises(StorageError):
        commit(state, store, {"acc/a": b"2", "acc/b": b"2"}, 1)
    assert (state.root, state.height, state.key_count, state.provable_heights, state.prove("acc/a")) == before
    assert StateStore.open(store).root == state.root
    store.is_full = False
    commit(state, store, {"acc/c": b"3"}, 1)
    assert state.root == StateStore.open(store).root == root_of({"acc/a": b"1", "acc/c": b"3"})


@settings(max_examples=40)
@given(
    blocks=st.lists(
        st.dictionaries(st.integers(0, 12).map(lambda n: f"acc/{n}"), st.binary(min_size=1, max_size=2), max_size=5),
        min_size=1,
        max_size=8,
    ),
    reopen_after=st.integers(0, 8),
)
def test_every_recent_height_is_proven(blocks: list[dict[str, bytes]], reopen_after: int) -> None:
    """At each height every key is what it was then, also after a restart, as the naive tree says."""
    store = MemoryStore()
    state = StateStore.open(store)
    records: dict[str, bytes] = {}
    recorded = []
    for height, changes in enumerate(blocks):
        commit(state, store, changes, height)
        records.update(changes)
        recorded.append(dict(records))
        if height == reopen_after:
            state = StateStore.open(store)
    assert state.provable_heights == range(len(blocks))
    for height, then in enumerate(recorded):
        root = root_of(then)
        for number in range(14):
            plain_key = f"acc/{number}"
            proof = state.prove(plain_key, height)
            if plain_key in then:
                assert isinstance(proof, ExistenceProof)
                verify_exist(root, plain_key, then[plain_key], proof)
            else:
                assert isinstance(proof, NonExistenceProof)
                verify_nonexist(root, plain_key, proof)
            prefix = key_hash_of(plain_key).hex()[:4]
            under = {name: value for name, value in then.items() if key_hash_of(name).hex()[:4] == prefix}
            assert verify_prefix(root, prefix, state.prove_prefix(prefix, height)) == under


def test_heights_outside_are_refused() -> None:
    """Above the head and before the first one kept."""
    store = MemoryStore()
    state = StateStore.open(store)
    for height in range(5, 9):
        commit(state, store, {"acc/a": b"%d" % height}, height)
    for height in (0, 4, 9):
        with pytest.raises(Rejected) as refused:
            state.prove("acc/a", height)
        assert refusal(refused.value) == (
            Reason.NOT_FOUND,
            f"height {height} is not provable here, only 5 … 8",
        )


@pytest.mark.parametrize(
    "bound, value, kept",
    [
        ("UNDO_HEIGHTS_MAX", 3, range(6, 10)),  # three blocks back from the head, 9
        ("UNDO_CHANGES_MAX", 4, range(7, 10)),  # each block overwrites two
        ("UNDO_BYTES_MAX", 500, range(7, 10)),  # each undo record has 195 bytes
        ("UNDO_BYTES_MAX", 1, range(8, 10)),  # the newest one is always kept
    ],
)
def test_old_undo_is_pruned(
    store: KeyValueStore, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, kept: range
) -> None:
    """What falls out of a bound is gone from the disk too, and what is kept still proves."""
    monkeypatch.setattr(history, bound, value)
    state = StateStore.open(store)
    for height in range(10):
        commit(state, store, {"acc/a": bytes([height]), "acc/b": bytes([height])}, height)
        assert state.provable_heights == StateStore.open(store).provable_heights
    assert state.provable_heights == kept
    stored = [int.from_bytes(key[1:9], "big") for key, _ in store.iterate(prefix=Column.UNDO.value)]
    assert stored == list(kept)[1:]
    proof = state.prove("acc/a", kept.start)
    assert isinstance(proof, ExistenceProof)
    assert proof.value == bytes([kept.start])


def test_only_few_recent_trees_are_kept_ready() -> None:
    """Asking for many heights keeps STATE_VIEWS_MAX trees, and none after the next block."""
    store = MemoryStore()
    state = StateStore.open(store)
    for height in range(10):
        commit(state, store, {"acc/a": bytes([height])}, height)
    for height in range(9):
        state.prove("acc/a", height)
    assert sorted(state._views) == [5, 6, 7, 8]
    commit(state, store, {}, 10)
    assert state._views == {}


def test_price_of_an_earlier_height_is_told_before_it_is_paid() -> None:
    """Records overwritten since; nothing for the head and for a height whose tree is ready."""
    store = MemoryStore()
    state = StateStore.open(store)
    for height in range(4):
        commit(state, store, {f"acc/{number}": bytes([height]) for number in range(height + 1)}, height)
    assert [state.changes_above(height) for height in range(4)] == [2 + 3 + 4, 3 + 4, 4, 0]
    state.prove("acc/0", 1)
    assert [state.changes_above(height) for height in range(4)] == [2 + 3 + 4, 0, 4, 0]


def flat_key(plain_key: str) -> bytes:
    """Return the database key of a record."""
    return Column.STATE.key(key_hash_of(plain_key))


def test_lost_or_foreign_record_stops_the_opening(store: KeyValueStore) -> None:
    """The rebuilt root is compared with the stored one, and both are named."""
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"1", "acc/b": b"2"}, 7)
    put(store, flat_key("acc/b"), None)
    with pytest.raises(StorageError) as refused:
        StateStore.open(store)
    assert str(refused.value) == (
        f"the state records come to root {root_of({'acc/a': b'1'}).hex()} with 1 keys, "
        f"but root {state.root.hex()} with 2 keys is stored for height 7"
    )


def test_records_without_a_stored_root_stop_the_opening(store: KeyValueStore) -> None:
    """A head that is gone is not an empty state."""
    commit(StateStore.open(store), store, {"acc/a": b"1"}, 0)
    put(store, keys.STATE_HEAD, None)
    with pytest.raises(StorageError) as refused:
        StateStore.open(store)
    assert str(refused.value) == "1 state records but no stored root"


def test_unreadable_head_stops_the_opening(store: KeyValueStore) -> None:
    """A head in another shape is corrupt."""
    put(store, keys.STATE_HEAD, b"\x01")
    with pytest.raises(StorageError) as refused:
        StateStore.open(store)
    assert str(refused.value).startswith("the record mstate cannot be read: malformed: ")


@pytest.mark.parametrize("offset", [0, 31, 32, 33, 34, 38, 39, 40])  # leaf hash, length, plain key, record
def test_record_changed_on_disk_is_never_served(store: KeyValueStore, offset: int) -> None:
    """A changed byte anywhere in a flat record is found when it is read or proven."""
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"12", "acc/b": b"2"}, 0)
    flat = bytearray(store.get(flat_key("acc/a")) or b"")
    assert len(flat) == 41
    flat[offset] ^= 1
    put(store, flat_key("acc/a"), bytes(flat))
    expected = f"the state record {key_hash_of('acc/a').hex()} is not what the state root commits to"
    if offset >= 32:  # the leaf hash beside the record is not read, only compared when it is overwritten
        for read in (lambda: state.get("acc/a"), lambda: state.prove("acc/a")):
            with pytest.raises(StorageError) as refused:
                read()
            assert str(refused.value) == expected
    else:
        assert state.get("acc/a") == b"12"
        with pytest.raises(StorageError) as refused:
            commit(state, store, {"acc/a": b"3"}, 1)
        assert str(refused.value) == expected
        with pytest.raises(StorageError):
            StateStore.open(store)


def test_record_that_vanished_is_never_taken_for_absent(store: KeyValueStore) -> None:
    """The tree knows which records there must be."""
    state = StateStore.open(store)
    commit(state, store, {"acc/a": b"1"}, 0)
    put(store, flat_key("acc/a"), None)
    with pytest.raises(StorageError) as refused:
        state.get("acc/a")
    assert str(refused.value) == f"the state record {key_hash_of('acc/a').hex()} is missing"


def test_false_undo_record_is_found(store: KeyValueStore) -> None:
    """An undo record that leads to another root, is gone or unreadable stops the node."""
    state = StateStore.open(store)
    for height in range(3):
        commit(state, store, {"acc/a": bytes([height])}, height)
    [first, second] = [key for key, _ in store.iterate(prefix=Column.UNDO.value)]
    original = store.get(first)
    assert original is not None
    undo = codec.decode(original, history.Undo, bytes_max=1_000)
    put(store, first, codec.encode(history.Undo(undo.root, 1, ((key_hash_of("acc/a"), None),))))
    with pytest.raises(StorageError) as refused:
        state.prove("acc/a", 0)
    assert str(refused.value) == (
        f"the undo records lead back to root {EMPTY_ROOT.hex()} at height 0, but it was {undo.root.hex()}"
    )
    put(store, first, b"\x01")
    with pytest.raises(StorageError) as refused:
        state.prove("acc/a", 0)
    assert str(refused.value).startswith("the undo record of height 1 is corrupt: malformed: ")
    put(store, second, None)
    with pytest.raises(StorageError) as refused:
        state.prove("acc/a", 1)
    assert str(refused.value) == "the undo record of height 2 is missing"


def test_plain_key_that_cannot_be_is_refused() -> None:
    """A question from outside about no possible key is their mistake."""
    state = state_of({"acc/a": b"1"})
    for plain_key in ("", "acc/ a", "acc/ñ", "acc/\n", "a" * 257):
        with pytest.raises(Rejected) as refused:
            state.prove(plain_key)
        assert refusal(refused.value) == (
            Reason.INVALID_VALUE,
            "not a plain key: printable ASCII without spaces",
        )


def test_too_many_records_under_a_prefix_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix that somebody filled on purpose is not answered."""
    monkeypatch.setattr(world_state, "PREFIX_PROOF_ENTRIES_MAX", 0)
    with pytest.raises(Rejected) as refused:
        state_of({"acc/a": b"1"}).prove_prefix(key_hash_of("acc/a").hex()[:4])
    assert refusal(refused.value) == (Reason.LIMIT_EXCEEDED, "more than 0 records there")


def test_hot_record_is_decoded_once_and_never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same object comes twice, a new one after a block changed it, and the cache is bounded."""
    monkeypatch.setattr(world_state, "DECODED_RECORDS_MAX", 2)
    store = MemoryStore()
    state = StateStore.open(store)
    commit(state, store, {f"acc/{n}": codec.encode(Counter(n)) for n in range(3)}, 0)
    first = state.read("acc/1", Counter)
    assert first == Counter(1)
    assert state.read("acc/1", Counter) is first
    commit(state, store, {"acc/1": codec.encode(Counter(5))}, 1)
    assert state.read("acc/1", Counter) == Counter(5)
    assert [state.read(f"acc/{n}", Counter) for n in (0, 2, 3)] == [Counter(0), Counter(2), None]
    assert len(state._decoded) == 2


def test_record_of_another_shape_is_the_disks_fault() -> None:
    """What this node wrote must read back in the shape that it is asked for."""
    state = state_of({"acc/a": b"\xa1x"})
    with pytest.raises(StorageError) as refused:
        state.read("acc/a", Counter)
    assert str(refused.value).startswith("the record acc/a cannot be read: malformed: ")


def test_draft_reads_through_and_is_thrown_away() -> None:
    """A draft shows its own writes over the base, which stays as it is."""
    state = state_of({"acc/a": codec.encode(Counter(1))})
    draft = WorldState(state)
    draft.put("acc/b", Counter(2))
    draft.put("acc/a", Counter(3))
    draft.put("acc/b", Counter(4))
    assert [draft.get(f"acc/{name}", Counter) for name in "abc"] == [Counter(3), Counter(4), None]
    assert list(draft.changes().items()) == [
        ("acc/b", codec.encode(Counter(4))),  # first written, first in order
        ("acc/a", codec.encode(Counter(3))),
    ]
    assert WorldState(state).get("acc/a", Counter) == Counter(1)
    assert WorldState(state).changes() == {}


def test_inner_draft_is_taken_over_whole_or_not_at_all() -> None:
    """A transaction's draft over a block's draft: absorbed it counts, else it never was."""
    outer = WorldState(state_of({"acc/a": codec.encode(Counter(1))}))
    outer.put("acc/b", Counter(2))
    refused = WorldState(outer)
    refused.put("acc/b", Counter(9))
    taken = WorldState(outer)
    assert (taken.get("acc/a", Counter), taken.get("acc/b", Counter)) == (Counter(1), Counter(2))
    taken.put("acc/a", Counter(3))
    taken.put("acc/b", Counter(4))
    outer.absorb(taken)
    assert outer.changes() == {"acc/b": codec.encode(Counter(4)), "acc/a": codec.encode(Counter(3))}
    assert list(outer.changes()) == ["acc/b", "acc/a"]
