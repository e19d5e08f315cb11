"""A definition or pathway as people write it (a table from TOML or JSON) into what the chain records.

`read_*` raise one ConfigError that names every malformed field; elements that are merely absent stay
empty, and the chain names them. `check_definition` names everything at once: malformed, missing and
doubtful. Lists that have one order on the chain are put into it here, and text is folded to one line
in NFC, so nobody has to know these rules to write a file. Source: DOMAIN §2, §4; INTERFACE §2.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from node.chain.catalogue_check import definition_faults, line_of, missing_elements, pathway_faults
from node.chain.file_reader import FieldReader
from node.chain.records.common import Credits, Level, Translation, Translations
from node.chain.records.definition import Alignment, DefinitionContent, Outcome, Participation, Quality
from node.chain.records.pathway import (
    Cascade,
    Exclusivity,
    PathwayContent,
    Requirement,
    RequirementKind,
    Selector,
)
from node.errors import ConfigError
from node.limits import (
    CODE_CHARS_MAX,
    COMPONENTS_PER_STACK_MAX,
    LIST_ITEMS_MAX,
    NAME_CHARS_MAX,
    OUTCOMES_PER_DEFINITION_MAX,
    REQUIREMENTS_PER_PATHWAY_MAX,
    TEXT_CHARS_MAX,
    TRANSLATIONS_MAX,
    URL_CHARS_MAX,
    VALIDITY_MONTHS_MAX,
)
from node.primitives import CATALOGUE_ID_PATTERN, INSTITUTION_ID_PATTERN

LANGUAGE_PATTERN: Final = r"^[a-z]{2,3}$"
HUNDREDTHS_MAX: Final = 100_000_000
VALIDITY_MONTHS_USUAL_MAX: Final = 60
HOURS_PER_CREDIT_USUAL: Final = (10, 60)
"""Outside, either hours or credits are probably a slip: SATCA has 16 hours, ECTS 25 to 30, Tepic 20."""
VERBS_NOT_OBSERVABLE: Final = frozenset(
    {"aprender", "comprender", "conocer", "entender", "saber", "familiarizarse", "know", "learn", "understand"}
)
"""Nobody can watch a learner do these: an outcome names what an assessor can see."""


def read_definition(table: Mapping[str, object]) -> DefinitionContent:
    """Return a definition's content. Raises: ConfigError naming every malformed field."""
    reader = FieldReader(table)
    content = _definition(reader)
    _raise_faults(reader)
    return content


def read_pathway(table: Mapping[str, object]) -> PathwayContent:
    """Return a pathway's content. Raises: ConfigError naming every malformed field."""
    reader = FieldReader(table)
    content = _pathway(reader)
    if not reader.faults:
        reader.faults.extend(pathway_faults(content))
    _raise_faults(reader)
    return content


def check_definition(table: Mapping[str, object]) -> list[str]:
    """Return every finding about a definition's table, worst first; empty when nothing is to mend."""
    reader = FieldReader(table)
    content = _definition(reader)
    findings = list(reader.faults)
    findings.extend(fault for fault in definition_faults(content) if fault not in findings)
    malformed = {finding.partition(":")[0].partition("[")[0].partition(".")[0] for finding in findings}
    findings.extend(
        f"{element.field}: missing – {f'{element.letter} {element.name}'.strip()}"
        for element in missing_elements(content)
        if element.field not in malformed
    )
    findings.extend(f"{doubt} (doubtful)" for doubt in _doubts(content))
    return findings


def _raise_faults(reader: FieldReader) -> None:
    if reader.faults:
        raise ConfigError("; ".join(reader.faults))


