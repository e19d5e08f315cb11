"""Salted claims: their leaves, their order, and what hiding leaves to see."""

import pytest

from node import codec
from node.crypto import merkle
from node.documents.disclosure import Claim, HiddenClaim, document_commitment, hide_all_but, make_claims, opened
from node.errors import Reason, Rejected
from tests.unit.documents.small_chain import counting_entropy

CLAIMS = make_claims({"/name": "Ana", "/grade": "9.5", "/email": "a@x.mx"}, counting_entropy("claims"))


def test_leaf_is_the_one_of_the_design() -> None:
    """A claim's leaf is the RFC 6962 leaf of canonical ["pila/claim", salt, path, JCS bytes]."""
    salt = bytes(range(32))
    expected = merkle.leaf_hash(codec.encode(("pila/claim", salt, "/grade", b'"9.5"')))
    assert Claim("/grade", salt, "9.5").leaf() == expected


def test_claims_are_in_order_of_path_with_their_own_salts() -> None:
    """Paths ascend and no salt is used twice."""
    assert [claim.path for claim in CLAIMS] == ["/email", "/grade", "/name"]
    assert len({claim.salt for claim in CLAIMS}) == 3


def test_hiding_keeps_the_commitment() -> None:
    """Whatever is hidden, the root stays; only the chosen value is left to see."""
    hidden = hide_all_but(CLAIMS, frozenset({"/grade"}))
    assert document_commitment(hidden) == document_commitment(CLAIMS)
    assert opened(hidden) == {"/grade": "9.5"}
    assert [type(claim) for claim in hidden] == [HiddenClaim, Claim, HiddenClaim]


def test_unknown_field_is_named() -> None:
    """Asking for a field that the credential lacks names it."""
    with pytest.raises(Rejected) as caught:
        hide_all_but(CLAIMS, frozenset({"/curp"}))
    assert (caught.value.reason, caught.value.detail) == (Reason.NOT_FOUND, "no such field: /curp")


@pytest.mark.parametrize(
    "claims,reason,detail",
    [
        ((), Reason.MALFORMED, "0 claims, 1 to 64 are possible"),
        (CLAIMS * 30, Reason.MALFORMED, "90 claims, 1 to 64 are possible"),
        (CLAIMS[::-1], Reason.MALFORMED, "claims do not ascend by path"),
        ((CLAIMS[0], CLAIMS[0]), Reason.MALFORMED, "claims do not ascend by path"),
        ((Claim("grade", bytes(32), 1),), Reason.MALFORMED, "'grade' is no claim path"),
        ((Claim("/grade\n", bytes(32), 1),), Reason.MALFORMED, "'/grade\\n' is no claim path"),
        ((Claim("/grade", bytes(31), 1),), Reason.MALFORMED, "a salt of 31 bytes instead of 32"),
        ((Claim("/grade", bytes(32), "x" * 9_000),), Reason.TOO_LARGE, "claim /grade has 9002 bytes, at most 8192"),
    ],
)
def test_claims_of_another_form_are_refused(claims: tuple[Claim, ...], reason: Reason, detail: str) -> None:
    """Unordered, repeated, unnamed, unsalted and oversized claims have no commitment."""
    with pytest.raises(Rejected) as caught:
        document_commitment(claims)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)
