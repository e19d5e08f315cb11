"""The catalogue in memory, for searching: derived from the chain, refreshed by its commits.

One entry a definition: its text folded (no case, no accents), so a search is one pass of substring
tests over what never changes, a microsecond a definition. Source: INTERFACE §3, `catalog_search`.
"""

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from node.chain.records.common import Translations
from node.chain.records.definition import Definition, DefinitionContent
from node.primitives import CatalogueId
from node.state import keys


@dataclass(frozen=True, slots=True)
class Entry:
    """What of one definition is searched."""

    record: Definition
    words: str
    """All its text, folded."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a definition must match; None asks for nothing."""

    text: str | None = None
    """Every word of it occurs somewhere."""
    level: str | None = None
    """`<framework>:<number>`, such as `MNC:5`."""
    field: str | None = None
    credits_min: float | None = None
    credits_max: float | None = None
    participation: str | None = None
    municipality: str | None = None
    issuer: str | None = None
    standard: str | None = None
    """Code of a standard that it is aligned with."""


class Catalogue:
    """All definitions by id."""

    def __init__(
        self, ids: Callable[[], Sequence[CatalogueId]], read: Callable[[CatalogueId], Definition | None]
    ) -> None:
        """Take how definitions are listed and read; nothing is read before the first search."""
        self._ids = ids
        self._read = read
        self._entries: dict[CatalogueId, Entry] | None = None

    def changed(self, plain_keys: Iterable[str]) -> None:
        """Read again what a block changed."""
        if self._entries is None:
            return
        prefix = keys.definition("")
        for plain_key in plain_keys:
            if plain_key.startswith(prefix):
                self._load(self._entries, plain_key.removeprefix(prefix))

    def search(self, filters: Filters) -> list[Entry]:
        """Return the definitions that match, by id."""
        if self._entries is None:
            self._entries = {}
            for definition_id in self._ids():
                self._load(self._entries, definition_id)
        words = fold(filters.text or "").split()
        return [
            self._entries[definition_id]
            for definition_id in sorted(self._entries)
            if matches(self._entries[definition_id], filters, words)
        ]

    def _load(self, entries: dict[CatalogueId, Entry], definition_id: CatalogueId) -> None:
        record = self._read(definition_id)
        if record is not None:
            entries[definition_id] = Entry(record, fold(" ".join(_text_of(record.content))))


def fold(text: str) -> str:
    """Return text without case and accents: `Energía` and `ENERGIA` are the same."""
    decomposed = unicodedata.normalize("NFD", text.casefold())
    return "".join(character for character in decomposed if not unicodedata.combining(character))


def matches(entry: Entry, filters: Filters, words: Sequence[str]) -> bool:
    """Tell whether a definition is what is looked for; `words` are those of the text, folded."""
    content = entry.record.content
    if not all(word in entry.words for word in words):
        return False
    if filters.issuer is not None and entry.record.issuer != filters.issuer:
        return False
    if filters.level is not None and (content.level is None or _level(content) != filters.level):
        return False
    if filters.participation is not None and content.participation != filters.participation:
        return False
    for wanted, found in ((filters.field, content.field), (filters.municipality, content.municipality)):
        if wanted is not None and fold(wanted) != fold(found):
            return False
    if filters.standard is not None and not any(item.code == filters.standard for item in content.alignments):
        return False
    value = content.credits.value_hundredths / 100 if content.credits is not None else 0.0
    if filters.credits_min is not None and value < filters.credits_min:
        return False
    return filters.credits_max is None or value <= filters.credits_max


def _level(content: DefinitionContent) -> str:
    assert content.level is not None
    return f"{content.level.framework}:{content.level.value}"


def _text_of(content: DefinitionContent) -> Iterable[str]:
    """Yield everything that people may search for."""
    yield content.id
    yield from _all(content.title)
    yield from _all(content.description)
    for outcome in content.outcomes:
        yield outcome.statement
    for alignment in content.alignments:
        yield alignment.code
        yield alignment.name
    yield from content.creators
    yield content.field
    yield content.egel_area
    yield content.municipality


def _all(translations: Translations) -> Iterable[str]:
    return (item.text for item in translations)
