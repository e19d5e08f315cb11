"""Do these credentials fulfil this pathway, and if not, what is missing?

Pure, and the one place that answers it: for `pila pathway evaluate`, for RPC and for the stack rule.
A definition counts once, whatever its versions: who renews a credential has not learned twice.
Source: DOMAIN §4.
"""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from node.chain.catalogue_check import ANY_VERSION, decimal_text, line_of
from node.chain.records.common import Credits, Level
from node.chain.records.definition import DefinitionContent
from node.chain.records.pathway import PathwayContent, Requirement, RequirementKind, Selector
from node.primitives import TIMESTAMP_MS_MAX, CatalogueId, InstitutionId, TimestampMs

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One credential as a pathway sees it."""

    definition: CatalogueId
    issuer: InstitutionId
    field: str
    level: Level | None
    credits: Credits | None
    valid_from_ms: TimestampMs


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one demand of the pathway holds, in words."""

    subject: str
    """`requirements[i]`, `age_months_max`, `level_min`, `external_max`, `repeated` or `unneeded`."""
    holds: bool
    es: str
    en: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What holds and what is missing."""

    findings: tuple[Finding, ...]
    """One for each requirement, in order; then one for each limit that is set; then what is too much."""
    serving: tuple[tuple[int, ...], ...]
    """For each requirement, the indexes of the candidates that count towards it, ascending."""

    @property
    def holds(self) -> bool:
        """Whether exactly these credentials may be stacked, as far as requirements and limits go."""
        return all(finding.holds for finding in self.findings)

    @property
    def missing(self) -> tuple[Finding, ...]:
        """What does not hold."""
        return tuple(finding for finding in self.findings if not finding.holds)


def candidate(content: DefinitionContent, *, issuer: InstitutionId, valid_from_ms: TimestampMs) -> Candidate:
    """Return what a pathway sees of a credential of a definition."""
    return Candidate(content.id, issuer, content.field, content.level, content.credits, valid_from_ms)


def evaluate(pathway: PathwayContent, candidates: Sequence[Candidate], *, time_ms: TimestampMs) -> Evaluation:
    """Compare credentials with every requirement and limit of a pathway at a time."""
    findings: list[Finding] = []
    serving: list[tuple[int, ...]] = []
    for index, requirement in enumerate(pathway.requirements):
        finding, served = _evaluate_requirement(requirement, candidates, f"requirements[{index}]")
        findings.append(finding)
        serving.append(served)
    findings.extend(_limits(pathway, candidates, time_ms))
    findings.extend(_surplus(candidates, serving))
    return Evaluation(tuple(findings), tuple(serving))


def counts_as(credential: Candidate, selector: Selector) -> bool:
    """Tell whether a credential is in a selector's set of definitions.

    The one place where a recognition agreement can make it count for another definition.
    """
    if selector.definition and not _is_definition(credential.definition, selector.definition):
        return False
    if selector.issuer and credential.issuer != selector.issuer:
        return False
    if selector.field and credential.field != selector.field:
        return False
    return selector.level is None or reaches(credential.level, selector.level)


def _is_definition(definition: CatalogueId, wanted: str) -> bool:
    if wanted.endswith(f"/{ANY_VERSION}"):
        return line_of(definition) == line_of(wanted)
    return definition == wanted


def reaches(level: Level | None, least: Level) -> bool:
    """Tell whether a level is at least another; levels of two frameworks are never compared."""
    return level is not None and level.framework == least.framework and level.value >= least.value


def months_after(time_ms: TimestampMs, months: int) -> TimestampMs:
    """Return the same day and time so many calendar months later, or that month's last day (UTC).

    Ends with year 9999, the last that a timestamp can name.
    """
    start = _EPOCH + timedelta(milliseconds=time_ms)
    years, month = divmod(start.month - 1 + months, 12)
    year = start.year + years
    if year > 9999:
        return TIMESTAMP_MS_MAX
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return (start.replace(year=year, month=month + 1, day=day) - _EPOCH) // timedelta(milliseconds=1)


# --- requirements ---


def _evaluate_requirement(
    requirement: Requirement, candidates: Sequence[Candidate], subject: str
) -> tuple[Finding, tuple[int, ...]]:
    match requirement.kind:
        case RequirementKind.ALL_OF:
            return _all_of(requirement, candidates, subject)
        case RequirementKind.N_OF:
            return _n_of(requirement, candidates, subject)
        case RequirementKind.CREDITS_AT_LEAST:
            return _credits_at_least(requirement, candidates, subject)


def _serving(requirement: Requirement, candidates: Sequence[Candidate]) -> tuple[int, ...]:
    """Return the candidates in any of the requirement's sets."""
    return tuple(
        index
        for index, credential in enumerate(candidates)
        if any(counts_as(credential, selector) for selector in requirement.selectors)
    )


