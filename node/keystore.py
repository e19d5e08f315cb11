"""Secret keys at rest: one JSON file a holder, sealed under a passphrase.

Argon2id stretches the passphrase, secretbox (XSalsa20-Poly1305) seals the secrets; both by PyNaCl.
The public part lies open beside it, so that a keystore can be shown without its passphrase.
Test networks write unsealed files, which say so (`"kdf": null`). Source: PROTOCOL §2.
"""

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
from nacl import pwhash, secret
from nacl.exceptions import CryptoError

from node.chain.records.institution import Purpose
from node.crypto.signing import (
    SEED_BYTES,
    Algorithm,
    Ed25519Signer,
    Signer,
    key_id,
    signer_from_seed,
)
from node.errors import ConfigError
from node.primitives import Hash, InstitutionId, KeyId, PublicKey, Signature

FORMAT: Final = "pila-keystore/1"
KDF_OPERATIONS: Final = pwhash.argon2id.OPSLIMIT_MODERATE
KDF_MEMORY_BYTES: Final = pwhash.argon2id.MEMLIMIT_MODERATE
SALT_BYTES: Final = pwhash.argon2id.SALTBYTES
NONCE_BYTES: Final = secret.SecretBox.NONCE_SIZE
KDF_OPERATIONS_MAX: Final = 16
KDF_MEMORY_BYTES_MAX: Final = 2**30
ALGORITHM_NAMES: Final = {"ed25519": Algorithm.ED25519, "p256": Algorithm.P256}


class KeystoreKind(StrEnum):
    """Which keys lie together; recovery and governance keys lie apart from daily ones."""

    INSTITUTION = "institution"
    """Transaction and assertion keys, the holders' custody root, the issue register's key."""
    RECOVERY = "recovery"
    GOVERNANCE = "governance"
    NODE = "node"
    """A node's consensus and node keys."""
    HOLDER = "holder"
    """One learner's key."""


class SecretKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One secret key: the seed that its pair is made from."""

    purpose: str
    """A `Purpose`, or `holder`."""
    algorithm: str
    seed: str
    """32 bytes in hex."""


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the seal protects."""

    keys: tuple[SecretKey, ...]
    custody_root: str = ""
    """32 bytes in hex: holder keys that the institution keeps derive from it."""
    register_key: str = ""
    """32 bytes in hex: encrypts the issue register."""


class KeyDerivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the passphrase becomes a key."""

    name: str
    salt: str
    operations: int
    memory_bytes: int


class PublicPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What anybody may know of one key."""

    purpose: str
    algorithm: str
    public_key: str
    key_id: str


class KeystoreFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file as JSON."""

    format: str
    kind: KeystoreKind
    institution: str
    """Empty for a holder's key."""
    keys: tuple[PublicPart, ...]
    kdf: KeyDerivation | None
    secret: Secrets | None = None
    """Open secrets of a test network; nil where sealed."""
    box: str = ""
    """Sealed secrets in hex; empty where open."""


@dataclass(frozen=True, slots=True)
class InstitutionSigner:
    """A key that signs in an institution's name; satisfies `TransactionSigner`."""

    institution: InstitutionId
    signer: Signer

    @property
    def key_id(self) -> KeyId:
        """16 bytes."""
        return key_id(self.signer.algorithm, self.signer.public_key)

    def sign(self, digest: Hash) -> Signature:
        """Sign a transaction id."""
        return self.signer.sign(digest)


