"""Definitions and pathways: what the chain takes into its catalogue, and each thing it refuses."""

import msgspec
import pytest

from node.chain.records.common import Credits, Level, Translation
from node.chain.records.definition import Alignment, Definition, DefinitionContent, Quality
from node.chain.records.institution import Counters, Role, Scope, Standing
from node.chain.records.pathway import Pathway, Requirement, RequirementKind, Selector
from node.chain.rules.catalogue import (
    DefinitionAuthorise,
    DefinitionPublish,
    DefinitionRetire,
    PathwayPublish,
    PathwayRetire,
)
from node.chain.rules.framework import Event
from node.errors import Reason
from node.state import keys
from tests.unit.chain.rules.harness import (
    CALZADO,
    COEPES,
    CONOCER,
    CORTE,
    EMPLEO,
    ITLEON,
    PESPUNTE,
    ROUTE,
    SDES,
    SEG,
    TIME_MS,
    UGTO,
    World,
    all_of,
    definition_content,
    institution_signer,
    pathway_content,
)


@pytest.fixture
def world() -> World:
    """Return a world of accredited institutions."""
    return World()


def publish(**changes: object) -> DefinitionPublish:
    """Return the publication of a definition that differs from a complete one."""
    return DefinitionPublish(definition_content(**changes))


def test_definition_is_recorded_as_published(world: World) -> None:
    """A complete definition stands under its id, published by its issuer, neither authorised nor retired."""
    events = world.run("definition.publish", publish(), UGTO)
    content = definition_content()
    assert world.state.get(keys.definition(PESPUNTE), Definition) == Definition(
        content, UGTO, world.act(UGTO), None, None
    )
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(0, 0, 0, 1, 0, 0)
    assert events == (Event("catalog", "publish", keys.definition(PESPUNTE)),)


EMPTY: dict[str, object] = {
    "title": (),
    "outcomes": (),
    "hours": 0,
    "credits": None,
    "level": None,
    "assessment": "",
    "participation": None,
    "quality": None,
    "validity_months": 0,
}
NAMES = {
    "title": "b title (title)",
    "outcomes": "f learning outcomes (outcomes)",
    "hours": "g workload (hours)",
    "credits": "g workload (credits)",
    "level": "h level (level)",
    "assessment": "i type of assessment (assessment)",
    "participation": "j form of participation (participation)",
    "quality": "k quality assurance (quality)",
    "validity_months": "validity (validity_months)",
}


@pytest.mark.parametrize("field", EMPTY)
def test_a_missing_element_is_named(world: World, field: str) -> None:
    """Each mandatory element that is absent refuses the definition and is named with its letter."""
    payload = publish(**{field: EMPTY[field]})
    assert world.refusal("definition.publish", payload, UGTO) == (Reason.MISSING_ELEMENT, NAMES[field])


def test_all_missing_elements_are_named_at_once(world: World) -> None:
    """One refusal names everything that is missing, in the order of the recommendation."""
    refusal = world.refusal("definition.publish", publish(**EMPTY), UGTO)
    assert refusal == (Reason.MISSING_ELEMENT, ", ".join(NAMES.values()))


@pytest.mark.parametrize(
    "field,value",
    [
        ("title", (Translation("en", "Stitching"),)),  # no Spanish
        ("title", (Translation("es", " "),)),
        ("outcomes", (msgspec.structs.replace(definition_content().outcomes[0], evidence=""),)),
        ("credits", Credits("SATCA", 0)),
        ("credits", Credits(" ", 250)),
        ("level", Level("", 3)),
        ("assessment", "   "),
    ],
)
def test_a_blank_element_is_as_good_as_none(world: World, field: str, value: object) -> None:
    """Blank text, zero credits or an outcome without evidence are missing elements too."""
    refusal = world.refusal("definition.publish", publish(**{field: value}), UGTO)
    assert refusal == (Reason.MISSING_ELEMENT, NAMES[field])


def test_the_least_that_is_enough_is_taken(world: World) -> None:
    """One outcome, one hour, a hundredth of a credit, one month and a Spanish title are enough."""
    payload = publish(
        title=(Translation("es", "P"),),
        description=(),
        creators=(),
        hours=1,
        credits=Credits("SATCA", 1),
        validity_months=1,
        prerequisites=(),
        supervision="",
        grading="",
        stackability="",
        field="",
        sdgs=(),
        alignments=(),
        strand="",
        origin="",
        languages=(),
    )
    world.run("definition.publish", payload, UGTO)
    assert world.state.get(keys.definition(PESPUNTE), Definition) is not None


