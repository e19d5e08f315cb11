"""What a block is: a header that commits to everything, and the body it commits to.

The view is not in it: a re-proposal must be byte-identical. Source: PROTOCOL §4.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node import codec
from node.chain.certificate import Certificate
from node.crypto import merkle
from node.crypto.hashing import Tag, sha256, tagged
from node.limits import (
    BLOCK_BYTES_MAX,
    BLOCK_TRANSACTIONS_MAX,
    EVIDENCE_PER_BLOCK_MAX,
    RECOVERY_DOCUMENT_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
)
from node.primitives import NO_HASH, ChainId, Epoch, Hash, Height, InstitutionId, TimestampMs

PROTOCOL_VERSION: Final = 2
"""The newest version of the protocol that this program knows; it knows every one below it too.

1: as the first networks. 2: an application that was withdrawn leaves its id free (`rules.institutions`).
"""


class Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What validators sign (by its hash) and light clients read."""

    version: Annotated[int, Meta(ge=1, le=65_535)]
    """Protocol version that judges this block."""
    chain_id: ChainId
    epoch: Epoch
    height: Height
    parent_hash: Hash
    """Hash of the header below; in block 0 H("pila/genesis", canonical genesis document)."""
    timestamp_ms: TimestampMs
    """The proposer's clock; greater than the parent's."""
    transactions_root: Hash
    """RFC 6962 over leaves (transaction id | SHA-256 of the complete bytes)."""
    evidence_root: Hash
    """RFC 6962 over the evidence bytes."""
    state_root: Hash
    """Root of the state *after* this block."""
    receipts_root: Hash
    """RFC 6962 over the canonical receipts."""
    validators_hash: Hash
    """Hash of the set that votes on this height."""
    next_validators_hash: Hash
    """Hash of the set that votes on the next height."""
    parent_certificate_hash: Hash
    """Hash of the certificate in the body; 32 zero bytes where there is none."""
    proposer: InstitutionId | None
    """Original proposer; nil in block 0 only."""

    def hash(self) -> Hash:
        """Return the block hash: H("pila/header", canonical header)."""
        return _hash_of(self)


@lru_cache(maxsize=1_024)
def _hash_of(header: Header) -> Hash:
    """Kept for the latest: consensus asks for the hash of one block at every message about it."""
    return tagged(Tag.HEADER, codec.encode(header))


class Block(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A header and its body."""

    header: Header
    transactions: Annotated[
        tuple[Annotated[bytes, Meta(max_length=TRANSACTION_BYTES_MAX)], ...],
        Meta(max_length=BLOCK_TRANSACTIONS_MAX),
    ]
    """Complete canonical bytes of each transaction, in order of execution."""
    evidence: Annotated[
        tuple[Annotated[bytes, Meta(max_length=RECOVERY_DOCUMENT_BYTES_MAX)], ...],
        Meta(max_length=EVIDENCE_PER_BLOCK_MAX),
    ]
    """What validators did wrong; in the first block of an epoch its recovery document alone."""
    parent_certificate: Certificate | None
    """The canonical commit certificate of the parent; nil in blocks 0, 1 and the first of an epoch."""

    def hash(self) -> Hash:
        """Return the block hash, which is the header's."""
        return self.header.hash()


def decode_block(data: bytes) -> Block:
    """Read a block. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(data, Block, bytes_max=BLOCK_BYTES_MAX)


def transactions_root(identified: Sequence[tuple[Hash, bytes]]) -> Hash:
    """Return the root over (transaction id, complete bytes) in block order."""
    return merkle.root([merkle.leaf_hash(tx_id + sha256(data)) for tx_id, data in identified])


def evidence_root(evidence: Sequence[bytes]) -> Hash:
    """Return the root over evidence bytes in block order."""
    return merkle.root([merkle.leaf_hash(item) for item in evidence])


def certificate_hash(certificate: Certificate | None) -> Hash:
    """Return the certificate's hash, or 32 zero bytes for none."""
    return NO_HASH if certificate is None else certificate.hash()