def _definition(reader: FieldReader) -> DefinitionContent:
    content = DefinitionContent(
        id=reader.text("id", chars_max=135, pattern=CATALOGUE_ID_PATTERN, mandatory=True),
        title=_translations(reader, "title"),
        description=_translations(reader, "description"),
        creators=reader.texts("creators", chars_max=NAME_CHARS_MAX, items_max=LIST_ITEMS_MAX),
        languages=tuple(sorted(set(reader.texts("languages", chars_max=3, items_max=16, pattern=LANGUAGE_PATTERN)))),
        outcomes=tuple(_outcome(item) for item in reader.tables("outcomes", items_max=OUTCOMES_PER_DEFINITION_MAX)),
        hours=reader.integer("hours", maximum=100_000),
        credits=_credits(reader),
        level=_level(reader, "level"),
        assessment=reader.text("assessment", chars_max=TEXT_CHARS_MAX),
        participation=reader.choice("participation", Participation),
        quality=_quality(reader),
        prerequisites=reader.texts("prerequisites", chars_max=TEXT_CHARS_MAX, items_max=LIST_ITEMS_MAX),
        supervision=reader.text("supervision", chars_max=TEXT_CHARS_MAX),
        grading=reader.text("grading", chars_max=TEXT_CHARS_MAX),
        stackability=reader.text("stackability", chars_max=TEXT_CHARS_MAX),
        field=reader.text("field", chars_max=CODE_CHARS_MAX),
        egel_area=reader.text("egel_area", chars_max=NAME_CHARS_MAX),
        sdgs=tuple(sorted(set(reader.integers("sdgs", minimum=1, maximum=17)))),
        municipality=reader.text("municipality", chars_max=NAME_CHARS_MAX),
        price=reader.text("price", chars_max=NAME_CHARS_MAX),
        alignments=tuple(_alignment(item) for item in reader.tables("alignments", items_max=LIST_ITEMS_MAX)),
        validity_months=reader.integer("validity_months", maximum=VALIDITY_MONTHS_MAX),
        strand=reader.text("strand", chars_max=CODE_CHARS_MAX),
        origin=reader.text("origin", chars_max=CODE_CHARS_MAX),
        assessment_only=reader.boolean("assessment_only"),
        learning_account_eligible=reader.boolean("learning_account_eligible"),
    )
    reader.finish()
    return content


def _translations(reader: FieldReader, name: str) -> Translations:
    """Read a table of texts by language; a plain text is taken as Spanish."""
    texts = reader.texts_by_key(
        name, default_key="es", pattern=LANGUAGE_PATTERN, chars_max=TEXT_CHARS_MAX, items_max=TRANSLATIONS_MAX
    )
    return tuple(Translation(language, text) for language, text in sorted(texts.items()))


def _outcome(reader: FieldReader) -> Outcome:
    outcome = Outcome(
        reader.text("verb", chars_max=NAME_CHARS_MAX),
        reader.text("statement", chars_max=TEXT_CHARS_MAX),
        reader.text("evidence", chars_max=TEXT_CHARS_MAX),
    )
    reader.finish()
    return outcome


def _credits(parent: FieldReader) -> Credits | None:
    reader = parent.table("credits")
    if reader is None:
        return None
    credit = Credits(
        reader.text("framework", chars_max=CODE_CHARS_MAX, mandatory=True),
        reader.hundredths("value", maximum=HUNDREDTHS_MAX),
    )
    reader.finish()
    return credit


def _level(parent: FieldReader, name: str) -> Level | None:
    reader = parent.table(name)
    if reader is None:
        return None
    level = Level(
        reader.text("framework", chars_max=CODE_CHARS_MAX, mandatory=True),
        reader.integer("value", maximum=99, mandatory=True),
    )
    reader.finish()
    return level


def _quality(parent: FieldReader) -> Quality | None:
    reader = parent.table("quality")
    if reader is None:
        return None
    quality = Quality(
        reader.text("agency", chars_max=63, pattern=INSTITUTION_ID_PATTERN, mandatory=True),
        reader.time_ms("reviewed"),
        reader.hash("report_hash"),
    )
    reader.finish()
    return quality


def _alignment(reader: FieldReader) -> Alignment:
    alignment = Alignment(
        reader.text("framework", chars_max=CODE_CHARS_MAX),
        reader.text("code", chars_max=CODE_CHARS_MAX),
        reader.text("name", chars_max=NAME_CHARS_MAX),
        reader.text("url", chars_max=URL_CHARS_MAX),
    )
    reader.finish()
    return alignment


# --- doubts ---


