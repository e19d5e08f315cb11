"""Finds things by name: credential → batch, transaction → block, and lists of what there is.

Derived from blocks and receipts, so it may lag behind the head after a crash and catches up when the
store is opened. Nothing is ever overwritten: a credential id that a second batch repeats gets a
second entry, and who asks says whose batch is meant: ids are public before they are in a block, so
the first that carries one need not be its issuer's.
Source: PROTOCOL §4.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from node.chain.receipt import Receipt
from node.chain.rules.credentials import CredentialIssue, split_ids
from node.chain.rules.stacking import StackPayload
from node.chain.verification import ParsedTransaction
from node.errors import Reason, Rejected, StorageError
from node.primitives import HASH_BYTES, Hash, Height
from node.state import keys
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch

INDEX_HEIGHT: Final = Column.META.key(b"index/2")
"""Height up to which the index is complete. A new number has the index of an older program made again."""
_PLACE_BYTES: Final = 12
BATCHES: Final = keys.batch(b"")
"""What the plain key of every batch record begins with."""
LISTED_PREFIXES: Final = ("acc/", "def/", "path/")
"""Records whose plain keys are listed in order."""
_BATCH: Final = b"B"
_PLACE: Final = b"P"
_NAME: Final = b"N"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a transaction stands."""

    height: Height
    index: int
    """In the block, from 0."""


@dataclass(frozen=True, slots=True, order=True)
class CredentialPlace:
    """Where a credential id stands."""

    place: Place
    leaf_index: int
    """In the batch, from 0."""


