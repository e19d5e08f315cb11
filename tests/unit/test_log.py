"""Logs are one JSON object a line, whoever speaks."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from node.log import configure, get_logger


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave logging as the other tests expect it."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    """Return what was written, without the time."""
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    for line in found:
        assert line.pop("timestamp").endswith("Z")
    return found


def test_event_is_one_line_with_its_fields() -> None:
    """Level, event and room first; what JSON has no form for is written as text."""
    stream = io.StringIO()
    configure("info", stream)
    get_logger("chain").info("block", height=3, block="ab", peers=("a", "b"), odd={1})
    get_logger("chain").debug("detail")
    assert lines(stream) == [
        {
            "level": "info",
            "event": "block",
            "room": "chain",
            "height": 3,
            "block": "ab",
            "peers": ["a", "b"],
            "odd": [1],
        }
    ]


def test_debug_shows_everything() -> None:
    """The level is a threshold."""
    stream = io.StringIO()
    configure("debug", stream)
    get_logger("consensus").debug("step", input="x\ny")
    assert lines(stream) == [{"level": "debug", "event": "step", "room": "consensus", "input": "x\ny"}]


def test_traceback_stays_in_its_line() -> None:
    """A fault of ours is one event too."""
    stream = io.StringIO()
    configure("info", stream)
    get_logger("app").error("failed", exc_info=ValueError("no"))
    (line,) = lines(stream)
    assert (line["event"], str(line["exception"]).splitlines()[-1]) == ("failed", "ValueError: no")


@pytest.mark.parametrize("level,expected", [("info", ["slow 7"]), ("debug", ["slow 7", "started"])])
def test_libraries_are_heard_from_warning_on(level: str, expected: list[str]) -> None:
    """What aiohttp and asyncio log becomes an event; their chatter only at debug."""
    stream = io.StringIO()
    configure(level, stream)
    logging.getLogger("asyncio").warning("slow %d", 7)
    logging.getLogger("aiohttp.server").info("started")
    assert [line["event"] for line in lines(stream)] == expected
