"""SHA-256, plain and tagged, and the one table of tags.

Tagged: H(tag, x) = SHA-256(u8 len(tag) | tag | x), so that no digest made for one purpose can
stand for another. Source: PROTOCOL §1.
"""

import hashlib
from enum import Enum

from node.primitives import Hash


class Tag(Enum):
    """Each purpose for which something is hashed under a tag."""

    KEY = "pila/key"
    GENESIS = "pila/genesis"
    TRANSACTION = "pila/tx"
    BATCH = "pila/batch"
    HEADER = "pila/header"
    VALIDATOR_SET = "pila/validators"
    CERTIFICATE = "pila/certificate"
    PROPOSAL = "pila/proposal"
    PREPARE = "pila/prepare"
    COMMIT = "pila/commit"
    VIEW_CHANGE = "pila/view-change"
    NEW_VIEW = "pila/new-view"
    STATUS_MESSAGE = "pila/status-message"
    HANDSHAKE = "pila/handshake"
    CLAIM = "pila/claim"
    HOLDER = "pila/holder"
    STATUS = "pila/status"
    STACK_CONSENT = "pila/stack-consent"
    CUSTODY = "pila/custody"
    VALIDATOR_ORDER = "pila/validator-order"
    RECOVERY = "pila/recovery"
    GOVERNANCE_ACTION = "pila/governance-action"
    VALIDATOR_LEAVE = "pila/validator-leave"
    VALIDATOR_ROTATION = "pila/validator-rotation"
    VALIDATOR_ACTIVATION = "pila/validator-activation"
    SNAPSHOT = "pila/snapshot"

    def __init__(self, name: str) -> None:
        self.prefix = bytes([len(name)]) + name.encode("ascii")
        """What is put before the data: one length byte and the tag."""


def sha256(data: bytes) -> Hash:
    """Return the plain SHA-256 of `data`."""
    return hashlib.sha256(data).digest()


def tagged(tag: Tag, data: bytes) -> Hash:
    """Return H(tag, data)."""
    return hashlib.sha256(tag.prefix + data).digest()
