"""A certificate counts only as one quorum of one view over one block."""

from collections.abc import Callable

import msgspec
import pytest

from node import codec
from node.chain.certificate import Certificate, Network, Phase, VoteSignature, vote_digest
from node.crypto.hashing import Tag, sha256, tagged
from node.errors import Reason, Rejected
from tests.unit.chain.kit import VALIDATORS, certify, genesis

NETWORK = Network("pila-test", sha256(b"genesis"))
VALIDATOR_SET = genesis().validator_set()
BLOCK = sha256(b"block")


def made(**options: object) -> Certificate:
    """Return a good certificate, or one with other options."""
    return certify(NETWORK, VALIDATOR_SET, BLOCK, 7, **options)  # type: ignore[arg-type]  # test options


def refusal(certificate: Certificate) -> tuple[Reason, str]:
    """Check what must be refused."""
    with pytest.raises(Rejected) as refused:
        certificate.check(NETWORK, VALIDATOR_SET)
    return refused.value.reason, refused.value.detail


@pytest.mark.parametrize("members", [(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_any_quorum_is_enough(members: tuple[int, ...]) -> None:
    """Three of four, whichever, or all."""
    made(members=members).check(NETWORK, VALIDATOR_SET)


Change = Callable[[Certificate], Certificate]


def _signed_by(*indexes: int) -> Change:
    return lambda good: msgspec.structs.replace(
        good, signatures=tuple(VoteSignature(index, good.signatures[0].signature) for index in indexes)
    )


def _with(**changes: object) -> Change:
    return lambda good: msgspec.structs.replace(good, **changes)


BAD_SIGNATURE = f"signature of {VALIDATORS[0]} is bad"
REFUSED: dict[str, tuple[Change, str]] = {
    "two_of_four": (
        lambda good: msgspec.structs.replace(good, signatures=good.signatures[:2]),
        "2 signatures, 3 needed",
    ),
    "none": (_with(signatures=()), "0 signatures, 3 needed"),
    "repeated": (_signed_by(0, 1, 1), "signers are not ascending"),
    "descending": (_signed_by(2, 1, 0), "signers are not ascending"),
    "unknown_member": (_signed_by(0, 1, 4), "signer 4 of 4 validators"),
    "other_algorithm": (_with(algorithm=2), "algorithm 2 is not known"),
    "other_view": (_with(view=1), BAD_SIGNATURE),
    "other_epoch": (_with(epoch=1), BAD_SIGNATURE),
    "other_height": (_with(height=8), BAD_SIGNATURE),
    "other_phase": (_with(phase=Phase.PREPARE), BAD_SIGNATURE),
    "other_block": (_with(block_hash=sha256(b"other")), BAD_SIGNATURE),
}


@pytest.mark.parametrize("case", REFUSED)
def test_anything_else_is_refused(case: str) -> None:
    """Too few, unordered, unknown, or over something else than was signed."""
    change, detail = REFUSED[case]
    assert refusal(change(made(members=(0, 1, 2)))) == (Reason.BAD_CERTIFICATE, detail)


def test_votes_of_different_views_are_never_added_up() -> None:
    """Two votes of view 0 and one of view 1 are no certificate, though three members signed."""
    low, high = made(members=(0, 1)), made(members=(2,), view=1)
    mixed = msgspec.structs.replace(low, signatures=(*low.signatures, *high.signatures))
    assert refusal(mixed) == (Reason.BAD_CERTIFICATE, f"signature of {VALIDATORS[2]} is bad")


def test_other_network_is_refused() -> None:
    """A vote counts on one chain only."""
    with pytest.raises(Rejected) as refused:
        made().check(Network("pila-test", sha256(b"other")), VALIDATOR_SET)
    assert (refused.value.reason, refused.value.detail) == (Reason.BAD_CERTIFICATE, BAD_SIGNATURE)


def test_other_signature_scheme_may_be_put_in_its_place() -> None:
    """The simulator's keyed hash."""
    seen: list[bytes] = []

    def verify(public_key: bytes, digest: bytes, signature: bytes) -> bool:
        seen.append(public_key)
        return bool(digest) and bool(signature)

    made(members=(0, 1, 2)).check(NETWORK, VALIDATOR_SET, verify)
    assert seen == [member.public_key for member in VALIDATOR_SET.members[:3]]


def test_hash_and_digest_are_tagged() -> None:
    """What the next header commits to, and what a vote signs."""
    certificate = made()
    assert certificate.hash() == tagged(Tag.CERTIFICATE, codec.encode(certificate))
    body = codec.encode((NETWORK.chain_id, NETWORK.genesis_hash, 0, 7, 0, BLOCK))
    assert vote_digest(NETWORK, Phase.COMMIT, 0, 7, 0, BLOCK) == tagged(Tag.COMMIT, body)
    assert vote_digest(NETWORK, Phase.PREPARE, 0, 7, 0, BLOCK) == tagged(Tag.PREPARE, body)
