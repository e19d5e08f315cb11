"""How the validator set changes: what is signed for it, what waits, and what comes into force when.

    block h     end: the next change is planned from what waits       → effective height h + 2
    block h + 1 end: `val/set` is the new set, its header commits to it
    block h + 2 the new set votes; nothing else is planned before a block above that

One hand-over differs from the set before in at most max(1, f) members, so that the honest members of both
are enough for everything that either has decided. Source: PROTOCOL §5, "Membership".
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from node.chain.certificate import Network
from node.chain.records.common import Act
from node.chain.records.governance import (
    NO_SCHEDULE,
    Schedule,
    ScheduledChange,
    UsedKey,
    WaitingChange,
)
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.chain.statements import bound_to
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import Algorithm, check_public_key, key_id, verify
from node.errors import Reason, Rejected
from node.limits import CHANGES_WAITING_MAX, VALIDATORS_MAX, VALIDATORS_MIN
from node.primitives import Epoch, Hash, Height, InstitutionId, PublicKey, Signature, TimestampMs, Uint
from node.state import keys
from node.state.world_state import WorldState

NOTICE_HEIGHTS: Final = 2
"""From the block that plans a change to the first height of the new set."""


# --- what consensus keys sign ---


def leave_digest(
    network: Network, epoch: Epoch, institution: InstitutionId, public_key: PublicKey, valid_until: Height
) -> Hash:
    """Return what the consensus key of a validator that leaves signs; `valid_until`: of the transaction."""
    return tagged(Tag.VALIDATOR_LEAVE, bound_to(network, epoch, institution, public_key, valid_until))


def rotation_digest(
    network: Network,
    epoch: Epoch,
    institution: InstitutionId,
    old_key: PublicKey,
    new_key: PublicKey,
    valid_until: Height,
) -> Hash:
    """Return what both consensus keys of a validator that changes its key sign."""
    return tagged(Tag.VALIDATOR_ROTATION, bound_to(network, epoch, institution, old_key, new_key, valid_until))


def activation_digest(
    network: Network,
    epoch: Epoch,
    institution: InstitutionId,
    public_key: PublicKey,
    proposal: Uint,
    block_height: Height,
    block_hash: Hash,
    valid_until: Height,
) -> Hash:
    """Return what the consensus key of a validator that joins signs: it is in hand, and its node is in sync."""
    fields = (institution, public_key, proposal, block_height, block_hash, valid_until)
    return tagged(Tag.VALIDATOR_ACTIVATION, bound_to(network, epoch, *fields))


# --- the set in force ---


def validators_of(state: WorldState) -> ValidatorSet:
    """Return the set that votes on the block being executed; after the block's end, on the next."""
    found = state.get(keys.VALIDATOR_SET, ValidatorSet)
    assert found is not None
    return found


def put_validators(state: WorldState, validators: ValidatorSet, height: Height, time_ms: TimestampMs) -> None:
    """Make a set the one of the next height, and take note of every key that comes or goes.

    `height`, `time_ms`: of the block that does it. The only way in which `val/set` is ever overwritten.
    """
    validators.check()
    before = validators_of(state)
    old, new = set(before.members), set(validators.members)
    for member in sorted(old | new, key=lambda member: (member.institution, member.public_key)):
        note_key(state, member.institution, member.public_key, height, time_ms, rotated=False)
    for member in sorted(old - new, key=lambda member: member.institution):
        _end_key(state, member, height, time_ms)
    for member in sorted(new - old, key=lambda member: member.institution):
        _begin_key(state, member, height, time_ms)
    state.put(keys.VALIDATOR_SET, validators)


def note_key(
    state: WorldState,
    institution: InstitutionId,
    public_key: PublicKey,
    height: Height,
    time_ms: TimestampMs,
    *,
    rotated: bool,
) -> None:
    """Take a consensus key for ever; one that is taken stays as it was."""
    plain_key = keys.validator_key(public_key)
    if state.get(plain_key, UsedKey) is None:
        state.put(plain_key, UsedKey(institution, height, time_ms, rotated))


def check_new_key(state: WorldState, institution: InstitutionId, public_key: PublicKey) -> None:
    """Refuse a consensus key that cannot be one, or that anybody has used before.

    Raises: Rejected(BAD_PUBLIC_KEY), Rejected(ALREADY_USED).
    """
    check_public_key(Algorithm.ED25519, public_key)
    in_force = next((item for item in validators_of(state).members if item.public_key == public_key), None)
    used = state.get(keys.validator_key(public_key), UsedKey)
    if in_force is not None or used is not None:
        holder = in_force.institution if in_force is not None else used.institution if used is not None else ""
        raise Rejected(Reason.ALREADY_USED, f"{public_key.hex()} is or was the consensus key of {holder}")
    if state.get(keys.key(institution, key_id(Algorithm.ED25519, public_key)), InstitutionKey) is not None:
        raise Rejected(Reason.ALREADY_USED, f"{public_key.hex()} is or was another key of {institution}")


