"""Building a chain's store from a snapshot, chunk by chunk, in any order; a crash costs no chunk that was taken.

The store is a new one of its own. Until `finish` it holds no head, so nobody takes it for a chain; after it, it is one
whose blocks begin above the snapshot. Source: PROTOCOL §6.
"""

from itertools import islice
from typing import Final, Self

from node import codec
from node.chain.certificate import VerifyDigest
from node.chain.genesis import genesis_block
from node.chain.genesis_document import GenesisDocument
from node.chain.hops import HopStore, RecoveryHop
from node.chain.index import BATCHES, Index
from node.chain.records.credential import Batch
from node.chain.recovery_loading import stage_documents
from node.chain.snapshot import (
    Manifest,
    check_batch,
    check_blocks,
    read_batches,
    snapshot_hash,
    verify_manifest,
)
from node.chain.store import HEAD, BlockStore
from node.errors import Reason, Rejected, StorageError
from node.limits import STATE_RECORD_BYTES_MAX
from node.primitives import Hash, Height
from node.state import flat, keys
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch
from node.state.snapshot import check_chunk, starts_of
from node.state.trie import key_hash_of
from node.state.world_state import StateHead, StateStore

MANIFEST: Final = Column.META.key(b"restoring")
"""The manifest of an unfinished restoration."""
_TAKEN: Final = Column.META.key(b"restored/")
"""`m` | restored/ | number (4) → number of batch records in the chunk (4)."""


