"""Signatures that were verified once are not verified again, within two bounds."""

import pytest

from node.crypto import verified
from node.crypto.verified import SignatureCache

KEY, DIGEST, GOOD, BAD = b"k" * 32, b"d" * 32, b"g" * 64, b"b" * 64


class Counting:
    """A verification that writes down what it was asked; only what ends in `g` is good."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes, bytes]] = []

    def __call__(self, public_key: bytes, digest: bytes, signature: bytes) -> bool:
        self.asked.append((public_key, digest, signature))
        return signature.endswith(b"g")


def test_each_distinct_signature_is_verified_once_for_good_or_bad() -> None:
    """The second answer is the first one's, and costs nothing."""
    verify = Counting()
    cache = SignatureCache(verify)
    answers = [cache(KEY, DIGEST, signature) for signature in (GOOD, BAD, GOOD, BAD)]
    assert answers == [True, False, True, False]
    assert verify.asked == [(KEY, DIGEST, GOOD), (KEY, DIGEST, BAD)]
    assert cache.verifications == 2


@pytest.mark.parametrize(
    "changed", [(b"K" * 32, DIGEST, GOOD), (KEY, b"D" * 32, GOOD), (KEY, DIGEST, b"x" * 63 + b"g")]
)
def test_another_key_digest_or_signature_is_verified_anew(changed: tuple[bytes, bytes, bytes]) -> None:
    """Nothing that a verification depends on is left out of what an answer is kept under."""
    verify = Counting()
    cache = SignatureCache(verify)
    cache(KEY, DIGEST, GOOD)
    cache(*changed)
    assert verify.asked == [(KEY, DIGEST, GOOD), changed]


def test_forged_signatures_push_out_forged_ones_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A liar's stream of forgeries does not make us verify honest votes again."""
    monkeypatch.setattr(verified, "REFUSED_SIGNATURES_MAX", 2)
    verify = Counting()
    cache = SignatureCache(verify)
    cache(KEY, DIGEST, GOOD)
    forged = [bytes([i]) * 64 for i in range(5)]
    for signature in forged:
        assert not cache(KEY, DIGEST, signature)
    assert cache(KEY, DIGEST, GOOD)
    assert not cache(KEY, DIGEST, forged[0])
    assert verify.asked.count((KEY, DIGEST, GOOD)) == 1
    assert verify.asked.count((KEY, DIGEST, forged[0])) == 2


def test_the_oldest_good_answer_is_forgotten_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three with room for two the first is verified again; what our own signer made takes a place too."""
    monkeypatch.setattr(verified, "VERIFIED_SIGNATURES_MAX", 2)
    verify = Counting()
    cache = SignatureCache(verify)
    first, second, own = (bytes([i]) * 63 + b"g" for i in range(3))
    cache(KEY, DIGEST, first)
    cache(KEY, DIGEST, second)
    cache.trust(KEY, DIGEST, own)
    for signature in (own, second, first):
        assert cache(KEY, DIGEST, signature)
    assert verify.asked == [(KEY, DIGEST, first), (KEY, DIGEST, second), (KEY, DIGEST, first)]
