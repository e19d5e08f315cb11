"""The recovery documents that this node was told to follow: judged, kept, and in force when the head is where they say.

One document an epoch, for ever: that governance signed two different ones is for people to sort out, so a
node that has seen both stops. A document for a height that this node has not reached is kept and judged
there; until then it pins that height's block. Source: PROTOCOL §5, "Quorum lost for good".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate, Network
from node.chain.epoch import check_members
from node.chain.hops import Hop, HopStore, RecoveryHop, first_quorum
from node.chain.records.network import Governance
from node.chain.recovery import (
    RecoveryDocument,
    check_document,
    check_signatures,
    decode_document,
    sentence_of_other_epoch,
)
from node.chain.rollback import stage_return
from node.chain.store import BlockStore
from node.errors import ConfigError, Reason, Rejected, StorageError
from node.limits import RECOVERIES_MAX, STATE_RECORD_BYTES_MAX
from node.primitives import Epoch, Height, InstitutionId
from node.state import keys
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch
from node.state.proof import ExistenceProof
from node.state.world_state import StateStore, WorldState

T = TypeVar("T")

_DOCUMENTS: Final = Column.META.key(b"recovery/")
"""`m` | recovery/ | epoch (4) → document."""
_SECOND: Final = Column.META.key(b"recovery-second/")
"""The same, of a document that differs from the one in force and is signed as well."""


class Loaded(StrEnum):
    """What became of a document."""

    IN_FORCE = "in_force"
    """The next block begins its epoch."""
    KEPT = "kept"
    """Its height lies above the head: judged when the head is there."""
    KNOWN = "known"
    """It was loaded before; nothing changed."""


@dataclass(frozen=True, slots=True)
class Loading:
    """What `Recoveries.load` did."""

    outcome: Loaded
    signers: tuple[InstitutionId, ...]
    """Whose governance keys signed; empty where that cannot be told yet."""
    discarded: int
    """Blocks that were taken back; then the store must be opened anew."""


class Recoveries:
    """The only writer of recovery documents in one store."""

    def __init__(self, store: KeyValueStore, blocks: BlockStore, state: StateStore, network: Network) -> None:
        self._store = store
        self._blocks = blocks
        self._state = state
        self._network = network
        self._hops = HopStore(store)

    def get(self, epoch: Epoch) -> RecoveryDocument | None:
        """Return the document of an epoch."""
        data = self._store.get(_key(_DOCUMENTS, epoch))
        return None if data is None else _read_own(data)

    def all(self) -> Iterator[RecoveryDocument]:
        """Yield every document, ascending by epoch."""
        for _, data in self._store.iterate(prefix=_DOCUMENTS):
            yield _read_own(data)

    def stage(self, document: RecoveryDocument, batch: WriteBatch) -> None:
        """Put a document that was judged into a batch."""
        stage_documents((document,), batch)

    def check_single(self) -> None:
        """Refuse a store that has seen two documents of one epoch. Raises: ConfigError."""
        for key, data in self._store.iterate(prefix=_SECOND):
            epoch = int.from_bytes(key[len(_SECOND) :], "big")
            raise ConfigError(_two(self.get(epoch), _read_own(data)))

    # --- in force ---

    def due(self, head: Header, certificate: Certificate | None) -> RecoveryDocument | None:
        """Return the document that the block above the head carries; None where it belongs to the head's epoch.

        Makes sure that its set and its hop are on disk. Raises: ConfigError where a document that was kept
        turns out to be none of this network; StorageError.
        """
        found, epoch = None, head.epoch
        for document in self.all():
            if document.height != head.height or document.epoch <= head.epoch:
                continue
            try:
                self._judge(document, head, epoch + 1)
            except Rejected as rejection:
                raise ConfigError(
                    f"the recovery document of epoch {document.epoch} in this node's store is refused now that its "
                    f"height {document.height} is reached ({rejection.reason}: {rejection.detail}); get the right one, "
                    "move the data away, load it with `pila recovery apply` and start again"
                ) from None
            self._prepare(document, head, certificate)
            found, epoch = document, document.epoch
        return found

    def check_first_block(self, document: RecoveryDocument, carried: RecoveryDocument) -> None:
        """Check that the first block of an epoch carries what this node follows, whoever of governance signed it.

        Raises: Rejected(BAD_BLOCK); ConfigError where governance has signed both.
        """
        if carried.digest() == document.digest():
            return
        if carried.epoch == document.epoch:
            try:
                check_document(carried, self._network)
                check_signatures(carried, self._governance_at(document.height)[0])
            except Rejected:
                pass
            else:
                self._stop_at(document, carried)
        raise Rejected(
            Reason.BAD_BLOCK,
            f"recovery document {carried.digest().hex()}, this node follows {document.digest().hex()}",
        )

    # --- loading ---

    def load(self, document: RecoveryDocument, head: Header, *, discard_above: bool) -> Loading:
        """Judge a document and keep it; with `discard_above` take back the blocks above its height.

        Raises: Rejected, and nothing has changed; ConfigError where another one of its epoch is kept and
        both are signed: from then on the store cannot be opened; StorageError.
        """
        check_document(document, self._network)
        kept = self.get(document.epoch)
        if kept is not None and kept.digest() == document.digest():
            return Loading(Loaded.KNOWN, (), 0)
        if document.height > head.height:
            return self._keep_for_later(document, kept, head)
        header = self._kept_header(document)
        governance = self._governance_at(document.height)[0]
        if kept is not None:
            check_signatures(document, governance)
            self._stop_at(kept, document)
        expected = self._epoch_above(header) + 1
        self._judge(document, header, expected)
        discarded = head.height - document.height
        if discarded and not discard_above:
            raise Rejected(
                Reason.WRONG_HEIGHT,
                f"this node's head is at height {head.height}, the document keeps height {document.height}: "
                f"{discarded} blocks that were decided would be taken back; say --discard-above if that is agreed",
            )
        batch = WriteBatch()
        if discarded:
            stage_return(self._store, self._blocks, self._state, self._hops, head, header, batch)
        self.stage(document, batch)
        self._store.write(batch, sync=True)
        return Loading(Loaded.IN_FORCE, check_signatures(document, governance), discarded)

    def _keep_for_later(self, document: RecoveryDocument, kept: RecoveryDocument | None, head: Header) -> Loading:
        if kept is not None:
            raise Rejected(Reason.ALREADY_EXISTS, _two(kept, document))
        if document.epoch <= head.epoch:
            raise Rejected(
                Reason.WRONG_EPOCH,
                f"recovery document for epoch {document.epoch}, the head at height {head.height} is in {head.epoch}",
            )
        if sum(1 for _ in self.all()) >= RECOVERIES_MAX:
            raise Rejected(Reason.LIMIT_EXCEEDED, f"{RECOVERIES_MAX} recovery documents are kept already")
        batch = WriteBatch()
        self.stage(document, batch)
        self._store.write(batch, sync=True)
        return Loading(Loaded.KEPT, (), 0)

    def _kept_header(self, document: RecoveryDocument) -> Header:
        """Return this node's header of the block that a document keeps. Raises: Rejected(WRONG_PARENT, NOT_FOUND)."""
        header = self._blocks.header(document.height)
        if header is None:
            raise Rejected(
                Reason.NOT_FOUND,
                f"height {document.height} is pruned on this node: move the data away, load the document, start again",
            )
        if header.hash() != document.block_hash:
            raise Rejected(
                Reason.WRONG_PARENT,
                f"height {document.height} is {header.hash().hex()} on this node, the document keeps "
                f"{document.block_hash.hex()}: move the data away, load the document, start again",
            )
        return header

    def _epoch_above(self, header: Header) -> Epoch:
        """Return the epoch that the heights above a header have by the documents loaded so far."""
        above = [document.epoch for document in self.all() if document.height == header.height]
        return max([header.epoch, *above])

    def _judge(self, document: RecoveryDocument, header: Header, expected: Epoch) -> None:
        """Check a document against the block that it keeps. Raises: Rejected."""
        if document.block_hash != header.hash():
            raise Rejected(
                Reason.WRONG_PARENT, f"height {header.height} is {header.hash().hex()}, not {document.block_hash.hex()}"
            )
        if document.epoch != expected:
            raise Rejected(
                Reason.WRONG_EPOCH,
                f"recovery document for epoch {document.epoch}, epoch {expected} is next above height {header.height}",
            )
        check_signatures(document, self._governance_at(header.height)[0])
        check_members(WorldState(_StateAt(self._state, header.height)), document.validators)

    def _prepare(self, document: RecoveryDocument, head: Header, certificate: Certificate | None) -> None:
        """Put set and hop on disk, unless they are there."""
        governance, proof = self._governance_at(head.height)
        old = self._blocks.validators(head.validators_hash)
        assert certificate is not None, "a height above 0 has a certificate"
        assert old is not None
        hop = RecoveryHop(head, first_quorum(certificate, old), document, codec.encode(governance), proof.branch)
        if self._hops.holds(hop):
            return
        batch = WriteBatch()
        self._hops.stage(hop, batch)
        self._blocks.stage_validators(document.validators, batch)
        self._store.write(batch, sync=True)

    def _governance_at(self, height: Height) -> tuple[Governance, ExistenceProof]:
        """Return the governance keys at a height, proven. Raises: Rejected(NOT_FOUND) too far back."""
        try:
            proof = self._state.prove(keys.GOVERNANCE_KEYS, height)
        except Rejected as rejection:
            raise Rejected(
                Reason.NOT_FOUND,
                f"height {height} lies too far below the head to go back to it ({rejection.detail}): "
                "move the data away, load the document, start again",
            ) from None
        assert isinstance(proof, ExistenceProof)
        return codec.decode(proof.value, Governance, bytes_max=STATE_RECORD_BYTES_MAX), proof

    def _stop_at(self, first: RecoveryDocument, second: RecoveryDocument) -> None:
        """Remember for ever that governance has signed two documents of one epoch. Raises: ConfigError."""
        batch = WriteBatch()
        batch.put(_key(_SECOND, second.epoch), codec.encode(second))
        self._store.write(batch, sync=True)
        raise ConfigError(_two(first, second))


