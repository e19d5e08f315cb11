"""`credential.issue` and what becomes of credentials: revoke, suspend, reinstate, supersede.

active ⇄ suspended; from either → revoked or superseded, by the issuer, for ever. The issuer's and an
authority's suspension are two fields, each lifted only by who set it. A mark by keys that turned bad
stays in force until an authority co-signs its lifting, even of `revoked`. Source: DOMAIN §3.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node.chain.reading import is_void
from node.chain.records.common import Act
from node.chain.records.credential import (
    Batch,
    FinalMark,
    FinalState,
    Mark,
    Origin,
    ReasonCode,
    Status,
    StatusListBinding,
    StatusListEntry,
    batch_id,
)
from node.chain.records.institution import Counters, Role
from node.chain.rules.catalogue import check_award, counters_of, definition_in_force
from node.chain.rules.framework import Context, Event, Rule, SignatureGroup, signer_group
from node.chain.transaction import Transaction
from node.crypto import merkle
from node.errors import Reason, Rejected
from node.limits import (
    BATCHES_REMEMBERED_MAX,
    COST_PER_STATE_KEY,
    CREDENTIALS_PER_BATCH_MAX,
    STATUS_ENTRIES_PER_TRANSACTION_MAX,
)
from node.primitives import HASH_BYTES, CatalogueId, Hash, InstitutionId
from node.state import keys


class CredentialIssue(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One batch of credentials of one definition."""

    definition: CatalogueId
    root: Hash
    """RFC 6962 root over the ids as leaf hashes, in order."""
    count: Annotated[int, Meta(ge=1, le=CREDENTIALS_PER_BATCH_MAX)]
    credential_ids: Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES * CREDENTIALS_PER_BATCH_MAX)]
    """32 · count bytes; no id twice."""


class StatusEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A change of one credential; which one only its holder and issuer know."""

    status_key: Hash
    reason: ReasonCode
    entry: StatusListEntry | None
    """Its place in the issuer's status lists; nil only from an authority, who may not know it."""


