"""What the first block of an epoch does before anything else: the recovery document comes into force.

The document is the block's only evidence. That it is the one which this node was told to follow is
asked elsewhere (`node.chain.recovery_loading`). Source: PROTOCOL §5, "Quorum lost for good".
"""

from node.chain.demerits import NO_DEMERITS, Demerits
from node.chain.frame import Frame
from node.chain.governance import clear_changes
from node.chain.membership import check_new_key, put_validators, validators_of, waits_to_vote
from node.chain.records.institution import Institution
from node.chain.records.network import Governance, Recovered
from node.chain.recovery import RecoveryDocument, check_document, check_signatures, decode_document
from node.chain.rules.framework import Event
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected
from node.state import keys
from node.state.world_state import WorldState


def is_first_of_epoch(frame: Frame) -> bool:
    """Tell whether the block of a frame begins an epoch."""
    return frame.epoch != frame.parent.epoch


def begin_epoch(state: WorldState, frame: Frame) -> tuple[Event, ...]:
    """Put the document's validators in the place of those before, and drop what was planned for these.

    Raises: Rejected: the evidence is not exactly one document for this place, signed as it must be.
    """
    document = document_of(frame.evidence)
    check_document(document, frame.network)
    place = (document.epoch, document.height, document.block_hash)
    wanted = (frame.epoch, frame.parent.height, frame.parent.hash())
    if place != wanted:
        raise Rejected(
            Reason.BAD_BLOCK,
            f"recovery document for epoch {place[0]} above height {place[1]}, block {place[2].hex()}; "
            f"this is epoch {wanted[0]} above height {wanted[1]}, block {wanted[2].hex()}",
        )
    governance = state.get(keys.GOVERNANCE_KEYS, Governance)
    assert governance is not None
    signers = check_signatures(document, governance)
    check_members(state, document.validators)
    put_validators(state, document.validators, frame.height, frame.time_ms)
    events = clear_changes(state, frame.height)
    if state.get(keys.DEMERITS, Demerits) is not None:
        state.put(keys.DEMERITS, NO_DEMERITS)
    plain_key = keys.recovered(frame.epoch)
    state.put(plain_key, Recovered(document.digest(), frame.height, frame.time_ms, signers))
    return (*events, Event("governance", "recover", plain_key))


def document_of(evidence: tuple[bytes, ...]) -> RecoveryDocument:
    """Return the document that a first block carries. Raises: Rejected(BAD_BLOCK, TOO_LARGE, MALFORMED)."""
    if len(evidence) != 1:
        raise Rejected(
            Reason.BAD_BLOCK,
            f"evidence: {len(evidence)} items, the first block of an epoch has its recovery document alone",
        )
    return decode_document(evidence[0])


def check_members(state: WorldState, validators: ValidatorSet) -> None:
    """Refuse validators that the chain does not know, and keys that somebody has used before.

    A member of the set before keeps its key, or takes the one with which a change of its own was under way: that
    has never voted, and the one before it may be destroyed where the change was final.
    Raises: Rejected(UNKNOWN_INSTITUTION, ALREADY_USED, BAD_PUBLIC_KEY).
    """
    before = set(validators_of(state).members)
    for member in validators.members:
        if state.get(keys.accreditation(member.institution), Institution) is None:
            raise Rejected(Reason.UNKNOWN_INSTITUTION, f"the chain does not know {member.institution}")
        if member not in before and not waits_to_vote(state, member.institution, member.public_key):
            check_new_key(state, member.institution, member.public_key)
