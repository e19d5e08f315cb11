"""Noise_XX_25519_ChaChaPoly_SHA256 as a machine without I/O: messages in, messages out.

Keys are arguments, so the published vectors run through the very code that the network uses.
XX has three messages, and both static keys travel encrypted:

    initiator → responder   e
    responder → initiator   e, ee, s, es
    initiator → responder   s, se

Source: The Noise Protocol Framework, revision 34, sections 5 and 7.5; RFC 7539 (ChaCha20-Poly1305), RFC 7748 (X25519).
"""

import hashlib
import hmac
from collections.abc import Callable
from enum import IntEnum
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.exceptions import RuntimeError as SodiumError

from node.errors import Reason, Rejected
from node.limits import NOISE_MESSAGE_BYTES_MAX
from node.primitives import Hash

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
"""What encryption adds to a plaintext."""
PLAINTEXT_BYTES_MAX: Final = NOISE_MESSAGE_BYTES_MAX - TAG_BYTES
NONCE_MAX: Final = 2**64 - 1
"""Reserved by Noise for rekeying; never used for a message."""

_PATTERN: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))
_EMPTY_KEY: Final = bytes(KEY_BYTES)


class Role(IntEnum):
    """Which side of a handshake: the initiator dialled."""

    INITIATOR = 0
    RESPONDER = 1