@pytest.mark.parametrize(
    "changes,detail",
    [
        (
            {"title": (Translation("es", "P"), Translation("en", "S"))},
            "title: en stands after es (ascending, none twice)",
        ),
        (
            {"title": (Translation("es", "P"), Translation("es", "Q"))},
            "title: es stands after es (ascending, none twice)",
        ),
        ({"description": (Translation("en", "Sewing"),)}, "description: a text in es is needed beside en"),
        ({"description": (Translation("es", " "),)}, "description: the text in es is blank"),
        ({"languages": ("es", "en")}, "languages: en stands after es (ascending, none twice)"),
        ({"sdgs": (8, 4)}, "sdgs: 4 stands after 8 (ascending, none twice)"),
        ({"creators": ("Cámara", " ")}, "creators[1]: is blank"),
        ({"prerequisites": ("",)}, "prerequisites[0]: is blank"),
        ({"strand": "otra"}, "strand: otra is none of competencia_laboral, perfil_egreso"),
        ({"origin": "otra"}, "origin: otra is none of dual, formal, self_taught, work_experience"),
        (
            {"alignments": (Alignment("CONOCER", "", "x", ""),)},
            "alignments[0]: framework, code and name are all needed",
        ),
        ({"alignments": (Alignment("C", "E", "x", "ftp://x"),)}, "alignments[0]: ftp://x is no web address"),
        (
            {"sdgs": (8, 4), "strand": "x"},
            ("sdgs: 4 stands after 8 (ascending, none twice); strand: x is none of competencia_laboral, perfil_egreso"),
        ),
    ],
)
def test_a_malformed_list_or_code_is_named(world: World, changes: dict[str, object], detail: str) -> None:
    """Lists have one order, words of a closed list are of that list, and nothing is blank."""
    assert world.refusal("definition.publish", publish(**changes), UGTO) == (Reason.INVALID_VALUE, detail)


def test_sdgs_are_ordered_as_numbers(world: World) -> None:
    """4 stands before 12: the goals are numbers, not text."""
    world.run("definition.publish", publish(sdgs=(4, 12)), UGTO)


def test_a_definition_stands_in_its_signers_name_only(world: World) -> None:
    """Nobody publishes under another institution's id."""
    refusal = world.refusal("definition.publish", publish(), ITLEON)
    assert refusal == (Reason.NOT_PERMITTED, f"{PESPUNTE} is of {UGTO}, not of {ITLEON}")


def test_a_version_is_published_once(world: World) -> None:
    """A published version never changes; the next version is another definition."""
    world.publish(PESPUNTE)
    refusal = world.refusal("definition.publish", publish(hours=41), UGTO)
    assert refusal == (Reason.ALREADY_EXISTS, f"definition {PESPUNTE} was published before")
    world.publish(f"{UGTO}/pespunte/2")


def test_credit_frameworks_are_chain_parameters(world: World) -> None:
    """A framework that the parameters do not list is refused, another listed one is taken."""
    refusal = world.refusal("definition.publish", publish(credits=Credits("TEPIC", 250)), UGTO)
    assert refusal == (Reason.INVALID_VALUE, "credits: framework TEPIC is none of SATCA, ECTS")
    world.run("definition.publish", publish(credits=Credits("ECTS", 250)), UGTO)


def test_only_awarding_roles_publish(world: World) -> None:
    """An authority without the role issuer publishes no definition."""
    refusal = world.refusal("definition.publish", publish(definition_id=f"{SEG}/x/1"), SEG)
    assert refusal == (Reason.NOT_PERMITTED, f"{SEG} has no role certifier or issuer")


@pytest.mark.parametrize("standing", [Standing.SUSPENDED, Standing.WITHDRAWN, Standing.APPLIED])
def test_only_accredited_institutions_publish(world: World, standing: Standing) -> None:
    """An institution that is not accredited now publishes nothing."""
    world.add_step(UGTO, standing=standing)
    refusal = world.refusal("definition.publish", publish(), UGTO)
    assert refusal == (Reason.NOT_ACCREDITED, f"{UGTO} is not accredited now")


