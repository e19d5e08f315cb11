"""Which language a page speaks: Spanish first, English by a switch or by the browser's wish.

The switch is `?lang=`; nothing is remembered, so no cookie is needed. Source: INTERFACE §4; RFC 9110 §12.5.4.
"""

from enum import StrEnum
from typing import Final

ACCEPT_LANGUAGE_CHARS_MAX: Final = 1_000
"""Browsers send about 40 characters; what is longer is not read."""


class Language(StrEnum):
    """The languages of the pages, by ISO 639 code."""

    SPANISH = "es"
    ENGLISH = "en"

    @property
    def other(self) -> "Language":
        """The language that the switch leads to."""
        return Language.ENGLISH if self is Language.SPANISH else Language.SPANISH


def choose(switch: str | None, accept_language: str) -> Language:
    """Return the language of the switch, else the one the browser prefers, else Spanish."""
    if switch in tuple(Language):
        return Language(switch)
    if len(accept_language) > ACCEPT_LANGUAGE_CHARS_MAX:
        return Language.SPANISH
    best, best_weight = Language.SPANISH, 0.0
    for item in accept_language.split(","):
        tag, _, parameter = item.partition(";")
        code = tag.strip().lower().partition("-")[0]
        weight = _weight(parameter)
        # A strict comparison: among equals the one that the browser names first.
        if code in tuple(Language) and weight > best_weight:
            best, best_weight = Language(code), weight
    return best


def _weight(parameter: str) -> float:
    """Return the weight of `q=0.8`: 1 where none is given, 0 where it cannot be read."""
    name, _, value = parameter.strip().partition("=")
    if not name:
        return 1.0
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0
