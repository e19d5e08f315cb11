"""`validator.activate`: an approved validator shows that its key is in hand and its node in sync.

Without it a network could be made to count on somebody who is not there. Source: PROTOCOL §5, "Membership".
"""

from typing import Final

import msgspec

from node.chain import membership
from node.chain.records.governance import AddValidator, ProposalState
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.chain.rules.framework import Context, Event, Rule, signer_group
from node.chain.rules.governance import check_joiner, known_proposal, queue
from node.chain.transaction import Transaction
from node.errors import Reason, Rejected
from node.limits import ACTIVATION_AGE_HEIGHTS_MAX, COST_PER_SIGNATURE, COST_PER_STATE_KEY
from node.primitives import Hash, Height, InstitutionId, Signature, Uint
from node.state import keys


class ValidatorActivate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`validator.activate`: whoever was approved as a validator shows that its key is in hand and its node in sync."""

    proposal: Uint
    block_height: Height
    """Of a block at most 64 below the one that includes this."""
    block_hash: Hash
    signature: Signature
    """By the consensus key of the proposal, over `membership.activation_digest`."""


def execute_activate(context: Context, transaction: Transaction, payload: ValidatorActivate) -> tuple[Event, ...]:
    """Queue the join of a validator whose key and node are there."""
    proposal = known_proposal(context, payload.proposal)
    action = proposal.action
    if not isinstance(action, AddValidator) or action.institution != transaction.signer:
        raise Rejected(
            Reason.NOT_PERMITTED, f"proposal {proposal.number} does not make {transaction.signer} a validator"
        )
    if proposal.state is not ProposalState.APPROVED or proposal.activated is not None:
        state = proposal.state if proposal.activated is None else "activated"
        raise Rejected(Reason.WRONG_STATE, f"proposal {proposal.number} is {state}")
    check_joiner(context, transaction.signer)
    _check_node_key(context, transaction.signer)
    membership.check_no_change(context.state, transaction.signer)
    membership.check_new_key(context.state, transaction.signer, action.public_key)
    _check_in_sync(context, payload)
    digest = membership.activation_digest(
        context.network,
        context.epoch,
        transaction.signer,
        action.public_key,
        proposal.number,
        payload.block_height,
        payload.block_hash,
        transaction.valid_until_height,
    )
    membership.check_signature(action.public_key, digest, payload.signature, "the consensus key")
    membership.note_key(
        context.state, transaction.signer, action.public_key, context.height, context.time_ms, rotated=False
    )
    activated = msgspec.structs.replace(proposal, activated=context.act(transaction))
    events = queue(context, activated, transaction.signer, action.public_key, is_join=True)
    return (Event("governance", "activate", keys.proposal(proposal.number)), *events)


def _check_node_key(context: Context, institution_id: InstitutionId) -> None:
    """Refuse a validator whose node no other would let in."""
    institution = context.state.get(keys.accreditation(institution_id), Institution)
    assert institution is not None
    for key_id in institution.keys:
        key = context.state.get(keys.key(institution_id, key_id), InstitutionKey)
        if key is not None and key.purpose is Purpose.NODE and key.is_in_force:
            return
    raise Rejected(Reason.WRONG_STATE, f"{institution_id} has no node key in force: add one first")


def _check_in_sync(context: Context, payload: ValidatorActivate) -> None:
    age = context.height - payload.block_height
    if not 1 <= age <= ACTIVATION_AGE_HEIGHTS_MAX:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"block {payload.block_height} in block {context.height}: at most {ACTIVATION_AGE_HEIGHTS_MAX} below it",
        )
    found = context.hash_at(payload.block_height)
    if payload.block_hash != found:
        known = "none" if found is None else found.hex()
        raise Rejected(Reason.INVALID_VALUE, f"block {payload.block_height} is {known}, not {payload.block_hash.hex()}")


def _cost_of_activation(_payload: ValidatorActivate) -> int:
    return 80 * COST_PER_STATE_KEY + COST_PER_SIGNATURE


RULES: Final = (
    Rule("validator.activate", ValidatorActivate, signer_group, execute_activate, _cost_of_activation, priority=True),
)