def test_an_accreditation_ends_at_its_date(world: World) -> None:
    """At valid_until the accreditation is over; a millisecond before it is not."""
    world.add_step(UGTO, valid_until_ms=TIME_MS)
    refusal = world.refusal("definition.publish", publish(), UGTO)
    assert refusal == (Reason.NOT_ACCREDITED, f"{UGTO} is not accredited now")
    world.time_ms = TIME_MS - 1
    world.run("definition.publish", publish(), UGTO)


SCOPE = Scope((Level("MNC", 3), Level("MNC", 4)), 200, 300, ("SATCA",), ("manufactura",), "GTO")


@pytest.mark.parametrize(
    "changes,limit",
    [
        ({"level": Level("MNC", 5)}, "level MNC 5 is none of MNC 3, MNC 4"),
        ({"level": Level("EQF", 3)}, "level EQF 3 is none of MNC 3, MNC 4"),
        ({"credits": Credits("ECTS", 250)}, "credit framework ECTS is none of SATCA"),
        ({"credits": Credits("SATCA", 199)}, "1.99 credits, at least 2"),
        ({"credits": Credits("SATCA", 301)}, "3.01 credits, at most 3"),
        ({"field": "derecho"}, "field derecho is none of manufactura"),
        ({"field": ""}, "field (none) is none of manufactura"),
    ],
)
def test_the_scope_limit_that_is_exceeded_is_named(world: World, changes: dict[str, object], limit: str) -> None:
    """A definition outside its issuer's scope is refused with the limit and the value."""
    world.add_step(UGTO, scope=SCOPE)
    refusal = world.refusal("definition.publish", publish(**changes), UGTO)
    assert refusal == (Reason.OUT_OF_SCOPE, f"{UGTO}: {limit}")


@pytest.mark.parametrize("value", [200, 300])  # both ends belong to the scope
def test_the_ends_of_a_scope_belong_to_it(world: World, value: int) -> None:
    """Exactly the minimum and exactly the maximum of credits are inside."""
    world.add_step(UGTO, scope=SCOPE)
    world.run("definition.publish", publish(credits=Credits("SATCA", value)), UGTO)


def test_a_certifier_awards_competence_standards_only(world: World) -> None:
    """A certifier needs the strand of competence and an alignment to a standard."""
    rule = f"{CONOCER}: a certifier awards competence standards only: strand competencia_laboral and an alignment"
    own = definition_content(f"{CONOCER}/ec0001/1")
    for changes in ({"strand": "perfil_egreso"}, {"alignments": ()}):
        payload = DefinitionPublish(msgspec.structs.replace(own, **changes))
        assert world.refusal("definition.publish", payload, CONOCER) == (Reason.OUT_OF_SCOPE, rule)
    world.run("definition.publish", DefinitionPublish(own), CONOCER)


@pytest.mark.parametrize(
    "agency,refusal",
    [
        ("nadie.mx", (Reason.UNKNOWN_INSTITUTION, "nadie.mx is not on the chain")),
        (ITLEON, (Reason.NOT_PERMITTED, f"{ITLEON} has no role quality_agency or authority")),
    ],
)
def test_quality_is_reviewed_by_who_may(world: World, agency: str, refusal: tuple[Reason, str]) -> None:
    """The reviewer is an institution of this chain with a reviewing role."""
    payload = publish(quality=Quality(agency, TIME_MS, None))
    assert world.refusal("definition.publish", payload, UGTO) == refusal


def test_a_review_lies_in_the_past(world: World) -> None:
    """A review after block time is refused; one at block time, by an authority, is taken."""
    refusal = world.refusal("definition.publish", publish(quality=Quality(SEG, TIME_MS + 1, None)), UGTO)
    assert refusal == (
        Reason.INVALID_VALUE,
        f"quality: reviewed at {TIME_MS + 1} ms, block time is {TIME_MS} ms",
    )
    world.run("definition.publish", publish(quality=Quality(SEG, TIME_MS, None)), UGTO)


def test_a_suspended_agency_reviews_nothing(world: World) -> None:
    """Only an accredited agency's review counts."""
    world.add_step(COEPES, standing=Standing.SUSPENDED)
    assert world.refusal("definition.publish", publish(), UGTO) == (
        Reason.NOT_ACCREDITED,
        f"{COEPES} is not accredited now",
    )


# --- authorise and retire ---


