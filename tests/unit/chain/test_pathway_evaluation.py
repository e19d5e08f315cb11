"""What holds and what is missing: each form of requirement, each limit, in both languages."""

from datetime import datetime
from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.pathway_evaluation import (
    Candidate,
    Evaluation,
    Finding,
    _unserved,
    counts_as,
    evaluate,
    months_after,
    reaches,
)
from node.chain.records.common import Credits, Level
from node.chain.records.pathway import PathwayContent, Requirement, RequirementKind, Selector
from node.primitives import TIMESTAMP_MS_MAX
from tests.unit.chain.rules.harness import (
    CORTE,
    EMPLEO,
    ITLEON,
    PESPUNTE,
    TIME_MS,
    UGTO,
    all_of,
    pathway_content,
)

DAY_MS = 86_400_000


def held(definition: str, **changes: object) -> Candidate:
    """Return a credential of a definition: manufacturing, level 3, 2.5 credits, new."""
    fields: dict[str, object] = {
        "definition": definition,
        "issuer": definition.partition("/")[0],
        "field": "manufactura",
        "level": Level("MNC", 3),
        "credits": Credits("SATCA", 250),
        "valid_from_ms": TIME_MS,
        **changes,
    }
    return Candidate(**fields)  # type: ignore[arg-type]  # one dictionary, many types


def select(definition: str = "", issuer: str = "", field: str = "", level: Level | None = None) -> Selector:
    """Return a selector."""
    return Selector(definition, issuer, field, level)


def asking(*requirements: Requirement, **changes: object) -> PathwayContent:
    """Return a pathway with some requirements and no limit that matters."""
    return pathway_content(requirements=requirements, **{"external_max": 64, **changes})


def judged(pathway: PathwayContent, *credentials: Candidate) -> Evaluation:
    """Evaluate at the harness's block time."""
    return evaluate(pathway, credentials, time_ms=TIME_MS)


def n_of(count: int, *selectors: Selector) -> Requirement:
    """Return a requirement of some of the sets."""
    return Requirement(RequirementKind.N_OF, count, "", 0, selectors)


def credits_at_least(hundredths: int, *selectors: Selector) -> Requirement:
    """Return a requirement of SATCA credits."""
    return Requirement(RequirementKind.CREDITS_AT_LEAST, 0, "SATCA", hundredths, selectors)


EXTERNAL = Finding(
    "external_max", True, "0 de otras instituciones; se admiten 64.", "0 from other institutions; 64 allowed."
)


# --- sets ---


@pytest.mark.parametrize(
    "selector,expected",
    [
        (select(PESPUNTE), True),
        (select(f"{UGTO}/pespunte/2"), False),
        (select(f"{UGTO}/pespunte/*"), True),
        (select(f"{UGTO}/pespunte-fino/*"), False),
        (select(issuer=UGTO), True),
        (select(issuer=ITLEON), False),
        (select(field="manufactura"), True),
        (select(field="derecho"), False),
        (select(level=Level("MNC", 3)), True),  # at least this level
        (select(level=Level("MNC", 4)), False),
        (select(level=Level("EQF", 3)), False),  # levels are never converted
        (select(f"{UGTO}/pespunte/*", UGTO, "manufactura", Level("MNC", 2)), True),
        (select(f"{UGTO}/pespunte/*", UGTO, "derecho", Level("MNC", 2)), False),
    ],
)
def test_a_set_holds_what_matches_every_member(selector: Selector, *, expected: bool) -> None:
    """Members that are empty do not matter; all others must match."""
    assert counts_as(held(PESPUNTE), selector) is expected


def test_a_credential_without_level_reaches_none() -> None:
    """No level is below every level."""
    assert not reaches(None, Level("MNC", 0))


# --- all_of ---


def test_all_of_names_what_is_missing_in_both_languages() -> None:
    """Each set without a credential is named."""
    pathway = asking(all_of(PESPUNTE, CORTE, f"{ITLEON}/primer-empleo/*"))
    assert judged(pathway, held(CORTE)) == Evaluation(
        (
            Finding(
                "requirements[0]",
                False,
                f"Falta: {PESPUNTE}; {ITLEON}/primer-empleo/*.",
                f"Missing: {PESPUNTE}; {ITLEON}/primer-empleo/*.",
            ),
            EXTERNAL,
        ),
        ((0,),),
    )


