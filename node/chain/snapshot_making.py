"""Making a snapshot of the chain at the head, a little at a time, while the chain goes on.

What is walked is held as it was when the making began; the certificate is taken at the end from the block above,
which makes it the canonical one. Source: PROTOCOL §6.
"""

from collections.abc import Callable, Iterator
from typing import Final

from node import codec
from node.chain.block import Header
from node.chain.certificate import Network
from node.chain.hops import HopStore, first_quorum
from node.chain.index import Index
from node.chain.recent_ids import oldest_height
from node.chain.snapshot import (
    SNAPSHOT_VERSION,
    BatchEntry,
    BatchesChunk,
    BatchesPart,
    BlocksChunk,
    BlocksPart,
    Manifest,
)
from node.chain.store import BlockStore
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import sha256
from node.errors import StorageError
from node.limits import SNAPSHOT_BATCHES_PER_CHUNK_MAX, SNAPSHOT_CHUNK_BYTES
from node.primitives import Hash, Height
from node.state.keys import Column
from node.state.kv import KeyValueStore
from node.state.snapshot import StatePart, cut, fold

_ENTRY_BYTES: Final = 48
"""What the encoding of a batch takes besides its ids, and more."""


class SnapshotMaking:
    """One snapshot that is being made. Begun right after the commit of its block."""

    def __init__(
        self,
        store: KeyValueStore,
        head: Header,
        network: Network,
        validators: Callable[[Hash], ValidatorSet],
    ) -> None:
        self.height: Final[Height] = head.height
        self._head = head
        self._network = network
        self._validators = validators
        self._hops = tuple(HopStore(store).below(head.height))
        self._blocks = BlockStore(store)
        # These three see the store as it is now.
        self._records = store.iterate(prefix=Column.STATE.value)
        self._batches = Index(store).batches()
        self._ids = dict(self._blocks.recent_ids(head.height))
        self._state_parts: list[StatePart] = []
        self._block_parts: list[BlocksPart] = []
        self._batch_parts: list[BatchesPart] = []
        self._headers: list[Header] = []

    def chunks(self) -> Iterator[bytes | None]:
        """Yield every chunk in order, and None in between wherever others may have their turn.

        Raises: StorageError where the store does not hold what the header commits to.
        """
        for item in cut((key[1:], packed) for key, packed in self._records):
            if item is None:
                yield None
                continue
            part, data = item
            self._state_parts.append(part)
            yield data
        root = fold(self._state_parts)
        if root != self._head.state_root:
            raise StorageError(
                f"the state records come to {root.hex()}, the head commits to {self._head.state_root.hex()}"
            )
        yield from self._recent_blocks()
        yield from self._all_batches()

    def manifest(self, *, is_alone: bool = False) -> Manifest | None:
        """Return the manifest once all chunks were made; None while no block stands above the snapshot's.

        `is_alone`: with this node's own certificate then. It proves as much, but others may hold another one, so
        their chunks do not serve who fetches this.
        """
        certificate = self._blocks.certificate(self.height)
        if certificate is None or (self._blocks.header(self.height + 1) is None and not is_alone):
            return None
        named = {name for header in self._headers for name in (header.validators_hash, header.next_validators_hash)}
        return Manifest(
            SNAPSHOT_VERSION,
            self._network,
            self._hops,
            first_quorum(certificate, self._validators(self._head.validators_hash)),
            tuple(self._headers),
            tuple(self._validators(name) for name in sorted(named)),
            tuple(self._state_parts),
            tuple(self._block_parts),
            tuple(self._batch_parts),
        )

    def _recent_blocks(self) -> Iterator[bytes | None]:
        waiting: list[bytes] = []
        for height in range(max(1, oldest_height(self.height)), self.height + 1):
            block = self._blocks.block(height)
            if block is None:
                raise StorageError(f"block {height} is missing, the snapshot is of height {self.height}")
            self._headers.append(block.header)
            ids = self._ids.get(height, [])
            joined = b"".join(tx_id + sha256(data) for tx_id, data in zip(ids, block.transactions, strict=True))
            if waiting and sum(map(len, waiting)) + len(joined) > SNAPSHOT_CHUNK_BYTES:
                yield self._close_blocks(waiting)
                waiting = []
            waiting.append(joined)
            yield None
        yield self._close_blocks(waiting)

    def _close_blocks(self, blocks: list[bytes]) -> bytes:
        data = codec.encode(BlocksChunk(tuple(blocks)))
        self._block_parts.append(BlocksPart(len(blocks), len(data)))
        return data

    def _all_batches(self) -> Iterator[bytes | None]:
        waiting: list[BatchEntry] = []
        size = 0
        for count, (batch_id, place, ids) in enumerate(self._batches, start=1):
            if len(waiting) == SNAPSHOT_BATCHES_PER_CHUNK_MAX or (waiting and size + len(ids) > SNAPSHOT_CHUNK_BYTES):
                yield self._close_batches(waiting)
                waiting, size = [], 0
            waiting.append(BatchEntry(batch_id, place.index, ids))
            size += len(ids) + _ENTRY_BYTES
            if count % 64 == 0:
                yield None
        if waiting:
            yield self._close_batches(waiting)

    def _close_batches(self, batches: list[BatchEntry]) -> bytes:
        data = codec.encode(BatchesChunk(tuple(batches)))
        self._batch_parts.append(BatchesPart(len(batches), len(data)))
        return data
