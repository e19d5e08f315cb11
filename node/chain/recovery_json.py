"""A recovery document as the file that operators pass around: everything in plain sight, nothing encoded."""

import json
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.recovery import RecoveryDocument, RecoverySignature, decode_document
from node.chain.validator_set import Validator, ValidatorSet
from node.errors import ConfigError, Rejected
from node.limits import (
    GOVERNANCE_KEYS_MAX,
    RECOVERY_FILE_BYTES_MAX,
    RECOVERY_REASON_CHARS_MAX,
    VALIDATORS_MAX,
)
from node.primitives import UINT_MAX, ChainId, InstitutionId

FORMAT: Final = "pila-recovery/1"

Hex16: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Hex32: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Hex64: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{128}\Z")]


class ValidatorJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One member of the new set."""

    institution: InstitutionId
    public_key: Hex32


class SignatureJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One governance key's signature."""

    key_id: Hex16
    signature: Hex64


class RecoveryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    format: Literal["pila-recovery/1"]
    version: Annotated[int, Meta(ge=1, le=255)]
    chain_id: ChainId
    genesis_hash: Hex32
    epoch: Annotated[int, Meta(ge=1, le=2**32 - 1)]
    height: Annotated[int, Meta(ge=1, le=UINT_MAX - 1)]
    block_hash: Hex32
    validators: Annotated[tuple[ValidatorJson, ...], Meta(max_length=VALIDATORS_MAX)]
    reason: Annotated[str, Meta(max_length=RECOVERY_REASON_CHARS_MAX)]
    signatures: Annotated[tuple[SignatureJson, ...], Meta(max_length=GOVERNANCE_KEYS_MAX)]


def recovery_json(document: RecoveryDocument) -> str:
    """Return the text of the file."""
    return (
        json.dumps(
            {
                "format": FORMAT,
                "version": document.version,
                "chain_id": document.chain_id,
                "genesis_hash": document.genesis_hash.hex(),
                "epoch": document.epoch,
                "height": document.height,
                "block_hash": document.block_hash.hex(),
                "validators": [
                    {"institution": member.institution, "public_key": member.public_key.hex()}
                    for member in document.validators.members
                ],
                "reason": document.reason,
                "signatures": [
                    {"key_id": item.key_id.hex(), "signature": item.signature.hex()} for item in document.signatures
                ],
            },
            ensure_ascii=False,
            indent=2,
        )
        + "\n"
    )


def parse_recovery(data: bytes) -> RecoveryDocument:
    """Read the file. Raises: ConfigError naming what is wrong with it."""
    if len(data) > RECOVERY_FILE_BYTES_MAX:
        raise ConfigError(f"{len(data)} bytes, a recovery document has at most {RECOVERY_FILE_BYTES_MAX}")
    try:
        read = msgspec.json.decode(data, type=RecoveryFile)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"no recovery document: {error}") from None
    document = RecoveryDocument(
        read.version,
        read.chain_id,
        bytes.fromhex(read.genesis_hash),
        read.epoch,
        read.height,
        bytes.fromhex(read.block_hash),
        ValidatorSet(tuple(Validator(item.institution, bytes.fromhex(item.public_key)) for item in read.validators)),
        read.reason,
        tuple(RecoverySignature(bytes.fromhex(item.key_id), bytes.fromhex(item.signature)) for item in read.signatures),
    )
    try:
        # Text and lengths are judged where the network judges them: in the canonical bytes.
        return decode_document(codec.encode(document))
    except (Rejected, UnicodeEncodeError) as error:
        raise ConfigError(f"no recovery document: {error}") from None
