"""Logs as events: one JSON object a line, on standard error.

Shells and edges write them, one line a step, with the fields of the glossary (`height`, `view`,
`block`, `peer`); bytes appear as hex. Whoever wants pretty lines pipes them through a viewer.
Source: STYLE, Logs.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, TypeAlias

import msgspec
import structlog

LEVELS: Final = ("debug", "info", "warning", "error")
_NUMBERS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Logger: TypeAlias = structlog.typing.FilteringBoundLogger


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Write events of `level` (one of `LEVELS`) and above to `stream`; call once, at the start."""
    assert level in LEVELS, level
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    _adopt_library_logs(level)


def get_logger(room: str) -> Logger:
    """Return the logger of a room; every line of it carries `room`."""
    logger: Logger = structlog.get_logger(room=room)
    return logger


def _render(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """Return one line of JSON, time and event first."""
    ordered = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return msgspec.json.encode({**ordered, **event}, enc_hook=str).decode("utf-8")


class _Adopted(logging.Handler):
    """Turns what libraries log (aiohttp, asyncio) into events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        logger = structlog.get_logger(room=record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def _adopt_library_logs(level: str) -> None:
    """Libraries speak from `warning` on; at `debug` from `info` on."""
    root = logging.getLogger()
    root.handlers = [_Adopted()]
    root.setLevel(logging.INFO if level == "debug" else logging.WARNING)
