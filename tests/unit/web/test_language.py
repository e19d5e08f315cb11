"""Which language a page speaks."""

import pytest

from node.web.language import ACCEPT_LANGUAGE_CHARS_MAX, Language, choose

ES, EN = Language.SPANISH, Language.ENGLISH


@pytest.mark.parametrize(
    "switch,accepted,expected",
    [
        (None, "", ES),
        (None, "es-MX,es;q=0.9,en;q=0.8", ES),
        (None, "en-US,en;q=0.9,es;q=0.8", EN),
        (None, "de,fr;q=0.9", ES),
        (None, "de,en;q=0.1", EN),
        (None, "es;q=0.5, EN ;q=0.6", EN),
        (None, "en;q=0,es;q=0", ES),
        # Among equals the first.
        (None, "en,es", EN),
        (None, "es,en", ES),
        # Weights that are none count nothing.
        (None, "en;q=2,es;q=0.1", ES),
        (None, "en;q=x", ES),
        (None, "en;q=nan", ES),
        (None, "en;q=-1", ES),
        (None, ";;,,=;q", ES),
        ("en", "es", EN),
        ("es", "en", ES),
        # A switch that is none is no switch.
        ("fr", "en", EN),
        ("", "en", EN),
        # The longest header that is read, and one character more.
        (None, "en".ljust(ACCEPT_LANGUAGE_CHARS_MAX), EN),
        (None, "en".ljust(ACCEPT_LANGUAGE_CHARS_MAX + 1), ES),
    ],
)
def test_language_of_switch_then_browser_then_spanish(switch: str | None, accepted: str, expected: Language) -> None:
    """The switch wins, then the browser's weights, then Spanish."""
    assert choose(switch, accepted) is expected
