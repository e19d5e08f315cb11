"""A node's answers made by hand, and a server that shows them: for what a real node rarely says."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from node.documents.answer import NOT_PROVEN, Answer, Light, LightName, Summary, Text
from node.web.pages import add_routes
from node.web.view import Counts, NetworkState, ValidatorState

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

GOOD = Light(LightName.DOCUMENT, True, Text("La firma es buena.", "The signature is good."), "eddsa")
REVOKED = Light(
    LightName.STATUS,
    False,
    Text("Fue revocada el 3 de marzo de 2026.", "It was revoked on 3 March 2026."),
    "revoked: fraud, height 77",
)
ISSUED = Light(LightName.ISSUED, True, Text("Quedó registrada.", "It was recorded."), "")
NETWORK = Light(LightName.NETWORK, True, Text("La certifican 3 de 4.", "3 of 4 certify it."), "anchor")
OPEN = Light(LightName.KEY, False, NOT_PROVEN, "bad_proof: the path is too short")
SUMMARY = Summary(
    credential_id="cd" * 32,
    issuer="ugto.mx",
    definition="ugto.mx/pespunte/1",
    as_of="2026-11-27T18:04:05.000Z",
    shown={
        "/evidence_url": "https://ugto.mx/e/1",
        "/grade": 9.5,
        "/name": "Ana Núñez",
        "/own": ["a"],
        "/rendition/ob3": "00" * 32,
        "/title": "Pespunte",
    },
)
ANSWER = Answer((GOOD, ISSUED, REVOKED, NETWORK), readable=True, summary=SUMMARY)
VERIFIED = Answer((GOOD, ISSUED, NETWORK), readable=True, summary=SUMMARY)


@dataclass
class TwinView:
    """A node that says what it is told to."""

    state: NetworkState = STATE
    answer: Answer | Exception = ANSWER
    names: Mapping[str, str] = field(default_factory=lambda: {"es": "Universidad de Guanajuato"})
    asked: list[tuple[bytes, bool]] = field(default_factory=list)
    """The bundles that it was given, and whether each was a file."""
    gate: asyncio.Event | None = None
    """Answers wait for it."""

    def network_state(self) -> NetworkState:
        return self.state

    def institution_names(self, institution: str) -> Mapping[str, str]:
        return self.names

    async def verify_bundle(self, bundle: bytes, *, is_file: bool) -> Answer:
        self.asked.append((bundle, is_file))
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
