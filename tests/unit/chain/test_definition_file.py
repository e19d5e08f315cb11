"""Files that people write: complete ones become content, faulty ones are told everything at once."""

import json
import tomllib
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.chain.catalogue_check import missing_elements
from node.chain.definition_file import check_definition, read_definition, read_pathway
from node.chain.records.common import Credits, Level, Translation
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
from node.limits import COMPONENTS_PER_STACK_MAX

MARCH_14_MS = 1_741_910_400_000
COMPLETE = """
id = "ugto.mx/pespunte/1"
creators = ["Cámara de la Industria"]
languages = ["es", "en"]
hours = 40
assessment = "observación en taller"
participation = "in_person"
prerequisites = ["ninguno"]
supervision = "instructor presente"
grading = "competente o no"
stackability = "apilable"
field = "manufactura"
egel_area = "Ingeniería Industrial"
sdgs = [8, 4]
municipality = "León"
price = "gratuito"
validity_months = 36
strand = "competencia_laboral"
origin = "formal"
assessment_only = false
learning_account_eligible = true
[title]
es = "Pespunte"
en = "Stitching"
[description]
es = '''
Costura de piezas
   de corte.
'''
[credits]
framework = "SATCA"
value = 2.5
[level]
framework = "MNC"
value = 3
[quality]
agency = "coepes.guanajuato.gob.mx"
reviewed = 2025-03-14
[[outcomes]]
verb = "Cose"
statement = "cose piezas de corte"
evidence = "muestra"
[[alignments]]
framework = "CONOCER"
code = "EC0001"
name = "Pespunte"
url = "https://conocer.gob.mx/"
"""


def table(**changes: object) -> dict[str, Any]:
    """Return the complete definition's table with some fields changed; None removes one."""
    found = {**tomllib.loads(COMPLETE), **changes}
    return {name: value for name, value in found.items() if value is not None}


def fault_of(found: dict[str, Any]) -> str:
    """Return the sentence that refuses a definition's table."""
    with pytest.raises(ConfigError) as refused:
        read_definition(found)
    return str(refused.value)


def test_a_complete_file_becomes_content() -> None:
    """Lists are put in order, lines are folded, decimals become hundredths, a day its first moment in UTC."""
    assert read_definition(table()) == DefinitionContent(
        id="ugto.mx/pespunte/1",
        title=(Translation("en", "Stitching"), Translation("es", "Pespunte")),
        description=(Translation("es", "Costura de piezas de corte."),),
        creators=("Cámara de la Industria",),
        languages=("en", "es"),
        outcomes=(Outcome("Cose", "cose piezas de corte", "muestra"),),
        hours=40,
        credits=Credits("SATCA", 250),
        level=Level("MNC", 3),
        assessment="observación en taller",
        participation=Participation.IN_PERSON,
        quality=Quality("coepes.guanajuato.gob.mx", MARCH_14_MS, None),
        prerequisites=("ninguno",),
        supervision="instructor presente",
        grading="competente o no",
        stackability="apilable",
        field="manufactura",
        egel_area="Ingeniería Industrial",
        sdgs=(4, 8),
        municipality="León",
        price="gratuito",
        alignments=(Alignment("CONOCER", "EC0001", "Pespunte", "https://conocer.gob.mx/"),),
        validity_months=36,
        strand="competencia_laboral",
        origin="formal",
        assessment_only=False,
        learning_account_eligible=True,
    )
    assert check_definition(table()) == []


def test_json_says_the_same() -> None:
    """The same members in JSON, with the date as text, make the same content."""
    found = json.loads(json.dumps(table(), default=date.isoformat))
    assert read_definition(found) == read_definition(table())


def test_what_is_read_can_be_published() -> None:
    """Content from a file is canonical: it encodes and decodes to itself."""
    content = read_definition(table(assessment="e\u0301xamen\n  oral"))
    assert content.assessment == "éxamen oral"
    assert codec.decode(codec.encode(content), DefinitionContent, bytes_max=100_000) == content


def test_a_plain_text_is_spanish() -> None:
    """Who writes one language only needs no table."""
    assert read_definition(table(title="Pespunte")).title == (Translation("es", "Pespunte"),)


