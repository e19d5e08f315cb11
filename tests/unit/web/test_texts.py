"""Every text exists in both languages and takes the same values, and templates ask for none that is missing."""

import re
from importlib.resources import files

import pytest

from node.documents.answer import LightName
from node.web.language import Language
from node.web.rendering import Words
from node.web.texts import BY_LANGUAGE
from node.web.upload import Fault

SPANISH, ENGLISH = BY_LANGUAGE[Language.SPANISH], BY_LANGUAGE[Language.ENGLISH]
VALUE = re.compile(r"{([a-z]+)}")


@pytest.mark.parametrize("name", sorted(SPANISH))
def test_text_takes_the_same_values_in_both_languages(name: str) -> None:
    """No translation forgets a value, and none is empty."""
    assert sorted(set(VALUE.findall(SPANISH[name]))) == sorted(set(VALUE.findall(ENGLISH[name])))
    assert SPANISH[name].strip()
    assert ENGLISH[name].strip()


def test_each_light_and_fault_has_its_sentences() -> None:
    """A light has a title and what to do about it; a fault has its sentence."""
    wanted = {f"{kind}_{light}" for light in LightName for kind in ("light", "next")}
    wanted |= {f"fault_{fault}" for fault in Fault}
    assert wanted - set(SPANISH) == set()


def test_templates_and_texts_know_each_other() -> None:
    """What templates name exists; what exists is named, or built from a light, a fault, a status or a claim."""
    folder = files("node.web").joinpath("templates")
    source = "".join(template.read_text() for template in folder.iterdir())
    named = set(re.findall(r"\bt\(\s*'([a-z_0-9]+)'\s*[,)]", source))
    assert len(named) > 50
    assert named - set(SPANISH) == set()
    built = ("light_", "next_", "fault_", "error_", "claim_/")
    in_code = {"days", "hours", "minutes", "seconds"}
    assert {name for name in set(SPANISH) - named - in_code if not name.startswith(built)} == set()


@pytest.mark.parametrize(
    "age_ms,said",
    [
        (-5_000, "0 s"),
        (999, "0 s"),
        (119_999, "119 s"),
        (120_000, "2 min"),
        (7_199_999, "119 min"),
        (7_200_000, "2 h"),
        (172_799_999, "47 h"),
        (172_800_000, "2 d"),
    ],
)
def test_age_in_its_largest_unit(age_ms: int, said: str) -> None:
    """From two of a unit on, that unit; a clock that is behind gives nothing negative."""
    assert Words(Language.SPANISH).age(age_ms) == said


def test_time_is_written_out() -> None:
    """Spanish links with `de`, English does not; both say that it is UTC."""
    assert Words(Language.SPANISH).time(1_795_802_645_999) == "27 de noviembre de 2026, 18:04:05 UTC"
    assert Words(Language.ENGLISH).time(1_795_802_645_999) == "27 November 2026, 18:04:05 UTC"


def test_translation_falls_back_to_what_there_is() -> None:
    """A name without English is shown in Spanish, without any by its id."""
    words = Words(Language.ENGLISH)
    assert words.pick({"es": "Uno", "en": "One"}, "id") == "One"
    assert words.pick({"es": "Uno"}, "id") == "Uno"
    assert words.pick({}, "id") == "id"
