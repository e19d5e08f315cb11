"""Whose fault it is: theirs (`Rejected`), the disk's (`StorageError`) or the operator's (`ConfigError`).

Ours is `assert`: what cannot be must stop the process.
"""

from enum import StrEnum


class Reason(StrEnum):
    """The closed list of reasons for a rejection; also the value of `data.reason` in JSON-RPC."""

    # Bytes and shape.
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_VERSION = "unknown_version"
    # A transaction's place and time.
    WRONG_CHAIN = "wrong_chain"
    WRONG_EPOCH = "wrong_epoch"
    EXPIRED = "expired"
    VALIDITY_TOO_LONG = "validity_too_long"
    DUPLICATE = "duplicate"
    MEMPOOL_FULL = "mempool_full"
    RATE_EXCEEDED = "rate_exceeded"
    # Signatures and keys.
    BAD_SIGNATURE = "bad_signature"
    WRONG_SIGNERS = "wrong_signers"
    UNKNOWN_KEY = "unknown_key"
    KEY_NOT_VALID = "key_not_valid"
    BAD_PUBLIC_KEY = "bad_public_key"
    # The domain.
    UNKNOWN_INSTITUTION = "unknown_institution"
    NOT_ACCREDITED = "not_accredited"
    NOT_PERMITTED = "not_permitted"
    OUT_OF_SCOPE = "out_of_scope"
    ALREADY_EXISTS = "already_exists"
    NOT_FOUND = "not_found"
    WRONG_STATE = "wrong_state"
    MISSING_ELEMENT = "missing_element"
    INVALID_VALUE = "invalid_value"
    LIMIT_EXCEEDED = "limit_exceeded"
    WRONG_ROOT = "wrong_root"
    # Stacking.
    BAD_OPENING = "bad_opening"
    COMPONENT_NOT_VALID = "component_not_valid"
    NOT_DISJOINT = "not_disjoint"
    CONSENT_MISSING = "consent_missing"
    REQUIREMENT_NOT_MET = "requirement_not_met"
    ALREADY_USED = "already_used"
    # Blocks and consensus.
    NOT_A_VALIDATOR = "not_a_validator"
    WRONG_PROPOSER = "wrong_proposer"
    WRONG_HEIGHT = "wrong_height"
    WRONG_VIEW = "wrong_view"
    WRONG_PARENT = "wrong_parent"
    BAD_TIMESTAMP = "bad_timestamp"
    BAD_BLOCK = "bad_block"
    BAD_CERTIFICATE = "bad_certificate"
    BAD_JUSTIFICATION = "bad_justification"
    BAD_EVIDENCE = "bad_evidence"
    # Peers.
    HANDSHAKE_FAILED = "handshake_failed"
    NOT_A_PEER = "not_a_peer"
    QUOTA_EXCEEDED = "quota_exceeded"
    # Proofs and documents.
    BAD_PROOF = "bad_proof"
    BAD_DOCUMENT = "bad_document"
    UNKNOWN_NETWORK = "unknown_network"
    CONTRADICTS_CHECKPOINT = "contradicts_checkpoint"


class Rejected(Exception):
    """What somebody else sent cannot be taken: the reason, and the two values that disagree.

    Caught in the replica's inbox, the RPC methods and sync; counted and answered, never fatal.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


class StorageError(Exception):
    """The disk failed or its contents are corrupt: the node stops with this sentence."""


class ConfigError(Exception):
    """The operator's file or option is unusable: the sentence names file, line or field."""