def test_all_of_holds_when_each_set_has_its_own() -> None:
    """The order of the credentials makes no difference."""
    pathway = asking(all_of(PESPUNTE, CORTE))
    for credentials in ((held(PESPUNTE), held(CORTE)), (held(CORTE), held(PESPUNTE))):
        found = judged(pathway, *credentials)
        assert found.holds
        assert found.missing == ()
        assert found.findings[0] == Finding(
            "requirements[0]", True, "Están los 2 que se piden.", "All 2 asked for are there."
        )


def test_one_credential_never_stands_for_two_sets_of_one_requirement() -> None:
    """`any of the field` beside `pespunte` asks for two credentials, whichever set is named first."""
    wide, narrow = select(field="manufactura"), select(PESPUNTE)
    for selectors in ((wide, narrow), (narrow, wide)):
        pathway = asking(Requirement(RequirementKind.ALL_OF, 0, "", 0, selectors))
        assert not judged(pathway, held(PESPUNTE)).holds
        assert judged(pathway, held(PESPUNTE), held(CORTE)).holds


def test_one_credential_may_serve_two_requirements() -> None:
    """Requirements are asked one by one."""
    pathway = asking(all_of(PESPUNTE), credits_at_least(250, select(issuer=UGTO)))
    assert judged(pathway, held(PESPUNTE)).serving == ((0,), (0,))
    assert judged(pathway, held(PESPUNTE)).holds


# --- n_of and credits ---


def test_n_of_counts_definitions() -> None:
    """Two of three: one is not enough, two and three are."""
    pathway = asking(n_of(2, select(PESPUNTE), select(CORTE), select(EMPLEO)))
    one = judged(pathway, held(PESPUNTE)).findings[0]
    assert one == Finding(
        "requirements[0]",
        False,
        f"Hay 1 de 2; cuentan: {PESPUNTE}; {CORTE}; {EMPLEO}.",
        f"There are 1 of 2; these count: {PESPUNTE}; {CORTE}; {EMPLEO}.",
    )
    two = judged(pathway, held(PESPUNTE), held(EMPLEO)).findings[0]
    assert two == Finding("requirements[0]", True, "Hay 2 de 2.", "There are 2 of 2.")
    assert judged(pathway, held(PESPUNTE), held(CORTE), held(EMPLEO)).holds


def test_sets_are_described_in_words() -> None:
    """A set by issuer, field and level reads as a phrase in either language."""
    pathway = asking(n_of(1, select("", UGTO, "derecho", Level("MNC", 4))))
    assert judged(pathway).findings[0] == Finding(
        "requirements[0]",
        False,
        f"Hay 0 de 1; cuentan: cualquier microcredencial de {UGTO} del campo derecho de nivel MNC 4 o más.",
        f"There are 0 of 1; these count: any microcredential of {UGTO} in the field derecho of level MNC 4 or above.",
    )


@pytest.mark.parametrize("needed,holds", [(499, True), (500, True), (501, False)])  # there are exactly 5
def test_credits_are_enough_or_not(needed: int, *, holds: bool) -> None:
    """At least so many: equality is enough."""
    pathway = asking(credits_at_least(needed, select(issuer=UGTO)))
    assert judged(pathway, held(PESPUNTE), held(CORTE)).holds is holds


def test_credits_of_another_framework_or_none_do_not_count() -> None:
    """Nothing is converted silently, and such a credential serves nothing."""
    pathway = asking(credits_at_least(100, select(issuer=UGTO)))
    found = judged(pathway, held(PESPUNTE, credits=Credits("ECTS", 900)), held(CORTE, credits=None))
    assert found.serving == ((),)
    assert found.missing[0].en == f"There are 0 of 1 SATCA credits; these count: any microcredential of {UGTO}."
    assert found.missing[1].en == f"Serve no requirement: {PESPUNTE}, {CORTE}."


def test_two_versions_are_one_definition() -> None:
    """Neither counting nor credits take a definition twice, and the second version is named as repeated."""
    second = held(f"{UGTO}/pespunte/2", credits=Credits("SATCA", 300))
    counting = asking(n_of(2, select(issuer=UGTO)))
    found = judged(counting, held(PESPUNTE), second)
    assert [finding.subject for finding in found.missing] == ["requirements[0]", "repeated"]
    assert found.missing[1] == Finding(
        "repeated",
        False,
        f"Cada microcredencial cuenta una vez: {UGTO}/pespunte/2.",
        f"A definition counts once: {UGTO}/pespunte/2.",
    )
    adding = judged(asking(credits_at_least(301, select(issuer=UGTO))), held(PESPUNTE), second)
    assert adding.missing[0].en.startswith("There are 3 of 3.01 SATCA credits")
    everything = asking(Requirement(RequirementKind.ALL_OF, 0, "", 0, (select(PESPUNTE), select(issuer=UGTO))))
    assert not judged(everything, held(PESPUNTE), second).holds


