"""The plain pages in a real browser: both languages, lights and faults, keyboard, phone, paper, no third party."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from node.documents.answer import UNREADABLE, Answer, Light, LightName, Text
from node.documents.jcs import JsonObject
from node.limits import BUNDLE_BYTES_MAX
from node.web.pages import QUIET_MS
from node.web.view import NetworkState
from tests.browser.chromium import Browser, Tab
from tests.browser.conftest import Site
from tests.unit.web.page_kit import ANSWER, GOOD, STATE, SUMMARY, VERIFIED, YOUNG

Picture = Callable[[Tab, str], Coroutine[Any, Any, None]]

FIRST_PAGE_BYTES_MAX = 100_000
BUNDLE = b'{"format":"pila-bundle/1"}'
PHONE = 360
# Each text with its colour, the nearest opaque background and its size; what is hidden is left out.
CONTRASTS = """
(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c;
    }
    throw new Error('no background');
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [one, other] = [light(rgb(style.color)), light(behind(element))].sort((a, b) => b - a);
    found.push([(one + 0.05) / (other + 0.05), walker.currentNode.data.trim()]);
  }
  return found;
})()
"""


async def assert_no_horizontal_scroll(tab: Tab) -> None:
    """Nothing reaches beyond the window, nor any text beyond its box."""
    widths = await tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1], widths
    wide = "[...document.querySelectorAll('main :not(.hidden)')].filter(e => e.scrollWidth > e.clientWidth + 1"
    wide += " && getComputedStyle(e).display !== 'inline').map(e => e.outerHTML)"
    assert await tab.evaluate(wide) == []


async def assert_contrast(tab: Tab) -> None:
    """Every text has 4.5:1 on its background (WCAG 1.4.3)."""
    contrasts = await tab.evaluate(CONTRASTS)
    assert len(contrasts) > 10
    assert [item for item in contrasts if item[0] < 4.5] == []


async def lights(tab: Tab) -> dict[str, str]:
    """Return good, bad or none by light, in the order shown."""
    value = await tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('[data-light]')].map(e => [e.dataset.light, e.dataset.ok]))"
    )
    return dict(value)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1_000, PHONE])
def test_home_is_whole_readable_and_alone(
    runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture, width: int, dark: bool
) -> None:
    """The first page is small, asks nobody else, complains of nothing, fits the window and can be read."""

    async def run() -> None:
        async with browser.tab(width=width, dark=dark) as tab:
            await tab.go(f"{site.address}/")
            await picture(tab, f"home-{width}-{'dark' if dark else 'light'}")
            assert await tab.text("h1") == "Pila: microcredenciales que se apilan"
            assert await tab.text("#genesis-hash") == STATE.genesis_hash.hex()
            assert await tab.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") != "0px"
            await assert_no_horizontal_scroll(tab)
            await assert_contrast(tab)
            assert tab.complaints == []
            assert {request.split("/", 3)[2] for request in tab.requests} == {site.address.removeprefix("http://")}
            assert 0 < tab.received_bytes < FIRST_PAGE_BYTES_MAX

    runner.run(run())


def test_languages_by_browser_and_by_switch(runner: asyncio.Runner, browser: Browser, site: Site) -> None:
    """A browser set to English gets English, the switch leads to Spanish and stays there on the way."""

    async def run() -> None:
        async with browser.tab(language="en-US,en;q=0.9") as tab:
            await tab.go(f"{site.address}/")
            assert await tab.text("h1") == "Pila: microcredentials that stack"
            assert await tab.evaluate("document.documentElement.lang") == "en"
            await tab.click(".switch")
            assert await tab.text("h1") == "Pila: microcredenciales que se apilan"
            assert await tab.evaluate("document.documentElement.lang") == "es"
            await tab.click("button")
            assert await tab.text("h1") == "Verificar una credencial"
            await tab.click(".brand")
            assert await tab.text("h1") == "Pila: microcredenciales que se apilan"

    runner.run(run())


@pytest.mark.parametrize("width", [1_000, PHONE])
def test_uploaded_file_comes_back_with_its_lights(
    runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture, tmp_path: Path, width: int
) -> None:
    """Each light is told by a word, a sentence and, where it is bad, by what to do."""
    file = tmp_path / "Ana <b>.pila.json"
    file.write_bytes(BUNDLE)

    async def run() -> None:
        async with browser.tab(width=width) as tab:
            await tab.go(f"{site.address}/")
            await tab.choose_file("#file", file)
            await tab.click("button")
            await picture(tab, f"result-{width}")
            assert site.view.asked == [(BUNDLE, True)]
            assert await lights(tab) == {"document": "good", "issued": "good", "status": "bad", "network": "good"}
            verdict = await tab.text("#verdict")
            assert "No verificada" in verdict
            assert verdict.endswith("No se cumple: Vigencia. 3 de 4 comprobaciones se cumplen.")
            status = await tab.text("[data-light=status]")
            assert status.startswith("! Vigencia: No se cumple Fue revocada el 3 de marzo de 2026. Qué hacer:")
            credential = await tab.text("#credential")
            assert credential.startswith(
                "Lo que dice la credencial Microcredencial Pespunte A nombre de Ana Núñez Calificación 9.5 Evidencia"
            )
            assert "Emitida por Universidad de Guanajuato ugto.mx" in credential
            assert "Ana <b>.pila.json" in await tab.text("main")
            await assert_no_horizontal_scroll(tab)
            await assert_contrast(tab)
            assert tab.complaints == []

    runner.run(run())


def test_verified_credential_is_said_in_words(
    runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture, tmp_path: Path
) -> None:
    """A good answer says so, counts the checks, and still tells the reader to look at the person."""
    site.view.answer = VERIFIED
    file = tmp_path / "ana.pila.json"
    file.write_bytes(BUNDLE)

    async def run() -> None:
        async with browser.tab(language="en", dark=True) as tab:
            await tab.go(f"{site.address}/")
            await tab.choose_file("#file", file)
            await tab.click("button")
            await picture(tab, "result-verified-dark")
            verdict = await tab.text("#verdict")
            assert verdict.startswith("✓ Verified: everything that was checked holds Check also that")
            assert verdict.endswith("3 of 3 checks hold.")
            await assert_contrast(tab)

    runner.run(run())


def test_keyboard_alone_and_no_script(runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture) -> None:
    """From the skip link over the fields to the answer: Tab, paste and Enter are enough, with scripts off."""

    async def run() -> None:
        async with browser.tab(script=False) as tab:
            await tab.go(f"{site.address}/")
            await tab.press("Tab")
            assert await tab.focused() == "skip"
            await picture(tab, "skip")
            await tab.press("Enter")
            await tab.press("Tab")
            assert await tab.focused() == "file"
            outline = await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none"
            await tab.press("Tab")
            assert await tab.focused() == "text"
            await tab.type(BUNDLE.decode())
            await tab.press("Tab")
            assert await tab.focused() == "button"
            await tab.press("Enter", leaves=True)
            assert site.view.asked == [(BUNDLE, False)]
            assert await tab.text("h1") == "Resultado de la verificación"

    runner.run(run())


@pytest.mark.parametrize(
    "name,content,status,said",
    [
        ("empty.json", b"", 400, "El archivo está vacío."),
        ("latin1.json", '{"a":"ñ"}'.encode("latin-1"), 400, "no es texto UTF-8 (desde el byte 6)"),
        ("text.json", b"hola", 400, "El contenido no es JSON."),
        ("cut.json", b'{"a":', 400, "El contenido no es JSON."),
        ("list.json", b"[1]", 400, "pero no una credencial de Pila"),
        ("deep.json", b"[" * 60_000, 400, "El contenido no es JSON."),
        ("diploma.pdf", b"%PDF-1.7\n\xff", 400, "Ese archivo es PDF."),
        ("large.json", b" " * (BUNDLE_BYTES_MAX + 1), 413, "el límite es de 4 MB"),
        ("very-large.json", b" " * (6 * BUNDLE_BYTES_MAX), 413, "el límite es de 4 MB"),
    ],
)
def test_unusable_file_brings_the_form_back_with_a_sentence(
    runner: asyncio.Runner,
    browser: Browser,
    site: Site,
    picture: Picture,
    tmp_path: Path,
    name: str,
    content: bytes,
    status: int,
    said: str,
) -> None:
    """What cannot be a credential is named, the field is marked, and the verifier is not asked."""
    file = tmp_path / name
    file.write_bytes(content)

    async def run() -> None:
        async with browser.tab() as tab:
            await tab.go(f"{site.address}/")
            await tab.choose_file("#file", file)
            await tab.click("button")
            await picture(tab, f"fault-{file.stem}")
            assert tab.statuses[-1] == status
            assert said in await tab.text("#fault")
            assert await tab.evaluate("document.querySelector('#file').getAttribute('aria-invalid')") == "true"
            assert await tab.focused() == "file"
            assert site.view.asked == []

    runner.run(run())


def test_no_file_chosen_and_not_a_bundle(
    runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture
) -> None:
    """An empty form brings a sentence; JSON that is no bundle brings lights that say they could not tell."""
    lights_ = tuple(Light(name, False, UNREADABLE, "malformed: not a bundle") for name in LightName)
    site.view.answer = Answer(lights_, readable=False, summary=None)

    async def run() -> None:
        async with browser.tab(language="en") as tab:
            await tab.go(f"{site.address}/")
            await tab.click("button")
            assert "You neither chose a file nor pasted content." in await tab.text("#fault")
            await tab.evaluate("document.querySelector('#text').focus()")
            await tab.type("\n {} \n")
            await tab.click("button")
            await picture(tab, "unreadable")
            assert site.view.asked == [(b"{}", False)]
            assert "It could not be read as a Pila credential" in await tab.text("#verdict")
            assert (await tab.text("[data-light=dates]")).startswith("? Dates: Could not be told The file is damaged,")
            assert await tab.evaluate("document.querySelector('#credential')") is None

    runner.run(run())


def test_content_of_what_nothing_vouches_for_is_not_shown(
    runner: asyncio.Runner, browser: Browser, site: Site, tmp_path: Path
) -> None:
    """A forged document does not get its name and title printed on our page."""
    site.view.answer = replace(ANSWER, checks=(replace(GOOD, ok=False), *ANSWER.checks[1:]))
    file = tmp_path / "a.json"
    file.write_bytes(BUNDLE)

    async def run() -> None:
        async with browser.tab() as tab:
            await tab.go(f"{site.address}/")
            await tab.choose_file("#file", file)
            await tab.click("button")
            assert (await lights(tab))["document"] == "bad"
            assert "Ana Núñez" not in await tab.text("main")

    runner.run(run())


def test_unknown_address_is_a_page(runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture) -> None:
    """A dead link says so and leads home."""

    async def run() -> None:
        async with browser.tab(width=PHONE) as tab:
            await tab.go(f"{site.address}/c/00ff")
            await picture(tab, "not-found")
            assert tab.statuses[-1] == 404
            assert await tab.text("h1") == "Esta página no existe"
            await assert_no_horizontal_scroll(tab)
            await tab.click(".button")
            assert await tab.text("h1") == "Pila: microcredenciales que se apilan"

    runner.run(run())


@pytest.mark.parametrize(
    "state,said",
    [
        (YOUNG, "Aún sin firmas"),
        (replace(STATE, syncing=True), "Este nodo todavía se está poniendo al día"),
        (replace(STATE, now_ms=STATE.block_time_ms + QUIET_MS + 60_000), "Hace 4 min que no hay un bloque nuevo."),
    ],
    ids=["genesis", "syncing", "quiet"],
)
def test_network_that_is_not_at_its_best_says_so(
    runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture, state: NetworkState, said: str
) -> None:
    """A young, lagging or quiet network is described, not hidden."""
    site.view.state = state

    async def run() -> None:
        async with browser.tab(dark=True) as tab:
            await tab.go(f"{site.address}/")
            await picture(tab, f"home-{said.split(maxsplit=1)[0]}")
            assert said in await tab.text("#network")
            await assert_contrast(tab)

    runner.run(run())


def test_result_prints_without_controls(
    runner: asyncio.Runner, browser: Browser, site: Site, picture: Picture, tmp_path: Path
) -> None:
    """On paper the answer stands alone: no buttons and switches, dark text on white."""
    file = tmp_path / "ana.pila.json"
    file.write_bytes(BUNDLE)

    async def run() -> None:
        async with browser.tab(media="print", width=700) as tab:
            await tab.go(f"{site.address}/verify")
            assert not await tab.evaluate("document.querySelector('#verify').checkVisibility()")
            await tab.send("Emulation.setEmulatedMedia", media="")
            await tab.choose_file("#file", file)
            await tab.click("button")
            await tab.send("Emulation.setEmulatedMedia", media="print")
            await picture(tab, "print")
            for hidden in (".switch", ".screen"):
                assert not await tab.evaluate(f"document.querySelector('{hidden}').checkVisibility()")
            assert await tab.text("[data-light=status] .word") == "No se cumple"
            await assert_contrast(tab)

    runner.run(run())


def test_everything_has_a_name_for_a_screen_reader(
    runner: asyncio.Runner, browser: Browser, site: Site, tmp_path: Path
) -> None:
    """Controls, images and regions in the accessibility tree carry names, and headings skip no level."""
    file = tmp_path / "ana.pila.json"
    file.write_bytes(BUNDLE)

    async def names(tab: Tab) -> dict[str, list[str]]:
        tree = await tab.send("Accessibility.getFullAXTree")
        found: dict[str, list[str]] = {}
        for item in tree["nodes"]:
            if not item["ignored"]:
                found.setdefault(item["role"]["value"], []).append(item.get("name", {}).get("value", ""))
        return found

    async def levels(tab: Tab) -> list[int]:
        value = await tab.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
        return list(value)

    async def run() -> None:
        async with browser.tab() as tab:
            for leave in (False, True):
                if leave:
                    await tab.choose_file("#file", file)
                    await tab.click("button")
                else:
                    await tab.go(f"{site.address}/")
                found = await names(tab)
                for role in ("button", "textbox", "link", "region", "table", "heading", "main"):
                    assert role == "main" or all(found.get(role, ["-"])), (role, found[role])
                steps = await levels(tab)
                assert steps[0] == 1
                assert steps.count(1) == 1
                assert all(after - before <= 1 for before, after in pairwise(steps)), steps

    runner.run(run())


def test_hostile_texts_stay_texts(runner: asyncio.Runner, browser: Browser, site: Site, tmp_path: Path) -> None:
    """Markup in names, sentences and details is shown, not run."""
    attack = "<script>document.title='x'</script><img src=//evil.example/x>\"'>"
    site.view.state = replace(
        STATE, chain_id=attack, validators=(replace(STATE.validators[0], institution=attack, names={"es": attack}),)
    )
    site.view.names = {"es": attack}
    hostile = Light(LightName.DATES, False, Text(attack, attack), attack)
    shown: JsonObject = {"/name": attack, f"/{attack}": [attack]}
    site.view.answer = Answer((*VERIFIED.checks, hostile), True, replace(SUMMARY, issuer=attack, shown=shown))
    file = tmp_path / "a.json"
    file.write_bytes(json.dumps({"name": attack}).encode())

    async def run() -> None:
        async with browser.tab() as tab:
            await tab.go(f"{site.address}/?lang={attack.replace('/', '%2F')}")
            assert attack in await tab.text("#network")
            await tab.choose_file("#file", file)
            await tab.click("button")
            assert attack in await tab.text(".lights")
            assert (await tab.text("#credential")).count("<script>") == 5
            assert await tab.evaluate("document.querySelectorAll('script, main img').length") == 0
            assert all(request.startswith(site.address) for request in tab.requests)
            assert tab.complaints == []

    runner.run(run())