class StatusChange(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The payload of `credential.revoke | suspend | reinstate | supersede`: the kind is the action."""

    issuer: InstitutionId
    """Whose credentials they are."""
    entries: Annotated[tuple[StatusEntry, ...], Meta(min_length=1, max_length=STATUS_ENTRIES_PER_TRANSACTION_MAX)]
    """No status key twice; all are changed or none."""


NO_STATUS: Final = Status(None, None, None, None)


def split_ids(credential_ids: bytes) -> list[Hash]:
    """Cut one byte string of 32·n bytes into its n ids."""
    return [credential_ids[offset : offset + HASH_BYTES] for offset in range(0, len(credential_ids), HASH_BYTES)]


def issue(context: Context, transaction: Transaction, payload: CredentialIssue) -> tuple[Event, ...]:
    """Record a batch: 1,000 credentials are one state record."""
    issuer = transaction.signer
    _check_issue(context, issuer, payload)
    the_id = batch_id(issuer, payload.definition, payload.root, payload.count)
    plain_key = keys.batch(the_id)
    if context.state.get(plain_key, Batch) is not None:
        raise Rejected(Reason.ALREADY_EXISTS, f"batch {the_id.hex()} was issued before")
    _check_leaves(payload)

    act = context.act(transaction)
    context.state.put(plain_key, Batch(issuer, payload.definition, payload.root, payload.count, Origin.ISSUE, act))
    count_credentials(context, issuer, payload.count)
    return (Event("credential", "issue", plain_key, payload.count),)


def _check_issue(context: Context, issuer: InstitutionId, payload: CredentialIssue) -> None:
    """Refuse a batch that is too large or that the signer may not award now."""
    count_max = context.parameters.credentials_per_batch_max
    if payload.count > count_max:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{payload.count} credentials in a batch, at most {count_max}")
    if len(payload.credential_ids) != HASH_BYTES * payload.count:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"{len(payload.credential_ids)} bytes of ids instead of {HASH_BYTES * payload.count} for {payload.count}",
        )
    definition = definition_in_force(context, payload.definition)
    if definition.issuer != issuer:
        raise Rejected(Reason.NOT_PERMITTED, f"{payload.definition} is of {definition.issuer}, not of {issuer}")
    check_award(context, issuer, definition.content)


def _check_leaves(payload: CredentialIssue) -> None:
    """Refuse repeated ids and a root that is not theirs."""
    distinct, root = _leaves(payload.credential_ids)
    if distinct != payload.count:
        raise Rejected(Reason.INVALID_VALUE, f"{payload.count} ids, only {distinct} of them distinct")
    if root != payload.root:
        raise Rejected(Reason.WRONG_ROOT, f"root {payload.root.hex()}, the ids give {root.hex()}")


@lru_cache(maxsize=BATCHES_REMEMBERED_MAX)
def _leaves(credential_ids: bytes) -> tuple[int, Hash]:
    """Return how many of some ids are distinct, and their root.

    A node asks this of the same bytes when it admits, builds and executes: 2,000 hashes a batch of 1,000.
    """
    ids = split_ids(credential_ids)
    return len(set(ids)), merkle.root(ids)


def count_credentials(context: Context, issuer: InstitutionId, count: int) -> None:
    """Add one batch of `count` credentials to what an institution has issued."""
    used = counters_of(context, issuer)
    context.state.put(
        keys.counters(issuer),
        msgspec.structs.replace(used, credentials=used.credentials + count, batches=used.batches + 1),
    )


# --- status ---


@dataclass(frozen=True, slots=True)
class _Change:
    """One transaction that changes statuses, seen by each of its entries."""

    context: Context
    issuer: InstitutionId
    by_issuer: bool
    """Else by an authority."""
    co_signed: bool
    """Whether an authority signed beside the issuer."""
    act: Act

    def is_void(self, act: Act) -> bool:
        return is_void(self.context.state, act)

    def holder_of(self, place: StatusListEntry) -> Hash | None:
        """Return the key that a place in the lists belongs to; what an authority said does not bind the issuer."""
        plain_key = keys.status_list_entry(self.issuer, place.list_number, place.list_index)
        bound = self.context.state.get(plain_key, StatusListBinding)
        if bound is None or (self.by_issuer and bound.actor != self.issuer):
            return None
        return bound.status_key


def revoke(context: Context, transaction: Transaction, payload: StatusChange) -> tuple[Event, ...]:
    """End credentials for ever."""
    return _change(context, transaction, payload, "revoke")


def supersede(context: Context, transaction: Transaction, payload: StatusChange) -> tuple[Event, ...]:
    """End credentials for ever, because corrected ones replace them."""
    return _change(context, transaction, payload, "supersede")


def suspend(context: Context, transaction: Transaction, payload: StatusChange) -> tuple[Event, ...]:
    """Set the issuer's or an authority's suspension."""
    return _change(context, transaction, payload, "suspend")


def reinstate(context: Context, transaction: Transaction, payload: StatusChange) -> tuple[Event, ...]:
    """Lift the signer's own suspension, or, with an authority, what keys that turned bad had set."""
    return _change(context, transaction, payload, "reinstate")


def reinstate_signers(context: Context, transaction: Transaction, _payload: StatusChange) -> tuple[SignatureGroup, ...]:
    """Ask for the signer's keys and, where another institution signs beside it, for that one's.

    Whether such a co-signature is needed at all depends on each entry, so the rule judges it.
    Raises: Rejected(WRONG_SIGNERS).
    """
    groups = [context.own_keys(transaction.signer, transaction.kind)]
    co_signer = _co_signer(transaction)
    if co_signer is not None:
        groups.append(context.own_keys(co_signer, transaction.kind))
    return tuple(groups)


def _co_signer(transaction: Transaction) -> InstitutionId | None:
    """Return the one institution that signed beside the signer. Raises: Rejected(WRONG_SIGNERS)."""
    others = sorted({signature.institution for signature in transaction.signatures} - {transaction.signer})
    if len(others) > 1:
        raise Rejected(Reason.WRONG_SIGNERS, f"{', '.join(others)} co-sign, at most one may")
    return others[0] if others else None


def _change(context: Context, transaction: Transaction, payload: StatusChange, action: str) -> tuple[Event, ...]:
    """Compute every entry's new record, then write them all."""
    change = _who(context, transaction, payload.issuer, action)
    statuses: dict[Hash, Status] = {}
    bindings: dict[str, Hash] = {}
    first = 0
    lifted_void = False
    for entry in payload.entries:
        if entry.status_key in statuses:
            raise Rejected(Reason.INVALID_VALUE, f"status key {entry.status_key.hex()} stands twice")
        before = context.state.get(keys.status(payload.issuer, entry.status_key), Status)
        first += _is_first_of(change, entry.status_key, before)
        after, void = _ACTIONS[action](change, entry, before or NO_STATUS)
        lifted_void = lifted_void or void
        statuses[entry.status_key] = _bind(change, entry, after, bindings)
    if change.co_signed and not lifted_void:
        raise Rejected(Reason.WRONG_SIGNERS, "nothing here needs an authority's co-signature")
    _count_status_keys(change, first)
    for status_key, status in statuses.items():
        context.state.put(keys.status(payload.issuer, status_key), status)
    for plain_key, status_key in bindings.items():
        context.state.put(plain_key, StatusListBinding(status_key, transaction.signer))
    subject = keys.status(payload.issuer, payload.entries[0].status_key)
    return (Event("credential", action, subject, len(payload.entries)),)


def _who(context: Context, transaction: Transaction, issuer: InstitutionId, action: str) -> _Change:
    """Find out in which capacity the signer acts.

    An issuer needs no accreditation to withdraw what it issued: rather the contrary.
    Raises: Rejected(UNKNOWN_INSTITUTION), Rejected(NOT_PERMITTED), Rejected(NOT_ACCREDITED).
    """
    context.institution(issuer)
    act = context.act(transaction)
    if transaction.signer == issuer:
        co_signer = _co_signer(transaction)
        if co_signer is not None:
            context.with_role(co_signer, Role.AUTHORITY)
        return _Change(context, issuer, by_issuer=True, co_signed=co_signer is not None, act=act)
    if action in {"revoke", "supersede"}:
        raise Rejected(Reason.NOT_PERMITTED, f"{transaction.signer} may not {action} credentials of {issuer}")
    context.with_role(transaction.signer, Role.AUTHORITY)
    return _Change(context, issuer, by_issuer=False, co_signed=_co_signer(transaction) is not None, act=act)


def _revoked(change: _Change, entry: StatusEntry, before: Status) -> tuple[Status, bool]:
    return _ended(change, entry, before, FinalState.REVOKED), False


def _superseded(change: _Change, entry: StatusEntry, before: Status) -> tuple[Status, bool]:
    return _ended(change, entry, before, FinalState.SUPERSEDED), False


def _ended(change: _Change, entry: StatusEntry, before: Status, state: FinalState) -> Status:
    _check_not_final(entry, before)
    return msgspec.structs.replace(before, final=FinalMark(state, entry.reason, change.act))


def _suspended(change: _Change, entry: StatusEntry, before: Status) -> tuple[Status, bool]:
    _check_not_final(entry, before)
    mark = Mark(entry.reason, change.act)
    if change.by_issuer:
        if before.issuer_suspension is not None:
            raise Rejected(Reason.WRONG_STATE, f"{entry.status_key.hex()} is suspended by its issuer already")
        return msgspec.structs.replace(before, issuer_suspension=mark), False
    if before.authority_suspension is not None:
        by = before.authority_suspension.act.actor
        raise Rejected(Reason.WRONG_STATE, f"{entry.status_key.hex()} is suspended by {by} already")
    return msgspec.structs.replace(before, authority_suspension=mark), False


def _check_not_final(entry: StatusEntry, before: Status) -> None:
    if before.final is not None:
        raise Rejected(Reason.WRONG_STATE, f"{entry.status_key.hex()} is {before.final.state} for good")


def _reinstated(change: _Change, entry: StatusEntry, before: Status) -> tuple[Status, bool]:
    """Return the status with the outermost of the signer's marks lifted, and whether it was a void one.

    One transaction lifts one mark: a void `revoked` first, so that what stood before it stands again.
    """
    if not change.by_issuer:
        return _lifted_by_authority(change, entry, before), False
    if before.final is not None:
        if not change.is_void(before.final.act):
            _check_not_final(entry, before)
        _check_co_signed(change, entry, before.final.state)
        return msgspec.structs.replace(before, final=None), True
    mark = before.issuer_suspension
    if mark is None:
        raise Rejected(Reason.WRONG_STATE, f"{entry.status_key.hex()} is not suspended by {change.issuer}")
    void = change.is_void(mark.act)
    if void:
        _check_co_signed(change, entry, "suspended")
    return msgspec.structs.replace(before, issuer_suspension=None), void


def _check_co_signed(change: _Change, entry: StatusEntry, state: str) -> None:
    if not change.co_signed:
        raise Rejected(
            Reason.WRONG_SIGNERS,
            f"{entry.status_key.hex()} was {state} by keys that turned bad: an authority must co-sign",
        )


def _lifted_by_authority(change: _Change, entry: StatusEntry, before: Status) -> Status:
    """Lift an authority's suspension: by the one that set it, or by any once its keys turned bad."""
    _check_not_final(entry, before)
    mark = before.authority_suspension
    if mark is None:
        raise Rejected(Reason.WRONG_STATE, f"{entry.status_key.hex()} is not suspended by an authority")
    if mark.act.actor != change.act.actor and not change.is_void(mark.act):
        raise Rejected(
            Reason.NOT_PERMITTED,
            f"{entry.status_key.hex()} was suspended by {mark.act.actor}, not by {change.act.actor}",
        )
    return msgspec.structs.replace(before, authority_suspension=None)


_ACTIONS: Final = {
    "revoke": _revoked,
    "supersede": _superseded,
    "suspend": _suspended,
    "reinstate": _reinstated,
}
"""Each returns the new record and whether a void mark was lifted."""


def _bind(change: _Change, entry: StatusEntry, after: Status, bindings: dict[str, Hash]) -> Status:
    """Bind a status list's index to its key; the issuer's first use holds for ever, above an authority's word."""
    place = entry.entry
    if place is None:
        if change.by_issuer:
            raise Rejected(
                Reason.MISSING_ELEMENT, f"{entry.status_key.hex()}: its issuer names its place in the status lists"
            )
        return after
    known = after.entry
    if known is not None and known != place and not (change.by_issuer and change.holder_of(known) != entry.status_key):
        raise Rejected(
            Reason.INVALID_VALUE,
            f"{entry.status_key.hex()} has {_place(known)}, not {_place(place)}",
        )
    plain_key = keys.status_list_entry(change.issuer, place.list_number, place.list_index)
    holder = bindings.get(plain_key) or change.holder_of(place)
    if holder is None:
        bindings[plain_key] = entry.status_key
    elif holder != entry.status_key:
        raise Rejected(
            Reason.ALREADY_USED, f"{_place(place)} is bound to {holder.hex()}, not to {entry.status_key.hex()}"
        )
    return msgspec.structs.replace(after, entry=place)


def _place(entry: StatusListEntry) -> str:
    return f"index {entry.list_index} of list {entry.list_number}"


def _is_first_of(change: _Change, status_key: Hash, before: Status | None) -> bool:
    """Tell whether the issuer writes its first, or an authority the very first, mark under a status key."""
    if before is None or not change.by_issuer:
        return before is None
    return before.entry is None or change.holder_of(before.entry) != status_key


def _count_status_keys(change: _Change, first: int) -> None:
    """Count status keys, of issuer and authorities apart. Raises: Rejected(LIMIT_EXCEEDED)."""
    if not first:
        return
    counters: Counters = counters_of(change.context, change.issuer)
    used = counters.status_keys if change.by_issuer else counters.authority_status_keys
    if used + first > counters.credentials:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"{change.issuer} has {used} status keys {'' if change.by_issuer else 'of authorities '}"
            f"and {counters.credentials} credentials, no room for {first}",
        )
    if change.by_issuer:
        counters = msgspec.structs.replace(counters, status_keys=used + first)
    else:
        counters = msgspec.structs.replace(counters, authority_status_keys=used + first)
    change.context.state.put(keys.counters(change.issuer), counters)


def _issue_cost(payload: CredentialIssue) -> int:
    """Return the cost: one hash and a few bytes' handling a leaf, two state records."""
    return 50 + 2 * COST_PER_STATE_KEY + payload.count


def _status_cost(payload: StatusChange) -> int:
    """Return the cost: a status and a binding for each entry at first use, and the counters."""
    return 50 + COST_PER_STATE_KEY + (10 + 2 * COST_PER_STATE_KEY) * len(payload.entries)


RULES: Final = (
    Rule("credential.issue", CredentialIssue, signer_group, issue, _issue_cost),
    Rule("credential.revoke", StatusChange, signer_group, revoke, _status_cost, priority=True),
    Rule("credential.suspend", StatusChange, signer_group, suspend, _status_cost, priority=True),
    Rule("credential.reinstate", StatusChange, reinstate_signers, reinstate, _status_cost, priority=True),
    Rule("credential.supersede", StatusChange, signer_group, supersede, _status_cost, priority=True),
)