def test_missing_elements_stay_empty_and_are_named_by_the_check() -> None:
    """Reading leaves it to the chain to refuse; the check names all of them at once, with their letters."""
    bare = {"id": "ugto.mx/pespunte/1"}
    content = read_definition(bare)
    assert len(missing_elements(content)) == 9
    assert check_definition(bare)[:9] == [
        "title: missing – b title",
        "outcomes: missing – f learning outcomes",
        "hours: missing – g workload",
        "credits: missing – g workload",
        "level: missing – h level",
        "assessment: missing – i type of assessment",
        "participation: missing – j form of participation",
        "quality: missing – k quality assurance",
        "validity_months: missing – validity",
    ]


@pytest.mark.parametrize(
    "changes,fault",
    [
        ({"id": None}, "id: missing"),
        ({"id": 7}, "id: a text is needed, not a number"),
        ({"hours": "40"}, "hours: a whole number is needed, not a text"),
        ({"hours": 40.5}, "hours: a whole number is needed, not a number"),
        ({"hours": True}, "hours: a whole number is needed, not a truth value"),
        ({"hours": -1}, "hours: -1 is outside 0 … 100000"),
        ({"validity_months": 601}, "validity_months: 601 is outside 0 … 600"),
        ({"assessment": "x" * 4_001}, "assessment: 4001 characters, at most 4000"),
        ({"assessment": "campana \a"}, "assessment: holds control characters"),
        ({"participation": "remota"}, "participation: remota is none of in_person, online, hybrid, dual"),
        ({"creators": "Cámara"}, "creators: a list is needed, not a text"),
        ({"creators": ["x"] * 65}, "creators: 65 entries, at most 64"),
        ({"creators": [1]}, "creators[0]: a text is needed, not a number"),
        ({"languages": ["español"]}, "languages[0]: 7 characters, at most 3"),
        ({"sdgs": [18]}, "sdgs[0]: 18 is outside 1 … 17"),
        ({"title": ["x"]}, "title: a table is needed, not a list"),
        ({"title": {"spanish": "x"}}, "title.spanish: spanish does not match ^[a-z]{2,3}$"),
        ({"credits": 2.5}, "credits: a table is needed, not a number"),
        ({"credits": {"framework": "SATCA", "value": 2.555}}, "credits.value: 2.555 has more than two decimals"),
        ({"credits": {"framework": "SATCA", "value": "dos"}}, "credits.value: dos is no number"),
        ({"credits": {"framework": "SATCA", "value": -1}}, "credits.value: -1 is outside 0 … 1000000"),
        ({"credits": {"framework": "SATCA", "value": float("nan")}}, "credits.value: nan has more than two decimals"),
        ({"credits": {"framework": "SATCA", "value": True}}, "credits.value: a number is needed, not a truth value"),
        ({"credits": {"value": 2}}, "credits.framework: missing"),
        ({"level": {"framework": "MNC"}}, "level.value: missing"),
        ({"quality": {"agency": "coepes.mx"}}, "quality.reviewed: missing"),
        (
            {"quality": {"agency": "coepes.mx", "reviewed": "ayer"}},
            "quality.reviewed: ayer is no date such as 2025-03-14",
        ),
        ({"quality": {"agency": "coepes.mx", "reviewed": 5}}, "quality.reviewed: a date is needed, not a number"),
        (
            {"quality": {"agency": "coepes.mx", "reviewed": "2025-03-14T10:00:00"}},
            "quality.reviewed: 2025-03-14 10:00:00 has no time zone",
        ),
        (
            {"quality": {"agency": "coepes.mx", "reviewed": date(1969, 12, 31)}},
            "quality.reviewed: 1969-12-31 is outside 1970 … 9999",
        ),
        (
            {"quality": {"agency": "coepes.mx", "reviewed": "9999-12-31T23:59:59-06:00"}},
            "quality.reviewed: 9999-12-31 23:59:59-06:00 is outside 1970 … 9999",
        ),
        (
            {"quality": {"agency": "coepes.mx", "reviewed": date(2025, 3, 14), "report_hash": "AB"}},
            "quality.report_hash: 64 lower-case hex digits are needed",
        ),
        ({"outcomes": [{"verbo": "Cose"}]}, "outcomes[0].verbo: no such field; do you mean verb?"),
        ({"outcomes": ["Cose"]}, "outcomes[0]: a table is needed, not a text"),
        ({"resultados": []}, "resultados: no such field"),
        ({"hour": 1}, "hour: no such field; do you mean hours?"),
        ({"assessment_only": "no"}, "assessment_only: true or false is needed, not a text"),
    ],
)
def test_a_malformed_field_is_named_with_its_place(changes: dict[str, object], fault: str) -> None:
    """One sentence says where and what; the check says the same."""
    assert fault_of(table(**changes)) == fault
    assert fault in check_definition(table(**changes))