def _all_of(requirement: Requirement, candidates: Sequence[Candidate], subject: str) -> tuple[Finding, tuple[int, ...]]:
    """Every set needs a definition of its own: one credential never stands for two sets at once."""
    lines: dict[str, int] = {}
    for credential in candidates:
        lines.setdefault(line_of(credential.definition), len(lines))
    choices: list[list[int]] = []
    for selector in requirement.selectors:
        matching = (lines[line_of(item.definition)] for item in candidates if counts_as(item, selector))
        choices.append(list(dict.fromkeys(matching)))
    unserved = _unserved(choices)
    served = _serving(requirement, candidates)
    if not unserved:
        total = len(requirement.selectors)
        return Finding(subject, True, f"Están los {total} que se piden.", f"All {total} asked for are there."), served
    names_es = "; ".join(_selector_es(requirement.selectors[index]) for index in unserved)
    names_en = "; ".join(_selector_en(requirement.selectors[index]) for index in unserved)
    return Finding(subject, False, f"Falta: {names_es}.", f"Missing: {names_en}."), served


def _unserved(choices: Sequence[Sequence[int]]) -> list[int]:
    """Return which sets stay without a definition of their own in a largest assignment, ascending.

    Augmenting paths (Kuhn): at most 64 sets and 64 definitions.
    """
    holder: dict[int, int] = {}

    def assign(chooser: int, seen: set[int]) -> bool:
        for choice in choices[chooser]:
            if choice in seen:
                continue
            seen.add(choice)
            if choice not in holder or assign(holder[choice], seen):
                holder[choice] = chooser
                return True
        return False

    return [chooser for chooser in range(len(choices)) if not assign(chooser, set())]


def _n_of(requirement: Requirement, candidates: Sequence[Candidate], subject: str) -> tuple[Finding, tuple[int, ...]]:
    served = _serving(requirement, candidates)
    found = len({line_of(candidates[index].definition) for index in served})
    holds = found >= requirement.count
    es = f"Hay {found} de {requirement.count}"
    en = f"There are {found} of {requirement.count}"
    if holds:
        return Finding(subject, True, f"{es}.", f"{en}."), served
    names_es = "; ".join(map(_selector_es, requirement.selectors))
    names_en = "; ".join(map(_selector_en, requirement.selectors))
    return Finding(subject, False, f"{es}; cuentan: {names_es}.", f"{en}; these count: {names_en}."), served


