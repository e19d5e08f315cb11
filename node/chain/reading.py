"""What records mean together: standings, void acts, the status of a credential.

Rules, RPC and the offline verifier ask the same questions, so they call the same functions; only
the `Records` behind them differ (the node's state, or records proven by a bundle).
Source: DOMAIN §1, §3, §4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from node.chain.records.common import Act, KeyReference
from node.chain.records.credential import Batch, FinalState, Mark, Status
from node.chain.records.institution import (
    Institution,
    InstitutionKey,
    Role,
    Standing,
    Step,
    StepKind,
)
from node.chain.records.pathway import Cascade, Stack, StackedComponent
from node.limits import STACK_DEPTH_MAX, STACK_LEAVES_MAX
from node.primitives import Hash, Height, InstitutionId, TimestampMs
from node.state import keys

T = TypeVar("T")


class Records(Protocol):
    """Reads records by plain key; the node's state and a bundle's proven records are two."""

    def get(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the record, or None where there is none."""
        ...


class CredentialState(StrEnum):
    """A credential's status as people see it."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """The status of one status key, and the mark that made it so."""

    state: CredentialState
    by: Mark | None
    """The mark with reason and act; None while active."""


def key_of(records: Records, reference: KeyReference) -> InstitutionKey | None:
    """Return the record of a key."""
    return records.get(keys.key(reference.institution, reference.key_id), InstitutionKey)


def is_void(records: Records, act: Act) -> bool:
    """Tell whether too few of the act's keys stay good at its height."""
    good = 0
    for reference in act.keys:
        key = key_of(records, reference)
        if key is not None and key.is_good_at(act.height):
            good += 1
    return good < act.required


def steps_in_force(records: Records, institution: Institution) -> list[Step]:
    """Return the institution's steps without the void ones."""
    return [step for step in institution.history if not is_void(records, step.act)]


def standing_steps(records: Records, institution: Institution, height: Height | None = None) -> Iterator[Step]:
    """Yield the non-void steps that set a standing, latest first, up to a height (default: now).

    A review sets none. Only keys of steps that are asked for are read: a history can be long.
    """
    for step in reversed(institution.history):
        if step.kind is StepKind.REVIEW or (height is not None and step.act.height > height):
            continue
        if not is_void(records, step.act):
            yield step


def standing_step(records: Records, institution: Institution, height: Height | None = None) -> Step | None:
    """Return the non-void step that sets the standing after the block of a height (default: now)."""
    return next(standing_steps(records, institution, height), None)


def standings_in_block(records: Records, institution: Institution, height: Height) -> Iterator[Step]:
    """Yield the steps that set the standing at some moment of a block, latest first.

    A batch may have been executed before or after a step of its own block: that it is there proves that
    its issuer was accredited at that moment, unless the step is void.
    """
    for step in standing_steps(records, institution, height):
        yield step
        if step.act.height < height:
            return


def accreditation(
    records: Records,
    institution_id: InstitutionId,
    *,
    time_ms: TimestampMs,
    height: Height | None = None,
) -> Step | None:
    """Return the step that makes an institution accredited after a height and at a time, else None."""
    institution = records.get(keys.accreditation(institution_id), Institution)
    if institution is None:
        return None
    step = standing_step(records, institution, height)
    return step if step is not None and accredits(step, time_ms) else None


def accredits(step: Step, time_ms: TimestampMs) -> bool:
    """Tell whether an institution in this standing is accredited at a time."""
    return step.standing is Standing.ACCREDITED and not 0 < step.valid_until_ms <= time_ms


def has_role(records: Records, institution_id: InstitutionId, role: Role, *, time_ms: TimestampMs) -> bool:
    """Tell whether an institution is accredited now with a role."""
    step = accreditation(records, institution_id, time_ms=time_ms)
    return step is not None and role in step.roles


def batch_is_void(records: Records, batch: Batch) -> bool:
    """Tell whether fewer than the required signers of a batch stay good at its height."""
    return is_void(records, batch.act)


