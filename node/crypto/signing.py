"""The two signature algorithms: Ed25519 (PyNaCl) and ECDSA P-256 (made by fastecdsa, checked by OpenSSL).

Every node verifies with one library per algorithm, because libraries disagree at the edges and a
disagreement splits the chain. fastecdsa 4.0.0 accepts signatures at the point at infinity, so it only
makes signatures. What is signed is always a 32-byte tagged digest. Source: PROTOCOL §2.
"""

import hashlib
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from fastecdsa import ecdsa, keys
from fastecdsa.curve import P256
from fastecdsa.encoding.sec1 import SEC1Encoder
from nacl import bindings
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from node import codec
from node.crypto.hashing import Tag, tagged
from node.errors import Reason, Rejected
from node.primitives import HASH_BYTES, KEY_ID_BYTES, SIGNATURE_BYTES, Hash, KeyId, PublicKey, Signature


class Algorithm(IntEnum):
    """Number of a signature algorithm in keys and certificates; new ones come with an upgrade."""

    ED25519 = 1
    P256 = 2


SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = {Algorithm.ED25519: 32, Algorithm.P256: 33}
P256_ORDER: Final[int] = P256.q
_PREHASHED: Final = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


class Signer(Protocol):
    """Holds one private key; the only thing that ever sees it."""

    @property
    def algorithm(self) -> Algorithm:
        """Which algorithm the signatures are of."""
        ...

    @property
    def public_key(self) -> PublicKey:
        """32 bytes (Ed25519) or 33 bytes (P-256)."""
        ...

    def sign(self, digest: Hash) -> Signature:
        """Return the 64-byte signature of a 32-byte tagged digest; the same every time."""
        ...


class Ed25519Signer:
    """An Ed25519 key made from a 32-byte seed."""

    algorithm: Final = Algorithm.ED25519

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_BYTES
        self._key = SigningKey(seed)
        self.public_key: Final[PublicKey] = bytes(self._key.verify_key)

    def sign(self, digest: Hash) -> Signature:
        """Return R | S (RFC 8032)."""
        assert len(digest) == HASH_BYTES
        return self._key.sign(digest).signature

    def sign_message(self, message: bytes) -> Signature:
        """Sign a body that a published format defines (Data Integrity proofs); never one of ours."""
        return self._key.sign(message).signature


class P256Signer:
    """A P-256 key derived from a 32-byte seed. Not constant-time: never in a public-facing process."""

    algorithm: Final = Algorithm.P256

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_BYTES
        wide = hashlib.sha512(b"pila/p256" + seed).digest()
        self._scalar = int.from_bytes(wide, "big") % (P256_ORDER - 1) + 1
        point = keys.get_public_key(self._scalar, P256)
        self.public_key: Final[PublicKey] = SEC1Encoder().encode_public_key(point, compressed=True)

    def sign(self, digest: Hash) -> Signature:
        """Return r | s with low s; the nonce is RFC 6979's, so the same digest gives the same bytes."""
        assert len(digest) == HASH_BYTES
        r, s = ecdsa.sign(digest, self._scalar, curve=P256, prehashed=True)
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


def signer_from_seed(algorithm: Algorithm, seed: bytes) -> Signer:
    """Return the signer of a seed of 32 bytes."""
    return Ed25519Signer(seed) if algorithm is Algorithm.ED25519 else P256Signer(seed)


def key_id(algorithm: int, public_key: PublicKey) -> KeyId:
    """Return the first 16 bytes of H("pila/key", canonical [algorithm, public key])."""
    return tagged(Tag.KEY, codec.encode((algorithm, public_key)))[:KEY_ID_BYTES]


def verify(algorithm: int, public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
    """Tell whether `signature` over the 32-byte digest is the key's. Never raises."""
    if len(digest) != HASH_BYTES:
        return False
    if algorithm == Algorithm.ED25519:
        return verify_ed25519_message(public_key, digest, signature)
    if algorithm == Algorithm.P256:
        return _verify_p256(public_key, digest, signature)
    return False


def verify_ed25519_message(public_key: PublicKey, message: bytes, signature: Signature) -> bool:
    """Tell whether an Ed25519 signature over a body of any length is the key's (libsodium's rule)."""
    if len(public_key) != 32 or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        VerifyKey(public_key).verify(message, signature)
    except BadSignatureError:
        return False
    return True


def _verify_p256(public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
    """Check range and low s ourselves, then ask OpenSSL."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    r = int.from_bytes(signature[:32], "big")
    s = int.from_bytes(signature[32:], "big")
    if not (0 < r < P256_ORDER and 0 < s <= P256_ORDER // 2):
        return False
    key = _p256_key(public_key)
    if key is None:
        return False
    try:
        key.verify(utils.encode_dss_signature(r, s), digest, _PREHASHED)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=4_096)
def _p256_key(public_key: PublicKey) -> ec.EllipticCurvePublicKey | None:
    """Decompress a point once: it costs a fifth of a verification."""
    if len(public_key) != 33 or public_key[0] not in (2, 3):
        return None
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
    except ValueError:
        return None


def check_public_key(algorithm: int, public_key: PublicKey) -> None:
    """Refuse a key that no honest signer would have.

    Raises: Rejected(BAD_PUBLIC_KEY): unknown algorithm, wrong length, not on the curve, small order
    or a non-canonical encoding.
    """
    if algorithm not in tuple(Algorithm):
        raise Rejected(Reason.BAD_PUBLIC_KEY, f"algorithm {algorithm} is not known")
    length = PUBLIC_KEY_BYTES[Algorithm(algorithm)]
    if len(public_key) != length:
        raise Rejected(Reason.BAD_PUBLIC_KEY, f"{len(public_key)} bytes instead of {length}")
    if algorithm == Algorithm.ED25519:
        usable = bindings.crypto_core_ed25519_is_valid_point(public_key)
    else:
        usable = _p256_key(public_key) is not None
    if not usable:
        raise Rejected(Reason.BAD_PUBLIC_KEY, f"{public_key.hex()} is no usable point")