class Restoration:
    """One snapshot on its way into a store."""

    def __init__(self, store: KeyValueStore, genesis: GenesisDocument, manifest: Manifest, name: Hash) -> None:
        self.manifest: Final = manifest
        self.name: Final = name
        """The snapshot's hash."""
        self._store = store
        self._genesis = genesis
        self._index = Index(store)
        self._starts = starts_of(manifest.state)
        self._first_missing = 0
        """Every chunk below was taken."""
        self._batch_counts: dict[int, int] = {}
        """Of each chunk that was taken: batch records in it, or batches."""
        for key, value in store.iterate(prefix=_TAKEN):
            self._batch_counts[int.from_bytes(key[len(_TAKEN) :], "big")] = int.from_bytes(value, "big")

    @classmethod
    def begin(
        cls, store: KeyValueStore, genesis: GenesisDocument, data: bytes, verify_digest: VerifyDigest | None = None
    ) -> Self:
        """Begin with a manifest in an empty store. Raises: Rejected as `verify_manifest`; StorageError."""
        manifest = verify_manifest(data, genesis, verify_digest)
        batch = WriteBatch()
        batch.put(MANIFEST, data)
        store.write(batch, sync=True)
        return cls(store, genesis, manifest, snapshot_hash(data))

    @classmethod
    def resume(
        cls, store: KeyValueStore, genesis: GenesisDocument, verify_digest: VerifyDigest | None = None
    ) -> Self | None:
        """Go on with what a store holds of an unfinished restoration; None where it holds none."""
        data = store.get(MANIFEST)
        if data is None:
            return None
        try:
            return cls(store, genesis, verify_manifest(data, genesis, verify_digest), snapshot_hash(data))
        except Rejected as error:
            raise StorageError(f"the manifest of an unfinished restoration cannot be used: {error}") from error

    @property
    def height(self) -> Height:
        """The snapshot's height."""
        return self.manifest.height

    @property
    def taken(self) -> int:
        """How many chunks were taken."""
        return len(self._batch_counts)

    def missing(self, count_max: int) -> list[int]:
        """Return the numbers of some chunks that can be taken next, ascending; none when all were taken.

        Batches come after the whole state, which says what their ids must hash to.
        """
        while self._first_missing in self._batch_counts:
            self._first_missing += 1
        first_batches = len(self.manifest.state) + len(self.manifest.blocks)
        end = first_batches if self._first_missing < first_batches else self.manifest.chunk_count
        untaken = (number for number in range(self._first_missing, end) if number not in self._batch_counts)
        return list(islice(untaken, count_max))

    def take(self, number: int, data: bytes) -> None:
        """Check a chunk and write it; harmless when repeated.

        Raises: Rejected unless it is exactly what the manifest commits to; StorageError.
        """
        if number in self._batch_counts:
            return
        state, blocks = len(self.manifest.state), len(self.manifest.blocks)
        batch = WriteBatch()
        if number < state:
            count = self._take_state(number, data, batch)
        elif number < state + blocks:
            count = self._take_blocks(number - state, data, batch)
        else:
            assert all(earlier in self._batch_counts for earlier in range(state))
            count = self._take_batches(number - state - blocks, data, batch)
        batch.put(_TAKEN + number.to_bytes(4, "big"), count.to_bytes(4, "big"))
        # Synced, for LevelDB may keep a later write and lose an earlier one that was not.
        self._store.write(batch, sync=True)
        self._batch_counts[number] = count

    def finish(self) -> None:
        """Make the store a chain whose head is the snapshot's header; call once everything was taken.

        Raises: Rejected(BAD_PROOF) where batches are missing; StorageError where the state is not what was taken.
        """
        assert self.taken == self.manifest.chunk_count
        manifest = self.manifest
        state = len(manifest.state)
        expected = sum(count for number, count in self._batch_counts.items() if number < state)
        found = sum(part.batch_count for part in manifest.batches)
        if found != expected:
            raise Rejected(Reason.BAD_PROOF, f"the ids of {found} batches, the state has {expected}")
        batch = WriteBatch()
        self._stage_chain(batch)
        record_count = sum(part.record_count for part in manifest.state)
        batch.put(keys.STATE_HEAD, codec.encode(StateHead(manifest.header.state_root, manifest.height, record_count)))
        self._index.complete(manifest.height, batch)
        for number in self._batch_counts:
            batch.delete(_TAKEN + number.to_bytes(4, "big"))
        batch.delete(MANIFEST)
        self._store.write(batch, sync=True)
        StateStore.open(self._store)

    def _stage_chain(self, batch: WriteBatch) -> None:
        """Stage block 0, the headers, the way to them and the head."""
        manifest, blocks = self.manifest, BlockStore(self._store)
        block_zero = genesis_block(self._genesis)
        genesis_hash = block_zero.hash()
        blocks.stage(block_zero, genesis_hash, None, (), (), genesis_hash, batch)
        blocks.stage_validators(self._genesis.validator_set(), batch)
        for validators in manifest.validator_sets:
            blocks.stage_validators(validators, batch)
        hops = HopStore(self._store)
        for hop in manifest.hops:
            hops.stage(hop, batch)
            blocks.stage_validators(hop.validators, batch)
        stage_documents((hop.document for hop in manifest.hops if isinstance(hop, RecoveryHop)), batch)
        for header in manifest.headers:
            blocks.stage_header(header, batch)
        blocks.stage_base(manifest.header, manifest.certificate, genesis_hash, batch)

    def _take_state(self, number: int, data: bytes, batch: WriteBatch) -> int:
        records = check_chunk(self.manifest.state[number], self._starts[number], data)
        for item in records:
            batch.put(Column.STATE.key(item.key_hash), item.packed)
        names = [item.plain_key for item in records]
        self._index.add_names(iter(names), batch)
        return sum(name.startswith(BATCHES) for name in names)

    def _take_blocks(self, number: int, data: bytes, batch: WriteBatch) -> int:
        for block in check_blocks(self.manifest, number, data):
            if block.ids:
                batch.put(Column.RECENT.at(block.height), b"".join(block.ids))
        return 0

    def _take_batches(self, number: int, data: bytes, batch: WriteBatch) -> int:
        entries = read_batches(self.manifest.batches[number], data)
        places: set[tuple[Height, int]] = set()
        for entry in entries:
            record = check_batch(entry, self._batch(entry.batch_id))
            place = (record.act.height, entry.transaction_index)
            if place in places:
                raise Rejected(Reason.INVALID_VALUE, f"two batches in transaction {place[1]} of block {place[0]}")
            places.add(place)
            self._index.add_batch(record.act.height, entry.transaction_index, entry.batch_id, entry.ids, batch)
        return len(entries)

    def _batch(self, batch_id: Hash) -> Batch | None:
        key_hash = key_hash_of(keys.batch(batch_id))
        packed = self._store.get(Column.STATE.key(key_hash))
        if packed is None:
            return None
        _, record = flat.unpack(key_hash, flat.leaf_of(packed), packed)
        return codec.decode(record, Batch, bytes_max=STATE_RECORD_BYTES_MAX)


def is_chain(store: KeyValueStore) -> bool:
    """Tell whether a store holds a whole chain."""
    return store.get(HEAD) is not None