class _StateAt:
    """The committed state as it was at a recent height; for a few records."""

    def __init__(self, state: StateStore, height: Height) -> None:
        self._state = state
        self._height = height

    def read(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the record under a plain key, or None."""
        proof = self._state.prove(plain_key, self._height)
        if not isinstance(proof, ExistenceProof):
            return None
        return codec.decode(proof.value, shape, bytes_max=STATE_RECORD_BYTES_MAX)


def check_followed(hops: Iterable[Hop], followed: Iterable[RecoveryDocument]) -> None:
    """Refuse a way over recoveries that this node was not told to follow: nobody is taken along without a word.

    Raises: Rejected(WRONG_EPOCH).
    """
    known = {document.digest() for document in followed}
    for hop in hops:
        if isinstance(hop, RecoveryHop) and hop.document.digest() not in known:
            epoch = hop.document.epoch
            raise Rejected(Reason.WRONG_EPOCH, sentence_of_other_epoch(epoch, epoch - 1))


def stage_documents(documents: Iterable[RecoveryDocument], batch: WriteBatch) -> None:
    """Put documents that were followed elsewhere into another store's batch."""
    for document in documents:
        batch.put(_key(_DOCUMENTS, document.epoch), codec.encode(document))


def _two(first: RecoveryDocument | None, second: RecoveryDocument) -> str:
    assert first is not None
    return (
        f"there are two recovery documents of epoch {second.epoch}: {first.digest().hex()} above height "
        f"{first.height} and {second.digest().hex()} above height {second.height}; governance must say which one "
        "counts, then move the data away, load that one with `pila recovery apply` and start again"
    )


def _key(column: bytes, epoch: Epoch) -> bytes:
    return column + epoch.to_bytes(4, "big")


def _read_own(data: bytes) -> RecoveryDocument:
    try:
        return decode_document(data)
    except Rejected as error:
        raise StorageError(f"a recovery document in the store cannot be read: {error}") from error
