"""A node's answers made by hand, and a server that shows them: for what a real node rarely says."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from node.web.pages import add_routes
from node.web.view import Answer, Counts, Light, NetworkState, ValidatorState

STATE = NetworkState(
    chain_id="pila-test-1",
    genesis_hash=bytes(range(32)),
    height=1_234,
    block_hash=bytes([0xAB]) * 32,
    block_time_ms=1_795_802_645_000,
    now_ms=1_795_802_650_000,
    institution="seg.guanajuato.gob.mx",
    version="0.1.0",
    syncing=False,
    validators=(
        ValidatorState(
            "seg.guanajuato.gob.mx",
            {"es": "Secretaría de Educación de Guanajuato", "en": "Guanajuato Education Secretariat"},
            took_part=True,
        ),
        ValidatorState("sdes.guanajuato.gob.mx", {"es": "Secretaría de Economía"}, took_part=True),
        ValidatorState("ugto.mx", {"es": "Universidad de Guanajuato"}, took_part=False),
        ValidatorState("itleon.edu.mx", {}, took_part=True),
    ),
    quorum=3,
    peers=3,
    counts=Counts(
        institutions=14, definitions=6, pathways=1, transactions=9, credentials_issued=12_345, credentials_revoked=1
    ),
)
YOUNG = replace(
    STATE,
    height=0,
    validators=tuple(replace(validator, took_part=None) for validator in STATE.validators),
)
"""At the genesis nobody has signed anything."""

GOOD = Light("document", ok=True, text={"es": "La firma es buena.", "en": "The signature is good."}, detail="eddsa")
REVOKED = Light(
    "status",
    ok=False,
    text={"es": "Fue revocada el 3 de marzo de 2026.", "en": "It was revoked on 3 March 2026."},
    detail="revoked: fraud, height 77",
)
NOT_A_STACK = Light("components", ok=None, text={"es": "No es apilada.", "en": "It is not stacked."}, detail="")
ANSWER = Answer(verified=False, lights=(GOOD, REVOKED, NOT_A_STACK))


@dataclass
class TwinView:
    """A node that says what it is told to."""

    state: NetworkState = STATE
    answer: Answer | Exception = ANSWER
    asked: list[bytes] = field(default_factory=list)
    """The bundles that it was given."""
    gate: asyncio.Event | None = None
    """Answers wait for it."""

    def network_state(self) -> NetworkState:
        return self.state

    async def verify_bundle(self, bundle: bytes) -> Answer:
        self.asked.append(bundle)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass(frozen=True)
class Page:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


def with_client(view: TwinView, use: Callable[[TestClient[web.Request, web.Application]], Awaitable[None]]) -> None:
    """Serve the pages as a node does, with the small body limit of JSON-RPC, and use them."""

    async def run() -> None:
        app = web.Application(client_max_size=1024)
        app.router.add_get("/health", _health)
        add_routes(app, view)
        async with TestClient(TestServer(app)) as client:
            await use(client)

    asyncio.run(run())


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"alive": True})


def fetch(
    view: TwinView, path: str, *, method: str = "GET", headers: dict[str, str] | None = None, data: object = None
) -> Page:
    """Make one request."""
    pages: list[Page] = []

    async def use(client: TestClient[web.Request, web.Application]) -> None:
        async with client.request(method, path, headers=headers, data=data) as response:
            pages.append(Page(response.status, dict(response.headers), await response.text()))

    with_client(view, use)
    return pages[0]
