"""`institution.*`: apply, review, accredit, suspend, reinstate, withdraw.

Each decision is a step in the institution's history. A void step (its keys turned out to be in wrong
hands) counts for nothing here either: rules read standings through `node.chain.reading`.
Source: DOMAIN §1, §3.
"""

import re
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node import codec
from node.chain.reading import standing_step, steps_in_force
from node.chain.records.common import Act, Code, KeyReference, Name, Translations, Url
from node.chain.records.governance import Authorities
from node.chain.records.institution import (
    UNLIMITED_SCOPE,
    Institution,
    InstitutionKey,
    Purpose,
    RequiredSignaturesList,
    Role,
    Scope,
    Standing,
    Step,
    StepKind,
)
from node.chain.rules.framework import Context, Event, GivenKey, Rule, SignatureGroup, signer_group
from node.chain.rules.keys import NewKey, adding_act, check_new_key, new_key_id
from node.chain.transaction import Transaction
from node.errors import Reason, Rejected
from node.limits import (
    AUTHORITIES_MAX,
    COST_PER_STATE_KEY,
    HISTORY_BYTES_RESERVED,
    HISTORY_STEPS_PER_INSTITUTION_MAX,
    HISTORY_STEPS_RESERVED,
    KEYS_PER_APPLICATION_MAX,
    REVIEWS_PER_AGENCY_MAX,
    STATE_RECORD_BYTES_MAX,
)
from node.primitives import Hash, InstitutionId, TimestampMs
from node.state import keys

REASON_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
CCT_PATTERN: Final = re.compile(r"[0-9]{2}[A-Z]{3}[0-9]{4}[A-Z]", re.ASCII)


class Decision(StrEnum):
    """How a quality agency decided."""

    FAVOURABLE = "favourable"
    UNFAVOURABLE = "unfavourable"


class PendingApplications(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `par/applications`: who applied and waits for an authority."""

    institutions: Annotated[tuple[InstitutionId, ...], Meta(max_length=1_000)]
    """In the order in which they applied; at most `pending_applications_max`."""


class Apply(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`institution.apply`: a new institution asks for accreditation and brings its first keys."""

    id: InstitutionId
    """The signer; must not exist."""
    names: Translations
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    region: Code
    municipality: Name
    website: Url
    cct: Code
    did: Url
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=8)]
    """What it asks for; ascending."""
    required_signatures: RequiredSignaturesList
    keys: Annotated[tuple[NewKey, ...], Meta(min_length=1, max_length=KEYS_PER_APPLICATION_MAX)]
    """At least one transaction and one recovery key; each signs."""
    forwarder: InstitutionId
    """The accredited institution that vouches for it and co-signs; rates and shares count against it."""


