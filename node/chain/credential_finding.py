"""What the chain says about one credential, one question a function.

The maker of a bundle asks all of them over the node's state and proves each record that was read; the
offline verifier asks them over the proven records. Because they are the same functions, what one
proves is what the other reads: so which records they read must not depend on the time.
Source: DOMAIN §1, §3, §4, §6.
"""

from dataclasses import dataclass

from node.chain.catalogue_check import award_fault
from node.chain.reading import (
    Impairment,
    Records,
    StackFinding,
    accreditation,
    accredits,
    is_void,
    stack_finding,
    standings_in_block,
)
from node.chain.records.common import Act
from node.chain.records.credential import Batch
from node.chain.records.definition import Definition, DefinitionContent
from node.chain.records.institution import ROLES_AWARDING, Institution, Step
from node.chain.records.pathway import Cascade, Stack, StackedComponent
from node.primitives import CatalogueId, Hash, InstitutionId, TimestampMs
from node.state import keys


@dataclass(frozen=True, slots=True)
class IssuerFinding:
    """Who an issuer is, and how it stood then and now."""

    institution: Institution
    accredited_then: Step | None
    """The step that made it accredited for what it awarded, in the block asked for."""
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
    """Components whose issuer does not count as accredited for them in their batch's block."""

    @property
    def impairment(self) -> Impairment:
        """The cascade's effect; a component whose issuer was not accredited for it counts as void."""
        if not self.unaccredited or self.stack.cascade is Cascade.NONE:
            return self.finding.impairment
        return Impairment.REVOKED if self.stack.cascade is Cascade.REVOKE else Impairment.IMPAIRED


def issuer_finding(
    records: Records, batch: Batch, content: DefinitionContent, now_ms: TimestampMs
) -> IssuerFinding | None:
    """Return how a batch's issuer stood in its block and at `now_ms`; None if unknown."""
    institution = records.get(keys.accreditation(batch.issuer), Institution)
    if institution is None:
        return None
    then = awarding_step(records, institution, batch.act, content)
    now = accreditation(records, institution.id, time_ms=now_ms)
    if now is not None and not ROLES_AWARDING.intersection(now.roles):
        now = None
    accreditor = None if then is None else records.get(keys.accreditation(then.act.actor), Institution)
    return IssuerFinding(institution, then, now, accreditor)


def awarding_step(records: Records, institution: Institution, act: Act, content: DefinitionContent) -> Step | None:
    """Return the step by which an institution might award a definition in the block of an act, or None.

    As today's records tell it: a step whose keys turned bad is left out, and what it allowed with it.
    """
    for step in standings_in_block(records, institution, act.height):
        if accredits(step, act.time_ms) and award_fault(step, content) is None:
            return step
    return None


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
    institution = records.get(keys.accreditation(issuer), Institution)
    if batch is None or institution is None:
        return False
    definition = records.get(keys.definition(batch.definition), Definition)
    return definition is not None and awarding_step(records, institution, batch.act, definition.content) is not None