def stored(world: World, definition_id: str = PESPUNTE) -> Definition:
    """Return a definition's record."""
    found = world.state.get(keys.definition(definition_id), Definition)
    assert found is not None
    return found


def test_an_authority_authorises(world: World) -> None:
    """The protected label is an act of an authority, given once."""
    world.publish(PESPUNTE)
    payload = DefinitionAuthorise(PESPUNTE)
    assert world.refusal("definition.authorise", payload, UGTO) == (
        Reason.NOT_PERMITTED,
        f"{UGTO} has no role authority",
    )
    events = world.run("definition.authorise", payload, SEG)
    assert events == (Event("catalog", "authorise", keys.definition(PESPUNTE)),)
    assert stored(world).authorised == world.act(SEG)
    assert world.refusal("definition.authorise", payload, SDES) == (
        Reason.WRONG_STATE,
        f"definition {PESPUNTE} is authorised already",
    )


def test_an_authorisation_by_a_bad_key_can_be_given_again(world: World) -> None:
    """What a key in wrong hands authorised counts for nothing."""
    world.publish(PESPUNTE)
    world.run("definition.authorise", DefinitionAuthorise(PESPUNTE), SEG)
    world.compromise(SEG, world.height)
    world.run("definition.authorise", DefinitionAuthorise(PESPUNTE), SDES)
    assert stored(world).authorised == world.act(SDES)


@pytest.mark.parametrize("kind", ["authorise", "retire"])
def test_what_is_not_there_is_neither_authorised_nor_retired(world: World, kind: str) -> None:
    """An unknown definition is named."""
    payload = DefinitionAuthorise(PESPUNTE) if kind == "authorise" else DefinitionRetire(PESPUNTE)
    signer = SEG if kind == "authorise" else UGTO
    assert world.refusal(f"definition.{kind}", payload, signer) == (
        Reason.NOT_FOUND,
        f"definition {PESPUNTE} is not on the chain",
    )


def test_the_issuer_retires_once(world: World) -> None:
    """Only the issuer retires; a retired definition is neither retired again nor authorised."""
    world.publish(PESPUNTE)
    payload = DefinitionRetire(PESPUNTE)
    assert world.refusal("definition.retire", payload, SEG) == (
        Reason.NOT_PERMITTED,
        f"{PESPUNTE} is of {UGTO}, not of {SEG}",
    )
    assert world.run("definition.retire", payload, UGTO) == (Event("catalog", "retire", keys.definition(PESPUNTE)),)
    assert stored(world).retired == world.act(UGTO)
    retired = (Reason.WRONG_STATE, f"definition {PESPUNTE} is retired")
    assert world.refusal("definition.retire", payload, UGTO) == retired
    assert world.refusal("definition.authorise", DefinitionAuthorise(PESPUNTE), SEG) == retired


def test_a_retirement_by_a_bad_key_never_happened(world: World) -> None:
    """The owner of a stolen key loses no definition by it."""
    world.publish(PESPUNTE)
    world.run("definition.retire", DefinitionRetire(PESPUNTE), UGTO)
    world.compromise(UGTO, world.height)
    world.run("definition.retire", DefinitionRetire(PESPUNTE), UGTO, [institution_signer(UGTO, 1)])


# --- pathways ---


@pytest.fixture
def catalogued(world: World) -> World:
    """Return a world with the definitions that the pathway names."""
    world.publish(PESPUNTE, CORTE, EMPLEO, CALZADO)
    return world


def route(*requirements: Requirement, **changes: object) -> PathwayPublish:
    """Return the publication of a pathway with some requirements."""
    if requirements:
        changes["requirements"] = requirements
    return PathwayPublish(pathway_content(**changes))


def test_pathway_is_recorded(catalogued: World) -> None:
    """A pathway stands under its id, published by the awarding institution."""
    events = catalogued.run("pathway.publish", route(), UGTO)
    assert events == (Event("catalog", "publish", keys.pathway(ROUTE)),)
    assert catalogued.state.get(keys.pathway(ROUTE), Pathway) == Pathway(pathway_content(), catalogued.act(UGTO), None)
    assert catalogued.state.get(keys.counters(UGTO), Counters) == Counters(0, 0, 0, 3, 1, 0)


def select(definition: str = "", issuer: str = "", field: str = "", level: Level | None = None) -> Selector:
    """Return a selector."""
    return Selector(definition, issuer, field, level)


