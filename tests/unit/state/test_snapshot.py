"""The state in chunks: what is cut folds to the root, and no chunk passes that is not exactly its part."""

from collections.abc import Callable

import msgspec
import pytest

from node import codec
from node.errors import Reason, Rejected
from node.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES_MAX, STATE_RECORD_BYTES_MAX
from node.primitives import Hash
from node.state.keys import Column
from node.state.kv import MemoryStore, WriteBatch
from node.state.snapshot import EMPTY, StateChunk, StatePart, check_chunk, cut, fold, starts_of
from node.state.trie import EMPTY_ROOT, key_hash_of
from node.state.world_state import StateStore


def state_of(records: dict[str, bytes]) -> tuple[MemoryStore, Hash]:
    """Return a store with these records and its root."""
    store = MemoryStore()
    state = StateStore.open(store)
    prepared = state.prepare(records)
    batch = WriteBatch()
    state.stage(prepared, 0, batch)
    store.write(batch, sync=True)
    return store, prepared.root


def cut_store(store: MemoryStore) -> list[tuple[StatePart, bytes]]:
    """Return all parts of a store's state."""
    pairs = ((key[1:], packed) for key, packed in store.iterate(prefix=Column.STATE.value))
    return [item for item in cut(pairs) if item is not None]


def many(count: int, size: int = 200) -> dict[str, bytes]:
    """Return records of about so many bytes."""
    return {f"sta/seg.example/{number}": number.to_bytes(4, "big") + bytes(size) for number in range(count)}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1_000, 5_000])
def test_chunks_fold_to_the_state_root_and_bring_every_record(count: int) -> None:
    """Cut and put together again, a state is the same, whatever its size."""
    records = many(count)
    store, root = state_of(records)
    parts = cut_store(store)
    assert fold([part for part, _ in parts]) == root
    found = {}
    for (part, data), start in zip(parts, starts_of([part for part, _ in parts]), strict=True):
        for item in check_chunk(part, start, data):
            found[item.plain_key] = item.record
            assert store.get(Column.STATE.key(item.key_hash)) == item.packed
    assert found == records


def test_a_chunk_is_the_largest_sub_tree_within_its_bytes() -> None:
    """No two neighbouring halves would fit one chunk, and none but a lone record is larger than the bound."""
    store, _ = state_of({**many(5_000), "def/big": bytes(STATE_RECORD_BYTES_MAX)})
    parts = [part for part, _ in cut_store(store)]
    assert len(parts) > 4
    assert {part.record_count for part in parts if part.byte_count > SNAPSHOT_CHUNK_BYTES} == {1}
    for left, right, start in zip(parts, parts[1:], starts_of(parts), strict=False):
        are_halves = left.depth == right.depth and start % (1 << (257 - left.depth)) == 0
        if are_halves and left.record_count + right.record_count > 1:
            assert left.byte_count + right.byte_count > SNAPSHOT_CHUNK_BYTES - 5_000 * 16


def test_the_largest_record_fits_a_chunk() -> None:
    """The bound of a chunk leaves room for any record that the state may hold."""
    store, root = state_of({"def/" + "x" * 200: bytes(STATE_RECORD_BYTES_MAX)})
    [(part, data)] = cut_store(store)
    assert len(data) <= SNAPSHOT_CHUNK_BYTES_MAX
    assert part == StatePart(0, 1, root, len(data))


def test_where_to_cut_depends_on_the_state_alone() -> None:
    """Whatever order records were written in, nodes cut alike: each can give chunks of what another offered."""
    records = many(3_000)
    one, _ = state_of(records)
    other, _ = state_of(dict(reversed(records.items())))
    assert cut_store(one) == cut_store(other)


def test_an_empty_state_folds_to_the_empty_root() -> None:
    """One part without records stands for a state without any."""
    store, root = state_of({})
    assert cut_store(store) == [
        (StatePart(0, 0, EMPTY, len(codec.encode(StateChunk(())))), codec.encode(StateChunk(())))
    ]
    assert root == EMPTY_ROOT == fold([StatePart(0, 0, EMPTY, 2)])


def refusal(call: Callable[[], object]) -> tuple[Reason, str]:
    """Return reason and detail of a refusal."""
    with pytest.raises(Rejected) as refused:
        call()
    return refused.value.reason, refused.value.detail


LEAF = bytes([7]) * 32