class Keystore:
    """An opened keystore."""

    def __init__(self, kind: KeystoreKind, institution: str, secrets: Secrets) -> None:
        self.kind = kind
        self.institution = institution
        self._secrets = secrets

    @classmethod
    def new(
        cls,
        kind: KeystoreKind,
        institution: str,
        keys: dict[str, tuple[Algorithm, ...]],
        *,
        entropy: bytes,
    ) -> "Keystore":
        """Make a keystore with fresh keys by purpose.

        `entropy`: 32 bytes for each key, and 64 more for an institution's.
        """
        seeds = [entropy[i : i + SEED_BYTES] for i in range(0, len(entropy), SEED_BYTES)]
        made = [
            SecretKey(purpose, algorithm.name.lower(), seeds.pop().hex())
            for purpose, algorithms in keys.items()
            for algorithm in algorithms
        ]
        if kind is KeystoreKind.INSTITUTION:
            return cls(kind, institution, Secrets(tuple(made), seeds.pop().hex(), seeds.pop().hex()))
        return cls(kind, institution, Secrets(tuple(made)))

    @classmethod
    def open(cls, path: Path, passphrase: bytes | None = None) -> "Keystore":
        """Read a keystore file.

        Raises: ConfigError naming the file: not there, no keystore, sealed without a passphrase
        given, or a wrong passphrase.
        """
        file = read_keystore_file(path)
        if file.kdf is None:
            if file.secret is None:
                raise ConfigError(f"{path}: neither sealed nor open secrets in it")
            return cls(file.kind, file.institution, file.secret)
        if passphrase is None:
            raise ConfigError(f"{path}: sealed; give its passphrase (prompt, PILA_PASSPHRASE or --passphrase-file)")
        try:
            opened = _box(file.kdf, passphrase).decrypt(bytes.fromhex(file.box))
            secrets = msgspec.json.decode(opened, type=Secrets)
        except (CryptoError, ValueError):
            raise ConfigError(f"{path}: the passphrase does not open it") from None
        return cls(file.kind, file.institution, secrets)

    def save(self, path: Path, *, passphrase: bytes | None = None, salt: bytes = b"", nonce: bytes = b"") -> None:
        """Write the file, readable by its owner only; whole or not at all. Sealed as `to_text` says."""
        write_private(path, self.to_text(passphrase=passphrase, salt=salt, nonce=nonce))

    def to_text(self, *, passphrase: bytes | None = None, salt: bytes = b"", nonce: bytes = b"") -> str:
        """Return the file's text.

        Sealed when a passphrase is given: then `salt` (16 bytes) and `nonce` (24 bytes) are random.
        """
        kdf, opened, box = None, self._secrets, ""
        if passphrase is not None:
            kdf = KeyDerivation("argon2id", salt.hex(), KDF_OPERATIONS, KDF_MEMORY_BYTES)
            box = bytes(_box(kdf, passphrase).encrypt(msgspec.json.encode(self._secrets), nonce)).hex()
        file = KeystoreFile(
            FORMAT,
            self.kind,
            self.institution,
            self.public_parts(),
            kdf,
            opened if passphrase is None else None,
            box,
        )
        return json.dumps(msgspec.to_builtins(file), indent=2) + "\n"

    def public_parts(self) -> tuple[PublicPart, ...]:
        """Return what anybody may know, in the order of the keys."""
        parts = []
        for key in self._secrets.keys:
            signer = self._signer(key)
            identity = key_id(signer.algorithm, signer.public_key)
            parts.append(PublicPart(key.purpose, key.algorithm, signer.public_key.hex(), identity.hex()))
        return tuple(parts)

    def signers(self, purpose: str) -> tuple[Signer, ...]:
        """Return the keys of one purpose, in the order they were made."""
        return tuple(self._signer(key) for key in self._secrets.keys if key.purpose == purpose)

    def institution_signers(self, purpose: str = Purpose.TRANSACTION) -> tuple[InstitutionSigner, ...]:
        """Return the keys of one purpose that sign transactions in the institution's name."""
        return tuple(InstitutionSigner(self.institution, signer) for signer in self.signers(purpose))

    def ed25519(self, purpose: str) -> Ed25519Signer:
        """Return the newest Ed25519 key of a purpose. Raises: ConfigError when there is none."""
        for signer in reversed(self.signers(purpose)):
            if isinstance(signer, Ed25519Signer):
                return signer
        raise ConfigError(f"the keystore of {self.institution or 'this holder'} has no Ed25519 key for {purpose}")

    @property
    def custody_root(self) -> bytes:
        """32 bytes. Raises: ConfigError when this is no institution's keystore."""
        return self._institution_secret(self._secrets.custody_root)

    @property
    def register_key(self) -> bytes:
        """32 bytes. Raises: ConfigError when this is no institution's keystore."""
        return self._institution_secret(self._secrets.register_key)

    def with_key(self, purpose: str, algorithm: Algorithm, seed: bytes) -> "Keystore":
        """Return the keystore with one more key."""
        made = SecretKey(purpose, algorithm.name.lower(), seed.hex())
        secrets = msgspec.structs.replace(self._secrets, keys=(*self._secrets.keys, made))
        return Keystore(self.kind, self.institution, secrets)

    def without_key(self, public_key: PublicKey) -> "Keystore":
        """Return the keystore without one of its keys."""
        left = tuple(key for key in self._secrets.keys if self._signer(key).public_key != public_key)
        return Keystore(self.kind, self.institution, msgspec.structs.replace(self._secrets, keys=left))

    def only(self, purpose: str) -> "Keystore":
        """Return the keystore with the keys of one purpose alone."""
        left = tuple(key for key in self._secrets.keys if key.purpose == purpose)
        return Keystore(self.kind, self.institution, msgspec.structs.replace(self._secrets, keys=left))

    def _institution_secret(self, value: str) -> bytes:
        if self.kind is not KeystoreKind.INSTITUTION:
            raise ConfigError(f"a keystore of kind {self.kind} keeps no holders; an institution's is needed")
        return bytes.fromhex(value)

    def _signer(self, key: SecretKey) -> Signer:
        algorithm = ALGORITHM_NAMES.get(key.algorithm)
        if algorithm is None:
            raise ConfigError(f"the keystore names algorithm {key.algorithm!r}; known: {', '.join(ALGORITHM_NAMES)}")
        return signer_from_seed(algorithm, bytes.fromhex(key.seed))


