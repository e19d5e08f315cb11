"""Recovery documents of the test network: who signs them is one call away."""

from collections.abc import Sequence

from node.chain.records.institution import Purpose
from node.chain.recovery import RECOVERY_VERSION, RecoveryDocument, with_signature
from node.chain.validator_set import Validator, ValidatorSet
from node.primitives import InstitutionId
from tests.unit.chain.kit import COEPES, CONOCER, SDES, SEG, VALIDATORS, Key, TestChain

GOVERNORS = VALIDATORS[:3]
"""As many as are needed: three of four."""


def governance_key(institution: InstitutionId) -> Key:
    """Return an institution's governance key."""
    return Key(institution, Purpose.GOVERNANCE)


def set_of(*institutions: InstitutionId) -> ValidatorSet:
    """Return the set of these institutions, ascending."""
    return ValidatorSet(tuple(Validator(id_, Key(id_, Purpose.CONSENSUS).public_key) for id_ in sorted(institutions)))


SURVIVORS = set_of(SDES, SEG, COEPES, CONOCER)
"""Two of the four validators are lost; two others take their places."""


def signed(document: RecoveryDocument, by: Sequence[InstitutionId] = GOVERNORS) -> RecoveryDocument:
    """Return a document signed by the governance keys of these institutions."""
    for institution in by:
        document = with_signature(document, governance_key(institution).signer)
    return document


def draft(
    chain: TestChain, *, validators: ValidatorSet = SURVIVORS, reason: str = "two machines burnt", **place: int
) -> RecoveryDocument:
    """Return an unsigned document that keeps a chain's head, or another height of it, and begins the next epoch."""
    ledger = chain.ledger
    height = place.get("height", ledger.head.height)
    header = ledger.header_at(height)
    return RecoveryDocument(
        RECOVERY_VERSION,
        chain.network.chain_id,
        chain.network.genesis_hash,
        place.get("epoch", ledger.epoch + 1),
        height,
        ledger.head_hash if header is None else header.hash(),
        validators,
        reason,
        (),
    )