def _doubts(content: DefinitionContent) -> Iterator[str]:
    """Yield what an experienced reviewer would ask about; the chain takes it all the same."""
    if not content.description:
        yield "description: nobody can tell what it is about"
    elif "en" not in [item.language for item in content.title]:
        yield "title: no text in en, so employers abroad see the Spanish one"
    for field, text, question in (
        ("supervision", content.supervision, "o2: who checks identity, and how?"),
        ("grading", content.grading, "o3: what does a grade mean?"),
        ("stackability", content.stackability, "o4: does it stand alone or lead further?"),
        ("field", content.field, "without one, no search and no pathway by field finds it"),
        ("strand", content.strand, "perfil_egreso or competencia_laboral?"),
        ("origin", content.origin, "formal, dual, work_experience or self_taught?"),
    ):
        if not text:
            yield f"{field}: empty – {question}"
    if not content.languages:
        yield "languages: in which language is it taught?"
    if not content.prerequisites:
        yield "prerequisites: o1: empty; write “ninguno” where nothing is asked for"
    for index, outcome in enumerate(content.outcomes):
        if outcome.verb.lower() in VERBS_NOT_OBSERVABLE:
            yield f"outcomes[{index}].verb: nobody can observe “{outcome.verb}”; name what the learner does"
    yield from _doubtful_figures(content)


def _doubtful_figures(content: DefinitionContent) -> Iterator[str]:
    credit = content.credits
    if credit is not None and credit.value_hundredths and content.hours:
        least, most = HOURS_PER_CREDIT_USUAL
        per_credit = content.hours * 100 / credit.value_hundredths
        if not least <= per_credit <= most:
            yield f"hours: {content.hours} are {per_credit:.1f} a {credit.framework} credit; usual: {least} to {most}"
    if content.validity_months > VALIDITY_MONTHS_USUAL_MAX:
        yield f"validity_months: {content.validity_months}; competences go stale, {VALIDITY_MONTHS_USUAL_MAX} is long"
    if any(line_of(item) == line_of(content.id) for item in content.prerequisites):
        yield "prerequisites: names the definition itself"


# --- pathways ---


def _pathway(reader: FieldReader) -> PathwayContent:
    content = PathwayContent(
        id=reader.text("id", chars_max=135, pattern=CATALOGUE_ID_PATTERN, mandatory=True),
        title=_translations(reader, "title"),
        description=_translations(reader, "description"),
        awards=reader.text("awards", chars_max=135, pattern=CATALOGUE_ID_PATTERN, mandatory=True),
        requirements=tuple(
            _requirement(item)
            for item in reader.tables("requirements", items_max=REQUIREMENTS_PER_PATHWAY_MAX, mandatory=True)
        ),
        age_months_max=reader.integer("age_months_max", maximum=VALIDITY_MONTHS_MAX),
        level_min=_level(reader, "level_min"),
        external_max=reader.integer("external_max", maximum=COMPONENTS_PER_STACK_MAX, default=COMPONENTS_PER_STACK_MAX),
        exclusivity=reader.choice("exclusivity", Exclusivity) or Exclusivity.NONE,
        cascade=reader.choice("cascade", Cascade) or Cascade.FLAG,
        attested_allowed=reader.boolean("attested_allowed"),
        custodial_allowed=reader.boolean("custodial_allowed"),
    )
    reader.finish()
    return content


def _requirement(reader: FieldReader) -> Requirement:
    requirement = Requirement(
        reader.choice("kind", RequirementKind, mandatory=True) or RequirementKind.ALL_OF,
        reader.integer("count", maximum=COMPONENTS_PER_STACK_MAX),
        reader.text("framework", chars_max=CODE_CHARS_MAX),
        reader.hundredths("credits", maximum=HUNDREDTHS_MAX),
        tuple(_selector(item) for item in reader.tables("selectors", items_max=LIST_ITEMS_MAX, mandatory=True)),
    )
    reader.finish()
    return requirement


def _selector(reader: FieldReader) -> Selector:
    selector = Selector(
        reader.text("definition", chars_max=135),
        reader.text("issuer", chars_max=63),
        reader.text("field", chars_max=CODE_CHARS_MAX),
        _level(reader, "level"),
    )
    reader.finish()
    return selector