def credential_status(records: Records, institution_id: InstitutionId, status_key: Hash) -> CredentialStatus:
    """Return the status posted under a status key; no record means active.

    Marks by keys that turned bad stay in force: only an authority's co-signature lifts them.
    """
    status = records.get(keys.status(institution_id, status_key), Status)
    if status is None:
        return CredentialStatus(CredentialState.ACTIVE, None)
    if status.final is not None:
        state = CredentialState.REVOKED if status.final.state is FinalState.REVOKED else CredentialState.SUPERSEDED
        return CredentialStatus(state, Mark(status.final.reason, status.final.act))
    mark = status.issuer_suspension or status.authority_suspension
    if mark is not None:
        return CredentialStatus(CredentialState.SUSPENDED, mark)
    return CredentialStatus(CredentialState.ACTIVE, None)


class Impairment(StrEnum):
    """What its components' present status does to a stacked credential."""

    NONE = "none"
    IMPAIRED = "impaired"
    """A component is suspended or worse and the pathway says `flag`, or a suspension under `revoke`."""
    REVOKED = "revoked"
    """A component is revoked, superseded or void and the pathway says `revoke`."""


@dataclass(frozen=True, slots=True)
class ComponentFinding:
    """One component, at any depth, that is not what it was."""

    component: StackedComponent
    state: CredentialState
    batch_void: bool


@dataclass(frozen=True, slots=True)
class StackFinding:
    """What the components of a stacked credential, at any depth, say about it today."""

    impairment: Impairment
    leaves: tuple[StackedComponent, ...]
    """Every component at any depth, parents before children."""
    findings: tuple[ComponentFinding, ...]
    complete: bool
    """False when depth or number exceeds the bounds: then nothing may be concluded."""


def stack_finding(records: Records, stack: Stack) -> StackFinding:
    """Derive the cascade: it is never written, so it can never be stale."""
    leaves: list[StackedComponent] = []
    findings: list[ComponentFinding] = []
    impairment, complete = _descend(records, stack, 1, leaves, findings)
    return StackFinding(impairment, tuple(leaves), tuple(findings), complete)


def _descend(
    records: Records,
    stack: Stack,
    depth: int,
    leaves: list[StackedComponent],
    findings: list[ComponentFinding],
) -> tuple[Impairment, bool]:
    if depth > STACK_DEPTH_MAX:
        return Impairment.NONE, False
    worst, complete = Impairment.NONE, True
    for component in stack.components:
        if len(leaves) >= STACK_LEAVES_MAX:
            return worst, False
        leaves.append(component)
        state = credential_status(records, component.issuer, component.status_key).state
        batch = records.get(keys.batch(component.batch_id), Batch)
        void = batch is None or batch_is_void(records, batch)
        inner = records.get(keys.stack(component.credential_id), Stack)
        below = Impairment.NONE
        if inner is not None:
            below, inner_complete = _descend(records, inner, depth + 1, leaves, findings)
            complete = complete and inner_complete
        if state is not CredentialState.ACTIVE or void:
            findings.append(ComponentFinding(component, state, void))
        worst = _worse(worst, _effect(stack.cascade, state, void, below))
    return worst, complete


def _effect(cascade: Cascade, state: CredentialState, void: bool, below: Impairment) -> Impairment:
    """Return what one component does to the credential above it."""
    if cascade is Cascade.NONE:
        return Impairment.NONE
    gone = (
        void
        or below is Impairment.REVOKED
        or state
        in (
            CredentialState.REVOKED,
            CredentialState.SUPERSEDED,
        )
    )
    if gone and cascade is Cascade.REVOKE:
        return Impairment.REVOKED
    touched = gone or state is CredentialState.SUSPENDED or below is Impairment.IMPAIRED
    return Impairment.IMPAIRED if touched else Impairment.NONE


def _worse(one: Impairment, other: Impairment) -> Impairment:
    order = (Impairment.NONE, Impairment.IMPAIRED, Impairment.REVOKED)
    return max(one, other, key=order.index)
