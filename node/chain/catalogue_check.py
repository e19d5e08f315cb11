"""What a definition and a pathway must hold before anybody publishes them.

Pure checks of the content alone, shared by the rules, which refuse, and by `pila definition check`,
which names everything at once before anything is sent. Source: DOMAIN §1, §2, §4.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from node.chain.records.common import Credits, Level, Translations
from node.chain.records.definition import DefinitionContent
from node.chain.records.institution import ROLES_AWARDING, Role, Scope, Step
from node.chain.records.pathway import PathwayContent, Requirement, RequirementKind, Selector
from node.limits import COMPONENTS_PER_STACK_MAX, SELECTORS_PER_PATHWAY_MAX
from node.primitives import CATALOGUE_ID_PATTERN, INSTITUTION_ID_PATTERN, InstitutionId

STRANDS: Final = frozenset({"perfil_egreso", "competencia_laboral"})
STRAND_OF_CERTIFIERS: Final = "competencia_laboral"
ORIGINS: Final = frozenset({"formal", "dual", "work_experience", "self_taught"})
ANY_VERSION: Final = "*"
"""Last part of a selector's definition that stands for every version."""

_catalogue_id = re.compile(CATALOGUE_ID_PATTERN)
_institution_id = re.compile(INSTITUTION_ID_PATTERN)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a definition: the EU recommendation's letter, its name and the field here."""

    letter: str
    """`b` … `k`; "" for what is mandatory here although the recommendation does not list it."""
    name: str
    field: str

    def __str__(self) -> str:
        return f"{self.letter} {self.name} ({self.field})".strip()


TITLE: Final = Element("b", "title", "title")
OUTCOMES: Final = Element("f", "learning outcomes", "outcomes")
WORKLOAD_HOURS: Final = Element("g", "workload", "hours")
WORKLOAD_CREDITS: Final = Element("g", "workload", "credits")
LEVEL: Final = Element("h", "level", "level")
ASSESSMENT: Final = Element("i", "type of assessment", "assessment")
PARTICIPATION: Final = Element("j", "form of participation", "participation")
QUALITY: Final = Element("k", "quality assurance", "quality")
VALIDITY: Final = Element("", "validity", "validity_months")


def institution_of(catalogue_id: str) -> InstitutionId:
    """Return the institution in whose name a definition or pathway stands."""
    return catalogue_id.partition("/")[0]


def line_of(catalogue_id: str) -> str:
    """Return `<institution>/<slug>`: the definition or pathway whatever its version."""
    return catalogue_id.rpartition("/")[0]


def decimal_text(hundredths: int) -> str:
    """Write a number of hundredths as people do: 250 → 2.5, 400 → 4."""
    whole, rest = divmod(hundredths, 100)
    return f"{whole}.{rest:02d}".rstrip("0") if rest else str(whole)


def missing_elements(content: DefinitionContent) -> tuple[Element, ...]:
    """Return every mandatory element that is absent or blank, in the recommendation's order.

    a (learner) and e (date of issue) belong to the document; c (country) and d (awarding body) are
    the institution's record and the id.
    """
    outcomes_filled = bool(content.outcomes) and all(
        not _blank(part) for outcome in content.outcomes for part in (outcome.verb, outcome.statement, outcome.evidence)
    )
    found = (
        (TITLE, any(item.language == "es" and not _blank(item.text) for item in content.title)),
        (OUTCOMES, outcomes_filled),
        (WORKLOAD_HOURS, content.hours > 0),
        (WORKLOAD_CREDITS, _has_credits(content.credits)),
        (LEVEL, content.level is not None and not _blank(content.level.framework)),
        (ASSESSMENT, not _blank(content.assessment)),
        (PARTICIPATION, content.participation is not None),
        (QUALITY, content.quality is not None),
        (VALIDITY, content.validity_months > 0),
    )
    return tuple(element for element, present in found if not present)


def definition_faults(content: DefinitionContent) -> Iterator[str]:
    """Yield what is present but wrong in itself, one sentence each, field first."""
    yield from _translation_faults("title", content.title)
    yield from _translation_faults("description", content.description)
    yield from _list_faults("creators", content.creators)
    yield from _list_faults("prerequisites", content.prerequisites)
    yield from _order_faults("languages", content.languages)
    yield from _order_faults("sdgs", content.sdgs)
    if content.strand and content.strand not in STRANDS:
        yield f"strand: {content.strand} is none of {', '.join(sorted(STRANDS))}"
    if content.origin and content.origin not in ORIGINS:
        yield f"origin: {content.origin} is none of {', '.join(sorted(ORIGINS))}"
    for index, alignment in enumerate(content.alignments):
        if _blank(alignment.framework) or _blank(alignment.code) or _blank(alignment.name):
            yield f"alignments[{index}]: framework, code and name are all needed"
        if alignment.url and not alignment.url.startswith(("https://", "http://")):
            yield f"alignments[{index}]: {alignment.url} is no web address"


def scope_fault(scope: Scope, content: DefinitionContent) -> str | None:
    """Return the limit of an accreditation that a definition exceeds, with both values, or None."""
    if scope.levels and content.level not in scope.levels:
        allowed = ", ".join(_level_text(level) for level in scope.levels)
        return f"level {_level_text(content.level)} is none of {allowed}"
    credit = content.credits
    if credit is not None:
        if scope.frameworks and credit.framework not in scope.frameworks:
            return f"credit framework {credit.framework} is none of {', '.join(scope.frameworks)}"
        value = credit.value_hundredths
        if value < scope.credits_min_hundredths:
            return f"{decimal_text(value)} credits, at least {decimal_text(scope.credits_min_hundredths)}"
        if scope.credits_max_hundredths and value > scope.credits_max_hundredths:
            return f"{decimal_text(value)} credits, at most {decimal_text(scope.credits_max_hundredths)}"
    if scope.fields and content.field not in scope.fields:
        return f"field {content.field or '(none)'} is none of {', '.join(scope.fields)}"
    return None


