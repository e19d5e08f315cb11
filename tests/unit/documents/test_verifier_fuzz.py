"""Any bytes are judged, never thrown at: values of a bundle replaced by others of any kind, in canonical form."""

import json
import random
from collections.abc import Iterator

import pytest

from node.documents.bundle import write_bundle
from node.documents.data_integrity import check_signature
from node.documents.jcs import Json, canonical
from node.documents.verifier import verify_bundle
from node.errors import Rejected
from tests.unit.documents.small_chain import NOW_MS, UGTO, SmallChain, assertion_signer, person

ODD: tuple[Json, ...] = (
    None,
    True,
    0,
    -1,
    2**53 - 1,
    0.5,
    "",
    "00",
    "é\n",
    "\ufdd0",
    "_:b",
    "urn:x",
    "https://www.w3.org/ns/credentials/v2",
    [],
    [[]],
    {},
    {"id": []},
    {"@id": "x"},
    {"type": {"id": 1}},
    ["a", {"b": None}],
)


def places(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the way to every value."""
    yield path
    match value:
        case dict():
            for name, member in value.items():
                yield from places(member, (*path, name))
        case list():
            for index, item in enumerate(value):
                yield from places(item, (*path, index))


def replaced(value: Json, path: tuple[str | int, ...], new: Json) -> Json:
    """Return a value with what lies at a path replaced."""
    if not path:
        return new
    if isinstance(value, dict):
        return {name: replaced(item, path[1:], new) if name == path[0] else item for name, item in value.items()}
    assert isinstance(value, list)
    return [replaced(item, path[1:], new) if index == path[0] else item for index, item in enumerate(value)]


def test_odd_values_anywhere_never_verify_and_never_throw() -> None:
    """Every place of a bundle gets two odd values."""
    chain = SmallChain()
    credential = chain.issue(chain.publish(f"{UGTO}/primer-empleo/1"), [person(0), person(1)])[0]
    good: Json = json.loads(write_bundle(chain.bundle(credential)))
    rng = random.Random(20)
    for path in places(good):
        for new in rng.sample(ODD, 2):
            changed = replaced(good, path, new)
            data = canonical(changed)
            if changed == good:
                continue
            answer = verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=NOW_MS)
            assert not answer.verified, (path, new)


def test_odd_values_in_a_document_are_refused_by_the_signature_check() -> None:
    """Documents whose issuer signed nothing of the kind: refused, whatever PyLD makes of them."""
    chain = SmallChain()
    document: Json = chain.prepare(chain.publish(f"{UGTO}/primer-empleo/1"), person(0)).document
    rng = random.Random(22)
    for path in places(document):
        for new in rng.sample(ODD, 2):
            changed = replaced(document, path, new)
            if not isinstance(changed, dict) or changed == document:
                continue
            with pytest.raises(Rejected):
                check_signature(changed, assertion_signer(UGTO).public_key)


def test_random_bytes_are_no_bundle() -> None:
    """Noise, and noise that begins like JSON."""
    rng = random.Random(21)
    for length in (0, 1, 10, 1_000):
        for start in (b"", b"{", b"[", b'{"format":"pila-bundle/1",'):
            answer = verify_bundle(start + rng.randbytes(length), genesis_hash=None, now_ms=NOW_MS)
            assert (answer.readable, answer.verified) == (False, False)