class Review(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`institution.review`: a quality agency's decision."""

    institution: InstitutionId
    decision: Decision
    report_hash: Hash
    """SHA-256 of the report."""


class Accredit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`institution.accredit`: an authority accredits, renews or changes an accreditation."""

    institution: InstitutionId
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=8)]
    """Ascending."""
    scope: Scope
    valid_until_ms: TimestampMs
    """0 = open."""


class Suspend(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`institution.suspend`: an authority stops an institution for a time."""

    institution: InstitutionId
    reason: Code
    """A code such as `audit`; never free text."""


class Reinstate(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`institution.reinstate`: an authority lifts a suspension."""

    institution: InstitutionId
    reason: Code


class Withdraw(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`institution.withdraw`: an authority ends an institution or refuses its application, for ever."""

    institution: InstitutionId
    reason: Code


def apply_signers(context: Context, transaction: Transaction, payload: Apply) -> tuple[SignatureGroup, ...]:
    """Ask for each of the new keys and for the forwarder's own."""
    _must_be_new(context, payload.id)
    context.accredited(payload.forwarder)
    given = tuple(GivenKey(key.algorithm, key.public_key) for key in payload.keys)
    own = SignatureGroup(payload.id, frozenset(key.purpose for key in payload.keys), len(given), given)
    return (own, context.own_keys(payload.forwarder, transaction.kind))


def execute_apply(context: Context, transaction: Transaction, payload: Apply) -> tuple[Event, ...]:
    """Record the institution, its keys and its place among those that wait."""
    _must_be_signer(transaction, payload.id)
    _must_be_new(context, payload.id)
    _check_profile(payload)
    _check_did(payload, context.parameters.did_host)
    _check_first_keys(payload)
    pending = _pending(context)
    if len(pending) >= context.parameters.pending_applications_max:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"{len(pending)} applications wait, at most {context.parameters.pending_applications_max} may",
        )
    act = context.act(transaction)
    ids = tuple(new_key_id(key) for key in payload.keys)
    step = Step(StepKind.APPLY, act, Standing.APPLIED, payload.roles, UNLIMITED_SCOPE, 0, "", None)
    earlier = _end_withdrawn_application(context, payload, act)
    institution = Institution(
        payload.id,
        payload.names,
        payload.country,
        payload.region,
        payload.municipality,
        payload.website,
        payload.cct,
        payload.did,
        payload.required_signatures,
        ids,
        (*earlier, step),
    )
    if earlier:
        _check_room(institution, stops=False)
    added = adding_act(act, [KeyReference(payload.id, id_) for id_ in ids])
    for id_, key in zip(ids, payload.keys, strict=True):
        record = InstitutionKey(payload.id, key.algorithm, key.public_key, key.purpose, added, None, None)
        context.state.put(keys.key(payload.id, id_), record)
    context.state.put(keys.PENDING_APPLICATIONS, PendingApplications((*pending, payload.id)))
    context.state.put(keys.accreditation(payload.id), institution)
    return (Event("institution", "apply", keys.accreditation(payload.id)),)


def execute_review(context: Context, transaction: Transaction, payload: Review) -> tuple[Event, ...]:
    """Add a review; the standing stays as it was."""
    context.with_role(transaction.signer, Role.QUALITY_AGENCY)
    institution, present = _subject(context, transaction, payload.institution)
    if present.standing is Standing.WITHDRAWN:
        raise Rejected(Reason.WRONG_STATE, f"{institution.id} is withdrawn")
    reviews = [step for step in institution.history if step.kind is StepKind.REVIEW]
    if any(step.report_hash == payload.report_hash for step in reviews):
        raise Rejected(Reason.ALREADY_EXISTS, f"report {payload.report_hash.hex()} was recorded before")
    own = sum(step.act.actor == transaction.signer for step in reviews)
    if own >= REVIEWS_PER_AGENCY_MAX:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"{transaction.signer} has reviewed {institution.id} {own} times, at most {REVIEWS_PER_AGENCY_MAX}",
        )
    act = context.act(transaction)
    step = Step(
        StepKind.REVIEW,
        act,
        present.standing,
        present.roles,
        present.scope,
        present.valid_until_ms,
        payload.decision,
        payload.report_hash,
    )
    return _append(context, institution, step)


def execute_accredit(context: Context, transaction: Transaction, payload: Accredit) -> tuple[Event, ...]:
    """Accredit an applicant after a favourable review, or renew or change an accreditation."""
    context.with_role(transaction.signer, Role.AUTHORITY)
    institution, present = _subject(context, transaction, payload.institution)
    if present.standing not in (Standing.APPLIED, Standing.ACCREDITED):
        raise Rejected(Reason.WRONG_STATE, f"{institution.id} is {present.standing}")
    _check_roles(payload.roles)
    _check_scope(payload.scope)
    if payload.valid_until_ms and payload.valid_until_ms <= context.time_ms:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"valid until {payload.valid_until_ms} is not after block time {context.time_ms}",
        )
    if present.standing is Standing.APPLIED:
        _must_be_reviewed(context, institution)
        _forget_application(context, institution.id)
    granted = (payload.roles, payload.scope, payload.valid_until_ms)
    if present.standing is Standing.ACCREDITED and granted == (present.roles, present.scope, present.valid_until_ms):
        raise Rejected(Reason.ALREADY_EXISTS, f"{institution.id} is accredited in exactly this way")
    if Role.AUTHORITY in payload.roles:
        _note_authority(context, institution.id)
    act = context.act(transaction)
    step = Step(StepKind.ACCREDIT, act, Standing.ACCREDITED, *granted, "", None)
    return _append(context, institution, step)


