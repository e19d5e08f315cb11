"""The way from genesis to any header: a hop wherever the next header's voters cannot be told from the one before.

A light client knows who votes above a height; each hop, certified by those voters, says who votes above
the hop. Following them costs a quorum of signatures a hop, whatever the number of blocks. Pure; no clock,
no network. Source: PROTOCOL §4, §8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.block import PROTOCOL_VERSION, Header
from node.chain.certificate import Certificate, Network, Phase, VerifyDigest
from node.chain.records.network import Governance
from node.chain.recovery import RecoveryDocument, check_document, check_signatures
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected, StorageError
from node.limits import (
    HAND_OVERS_PER_PROOF_MAX,
    HOP_BYTES_MAX,
    STATE_RECORD_BYTES_MAX,
    VALIDATORS_MAX,
    VALIDATORS_MIN,
)
from node.primitives import Epoch, Hash, Height, InstitutionId
from node.state import keys
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch
from node.state.proof import Branch, verify_presence

FIRST_EPOCH: Final = 0


class HandOver(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """One change of the validator set: the last header of the old set, which commits to the new one."""

    header: Header
    certificate: Certificate
    """Of exactly Q members of the old set."""
    validators: ValidatorSet
    """The new set."""


class RecoveryHop(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """One recovery: governance keys, proven under the last header that is kept, name who votes above it."""

    header: Header
    """The last one of the old epoch that is kept."""
    certificate: Certificate
    """Of exactly Q members of that header's set."""
    document: RecoveryDocument
    governance: Annotated[bytes, Meta(max_length=STATE_RECORD_BYTES_MAX)]
    """Canonical record `gov/keys` in the state after the header."""
    branch: Branch
    """That it is."""

    @property
    def validators(self) -> ValidatorSet:
        """The new set."""
        return self.document.validators


Hop: TypeAlias = HandOver | RecoveryHop


