"""`definition.publish | authorise | retire` and `pathway.publish | retire`: the catalogue.

A published version never changes; whoever wants something else publishes a new one.
Source: DOMAIN §2, §4.
"""

from typing import Final

import msgspec

from node.chain.catalogue_check import (
    award_fault,
    definition_faults,
    institution_of,
    missing_elements,
    pathway_faults,
)
from node.chain.reading import is_void
from node.chain.records.common import Act
from node.chain.records.definition import Definition, DefinitionContent
from node.chain.records.institution import NO_COUNTERS, ROLES_AWARDING, Counters, Role, Step
from node.chain.records.pathway import Pathway, PathwayContent, RequirementKind
from node.chain.rules.framework import Context, Event, Rule, signer_group
from node.chain.transaction import Transaction
from node.errors import Reason, Rejected
from node.limits import COST_PER_STATE_KEY
from node.primitives import CatalogueId, InstitutionId
from node.state import keys


class DefinitionPublish(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Put a microcredential into the catalogue."""

    content: DefinitionContent


class DefinitionAuthorise(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Give a definition the protected label; an authority's act."""

    id: CatalogueId


class DefinitionRetire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Issue no more credentials of a definition."""

    id: CatalogueId


class PathwayPublish(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Say how credentials add up to a larger one."""

    content: PathwayContent


class PathwayRetire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Stack no more along a pathway."""

    id: CatalogueId


def is_retired(context: Context, retired: Act | None) -> bool:
    """Tell whether a retirement holds; one whose keys turned bad never happened."""
    return retired is not None and not is_void(context.state, retired)


def definition_in_force(context: Context, definition_id: CatalogueId) -> Definition:
    """Return a definition that is not retired. Raises: Rejected(NOT_FOUND), Rejected(WRONG_STATE)."""
    definition = context.state.get(keys.definition(definition_id), Definition)
    if definition is None:
        raise Rejected(Reason.NOT_FOUND, f"definition {definition_id} is not on the chain")
    if is_retired(context, definition.retired):
        raise Rejected(Reason.WRONG_STATE, f"definition {definition_id} is retired")
    return definition


def pathway_in_force(context: Context, pathway_id: CatalogueId) -> Pathway:
    """Return a pathway that is not retired. Raises: Rejected(NOT_FOUND), Rejected(WRONG_STATE)."""
    pathway = context.state.get(keys.pathway(pathway_id), Pathway)
    if pathway is None:
        raise Rejected(Reason.NOT_FOUND, f"pathway {pathway_id} is not on the chain")
    if is_retired(context, pathway.retired):
        raise Rejected(Reason.WRONG_STATE, f"pathway {pathway_id} is retired")
    return pathway


def check_award(context: Context, institution: InstitutionId, content: DefinitionContent) -> Step:
    """Return the standing that allows an institution to award a definition now.

    Raises: Rejected(UNKNOWN_INSTITUTION), Rejected(NOT_ACCREDITED), Rejected(NOT_PERMITTED),
    Rejected(OUT_OF_SCOPE) with the limit and the value.
    """
    step = context.with_role(institution, *sorted(ROLES_AWARDING))
    fault = award_fault(step, content)
    if fault is not None:
        raise Rejected(Reason.OUT_OF_SCOPE, f"{institution}: {fault}")
    return step


def counters_of(context: Context, institution: InstitutionId) -> Counters:
    """Return what an institution has used up so far."""
    return context.state.get(keys.counters(institution), Counters) or NO_COUNTERS


def _check_own(transaction: Transaction, catalogue_id: CatalogueId) -> None:
    """Refuse to act on what stands in another institution's name. Raises: Rejected(NOT_PERMITTED)."""
    owner = institution_of(catalogue_id)
    if owner != transaction.signer:
        raise Rejected(Reason.NOT_PERMITTED, f"{catalogue_id} is of {owner}, not of {transaction.signer}")


def publish_definition(context: Context, transaction: Transaction, payload: DefinitionPublish) -> tuple[Event, ...]:
    """Check all elements, the issuer's scope and the quality review; then record the definition."""
    content = payload.content
    _check_own(transaction, content.id)
    missing = missing_elements(content)
    if missing:
        raise Rejected(Reason.MISSING_ELEMENT, ", ".join(map(str, missing)))
    faults = "; ".join(definition_faults(content))
    if faults:
        raise Rejected(Reason.INVALID_VALUE, faults)
    check_award(context, transaction.signer, content)
    _check_framework(context, "credits", content.credits.framework if content.credits else "")
    _check_quality(context, content)
    plain_key = keys.definition(content.id)
    if context.state.get(plain_key, Definition) is not None:
        raise Rejected(Reason.ALREADY_EXISTS, f"definition {content.id} was published before")

    act = context.act(transaction)
    context.state.put(plain_key, Definition(content, transaction.signer, act, None, None))
    used = counters_of(context, transaction.signer)
    context.state.put(
        keys.counters(transaction.signer), msgspec.structs.replace(used, definitions=used.definitions + 1)
    )
    return (Event("catalog", "publish", plain_key),)


def _check_framework(context: Context, field: str, framework: str) -> None:
    listed = [item.name for item in context.parameters.credit_frameworks]
    if framework not in listed:
        raise Rejected(Reason.INVALID_VALUE, f"{field}: framework {framework} is none of {', '.join(listed)}")


def _check_quality(context: Context, content: DefinitionContent) -> None:
    """Refuse a review by nobody who may review, or one of the future."""
    quality = content.quality
    assert quality is not None
    context.with_role(quality.agency, Role.QUALITY_AGENCY, Role.AUTHORITY)
    if quality.reviewed_ms > context.time_ms:
        raise Rejected(
            Reason.INVALID_VALUE, f"quality: reviewed at {quality.reviewed_ms} ms, block time is {context.time_ms} ms"
        )


def authorise_definition(context: Context, transaction: Transaction, payload: DefinitionAuthorise) -> tuple[Event, ...]:
    """Let an authority give the protected label."""
    context.with_role(transaction.signer, Role.AUTHORITY)
    definition = definition_in_force(context, payload.id)
    if definition.authorised is not None and not is_void(context.state, definition.authorised):
        raise Rejected(Reason.WRONG_STATE, f"definition {payload.id} is authorised already")

    plain_key = keys.definition(payload.id)
    context.state.put(plain_key, msgspec.structs.replace(definition, authorised=context.act(transaction)))
    return (Event("catalog", "authorise", plain_key),)


def retire_definition(context: Context, transaction: Transaction, payload: DefinitionRetire) -> tuple[Event, ...]:
    """Let the issuer end a definition; what was issued stays good."""
    _check_own(transaction, payload.id)
    definition = definition_in_force(context, payload.id)

    plain_key = keys.definition(payload.id)
    context.state.put(plain_key, msgspec.structs.replace(definition, retired=context.act(transaction)))
    return (Event("catalog", "retire", plain_key),)


def publish_pathway(context: Context, transaction: Transaction, payload: PathwayPublish) -> tuple[Event, ...]:
    """Check that the requirements make sense and that the award is the institution's own."""
    content = payload.content
    _check_own(transaction, content.id)
    _check_own(transaction, content.awards)
    faults = "; ".join(pathway_faults(content))
    if faults:
        raise Rejected(Reason.INVALID_VALUE, faults)
    for index, requirement in enumerate(content.requirements):
        if requirement.kind is RequirementKind.CREDITS_AT_LEAST:
            _check_framework(context, f"requirements[{index}]", requirement.framework)
    awarded = definition_in_force(context, content.awards)
    check_award(context, transaction.signer, awarded.content)
    plain_key = keys.pathway(content.id)
    if context.state.get(plain_key, Pathway) is not None:
        raise Rejected(Reason.ALREADY_EXISTS, f"pathway {content.id} was published before")

    context.state.put(plain_key, Pathway(content, context.act(transaction), None))
    used = counters_of(context, transaction.signer)
    context.state.put(keys.counters(transaction.signer), msgspec.structs.replace(used, pathways=used.pathways + 1))
    return (Event("catalog", "publish", plain_key),)


def retire_pathway(context: Context, transaction: Transaction, payload: PathwayRetire) -> tuple[Event, ...]:
    """Let the awarding institution end a pathway; what was stacked stays good."""
    _check_own(transaction, payload.id)
    pathway = pathway_in_force(context, payload.id)

    plain_key = keys.pathway(payload.id)
    context.state.put(plain_key, msgspec.structs.replace(pathway, retired=context.act(transaction)))
    return (Event("catalog", "retire", plain_key),)


RULES: Final = (
    Rule(
        "definition.publish",
        DefinitionPublish,
        signer_group,
        publish_definition,
        lambda _payload: 100 + 2 * COST_PER_STATE_KEY,
    ),
    Rule(
        "definition.authorise",
        DefinitionAuthorise,
        signer_group,
        authorise_definition,
        lambda _payload: 50 + COST_PER_STATE_KEY,
        priority=True,
    ),
    Rule(
        "definition.retire", DefinitionRetire, signer_group, retire_definition, lambda _payload: 50 + COST_PER_STATE_KEY
    ),
    Rule(
        "pathway.publish",
        PathwayPublish,
        signer_group,
        publish_pathway,
        lambda payload: (
            100 + 2 * COST_PER_STATE_KEY + 5 * sum(len(item.selectors) for item in payload.content.requirements)
        ),
    ),
    Rule("pathway.retire", PathwayRetire, signer_group, retire_pathway, lambda _payload: 50 + COST_PER_STATE_KEY),
)