def _note_authority(context: Context, institution_id: InstitutionId) -> None:
    """List who has the role: a vote asks each of these how it stands. Raises: Rejected(LIMIT_EXCEEDED)."""
    found = context.state.get(keys.AUTHORITIES, Authorities)
    listed = () if found is None else found.institutions
    if institution_id in listed:
        return
    if len(listed) >= AUTHORITIES_MAX:
        raise Rejected(
            Reason.LIMIT_EXCEEDED, f"{len(listed)} institutions have or had the role authority of {AUTHORITIES_MAX}"
        )
    context.state.put(keys.AUTHORITIES, Authorities(tuple(sorted((*listed, institution_id)))))


def execute_suspend(context: Context, transaction: Transaction, payload: Suspend) -> tuple[Event, ...]:
    """Suspend an accredited institution."""
    return _decide(
        context,
        transaction,
        payload.institution,
        payload.reason,
        StepKind.SUSPEND,
        Standing.SUSPENDED,
        allowed=(Standing.ACCREDITED,),
    )


def execute_reinstate(context: Context, transaction: Transaction, payload: Reinstate) -> tuple[Event, ...]:
    """Lift a suspension: roles, scope and end are those from before."""
    return _decide(
        context,
        transaction,
        payload.institution,
        payload.reason,
        StepKind.REINSTATE,
        Standing.ACCREDITED,
        allowed=(Standing.SUSPENDED,),
    )


def execute_withdraw(context: Context, transaction: Transaction, payload: Withdraw) -> tuple[Event, ...]:
    """Withdraw an institution for ever; a waiting application makes room."""
    events = _decide(
        context,
        transaction,
        payload.institution,
        payload.reason,
        StepKind.WITHDRAW,
        Standing.WITHDRAWN,
        allowed=(Standing.APPLIED, Standing.ACCREDITED, Standing.SUSPENDED),
    )
    _forget_application(context, payload.institution)
    return events


def _decide(
    context: Context,
    transaction: Transaction,
    institution_id: InstitutionId,
    reason: Code,
    kind: StepKind,
    standing: Standing,
    *,
    allowed: tuple[Standing, ...],
) -> tuple[Event, ...]:
    """Record an authority's decision that keeps roles, scope and end."""
    context.with_role(transaction.signer, Role.AUTHORITY)
    institution, present = _subject(context, transaction, institution_id)
    if present.standing not in allowed:
        raise Rejected(Reason.WRONG_STATE, f"{institution.id} is {present.standing}")
    if not REASON_PATTERN.fullmatch(reason):
        raise Rejected(Reason.INVALID_VALUE, f"reason {reason!r} is no code of a-z, 0-9 and _")
    step = Step(
        kind,
        context.act(transaction),
        standing,
        present.roles,
        present.scope,
        present.valid_until_ms,
        reason,
        None,
    )
    return _append(context, institution, step)


def _append(context: Context, institution: Institution, step: Step) -> tuple[Event, ...]:
    """Write a step at the end of a history, keeping room for an authority to stop the institution."""
    changed = msgspec.structs.replace(institution, history=(*institution.history, step))
    stops = step.standing in (Standing.SUSPENDED, Standing.WITHDRAWN) and step.kind is not StepKind.REVIEW
    _check_room(changed, stops=stops)
    context.state.put(keys.accreditation(institution.id), changed)
    return (Event("institution", step.kind, keys.accreditation(institution.id)),)


