"""A quorum's signatures over one block hash at one (epoch, height, view).

Votes of different views are never added up: by nobody, anywhere. Source: PROTOCOL §5.
"""

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import Algorithm, verify
from node.errors import Reason, Rejected
from node.limits import VALIDATORS_MAX
from node.primitives import ChainId, Epoch, Hash, Height, PublicKey, Signature, ValidatorIndex, View

VerifyDigest: TypeAlias = Callable[[PublicKey, Hash, Signature], bool]
"""How a vote's signature is checked; the simulator may put a keyed hash here."""


class Phase(IntEnum):
    """Which votes a certificate is made of."""

    PREPARE = 1
    COMMIT = 2


class Network(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What binds every signature to one chain."""

    chain_id: ChainId
    genesis_hash: Hash


class VoteSignature(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One member's signature inside a certificate."""

    validator: ValidatorIndex
    """Index in the height's validator set."""
    signature: Signature


class Certificate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A prepared or commit certificate."""

    algorithm: Annotated[int, Meta(ge=1, le=255)]
    """Of the signatures; 1 = Ed25519."""
    phase: Annotated[int, Meta(ge=1, le=2)]
    epoch: Epoch
    height: Height
    view: View
    block_hash: Hash
    signatures: Annotated[tuple[VoteSignature, ...], Meta(max_length=VALIDATORS_MAX)]
    """At least Q, ascending by validator index, none twice."""

    def check(
        self,
        network: Network,
        validators: ValidatorSet,
        verify_digest: VerifyDigest | None = None,
    ) -> None:
        """Check the certificate against the set of its height.

        Raises: Rejected(BAD_CERTIFICATE): too few, unordered, unknown members or a bad signature.
        """
        if self.algorithm != Algorithm.ED25519:
            raise Rejected(Reason.BAD_CERTIFICATE, f"algorithm {self.algorithm} is not known")
        indexes = [vote.validator for vote in self.signatures]
        if any(low >= high for low, high in pairwise(indexes)):
            raise Rejected(Reason.BAD_CERTIFICATE, "signers are not ascending")
        if indexes and indexes[-1] >= len(validators):
            raise Rejected(Reason.BAD_CERTIFICATE, f"signer {indexes[-1]} of {len(validators)} validators")
        if len(indexes) < validators.quorum:
            raise Rejected(Reason.BAD_CERTIFICATE, f"{len(indexes)} signatures, {validators.quorum} needed")
        digest = vote_digest(network, Phase(self.phase), self.epoch, self.height, self.view, self.block_hash)
        check = verify_digest or verify_consensus_signature
        for vote in self.signatures:
            member = validators.members[vote.validator]
            if not check(member.public_key, digest, vote.signature):
                raise Rejected(Reason.BAD_CERTIFICATE, f"signature of {member.institution} is bad")

    def hash(self) -> Hash:
        """H("pila/certificate", canonical bytes): what the next header commits to."""
        return tagged(Tag.CERTIFICATE, codec.encode(self))


@lru_cache(maxsize=1_024)
def vote_digest(network: Network, phase: Phase, epoch: Epoch, height: Height, view: View, block_hash: Hash) -> Hash:
    """Return the digest that a Prepare or a Commit signs: one for all voters, so the latest are kept."""
    tag = Tag.PREPARE if phase is Phase.PREPARE else Tag.COMMIT
    return tagged(
        tag,
        codec.encode((network.chain_id, network.genesis_hash, epoch, height, view, block_hash)),
    )


def verify_consensus_signature(public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
    """Check a consensus signature with the network's one rule: libsodium's Ed25519."""
    return verify(Algorithm.ED25519, public_key, digest, signature)
