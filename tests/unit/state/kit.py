"""Small states, naive twins and the shortest way to commit."""

import hashlib
from collections.abc import Mapping

from node.errors import Rejected
from node.state.kv import KeyValueStore, MemoryStore, WriteBatch
from node.state.trie import EMPTY_ROOT, bit_at
from node.state.world_state import StateStore


def naive_root(leaves: Mapping[bytes, bytes]) -> bytes:
    """Return the root over leaf hashes by key hash, straight from the definition of the trie."""
    return _naive_node(leaves, 0) if leaves else EMPTY_ROOT


def _naive_node(leaves: Mapping[bytes, bytes], position: int) -> bytes:
    if len(leaves) == 1:
        return next(iter(leaves.values()))
    left = {key: leaf for key, leaf in leaves.items() if not bit_at(key, position)}
    right = {key: leaf for key, leaf in leaves.items() if bit_at(key, position)}
    if not left or not right:
        return _naive_node(leaves, position + 1)
    return hashlib.sha256(b"\x01" + _naive_node(left, position + 1) + _naive_node(right, position + 1)).digest()


def commit(state: StateStore, store: KeyValueStore, changes: Mapping[str, bytes], height: int) -> None:
    """Do what the ledger does with one block's changes."""
    prepared = state.prepare(changes)
    batch = WriteBatch()
    state.stage(prepared, height, batch)
    store.write(batch, sync=True)
    state.apply(prepared, height)


def state_of(records: Mapping[str, bytes]) -> StateStore:
    """Return a state in memory with these records, at height 0."""
    store = MemoryStore()
    state = StateStore.open(store)
    commit(state, store, records, 0)
    return state


def records_of(count: int) -> dict[str, bytes]:
    """Return so many records that are all different."""
    return {f"acc/u{number}.mx": b"record %d" % number for number in range(count)}


def refusal(error: Rejected) -> tuple[str, str]:
    """Return reason and detail, for one comparison."""
    return error.reason, error.detail