def _check_room(changed: Institution, *, stops: bool) -> None:
    """Refuse a record that has grown too long; `stops`: its last step uses the reserve. Raises: Rejected."""
    steps_max = HISTORY_STEPS_PER_INSTITUTION_MAX - (0 if stops else HISTORY_STEPS_RESERVED)
    if len(changed.history) > steps_max:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{changed.id} has {len(changed.history) - 1} steps of {steps_max}")
    size = len(codec.encode(changed))
    size_max = STATE_RECORD_BYTES_MAX - (0 if stops else HISTORY_BYTES_RESERVED)
    if size > size_max:
        raise Rejected(Reason.LIMIT_EXCEEDED, f"{changed.id} would take {size} bytes of {size_max}")


def _subject(context: Context, transaction: Transaction, institution_id: InstitutionId) -> tuple[Institution, Step]:
    """Return whom a decision is about and how it stands; nobody decides about itself."""
    if institution_id == transaction.signer:
        raise Rejected(Reason.NOT_PERMITTED, f"{institution_id} may not decide about itself")
    institution = context.institution(institution_id)
    present = standing_step(context.state, institution)
    if present is None:
        # Every step was signed by keys that turned bad: what is left is an application that nobody made.
        return institution, msgspec.structs.replace(institution.history[0], standing=Standing.APPLIED)
    return institution, present


def _must_be_signer(transaction: Transaction, institution_id: InstitutionId) -> None:
    if transaction.signer != institution_id:
        raise Rejected(Reason.NOT_PERMITTED, f"{transaction.signer} may not apply for {institution_id}")


def _must_be_new(context: Context, institution_id: InstitutionId) -> None:
    """Refuse an id that is taken: by any institution, from version 2 on not by an application that was withdrawn."""
    found = context.state.get(keys.accreditation(institution_id), Institution)
    if found is not None and not (context.version >= 2 and _is_withdrawn_application(context, found)):
        raise Rejected(Reason.ALREADY_EXISTS, f"{institution_id} is on the chain")


def _is_withdrawn_application(context: Context, institution: Institution) -> bool:
    """Tell whether an institution was never accredited, by nobody, and an authority has ended its application."""
    if any(step.standing not in (Standing.APPLIED, Standing.WITHDRAWN) for step in institution.history):
        return False
    step = standing_step(context.state, institution)
    return step is not None and step.standing is Standing.WITHDRAWN


def _end_withdrawn_application(context: Context, payload: Apply, act: Act) -> tuple[Step, ...]:
    """Return the history of an earlier application under the same id, and let none of its keys sign any more.

    Whoever applied first need not have been the institution: what comes now brings keys of its own.
    Raises: Rejected(KEY_NOT_VALID): it brings one that is known to be in wrong hands.
    """
    earlier = context.state.get(keys.accreditation(payload.id), Institution)
    if earlier is None:
        return ()
    brought = {new_key_id(key) for key in payload.keys}
    for id_ in earlier.keys:
        key = context.key(KeyReference(earlier.id, id_))
        if id_ in brought and key.compromised is not None:
            raise Rejected(Reason.KEY_NOT_VALID, f"key {id_.hex()} is compromised")
        if key.is_in_force:
            context.state.put(keys.key(earlier.id, id_), msgspec.structs.replace(key, retired=act))
    return earlier.history


def _must_be_reviewed(context: Context, institution: Institution) -> None:
    """Ask for a favourable latest review of this application; a void one counts for nothing."""
    applied = max((index for index, step in enumerate(institution.history) if step.kind is StepKind.APPLY), default=0)
    latest = msgspec.structs.replace(institution, history=institution.history[applied:])
    reviews = [step for step in steps_in_force(context.state, latest) if step.kind is StepKind.REVIEW]
    if not reviews:
        raise Rejected(Reason.WRONG_STATE, f"{institution.id} has no review in force")
    if reviews[-1].decision != Decision.FAVOURABLE:
        raise Rejected(Reason.WRONG_STATE, f"the latest review of {institution.id} is {reviews[-1].decision}")


