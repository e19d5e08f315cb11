"""Templates into bytes: one environment that escapes everything, and how times and numbers look.

Static files carry a part of their hash in the address, so that browsers may keep them for ever.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Final

import jinja2

from node.limits import BUNDLE_BYTES_MAX
from node.primitives import TimestampMs
from node.web.language import Language
from node.web.texts import BY_LANGUAGE, MONTHS

MEGABYTE: Final = 1024 * 1024
_STATIC: Final = {"pila.css": "text/css", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file that pages refer to."""

    body: bytes
    content_type: str
    address: str
    """Path on the server, with the first 12 hex digits of the body's SHA-256."""


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Return the static files by name, read once."""
    found: dict[str, StaticFile] = {}
    for name, content_type in _STATIC.items():
        body = files("node.web").joinpath("static", name).read_bytes()
        stem, _, extension = name.partition(".")
        digest = hashlib.sha256(body).hexdigest()[:12]
        found[name] = StaticFile(body, content_type, f"/static/{stem}.{digest}.{extension}")
    return found


class Words:
    """The texts of one language as templates use them: `t('height')`, `t('ago', age='5 s')`."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._texts = BY_LANGUAGE[language]

    def __call__(self, name: str, /, **values: object) -> str:
        """Return a text with its values in place; a text without values is taken as it is."""
        text = self._texts[name]
        for value_name, value in values.items():
            text = text.replace("{" + value_name + "}", str(value))
        return text

    def has(self, name: str) -> bool:
        """Say whether there is such a text."""
        return name in self._texts

    def pick(self, translations: Mapping[str, str], fallback: str = "") -> str:
        """Return the translation into this language, else into the other one, else the fallback."""
        return translations.get(self.language) or translations.get(self.language.other) or fallback

    def number(self, value: int) -> str:
        """Return 12,345 as both Mexico and the English-speaking world write it."""
        return f"{value:,}"

    def time(self, time_ms: TimestampMs) -> str:
        """Return `23 de noviembre de 2026, 18:05:00 UTC` or `23 November 2026, 18:05:00 UTC`."""
        moment = datetime.fromtimestamp(time_ms // 1_000, UTC)
        link = " de " if self.language is Language.SPANISH else " "
        month = MONTHS[self.language][moment.month - 1]
        return f"{moment.day}{link}{month}{link}{moment.year}, {moment:%H:%M:%S} UTC"

    def age(self, age_ms: int) -> str:
        """Return an age in its largest whole unit; a clock that is behind gives 0 s."""
        seconds = max(0, age_ms) // 1_000
        for name, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
            if seconds >= 2 * length:
                return self(name, n=seconds // length)
        return self("seconds", n=seconds)


def machine_time(time_ms: TimestampMs) -> str:
    """Return RFC 3339 in UTC with seconds, for the `datetime` attribute."""
    return datetime.fromtimestamp(time_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("node.web", "templates"),
        # All texts, whatever the name of the template.
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = {name: file.address for name, file in static_files().items()}
    environment.globals["bundle_megabytes"] = BUNDLE_BYTES_MAX // MEGABYTE
    environment.filters["machine_time"] = machine_time
    return environment


def render(template: str, language: Language, **values: object) -> bytes:
    """Return a page in UTF-8."""
    page = _environment().get_template(template).render(t=Words(language), lang=language, **values)
    return page.encode("utf-8")
