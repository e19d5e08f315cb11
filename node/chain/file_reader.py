"""Reads fields out of a table that a person wrote, and collects everything that is wrong with it.

One fault never hides another: a field that cannot be read gives an empty value and a sentence that
names its place, such as `outcomes[2].verb: a text is needed, not a number`.
"""

import difflib
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, Self, TypeVar

from node import codec
from node.primitives import HASH_BYTES, TIMESTAMP_MS_MAX, Hash, TimestampMs

E = TypeVar("E", bound=StrEnum)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HASH_TEXT: Final = re.compile(rf"[0-9a-f]{{{2 * HASH_BYTES}}}", re.ASCII)
_KINDS: Final = (
    (bool, "a truth value"),
    (str, "a text"),
    (int, "a number"),
    (float, "a number"),
    (list, "a list"),
    (dict, "a table"),
    (date, "a date"),
)


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "nothing")


class FieldReader:
    """One table of the file; inner tables are readers of their own that share the list of faults."""

    def __init__(self, table: Mapping[str, object], place: str = "", faults: list[str] | None = None) -> None:
        self._table = table
        self._place = place
        self._asked: set[str] = set()
        self.faults: Final[list[str]] = [] if faults is None else faults

    def finish(self) -> None:
        """Name the fields that nobody asked for: probably misspelt."""
        for name in self._table:
            if name not in self._asked:
                near = difflib.get_close_matches(name, sorted(self._asked), n=1)
                hint = f"; do you mean {near[0]}?" if near else ""
                self._fault(name, f"no such field{hint}")

    def text(self, name: str, *, chars_max: int, pattern: str = "", mandatory: bool = False) -> str:
        """Return a text, folded to one line; "" where there is none."""
        value = self._take(name)
        if value is None:
            if mandatory:
                self._fault(name, "missing")
            return ""
        return self._clean(name, value, chars_max, pattern)

    def texts(self, name: str, *, chars_max: int, items_max: int, pattern: str = "") -> tuple[str, ...]:
        """Return a list of texts."""
        items = self._list(name, items_max)
        return tuple(self._clean(f"{name}[{i}]", item, chars_max, pattern) for i, item in enumerate(items))

    def texts_by_key(
        self, name: str, *, default_key: str, pattern: str, chars_max: int, items_max: int
    ) -> dict[str, str]:
        """Return texts by key, such as a language; a plain text stands under the default key."""
        value = self._take(name)
        if value is None:
            return {}
        if isinstance(value, str):
            value = {default_key: value}
        if not isinstance(value, dict):
            self._fault(name, f"a table is needed, not {_kind(value)}")
            return {}
        if len(value) > items_max:
            self._fault(name, f"{len(value)} entries, at most {items_max}")
        found = {}
        for key, item in value.items():
            if re.match(pattern, str(key)):
                found[str(key)] = self._clean(f"{name}.{key}", item, chars_max, "")
            else:
                self._fault(f"{name}.{key}", f"{key} does not match {pattern}")
        return found

    def integer(self, name: str, *, maximum: int, default: int = 0, mandatory: bool = False) -> int:
        """Return a whole number from 0 to the maximum."""
        value = self._take(name)
        if value is None:
            if mandatory:
                self._fault(name, "missing")
            return default
        return self._integer(name, value, 0, maximum)

    def integers(self, name: str, *, minimum: int, maximum: int) -> tuple[int, ...]:
        """Return a list of whole numbers; those out of range are named and left out."""
        items = self._list(name, maximum - minimum + 1)
        numbers = (self._integer(f"{name}[{index}]", item, minimum, maximum) for index, item in enumerate(items))
        return tuple(number for number in numbers if number >= minimum)

    def hundredths(self, name: str, *, maximum: int) -> int:
        """Return a decimal number of at most two places, in hundredths; 0 where there is none."""
        value = self._take(name)
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            self._fault(name, f"a number is needed, not {_kind(value)}")
            return 0
        try:
            scaled = Decimal(str(value)) * 100
        except InvalidOperation:
            self._fault(name, f"{value} is no number")
            return 0
        if not scaled.is_finite() or scaled != scaled.to_integral_value():
            self._fault(name, f"{value} has more than two decimals")
            return 0
        if not 0 <= scaled <= maximum:
            self._fault(name, f"{value} is outside 0 … {maximum // 100}")
            return 0
        return int(scaled)

    def boolean(self, name: str) -> bool:
        """Return a truth value; false where there is none."""
        value = self._take(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            self._fault(name, f"true or false is needed, not {_kind(value)}")
            return False
        return value

    def choice(self, name: str, choices: type[E], *, mandatory: bool = False) -> E | None:
        """Return one of a closed list of words, or None."""
        value = self._take(name)
        if value is None:
            if mandatory:
                self._fault(name, "missing")
            return None
        if isinstance(value, str) and value in [item.value for item in choices]:
            return choices(value)
        self._fault(name, f"{value} is none of {', '.join(choices)}")
        return None

    def time_ms(self, name: str) -> TimestampMs:
        """Return a date or a time with its zone, in milliseconds; a date is its first moment in UTC."""
        value = self._take(name)
        if value is None:
            self._fault(name, "missing")
            return 0
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                self._fault(name, f"{value} is no date such as 2025-03-14")
                return 0
            if value.tzinfo is None and value.time() == time():
                value = value.date()
        if isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime.combine(value, time(), UTC)
        else:
            self._fault(name, f"a date is needed, not {_kind(value)}")
            return 0
        if moment.tzinfo is None:
            self._fault(name, f"{value} has no time zone")
            return 0
        milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
        if not 0 <= milliseconds <= TIMESTAMP_MS_MAX:
            self._fault(name, f"{value} is outside 1970 … 9999")
            return 0
        return milliseconds

    def hash(self, name: str) -> Hash | None:
        """Return 32 bytes written as lower-case hex, or None."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, str) or not _HASH_TEXT.fullmatch(value):
            self._fault(name, f"{2 * HASH_BYTES} lower-case hex digits are needed")
            return None
        return bytes.fromhex(value)

    def table(self, name: str) -> Self | None:
        """Return a reader of an inner table, or None."""
        value = self._take(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._fault(name, f"a table is needed, not {_kind(value)}")
            return None
        return type(self)(value, f"{self._place}{name}.", self.faults)

    def tables(self, name: str, *, items_max: int, mandatory: bool = False) -> list[Self]:
        """Return a reader of each table in a list."""
        found = []
        items = self._list(name, items_max)
        for index, item in enumerate(items):
            place = f"{name}[{index}]"
            if isinstance(item, dict):
                found.append(type(self)(item, f"{self._place}{place}.", self.faults))
            else:
                self._fault(place, f"a table is needed, not {_kind(item)}")
        if mandatory and not items:
            self._fault(name, "at least one is needed")
        return found

    def _take(self, name: str) -> object:
        self._asked.add(name)
        return self._table.get(name)

    def _fault(self, name: str, sentence: str) -> None:
        self.faults.append(f"{self._place}{name}: {sentence}")

    def _list(self, name: str, items_max: int) -> list[object]:
        value = self._take(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self._fault(name, f"a list is needed, not {_kind(value)}")
            return []
        if len(value) > items_max:
            self._fault(name, f"{len(value)} entries, at most {items_max}")
        return value[:items_max]

    def _integer(self, name: str, value: object, minimum: int, maximum: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            self._fault(name, f"a whole number is needed, not {_kind(value)}")
            return 0
        if not minimum <= value <= maximum:
            self._fault(name, f"{value} is outside {minimum} … {maximum}")
            return 0
        return value

    def _clean(self, name: str, value: object, chars_max: int, pattern: str) -> str:
        """Fold white space to single blanks and text to NFC: the chain takes no control characters."""
        if not isinstance(value, str):
            self._fault(name, f"a text is needed, not {_kind(value)}")
            return ""
        text = unicodedata.normalize("NFC", " ".join(value.split()))
        if not codec.is_clean_text(text):
            self._fault(name, "holds control characters")
            return ""
        if len(text) > chars_max:
            self._fault(name, f"{len(text)} characters, at most {chars_max}")
            return ""
        if pattern and not re.match(pattern, text):
            self._fault(name, f"{text or 'an empty text'} does not match {pattern}")
            return ""
        return text
