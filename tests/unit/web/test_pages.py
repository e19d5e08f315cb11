"""The pages over HTTP: headers, bounds, faults and what is left alone."""

import asyncio
import io
import json
import socket

import pytest
from aiohttp import FormData, MultipartWriter, web
from aiohttp.test_utils import TestClient

from node.documents.answer import Answer, Light
from node.limits import BUNDLE_BYTES_MAX, PAGE_FORM_BYTES_MAX, PAGE_UPLOADS_MAX
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.web import pages
from node.web.pages import SECURITY_HEADERS
from node.web.rendering import static_files
from tests.unit.web.page_kit import GOOD, OPEN, REVOKED, STATE, SUMMARY, Page, TwinView, fetch, with_client

BUNDLE = b'{"format":"pila-bundle/1"}'
HTML = {"Accept": "text/html,application/xhtml+xml"}


def form(file: bytes | None = None, text: str | None = None, file_name: str = "a.pila.json") -> FormData:
    """Return what a browser sends: an empty file without a name where none was chosen."""
    data = FormData(default_to_multipart=True, quote_fields=False)
    data.add_field(
        "file", io.BytesIO(file or b""), filename="" if file is None else file_name, content_type="application/json"
    )
    data.add_field("text", text or "")
    return data


def post(view: TwinView, data: object, **headers: str) -> Page:
    """Send a form."""
    return fetch(view, "/verify", method="POST", data=data, headers=headers)


@pytest.mark.parametrize("path", ["/", "/verify", "/nowhere", static_files()["pila.css"].address])
def test_every_answer_to_people_carries_the_security_headers(path: str) -> None:
    """Pages, error pages and static files are all under the same policy."""
    page = fetch(TwinView(), path, headers=HTML)
    assert {name: page.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "Set-Cookie" not in page.headers


def test_pages_are_not_kept_and_static_files_are() -> None:
    """A page tells what is now; a static file has its hash in its address."""
    page = fetch(TwinView(), "/")
    assert (page.headers["Cache-Control"], page.headers["Vary"]) == ("no-store", "Accept-Language")
    file = fetch(TwinView(), static_files()["icon.svg"].address)
    assert file.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert file.headers["Content-Type"] == "image/svg+xml; charset=utf-8"


def test_first_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    """No script, no style in the page, no address with a host."""
    text = fetch(TwinView(), "/").text
    for absent in ("<script", "<style", " style=", "http:", "https:", "//"):
        assert absent not in text.replace("<!doctype html>", "")


def test_page_says_who_took_part() -> None:
    """The state of the network is on the page, with the names of the language."""
    text = fetch(TwinView(), "/", headers={"Accept-Language": "en"}).text
    assert '<html lang="en">' in text
    assert STATE.genesis_hash.hex() in text
    assert text.count("Signed") == 3
    assert text.count("Without its signature") == 1
    assert "Guanajuato Education Secretariat" in text
    assert "12,345" in text


@pytest.mark.parametrize("byte_count", [len(BUNDLE), BUNDLE_BYTES_MAX])
def test_file_reaches_the_verifier_byte_for_byte(byte_count: int) -> None:
    """Up to the limit, which is more than the server's own for bodies, white space included."""
    bundle = BUNDLE + b" " * (byte_count - len(BUNDLE))
    view = TwinView()
    page = post(view, form(bundle))
    assert page.status == 200
    assert view.asked == [(bundle, True)]


@pytest.mark.parametrize("data", [form(b" " * (BUNDLE_BYTES_MAX + 1)), form(b" " * (PAGE_FORM_BYTES_MAX + 1))])
def test_file_beyond_the_limit_is_refused(data: FormData) -> None:
    """One byte more is too much, whether the length of the whole form tells or not."""
    view = TwinView()
    page = post(view, data)
    assert (page.status, view.asked) == (413, [])
    assert "el límite es de 4 MB" in page.text


def test_form_of_unknown_length_is_bounded_too() -> None:
    """A form in chunks, which announces no length, is read no further than a form may be."""
    view = TwinView()
    pages_: list[int] = []

    async def use(client: TestClient[web.Request, web.Application]) -> None:
        with MultipartWriter("form-data") as writer:
            part = writer.append(io.BytesIO(b" " * (PAGE_FORM_BYTES_MAX + 1)))
            part.set_content_disposition("form-data", name="file", filename="a.json")

        async with client.post("/verify", data=writer, chunked=True) as got:
            pages_.append(got.status)

    with_client(view, use)
    assert (pages_, view.asked) == ([413], [])


def test_pasted_text_loses_the_space_around_it() -> None:
    """What people paste ends in line ends that the file does not have."""
    view = TwinView()
    assert post(view, form(text=f"\r\n {BUNDLE.decode()}\r\n")).status == 200
    assert view.asked == [(BUNDLE, False)]


def test_file_counts_where_both_are_given() -> None:
    """The answer says which of the two it is about."""
    view = TwinView()
    page = post(view, form(BUNDLE, "{}", "<ana>.pila.json"))
    assert view.asked == [(BUNDLE, True)]
    assert "Archivo comprobado: &lt;ana&gt;.pila.json" in page.text


@pytest.mark.parametrize("checks,advised", [((OPEN, GOOD), 1), ((OPEN, REVOKED), 1), ((OPEN, OPEN), 2)])
def test_each_bad_answer_leads_to_advice(checks: tuple[Light, ...], advised: int) -> None:
    """What stays open gets advice of its own only where nothing bad explains it."""
    page = post(TwinView(answer=Answer(checks, readable=True, summary=SUMMARY)), form(BUNDLE))
    assert page.text.count("Qué hacer:") == advised


@pytest.mark.parametrize(
    "data,status,said",
    [
        (form(), 400, "No eligió ningún archivo"),
        (form(text="  \n "), 400, "No eligió ningún archivo"),
        (form(b""), 400, "El archivo está vacío"),
        (form(b" \n"), 400, "El archivo está vacío"),
        (form(b"\xff\xfe{\x00}\x00"), 400, "no es texto UTF-8 (desde el byte 0)"),
        (form(b"PK\x03\x04"), 400, "Ese archivo es ZIP"),
        (form(b"[1]"), 400, "pero no una credencial de Pila"),
        (form(b"{"), 400, "El contenido no es JSON"),
        (form(b'{"a":' * 10_000), 400, "El contenido no es JSON"),
        (form(text="verificame"), 400, "El contenido no es JSON"),
        (BUNDLE, 415, "no llegó como formulario"),
        (FormData({"text": "{}"}), 415, "no llegó como formulario"),
    ],
)
def test_unusable_upload_gets_a_sentence(data: object, status: int, said: str) -> None:
    """The form comes back with what is wrong; the verifier is not asked."""
    view = TwinView()
    page = post(view, data)
    assert (page.status, view.asked) == (status, [])
    assert said in page.text
    assert 'role="alert"' in page.text


@pytest.mark.parametrize(
    "content_type,body",
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"no boundary at all"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx"),
        ("multipart/form-data; boundary=b", b"--b\r\nbroken\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Length: -1\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 100, b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n" * 50 + b"--b--\r\n"),
    ],
)
def test_broken_form_is_never_a_failure_of_the_node(content_type: str, body: bytes) -> None:
    """Whatever bytes come, the answer is a page that blames the upload."""
    view = TwinView()
    page = post(view, body, **{"Content-Type": content_type})
    assert page.status in {400, 415}
    assert view.asked == []
    assert 'role="alert"' in page.text


