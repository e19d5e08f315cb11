"""The envelope of a transaction: who asks for what until when, and who signed.

The payload stays bytes here; what a kind means lives in `node/chain/rules/`. Source: PROTOCOL §3.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from node import codec
from node.chain.certificate import Network
from node.crypto.hashing import Tag, tagged
from node.limits import SIGNATURES_PER_TRANSACTION_MAX, TRANSACTION_BYTES_MAX
from node.primitives import ChainId, Epoch, Hash, Height, InstitutionId, KeyId, Signature

TRANSACTION_VERSION: Final = 1


class TransactionSignature(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One key's signature over the transaction id."""

    institution: InstitutionId
    """Whose key it is; the signer's, a co-signing authority's, a forwarding institution's."""
    key_id: KeyId
    signature: Signature


class Transaction(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an institution asks the network to do."""

    version: Annotated[int, Meta(ge=1, le=65_535)]
    chain_id: ChainId
    signer: InstitutionId
    """In whose name; rates and fair shares count against it."""
    kind: Annotated[str, Meta(max_length=40, pattern=r"^[a-z]+\.[a-z]+$")]
    """Such as `credential.issue`."""
    valid_until_height: Height
    """Last height that may include it; at most 1,000 above the height of inclusion."""
    payload: Annotated[bytes, Meta(max_length=TRANSACTION_BYTES_MAX)]
    """Canonical bytes of the kind's payload struct."""
    signatures: Annotated[
        tuple[TransactionSignature, ...],
        Meta(min_length=1, max_length=SIGNATURES_PER_TRANSACTION_MAX),
    ]
    """Exactly as many as the kind's rule needs, ascending by key id, no key twice."""


class TransactionSigner(Protocol):
    """A key that signs transactions in an institution's name."""

    @property
    def institution(self) -> InstitutionId:
        """Whose key it is."""
        ...

    @property
    def key_id(self) -> KeyId:
        """16 bytes."""
        ...

    def sign(self, digest: Hash) -> Signature:
        """Sign a transaction id."""
        ...


def decode_transaction(data: bytes) -> Transaction:
    """Read a transaction. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(data, Transaction, bytes_max=TRANSACTION_BYTES_MAX)


def transaction_id(transaction: Transaction, network: Network, epoch: Epoch) -> Hash:
    """Return the id, which is also the digest that is signed: everything but the signatures."""
    body = (
        transaction.version,
        transaction.chain_id,
        transaction.signer,
        transaction.kind,
        transaction.valid_until_height,
        transaction.payload,
    )
    return tagged(Tag.TRANSACTION, codec.encode((network.chain_id, network.genesis_hash, epoch, body)))


def make_transaction(
    network: Network,
    epoch: Epoch,
    *,
    signer: InstitutionId,
    kind: str,
    valid_until_height: Height,
    payload: msgspec.Struct,
    signers: Sequence[TransactionSigner],
) -> Transaction:
    """Build and sign a transaction with every key given."""
    unsigned = Transaction(
        TRANSACTION_VERSION,
        network.chain_id,
        signer,
        kind,
        valid_until_height,
        codec.encode(payload),
        (),
    )
    digest = transaction_id(unsigned, network, epoch)
    signatures = sorted(
        (TransactionSignature(key.institution, key.key_id, key.sign(digest)) for key in signers),
        key=lambda signature: signature.key_id,
    )
    return msgspec.structs.replace(unsigned, signatures=tuple(signatures))
