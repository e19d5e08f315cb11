"""`key.add`, `key.retire`, `key.compromise`: an institution changes its own keys.

Who may: a recovery key of the institution, or its transaction keys with an authority's co-signature;
a compromise declared more than 1,000 heights back always needs the authority. A key that is added signs
its own adding too, so nobody registers a key that is not in its hands. Consensus and governance keys
change only by governance. The last recovery key is never retired; when a compromise takes it, an
event says so. Source: DOMAIN §1.
"""

from collections.abc import Collection
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node.chain.membership import check_no_vote_of
from node.chain.reading import standing_step
from node.chain.records.common import Act, KeyReference
from node.chain.records.institution import (
    Compromise,
    Institution,
    InstitutionKey,
    Purpose,
    Role,
    Standing,
)
from node.chain.rules.framework import Context, Event, GivenKey, Rule, SignatureGroup
from node.chain.transaction import Transaction
from node.crypto.signing import Algorithm, check_public_key, key_id
from node.errors import Reason, Rejected
from node.limits import COMPROMISE_LOOKBACK_HEIGHTS_MAX, COST_PER_STATE_KEY, KEYS_PER_INSTITUTION_MAX
from node.primitives import Height, InstitutionId, KeyId, PublicKey
from node.state import keys

ED25519_PURPOSES: Final = frozenset({Purpose.ASSERTION, Purpose.NODE})
"""Purposes that the rest of the world checks with Ed25519 only."""
GOVERNED_PURPOSES: Final = frozenset({Purpose.CONSENSUS, Purpose.GOVERNANCE})
KEY_KINDS: Final = ("key.add", "key.compromise", "key.retire")


class NewKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A key that an institution brings."""

    algorithm: Annotated[int, Meta(ge=1, le=255)]
    """1 = Ed25519, 2 = P-256."""
    public_key: PublicKey
    purpose: Purpose


class KeyAdd(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`key.add`: one more key, good from this block on."""

    institution: InstitutionId
    """The signer."""
    key: NewKey


class KeyRetire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`key.retire`: a key signs no more; what it signed stays good."""

    institution: InstitutionId
    key_id: KeyId


class KeyCompromise(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`key.compromise`: a key was in wrong hands since a height; what came from there on is void."""

    institution: InstitutionId
    key_id: KeyId
    since_height: Height
    """What was included below it stays good."""


def new_key_id(key: NewKey) -> KeyId:
    """Return the id under which a new key is stored."""
    return key_id(key.algorithm, key.public_key)


def check_new_key(key: NewKey) -> None:
    """Refuse a key that no institution may bring by itself.

    Raises: Rejected(NOT_PERMITTED), Rejected(BAD_PUBLIC_KEY).
    """
    _must_not_be_governed(key.purpose)
    check_public_key(key.algorithm, key.public_key)
    if key.purpose in ED25519_PURPOSES and key.algorithm != Algorithm.ED25519:
        raise Rejected(
            Reason.BAD_PUBLIC_KEY, f"a key of purpose {key.purpose} has algorithm 1, not {int(key.algorithm)}"
        )


def adding_act(act: Act, brought: Collection[KeyReference]) -> Act:
    """Return the act that adds keys: that of whoever signed besides these keys themselves.

    A new key signs only to prove that it is held. It *adds* neither itself nor one that comes with it,
    so that one found compromised from the start does not mark the others.
    """
    references = tuple(reference for reference in act.keys if reference not in brought)
    return msgspec.structs.replace(act, keys=references, required=len(references))


def add_signers(context: Context, transaction: Transaction, payload: KeyAdd) -> tuple[SignatureGroup, ...]:
    """Ask for recovery keys, or for transaction keys and an authority's; and for the new key itself.

    Whether the key may be added at all is checked first: no signature by an unusable key is good, and one
    by a key that the institution has would count as that key's.
    """
    changing = _signers(context, transaction, payload.institution, authority_needed=False)
    check_new_key(payload.key)
    id_ = new_key_id(payload.key)
    is_listed = id_ in context.institution(payload.institution).keys
    if not is_listed:
        check_no_vote_of(context.state, payload.key.public_key)
    held = context.state.get(keys.key(payload.institution, id_), InstitutionKey)
    # One of governance that has left the list keeps its record.
    if is_listed or (held is not None and held.purpose in GOVERNED_PURPOSES):
        raise Rejected(Reason.ALREADY_EXISTS, f"{payload.institution} has or had the key {id_.hex()}")
    given = (GivenKey(payload.key.algorithm, payload.key.public_key),)
    return (*changing, SignatureGroup(payload.institution, frozenset({payload.key.purpose}), 1, given))


