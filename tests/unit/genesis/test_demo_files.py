"""The demonstration's input does what its README says: complete definitions, a pathway that they fulfil, learners."""

import csv
import tomllib
from pathlib import Path

import pytest

from node.chain.catalogue_check import award_fault, institution_of, line_of
from node.chain.definition_file import check_definition, read_definition, read_pathway
from node.chain.pathway_evaluation import candidate, evaluate
from node.chain.records.definition import DefinitionContent
from node.chain.records.institution import Role
from node.documents.learners import BadRow, read_learners
from tests.unit.chain.rules.harness import genesis_step
from tools.make_demo_learners import DEFAULT_SEED, make_learners

DEMO = Path(__file__).resolve().parents[3] / "genesis" / "demo"
FILES = sorted((DEMO / "definitions").glob("*.toml"))
OF_PREFIX = {
    "HAB": "anahuac.mx/habilidades-clave-para-tu-primer-empleo/1",
    "PES": "bajio.delasalle.edu.mx/pespunte/1",
    "SEG": "bajio.delasalle.edu.mx/seguridad-en-el-taller/1",
}
NOW_MS = 1_760_000_000_000


def definitions() -> dict[str, DefinitionContent]:
    """Return the demonstration's definitions by id."""
    found = [read_definition(tomllib.loads(path.read_text("utf-8"))) for path in FILES]
    return {content.id: content for content in found}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_definition_is_complete_and_leaves_no_doubt(path: Path) -> None:
    """`pila definition check` finds nothing, and the file is named after the slug."""
    table = tomllib.loads(path.read_text("utf-8"))
    assert check_definition(table) == []
    content = read_definition(table)
    assert content.id.split("/")[1:] == [path.stem, "1"]
    assert award_fault(genesis_step([Role.ISSUER]), content) is None


def test_the_definitions_are_those_of_the_story() -> None:
    """Two universities, an invented institution, seven definitions, among them the two that the state knows."""
    found = definitions()
    assert len(found) == 7
    assert {institution_of(one) for one in found} == {"anahuac.mx", "bajio.delasalle.edu.mx", "instituto-ejemplo.mx"}
    titles = {translation.text for content in found.values() for translation in content.title}
    assert {"Habilidades clave para tu primer empleo", "Pespunte"} <= titles


def test_the_three_definitions_fulfil_the_pathway_and_two_do_not() -> None:
    """The pathway awards one of the definitions to whoever holds the three that learners.csv issues."""
    found = definitions()
    pathway = read_pathway(tomllib.loads((DEMO / "pathway.toml").read_text("utf-8")))
    assert pathway.awards in found
    held = [
        candidate(found[one], issuer=institution_of(one), valid_from_ms=NOW_MS - 1_000) for one in OF_PREFIX.values()
    ]
    assert evaluate(pathway, held, time_ms=NOW_MS).holds
    for left_out in range(3):
        fewer = held[:left_out] + held[left_out + 1 :]
        missing = evaluate(pathway, fewer, time_ms=NOW_MS).missing
        assert [finding.subject for finding in missing] == ["requirements[0]", "requirements[1]"]
        assert missing[0].es == f"Falta: {line_of(held[left_out].definition)}/*."


def test_learners_file_is_what_its_generator_makes() -> None:
    """The file in the repository is the generator's, byte for byte."""
    assert (DEMO / "learners.csv").read_bytes() == make_learners(DEFAULT_SEED).encode()


def test_learners_file_has_240_good_rows_and_six_bad_ones() -> None:
    """Eighty good rows for each definition; each bad one is named by number and reason."""
    found = read_learners((DEMO / "learners.csv").read_bytes())
    groups = [row.learner.student_number[:3] for row in found.rows]
    assert {prefix: groups.count(prefix) for prefix in OF_PREFIX} == {"HAB": 80, "PES": 80, "SEG": 80}
    assert len(found.rows) == 240
    assert found.bad == (
        BadRow(12, "family_name is empty"),
        BadRow(53, "email «noemi.arroba.example» is no address"),
        BadRow(94, "awarded_on: '2025-02-30' is no date of the form YYYY-MM-DD"),
        BadRow(135, "the same person as row 90"),
        BadRow(176, "holder_key «no-es-una-llave» is no Ed25519 key (did:key:z6Mk… or 64 hex digits)"),
        BadRow(217, "evidence_url «evidencia.pdf» is no http(s) address"),
    )


def test_three_people_stand_in_all_three_groups() -> None:
    """The first three rows of each group are the same people; nobody else stands twice."""
    rows = read_learners((DEMO / "learners.csv").read_bytes()).rows
    by_group = {
        prefix: [row.learner for row in rows if row.learner.student_number.startswith(prefix)] for prefix in OF_PREFIX
    }
    people = {prefix: [(one.full_name, one.email) for one in learners] for prefix, learners in by_group.items()}
    assert people["HAB"][:3] == people["PES"][:3] == people["SEG"][:3]
    everyone = [person for group in people.values() for person in group]
    assert len(set(everyone)) == 234
    assert [one.student_number for one in by_group["HAB"][:3]] == ["HAB-0001", "HAB-0002", "HAB-0003"]


def test_nobody_in_the_file_is_real() -> None:
    """Every address that is one lies in the domain that can never exist."""
    with (DEMO / "learners.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    addresses = [row["correo"] for row in rows if "@" in row["correo"]]
    assert len(addresses) == 245
    assert all(address.endswith("@alumnos.example") for address in addresses)
    assert {row["fecha"] for row in rows if not row["matricula"].endswith("9001")} == {""}
