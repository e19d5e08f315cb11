"""The form's one field or the other: a file or pasted text, read with bounds and kept only in memory.

Source: RFC 7578 (multipart/form-data).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

from node.documents.jcs import check_depth
from node.errors import Rejected
from node.limits import BUNDLE_BYTES_MAX, PAGE_FORM_BYTES_MAX

FILE_FIELD: Final = "file"
TEXT_FIELD: Final = "text"
_CHUNK_BYTES: Final = 64 * 1024
_JSON_BYTES_MAX: Final = 64 * 1024
"""Up to here JSON is looked through at once, in 20 ms at worst; 4 MiB would keep the event loop for a second."""
_PARTS_MAX: Final = 8
_FILE_NAME_CHARS_MAX: Final = 120
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_FOREIGN: Final = (
    (b"%PDF-", "PDF"),
    (b"\x89PNG\r\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"PK\x03\x04", "ZIP"),
    (b"\x1f\x8b", "GZIP"),
)
"""How files begin that people pick by mistake."""


class Fault(StrEnum):
    """Why there is nothing to verify; also the name of the sentence that says so."""

    NO_FORM = "no_form"
    NOTHING_CHOSEN = "nothing_chosen"
    EMPTY = "empty"
    FOREIGN_FILE = "foreign_file"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_A_BUNDLE = "not_a_bundle"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"


class UploadFault(Exception):
    """The upload cannot be verified: what is wrong, and one datum for the sentence."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(fault, detail)
        self.fault = fault
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Upload:
    """What is to be verified."""

    bundle: bytes
    """Of a file the bytes as they are; of pasted text without the white space around it."""
    file_name: str | None
    """None for pasted text."""


async def read_upload(request: web.Request) -> Upload:
    """Read the form. The caller bounds the time. Raises: UploadFault."""
    if request.content_length is not None and request.content_length > PAGE_FORM_BYTES_MAX:
        raise UploadFault(Fault.TOO_LARGE)
    try:
        upload = _choose(await _fields(request))
    # All that aiohttp says of a body that is no multipart form.
    except (ValueError, RuntimeError, AssertionError, KeyError, HttpProcessingError):
        raise UploadFault(Fault.NO_FORM) from None
    check_json(upload.bundle)
    return upload


@dataclass(frozen=True, slots=True)
class _Field:
    value: bytes
    file_name: str | None


async def _fields(request: web.Request) -> dict[str, _Field]:
    """Return the two fields that count, the first of each name, and skip others."""
    if request.content_type != "multipart/form-data":
        raise UploadFault(Fault.NO_FORM)
    found: dict[str, _Field] = {}
    budget = PAGE_FORM_BYTES_MAX
    reader = await request.multipart()
    for _ in range(_PARTS_MAX):
        part = await reader.next()
        if part is None:
            return found
        if not isinstance(part, BodyPartReader):
            raise UploadFault(Fault.NO_FORM)
        value = await _value(part, budget)
        budget -= len(value)
        if part.name in (FILE_FIELD, TEXT_FIELD) and part.name not in found:
            found[part.name] = _Field(value, part.filename)
    raise UploadFault(Fault.NO_FORM)


async def _value(part: BodyPartReader, budget: int) -> bytes:
    """Read one part. Raises: UploadFault(TOO_LARGE) beyond the budget."""
    value = bytearray()
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        value += chunk
        if len(value) > budget:
            raise UploadFault(Fault.TOO_LARGE)
    return bytes(value)


def _choose(fields: dict[str, _Field]) -> Upload:
    """Take the file if one was chosen, else the text. Raises: UploadFault."""
    # Browsers send an empty part with an empty file name where no file was chosen.
    file = fields.get(FILE_FIELD)
    if file is not None and (file.value or file.file_name):
        return Upload(_bounded(file.value), (file.file_name or "?")[:_FILE_NAME_CHARS_MAX])
    text = fields.get(TEXT_FIELD)
    if text is not None and text.value.strip():
        return Upload(_bounded(text.value.strip()), None)
    raise UploadFault(Fault.NOTHING_CHOSEN)


def _bounded(value: bytes) -> bytes:
    if len(value) > BUNDLE_BYTES_MAX:
        raise UploadFault(Fault.TOO_LARGE)
    return value


def check_json(bundle: bytes) -> None:
    """Find what people upload by mistake, for a sentence that helps; the verifier, in its process, judges the rest.

    Raises: UploadFault.
    """
    if not bundle.strip():
        raise UploadFault(Fault.EMPTY)
    for beginning, name in _FOREIGN:
        if bundle.startswith(beginning):
            raise UploadFault(Fault.FOREIGN_FILE, name)
    try:
        bundle.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UploadFault(Fault.NOT_UTF8, str(error.start)) from None
    if len(bundle) > _JSON_BYTES_MAX:
        return
    try:
        check_depth(bundle)
        value = msgspec.json.decode(bundle.removeprefix(_UTF8_MARK))
    except (msgspec.DecodeError, Rejected, RecursionError):
        raise UploadFault(Fault.NOT_JSON) from None
    if not isinstance(value, dict):
        raise UploadFault(Fault.NOT_A_BUNDLE)
