"""Both signature algorithms: published vectors, edges, and that signing is the same every time."""

import hashlib
import json
from pathlib import Path
from typing import TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import (
    P256_ORDER,
    Algorithm,
    Ed25519Signer,
    P256Signer,
    check_public_key,
    key_id,
    signer_from_seed,
    verify,
    verify_ed25519_message,
)
from node.errors import Reason, Rejected

VECTORS = Path(__file__).parents[2] / "vectors" / "wycheproof" / "ecdsa_secp256r1_sha256_p1363_test.json"
DIGEST = hashlib.sha256(b"message").digest()
BOTH = pytest.mark.parametrize("algorithm", list(Algorithm))
# The eight encodings of points of small order on Ed25519, and one that is not reduced.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


class Vector(TypedDict):
    """One Wycheproof test, with its group's key."""

    tcId: int
    comment: str
    msg: str
    sig: str
    result: str


def wycheproof() -> list[tuple[bytes, Vector]]:
    """Return (compressed public key, test) for every published test."""
    found = []
    for group in json.loads(VECTORS.read_text(encoding="utf-8"))["testGroups"]:
        point = bytes.fromhex(group["publicKey"]["uncompressed"])
        compressed = bytes([2 + point[64] % 2]) + point[1:33]
        found += [(compressed, test) for test in group["tests"]]
    return found


def is_high_s(signature: bytes) -> bool:
    """Tell whether s is above half the order."""
    return len(signature) == 64 and P256_ORDER // 2 < int.from_bytes(signature[32:], "big") < P256_ORDER