def _check_profile(payload: Apply) -> None:
    languages = [name.language for name in payload.names]
    if languages != sorted(set(languages)):
        raise Rejected(Reason.INVALID_VALUE, "names: not ascending by language, or one is there twice")
    if "es" not in languages:
        raise Rejected(Reason.MISSING_ELEMENT, "names: es")
    if not all(name.text.strip() for name in payload.names):
        raise Rejected(Reason.INVALID_VALUE, "names: one is empty")
    _check_roles(payload.roles)
    if payload.website and not payload.website.startswith("https://"):
        raise Rejected(Reason.INVALID_VALUE, f"website: {payload.website} does not begin with https://")
    if payload.cct and not CCT_PATTERN.fullmatch(payload.cct):
        raise Rejected(Reason.INVALID_VALUE, f"cct: {payload.cct} is no school code such as 11DIT0001E")
    if payload.did and not payload.did.startswith(("did:key:", "did:web:")):
        raise Rejected(Reason.INVALID_VALUE, f"did: {payload.did} is neither did:key nor did:web")


def _check_did(payload: Apply, did_host: str) -> None:
    """Refuse the name of another: where the network has a host, an institution's did:web is its own one there."""
    own = f"did:web:{did_host.replace(':', '%3A')}:did:{payload.id}"
    if did_host and payload.did.startswith("did:web:") and payload.did != own:
        raise Rejected(Reason.INVALID_VALUE, f"did: {payload.did} is not {own}")


def _check_roles(roles: tuple[Role, ...]) -> None:
    if list(roles) != sorted(set(roles)):
        raise Rejected(Reason.INVALID_VALUE, "roles: not ascending, or one is there twice")


def _check_scope(scope: Scope) -> None:
    low, high = scope.credits_min_hundredths, scope.credits_max_hundredths
    if high and low > high:
        raise Rejected(Reason.INVALID_VALUE, f"scope: at least {low} hundredths of credits, at most {high}")


def _check_first_keys(payload: Apply) -> None:
    """Refuse keys that nobody could use, and an institution that could not sign or recover."""
    for key in payload.keys:
        check_new_key(key)
    if len({key.public_key for key in payload.keys}) != len(payload.keys):
        raise Rejected(Reason.INVALID_VALUE, "keys: one is there twice")
    kinds = [item.kind for item in payload.required_signatures]
    if kinds != sorted(set(kinds)):
        raise Rejected(Reason.INVALID_VALUE, "required_signatures: not ascending by kind, or one is there twice")
    needed = {Purpose.TRANSACTION: 1, Purpose.RECOVERY: 1}
    for item in payload.required_signatures:
        purpose = Purpose.RECOVERY if item.kind.startswith("key.") else Purpose.TRANSACTION
        needed[purpose] = max(needed[purpose], item.count)
    for purpose, count in needed.items():
        found = sum(key.purpose is purpose for key in payload.keys)
        if found < count:
            raise Rejected(Reason.MISSING_ELEMENT, f"keys: {found} of purpose {purpose}, {count} needed")


def _pending(context: Context) -> tuple[InstitutionId, ...]:
    record = context.state.get(keys.PENDING_APPLICATIONS, PendingApplications)
    return () if record is None else record.institutions


def _forget_application(context: Context, institution_id: InstitutionId) -> None:
    pending = _pending(context)
    if institution_id in pending:
        rest = tuple(item for item in pending if item != institution_id)
        context.state.put(keys.PENDING_APPLICATIONS, PendingApplications(rest))


def _apply_cost(payload: Apply) -> int:
    return (len(payload.keys) + 3) * COST_PER_STATE_KEY


def _step_cost(_payload: Review | Accredit | Suspend | Reinstate | Withdraw) -> int:
    return 4 * COST_PER_STATE_KEY


RULES: Final = (
    Rule("institution.apply", Apply, apply_signers, execute_apply, _apply_cost),
    Rule("institution.review", Review, signer_group, execute_review, _step_cost),
    Rule("institution.accredit", Accredit, signer_group, execute_accredit, _step_cost, priority=True),
    Rule("institution.suspend", Suspend, signer_group, execute_suspend, _step_cost, priority=True),
    Rule("institution.reinstate", Reinstate, signer_group, execute_reinstate, _step_cost, priority=True),
    Rule("institution.withdraw", Withdraw, signer_group, execute_withdraw, _step_cost, priority=True),
)