def test_the_id_has_a_form() -> None:
    """Institution, slug and version."""
    assert fault_of(table(id="Pespunte")).startswith("id: Pespunte does not match ")


def test_every_malformed_field_is_named_at_once() -> None:
    """One fault never hides another."""
    changed = table(hours="x", participation="y", outcomes=[{"verb": 1}], extra=1)
    assert fault_of(changed) == (
        "outcomes[0].verb: a text is needed, not a number; hours: a whole number is needed, not a text; "
        "participation: y is none of in_person, online, hybrid, dual; extra: no such field"
    )


def test_a_malformed_element_is_not_called_missing_too() -> None:
    """What is there but unreadable is named once."""
    findings = check_definition(table(hours="x"))
    assert findings == ["hours: a whole number is needed, not a text"]


@pytest.mark.parametrize(
    "value,expected",
    [(2, 200), (2.5, 250), (0.1, 10), ("2.25", 225), (0, 0), (1_000_000, 100_000_000)],
)
def test_decimals_are_read_exactly(value: object, expected: int) -> None:
    """No binary fraction slips in: 0.1 is ten hundredths."""
    content = read_definition(table(credits={"framework": "SATCA", "value": value}))
    assert content.credits == Credits("SATCA", expected)


@pytest.mark.parametrize(
    "reviewed",
    [
        date(2025, 3, 14),
        "2025-03-14",
        datetime(2025, 3, 14, tzinfo=UTC),
        datetime(2025, 3, 13, 18, tzinfo=timezone(timedelta(hours=-6))),
        "2025-03-13T18:00:00-06:00",
    ],
)
def test_a_date_is_the_same_however_it_is_written(reviewed: object) -> None:
    """A day, a moment in UTC or in another zone."""
    content = read_definition(table(quality={"agency": "coepes.mx", "reviewed": reviewed}))
    assert content.quality == Quality("coepes.mx", MARCH_14_MS, None)


def test_a_report_is_named_by_its_hash() -> None:
    """64 hex digits are 32 bytes."""
    quality = {"agency": "coepes.mx", "reviewed": date(2025, 3, 14), "report_hash": "ab" * 32}
    assert read_definition(table(quality=quality)).quality == Quality("coepes.mx", MARCH_14_MS, b"\xab" * 32)


@pytest.mark.parametrize(
    "changes,doubt",
    [
        ({"description": None}, "description: nobody can tell what it is about"),
        ({"title": {"es": "P"}}, "title: no text in en, so employers abroad see the Spanish one"),
        ({"supervision": None}, "supervision: empty – o2: who checks identity, and how?"),
        ({"grading": ""}, "grading: empty – o3: what does a grade mean?"),
        ({"stackability": None}, "stackability: empty – o4: does it stand alone or lead further?"),
        ({"field": None}, "field: empty – without one, no search and no pathway by field finds it"),
        ({"strand": None}, "strand: empty – perfil_egreso or competencia_laboral?"),
        ({"origin": None}, "origin: empty – formal, dual, work_experience or self_taught?"),
        ({"languages": []}, "languages: in which language is it taught?"),
        ({"prerequisites": []}, "prerequisites: o1: empty; write “ninguno” where nothing is asked for"),
        (
            {"outcomes": [{"verb": "Conocer", "statement": "x", "evidence": "y"}]},
            "outcomes[0].verb: nobody can observe “Conocer”; name what the learner does",
        ),
        ({"hours": 400}, "hours: 400 are 160.0 a SATCA credit; usual: 10 to 60"),
        ({"hours": 20}, "hours: 20 are 8.0 a SATCA credit; usual: 10 to 60"),
        ({"validity_months": 61}, "validity_months: 61; competences go stale, 60 is long"),
        ({"prerequisites": ["ugto.mx/pespunte/2"]}, "prerequisites: names the definition itself"),
    ],
)
def test_a_doubt_is_named_but_can_be_published(changes: dict[str, object], doubt: str) -> None:
    """The chain takes it; a reviewer would ask."""
    assert check_definition(table(**changes)) == [f"{doubt} (doubtful)"]
    assert missing_elements(read_definition(table(**changes))) == ()


