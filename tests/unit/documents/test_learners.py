"""Learners' files: headers in two languages, bad rows by number and reason, unusable files in one sentence."""

import io
from datetime import date

import openpyxl
import pytest

from node.crypto.signing import Ed25519Signer
from node.documents.did import did_key
from node.documents.learners import BadRow, Learner, LearnerRow, read_learners
from node.errors import Reason, Rejected

KEY = Ed25519Signer(bytes(32)).public_key


def test_spanish_and_english_headers_give_the_same_rows() -> None:
    """Accents, case and language of the header make no difference; the byte order mark neither."""
    row = f'"María  José",Núñez,m@x.mx,NUA1,{did_key(KEY)},2026-06-30,"9,5",https://e.mx/1\r\n'
    spanish = "\ufeffNombre,Apellidos,Correo,Matrícula,Llave,Fecha,Calificación,Evidencia\r\n" + row
    english = "given_name,family_name,email,student_number,holder_key,awarded_on,grade,evidence_url\n" + row
    learner = Learner("María José", "Núñez", "m@x.mx", "NUA1", KEY, "2026-06-30", "9,5", "https://e.mx/1")
    assert read_learners(spanish.encode()).rows == (LearnerRow(2, learner),)
    assert read_learners(english.encode()).rows == (LearnerRow(2, learner),)


def test_semicolons_and_optional_columns() -> None:
    """What spreadsheets in Spanish write is read; columns that are absent are empty."""
    file = read_learners("nombre;apellidos\nAna;López\n\n  ;\n".encode())
    assert file.rows == (LearnerRow(2, Learner("Ana", "López")),)
    assert file.bad == ()


def test_xlsx_rows_are_read_with_dates_and_numbers() -> None:
    """Cells that are dates or whole numbers become the text that a CSV would have."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["nombre", "apellidos", "matrícula", "fecha", "calificación"])
    sheet.append(["Ana", "López", 12345, date(2026, 6, 30), 9.5])
    data = io.BytesIO()
    book.save(data)
    expected = Learner("Ana", "López", student_number="12345", awarded_on="2026-06-30", grade="9.5")
    assert read_learners(data.getvalue()).rows == (LearnerRow(2, expected),)


@pytest.mark.parametrize(
    "row,problem",
    [
        (",López,,,,", "given_name is empty"),
        ("Ana,López,ana,,,", "email «ana» is no address"),
        ("Ana,López,,,30/06/2026,", "awarded_on: '30/06/2026' is no date of the form YYYY-MM-DD"),
        ("Ana,López,,,2026-02-30,", "awarded_on: '2026-02-30' is no date of the form YYYY-MM-DD"),
        ("Ana,López,,,,javascript:x", "evidence_url «javascript:x» is no http(s) address"),
        ("Ana,López\u0007,,,,", "family_name holds control characters"),
        (f"{'A' * 501},López,,,,", "given_name has 501 characters, at most 500"),
        ("Ana,López,,,,,extra", "7 cells for 6 columns"),
        ("Otra,Persona,,N1,,", "the same person as row 2"),
    ],
)
def test_bad_row_is_named_with_its_reason(row: str, problem: str) -> None:
    """Each bad row has its number and a sentence; the good ones stay."""
    text = f"nombre,apellidos,correo,matricula,fecha,evidencia\nLuis,Gómez,,n1,,\n{row}\nEva,Paz,,,,\n"
    file = read_learners(text.encode())
    assert [item.number for item in file.rows] == [2, 4]
    assert file.bad == (BadRow(3, problem),)


@pytest.mark.parametrize("key", ["zz", "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv", "00" * 32])
def test_holder_key_of_another_kind_is_refused(key: str) -> None:
    """Only an Ed25519 key on a usable point can hold a credential."""
    file = read_learners(f"nombre,apellidos,llave\nAna,López,{key}\n".encode())
    assert [(row.number, row.problem.split(" is no ")[0]) for row in file.bad] == [(2, f"holder_key «{key}»")]


def test_same_person_is_student_number_else_email_else_name_and_date() -> None:
    """The three ways to be the same, case and spaces aside."""
    assert Learner("A", "B", "x@y.z", " n 1").identity == Learner("C", "D", "", "N 1").identity
    assert Learner("A", "B", "X@y.z").identity == Learner("C", "D", "x@y.z").identity
    assert Learner("Ana", "Paz", awarded_on="2026-01-01").identity != Learner("Ana", "Paz").identity
    assert Learner("ANA", "Paz").identity == Learner("ana", "paz").identity


@pytest.mark.parametrize(
    "data,reason,detail",
    [
        (b"", Reason.MISSING_ELEMENT, "the file is empty"),
        (b"\n \n", Reason.MISSING_ELEMENT, "the file is empty"),
        (b"nombre,apellidos\n", Reason.MISSING_ELEMENT, "the file has a header and no learners"),
        (b"nombre\nAna\n", Reason.MISSING_ELEMENT, "column missing: family_name"),
        (
            "nombre,apellidos\nJosé,Paz\n".encode("latin-1"),
            Reason.MALFORMED,
            "the file is not UTF-8 (line 2); save it as «CSV UTF-8» and try again",
        ),
        (b"nombre,nombre,apellidos\nA,B,C\n", Reason.INVALID_VALUE, "column given_name stands twice"),
        (b'nombre,apellidos\n"Ana,Paz\n', Reason.MALFORMED, "line 2 is not CSV: unexpected end of data"),
    ],
)
def test_unusable_file_is_refused_in_one_sentence(data: bytes, reason: Reason, detail: str) -> None:
    """Empty, without learners, without a column, of another encoding: said at once."""
    with pytest.raises(Rejected) as caught:
        read_learners(data)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_unknown_column_is_named() -> None:
    """A misspelt header is not silently left out."""
    with pytest.raises(Rejected) as caught:
        read_learners(b"nombre,apellidos,curp\nA,B,C\n")
    assert caught.value.detail.startswith("column «curp» is not known; known are given_name, ")


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"PK\x03\x04" + b"x" * 500])
def test_damaged_xlsx_is_refused(data: bytes) -> None:
    """What only begins like an XLSX is no traceback."""
    with pytest.raises(Rejected) as caught:
        read_learners(data)
    assert caught.value.reason is Reason.MALFORMED
