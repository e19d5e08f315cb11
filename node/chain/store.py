"""Blocks, headers, certificates and receipts on disk, and the head; written in the block's one batch.

Own bytes that cannot be read stop the node (StorageError). Written by the ledger only.
Source: PROTOCOL §4.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from node import codec
from node.chain.block import Block, Header
from node.chain.certificate import Certificate
from node.chain.receipt import Receipt
from node.chain.recent_ids import oldest_height
from node.chain.validator_set import ValidatorSet
from node.errors import Rejected, StorageError
from node.limits import BLOCK_BYTES_MAX, RECEIPTS_BYTES_MAX
from node.primitives import HASH_BYTES, Hash, Height
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch

T = TypeVar("T")

HEAD: Final = Column.META.key(b"chain")
"""Height and hash of the last committed block."""
PRUNED_BELOW: Final = Column.META.key(b"pruned-below")
"""Lowest height, besides 0, whose block is here; absent where every block is."""
_VALIDATORS: Final = b"validators/"


class StoredHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last committed block."""

    height: Height
    hash: Hash
    genesis_hash: Hash
    """Whose chain this is."""


class BlockStore:
    """Reads what was committed and stages what is being committed."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def head(self) -> StoredHead | None:
        """Return the stored head; None in a new store."""
        return self._read(HEAD, StoredHead, bytes_max=1_024)

    def pruned_below(self) -> Height:
        """Return the lowest height, besides 0, whose block is here; 0 where every block is."""
        data = self._store.get(PRUNED_BELOW)
        return 0 if data is None else int.from_bytes(data, "big")

    def stage(
        self,
        block: Block,
        block_hash: Hash,
        certificate: Certificate | None,
        receipts: tuple[Receipt, ...],
        transaction_ids: tuple[Hash, ...],
        genesis_hash: Hash,
        batch: WriteBatch,
    ) -> None:
        """Put everything about a block but the state into its batch."""
        height = block.header.height
        batch.put(Column.BLOCK.at(height), codec.encode(block))
        batch.put(Column.HEADER.at(height), codec.encode(block.header))
        batch.put(Column.BLOCK_HASH.key(block_hash), height.to_bytes(8, "big"))
        batch.put(Column.RECEIPTS.at(height), codec.encode(receipts))
        if certificate is not None:
            batch.put(Column.CERTIFICATE.at(height), codec.encode(certificate))
        if block.parent_certificate is not None:
            # The one inside this block is the canonical one from now on.
            batch.put(Column.CERTIFICATE.at(height - 1), codec.encode(block.parent_certificate))
        if transaction_ids:
            batch.put(Column.RECENT.at(height), b"".join(transaction_ids))
        outdated = oldest_height(height) - 1
        if outdated >= 0:
            batch.delete(Column.RECENT.at(outdated))
        batch.put(HEAD, codec.encode(StoredHead(height, block_hash, genesis_hash)))

    def stage_header(self, header: Header, batch: WriteBatch) -> None:
        """Keep the header of a block that is not here itself."""
        batch.put(Column.HEADER.at(header.height), codec.encode(header))
        batch.put(Column.BLOCK_HASH.key(header.hash()), header.height.to_bytes(8, "big"))

    def stage_base(self, header: Header, certificate: Certificate, genesis_hash: Hash, batch: WriteBatch) -> None:
        """Make a header the head of a chain whose blocks begin above it."""
        self.stage_header(header, batch)
        batch.put(Column.CERTIFICATE.at(header.height), codec.encode(certificate))
        batch.put(PRUNED_BELOW, (header.height + 1).to_bytes(8, "big"))
        batch.put(HEAD, codec.encode(StoredHead(header.height, header.hash(), genesis_hash)))

    def stage_pruning(self, first: Height, below: Height, batch: WriteBatch) -> None:
        """Delete everything about the blocks from `first` up to `below`, which stays, as does its parent's header."""
        for height in range(first, below):
            for receipt in self.receipts(height) or ():
                batch.delete(Column.TRANSACTION.key(receipt.transaction_id))
            for column in (Column.BLOCK, Column.RECEIPTS, Column.CERTIFICATE):
                batch.delete(column.at(height))
        for height in range(max(1, first - 1), below - 1):
            header = self.header(height)
            if header is not None:
                batch.delete(Column.BLOCK_HASH.key(header.hash()))
                batch.delete(Column.HEADER.at(height))
        batch.put(PRUNED_BELOW, below.to_bytes(8, "big"))

    def stage_return(
        self, head: Height, header: Header, remembered: Mapping[Height, Sequence[Hash]], batch: WriteBatch
    ) -> None:
        """Put into a batch what takes the head back to an earlier header.

        `remembered`: ids of the transactions that still matter above it, by height.
        """
        stored = self.head()
        assert stored is not None
        for height in range(header.height + 1, head + 1):
            discarded = self.header(height)
            assert discarded is not None
            batch.delete(Column.BLOCK_HASH.key(discarded.hash()))
            for column in (Column.BLOCK, Column.HEADER, Column.RECEIPTS, Column.CERTIFICATE, Column.RECENT):
                batch.delete(column.at(height))
        for height, ids in remembered.items():
            if ids:
                batch.put(Column.RECENT.at(height), b"".join(ids))
        batch.put(HEAD, codec.encode(StoredHead(header.height, header.hash(), stored.genesis_hash)))

    def stage_validators(self, validators: ValidatorSet, batch: WriteBatch) -> None:
        """Keep a validator set, found again by the hash that headers carry."""
        batch.put(Column.META.key(_VALIDATORS + validators.hash), codec.encode(validators))

    def block(self, height: Height) -> Block | None:
        """Return the block of a height."""
        return self._read(Column.BLOCK.at(height), Block, bytes_max=BLOCK_BYTES_MAX)

    def header(self, height: Height) -> Header | None:
        """Return the header of a height."""
        return self._read(Column.HEADER.at(height), Header, bytes_max=BLOCK_BYTES_MAX)

    def certificate(self, height: Height) -> Certificate | None:
        """Return the canonical commit certificate of a height, at the head this node's own."""
        return self._read(Column.CERTIFICATE.at(height), Certificate, bytes_max=BLOCK_BYTES_MAX)

    def receipts(self, height: Height) -> tuple[Receipt, ...] | None:
        """Return a block's receipts in block order."""
        return self._read(Column.RECEIPTS.at(height), tuple[Receipt, ...], bytes_max=RECEIPTS_BYTES_MAX)

    def validators(self, validators_hash: Hash) -> ValidatorSet | None:
        """Return the validator set with a hash."""
        return self._read(Column.META.key(_VALIDATORS + validators_hash), ValidatorSet, bytes_max=BLOCK_BYTES_MAX)

    def height_of(self, block_hash: Hash) -> Height | None:
        """Return the height of a block."""
        data = self._store.get(Column.BLOCK_HASH.key(block_hash))
        return None if data is None else int.from_bytes(data, "big")

    def recent_ids(self, head: Height) -> Iterator[tuple[Height, list[Hash]]]:
        """Yield (height, transaction ids) of the blocks whose ids still matter above a head, ascending."""
        first = Column.RECENT.at(oldest_height(head))
        for key, data in self._store.iterate(prefix=Column.RECENT.value, start=first):
            ids = [data[offset : offset + HASH_BYTES] for offset in range(0, len(data), HASH_BYTES)]
            yield int.from_bytes(key[1:9], "big"), ids

    def _read(self, key: bytes, shape: type[T], *, bytes_max: int) -> T | None:
        data = self._store.get(key)
        if data is None:
            return None
        try:
            return codec.decode(data, shape, bytes_max=bytes_max)
        except Rejected as error:
            raise StorageError(
                f"the chain record {key[:1].decode()}/{key[1:].hex()} cannot be read: {error}"
            ) from error