def n_of(count: int, *selectors: Selector) -> Requirement:
    """Return a requirement of some of the sets."""
    return Requirement(RequirementKind.N_OF, count, "", 0, selectors)


def credits_at_least(hundredths: int, *selectors: Selector, framework: str = "SATCA") -> Requirement:
    """Return a requirement of credits."""
    return Requirement(RequirementKind.CREDITS_AT_LEAST, 0, framework, hundredths, selectors)


@pytest.mark.parametrize(
    "requirement,fault",
    [
        (msgspec.structs.replace(all_of(CORTE), count=1), "all_of takes neither count nor credits"),
        (msgspec.structs.replace(all_of(CORTE), framework="SATCA"), "all_of takes neither count nor credits"),
        (n_of(0, select(CORTE)), "n_of needs a count of at least 1"),
        (n_of(2, select(CORTE)), "n_of asks for 2 of 1 definitions"),
        (n_of(2, select(CORTE), select(f"{UGTO}/corte/*")), "n_of asks for 2 of 1 definitions"),
        (
            Requirement(RequirementKind.N_OF, 1, "SATCA", 100, (select(CORTE),)),
            "n_of takes no credits",
        ),
        (credits_at_least(0, select(CORTE)), "credits_at_least needs a framework and more than 0 credits"),
        (
            credits_at_least(100, select(CORTE), framework=""),
            "credits_at_least needs a framework and more than 0 credits",
        ),
        (
            msgspec.structs.replace(credits_at_least(100, select(CORTE)), count=1),
            "credits_at_least takes no count",
        ),
        (n_of(1, select()), "selectors[0]: names nothing"),
        (
            n_of(1, select("corte")),
            "selectors[0]: definition corte is neither an id nor <institution>/<slug>/*",
        ),
        (
            n_of(1, select(f"{UGTO}/*/1")),
            f"selectors[0]: definition {UGTO}/*/1 is neither an id nor <institution>/<slug>/*",
        ),
        (
            n_of(1, select(f"{UGTO}/calzado/*")),
            f"selectors[0]: definition {UGTO}/calzado/* is what the pathway awards",
        ),
        (
            n_of(1, select(CORTE, issuer=ITLEON)),
            f"selectors[0]: definition {CORTE} is not of issuer {ITLEON}",
        ),
        (n_of(1, select(issuer="Nadie")), "selectors[0]: issuer Nadie is no institution id"),
        (n_of(1, select(level=Level("", 2))), "selectors[0]: level: the framework is empty"),
    ],
)
def test_a_requirement_makes_sense(catalogued: World, requirement: Requirement, fault: str) -> None:
    """A requirement that no components could ever meet, or that says two things, is refused."""
    refusal = catalogued.refusal("pathway.publish", route(requirement), UGTO)
    assert refusal == (Reason.INVALID_VALUE, f"requirements[0]: {fault}")


@pytest.mark.parametrize(
    "requirement",
    [
        n_of(2, select(CORTE), select(PESPUNTE)),  # as many as there are
        n_of(5, select(field="manufactura")),  # an open set has any number
        n_of(1, select(f"{UGTO}/corte/*")),
        n_of(1, select(CORTE, issuer=UGTO)),
        credits_at_least(1, select(level=Level("MNC", 0))),
    ],
)
def test_requirements_that_can_be_met_are_taken(catalogued: World, requirement: Requirement) -> None:
    """The nearest requirements that make sense are accepted."""
    catalogued.run("pathway.publish", route(requirement), UGTO)


def test_pathway_texts_and_level_are_checked(catalogued: World) -> None:
    """A pathway has a Spanish title, a description with Spanish if any, and a named level framework."""
    payload = route(
        title=(Translation("en", "Shoes"),),
        description=(Translation("en", "Shoes"),),
        level_min=Level("", 2),
    )
    assert catalogued.refusal("pathway.publish", payload, UGTO) == (
        Reason.INVALID_VALUE,
        (
            "title: a text in es is needed; title: a text in es is needed beside en; "
            "description: a text in es is needed beside en; level_min: the framework is empty"
        ),
    )