@pytest.mark.parametrize("changes", [{"hours": 25}, {"hours": 150}, {"validity_months": 60}])
def test_figures_at_the_edge_leave_no_doubt(changes: dict[str, object]) -> None:
    """10 and 60 hours a credit, and 60 months, are usual."""
    assert check_definition(table(**changes)) == []


def test_a_word_outside_a_closed_list_is_a_finding() -> None:
    """What the chain would refuse as invalid is found before."""
    assert check_definition(table(strand="otra")) == ["strand: otra is none of competencia_laboral, perfil_egreso"]


# --- pathways ---

ROUTE: dict[str, object] = {
    "id": "ugto.mx/ruta/1",
    "title": {"es": "Ruta"},
    "awards": "ugto.mx/oficio/1",
    "requirements": [
        {"kind": "n_of", "count": 1, "selectors": [{"definition": "ugto.mx/pespunte/*"}]},
        {
            "kind": "credits_at_least",
            "framework": "SATCA",
            "credits": 7.5,
            "selectors": [{"issuer": "ugto.mx", "field": "manufactura", "level": {"framework": "MNC", "value": 3}}],
        },
    ],
}


def test_a_pathway_file_becomes_content() -> None:
    """What is not said: no limits, no exclusivity, a flag when a component falls, one key that the learner keeps."""
    assert read_pathway(ROUTE) == PathwayContent(
        id="ugto.mx/ruta/1",
        title=(Translation("es", "Ruta"),),
        description=(),
        awards="ugto.mx/oficio/1",
        requirements=(
            Requirement(RequirementKind.N_OF, 1, "", 0, (Selector("ugto.mx/pespunte/*", "", "", None),)),
            Requirement(
                RequirementKind.CREDITS_AT_LEAST,
                0,
                "SATCA",
                750,
                (Selector("", "ugto.mx", "manufactura", Level("MNC", 3)),),
            ),
        ),
        age_months_max=0,
        level_min=None,
        external_max=COMPONENTS_PER_STACK_MAX,
        exclusivity=Exclusivity.NONE,
        cascade=Cascade.FLAG,
        attested_allowed=False,
        custodial_allowed=False,
    )


@pytest.mark.parametrize(
    "changes,fault",
    [
        ({"requirements": []}, "requirements: at least one is needed"),
        ({"awards": None}, "awards: missing"),
        ({"cascade": "quizá"}, "cascade: quizá is none of revoke, flag, none"),
        ({"requirements": [{"selectors": [{"issuer": "a.mx"}]}]}, "requirements[0].kind: missing"),
        ({"requirements": [{"kind": "all_of"}]}, "requirements[0].selectors: at least one is needed"),
        ({"requirements": [{"kind": "all_of", "selectors": [{}]}]}, "requirements[0]: selectors[0]: names nothing"),
        ({"title": {}}, "title: a text in es is needed"),
        ({"external": 1}, "external: no such field; do you mean external_max?"),
    ],
)
def test_a_faulty_pathway_is_named(changes: dict[str, object], fault: str) -> None:
    """Malformed fields first; where there are none, what makes no sense."""
    found = {name: value for name, value in {**ROUTE, **changes}.items() if value is not None}
    with pytest.raises(ConfigError) as refused:
        read_pathway(found)
    assert str(refused.value) == fault


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(DefinitionContent.__struct_fields__), value=JUNK)
def test_any_value_in_any_field_is_read_or_named(field: str, value: object) -> None:
    """Whatever a file says, the answer is content that the chain can decode or a ConfigError; never a traceback."""
    changed = {**table(), field: value}
    check_definition(changed)
    try:
        content = read_definition(changed)
    except ConfigError:
        return
    assert codec.decode(codec.encode(content), DefinitionContent, bytes_max=1_000_000) == content
