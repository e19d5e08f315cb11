"""What the chain says about one credential, one question a function.

The maker of a bundle asks all of them over the node's state and proves each record that was read; the
offline verifier asks them over the proven records. Because they are the same functions, what one
proves is what the other reads: so which records they read must not depend on the time.
Source: DOMAIN §1, §3, §4, §6.
"""

from dataclasses import dataclass

from node.chain.reading import Records, StackFinding, accreditation, is_void, stack_finding
from node.chain.records.credential import Batch
from node.chain.records.definition import Definition
from node.chain.records.institution import ROLES_AWARDING, Institution, Step
from node.chain.records.pathway import Stack, StackedComponent
from node.primitives import CatalogueId, Hash, Height, InstitutionId, TimestampMs
from node.state import keys


@dataclass(frozen=True, slots=True)
class IssuerFinding:
    """Who an issuer is, and how it stood then and now."""

    institution: Institution
    accredited_then: Step | None
    """The step that made it accredited, with an awarding role, at the height and time asked for."""
    accredited_now: Step | None
    accreditor: Institution | None
    """Who acted in the step of then."""


@dataclass(frozen=True, slots=True)
class DefinitionFinding:
    """What was awarded."""

    definition: Definition
    authorised: bool
    """Whether an authority's authorisation stands: the protected label."""


@dataclass(frozen=True, slots=True)
class StackedFinding:
    """What became of a stacked credential's components."""

    stack: Stack
    finding: StackFinding
    unaccredited: tuple[StackedComponent, ...]
    """Components whose issuer does not count as accredited at their batch's height."""


def issuer_finding(
    records: Records, issuer: InstitutionId, *, height: Height, time_ms: TimestampMs, now_ms: TimestampMs
) -> IssuerFinding | None:
    """Return how an issuer stood in the block of `height` and `time_ms` and at `now_ms`; None if unknown."""
    institution = records.get(keys.accreditation(issuer), Institution)
    if institution is None:
        return None
    then = _awarding(accreditation(records, issuer, time_ms=time_ms, height=height))
    now = _awarding(accreditation(records, issuer, time_ms=now_ms))
    accreditor = None if then is None else records.get(keys.accreditation(then.act.actor), Institution)
    return IssuerFinding(institution, then, now, accreditor)


def _awarding(step: Step | None) -> Step | None:
    """Return the step if it allows to award."""
    return step if step is not None and ROLES_AWARDING & set(step.roles) else None


def definition_finding(records: Records, definition_id: CatalogueId) -> DefinitionFinding | None:
    """Return a definition and whether it carries the protected label; None if unknown."""
    definition = records.get(keys.definition(definition_id), Definition)
    if definition is None:
        return None
    authorised = definition.authorised is not None and not is_void(records, definition.authorised)
    return DefinitionFinding(definition, authorised)


def stacked_finding(records: Records, credential_id: Hash) -> StackedFinding | None:
    """Return what became of a stacked credential's components; None if it is no stack."""
    stack = records.get(keys.stack(credential_id), Stack)
    if stack is None:
        return None
    finding = stack_finding(records, stack)
    unaccredited = tuple(leaf for leaf in finding.leaves if not _was_accredited(records, leaf.issuer, leaf.batch_id))
    return StackedFinding(stack, finding, unaccredited)


def _was_accredited(records: Records, issuer: InstitutionId, batch_id: Hash) -> bool:
    batch = records.get(keys.batch(batch_id), Batch)
    if batch is None:
        return False
    step = accreditation(records, issuer, time_ms=batch.act.time_ms, height=batch.act.height)
    return _awarding(step) is not None
