"""Learners' files: CSV or XLSX bytes in, rows out, each bad row with its number and the reason.

Pure: reading the file is the command line's. Columns: INTERFACE §2.
"""

import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from node.codec import is_clean_text
from node.crypto.signing import Algorithm, check_public_key
from node.documents.did import parse_multikey
from node.documents.times import parse_date
from node.errors import Reason, Rejected
from node.limits import LEARNER_CELL_CHARS_MAX, LEARNERS_FILE_BYTES_MAX, LEARNERS_PER_FILE_MAX, URL_CHARS_MAX
from node.primitives import PublicKey

COLUMNS: Final = (
    "given_name",
    "family_name",
    "email",
    "student_number",
    "holder_key",
    "awarded_on",
    "grade",
    "evidence_url",
)
REQUIRED_COLUMNS: Final = ("given_name", "family_name")
_SPANISH: Final = {
    "nombre": "given_name",
    "nombres": "given_name",
    "apellido": "family_name",
    "apellidos": "family_name",
    "correo": "email",
    "correo_electronico": "email",
    "e-mail": "email",
    "matricula": "student_number",
    "llave": "holder_key",
    "clave": "holder_key",
    "clave_publica": "holder_key",
    "llave_publica": "holder_key",
    "fecha": "awarded_on",
    "fecha_de_otorgamiento": "awarded_on",
    "otorgado_el": "awarded_on",
    "calificacion": "grade",
    "evidencia": "evidence_url",
    "url_de_evidencia": "evidence_url",
}
_HEADERS: Final = {**{name: name for name in COLUMNS}, **_SPANISH}
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_URL: Final = re.compile(r"https?://[!-~]+")
_ZIP_MAGIC: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Learner:
    """One row of a learners' file, cleaned; "" where the row says nothing."""

    given_name: str
    family_name: str
    email: str = ""
    student_number: str = ""
    holder_key: PublicKey | None = None
    """Ed25519 key that the learner brings."""
    awarded_on: str = ""
    """YYYY-MM-DD."""
    grade: str = ""
    evidence_url: str = ""

    @property
    def full_name(self) -> str:
        """Given names, then family names."""
        return f"{self.given_name} {self.family_name}"

    @property
    def identity(self) -> tuple[str, ...]:
        """What says that two rows are one person: student number, else e-mail, else name and award date."""
        if self.student_number:
            return ("student_number", _folded(self.student_number))
        if self.email:
            return ("email", _folded(self.email))
        return ("name", _folded(self.full_name), self.awarded_on)


@dataclass(frozen=True, slots=True)
class LearnerRow:
    """A good row and where it stood."""

    number: int
    """Row of the file; the header is row 1."""
    learner: Learner


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be issued for."""

    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class LearnersFile:
    """What a learners' file says."""

    rows: tuple[LearnerRow, ...]
    bad: tuple[BadRow, ...]


def read_learners(data: bytes) -> LearnersFile:
    """Read a CSV or XLSX file; which of the two is seen from its first bytes.

    Raises: Rejected(MALFORMED), Rejected(MISSING_ELEMENT), Rejected(TOO_LARGE): the file as a whole
    is unusable, in one sentence.
    """
    if len(data) > LEARNERS_FILE_BYTES_MAX:
        raise Rejected(Reason.TOO_LARGE, f"the file has {len(data)} bytes, at most {LEARNERS_FILE_BYTES_MAX}")
    if not data.strip():
        raise Rejected(Reason.MISSING_ELEMENT, "the file is empty")
    cells = _xlsx_cells(data) if data.startswith(_ZIP_MAGIC) else _csv_cells(data)
    return _read_table(cells)