def retire_signers(context: Context, transaction: Transaction, payload: KeyRetire) -> tuple[SignatureGroup, ...]:
    """Ask for recovery keys, or for transaction keys and an authority's."""
    return _signers(context, transaction, payload.institution, authority_needed=False)


def compromise_signers(
    context: Context, transaction: Transaction, payload: KeyCompromise
) -> tuple[SignatureGroup, ...]:
    """Ask for the same, and always for the authority's where it reaches more than 1,000 heights back."""
    far_back = context.height - payload.since_height > COMPROMISE_LOOKBACK_HEIGHTS_MAX
    return _signers(context, transaction, payload.institution, authority_needed=far_back)


def execute_add(context: Context, transaction: Transaction, payload: KeyAdd) -> tuple[Event, ...]:
    """Record a key that `add_signers` found good and new."""
    institution = context.institution(payload.institution)
    step = standing_step(context.state, institution)
    if step is not None and step.standing is Standing.WITHDRAWN:
        raise Rejected(Reason.WRONG_STATE, f"{institution.id} is withdrawn")
    if len(institution.keys) >= KEYS_PER_INSTITUTION_MAX:
        raise Rejected(
            Reason.LIMIT_EXCEEDED, f"{institution.id} has {len(institution.keys)} keys of {KEYS_PER_INSTITUTION_MAX}"
        )
    new, id_ = payload.key, new_key_id(payload.key)
    added = adding_act(context.act(transaction), (KeyReference(institution.id, id_),))
    record = InstitutionKey(institution.id, new.algorithm, new.public_key, new.purpose, added, None, None)
    context.state.put(keys.key(institution.id, id_), record)
    changed = msgspec.structs.replace(institution, keys=(*institution.keys, id_))
    context.state.put(keys.accreditation(institution.id), changed)
    return (_event("key_add", institution.id, id_),)


def execute_retire(context: Context, transaction: Transaction, payload: KeyRetire) -> tuple[Event, ...]:
    """End a key; what it signed stays good."""
    institution = context.institution(payload.institution)
    key = context.key(KeyReference(institution.id, payload.key_id))
    _must_not_be_governed(key.purpose)
    if not key.is_in_force:
        raise Rejected(Reason.WRONG_STATE, f"key {payload.key_id.hex()} is {_end_of(key)} already")
    if key.purpose is Purpose.RECOVERY:
        _must_leave_recovery(context, institution)
    retired = msgspec.structs.replace(key, retired=context.act(transaction))
    context.state.put(keys.key(institution.id, payload.key_id), retired)
    return (_event("key_retire", institution.id, payload.key_id),)


def execute_compromise(context: Context, transaction: Transaction, payload: KeyCompromise) -> tuple[Event, ...]:
    """Mark a key, and every key of the institution that it added at or after that height."""
    institution = context.institution(payload.institution)
    key = context.key(KeyReference(institution.id, payload.key_id))
    _must_not_be_governed(key.purpose)
    if payload.since_height > context.height:
        raise Rejected(Reason.INVALID_VALUE, f"since height {payload.since_height} in block {context.height}")
    if key.compromised is not None and key.compromised.since_height <= payload.since_height:
        raise Rejected(
            Reason.WRONG_STATE,
            f"key {payload.key_id.hex()} is compromised since {key.compromised.since_height} already",
        )
    act = context.act(transaction)
    marked = _descendants(context, institution, payload.key_id, payload.since_height)
    for id_, record in marked:
        changed = msgspec.structs.replace(record, compromised=Compromise(payload.since_height, act))
        context.state.put(keys.key(institution.id, id_), changed)
    events = [_event("key_compromise", institution.id, id_) for id_, _ in marked]
    if not _recovery_keys_in_force(context, institution):
        events.append(Event("institution", "recovery_lost", keys.accreditation(institution.id)))
    return tuple(events)


