"""Pieces that several records share: who acted when with which keys, text in languages, marks."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from node.limits import (
    CODE_CHARS_MAX,
    NAME_CHARS_MAX,
    SIGNATURES_PER_TRANSACTION_MAX,
    TEXT_CHARS_MAX,
    TRANSLATIONS_MAX,
    URL_CHARS_MAX,
)
from node.primitives import Height, InstitutionId, KeyId, TimestampMs

Code: TypeAlias = Annotated[str, Meta(max_length=CODE_CHARS_MAX)]
Name: TypeAlias = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
LongText: TypeAlias = Annotated[str, Meta(max_length=TEXT_CHARS_MAX)]
Url: TypeAlias = Annotated[str, Meta(max_length=URL_CHARS_MAX)]
Language: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z]{2,3}$")]
"""ISO 639 code."""
Hundredths: TypeAlias = Annotated[int, Meta(ge=0, le=100_000_000)]
"""A decimal times 100: the chain knows no fractions."""


class Translation(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One text in one language."""

    language: Language
    text: LongText


Translations: TypeAlias = Annotated[tuple[Translation, ...], Meta(max_length=TRANSLATIONS_MAX)]
"""Ascending by language, none twice; `es` is among them wherever text is mandatory."""


class KeyReference(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Names a key record: `key/<institution>/<key id>`."""

    institution: InstitutionId
    key_id: KeyId


class Act(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That somebody did something: in which block, and with which keys.

    An act is void once fewer than `required` of its keys are good at its height.
    """

    height: Height
    time_ms: TimestampMs
    """Block time."""
    actor: InstitutionId
    keys: Annotated[tuple[KeyReference, ...], Meta(max_length=SIGNATURES_PER_TRANSACTION_MAX)]
    """Every key that signed, ascending by key id; empty for what the genesis did.

    A key that signed only to be added is not named where it is recorded (`rules.keys.adding_act`).
    """
    required: Annotated[int, Meta(ge=0, le=SIGNATURES_PER_TRANSACTION_MAX)]
    """How many signatures the rule asked for; 0 for the genesis."""


class Credits(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Credits in one framework; never converted silently."""

    framework: Code
    """`SATCA`, `ECTS`, …: a framework that the chain's parameters list."""
    value_hundredths: Hundredths


class Level(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A level in a qualifications framework."""

    framework: Code
    """`MNC`, `EQF` or `NIAD`."""
    value: Annotated[int, Meta(ge=0, le=99)]


def text_in(translations: Translations, language: str) -> str:
    """Return the text in a language, else in Spanish, else the first there is, else ""."""
    by_language = {item.language: item.text for item in translations}
    first = translations[0].text if translations else ""
    return by_language.get(language) or by_language.get("es") or first
