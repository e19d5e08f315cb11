"""What the ledger answers."""

from dataclasses import dataclass

from node.chain.block import Block, Header
from node.chain.certificate import Certificate
from node.chain.receipt import Receipt, ReceiptEvent
from node.chain.rules.framework import Event
from node.chain.verification import ParsedTransaction
from node.primitives import CatalogueId, Hash, Height, InstitutionId
from node.state.proof import StateProof


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of a transaction that somebody sent."""

    tx_id: Hash
    is_new: bool
    """False where it is waiting or committed already."""


@dataclass(frozen=True, slots=True)
class LocatedCredential:
    """Where a credential id was issued, and by whom."""

    height: Height
    transaction_index: int
    leaf_index: int
    batch_id: Hash
    issuer: InstitutionId
    definition: CatalogueId


@dataclass(frozen=True, slots=True)
class CredentialPath:
    """How a credential lies in its batch."""

    leaf_index: int
    count: int
    path: tuple[Hash, ...]
    """Sibling hashes, lowest first."""
    root: Hash


@dataclass(frozen=True, slots=True)
class ProvenValue:
    """A record, or that there is none, under one state root."""

    plain_key: str
    value: bytes | None
    height: Height
    state_root: Hash
    proof: StateProof


@dataclass(frozen=True, slots=True)
class Committed:
    """A block that is durable here."""

    block: Block
    block_hash: Hash
    certificate: Certificate
    transactions: tuple[ParsedTransaction, ...]
    receipts: tuple[Receipt, ...]
    upkeep: tuple[Event, ...] = ()
    """What happened besides the transactions; empty where the block was committed before."""

    @property
    def header(self) -> Header:
        """The block's header."""
        return self.block.header

    @property
    def events(self) -> tuple[ReceiptEvent, ...]:
        """What happened, in order."""
        return tuple(event for receipt in self.receipts for event in receipt.events)

    @property
    def credentials_issued(self) -> int:
        """Credentials issued or stacked in this block."""
        return self._count("issue") + self._count("stack")

    @property
    def credentials_revoked(self) -> int:
        """Credentials revoked in this block."""
        return self._count("revoke")

    def _count(self, action: str) -> int:
        return sum(event.count for event in self.events if event.topic == "credential" and event.action == action)