def _csv_cells(data: bytes) -> list[tuple[int, list[str]]]:
    """Return numbered rows of a CSV file; comma, semicolon or tab, as the header has it."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise Rejected(
            Reason.MALFORMED, f"the file is not UTF-8 (line {line}); save it as «CSV UTF-8» and try again"
        ) from None
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            rows.append((len(rows) + 1, cells))
            if len(rows) > LEARNERS_PER_FILE_MAX + 1:
                raise Rejected(Reason.TOO_LARGE, f"more than {LEARNERS_PER_FILE_MAX} rows")
    except csv.Error as error:
        raise Rejected(Reason.MALFORMED, f"line {reader.line_num} is not CSV: {error}") from None
    return rows


def _xlsx_cells(data: bytes) -> list[tuple[int, list[str]]]:
    """Return numbered rows of the first sheet of an XLSX file."""
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheet = book.worksheets[0]
        rows: list[tuple[int, list[str]]] = []
        for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
            if number > LEARNERS_PER_FILE_MAX + 1:
                raise Rejected(Reason.TOO_LARGE, f"more than {LEARNERS_PER_FILE_MAX} rows")
            rows.append((number, [_cell_text(value) for value in values]))
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, IndexError, SyntaxError) as error:
        raise Rejected(Reason.MALFORMED, f"the file is no readable XLSX: {error}") from None
    return rows


def _cell_text(value: object) -> str:
    """Return a cell as text: whole numbers without a point, dates as YYYY-MM-DD."""
    match value:
        case None:
            return ""
        case datetime():
            return value.date().isoformat()
        case date():
            return value.isoformat()
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def _read_table(table: Sequence[tuple[int, list[str]]]) -> LearnersFile:
    if not table:
        raise Rejected(Reason.MISSING_ELEMENT, "the file is empty")
    columns = _columns(table[0][1])
    rows: list[LearnerRow] = []
    bad: list[BadRow] = []
    first_of: dict[tuple[str, ...], int] = {}
    for number, cells in table[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        try:
            learner = _learner(columns, cells)
        except Rejected as refusal:
            bad.append(BadRow(number, refusal.detail))
            continue
        earlier = first_of.setdefault(learner.identity, number)
        if earlier != number:
            bad.append(BadRow(number, f"the same person as row {earlier}"))
            continue
        rows.append(LearnerRow(number, learner))
    if not rows and not bad:
        raise Rejected(Reason.MISSING_ELEMENT, "the file has a header and no learners")
    return LearnersFile(tuple(rows), tuple(bad))


def _columns(header: Iterable[str]) -> dict[str, int]:
    """Return each known column's position; headers in Spanish or English, accents and case aside."""
    columns: dict[str, int] = {}
    for position, name in enumerate(header):
        if not name.strip():
            continue
        column = _HEADERS.get(_plain(name))
        if column is None:
            known = ", ".join(COLUMNS)
            raise Rejected(Reason.INVALID_VALUE, f"column «{name.strip()}» is not known; known are {known}")
        if column in columns:
            raise Rejected(Reason.INVALID_VALUE, f"column {column} stands twice")
        columns[column] = position
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise Rejected(Reason.MISSING_ELEMENT, f"column missing: {', '.join(missing)}")
    return columns


def _learner(columns: dict[str, int], cells: list[str]) -> Learner:
    if len(cells) > len(columns) and any(cell.strip() for cell in cells[max(columns.values()) + 1 :]):
        raise Rejected(Reason.INVALID_VALUE, f"{len(cells)} cells for {len(columns)} columns")
    values = {name: _clean(name, cells, position) for name, position in columns.items()}
    for name in REQUIRED_COLUMNS:
        if not values[name]:
            raise Rejected(Reason.MISSING_ELEMENT, f"{name} is empty")
    email = values.get("email", "")
    if email and not _EMAIL.fullmatch(email):
        raise Rejected(Reason.INVALID_VALUE, f"email «{email}» is no address")
    evidence_url = values.get("evidence_url", "")
    if evidence_url and not (_URL.fullmatch(evidence_url) and len(evidence_url) <= URL_CHARS_MAX):
        raise Rejected(Reason.INVALID_VALUE, f"evidence_url «{evidence_url}» is no http(s) address")
    awarded_on = values.get("awarded_on", "")
    if awarded_on:
        try:
            parse_date(awarded_on)
        except Rejected as refusal:
            raise Rejected(Reason.INVALID_VALUE, f"awarded_on: {refusal.detail}") from None
    return Learner(
        values["given_name"],
        values["family_name"],
        email,
        values.get("student_number", ""),
        _holder_key(values.get("holder_key", "")),
        awarded_on,
        values.get("grade", ""),
        evidence_url,
    )


def _clean(name: str, cells: list[str], position: int) -> str:
    """Return a cell in NFC with single spaces. Raises: Rejected(INVALID_VALUE)."""
    cell = cells[position] if position < len(cells) else ""
    text = unicodedata.normalize("NFC", " ".join(cell.split()))
    if len(text) > LEARNER_CELL_CHARS_MAX:
        raise Rejected(Reason.INVALID_VALUE, f"{name} has {len(text)} characters, at most {LEARNER_CELL_CHARS_MAX}")
    if not is_clean_text(text):
        raise Rejected(Reason.INVALID_VALUE, f"{name} holds control characters")
    if text.startswith("_:") or "\ufffd" in text:
        raise Rejected(Reason.INVALID_VALUE, f"{name} «{text}» is not readable text")
    return text


def _holder_key(text: str) -> PublicKey | None:
    """Read a learner's own key: did:key:z6Mk…, z6Mk… or 64 hex digits."""
    if not text:
        return None
    try:
        multikey = text.removeprefix("did:key:")
        if multikey.startswith("z"):
            algorithm, public_key = parse_multikey(multikey)
        else:
            algorithm, public_key = Algorithm.ED25519, bytes.fromhex(text)
        check_public_key(algorithm, public_key)
    except (Rejected, ValueError):
        algorithm, public_key = Algorithm.P256, b""
    if algorithm is not Algorithm.ED25519:
        raise Rejected(Reason.INVALID_VALUE, f"holder_key «{text}» is no Ed25519 key (did:key:z6Mk… or 64 hex digits)")
    return public_key


def _plain(header: str) -> str:
    """Return a header name in lower case without accents, words joined by `_`."""
    decomposed = unicodedata.normalize("NFD", header.strip().lower().rstrip("*?: "))
    letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return re.sub(r"[\s_]+", "_", letters)


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())
