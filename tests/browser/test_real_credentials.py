"""Real credentials of a real chain, verified by the production verifier and read in a real browser."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession, web

from node.documents.bundle import write_bundle
from tests.browser.chromium import Browser, Tab
from tests.browser.conftest import start
from tests.browser.real_node import RealNode
from tests.unit.documents.small_chain import UGTO, SmallChain, person

Picture = Callable[[Tab, str], Coroutine[Any, Any, None]]

GOOD = dict.fromkeys(("document", "issued", "issuer", "key", "status", "dates", "network"), "good")


@dataclass(frozen=True)
class Network:
    """A chain with two people's credentials, the second one's revoked, and a server over it."""

    address: str
    chain: SmallChain
    good: bytes
    revoked: bytes


@pytest.fixture(scope="module")
def network(runner: asyncio.Runner) -> Iterator[Network]:
    """Return a running server."""
    chain = SmallChain()
    content = chain.publish(f"{UGTO}/pespunte/1", "Pespunte")
    first, second = chain.issue(content, [person(1), person(2)])
    chain.change_status("credential.revoke", second)
    node = RealNode(chain)
    server = web.AppRunner(node.application(), access_log=None)
    address = runner.run(start(server))
    yield Network(address, chain, write_bundle(chain.bundle(first)), write_bundle(chain.bundle(second)))
    runner.run(node.worker.stop())
    runner.run(server.cleanup())


async def verify(tab: Tab, network: Network, file: Path, content: bytes) -> dict[str, str]:
    """Upload a file and return the lights."""
    file.write_bytes(content)
    await tab.go(f"{network.address}/")
    await tab.choose_file("#file", file)
    await tab.click("button")
    value = await tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-light]')].map(e => [e.dataset.light, e.dataset.ok]))"
    )
    return dict(value)


def test_home_shows_the_chain(runner: asyncio.Runner, browser: Browser, network: Network, picture: Picture) -> None:
    """Height, genesis hash, counts and who signed come from the ledger."""

    async def run() -> None:
        async with browser.tab() as tab:
            await tab.go(f"{network.address}/")
            await picture(tab, "real-home")
            said = await tab.text("#network")
            assert await tab.text("#genesis-hash") == network.chain.genesis_hash.hex()
            assert f"Altura {network.chain.ledger.head.height} " in said
            assert "(hace 5 s)" in said
            assert "2 credenciales emitidas 1 credenciales revocadas 4 instituciones 1 definiciones" in said
            assert "4 instituciones acuerdan cada bloque; bastan 3 de acuerdo." in said
            assert said.count("✓ Firmó") == 4
            assert tab.complaints == []

    runner.run(run())


def test_good_credential(
    runner: asyncio.Runner, browser: Browser, network: Network, picture: Picture, tmp_path: Path
) -> None:
    """All lights are good, and the page says whose credential it is and for what."""

    async def run() -> None:
        async with browser.tab() as tab:
            assert await verify(tab, network, tmp_path / "ana.pila.json", network.good) == GOOD
            await picture(tab, "real-good")
            assert "Verificada: todo lo comprobado se cumple" in await tab.text("#verdict")
            said = await tab.text("#credential")
            assert "Microcredencial Pespunte" in said
            assert "A nombre de María José Núñez 1" in said
            assert "Apellidos" not in said
            assert tab.complaints == []

    runner.run(run())


def test_revoked_credential(
    runner: asyncio.Runner, browser: Browser, network: Network, picture: Picture, tmp_path: Path
) -> None:
    """Only the status is bad; the content is shown, for it was issued."""

    async def run() -> None:
        async with browser.tab(language="en", width=360) as tab:
            found = await verify(tab, network, tmp_path / "b.pila.json", network.revoked)
            await picture(tab, "real-revoked")
            assert found == {**GOOD, "status": "bad"}
            assert "Not verified" in await tab.text("#verdict")
            assert "revoked" in await tab.text("[data-light=status]")
            assert "Awarded to María José Núñez 2" in await tab.text("#credential")
            widths = await tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert widths[0] <= widths[1]

    runner.run(run())


def test_tampered_credential(
    runner: asyncio.Runner, browser: Browser, network: Network, picture: Picture, tmp_path: Path
) -> None:
    """Another name in the file: the document is bad, and the forged name is not repeated."""
    forged = network.good.replace("Núñez 1".encode(), "Núñez 7".encode())
    assert forged != network.good

    async def run() -> None:
        async with browser.tab() as tab:
            found = await verify(tab, network, tmp_path / "c.pila.json", forged)
            await picture(tab, "real-tampered")
            assert found["document"] == "bad"
            assert "No se cumple: Documento. 6 de 7 comprobaciones se cumplen." in await tab.text("#verdict")
            assert "Núñez 7" not in await tab.text("main")

    runner.run(run())


def test_truncated_and_foreign_credentials(
    runner: asyncio.Runner, browser: Browser, network: Network, picture: Picture, tmp_path: Path
) -> None:
    """Half a file is a sentence; a good credential of another network is bad in `network` and shown as such."""
    other = SmallChain(chain_id="pila-other")
    content = other.publish(f"{UGTO}/pespunte/1", "Pespunte")
    (credential,) = other.issue(content, [person(1)])
    foreign = write_bundle(other.bundle(credential))

    async def run() -> None:
        async with browser.tab() as tab:
            assert await verify(tab, network, tmp_path / "d.pila.json", network.good[:-100]) == {}
            assert "El contenido no es JSON." in await tab.text("#fault")
            found = await verify(tab, network, tmp_path / "e.pila.json", foreign)
            await picture(tab, "real-foreign")
            assert found == {**dict.fromkeys(GOOD, "open"), "network": "bad"}
            assert "Qué hacer" not in await tab.text("[data-light=key]")
            assert "otra red" in await tab.text("[data-light=network]")
            assert await tab.evaluate("document.querySelector('#credential')") is None

    runner.run(run())


def test_pasted_credential_may_be_laid_out_prettily(runner: asyncio.Runner, browser: Browser, network: Network) -> None:
    """People paste what an editor shows; the page and `credential_verify` give the same lights for it."""
    pretty = msgspec.json.format(network.good, indent=2)

    async def run() -> None:
        async with browser.tab() as tab:
            await tab.go(f"{network.address}/verify")
            await tab.evaluate("document.querySelector('#text').focus()")
            await tab.type(pretty.decode())
            await tab.click("button")
            shown = await tab.evaluate(
                "[...document.querySelectorAll('[data-light]')]"
                ".map(e => [e.dataset.light, e.dataset.ok === 'good', e.querySelector('h3 + p').textContent])"
            )
        call = {"jsonrpc": "2.0", "id": 1, "method": "credential_verify", "params": {"bundle": msgspec.Raw(pretty)}}
        async with (
            ClientSession() as session,
            session.post(f"{network.address}/rpc", data=msgspec.json.encode(call)) as response,
        ):
            answer = await response.json()
        assert answer["result"]["verified"] is True
        assert shown == [[check["name"], check["ok"], check["text"]["es"]] for check in answer["result"]["checks"]]

    runner.run(run())