def with_low_s(signature: bytes) -> bytes:
    """Return the same signature with the other s."""
    return signature[:32] + (P256_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


@pytest.mark.parametrize("public_key, test", [pytest.param(*case, id=str(case[1]["tcId"])) for case in wycheproof()])
def test_wycheproof(public_key: bytes, test: Vector) -> None:
    """What is published as valid holds (with low s only), what is invalid does not, in either form of s."""
    digest = hashlib.sha256(bytes.fromhex(test["msg"])).digest()
    signature = bytes.fromhex(test["sig"])
    is_valid = test["result"] == "valid"
    assert verify(Algorithm.P256, public_key, digest, signature) == (is_valid and not is_high_s(signature))
    if is_high_s(signature):
        assert verify(Algorithm.P256, public_key, digest, with_low_s(signature)) == is_valid


def test_wycheproof_is_complete() -> None:
    """All 262 published tests are there, 173 of them valid."""
    results = [test["result"] for _, test in wycheproof()]
    assert (len(results), results.count("valid")) == (262, 173)


def test_ed25519_is_rfc_8032() -> None:
    """Test 2 of RFC 8032 §7.1: one byte signed."""
    signer = Ed25519Signer(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert signer.public_key.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = signer.sign_message(b"\x72")
    assert signature.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verify_ed25519_message(signer.public_key, b"\x72", signature)
    assert not verify_ed25519_message(signer.public_key, b"\x73", signature)


@BOTH
@given(seed=st.binary(min_size=32, max_size=32), digest=st.binary(min_size=32, max_size=32))
def test_signature_verifies_and_is_the_same_every_time(algorithm: Algorithm, seed: bytes, digest: bytes) -> None:
    """One seed and digest give one signature, which holds."""
    signer = signer_from_seed(algorithm, seed)
    signature = signer.sign(digest)
    assert signer_from_seed(algorithm, seed).sign(digest) == signature
    assert verify(algorithm, signer.public_key, digest, signature)
    assert not is_high_s(signature) or algorithm is Algorithm.ED25519
    check_public_key(algorithm, signer.public_key)


@BOTH
def test_any_turned_bit_is_refused(algorithm: Algorithm) -> None:
    """No bit of digest or signature can be another one."""
    signer = signer_from_seed(algorithm, bytes(32))
    signature = signer.sign(DIGEST)
    for position in range(512):
        changed = bytearray(signature)
        changed[position // 8] ^= 1 << position % 8
        assert not verify(algorithm, signer.public_key, DIGEST, bytes(changed))
    for position in range(256):
        other = bytearray(DIGEST)
        other[position // 8] ^= 1 << position % 8
        assert not verify(algorithm, signer.public_key, bytes(other), signature)


@pytest.mark.parametrize(
    "algorithm, key_length, digest_length, signature_length",
    [
        (Algorithm.ED25519, 31, 32, 64),
        (Algorithm.ED25519, 33, 32, 64),
        (Algorithm.ED25519, 32, 31, 64),
        (Algorithm.ED25519, 32, 32, 63),
        (Algorithm.ED25519, 32, 32, 65),
        (Algorithm.P256, 32, 32, 64),
        (Algorithm.P256, 65, 32, 64),
        (Algorithm.P256, 33, 33, 64),
        (Algorithm.P256, 33, 32, 63),
        (Algorithm.P256, 33, 32, 0),
        (0, 32, 32, 64),
        (3, 33, 32, 64),
    ],
)
def test_wrong_lengths_and_algorithms_are_false(
    algorithm: int, key_length: int, digest_length: int, signature_length: int
) -> None:
    """Verification never raises, whatever it is given."""
    signer = P256Signer(bytes(32)) if algorithm == Algorithm.P256 else Ed25519Signer(bytes(32))
    key = (signer.public_key + bytes(40))[:key_length]
    signature = (signer.sign(DIGEST) + b"\x00")[:signature_length]
    assert not verify(algorithm, key, (DIGEST + b"\x00")[:digest_length], signature)


@given(public_key=st.binary(max_size=70), signature=st.binary(max_size=70))
def test_any_bytes_are_true_or_false(public_key: bytes, signature: bytes) -> None:
    """Keys and signatures of any bytes verify nothing, and raise nothing."""
    for algorithm in range(4):
        assert not verify(algorithm, public_key, DIGEST, signature)


def test_p256_signature_at_infinity_is_refused() -> None:
    """The signature that fastecdsa 4.0.0 takes with any s: r = -z/d, found by the key's owner."""
    seed = bytes(32)
    wide = hashlib.sha512(b"pila/p256" + seed).digest()
    secret = int.from_bytes(wide, "big") % (P256_ORDER - 1) + 1
    r = -int.from_bytes(DIGEST, "big") * pow(secret, -1, P256_ORDER) % P256_ORDER
    signer = P256Signer(seed)
    for s in (1, 2, P256_ORDER // 2):
        assert not verify(Algorithm.P256, signer.public_key, DIGEST, r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def test_key_id_is_half_a_tagged_hash() -> None:
    """First 16 bytes of H("pila/key", canonical [algorithm, public key])."""
    signer = Ed25519Signer(bytes(32))
    expected = tagged(Tag.KEY, codec.encode((1, signer.public_key)))[:16]
    assert key_id(Algorithm.ED25519, signer.public_key) == expected
    assert key_id(Algorithm.P256, signer.public_key) != expected


@pytest.mark.parametrize(
    "algorithm, public_key, detail",
    [
        (0, bytes(32), "algorithm 0 is not known"),
        (3, bytes(32), "algorithm 3 is not known"),
        (1, bytes(31), "31 bytes instead of 32"),
        (1, bytes(33), "33 bytes instead of 32"),
        (2, bytes(32), "32 bytes instead of 33"),
        (2, bytes(33), f"{bytes(33).hex()} is no usable point"),
        (2, b"\x04" + bytes(32), f"04{bytes(32).hex()} is no usable point"),
        (2, b"\x02" + b"\xff" * 32, f"02{'ff' * 32} is no usable point"),  # x is not below p
        (2, b"\x02" + bytes(31) + b"\x01", f"02{bytes(31).hex()}01 is no usable point"),  # not on the curve
        *((1, bytes.fromhex(text), f"{text} is no usable point") for text in SMALL_ORDER),
        (1, b"\x02" + bytes(31), f"02{bytes(31).hex()} is no usable point"),  # not on the curve
    ],
)
def test_unusable_public_keys_are_refused(algorithm: int, public_key: bytes, detail: str) -> None:
    """A key that no honest signer would have never comes onto the chain."""
    with pytest.raises(Rejected) as refused:
        check_public_key(algorithm, public_key)
    assert (refused.value.reason, refused.value.detail) == (Reason.BAD_PUBLIC_KEY, detail)