@pytest.mark.parametrize(
    "depths,detail",
    [
        ([1], "the parts end at 8000000000000000… instead of the last key"),  # a missing range at the end
        ([1, 2], "the parts end at c000000000000000… instead of the last key"),
        ([2, 1], "a part of depth 1 cannot begin at 4000000000000000…"),  # a range that overlaps another
        ([1, 1, 1], "a part of depth 1 cannot begin at the end"),
        ([0, 256], "a part of depth 256 cannot begin at the end"),
    ],
)
def test_parts_that_leave_a_range_out_or_overlap_are_refused(depths: list[int], detail: str) -> None:
    """Every key hash lies in exactly one part: nothing of the state can be held back."""
    parts = [StatePart(depth, 1, LEAF, 100) for depth in depths]
    assert refusal(lambda: fold(parts)) == (Reason.BAD_PROOF, detail)


def test_a_part_without_records_has_no_root() -> None:
    """An empty part with a root would hide the records under it."""
    parts = [StatePart(1, 0, LEAF, 2), StatePart(1, 0, EMPTY, 2)]
    assert refusal(lambda: fold(parts)) == (
        Reason.BAD_PROOF,
        "the part at 0000000000000000… has 0 records, its root differs",
    )


def test_a_forged_boundary_is_found_out_with_its_first_chunk() -> None:
    """A true sub-tree root in a false place folds to the right root, but no records fit there."""
    store, root = state_of(many(3_000))
    parts = [part for part, _ in cut_store(store)]
    chunks = [data for _, data in cut_store(store)]
    first = parts[0]
    # An inner node with one child is that child: moved one level down, the first part still folds to the same root.
    forged = [
        msgspec.structs.replace(first, depth=first.depth + 1, root=EMPTY, record_count=0),
        msgspec.structs.replace(first, depth=first.depth + 1),
        *parts[1:],
    ]
    assert fold(forged) == root
    reason, detail = refusal(lambda: check_chunk(forged[1], starts_of(forged)[1], chunks[0]))
    assert (reason, detail[:23]) == (Reason.BAD_PROOF, "records outside the par")


def changed(data: bytes, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> bytes:
    """Return a chunk with other entries."""
    chunk = codec.decode(data, StateChunk, bytes_max=SNAPSHOT_CHUNK_BYTES_MAX)
    return codec.encode(StateChunk(tuple(change(list(chunk.entries)))))


LIES: dict[str, tuple[Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]], str]] = {
    "another record": (lambda found: [(found[0][0], b"\x01" + found[0][1][1:]), *found[1:]], "the records hash to"),
    "another key": (lambda found: [*found[:-1], ("sta/x", found[-1][1])], ""),
    "a record less": (lambda found: found[:-1], "the chunk has 2 records, announced are 3"),
    "a record twice": (lambda found: [found[0], found[0], found[2]], "does not follow"),
    "records in another order": (lambda found: [found[1], found[0], found[2]], "does not follow"),
    "a key that names nothing": (lambda found: [("no key", found[0][1]), *found[1:]], "'no key' is no plain key"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_wrong_chunk_is_refused(name: str) -> None:
    """Whatever a server changes in a chunk, it no longer is the part that the header commits to."""
    change, wanted = LIES[name]
    store, _ = state_of(many(3))
    [(part, data)] = cut_store(store)
    lie = changed(data, change)
    # As a liar who also controls the manifest's lengths would send it.
    part = msgspec.structs.replace(part, byte_count=len(lie))
    reason, detail = refusal(lambda: check_chunk(part, 0, lie))
    assert reason is Reason.BAD_PROOF
    assert wanted in detail


def test_a_chunk_of_another_length_is_refused_unread() -> None:
    """The manifest says how long a chunk is; more or less is not decoded at all."""
    store, _ = state_of(many(3))
    [(part, data)] = cut_store(store)
    wanted = (Reason.BAD_PROOF, f"the chunk has {len(data) + 1} bytes, announced are {len(data)}")
    assert refusal(lambda: check_chunk(part, 0, data + b"\x00")) == wanted


def test_keys_under_one_long_prefix_are_cut_all_the_same() -> None:
    """Whoever searches keys that share first bits makes parts deeper, not larger."""
    found = [name for number in range(40_000) if key_hash_of(name := f"bat/{number}")[0] == 0]
    store, root = state_of({name: bytes(60_000) for name in found[:40]})
    parts = [part for part, _ in cut_store(store)]
    assert fold(parts) == root
    assert max(part.byte_count for part in parts) <= SNAPSHOT_CHUNK_BYTES
    assert max(part.depth for part in parts) >= 9
