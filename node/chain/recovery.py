"""A recovery document: how a network goes on whose quorum is lost for good.

Offline governance keys, at least as many as the state says, pin the last block that counts and name who
votes above it, in the next epoch. Every consensus signature names its epoch, so votes from before are void.
Operators load the document by hand; the first block of the epoch carries it, and so does every bundle
above. Source: PROTOCOL §5, "Quorum lost for good".
"""

from itertools import pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node import codec
from node.chain.certificate import Network
from node.chain.records.network import Governance
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import Algorithm, Signer, check_public_key, key_id, verify
from node.errors import Reason, Rejected
from node.limits import (
    GOVERNANCE_KEYS_MAX,
    RECOVERY_DOCUMENT_BYTES_MAX,
    RECOVERY_REASON_CHARS_MAX,
    VALIDATORS_MAX,
    VALIDATORS_MIN,
)
from node.primitives import UINT_MAX, ChainId, Hash, InstitutionId, KeyId, Signature

RECOVERY_VERSION: Final = 1


class RecoverySignature(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One governance key's signature."""

    key_id: KeyId
    signature: Signature


class RecoveryDocument(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What governance keys sign; in the first block of its epoch the only evidence."""

    version: Annotated[int, Meta(ge=1, le=255)]
    chain_id: ChainId
    genesis_hash: Hash
    epoch: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    """The epoch that begins: one above that of the blocks it follows."""
    height: Annotated[int, Meta(ge=1, le=UINT_MAX - 1)]
    """Of the last block that is kept; the epoch's first block is the next."""
    block_hash: Hash
    """Of that block."""
    validators: ValidatorSet
    """Who votes from the next height on."""
    reason: Annotated[str, Meta(min_length=1, max_length=RECOVERY_REASON_CHARS_MAX)]
    """Why, for whoever reads it years later."""
    signatures: Annotated[tuple[RecoverySignature, ...], Meta(max_length=GOVERNANCE_KEYS_MAX)]
    """By governance keys in force at `height`, ascending by key id, none twice."""

    def digest(self) -> Hash:
        """Return what is signed: everything but the signatures. Two documents are the same if this is."""
        return tagged(Tag.RECOVERY, codec.encode((self.chain_id, self.genesis_hash, self.epoch, *self._rest())))

    def _rest(self) -> tuple[object, ...]:
        return (self.version, self.height, self.block_hash, self.validators, self.reason)


def decode_document(data: bytes) -> RecoveryDocument:
    """Read a document. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    return codec.decode(data, RecoveryDocument, bytes_max=RECOVERY_DOCUMENT_BYTES_MAX)


def with_signature(document: RecoveryDocument, signer: Signer) -> RecoveryDocument:
    """Return the document signed by one more key; a key that has signed it already changes nothing."""
    identity = key_id(signer.algorithm, signer.public_key)
    held = {item.key_id: item for item in document.signatures}
    held.setdefault(identity, RecoverySignature(identity, signer.sign(document.digest())))
    return msgspec.structs.replace(document, signatures=tuple(held[name] for name in sorted(held)))


def check_document(document: RecoveryDocument, network: Network) -> None:
    """Check what a document says by itself, whoever signed it.

    Raises: Rejected(UNKNOWN_VERSION, WRONG_CHAIN, INVALID_VALUE, BAD_PUBLIC_KEY).
    """
    if document.version != RECOVERY_VERSION:
        raise Rejected(
            Reason.UNKNOWN_VERSION, f"recovery document of version {document.version}, known is {RECOVERY_VERSION}"
        )
    if document.chain_id != network.chain_id:
        raise Rejected(Reason.WRONG_CHAIN, f"recovery document of {document.chain_id}, this is {network.chain_id}")
    if document.genesis_hash != network.genesis_hash:
        raise Rejected(
            Reason.WRONG_CHAIN,
            f"recovery document of the network {document.genesis_hash.hex()}, this is {network.genesis_hash.hex()}",
        )
    members = document.validators.members
    if not VALIDATORS_MIN <= len(members) <= VALIDATORS_MAX:
        raise Rejected(
            Reason.INVALID_VALUE, f"{len(members)} validators, {VALIDATORS_MIN} to {VALIDATORS_MAX} are possible"
        )
    if any(low.institution >= high.institution for low, high in pairwise(members)):
        raise Rejected(Reason.INVALID_VALUE, "validators are not ascending by institution, or one stands twice")
    if len({member.public_key for member in members}) != len(members):
        raise Rejected(Reason.INVALID_VALUE, "two validators have one consensus key")
    for member in members:
        check_public_key(Algorithm.ED25519, member.public_key)


def check_signatures(document: RecoveryDocument, governance: Governance) -> tuple[InstitutionId, ...]:
    """Check that enough governance keys signed, each once; return their institutions in the record's order.

    `governance` is the record in the state after the document's height.
    Raises: Rejected(WRONG_SIGNERS, UNKNOWN_KEY, BAD_SIGNATURE).
    """
    signatures = document.signatures
    for low, high in pairwise(signatures):
        if low.key_id >= high.key_id:
            raise Rejected(
                Reason.WRONG_SIGNERS, f"key {high.key_id.hex()} is not above {low.key_id.hex()}: each signs once"
            )
    known = {key_id(key.algorithm, key.public_key): key for key in governance.keys}
    digest = document.digest()
    for item in signatures:
        key = known.get(item.key_id)
        if key is None:
            raise Rejected(
                Reason.UNKNOWN_KEY,
                f"key {item.key_id.hex()} is not among the {len(known)} governance keys at height {document.height}",
            )
        if not verify(key.algorithm, key.public_key, digest, item.signature):
            raise Rejected(
                Reason.BAD_SIGNATURE, f"signature of {key.institution} with governance key {item.key_id.hex()}"
            )
    if len(signatures) < governance.threshold:
        raise Rejected(
            Reason.WRONG_SIGNERS,
            f"{len(signatures)} of {len(known)} governance keys signed, {governance.threshold} are needed",
        )
    signed = {item.key_id for item in signatures}
    return tuple(key.institution for identity, key in known.items() if identity in signed)


def sentence_of_other_epoch(theirs: int, ours: int) -> str:
    """Say what to do where others are in another epoch than this node."""
    if theirs > ours:
        return (
            f"the network is in epoch {theirs}, this node in epoch {ours}: governance has recovered it; stop this "
            f"node, load the recovery document of epoch {ours + 1} with `pila recovery apply`, and start again"
        )
    return (
        f"they are in epoch {theirs}, this node in epoch {ours}: they lack the recovery document of epoch {theirs + 1}"
    )