def _credits_at_least(
    requirement: Requirement, candidates: Sequence[Candidate], subject: str
) -> tuple[Finding, tuple[int, ...]]:
    """Credits of other frameworks are not converted: they do not count."""
    best: dict[str, int] = {}
    served = []
    for index in _serving(requirement, candidates):
        credit = candidates[index].credits
        if credit is None or credit.framework != requirement.framework:
            continue
        served.append(index)
        line = line_of(candidates[index].definition)
        best[line] = max(best.get(line, 0), credit.value_hundredths)
    total = sum(best.values())
    holds = total >= requirement.credits_hundredths
    have, need = decimal_text(total), decimal_text(requirement.credits_hundredths)
    es = f"Hay {have} de {need} créditos {requirement.framework}"
    en = f"There are {have} of {need} {requirement.framework} credits"
    if holds:
        return Finding(subject, True, f"{es}.", f"{en}."), tuple(served)
    names_es = "; ".join(map(_selector_es, requirement.selectors))
    names_en = "; ".join(map(_selector_en, requirement.selectors))
    return Finding(subject, False, f"{es}; cuentan: {names_es}.", f"{en}; these count: {names_en}."), tuple(served)


def _selector_es(selector: Selector) -> str:
    parts = [selector.definition] if selector.definition else ["cualquier microcredencial"]
    if selector.issuer and not selector.definition:
        parts.append(f"de {selector.issuer}")
    if selector.field:
        parts.append(f"del campo {selector.field}")
    if selector.level is not None:
        parts.append(f"de nivel {selector.level.framework} {selector.level.value} o más")
    return " ".join(parts)


def _selector_en(selector: Selector) -> str:
    parts = [selector.definition] if selector.definition else ["any microcredential"]
    if selector.issuer and not selector.definition:
        parts.append(f"of {selector.issuer}")
    if selector.field:
        parts.append(f"in the field {selector.field}")
    if selector.level is not None:
        parts.append(f"of level {selector.level.framework} {selector.level.value} or above")
    return " ".join(parts)


# --- limits, and what is too much ---


def _limits(pathway: PathwayContent, candidates: Sequence[Candidate], time_ms: TimestampMs) -> list[Finding]:
    found = []
    if pathway.age_months_max:
        months = pathway.age_months_max
        old = [item for item in candidates if months_after(item.valid_from_ms, months) < time_ms]
        es, en = f"Ninguna tiene más de {months} meses.", f"None is older than {months} months."
        if old:
            es = f"Con más de {months} meses: {_names(old)}."
            en = f"Older than {months} months: {_names(old)}."
        found.append(Finding("age_months_max", not old, es, en))
    if pathway.level_min is not None:
        least = pathway.level_min
        low = [item for item in candidates if not reaches(item.level, least)]
        level = f"{least.framework} {least.value}"
        es, en = f"Todas alcanzan el nivel {level}.", f"All reach level {level}."
        if low:
            es, en = f"No alcanzan el nivel {level}: {_names(low)}.", f"Below level {level}: {_names(low)}."
        found.append(Finding("level_min", not low, es, en))
    home = pathway.awards.partition("/")[0]
    external = sum(1 for item in candidates if item.issuer != home)
    limit = pathway.external_max
    found.append(
        Finding(
            "external_max",
            external <= limit,
            f"{external} de otras instituciones; se admiten {limit}.",
            f"{external} from other institutions; {limit} allowed.",
        )
    )
    return found


def _surplus(candidates: Sequence[Candidate], serving: Sequence[tuple[int, ...]]) -> list[Finding]:
    """Name what may not be in the stack: a definition twice, and what serves no requirement."""
    found = []
    first: dict[str, str] = {}
    repeated = []
    for item in candidates:
        line = line_of(item.definition)
        if line in first:
            repeated.append(item)
        first.setdefault(line, item.definition)
    if repeated:
        names = _names(repeated)
        found.append(
            Finding(
                "repeated",
                False,
                f"Cada microcredencial cuenta una vez: {names}.",
                f"A definition counts once: {names}.",
            )
        )
    needed = {index for served in serving for index in served}
    unneeded = [item for index, item in enumerate(candidates) if index not in needed]
    if unneeded:
        names = _names(unneeded)
        found.append(
            Finding("unneeded", False, f"No sirven a ningún requisito: {names}.", f"Serve no requirement: {names}.")
        )
    return found


def _names(items: Sequence[Candidate]) -> str:
    return ", ".join(item.definition for item in items)
