"""`def/<institution>/<slug>/<version>`: what a microcredential is.

A published version never changes; a new version supersedes it. Source: DOMAIN §2.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from node.chain.records.common import Act, Code, Credits, Language, Level, LongText, Name, Translations, Url
from node.limits import LIST_ITEMS_MAX, OUTCOMES_PER_DEFINITION_MAX, VALIDITY_MONTHS_MAX
from node.primitives import CatalogueId, Hash, InstitutionId, TimestampMs


class Participation(StrEnum):
    """Form of participation (element j)."""

    IN_PERSON = "in_person"
    ONLINE = "online"
    HYBRID = "hybrid"
    DUAL = "dual"


class Outcome(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One learning outcome (element f)."""

    verb: Name
    statement: LongText
    evidence: LongText


class Quality(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Quality assurance (element k): who reviewed it, when, and the report's hash."""

    agency: InstitutionId
    """An accredited quality agency or authority on this chain."""
    reviewed_ms: TimestampMs
    report_hash: Hash | None


class Alignment(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A code in somebody's framework: CONOCER EC, ESCO, NOC, CASE, EGEL."""

    framework: Code
    code: Code
    name: Name
    url: Url


class DefinitionContent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the issuer publishes. A mandatory element may be empty here: the rule names it."""

    id: CatalogueId
    title: Translations
    """Element b."""
    description: Translations
    creators: Annotated[tuple[Name, ...], Meta(max_length=LIST_ITEMS_MAX)]
    """Co-designers; the awarding body (element d) is the issuer."""
    languages: Annotated[tuple[Language, ...], Meta(max_length=16)]
    outcomes: Annotated[tuple[Outcome, ...], Meta(max_length=OUTCOMES_PER_DEFINITION_MAX)]
    """Element f."""
    hours: Annotated[int, Meta(ge=0, le=100_000)]
    """Element g, with credits: whole hours of a learner's work."""
    credits: Credits | None
    level: Level | None
    """Element h."""
    assessment: LongText
    """Element i."""
    participation: Participation | None
    """Element j."""
    quality: Quality | None
    """Element k."""
    prerequisites: Annotated[tuple[LongText, ...], Meta(max_length=LIST_ITEMS_MAX)]
    supervision: LongText
    grading: LongText
    """Grading scheme in words; a learner's grade is in the document only."""
    stackability: LongText
    field: Code
    egel_area: Name
    sdgs: Annotated[tuple[Annotated[int, Meta(ge=1, le=17)], ...], Meta(max_length=17)]
    municipality: Name
    price: Name
    alignments: Annotated[tuple[Alignment, ...], Meta(max_length=LIST_ITEMS_MAX)]
    validity_months: Annotated[int, Meta(ge=0, le=VALIDITY_MONTHS_MAX)]
    """How long a credential is valid; at least 1."""
    strand: Code
    """`perfil_egreso` or `competencia_laboral`."""
    origin: Code
    """`formal`, `dual`, `work_experience` or `self_taught`."""
    assessment_only: bool
    learning_account_eligible: bool


class Definition(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `def/<id>`."""

    content: DefinitionContent
    issuer: InstitutionId
    published: Act
    authorised: Act | None
    """By an authority: the legally protected label."""
    retired: Act | None
    """No new credentials from then on."""