def _signers(
    context: Context, transaction: Transaction, institution_id: InstitutionId, *, authority_needed: bool
) -> tuple[SignatureGroup, ...]:
    """Choose the groups by what is attached: whose keys, and of which purpose."""
    if transaction.signer != institution_id:
        raise Rejected(Reason.NOT_PERMITTED, f"{transaction.signer} may not change keys of {institution_id}")
    institution = context.institution(institution_id)
    count = institution.signatures_for(transaction.kind)
    purpose = Purpose.RECOVERY if _signed_by_recovery(context, transaction) else Purpose.TRANSACTION
    own = SignatureGroup(institution_id, frozenset({purpose}), count)
    if purpose is Purpose.RECOVERY and not authority_needed:
        return (own,)
    others = {item.institution for item in transaction.signatures} - {institution_id}
    if not others:
        raise Rejected(
            Reason.WRONG_SIGNERS,
            f"an authority must co-sign: {transaction.kind} of {institution_id} with {purpose} keys"
            + (f" reaches more than {COMPROMISE_LOOKBACK_HEIGHTS_MAX} heights back" if authority_needed else ""),
        )
    if len(others) > 1:
        raise Rejected(Reason.WRONG_SIGNERS, f"{len(others)} institutions co-sign, one authority is needed")
    authority = others.pop()
    context.with_role(authority, Role.AUTHORITY)
    return (own, context.own_keys(authority, transaction.kind))


def _signed_by_recovery(context: Context, transaction: Transaction) -> bool:
    """Tell whether one of the attached signatures names a recovery key of the signer."""
    for item in transaction.signatures:
        if item.institution != transaction.signer:
            continue
        key = context.state.get(keys.key(item.institution, item.key_id), InstitutionKey)
        if key is not None and key.purpose is Purpose.RECOVERY:
            return True
    return False


def _must_not_be_governed(purpose: Purpose) -> None:
    if purpose in GOVERNED_PURPOSES:
        raise Rejected(Reason.NOT_PERMITTED, f"{purpose} keys change only by governance")


def _must_leave_recovery(context: Context, institution: Institution) -> None:
    """Refuse to retire a recovery key without which key changes could no longer be signed."""
    needed = max(institution.signatures_for(kind) for kind in KEY_KINDS)
    left = len(_recovery_keys_in_force(context, institution)) - 1
    if left < needed:
        raise Rejected(
            Reason.NOT_PERMITTED, f"{left} recovery keys of {institution.id} would be left, {needed} needed: add one"
        )


def _recovery_keys_in_force(context: Context, institution: Institution) -> list[KeyId]:
    found = []
    for id_ in institution.keys:
        key = context.key(KeyReference(institution.id, id_))
        if key.purpose is Purpose.RECOVERY and key.is_in_force:
            found.append(id_)
    return found


def _descendants(
    context: Context, institution: Institution, first: KeyId, since: Height
) -> list[tuple[KeyId, InstitutionKey]]:
    """Return the key and those that it, or one that it added, added at or after `since`; in the order they came.

    Keys come in the order in which they were added, so one pass finds all. One that is marked from an
    earlier height keeps that mark. Consensus and governance keys are never added by a key.
    """
    bad = {first}
    found = []
    for id_ in institution.keys:
        key = context.key(KeyReference(institution.id, id_))
        if id_ != first and not (key.added.height >= since and _added_by(key.added, institution.id, bad)):
            continue
        bad.add(id_)
        if key.compromised is None or key.compromised.since_height > since:
            found.append((id_, key))
    return found


def _added_by(added: Act, institution_id: InstitutionId, bad: set[KeyId]) -> bool:
    return any(item.institution == institution_id and item.key_id in bad for item in added.keys)


def _end_of(key: InstitutionKey) -> str:
    return "compromised" if key.compromised is not None else "retired"


def _event(action: str, institution_id: InstitutionId, id_: KeyId) -> Event:
    return Event("institution", action, keys.key(institution_id, id_))


def _add_cost(_payload: KeyAdd) -> int:
    return 4 * COST_PER_STATE_KEY


def _retire_cost(_payload: KeyRetire) -> int:
    return 4 * COST_PER_STATE_KEY


def _compromise_cost(_payload: KeyCompromise) -> int:
    return (KEYS_PER_INSTITUTION_MAX // 4) * COST_PER_STATE_KEY


# A stolen key must be stopped also on a full network: key changes use the reserved half of a block.
RULES: Final = (
    Rule("key.add", KeyAdd, add_signers, execute_add, _add_cost, priority=True),
    Rule("key.retire", KeyRetire, retire_signers, execute_retire, _retire_cost, priority=True),
    Rule("key.compromise", KeyCompromise, compromise_signers, execute_compromise, _compromise_cost, priority=True),
)