def test_a_pathway_names_a_bounded_number_of_sets(catalogued: World) -> None:
    """128 selectors are taken, 129 are not."""
    full = n_of(1, *(select(f"{UGTO}/c-{number}/1") for number in range(64)))
    refusal = catalogued.refusal("pathway.publish", route(full, full, n_of(1, select(CORTE))), UGTO)
    assert refusal == (Reason.INVALID_VALUE, "requirements: 129 selectors, at most 128")
    catalogued.run("pathway.publish", route(full, full), UGTO)


def test_credits_are_counted_in_a_listed_framework(catalogued: World) -> None:
    """A requirement of credits names a framework of the parameters."""
    payload = route(credits_at_least(100, select(CORTE), framework="TEPIC"))
    assert catalogued.refusal("pathway.publish", payload, UGTO) == (
        Reason.INVALID_VALUE,
        "requirements[0]: framework TEPIC is none of SATCA, ECTS",
    )


def test_a_pathway_awards_the_institutions_own_definition(catalogued: World) -> None:
    """Pathway and award stand in the signer's name, and the award is there and not retired."""
    publish_route = route()
    assert catalogued.refusal("pathway.publish", publish_route, ITLEON) == (
        Reason.NOT_PERMITTED,
        f"{ROUTE} is of {UGTO}, not of {ITLEON}",
    )
    assert catalogued.refusal("pathway.publish", route(awards=EMPLEO), UGTO) == (
        Reason.NOT_PERMITTED,
        f"{EMPLEO} is of {ITLEON}, not of {UGTO}",
    )
    assert catalogued.refusal("pathway.publish", route(awards=f"{UGTO}/nada/1"), UGTO) == (
        Reason.NOT_FOUND,
        f"definition {UGTO}/nada/1 is not on the chain",
    )
    catalogued.run("definition.retire", DefinitionRetire(CALZADO), UGTO)
    assert catalogued.refusal("pathway.publish", publish_route, UGTO) == (
        Reason.WRONG_STATE,
        f"definition {CALZADO} is retired",
    )


def test_a_pathway_is_published_by_who_may_award_now(catalogued: World) -> None:
    """A suspended institution publishes none, nor does one whose scope has shrunk."""
    catalogued.add_step(UGTO, scope=Scope((), 300, 0, (), (), ""))
    assert catalogued.refusal("pathway.publish", route(), UGTO) == (
        Reason.OUT_OF_SCOPE,
        f"{UGTO}: 2.5 credits, at least 3",
    )
    catalogued.add_step(UGTO, standing=Standing.SUSPENDED)
    assert catalogued.refusal("pathway.publish", route(), UGTO) == (
        Reason.NOT_ACCREDITED,
        f"{UGTO} is not accredited now",
    )
    catalogued.add_step(UGTO, standing=Standing.ACCREDITED, roles=(Role.ENDORSER,))
    assert catalogued.refusal("pathway.publish", route(), UGTO) == (
        Reason.NOT_PERMITTED,
        f"{UGTO} has no role certifier or issuer",
    )


def test_a_pathway_version_is_published_and_retired_once(catalogued: World) -> None:
    """A second publication and a second retirement are refused; only the owner retires."""
    catalogued.run("pathway.publish", route(), UGTO)
    assert catalogued.refusal("pathway.publish", route(), UGTO) == (
        Reason.ALREADY_EXISTS,
        f"pathway {ROUTE} was published before",
    )
    retire = PathwayRetire(ROUTE)
    assert catalogued.refusal("pathway.retire", retire, ITLEON) == (
        Reason.NOT_PERMITTED,
        f"{ROUTE} is of {UGTO}, not of {ITLEON}",
    )
    assert catalogued.run("pathway.retire", retire, UGTO) == (Event("catalog", "retire", keys.pathway(ROUTE)),)
    assert catalogued.refusal("pathway.retire", retire, UGTO) == (
        Reason.WRONG_STATE,
        f"pathway {ROUTE} is retired",
    )
    assert catalogued.refusal("pathway.retire", PathwayRetire(f"{UGTO}/otra/1"), UGTO) == (
        Reason.NOT_FOUND,
        f"pathway {UGTO}/otra/1 is not on the chain",
    )


def test_every_field_of_a_definition_can_be_recorded(world: World) -> None:
    """No field of the harness's definition is left at an empty value by accident."""
    content = definition_content()
    empty = [name for name in DefinitionContent.__struct_fields__ if getattr(content, name) in ("", (), None, 0)]
    assert empty == ["egel_area", "price", "assessment_only"]
