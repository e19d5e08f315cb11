"""Dates and times as documents write them: RFC 3339, UTC."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Final

from node.errors import Reason, Rejected
from node.primitives import TimestampMs

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)


def to_seconds_text(time_ms: TimestampMs) -> str:
    """Return `2026-11-23T18:49:00Z`; what is below a second must be zero."""
    assert time_ms % 1000 == 0
    return (_EPOCH + time_ms * _MS).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_text(time_ms: TimestampMs) -> str:
    """Return `2026-11-23T18:49:00.123Z`."""
    moment = _EPOCH + time_ms * _MS
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"


def to_date_text(time_ms: TimestampMs) -> str:
    """Return `2026-11-23`."""
    return f"{_EPOCH + time_ms * _MS:%Y-%m-%d}"


def parse_date(text: str) -> TimestampMs:
    """Read `2026-11-23` as its midnight in UTC. Raises: Rejected(INVALID_VALUE)."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise Rejected(Reason.INVALID_VALUE, f"{text!r} is no date of the form YYYY-MM-DD") from None
    if day.isoformat() != text or day.year < 1970:
        raise Rejected(Reason.INVALID_VALUE, f"{text!r} is no date of the form YYYY-MM-DD after 1970")
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // _MS


def add_months(time_ms: TimestampMs, months: int) -> TimestampMs:
    """Return the same time of day `months` calendar months later; a day that a month lacks is its last."""
    moment = _EPOCH + time_ms * _MS
    total = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(total, 12)
    last = monthrange(year, month + 1)[1]
    later = moment.replace(year=year, month=month + 1, day=min(moment.day, last))
    return (later - _EPOCH) // _MS