class Index:
    """The derived look-ups over one store."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    @property
    def height(self) -> Height | None:
        """Height up to which the index is complete; None where nothing is indexed."""
        data = self._store.get(INDEX_HEIGHT)
        return None if data is None else int.from_bytes(data, "big")

    def add_names(self, plain_keys: Iterator[str], batch: WriteBatch) -> None:
        """List records by plain key."""
        for plain_key in plain_keys:
            if plain_key.startswith(LISTED_PREFIXES):
                batch.put(Column.SUBJECT.key(_NAME + plain_key.encode("ascii")), b"")

    def add_block(
        self,
        height: Height,
        transactions: tuple[ParsedTransaction, ...],
        receipts: tuple[Receipt, ...],
        batch: WriteBatch,
    ) -> None:
        """Stage a block's entries and the height they complete."""
        for index, (parsed, receipt) in enumerate(zip(transactions, receipts, strict=True)):
            place = _pack(height, index)
            batch.put(Column.TRANSACTION.key(parsed.id), place)
            for leaf_index, credential_id in enumerate(credential_ids(parsed)):
                batch.put(Column.CREDENTIAL.key(credential_id + place + leaf_index.to_bytes(4, "big")), b"")
            for event in receipt.events:
                if event.subject.startswith(BATCHES):
                    batch_id = bytes.fromhex(event.subject.removeprefix(BATCHES))
                    batch.put(Column.SUBJECT.key(_BATCH + batch_id), place)
                    batch.put(Column.SUBJECT.key(_PLACE + place), batch_id)
                    batch.put(Column.BATCH_IDS.key(batch_id), b"".join(credential_ids(parsed)))
            self.add_names(iter([event.subject for event in receipt.events]), batch)
        batch.put(INDEX_HEIGHT, height.to_bytes(8, "big"))

    def add_batch(self, height: Height, transaction_index: int, batch_id: Hash, ids: bytes, batch: WriteBatch) -> None:
        """Stage the entries of a batch whose block is not here.

        Raises: Rejected(INVALID_VALUE) where it is here already, or another one is said to stand at the same place.
        """
        place = _pack(height, transaction_index)
        if self.batch(batch_id) is not None:
            raise Rejected(Reason.INVALID_VALUE, f"batch {batch_id.hex()} comes twice")
        if self._store.get(Column.SUBJECT.key(_PLACE + place)) is not None:
            raise Rejected(Reason.INVALID_VALUE, f"two batches in transaction {transaction_index} of block {height}")
        batch.put(Column.SUBJECT.key(_BATCH + batch_id), place)
        batch.put(Column.SUBJECT.key(_PLACE + place), batch_id)
        batch.put(Column.BATCH_IDS.key(batch_id), ids)
        for leaf_index, credential_id in enumerate(split_ids(ids)):
            batch.put(Column.CREDENTIAL.key(credential_id + place + leaf_index.to_bytes(4, "big")), b"")

    def stage_removal(
        self, height: Height, receipts: tuple[Receipt, ...], stays: Callable[[str], bool], batch: WriteBatch
    ) -> None:
        """Stage that a block's entries go; `stays` tells whether a record is there without the block too."""
        for index, receipt in enumerate(receipts):
            place = _pack(height, index)
            batch.delete(Column.TRANSACTION.key(receipt.transaction_id))
            for subject in {event.subject for event in receipt.events}:
                if subject.startswith(BATCHES) and not stays(subject):
                    self._stage_batch_removal(bytes.fromhex(subject.removeprefix(BATCHES)), place, batch)
                elif subject.startswith(LISTED_PREFIXES) and not stays(subject):
                    batch.delete(Column.SUBJECT.key(_NAME + subject.encode("ascii")))

    def _stage_batch_removal(self, batch_id: Hash, place: bytes, batch: WriteBatch) -> None:
        for leaf_index, credential_id in enumerate(self.batch_ids(batch_id)):
            batch.delete(Column.CREDENTIAL.key(credential_id + place + leaf_index.to_bytes(4, "big")))
        batch.delete(Column.SUBJECT.key(_BATCH + batch_id))
        batch.delete(Column.SUBJECT.key(_PLACE + place))
        batch.delete(Column.BATCH_IDS.key(batch_id))

    def complete(self, height: Height, batch: WriteBatch) -> None:
        """Stage that everything up to a height is indexed."""
        batch.put(INDEX_HEIGHT, height.to_bytes(8, "big"))

    def transaction(self, transaction_id: Hash) -> Place | None:
        """Return where a committed transaction stands."""
        data = self._store.get(Column.TRANSACTION.key(transaction_id))
        return None if data is None else _unpack(data)

    def credentials(self, credential_id: Hash) -> Iterator[CredentialPlace]:
        """Yield everywhere a credential id was issued, the first place first."""
        prefix = Column.CREDENTIAL.key(credential_id)
        for key, _ in self._store.iterate(prefix=prefix):
            rest = key[len(prefix) :]
            yield CredentialPlace(_unpack(rest[:_PLACE_BYTES]), int.from_bytes(rest[_PLACE_BYTES:], "big"))

    def batch_at(self, place: Place) -> Hash:
        """Return the id of the batch that the transaction at a place made."""
        data = self._store.get(Column.SUBJECT.key(_PLACE + _pack(place.height, place.index)))
        if data is None or len(data) != HASH_BYTES:
            raise StorageError(f"the index knows no batch of transaction {place.index} in block {place.height}")
        return data

    def batch_ids(self, batch_id: Hash) -> list[Hash]:
        """Return the credential ids of a batch in order. Raises: StorageError."""
        data = self._store.get(Column.BATCH_IDS.key(batch_id))
        if not data or len(data) % HASH_BYTES:
            raise StorageError(f"the index has no credential ids of batch {batch_id.hex()}")
        return split_ids(data)

    def batches(self) -> Iterator[tuple[Hash, Place, bytes]]:
        """Yield (batch id, where it was issued, its credential ids joined) of all batches that there are now."""
        found = self._store.iterate(prefix=Column.BATCH_IDS.value)
        return ((key[1:], self._place_of(key[1:]), ids) for key, ids in found)

    def _place_of(self, batch_id: Hash) -> Place:
        place = self.batch(batch_id)
        if place is None:
            raise StorageError(f"the index does not know where batch {batch_id.hex()} was issued")
        return place

    def batch(self, batch_id: Hash) -> Place | None:
        """Return where a batch was issued."""
        data = self._store.get(Column.SUBJECT.key(_BATCH + batch_id))
        return None if data is None else _unpack(data)

    def names(self, prefix: str, after: str = "") -> Iterator[str]:
        """Yield plain keys with a prefix (`acc/`, `def/`, `path/`) in order, those above `after` only."""
        column = Column.SUBJECT.key(_NAME)
        start = column + after.encode("utf-8") + b"\x00" if after else None
        for key, _ in self._store.iterate(prefix=column + prefix.encode("ascii"), start=start):
            yield key[len(column) :].decode("ascii")


def credential_ids(parsed: ParsedTransaction) -> list[Hash]:
    """Return the credential ids that a transaction issues, in the order of its batch."""
    match parsed.payload:
        case CredentialIssue(credential_ids=ids):
            return split_ids(ids)
        case StackPayload(result=leaf):
            return [leaf.credential_id()]
        case _:
            return []


def _pack(height: Height, index: int) -> bytes:
    return height.to_bytes(8, "big") + index.to_bytes(4, "big")


def _unpack(data: bytes) -> Place:
    return Place(int.from_bytes(data[:8], "big"), int.from_bytes(data[8:_PLACE_BYTES], "big"))
