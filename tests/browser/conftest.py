"""One browser and one event loop for all browser tests; a server of its own for each."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from node.web.pages import add_routes
from tests.browser.chromium import Browser, Tab, find_chromium
from tests.conftest import require
from tests.unit.web.page_kit import TwinView

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """Return what runs browser, server and test in turn, in one thread."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def browser(runner: asyncio.Runner, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a running Chromium."""
    program = find_chromium()
    require(program, "Chromium; install it with: sudo apt-get install -y chromium")
    assert program is not None
    browser = runner.run(Browser.start(program, tmp_path_factory.mktemp("chromium")))
    yield browser
    runner.run(browser.stop())


@dataclass
class Site:
    """A server on a free port of this machine, and what it shows."""

    address: str
    view: TwinView


@pytest.fixture
def site(runner: asyncio.Runner) -> Iterator[Site]:
    """Return a running server with a node that says what it is told to."""
    view = TwinView()
    app = web.Application(client_max_size=1024)
    add_routes(app, view)
    server = web.AppRunner(app, access_log=None)
    address = runner.run(start(server))
    yield Site(address, view)
    runner.run(server.cleanup())


async def start(server: web.AppRunner) -> str:
    """Listen on a free port of this machine and return the address."""
    await server.setup()
    site = web.TCPSite(server, "127.0.0.1", 0)
    await site.start()
    host, port = server.addresses[0][:2]
    return f"http://{host}:{port}"


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Callable[[Tab, str], Coroutine[Any, Any, None]]:
    """Return what takes a picture of a page where PILA_PICTURES names a folder, for people to look at."""

    async def take(tab: Tab, name: str) -> None:
        folder = os.environ.get("PILA_PICTURES")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            await tab.screenshot(Path(folder) / f"{name}.png")

    return take
