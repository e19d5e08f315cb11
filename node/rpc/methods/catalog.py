"""`catalog_…`: what microcredentials there are."""

from typing import Annotated

from msgspec import Meta, Struct

from node.chain.reading import accreditation
from node.chain.records.definition import Definition, DefinitionContent
from node.rpc.catalogue import Filters
from node.rpc.services import Services
from node.rpc.shapes import (
    LIMIT_DEFAULT,
    ActView,
    CatalogueId,
    CreditsView,
    Cursor,
    Hex,
    Institution,
    LevelView,
    Limit,
    Page,
    ShortText,
    Texts,
    Time,
    act_view,
    credits_view,
    level_view,
    not_found,
    page_of,
    texts,
    time_text,
)
from node.state import keys

Amount = Annotated[float, Meta(ge=0, le=1_000_000)]
LevelFilter = Annotated[
    str, Meta(pattern="^[A-Za-z0-9_-]{1,64}:[0-9]{1,2}$", max_length=67, description="such as `MNC:5`")
]
ParticipationFilter = Annotated[str, Meta(pattern="^(in_person|online|hybrid|dual)$")]
LabelFilter = Annotated[str, Meta(pattern="^(autorizada|registrada|propia)$")]


class OutcomeView(Struct, frozen=True):
    """One learning outcome."""

    verb: str
    statement: str
    evidence: str


class QualityView(Struct, frozen=True):
    """Quality assurance: who reviewed it and when."""

    agency: Institution
    reviewed: Time
    report_hash: Hex | None


class AlignmentView(Struct, frozen=True):
    """A code in somebody's framework."""

    framework: str
    code: str
    name: str
    url: str


class DefinitionSummary(Struct, frozen=True):
    """A definition in a list."""

    id: CatalogueId
    issuer: Institution
    title: Texts
    hours: int
    credits: CreditsView | None
    level: LevelView | None
    participation: str | None
    field: str
    municipality: str
    state: str
    """published, authorised or retired."""
    label: str
    """What people are shown: see `catalog_get`."""


class DefinitionView(Struct, frozen=True, kw_only=True):
    """A definition in full."""

    id: CatalogueId
    issuer: Institution
    state: str
    """published, authorised or retired."""
    label: str
    """autorizada: an authority gave it the protected label and its issuer is accredited now; registrada: its
    issuer is accredited now; propia: neither, the issuer alone answers for it."""
    published: ActView
    authorised: ActView | None
    retired: ActView | None
    title: Texts
    description: Texts
    creators: list[str]
    languages: list[str]
    outcomes: list[OutcomeView]
    hours: int
    credits: CreditsView | None
    level: LevelView | None
    assessment: str
    participation: str | None
    quality: QualityView | None
    prerequisites: list[str]
    supervision: str
    grading: str
    stackability: str
    field: str
    egel_area: str
    sdgs: list[int]
    municipality: str
    price: str
    alignments: list[AlignmentView]
    validity_months: int
    strand: str
    origin: str
    assessment_only: bool
    learning_account_eligible: bool


def catalog_get(services: Services, id: CatalogueId) -> DefinitionView:  # noqa: A002 – the parameter's name is a promise
    """Return a definition with all its elements, its state and the label that people are shown."""
    record = services.ledger.read(keys.definition(id), Definition)
    if record is None:
        raise not_found(f"no definition {id}")
    content = record.content
    return DefinitionView(
        id=content.id,
        issuer=record.issuer,
        state=_state(record),
        label=label_of(services, record),
        published=act_view(record.published),
        authorised=None if record.authorised is None else act_view(record.authorised),
        retired=None if record.retired is None else act_view(record.retired),
        title=texts(content.title),
        description=texts(content.description),
        creators=list(content.creators),
        languages=list(content.languages),
        outcomes=[OutcomeView(item.verb, item.statement, item.evidence) for item in content.outcomes],
        hours=content.hours,
        credits=None if content.credits is None else credits_view(content.credits),
        level=None if content.level is None else level_view(content.level),
        assessment=content.assessment,
        participation=content.participation,
        quality=_quality(content),
        prerequisites=list(content.prerequisites),
        supervision=content.supervision,
        grading=content.grading,
        stackability=content.stackability,
        field=content.field,
        egel_area=content.egel_area,
        sdgs=list(content.sdgs),
        municipality=content.municipality,
        price=content.price,
        alignments=[AlignmentView(item.framework, item.code, item.name, item.url) for item in content.alignments],
        validity_months=content.validity_months,
        strand=content.strand,
        origin=content.origin,
        assessment_only=content.assessment_only,
        learning_account_eligible=content.learning_account_eligible,
    )


def catalog_search(
    services: Services,
    text: ShortText | None = None,
    level: LevelFilter | None = None,
    field: ShortText | None = None,
    credits_min: Amount | None = None,
    credits_max: Amount | None = None,
    participation: ParticipationFilter | None = None,
    municipality: ShortText | None = None,
    issuer: Institution | None = None,
    standard: ShortText | None = None,
    label: LabelFilter | None = None,
    cursor: Cursor | None = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Page[DefinitionSummary]:
    """Search the catalogue; every word of `text` must occur, case and accents do not matter.

    Definitions that are retired are found too: their credentials live on.
    """
    filters = Filters(text, level, field, credits_min, credits_max, participation, municipality, issuer, standard)
    found = {entry.record.content.id: entry.record for entry in services.catalogue.search(filters)}
    ids = (
        id_
        for id_, record in found.items()
        if id_ > (cursor or "") and (label is None or label_of(services, record) == label)
    )
    chosen, next_cursor = page_of(ids, limit)
    return Page([_summary(services, found[id_]) for id_ in chosen], next_cursor)


def label_of(services: Services, record: Definition) -> str:
    """Derive what people are shown from the chain; never free text."""
    head = services.ledger.head
    if accreditation(services.records, record.issuer, time_ms=head.timestamp_ms) is None:
        return "propia"
    return "registrada" if record.authorised is None else "autorizada"


def _state(record: Definition) -> str:
    if record.retired is not None:
        return "retired"
    return "published" if record.authorised is None else "authorised"


def _quality(content: DefinitionContent) -> QualityView | None:
    quality = content.quality
    if quality is None:
        return None
    report_hash = None if quality.report_hash is None else quality.report_hash.hex()
    return QualityView(quality.agency, time_text(quality.reviewed_ms), report_hash)


def _summary(services: Services, record: Definition) -> DefinitionSummary:
    content = record.content
    return DefinitionSummary(
        content.id,
        record.issuer,
        texts(content.title),
        content.hours,
        None if content.credits is None else credits_view(content.credits),
        None if content.level is None else level_view(content.level),
        content.participation,
        content.field,
        content.municipality,
        _state(record),
        label_of(services, record),
    )