class Cipher:
    """One direction of a channel: a 32-byte key and the number of the next message."""

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._key = key
        self.nonce = 0
        """Number of the next message; counts up by one, starting at 0."""

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Return the ciphertext, 16 bytes longer than `plaintext`.

        Raises: Rejected(LIMIT_EXCEEDED) once 2^64 − 1 messages were made: the connection must end.
        """
        return bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, associated, self._take_nonce(), self._key)

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """Return the plaintext.

        Raises: Rejected(MALFORMED): shorter than its MAC, or the MAC does not fit this key, number and text;
        Rejected(LIMIT_EXCEEDED) once 2^64 − 1 messages were read.
        """
        if len(ciphertext) < TAG_BYTES:
            raise Rejected(Reason.MALFORMED, f"a ciphertext of {len(ciphertext)} bytes, at least {TAG_BYTES}")
        number = self.nonce
        nonce = self._take_nonce()
        try:
            return bindings.crypto_aead_chacha20poly1305_ietf_decrypt(ciphertext, associated, nonce, self._key)
        except CryptoError:
            raise Rejected(Reason.MALFORMED, f"message {number}: its MAC does not fit") from None

    def _take_nonce(self) -> bytes:
        """Return four zero bytes and the number, little endian, and count it as used."""
        if self.nonce >= NONCE_MAX:
            raise Rejected(Reason.LIMIT_EXCEEDED, f"{NONCE_MAX} messages under one key, no more")
        nonce = bytes(4) + self.nonce.to_bytes(8, "little")
        self.nonce += 1
        return nonce


class _Symmetric:
    """The running hash, the chaining key and, once a secret is shared, the cipher of a handshake."""

    def __init__(self, prologue: bytes) -> None:
        assert len(PROTOCOL_NAME) == 32
        self.hash: Hash = PROTOCOL_NAME
        self._chaining_key = PROTOCOL_NAME
        self._cipher: Cipher | None = None
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        self._chaining_key, key = _derive_two(self._chaining_key, secret)
        self._cipher = Cipher(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = plaintext if self._cipher is None else self._cipher.encrypt(plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes:
        plaintext = sealed if self._cipher is None else self._cipher.decrypt(sealed, self.hash)
        self.mix_hash(sealed)
        return plaintext

    def sealed_bytes(self, plaintext_bytes: int) -> int:
        return plaintext_bytes if self._cipher is None else plaintext_bytes + TAG_BYTES

    def split(self) -> tuple[Cipher, Cipher]:
        first, second = _derive_two(self._chaining_key, b"")
        return Cipher(first), Cipher(second)


class NoiseHandshake:
    """One side of an XX handshake; write and read alternate, the initiator writes first."""

    def __init__(self, role: Role, *, static: bytes, ephemeral: bytes, prologue: bytes = b"") -> None:
        """Take two 32-byte X25519 private keys; the ephemeral one must be used for this handshake only."""
        assert len(static) == KEY_BYTES
        assert len(ephemeral) == KEY_BYTES
        self._role = role
        self._static = static
        self._ephemeral = ephemeral
        self._remote_ephemeral = _EMPTY_KEY
        self._symmetric = _Symmetric(prologue)
        self._step = 0
        self.remote_static: bytes = _EMPTY_KEY
        """The other side's X25519 public key; zero bytes until the message that carries it was read."""

    @property
    def is_finished(self) -> bool:
        """Tell whether all three messages were written or read."""
        return self._step == len(_PATTERN)

    @property
    def is_our_turn(self) -> bool:
        """Tell whether the next message is ours to write."""
        return not self.is_finished and self._step % 2 == self._role

    @property
    def is_their_turn(self) -> bool:
        """Tell whether the next message is ours to read."""
        return not self.is_finished and not self.is_our_turn

    def write(self, payload_for: Callable[[Hash], bytes]) -> bytes:
        """Return the next message; `payload_for` gets the handshake hash just before the payload.

        That hash covers all keys sent so far, this message's included: signing it binds the signer to them.

        Raises: Rejected(HANDSHAKE_FAILED): the shared secret is zero (the other side's key has small order).
        """
        assert self.is_our_turn
        parts: list[bytes] = []
        for token in _PATTERN[self._step]:
            match token:
                case "e":
                    public = public_key_of(self._ephemeral)
                    self._symmetric.mix_hash(public)
                    parts.append(public)
                case "s":
                    parts.append(self._symmetric.encrypt_and_hash(public_key_of(self._static)))
                case _:
                    self._symmetric.mix_key(self._shared(token))
        parts.append(self._symmetric.encrypt_and_hash(payload_for(self._symmetric.hash)))
        self._step += 1
        message = b"".join(parts)
        assert len(message) <= NOISE_MESSAGE_BYTES_MAX
        return message

    def read(self, message: bytes) -> tuple[bytes, Hash]:
        """Return the payload of the next message and the handshake hash just before it (see `write`).

        Raises: Rejected(HANDSHAKE_FAILED): too short, too long, a MAC that does not fit, a key of small order.
        """
        assert self.is_their_turn
        if len(message) > NOISE_MESSAGE_BYTES_MAX:
            detail = f"message {self._step + 1} of {len(message)} bytes, at most {NOISE_MESSAGE_BYTES_MAX}"
            raise Rejected(Reason.HANDSHAKE_FAILED, detail)
        try:
            payload, bound = self._read(message)
        except Rejected as rejection:
            detail = f"message {self._step + 1}: {rejection.detail}"
            raise Rejected(Reason.HANDSHAKE_FAILED, detail) from None
        self._step += 1
        return payload, bound

    def split(self) -> tuple[Cipher, Cipher]:
        """Return the ciphers for what we send and for what we receive; only once finished."""
        assert self.is_finished
        of_initiator, of_responder = self._symmetric.split()
        return (of_initiator, of_responder) if self._role is Role.INITIATOR else (of_responder, of_initiator)

    @property
    def hash(self) -> Hash:
        """The running hash; when finished, the same on both sides and different for every handshake."""
        return self._symmetric.hash

    def _read(self, message: bytes) -> tuple[bytes, Hash]:
        rest = message
        for token in _PATTERN[self._step]:
            match token:
                case "e":
                    self._remote_ephemeral, rest = _cut(rest, KEY_BYTES)
                    self._symmetric.mix_hash(self._remote_ephemeral)
                case "s":
                    sealed, rest = _cut(rest, self._symmetric.sealed_bytes(KEY_BYTES))
                    self.remote_static = self._symmetric.decrypt_and_hash(sealed)
                case _:
                    self._symmetric.mix_key(self._shared(token))
        bound = self._symmetric.hash
        return self._symmetric.decrypt_and_hash(rest), bound

    def _shared(self, token: str) -> bytes:
        """Return the secret of `ee`, `es` or `se`: first the initiator's key, then the responder's."""
        ours, theirs = (token[0], token[1]) if self._role is Role.INITIATOR else (token[1], token[0])
        private = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        return shared_secret(private, public)


def public_key_of(private: bytes) -> bytes:
    """Return the X25519 public key of a private one, 32 bytes each."""
    return bindings.crypto_scalarmult_base(private)


def shared_secret(private: bytes, public: bytes) -> bytes:
    """Return the 32-byte X25519 secret.

    Raises: Rejected(HANDSHAKE_FAILED): the secret is zero, so the public key has small order and everybody knows it.
    """
    try:
        secret = bindings.crypto_scalarmult(private, public)
    except SodiumError:
        raise Rejected(Reason.HANDSHAKE_FAILED, f"{public.hex()} has small order") from None
    assert secret != _EMPTY_KEY
    return secret


def _derive_two(chaining_key: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """Return the first two outputs of HKDF-SHA256 as Noise defines it, 32 bytes each."""
    extracted = hmac.digest(chaining_key, secret, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    return first, hmac.digest(extracted, first + b"\x02", "sha256")


def _cut(data: bytes, length: int) -> tuple[bytes, bytes]:
    if len(data) < length:
        raise Rejected(Reason.HANDSHAKE_FAILED, f"ends {length - len(data)} bytes early")
    return data[:length], data[length:]