class StoredHop(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A hop as it is stored, and as a snapshot carries it."""

    hop: Hop


@dataclass(frozen=True, slots=True)
class Recovery:
    """A recovery that a light client passed."""

    epoch: Epoch
    """The one that began."""
    height: Height
    """Of the last block that was kept."""
    signers: tuple[InstitutionId, ...]
    """Whose governance keys signed."""
    reason: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What a light client knows after some hops: who votes on the heights above one."""

    network: Network
    epoch: Epoch
    """Of the heights above."""
    height: Height
    """Of the last hop; 0 before the first."""
    validators: ValidatorSet
    """Who votes on the heights above, until the next hop."""
    recoveries: tuple[Recovery, ...] = ()
    """Those passed on the way, ascending by epoch."""
    recovered_above: Header | None = None
    """The last header that is kept, where the last hop is a recovery."""


def follow_hops(
    genesis_header: Header,
    validators: ValidatorSet,
    hops: Sequence[Hop],
    genesis_hash: Hash | None,
    verify_digest: VerifyDigest | None = None,
) -> Standing:
    """Follow the validator sets from header 0; `validators` are those of height 1.

    `genesis_hash` is the trust anchor; None follows the header given, which proves nothing about which
    network it is. Takes time in proportion to the number of hops.
    Raises: Rejected(UNKNOWN_NETWORK), Rejected(BAD_PROOF), Rejected(BAD_CERTIFICATE),
    Rejected(UNKNOWN_VERSION).
    """
    found = genesis_header.hash()
    if genesis_hash is not None and found != genesis_hash:
        raise Rejected(Reason.UNKNOWN_NETWORK, f"genesis hash {found.hex()}, trusted is {genesis_hash.hex()}")
    if (genesis_header.height, genesis_header.epoch, genesis_header.proposer) != (0, FIRST_EPOCH, None):
        raise Rejected(Reason.BAD_PROOF, f"header of height {genesis_header.height} in the place of header 0")
    if len(hops) > HAND_OVERS_PER_PROOF_MAX:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{len(hops)} hops, at most {HAND_OVERS_PER_PROOF_MAX} are followed")
    _check_set(validators, genesis_header.next_validators_hash)
    standing = Standing(Network(genesis_header.chain_id, found), FIRST_EPOCH, 0, validators)
    for hop in hops:
        standing = _after(standing, hop, verify_digest)
    return standing


def _after(standing: Standing, hop: Hop, verify_digest: VerifyDigest | None) -> Standing:
    """Return who votes above a hop. Raises: Rejected as `follow_hops`."""
    if isinstance(hop, RecoveryHop):
        return _after_recovery(standing, hop, verify_digest)
    check_header(standing, hop.header, hop.certificate, verify_digest)
    if hop.validators.hash == standing.validators.hash:
        raise Rejected(Reason.BAD_PROOF, f"the hand-over at height {hop.header.height} changes nothing")
    _check_set(hop.validators, hop.header.next_validators_hash)
    return replace(standing, height=hop.header.height, validators=hop.validators, recovered_above=None)


def _after_recovery(standing: Standing, hop: RecoveryHop, verify_digest: VerifyDigest | None) -> Standing:
    """Return who votes above a recovery. A second one above the same block followed an epoch without any."""
    header, document = hop.header, hop.document
    if header != standing.recovered_above:
        check_header(standing, header, hop.certificate, verify_digest)
    check_document(document, standing.network)
    place = (document.epoch, document.height, document.block_hash)
    wanted = (standing.epoch + 1, header.height, header.hash())
    if place != wanted:
        raise Rejected(
            Reason.BAD_PROOF,
            f"recovery document for epoch {place[0]} above height {place[1]}, block {place[2].hex()}; "
            f"expected epoch {wanted[0]} above height {wanted[1]}, block {wanted[2].hex()}",
        )
    verify_presence(header.state_root, keys.GOVERNANCE_KEYS, hop.governance, hop.branch)
    governance = codec.decode(hop.governance, Governance, bytes_max=STATE_RECORD_BYTES_MAX)
    signers = check_signatures(document, governance)
    passed = Recovery(document.epoch, document.height, signers, document.reason)
    return Standing(
        standing.network, document.epoch, header.height, document.validators, (*standing.recoveries, passed), header
    )


def _check_set(validators: ValidatorSet, committed: Hash) -> None:
    """Refuse a set that is not the committed one, or has no shape that a set in force can have."""
    size = len(validators.members)
    if not VALIDATORS_MIN <= size <= VALIDATORS_MAX:
        raise Rejected(Reason.BAD_PROOF, f"{size} validators, {VALIDATORS_MIN} to {VALIDATORS_MAX} are possible")
    names = [member.institution for member in validators.members]
    if names != sorted(set(names)) or len({member.public_key for member in validators.members}) != size:
        raise Rejected(Reason.BAD_PROOF, "validators are not ascending by institution, or one stands twice")
    if validators.hash != committed:
        raise Rejected(Reason.BAD_PROOF, f"validator set {validators.hash.hex()}, committed is {committed.hex()}")


def check_header(
    standing: Standing, header: Header, certificate: Certificate, verify_digest: VerifyDigest | None = None
) -> None:
    """Refuse a header above a standing that exactly Q of its voters did not commit.

    Raises: Rejected(BAD_PROOF), Rejected(BAD_CERTIFICATE), Rejected(UNKNOWN_VERSION).
    """
    network, validators = standing.network, standing.validators
    if header.version > PROTOCOL_VERSION:
        raise Rejected(Reason.UNKNOWN_VERSION, f"protocol version {header.version}, known is {PROTOCOL_VERSION}")
    place = (header.chain_id, header.epoch)
    if place != (network.chain_id, standing.epoch) or header.height <= standing.height:
        raise Rejected(
            Reason.BAD_PROOF,
            f"header of {header.chain_id}, epoch {header.epoch}, height {header.height}; "
            f"expected {network.chain_id}, epoch {standing.epoch}, above {standing.height}",
        )
    if header.validators_hash != validators.hash:
        raise Rejected(Reason.BAD_PROOF, f"header {header.height} is of another validator set")
    certified = (certificate.phase, certificate.epoch, certificate.height, certificate.block_hash)
    if certified != (Phase.COMMIT, header.epoch, header.height, header.hash()):
        raise Rejected(Reason.BAD_CERTIFICATE, f"the certificate is not for header {header.height}")
    if len(certificate.signatures) != validators.quorum:
        raise Rejected(
            Reason.BAD_CERTIFICATE,
            f"{len(certificate.signatures)} signatures, exactly {validators.quorum} are carried",
        )
    certificate.check(network, validators, verify_digest)


# --- keeping them ---


def first_quorum(certificate: Certificate, validators: ValidatorSet) -> Certificate:
    """Return the certificate with only the first Q signatures, in set order."""
    return msgspec.structs.replace(certificate, signatures=certificate.signatures[: validators.quorum])


class HopStore:
    """The hops of one chain on disk, whole, so that they outlive the pruning of blocks. Written by the ledger only."""

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store

    def stage(self, hop: Hop, batch: WriteBatch) -> None:
        """Put a hop into the batch of the block that follows it."""
        batch.put(_key(hop), codec.encode(StoredHop(hop)))

    def holds(self, hop: Hop) -> bool:
        """Tell whether there is a hop at the place of this one."""
        return self._store.get(_key(hop)) is not None

    def stage_return(self, height: Height, batch: WriteBatch) -> None:
        """Put into a batch the removal of what lies behind a height, the recoveries at it excepted."""
        for key, _ in self._store.iterate(prefix=Column.HOP.value, start=Column.HOP.at(height)):
            if key[1:9] != height.to_bytes(8, "big") or not isinstance(self._read(key), RecoveryHop):
                batch.delete(key)

    def below(self, height: Height) -> Iterator[Hop]:
        """Yield the hops that lead to a header of this height, ascending. Raises: StorageError."""
        for key, _ in self._store.iterate(prefix=Column.HOP.value, stop=Column.HOP.at(height)):
            yield self._read(key)

    def _read(self, key: bytes) -> Hop:
        data = self._store.get(key)
        assert data is not None
        try:
            return codec.decode(data, StoredHop, bytes_max=HOP_BYTES_MAX).hop
        except Rejected as error:
            at = int.from_bytes(key[1:9], "big")
            raise StorageError(f"the hop at height {at} cannot be read: {error}") from error


def _key(hop: Hop) -> bytes:
    """Return the database key: recoveries above one block lie in the order of their epochs."""
    epoch = hop.document.epoch if isinstance(hop, RecoveryHop) else hop.header.epoch
    return Column.HOP.at(hop.header.height, epoch.to_bytes(4, "big"))
