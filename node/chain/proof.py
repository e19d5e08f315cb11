"""The chain part of a bundle: headers that lead from genesis to a recent state root, and records under it.

A light client needs its trust anchor (the genesis hash) and this: header 0, the first validator set,
a hop wherever the set changed (`node.chain.hops`), one recent header with its commit certificate of exactly Q
signatures, and state proofs that all stand under that header's state root. Pure; no clock, no network.
Source: PROTOCOL §4, §8; DOMAIN §6.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from node import codec
from node.chain.answers import CredentialPath, LocatedCredential, ProvenValue
from node.chain.block import Header
from node.chain.certificate import Certificate, Network, VerifyDigest
from node.chain.checkpoint import Checkpoint, check_way
from node.chain.credential_finding import definition_finding, issuer_finding, stacked_finding
from node.chain.hops import Hop, Recovery, check_header, first_quorum, follow_hops
from node.chain.reading import credential_status, is_void
from node.chain.records.credential import Batch, Origin
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.chain.validator_set import ValidatorSet
from node.crypto import merkle
from node.errors import Reason, Rejected
from node.limits import STATE_RECORD_BYTES_MAX
from node.primitives import Hash, Height, InstitutionId, TimestampMs
from node.state import keys
from node.state.proof import (
    Absence,
    Branch,
    ExistenceProof,
    verify_absence,
    verify_presence,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchPath:
    """Where a credential lies in its batch."""

    batch_id: Hash
    index: int
    path: tuple[Hash, ...]
    """Sibling hashes from the credential id up to the batch root."""


@dataclass(frozen=True, slots=True)
class ProvenRecord:
    """A record with its presence, or the proof that there is none."""

    key: str
    """Plain key."""
    value: bytes | None
    """Canonical bytes; None where there is no record."""
    proof: Branch | Absence


@dataclass(frozen=True, slots=True)
class ChainProof:
    """The chain part of a bundle; what the RPC method `credential_proof` answers."""

    genesis_header: Header
    validators: ValidatorSet
    """Of height 1."""
    hops: tuple[Hop, ...]
    """Ascending by height; `hand_overs` in JSON."""
    header: Header
    certificate: Certificate
    """Of exactly Q members of the header's set: the first Q that signed, in set order."""
    batch: BatchPath
    records: tuple[ProvenRecord, ...]
    """Ascending by plain key, none twice."""


@dataclass(frozen=True, slots=True)
class TrustedHeader:
    """A header that a chain of certificates leads to, and on what that rests."""

    network: Network
    header: Header
    validators: ValidatorSet
    """Who certified it."""
    recoveries: tuple[Recovery, ...]
    """On the way to it, ascending by epoch."""
    checkpoint: Checkpoint | None
    """The newest one that the way was held against; None: nothing but the genesis hash anchors it."""