def award_fault(step: Step, content: DefinitionContent) -> str | None:
    """Return why a standing does not allow its institution to award a definition, or None."""
    if not ROLES_AWARDING.intersection(step.roles):
        return "no role issuer or certifier"
    if Role.ISSUER not in step.roles and (content.strand != STRAND_OF_CERTIFIERS or not content.alignments):
        return f"a certifier awards competence standards only: strand {STRAND_OF_CERTIFIERS} and an alignment"
    return scope_fault(step.scope, content)


def pathway_faults(content: PathwayContent) -> Iterator[str]:
    """Yield what is wrong in a pathway in itself, one sentence each, field first."""
    if not any(item.language == "es" and not _blank(item.text) for item in content.title):
        yield "title: a text in es is needed"
    yield from _translation_faults("title", content.title)
    yield from _translation_faults("description", content.description)
    if content.level_min is not None and _blank(content.level_min.framework):
        yield "level_min: the framework is empty"
    for index, requirement in enumerate(content.requirements):
        yield from (f"requirements[{index}]: {fault}" for fault in _requirement_faults(requirement, content))
    selectors = sum(len(requirement.selectors) for requirement in content.requirements)
    if selectors > SELECTORS_PER_PATHWAY_MAX:
        yield f"requirements: {selectors} selectors, at most {SELECTORS_PER_PATHWAY_MAX}"


def _requirement_faults(requirement: Requirement, pathway: PathwayContent) -> Iterator[str]:
    match requirement.kind:
        case RequirementKind.ALL_OF:
            if requirement.count or requirement.framework or requirement.credits_hundredths:
                yield "all_of takes neither count nor credits"
        case RequirementKind.N_OF:
            if requirement.framework or requirement.credits_hundredths:
                yield "n_of takes no credits"
            if requirement.count == 0:
                yield "n_of needs a count of at least 1"
            named = {line_of(selector.definition) for selector in requirement.selectors}
            if "" not in named and requirement.count > len(named):
                yield f"n_of asks for {requirement.count} of {len(named)} definitions"
        case RequirementKind.CREDITS_AT_LEAST:
            if requirement.count:
                yield "credits_at_least takes no count"
            if _blank(requirement.framework) or requirement.credits_hundredths == 0:
                yield "credits_at_least needs a framework and more than 0 credits"
    if len(requirement.selectors) > COMPONENTS_PER_STACK_MAX:
        yield f"{len(requirement.selectors)} selectors, at most {COMPONENTS_PER_STACK_MAX}"
    for index, selector in enumerate(requirement.selectors):
        yield from (f"selectors[{index}]: {fault}" for fault in _selector_faults(selector, pathway))


def _selector_faults(selector: Selector, pathway: PathwayContent) -> Iterator[str]:
    if selector == Selector("", "", "", None):
        yield "names nothing"
    if selector.definition:
        exact = selector.definition
        if exact.endswith(f"/{ANY_VERSION}"):
            exact = f"{line_of(exact)}/1"
        if not _catalogue_id.match(exact):
            yield f"definition {selector.definition} is neither an id nor <institution>/<slug>/*"
        elif line_of(exact) == line_of(pathway.awards):
            yield f"definition {selector.definition} is what the pathway awards"
        elif selector.issuer and selector.issuer != institution_of(exact):
            yield f"definition {selector.definition} is not of issuer {selector.issuer}"
    if selector.issuer and not (_institution_id.match(selector.issuer) and len(selector.issuer) >= 3):
        yield f"issuer {selector.issuer} is no institution id"
    if selector.level is not None and _blank(selector.level.framework):
        yield "level: the framework is empty"


def _translation_faults(field: str, translations: Translations) -> Iterator[str]:
    languages = [item.language for item in translations]
    yield from _order_faults(field, languages)
    if languages and "es" not in languages:
        yield f"{field}: a text in es is needed beside {', '.join(languages)}"
    for item in translations:
        if _blank(item.text):
            yield f"{field}: the text in {item.language} is blank"


def _list_faults(field: str, items: Sequence[str]) -> Iterator[str]:
    for index, item in enumerate(items):
        if _blank(item):
            yield f"{field}[{index}]: is blank"


def _order_faults(field: str, items: Sequence[str] | Sequence[int]) -> Iterator[str]:
    """Yield the first pair that is not ascending: a list has one order, so one encoding."""
    for before, after in pairwise(map(_sortable, items)):
        if before >= after:
            yield f"{field}: {after[1]} stands after {before[1]} (ascending, none twice)"
            return


def _sortable(item: str | int) -> tuple[int, str]:
    return (item, str(item)) if isinstance(item, int) else (0, item)


def _has_credits(credit: Credits | None) -> bool:
    return credit is not None and not _blank(credit.framework) and credit.value_hundredths > 0


def _blank(text: str) -> bool:
    return not text.strip()


def _level_text(level: Level | None) -> str:
    return "(none)" if level is None else f"{level.framework} {level.value}"