def waits_to_vote(state: WorldState, institution: InstitutionId, public_key: PublicKey) -> bool:
    """Tell whether an institution has brought a consensus key that was in no set yet."""
    used = state.get(keys.validator_key(public_key), UsedKey)
    shown = state.get(keys.key(institution, key_id(Algorithm.ED25519, public_key)), InstitutionKey)
    return used is not None and used.institution == institution and shown is None


def check_no_vote_of(state: WorldState, public_key: PublicKey) -> None:
    """Refuse another purpose for a key that votes, voted or waits for its turn to vote: its record would be lost.

    Raises: Rejected(ALREADY_USED).
    """
    used = state.get(keys.validator_key(public_key), UsedKey)
    if used is not None:
        raise Rejected(Reason.ALREADY_USED, f"{public_key.hex()} is or was the consensus key of {used.institution}")


def check_signature(public_key: PublicKey, digest: Hash, signature: Signature, whose: str) -> None:
    """Check a signature by a consensus key inside a payload. Raises: Rejected(BAD_SIGNATURE)."""
    if not verify(Algorithm.ED25519, public_key, digest, signature):
        raise Rejected(Reason.BAD_SIGNATURE, f"signature with {whose} {public_key.hex()}")


def last_rotation_ms(state: WorldState, public_key: PublicKey) -> TimestampMs | None:
    """Return when a key took the place of another by its institution's own act; None where it did not."""
    used = state.get(keys.validator_key(public_key), UsedKey)
    return used.since_ms if used is not None and used.rotated else None


def _begin_key(state: WorldState, member: Validator, height: Height, time_ms: TimestampMs) -> None:
    """Show a consensus key among its institution's."""
    institution = state.get(keys.accreditation(member.institution), Institution)
    if institution is None:
        return
    identity = key_id(Algorithm.ED25519, member.public_key)
    act = Act(height, time_ms, member.institution, (), 0)
    record = InstitutionKey(
        member.institution, int(Algorithm.ED25519), member.public_key, Purpose.CONSENSUS, act, None, None
    )
    state.put(keys.key(member.institution, identity), record)
    if identity not in institution.keys:
        changed = msgspec.structs.replace(institution, keys=(*institution.keys, identity))
        state.put(keys.accreditation(institution.id), changed)


def _end_key(state: WorldState, member: Validator, height: Height, time_ms: TimestampMs) -> None:
    """Retire a consensus key; its record stays, the institution's list names those in force."""
    identity = key_id(Algorithm.ED25519, member.public_key)
    record = state.get(keys.key(member.institution, identity), InstitutionKey)
    institution = state.get(keys.accreditation(member.institution), Institution)
    if record is None or institution is None:
        return
    act = Act(height, time_ms, member.institution, (), 0)
    state.put(keys.key(member.institution, identity), msgspec.structs.replace(record, retired=act))
    rest = tuple(item for item in institution.keys if item != identity)
    state.put(keys.accreditation(institution.id), msgspec.structs.replace(institution, keys=rest))


# --- what waits ---


def schedule_of(state: WorldState) -> Schedule:
    """Return what is about to change the set."""
    return state.get(keys.VALIDATOR_SCHEDULE, Schedule) or NO_SCHEDULE


def check_no_change(state: WorldState, institution: InstitutionId) -> None:
    """Refuse a second change of one institution before the first is in force. Raises: Rejected(WRONG_STATE)."""
    schedule = schedule_of(state)
    for change in schedule.waiting:
        if change.institution == institution:
            raise Rejected(Reason.WRONG_STATE, f"proposal {change.proposal} about {institution} waits for its turn")
    if schedule.scheduled is not None and _differs(validators_of(state), schedule.scheduled.validators, institution):
        raise Rejected(
            Reason.WRONG_STATE,
            f"a change of {institution} takes effect at height {schedule.scheduled.effective_height}",
        )


def queue_change(state: WorldState, change: WaitingChange) -> tuple[Uint, ...]:
    """Put a change behind those that wait; return proposals whose change it replaces.

    A removal replaces what the institution itself asked for, or a validator could put its removal off for ever.
    Raises: Rejected(LIMIT_EXCEEDED).
    """
    schedule = schedule_of(state)
    kept = tuple(item for item in schedule.waiting if item.institution != change.institution)
    if len(kept) >= CHANGES_WAITING_MAX:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"{len(kept)} changes of the validators wait, at most {CHANGES_WAITING_MAX}: try again later",
        )
    replaced = tuple(item.proposal for item in schedule.waiting if item.institution == change.institution)
    state.put(keys.VALIDATOR_SCHEDULE, msgspec.structs.replace(schedule, waiting=(*kept, change)))
    return replaced