def test_slow_form_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A form that does not end within its time is answered, so that it holds no place."""
    monkeypatch.setattr(pages, "PAGE_UPLOAD_MS_MAX", 50)
    answers: list[bytes] = []

    async def use(client: TestClient[web.Request, web.Application]) -> None:
        reader, writer = await asyncio.open_connection(client.host, client.port, family=socket.AF_INET)
        writer.write(
            b"POST /verify HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 1000\r\n\r\n--b\r\n"
        )
        answers.append(await reader.readline())
        writer.close()

    with_client(TwinView(), use)
    assert answers == [b"HTTP/1.1 408 Request Timeout\r\n"]


def test_busy_node_says_so_and_recovers() -> None:
    """Beyond the forms that are handled at a time there is a page with Retry-After; then all is as before."""
    view = TwinView(gate=asyncio.Event())
    statuses: list[int] = []

    async def use(client: TestClient[web.Request, web.Application]) -> None:
        assert view.gate is not None
        waiting = [asyncio.create_task(client.post("/verify", data=form(BUNDLE))) for _ in range(PAGE_UPLOADS_MAX)]
        while len(view.asked) < PAGE_UPLOADS_MAX:
            await asyncio.sleep(0)
        async with client.post("/verify", data=form(BUNDLE)) as busy:
            statuses.append(busy.status)
            assert busy.headers["Retry-After"] == "5"
            assert "Este nodo está muy ocupado" in await busy.text()
        view.gate.set()
        statuses.extend([(await task).status for task in waiting])
        async with client.post("/verify", data=form(BUNDLE)) as after:
            statuses.append(after.status)

    with_client(view, use)
    assert statuses == [503] + [200] * (PAGE_UPLOADS_MAX + 1)


@pytest.mark.parametrize(
    "failure,status,said",
    [
        (RpcError(ErrorCode.LIMIT_EXCEEDED, "no worker is free"), 503, "Este nodo está muy ocupado"),
        (RpcError(ErrorCode.INTERNAL_ERROR, "secret"), 500, "Algo falló en este nodo"),
        (ValueError("secret"), 500, "Algo falló en este nodo"),
    ],
)
def test_failing_verifier_is_a_page_without_its_reason(
    failure: Exception, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """People read whose fault it is; neither page nor log quotes what was uploaded or why it failed."""
    page = post(TwinView(answer=failure), form(b'{"name":"Ana"}'))
    assert page.status == status
    assert said in page.text
    written = page.text + "".join(capsys.readouterr())
    assert "secret" not in written
    assert "Ana" not in written


@pytest.mark.parametrize("path", ["/nowhere", "/static/../pages.py", "/static/pila.css", "/c/%00", "/%ff"])
def test_unknown_address(path: str) -> None:
    """People get a page, programs what they got before; no file is reached by its name."""
    page = fetch(TwinView(), path, headers=HTML)
    assert page.status == 404
    assert "Esta página no existe" in page.text
    plain = fetch(TwinView(), path)
    assert (plain.status, plain.text) == (404, "404: Not Found")


def test_wrong_method_names_the_right_ones() -> None:
    """The page for people still carries Allow."""
    page = fetch(TwinView(), "/", method="POST", headers=HTML)
    assert (page.status, page.headers["Allow"]) == (405, "GET,HEAD")
    assert "Esta página no se usa así" in page.text


def test_answers_to_programs_are_left_alone() -> None:
    """What other rooms serve is neither turned into a page nor given our headers."""
    page = fetch(TwinView(), "/health", headers=HTML)
    assert json.loads(page.text) == {"alive": True}
    assert "Content-Security-Policy" not in page.headers
