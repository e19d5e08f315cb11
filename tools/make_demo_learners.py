"""Write `genesis/demo/learners.csv`: invented learners, the same bytes for the same seed.

    python -m tools.make_demo_learners [--seed 2611] [--output genesis/demo/learners.csv]

Nobody in it exists: the surnames are plants, animals and stones, and the addresses end in `.example`.
80 good rows for each of three definitions, with six bad rows among them. The first three people of each
group are the same three: they hold all three microcredentials and can stack them.
"""

import csv
import io
import random
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

DEFAULT_SEED: Final = 2611
DEFAULT_OUTPUT: Final = Path(__file__).resolve().parent.parent / "genesis" / "demo" / "learners.csv"
HEADER: Final = ("nombre", "apellidos", "correo", "matricula", "llave", "fecha", "calificacion", "evidencia")
GROUPS: Final = ("HAB", "PES", "SEG")
"""Prefix of the enrolment number: Habilidades clave …, Pespunte, Seguridad en el taller."""
LEARNERS_PER_GROUP: Final = 80
STACKING_LEARNERS: Final = 3

GIVEN_NAMES: Final = (
    "Ana Ángel Belén Brenda César Citlali Diego Elías Emilia Fátima Germán Inés Íñigo Itzel Jesús José_Luis Julián "
    "Lucía Luz_María Martín Mónica Noé Óscar Paloma Raúl Renata Rocío Saúl Sofía Tomás Úrsula Valeria Ximena Zoé"
)
"""Parted by blanks; `_` stands for a blank inside a name."""
INVENTED_SURNAMES: Final = (
    "Ágata Ajolote Bellota Cacomixtle Cempasúchil Chapulín Cigüeña Colibrí Encino Garambullo Huizache Jacaranda "
    "Jícama Luciérnaga Mezquite Nogal Nopal Obsidiana Ñandú Pingüino Pirul Quetzal Sauce Tecolote Tejón Tezontle "
    "Tlacuache Xoconostle Zapote Zorzal"
)


@dataclass(frozen=True, slots=True)
class Person:
    """An invented person."""

    given_name: str
    family_name: str
    email: str


def make_learners(seed: int) -> str:
    """Return the whole file as text."""
    rng = random.Random(seed)  # noqa: S311 – invented names, not secrets
    everyone = LEARNERS_PER_GROUP * len(GROUPS) - STACKING_LEARNERS * (len(GROUPS) - 1)
    people = _people(rng, everyone)
    stacking, others = people[:STACKING_LEARNERS], iter(people[STACKING_LEARNERS:])
    rows: list[tuple[str, ...]] = []
    for group in GROUPS:
        members = [*stacking, *(next(others) for _ in range(LEARNERS_PER_GROUP - STACKING_LEARNERS))]
        good = [_row(rng, group, number, person) for number, person in enumerate(members, 1)]
        rows.extend(_with_bad_rows(group, good))
    assert next(others, None) is None
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows(rows)
    return text.getvalue()


def _people(rng: random.Random, count: int) -> list[Person]:
    """Return so many different people; the number in the address keeps namesakes apart."""
    given_names, surnames = GIVEN_NAMES.split(), INVENTED_SURNAMES.split()
    people = []
    for number in range(1, count + 1):
        given_name = rng.choice(given_names).replace("_", " ")
        family_name = " ".join(rng.sample(surnames, 2))
        local = _ascii(f"{given_name.split()[0]}.{family_name.split()[0]}").lower()
        people.append(Person(given_name, family_name, f"{local}{number:03d}@alumnos.example"))
    return people


def _row(rng: random.Random, group: str, number: int, person: Person) -> tuple[str, ...]:
    """Return a good row; an empty date means the time of issuing."""
    evidence = f"https://evidencias.example/{group.lower()}/{number:04d}" if number % 4 == 0 else ""
    return (
        person.given_name,
        person.family_name,
        person.email,
        f"{group}-{number:04d}",
        "",
        "",
        _grade(rng, group),
        evidence,
    )


def _grade(rng: random.Random, group: str) -> str:
    """Return a grade in the scheme that the group's definition names."""
    match group:
        case "HAB":
            return f"{rng.randint(80, 100) / 10:.1f}"
        case "SEG":
            return str(rng.randint(80, 100))
        case _:
            return "Competente"


def _with_bad_rows(group: str, good: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Put two rows that cannot be issued for among the good ones, each wrong in another way."""
    bad: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
        "HAB": (
            ("Rubén", "", "ruben@alumnos.example", "HAB-9001", "", "", "9.0", ""),  # no surname
            ("Noemí", "Zapote Nogal", "noemi.arroba.example", "HAB-9002", "", "", "8.5", ""),  # no address
        ),
        "PES": (
            ("Iván", "Sauce Tejón", "ivan@alumnos.example", "PES-9001", "", "2025-02-30", "Competente", ""),  # no day
            good[6],  # the same person twice
        ),
        "SEG": (
            ("Aída", "Pirul Ágata", "aida@alumnos.example", "SEG-9001", "no-es-una-llave", "", "88", ""),  # no key
            ("Hugo", "Quetzal Encino", "hugo@alumnos.example", "SEG-9002", "", "", "91", "evidencia.pdf"),  # no URL
        ),
    }
    first, second = bad[group]
    return [*good[:10], first, *good[10:50], second, *good[50:]]


def _ascii(text: str) -> str:
    """Return text without accents, as mail addresses usually are."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(character for character in decomposed if character.isascii())


@click.command()
@click.option("--seed", default=DEFAULT_SEED, show_default=True, help="The same seed gives the same bytes.")
@click.option(
    "--output",
    default=DEFAULT_OUTPUT,
    show_default=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write.",
)
def main(seed: int, output: Path) -> None:
    """Write invented learners for the demonstration."""
    output.write_text(make_learners(seed), encoding="utf-8", newline="")
    print(f"{output}: written with seed {seed}")


if __name__ == "__main__":
    main()
