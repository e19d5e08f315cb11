"""The chain part of a bundle as JSON: canonical bytes in lower-case hex, state proofs in their compact form.

`to_json` is what the RPC method `credential_proof` answers and what stands under `chain` in a bundle.
"""

from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate
from node.chain.hops import HandOver, Hop, RecoveryHop
from node.chain.proof import BatchPath, ChainProof, ProvenRecord
from node.chain.recovery import decode_document
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected
from node.limits import (
    CREDENTIALS_PER_BATCH_MAX,
    HAND_OVERS_PER_PROOF_MAX,
    MERKLE_PATH_STEPS_MAX,
    RECORDS_PER_PROOF_MAX,
    RECOVERY_DOCUMENT_BYTES_MAX,
    STATE_RECORD_BYTES_MAX,
)
from node.primitives import Hash
from node.state.proof import Branch, PlainKey
from node.state.proof_json import absence_from_json, absence_to_json, branch_from_json, branch_to_json

T = TypeVar("T")

_STRUCT_BYTES_MAX: Final = 64 * 1024
"""Of one header, certificate or validator set: 100 members come to 12 kB."""

# The length is judged first: matching pairs of digits takes 60 bytes of memory a character.
HexHash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
HexStruct: TypeAlias = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2})+\Z", max_length=2 * _STRUCT_BYTES_MAX)]
HexRecord: TypeAlias = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2})+\Z", max_length=2 * STATE_RECORD_BYTES_MAX)]


class HandOverJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change of the validator set."""

    header: HexStruct
    certificate: HexStruct
    validators: HexStruct


class RecoveryJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One recovery; stands among the changes of the set."""

    header: HexStruct
    certificate: HexStruct
    recovery: Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2})+\Z", max_length=2 * RECOVERY_DOCUMENT_BYTES_MAX)]
    """Canonical recovery document."""
    governance: HexRecord
    """Canonical record `gov/keys` under the header."""
    proof: dict[str, object]
    """Of that record."""


class BatchJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a credential lies."""

    batch_id: HexHash
    index: Annotated[int, Meta(ge=0, lt=CREDENTIALS_PER_BATCH_MAX)]
    path: Annotated[tuple[HexHash, ...], Meta(max_length=MERKLE_PATH_STEPS_MAX)]


class RecordJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record or its absence."""

    key: PlainKey
    value: HexRecord | None
    proof: dict[str, object]


class ChainProofJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chain part."""

    genesis_header: HexStruct
    validators: HexStruct
    hand_overs: Annotated[tuple[dict[str, object], ...], Meta(max_length=HAND_OVERS_PER_PROOF_MAX)]
    """`HandOverJson` or `RecoveryJson` each."""
    header: HexStruct
    certificate: HexStruct
    batch: BatchJson
    records: Annotated[tuple[RecordJson, ...], Meta(max_length=RECORDS_PER_PROOF_MAX)]


def to_json(proof: ChainProof) -> dict[str, object]:
    """Return the JSON object of a chain proof."""
    return {
        "genesis_header": _hex(proof.genesis_header),
        "validators": _hex(proof.validators),
        "hand_overs": [_hop_json(hop) for hop in proof.hops],
        "header": _hex(proof.header),
        "certificate": _hex(proof.certificate),
        "batch": {
            "batch_id": proof.batch.batch_id.hex(),
            "index": proof.batch.index,
            "path": [step.hex() for step in proof.batch.path],
        },
        "records": [_record_json(record) for record in proof.records],
    }


def from_json(data: object) -> ChainProof:
    """Read what `to_json` writes; whoever must know that it has the one form it can have writes it again.

    Raises: Rejected(MALFORMED), Rejected(BAD_PROOF), Rejected(TOO_LARGE).
    """
    try:
        read = msgspec.convert(data, ChainProofJson, strict=True)
        hops = tuple(_hop(item) for item in read.hand_overs)
    except msgspec.ValidationError as error:
        raise Rejected(Reason.MALFORMED, f"chain part: {error}") from None
    return ChainProof(
        genesis_header=_struct(read.genesis_header, Header),
        validators=_struct(read.validators, ValidatorSet),
        hops=hops,
        header=_struct(read.header, Header),
        certificate=_struct(read.certificate, Certificate),
        batch=BatchPath(bytes.fromhex(read.batch.batch_id), read.batch.index, _hashes(read.batch.path)),
        records=tuple(_record(record) for record in read.records),
    )


def _hop_json(hop: Hop) -> dict[str, object]:
    common: dict[str, object] = {"header": _hex(hop.header), "certificate": _hex(hop.certificate)}
    if isinstance(hop, RecoveryHop):
        proof = branch_to_json(hop.branch)
        return {**common, "recovery": _hex(hop.document), "governance": hop.governance.hex(), "proof": proof}
    return {**common, "validators": _hex(hop.validators)}


def _hop(item: dict[str, object]) -> Hop:
    if "recovery" in item:
        read = msgspec.convert(item, RecoveryJson, strict=True)
        return RecoveryHop(
            _struct(read.header, Header),
            _struct(read.certificate, Certificate),
            decode_document(bytes.fromhex(read.recovery)),
            bytes.fromhex(read.governance),
            branch_from_json(read.proof),
        )
    change = msgspec.convert(item, HandOverJson, strict=True)
    return HandOver(
        _struct(change.header, Header),
        _struct(change.certificate, Certificate),
        _struct(change.validators, ValidatorSet),
    )


def _record_json(record: ProvenRecord) -> dict[str, object]:
    proof = branch_to_json(record.proof) if isinstance(record.proof, Branch) else absence_to_json(record.proof)
    return {"key": record.key, "value": None if record.value is None else record.value.hex(), "proof": proof}


def _record(read: RecordJson) -> ProvenRecord:
    if read.value is None:
        return ProvenRecord(read.key, None, absence_from_json(read.proof))
    return ProvenRecord(read.key, bytes.fromhex(read.value), branch_from_json(read.proof))


def _hex(value: msgspec.Struct) -> str:
    return codec.encode(value).hex()


def _struct(text: str, shape: type[T]) -> T:
    return codec.decode(bytes.fromhex(text), shape, bytes_max=_STRUCT_BYTES_MAX)


def _hashes(texts: tuple[str, ...]) -> tuple[Hash, ...]:
    return tuple(bytes.fromhex(text) for text in texts)
