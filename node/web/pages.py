"""The plain pages: what Pila is, how the network is, and a box that verifies a credential.

Everything works without script, cookies and third parties. What is uploaded lives in memory until it is
answered; it is neither stored nor logged. Source: INTERFACE §4; DOMAIN §6.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from traceback import extract_tb
from typing import Final, TypeAlias

import msgspec
from aiohttp import hdrs, web

from node.documents.answer import Answer, LightName
from node.documents.jcs import Json
from node.limits import PAGE_UPLOAD_MS_MAX, PAGE_UPLOADS_MAX
from node.log import get_logger
from node.primitives import InstitutionId
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.web.language import Language, choose
from node.web.rendering import render, static_files
from node.web.upload import Fault, Upload, UploadFault, read_upload
from node.web.view import PageView

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Pages have no script at all, so nothing that slips through the escaping can run.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
RETRY_AFTER_SECONDS: Final = 5
QUIET_MS: Final = 3 * 60_000
"""Three heartbeats: a network without a block for so long is said to be quiet."""

FAMILIAR_CLAIMS: Final[tuple[str, ...]] = (
    "/title",
    "/name",
    "/awarded_on",
    "/grade",
    "/student_number",
    "/email",
    "/evidence_url",
)
"""In the order in which people look for them."""
NAME_PARTS: Final = frozenset({"/given_name", "/family_name"})
"""Not shown beside the full name."""
RENDITIONS: Final = "/rendition/"
"""Hashes of files: nothing to read for people."""

_FAULT_STATUS: Final = {
    Fault.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Fault.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Fault.NO_FORM: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
_VIEW: Final = web.AppKey("page_view", PageView)
_UPLOADS: Final = web.AppKey("page_uploads", asyncio.Semaphore)
_PAGES: Final = frozenset({"/", "/verify"})

_log = get_logger("web")


def add_routes(app: web.Application, view: PageView) -> None:
    """Add the pages, their security headers and their error pages to the server of a node.

    Call before the application starts. Answers to programs (`/rpc`, `/health`, …) are left as they are.
    """
    app[_VIEW] = view
    app[_UPLOADS] = asyncio.Semaphore(PAGE_UPLOADS_MAX)
    app.router.add_get("/", _home)
    app.router.add_get("/verify", _verify_form)
    app.router.add_post("/verify", _verify)
    for file in static_files().values():
        app.router.add_get(file.address, _static)
    # First, so that it sees what the others make of a request.
    app.middlewares.insert(0, _error_pages)


async def _home(request: web.Request) -> web.Response:
    state = request.app[_VIEW].network_state()
    return _page(request, "home.html", state=state, quiet_ms=QUIET_MS, fault=None)


async def _verify_form(request: web.Request) -> web.Response:
    return _page(request, "verify.html", fault=None)


async def _verify(request: web.Request) -> web.Response:
    """Verify what the form brings; a fault brings the form back with a sentence."""
    view, uploads = request.app[_VIEW], request.app[_UPLOADS]
    if uploads.locked():
        return _error(request, HTTPStatus.SERVICE_UNAVAILABLE)
    async with uploads:
        try:
            upload = await _in_time(request)
            answer = await view.verify_bundle(upload.bundle, is_file=upload.file_name is not None)
        except UploadFault as fault:
            status = _FAULT_STATUS.get(fault.fault, HTTPStatus.BAD_REQUEST)
            return _page(request, "verify.html", status, fault=fault)
        except RpcError as error:
            if error.code is not ErrorCode.LIMIT_EXCEEDED:
                raise
            return _error(request, HTTPStatus.SERVICE_UNAVAILABLE)
    return _page(
        request,
        "result.html",
        answer=answer,
        content=_content(view, answer),
        file_name=upload.file_name,
        state=view.network_state(),
    )


@dataclass(frozen=True, slots=True)
class _Content:
    """What a credential says, for the reader to compare with the person."""

    issuer: InstitutionId
    issuer_names: Mapping[str, str]
    definition: str
    credential_id: str
    claims: tuple[tuple[str, str], ...]
    """Path and value of each opened claim, the familiar ones first."""


def _content(view: PageView, answer: Answer) -> _Content | None:
    """Return what the credential says; None where nothing vouches for it, so that a forgery looks like none."""
    vouching = [answer.light(name) for name in (LightName.DOCUMENT, LightName.ISSUED, LightName.NETWORK)]
    summary = answer.summary
    if summary is None or not all(light is not None and light.ok for light in vouching):
        return None
    shown = {path: value for path, value in summary.shown.items() if not path.startswith(RENDITIONS)}
    if "/name" in shown:
        shown = {path: value for path, value in shown.items() if path not in NAME_PARTS}
    paths = sorted(shown, key=lambda path: (_rank(path), path))
    claims = tuple((path, _plain(shown[path])) for path in paths)
    names = view.institution_names(summary.issuer)
    return _Content(summary.issuer, names, summary.definition, summary.credential_id, claims)


def _rank(path: str) -> int:
    return FAMILIAR_CLAIMS.index(path) if path in FAMILIAR_CLAIMS else len(FAMILIAR_CLAIMS)


def _plain(value: Json) -> str:
    """Return a claim's value as people read it; structures as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8")


async def _in_time(request: web.Request) -> Upload:
    try:
        async with asyncio.timeout(PAGE_UPLOAD_MS_MAX / 1_000):
            return await read_upload(request)
    except TimeoutError:
        raise UploadFault(Fault.TOO_SLOW) from None


async def _static(request: web.Request) -> web.Response:
    file = next(file for file in static_files().values() if file.address == request.path)
    return web.Response(
        body=file.body,
        content_type=file.content_type,
        charset="utf-8",
        headers={**SECURITY_HEADERS, hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable"},
    )


@web.middleware
async def _error_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what goes wrong into a page, for people; programs get what they got before."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST or not _is_for_people(request):
            raise
        response = _error(request, HTTPStatus(error.status))
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    # A page that fails must not show how; the log says what, without the request's body.
    except Exception as error:
        if request.path not in _PAGES:
            raise
        # Without the exception's message, which could quote what was uploaded.
        place = [f"{frame.filename}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-3:]]
        _log.error("page_failed", path=request.path, error=type(error).__name__, place=place)
        return _error(request, HTTPStatus.INTERNAL_SERVER_ERROR)


def _is_for_people(request: web.Request) -> bool:
    return request.path in _PAGES or "text/html" in request.headers.get(hdrs.ACCEPT, "")


def _language(request: web.Request) -> Language:
    return choose(request.query.get("lang"), request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))


def _error(request: web.Request, status: HTTPStatus) -> web.Response:
    response = _page(request, "error.html", status, status=int(status))
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers[hdrs.RETRY_AFTER] = str(RETRY_AFTER_SECONDS)
    return response


def _page(request: web.Request, template: str, code: HTTPStatus = HTTPStatus.OK, /, **values: object) -> web.Response:
    language = _language(request)
    # The switch is carried along; a language that the browser asked for is asked for again anyway.
    switched = f"?lang={language}" if request.query.get("lang") == language else ""
    path = request.path if request.path in _PAGES else "/"
    body = render(template, language, path=path, switched=switched, **values)
    return web.Response(
        body=body,
        status=code,
        content_type="text/html",
        charset="utf-8",
        headers={
            **SECURITY_HEADERS,
            hdrs.CACHE_CONTROL: "no-store",
            hdrs.CONTENT_LANGUAGE: language.value,
            hdrs.VARY: "Accept-Language",
        },
    )
