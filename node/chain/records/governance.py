"""`gov/proposal/<number>`: what somebody proposed, who agreed, what became of it. `gov/live`: those that are not over.

`val/schedule`: the next change of the validator set, and those that wait. `val/key/<public key>`: that a consensus
key was used. `gov/upgrade`: the next protocol version and its height. `gov/authorities`: whom a vote asks.
Source: PROTOCOL §5, "Membership", "Upgrades and parameters".
"""

from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.records.common import Act
from node.chain.records.network import Governance, Parameters
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import Tag, tagged
from node.limits import (
    AUTHORITIES_MAX,
    CHANGES_WAITING_MAX,
    PROPOSALS_LIVE_PER_INSTITUTION_MAX,
    VALIDATORS_MAX,
)
from node.primitives import Hash, Height, InstitutionId, PublicKey, Signature, TimestampMs, Uint

VOTERS_MAX: Final = VALIDATORS_MAX + AUTHORITIES_MAX
LIVE_PROPOSALS_MAX: Final = VOTERS_MAX * (PROPOSALS_LIVE_PER_INSTITUTION_MAX + 1)
"""The one more: what a validator does by itself."""


class AddValidator(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """An institution joins the validators; once approved it must activate itself."""

    institution: InstitutionId
    public_key: PublicKey
    """Ed25519 consensus key, 32 bytes, never used before by anybody."""


class RemoveValidator(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """A validator is removed by the others."""

    institution: InstitutionId


class Leave(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """The proposer itself leaves the validators; nobody votes on it."""

    signature: Signature
    """By its consensus key, over `membership.leave_digest`."""


class RotateKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=4):
    """The proposer, a validator, changes its consensus key; nobody votes on it."""

    public_key: PublicKey
    """The new one: Ed25519, 32 bytes, never used before by anybody."""
    old_signature: Signature
    """By the present key, over `membership.rotation_digest`."""
    new_signature: Signature
    """By the new key, over the same."""


class SetParameters(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=5):
    """Other parameters from a height on."""

    parameters: Parameters
    """All of them, changed or not."""
    height: Height
    """First block that is judged by them."""


class UpgradeProtocol(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=6):
    """Another version of the protocol from a height on."""

    version: Annotated[int, Meta(ge=2, le=65_535)]
    """One above the version in force."""
    height: Height
    """First block that is judged by it."""


class SetGovernanceKeys(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=7):
    """Other governance keys and another threshold."""

    governance: Governance
    """All of them, changed or not."""


Action: TypeAlias = (
    AddValidator | RemoveValidator | Leave | RotateKey | SetParameters | UpgradeProtocol | SetGovernanceKeys
)


def action_hash(action: Action) -> Hash:
    """Return what a vote names, so that nobody is shown one thing and signs another."""
    return tagged(Tag.GOVERNANCE_ACTION, codec.encode(action))


class ProposalState(StrEnum):
    """Where a proposal is."""

    OPEN = "open"
    """Votes are collected."""
    APPROVED = "approved"
    """Enough agreed, or nobody need; it waits for the joiner, for its turn or for its height."""
    SCHEDULED = "scheduled"
    """`effective_height` is fixed."""
    EFFECTIVE = "effective"
    LAPSED = "lapsed"


class Ballot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One institution's word; it counts while its keys stay good."""

    institution: InstitutionId
    act: Act


Ballots: TypeAlias = Annotated[tuple[Ballot, ...], Meta(max_length=VOTERS_MAX)]
"""In the order in which they came, no institution twice."""


class Proposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `gov/proposal/<number, ten digits>`."""

    number: Uint
    """From 1, in the order in which they were made."""
    proposer: InstitutionId
    action: Action
    made: Act
    state: ProposalState
    due_height: Height
    """At the end of this block it lapses, or what it fixed is looked at; 0 once it is over or has its turn."""
    votes: Ballots
    """Who agrees; the proposer is the first where it has a vote."""
    ready: Ballots
    """Validators whose nodes know the version of an upgrade."""
    approved_height: Height
    """Block in which the last vote needed stood; 0 before."""
    activated: Act | None
    """The joiner's own act."""
    effective_height: Height
    """First height to which it applies; 0 while that is not fixed."""
    ended_height: Height
    """Block at whose end it lapsed; 0 else."""
    reason: Annotated[str, Meta(max_length=200)]
    """Why it lapsed; "" else."""


class LiveProposal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One proposal for which something is still to come."""

    number: Uint
    proposer: InstitutionId
    action_hash: Hash
    due_height: Height
    """As in its record."""


class LiveProposals(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `gov/live`."""

    last_number: Uint
    """Of the latest proposal ever made."""
    items: Annotated[tuple[LiveProposal, ...], Meta(max_length=LIVE_PROPOSALS_MAX)]
    """Ascending by number."""


NO_PROPOSALS: Final = LiveProposals(0, ())


class WaitingChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One change of the validator set that may be made: a join, a removal or another key."""

    proposal: Uint
    institution: InstitutionId
    is_join: bool
    public_key: PublicKey | None
    """The key that is to vote; nil removes the institution."""
    lapses_height: Height
    """At the end of this block it lapses if it had no turn."""


class ScheduledChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The set that follows the present one."""

    effective_height: Height
    """First height that it votes on."""
    validators: ValidatorSet
    proposals: Annotated[tuple[Uint, ...], Meta(min_length=1, max_length=VALIDATORS_MAX)]
    """Which made it, in the order of their turn."""


class Schedule(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `val/schedule`."""

    last_effective_height: Height
    """First height of the latest change; 0 before any."""
    scheduled: ScheduledChange | None
    waiting: Annotated[tuple[WaitingChange, ...], Meta(max_length=CHANGES_WAITING_MAX)]
    """In the order in which they became ready, no institution twice."""


NO_SCHEDULE: Final = Schedule(0, None, ())


class UsedKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `val/key/<public key in hex>`: this consensus key is taken for ever."""

    institution: InstitutionId
    since_height: Height
    """Block that took note of it; 0 for what the genesis names."""
    since_ms: TimestampMs
    """Time of that block."""
    rotated: bool
    """Whether its institution itself put it in the place of another."""


class Upgrade(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `gov/upgrade`: the latest upgrade that is certain."""

    version: Annotated[int, Meta(ge=2, le=65_535)]
    height: Height
    """First block that is judged by it."""
    proposal: Uint


class Authorities(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `gov/authorities`: who has, or had, the role; which of them count is asked each time."""

    institutions: Annotated[tuple[InstitutionId, ...], Meta(max_length=AUTHORITIES_MAX)]
    """Ascending."""