def read_keystore_file(path: Path) -> KeystoreFile:
    """Read the file without opening its secrets. Raises: ConfigError naming it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    try:
        file = msgspec.json.decode(data, type=KeystoreFile)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: not a keystore: {error}") from None
    if file.format != FORMAT:
        raise ConfigError(f"{path}: format {file.format!r}, this program reads {FORMAT!r}")
    return file


def public_keys(file: KeystoreFile, purpose: str) -> list[tuple[Algorithm, PublicKey]]:
    """Return the public keys of one purpose from an unopened file."""
    return [
        (ALGORITHM_NAMES[part.algorithm], bytes.fromhex(part.public_key))
        for part in file.keys
        if part.purpose == purpose
    ]


def destroy_key(path: Path, public_key: PublicKey, passphrase: bytes | None) -> None:
    """Write a keystore file without one of its keys, under its seal, and overwrite what the file was.

    What the disk kept of it beyond that (a journal, cells of flash, backups) is out of our reach.
    Raises: ConfigError naming the file.
    """
    left = Keystore.open(path, passphrase).without_key(public_key)
    sealing = passphrase if read_keystore_file(path).kdf is not None else None
    try:
        with path.open("r+b") as before:
            left.save(path, passphrase=sealing, salt=os.urandom(SALT_BYTES), nonce=os.urandom(NONCE_BYTES))
            size = before.seek(0, os.SEEK_END)
            before.seek(0)
            before.write(bytes(size))
            before.flush()
            os.fsync(before.fileno())
    except OSError as error:
        raise ConfigError(f"{path}: a key that was replaced cannot be wiped: {error.strerror}") from None


def write_private(path: Path, text: str) -> None:
    """Write a file for its owner's eyes only: under another name first, renamed, both synced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    # A new file: one that lies there already may be open to others.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Else a power cut could bring the old keys back after the chain has taken the new one.
        os.fsync(folder)
    finally:
        os.close(folder)


def _box(kdf: KeyDerivation, passphrase: bytes) -> secret.SecretBox:
    """Stretch the passphrase. Raises: ConfigError for parameters beyond what this program would write."""
    if kdf.name != "argon2id" or kdf.operations > KDF_OPERATIONS_MAX or kdf.memory_bytes > KDF_MEMORY_BYTES_MAX:
        raise ConfigError(f"key derivation {kdf.name} with {kdf.memory_bytes} bytes is not supported")
    key = pwhash.argon2id.kdf(
        secret.SecretBox.KEY_SIZE, passphrase, bytes.fromhex(kdf.salt), kdf.operations, kdf.memory_bytes
    )
    return secret.SecretBox(key)