# --- limits ---


def test_each_limit_says_whether_it_holds() -> None:
    """Age, level and external components are findings of their own, in words."""
    pathway = asking(n_of(1, select(field="manufactura")), age_months_max=12, level_min=Level("MNC", 3), external_max=1)
    good = judged(pathway, held(PESPUNTE), held(EMPLEO))
    assert [(finding.subject, finding.holds, finding.es) for finding in good.findings[1:]] == [
        ("age_months_max", True, "Ninguna tiene más de 12 meses."),
        ("level_min", True, "Todas alcanzan el nivel MNC 3."),
        ("external_max", True, "1 de otras instituciones; se admiten 1."),
    ]
    old = held(f"{ITLEON}/viejo/1", valid_from_ms=TIME_MS - 400 * DAY_MS, level=Level("MNC", 2))
    bad = judged(pathway, held(PESPUNTE), held(EMPLEO), old)
    assert [(finding.subject, finding.es, finding.en) for finding in bad.missing] == [
        ("age_months_max", f"Con más de 12 meses: {ITLEON}/viejo/1.", f"Older than 12 months: {ITLEON}/viejo/1."),
        ("level_min", f"No alcanzan el nivel MNC 3: {ITLEON}/viejo/1.", f"Below level MNC 3: {ITLEON}/viejo/1."),
        ("external_max", "2 de otras instituciones; se admiten 1.", "2 from other institutions; 1 allowed."),
    ]


@pytest.mark.parametrize(
    "start,months,expected",
    [
        ("2024-01-31T00:00:00", 1, "2024-02-29T00:00:00"),  # the last day of a shorter month
        ("2023-01-31T00:00:00", 1, "2023-02-28T00:00:00"),
        ("2024-02-29T12:30:00", 12, "2025-02-28T12:30:00"),
        ("2024-11-15T00:00:00", 2, "2025-01-15T00:00:00"),  # over the new year
        ("2024-12-31T23:59:59", 0, "2024-12-31T23:59:59"),
        ("1970-01-01T00:00:00", 600, "2020-01-01T00:00:00"),
    ],
)
def test_months_are_calendar_months(start: str, months: int, expected: str) -> None:
    """The same day of a later month, or that month's last."""

    def milliseconds(text: str) -> int:
        return int(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1_000)

    assert months_after(milliseconds(start), months) == milliseconds(expected)


def test_time_ends_with_year_9999() -> None:
    """No sum of months leaves the range of timestamps."""
    assert months_after(TIMESTAMP_MS_MAX, 1) == TIMESTAMP_MS_MAX
    assert months_after(TIMESTAMP_MS_MAX, 0) == TIMESTAMP_MS_MAX


@given(time_ms=st.integers(0, TIMESTAMP_MS_MAX), months=st.integers(0, 600))
def test_months_add_between_28_and_31_days_each(time_ms: int, months: int) -> None:
    """Any start and any number of months: the sum is a timestamp, not before the start."""
    after = months_after(time_ms, months)
    assert after == TIMESTAMP_MS_MAX or 28 * months <= (after - time_ms) / DAY_MS <= 31 * months


# --- a naive twin for the assignment of sets ---


@given(table=st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=4))
def test_the_assignment_agrees_with_trying_everything(table: list[set[int]]) -> None:
    """Every set finds a definition of its own exactly when some order of the definitions gives it one."""
    expected = any(
        all(choice in choices for choices, choice in zip(table, order, strict=True))
        for order in permutations(range(4), len(table))
    )
    assert (_unserved([sorted(choices) for choices in table]) == []) is expected


def test_a_pathway_without_limits_reports_only_its_requirements_and_externals() -> None:
    """Limits that are not set are not mentioned."""
    pathway = msgspec.structs.replace(asking(all_of(CORTE)), age_months_max=0, level_min=None)
    assert [finding.subject for finding in judged(pathway, held(CORTE)).findings] == ["requirements[0]", "external_max"]