class ProvenRecords:
    """Records under one state root. One that was not proven is an error, never absent."""

    def __init__(self, records: Sequence[ProvenRecord]) -> None:
        self._values = {record.key: record.value for record in records}
        self._decoded: dict[str, object] = {}

    def get(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the record, or None where its absence is proven.

        Raises: Rejected(BAD_PROOF): not among the proven ones; Rejected(MALFORMED).
        """
        if plain_key not in self._values:
            raise Rejected(Reason.BAD_PROOF, f"the proof of {plain_key} is missing")
        value = self._values[plain_key]
        if value is None:
            return None
        found = self._decoded.get(plain_key)
        if not isinstance(found, shape):
            found = codec.decode(value, shape, bytes_max=STATE_RECORD_BYTES_MAX)
            self._decoded[plain_key] = found
        return found


def verify_headers(
    proof: ChainProof,
    genesis_hash: Hash | None,
    verify_digest: VerifyDigest | None = None,
    *,
    checkpoints: Sequence[Checkpoint] = (),
) -> TrustedHeader:
    """Follow the validator sets from header 0 to the recent header.

    `genesis_hash` is the trust anchor; None follows the bundle's own genesis, which proves nothing
    about which network it is. `checkpoints`: blocks known beforehand, of any network.
    Raises: Rejected(UNKNOWN_NETWORK), Rejected(BAD_PROOF), Rejected(BAD_CERTIFICATE),
    Rejected(UNKNOWN_VERSION), Rejected(CONTRADICTS_CHECKPOINT).
    """
    standing = follow_hops(proof.genesis_header, proof.validators, proof.hops, genesis_hash, verify_digest)
    check_header(standing, proof.header, proof.certificate, verify_digest)
    own_hash = standing.network.genesis_hash
    checkpoint = check_way(own_hash, proof.validators, proof.hops, proof.header, checkpoints)
    return TrustedHeader(standing.network, proof.header, standing.validators, standing.recoveries, checkpoint)


def verify_records(proof: ChainProof, state_root: Hash) -> ProvenRecords:
    """Check every record against a state root. Raises: Rejected(BAD_PROOF)."""
    names = [record.key for record in proof.records]
    if any(low >= high for low, high in pairwise(names)):
        raise Rejected(Reason.BAD_PROOF, "records are not ascending by key, or one stands twice")
    for record in proof.records:
        match record.proof:
            case Branch() as branch if record.value is not None:
                verify_presence(state_root, record.key, record.value, branch)
            case Absence() as absence if record.value is None:
                verify_absence(state_root, record.key, absence)
            case _:
                raise Rejected(Reason.BAD_PROOF, f"{record.key}: the proof is of the other kind")
    return ProvenRecords(proof.records)


def verify_batch_path(batch: BatchPath, credential_id: Hash, count: int, root: Hash) -> None:
    """Check that a credential lies at its place in a batch. Raises: Rejected(BAD_PROOF)."""
    found = merkle.root_from_path(credential_id, batch.index, count, batch.path)
    if found != root:
        raise Rejected(Reason.BAD_PROOF, f"the path of leaf {batch.index} of {count} does not lead to the batch root")


# --- making ---


class Prover:
    """Answers a walk from the node's state and keeps a proof of everything it was asked."""

    def __init__(self, prove: Callable[[str], ProvenValue]) -> None:
        self._prove = prove
        self._records: dict[str, ProvenRecord] = {}

    def get(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the record, or None where there is none. Raises: what `prove` raises."""
        record = self._records.get(plain_key)
        if record is None:
            record = proven_record(plain_key, self._prove(plain_key))
            self._records[plain_key] = record
        if record.value is None:
            return None
        return codec.decode(record.value, shape, bytes_max=STATE_RECORD_BYTES_MAX)

    def peek(self, plain_key: str, shape: type[T]) -> T | None:
        """Return a record without keeping its proof."""
        value = self._prove(plain_key).value
        return None if value is None else codec.decode(value, shape, bytes_max=STATE_RECORD_BYTES_MAX)

    def records(self) -> tuple[ProvenRecord, ...]:
        """Return everything asked for so far, ascending by plain key."""
        return tuple(self._records[name] for name in sorted(self._records))


def proven_record(plain_key: str, proven: ProvenValue) -> ProvenRecord:
    """Return the compact form of a record with its ICS23 proof."""
    if isinstance(proven.proof, ExistenceProof):
        return ProvenRecord(plain_key, proven.proof.value, proven.proof.branch)
    return ProvenRecord(plain_key, None, proven.proof.absence())


def prove_credential(
    prove: Callable[[str], ProvenValue],
    credential_id: Hash,
    batch_id: Hash,
    *,
    status_key: Hash | None,
    now_ms: TimestampMs,
) -> tuple[ProvenRecord, ...]:
    """Return a proof of every record that the verifier will ask for.

    `prove` answers under one state root; without a status key nothing is proven about the status.
    Raises: Rejected(NOT_FOUND): no such batch.
    """
    prover = Prover(prove)
    batch = prover.get(keys.batch(batch_id), Batch)
    if batch is None:
        raise Rejected(Reason.NOT_FOUND, f"no batch {batch_id.hex()}")
    definition = definition_finding(prover, batch.definition)
    assert definition is not None, "a batch names a definition on the chain"
    found = issuer_finding(prover, batch, definition.definition.content, now_ms)
    assert found is not None, "a batch names an issuer on the chain"
    _prove_assertion_keys(prover, found.institution)
    is_void(prover, batch.act)
    if status_key is not None:
        credential_status(prover, batch.issuer, status_key)
    if batch.origin is Origin.STACK:
        stacked_finding(prover, credential_id)
    return prover.records()


def _prove_assertion_keys(prover: Prover, issuer: Institution) -> None:
    """Prove every key that may have signed the document: the chain does not know which one did."""
    for key_id in issuer.keys:
        plain_key = keys.key(issuer.id, key_id)
        key = prover.peek(plain_key, InstitutionKey)
        if key is not None and key.purpose is Purpose.ASSERTION:
            prover.get(plain_key, InstitutionKey)


class ProofSource(Protocol):
    """What is needed of the ledger."""

    @property
    def head(self) -> Header:
        """The last committed header."""
        ...

    def header_at(self, height: Height) -> Header | None:
        """Return a committed header."""
        ...

    def certificate_at(self, height: Height) -> Certificate | None:
        """Return a commit certificate of a committed header."""
        ...

    def validators_at(self, height: Height) -> ValidatorSet:
        """Return the set that votes on a height."""
        ...

    def hops_to(self, height: Height) -> tuple[Hop, ...]:
        """Return what leads from genesis to a header of this height."""
        ...

    def prove(self, plain_key: str, height: Height | None = None) -> ProvenValue:
        """Return a record with its proof under a recent height's root."""
        ...

    def find_credential(self, credential_id: Hash, issuer: InstitutionId | None = None) -> LocatedCredential | None:
        """Return where a credential lies, in a batch of an issuer if one is named."""
        ...

    def credential_path(self, credential_id: Hash, issuer: InstitutionId | None = None) -> CredentialPath | None:
        """Return how a credential lies in that batch."""
        ...


def credential_proof(
    source: ProofSource,
    credential_id: Hash,
    *,
    issuer: InstitutionId | None = None,
    status_key: Hash | None = None,
    height: Height | None = None,
) -> ChainProof:
    """Return the chain part of a bundle, under the head or a recent height's state root.

    Raises: Rejected(NOT_FOUND): no such credential of that issuer, or a height that cannot be proven.
    """
    located = source.find_credential(credential_id, issuer)
    if located is None:
        raise Rejected(Reason.NOT_FOUND, f"no credential {credential_id.hex()}" + (f" of {issuer}" if issuer else ""))
    at = source.head.height if height is None else height
    header, certificate, genesis = source.header_at(at), source.certificate_at(at), source.header_at(0)
    if header is None or certificate is None or genesis is None:
        raise Rejected(Reason.NOT_FOUND, f"height {at} has no header with a certificate")
    place = source.credential_path(credential_id, issuer)
    assert place is not None, "a credential that was found lies in a batch"
    records = prove_credential(
        lambda plain_key: source.prove(plain_key, at),
        credential_id,
        located.batch_id,
        status_key=status_key,
        now_ms=header.timestamp_ms,
    )
    return ChainProof(
        genesis_header=genesis,
        validators=source.validators_at(1),
        hops=source.hops_to(at),
        header=header,
        certificate=first_quorum(certificate, source.validators_at(at)),
        batch=BatchPath(located.batch_id, place.leaf_index, place.path),
        records=records,
    )
