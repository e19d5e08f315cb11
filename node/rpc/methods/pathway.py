"""`pathway_…`: how credentials add up to a larger one."""

from typing import Annotated

from msgspec import Meta, Struct

from node.chain.pathway_evaluation import Candidate, candidate, evaluate
from node.chain.records.credential import Batch
from node.chain.records.definition import Definition
from node.chain.records.pathway import Pathway, Requirement
from node.limits import COMPONENTS_PER_STACK_MAX
from node.rpc.services import Services
from node.rpc.shapes import (
    LIMIT_DEFAULT,
    ActView,
    CatalogueId,
    CreditsView,
    Cursor,
    Hex32,
    LevelView,
    Limit,
    Page,
    Texts,
    act_view,
    level_view,
    not_found,
    page_of,
    texts,
)
from node.state import keys

CredentialIds = Annotated[
    list[Hex32], Meta(max_length=COMPONENTS_PER_STACK_MAX, description="ids of credentials on this chain")
]


class SelectorView(Struct, frozen=True):
    """A set of definitions: those that match every member that is not nil."""

    definition: str | None
    """Exact id, or `<institution>/<slug>/*` for any version."""
    issuer: str | None
    field: str | None
    level: LevelView | None
    """At least this level of this framework."""


class RequirementView(Struct, frozen=True):
    """One thing that the components must satisfy together."""

    kind: str
    """all_of, n_of or credits_at_least."""
    count: int | None
    """Of `n_of`."""
    credits: CreditsView | None
    """Of `credits_at_least`."""
    selectors: list[SelectorView]


class PathwayView(Struct, frozen=True, kw_only=True):
    """A pathway in full."""

    id: CatalogueId
    title: Texts
    description: Texts
    awards: CatalogueId
    """The definition that a stack awards."""
    requirements: list[RequirementView]
    age_months_max: int | None
    level_min: LevelView | None
    external_max: int
    exclusivity: str
    cascade: str
    attested_allowed: bool
    custodial_allowed: bool
    state: str
    """published or retired."""
    published: ActView
    retired: ActView | None


class PathwaySummary(Struct, frozen=True):
    """A pathway in a list."""

    id: CatalogueId
    title: Texts
    awards: CatalogueId
    state: str


class FindingView(Struct, frozen=True):
    """Whether one demand of the pathway holds, in words."""

    subject: str
    """`requirements[i]`, a limit's name, or what is too much."""
    holds: bool
    text: Texts


class EvaluationView(Struct, frozen=True):
    """Whether some credentials fulfil a pathway, and what is missing."""

    pathway: CatalogueId
    holds: bool
    requirements: list[FindingView]


def pathway_get(services: Services, id: CatalogueId) -> PathwayView:  # noqa: A002 – the parameter's name is a promise
    """Return a pathway: its requirements, its limits and what it awards."""
    record = _record(services, id)
    content = record.content
    return PathwayView(
        id=content.id,
        title=texts(content.title),
        description=texts(content.description),
        awards=content.awards,
        requirements=[_requirement(item) for item in content.requirements],
        age_months_max=content.age_months_max or None,
        level_min=None if content.level_min is None else level_view(content.level_min),
        external_max=content.external_max,
        exclusivity=content.exclusivity.value,
        cascade=content.cascade.value,
        attested_allowed=content.attested_allowed,
        custodial_allowed=content.custodial_allowed,
        state=_state(record),
        published=act_view(record.published),
        retired=None if record.retired is None else act_view(record.retired),
    )


def pathway_list(
    services: Services, cursor: Cursor | None = None, limit: Limit = LIMIT_DEFAULT
) -> Page[PathwaySummary]:
    """List the pathways by id."""
    ids, next_cursor = page_of(services.ledger.pathways(cursor or ""), limit)
    records = [_record(services, id_) for id_ in ids]
    items = [
        PathwaySummary(record.content.id, texts(record.content.title), record.content.awards, _state(record))
        for record in records
    ]
    return Page(items, next_cursor)


def pathway_evaluate(services: Services, pathway: CatalogueId, credentials: CredentialIds) -> EvaluationView:
    """Say which requirements some credentials fulfil, and what is missing.

    The chain does not know a credential's own date: the time of its block stands for it. Status and
    consent are the stack transaction's business.
    """
    record = _record(services, pathway)
    candidates = [_candidate(services, credential_id) for credential_id in credentials]
    found = evaluate(record.content, candidates, time_ms=services.ledger.head.timestamp_ms)
    findings = [FindingView(item.subject, item.holds, {"es": item.es, "en": item.en}) for item in found.findings]
    return EvaluationView(pathway, found.holds, findings)


def _record(services: Services, pathway_id: str) -> Pathway:
    found = services.ledger.read(keys.pathway(pathway_id), Pathway)
    if found is None:
        raise not_found(f"no pathway {pathway_id}")
    return found


def _state(record: Pathway) -> str:
    return "published" if record.retired is None else "retired"


def _requirement(requirement: Requirement) -> RequirementView:
    selectors = [
        SelectorView(
            item.definition or None,
            item.issuer or None,
            item.field or None,
            None if item.level is None else level_view(item.level),
        )
        for item in requirement.selectors
    ]
    wanted = CreditsView(requirement.framework, requirement.credits_hundredths / 100)
    return RequirementView(
        requirement.kind.value,
        requirement.count or None,
        wanted if requirement.framework else None,
        selectors,
    )


def _candidate(services: Services, credential_id: str) -> Candidate:
    located = services.ledger.find_credential(bytes.fromhex(credential_id))
    if located is None:
        raise not_found(f"no credential {credential_id}")
    batch = services.ledger.read(keys.batch(located.batch_id), Batch)
    definition = services.ledger.read(keys.definition(located.definition), Definition)
    assert batch is not None
    assert definition is not None
    return candidate(definition.content, issuer=located.issuer, valid_from_ms=batch.act.time_ms)