def plan(validators: ValidatorSet, waiting: Sequence[WaitingChange]) -> tuple[ValidatorSet, tuple[WaitingChange, ...]]:
    """Return the set after as many of the waiting changes, in their order, as one hand-over may make, and which."""
    members = {member.institution: member for member in validators.members}
    chosen: list[WaitingChange] = []
    for change in waiting:
        if len(chosen) >= max(1, validators.max_faulty):
            break
        if not fits(validators, change):
            continue
        size = len(members) + (1 if change.is_join else 0) - (1 if change.public_key is None else 0)
        if not VALIDATORS_MIN <= size <= VALIDATORS_MAX:
            continue
        if change.public_key is None:
            del members[change.institution]
        else:
            members[change.institution] = Validator(change.institution, change.public_key)
        chosen.append(change)
    return ValidatorSet(tuple(members[name] for name in sorted(members))), tuple(chosen)


def fits(validators: ValidatorSet, change: WaitingChange) -> bool:
    """Tell whether a change still says something about a set: who joins is no member, who leaves is one."""
    return (validators.index_of(change.institution) is None) == change.is_join


def _differs(old: ValidatorSet, new: ValidatorSet, institution: InstitutionId) -> bool:
    before, after = old.index_of(institution), new.index_of(institution)
    if before is None or after is None:
        return before != after
    return old.members[before] != new.members[after]


# --- what falls due with a block ---


class Outcome(msgspec.Struct, frozen=True):
    """What a block's end did to the set and to what waits."""

    in_force: tuple[Uint, ...] = ()
    """Proposals whose change is in `val/set` now."""
    scheduled: tuple[Uint, ...] = ()
    """Proposals whose change is fixed now."""
    scheduled_height: Height = 0
    lapsed: tuple[tuple[Uint, str], ...] = ()
    """Proposals that are over, and why."""


def settle(state: WorldState, height: Height, time_ms: TimestampMs) -> Outcome:
    """Bring what is due into force at a block's end, drop what had no turn in time, and plan the next change."""
    schedule = schedule_of(state)
    if schedule.scheduled is None and not schedule.waiting:
        return Outcome()
    in_force: tuple[Uint, ...] = ()
    scheduled, last = schedule.scheduled, schedule.last_effective_height
    if scheduled is not None and height + 1 >= scheduled.effective_height:
        put_validators(state, scheduled.validators, height, time_ms)
        in_force, last, scheduled = scheduled.proposals, scheduled.effective_height, None
    validators = validators_of(state)
    waiting, lapsed = _still_waiting(validators, schedule.waiting, height, is_settled=scheduled is None)
    chosen: tuple[WaitingChange, ...] = ()
    if scheduled is None and height > last and waiting:
        following, chosen = plan(validators, waiting)
        if chosen:
            proposals = tuple(change.proposal for change in chosen)
            scheduled = ScheduledChange(height + NOTICE_HEIGHTS, following, proposals)
            waiting = tuple(change for change in waiting if change not in chosen)
    changed = Schedule(last, scheduled, waiting)
    if changed != schedule:
        state.put(keys.VALIDATOR_SCHEDULE, changed)
    return Outcome(in_force, tuple(change.proposal for change in chosen), height + NOTICE_HEIGHTS, lapsed)


def _still_waiting(
    validators: ValidatorSet, waiting: Sequence[WaitingChange], height: Height, *, is_settled: bool
) -> tuple[tuple[WaitingChange, ...], tuple[tuple[Uint, str], ...]]:
    """Return the changes that go on waiting, and the proposals that lapse with the reason."""
    kept, lapsed = [], []
    for change in waiting:
        if is_settled and not fits(validators, change):
            state = "is a validator" if change.is_join else "is no validator"
            lapsed.append((change.proposal, f"{change.institution} {state}"))
        elif change.lapses_height <= height:
            lapsed.append((change.proposal, _no_turn(validators, change)))
        else:
            kept.append(change)
    return tuple(kept), tuple(lapsed)


def _no_turn(validators: ValidatorSet, change: WaitingChange) -> str:
    size = len(validators)
    if change.public_key is None and size <= VALIDATORS_MIN:
        return f"there are {size} validators, {VALIDATORS_MIN} are the least"
    if change.is_join and size >= VALIDATORS_MAX:
        return f"there are {size} validators, {VALIDATORS_MAX} are the most"
    return "its turn did not come in time"
