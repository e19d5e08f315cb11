"""Canonical JSON: the published vectors, and what is refused before it is parsed."""

from pathlib import Path

import pytest

from node.documents.jcs import canonical, check_depth, parse
from node.errors import Reason, Rejected
from node.limits import JSON_DEPTH_MAX

VECTORS = Path("tests/vectors/jcs")


@pytest.mark.parametrize("name", sorted(path.stem for path in (VECTORS / "input").iterdir()))
def test_published_vector_has_its_canonical_form(name: str) -> None:
    """Each input of RFC 8785's vectors comes out as the published bytes."""
    value = parse((VECTORS / "input" / f"{name}.json").read_bytes(), bytes_max=100_000)
    expected = bytes.fromhex((VECTORS / "outhex" / f"{name}.txt").read_text())
    assert canonical(value) == expected


@pytest.mark.parametrize(
    "value,detail",
    [
        (2**53, "exceeds"),
        (float("nan"), "has no canonical JSON form"),
        ("\ud800", "has no canonical JSON form"),
    ],
)
def test_value_without_canonical_form_is_refused(value: float | str, detail: str) -> None:
    """What JSON readers would not agree on is refused."""
    with pytest.raises(Rejected) as caught:
        canonical(value)
    assert caught.value.reason is Reason.MALFORMED
    assert detail in caught.value.detail


def test_deep_json_is_refused_without_recursion() -> None:
    """A megabyte of brackets is refused by counting; brackets in strings do not count."""
    with pytest.raises(Rejected) as caught:
        parse(b"[" * 1_000_000, bytes_max=2_000_000)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.TOO_LARGE,
        f"nested deeper than {JSON_DEPTH_MAX} levels",
    )
    check_depth(b'{"a\\"[":"' + b"[" * 1_000 + b'\\\\"}')
    check_depth(b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX)


def test_large_json_is_refused_before_parsing() -> None:
    """The bound on bytes comes first."""
    with pytest.raises(Rejected) as caught:
        parse(b"[1,2]", bytes_max=4)
    assert (caught.value.reason, caught.value.detail) == (Reason.TOO_LARGE, "5 bytes, at most 4")
