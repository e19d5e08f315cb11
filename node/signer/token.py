"""The consensus key in a PKCS#11 token: it signs there and never leaves. The record stays with us.

The only place that knows python-pkcs11. A call into the module cannot be broken off: put a token that is
far away behind `pila signer run`, whose answers the node awaits for a bounded time.
Source: PKCS #11 v3.0, CKM_EDDSA, CKK_EC_EDWARDS; RFC 8410 (the curve's identifier); RFC 8032.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol, cast

from node.clock import monotonic_seconds, wall_ms
from node.crypto.signing import Algorithm, verify
from node.errors import ConfigError
from node.limits import SIGNER_BACKOFF_MS_MAX
from node.primitives import Hash, PublicKey, Signature
from node.signer.contract import SignerUnreachable

if TYPE_CHECKING:
    import pkcs11

_ED25519: Final = bytes.fromhex("06032b6570")
"""DER of 1.3.101.112, what EC_PARAMS says of the curve."""
_POINT_PREFIX: Final = bytes.fromhex("0420")
"""DER of an octet string of 32 bytes; some modules leave it out."""


@dataclass(frozen=True, slots=True)
class TokenAddress:
    """Where a key lies."""

    module: str
    """Path of the PKCS#11 library."""
    token: str
    """The token's label."""
    key_label: str


class _Key(Protocol):
    """What we use of python-pkcs11's private key, whose types leave half of it out."""

    def __getitem__(self, attribute: object) -> bytes: ...
    def sign(self, data: bytes, *, mechanism: object) -> bytes: ...
    def destroy(self) -> None: ...


class TokenKeys:
    """All Ed25519 keys with one label in one token."""

    def __init__(
        self, address: TokenAddress, pin: str, *, now_seconds: Callable[[], float] = monotonic_seconds
    ) -> None:
        """Log in and look. Raises: ConfigError: no module, no token, wrong PIN, no key."""
        self._address = address
        self._pin = pin
        self._now_seconds = now_seconds
        self._not_before_seconds = 0.0
        self._cause = ""
        self._session: pkcs11.Session | None = None
        self._keys: dict[PublicKey, _Key] = {}
        try:
            self._open()
        except SignerUnreachable as error:
            raise ConfigError(f"{error}; look at [signer] in config.toml and at the PIN") from None
        if not self._keys:
            self.close()
            raise ConfigError(
                f"the token {address.token} holds no Ed25519 key labelled {address.key_label}; "
                "pila key hsm-new makes one"
            )

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """Oldest first, by the time in their ids."""
        return tuple(self._keys)

    def sign_with(self, public_key: PublicKey, digest: Hash) -> Signature:
        """Have the token sign. Raises: SignerUnreachable."""
        library = _library()
        if self._session is None:
            if self._now_seconds() < self._not_before_seconds:
                raise SignerUnreachable(self._cause)
            self._open()
        key = self._keys.get(public_key)
        if key is None:
            raise self._lost(f"holds no key {public_key.hex()} any more")
        try:
            signature = key.sign(digest, mechanism=library.Mechanism.EDDSA)
        except library.exceptions.PKCS11Error as error:
            raise self._lost(f"does not sign ({_text(error)})") from None
        if not verify(Algorithm.ED25519, public_key, digest, signature):
            raise self._lost(f"gave a signature that is not of the key {public_key.hex()}")
        return signature

    def destroy(self, public_key: PublicKey) -> None:
        """Destroy both halves of a key in the token. Raises: SignerUnreachable, ConfigError."""
        library = _library()
        if self._session is None:
            self._open()
        try:
            key = self._keys[public_key]
            identity = key[library.Attribute.ID]
            key.destroy()
            assert self._session is not None
            for half in self._session.get_objects({library.Attribute.ID: identity}):
                half.destroy()
        except library.exceptions.PKCS11Error as error:
            raise ConfigError(f"the token {self._address.token} does not destroy a key: {_text(error)}") from None
        del self._keys[public_key]

    def close(self) -> None:
        """Log out. Harmless when repeated."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _open(self) -> None:
        """Log in and read which keys there are. Raises: SignerUnreachable."""
        library = _library()
        try:
            session = self._session = _login(self._address, self._pin)
            self._keys = dict(_keys(session, self._address.key_label))
        except (library.exceptions.PKCS11Error, RuntimeError) as error:
            raise self._lost(f"does not answer ({_text(error)})") from None

    def _lost(self, what: str) -> SignerUnreachable:
        """Log out and pause: a token that failed is asked again after a while."""
        library = _library()
        try:
            self.close()
        except library.exceptions.PKCS11Error:
            self._session = None
        self._cause = f"the token {self._address.token} {what}"
        self._not_before_seconds = self._now_seconds() + SIGNER_BACKOFF_MS_MAX / 1_000
        return SignerUnreachable(self._cause)


def make_token_key(address: TokenAddress, pin: str) -> PublicKey:
    """Make an Ed25519 key in a token that cannot be taken out of it, and return its public half.

    Raises: ConfigError.
    """
    library = _library()
    attribute = library.Attribute
    try:
        session = _login(address, pin)
        try:
            taken = [bytes(key[attribute.ID]) for key in session.get_objects({attribute.LABEL: address.key_label})]
            identity = max(wall_ms().to_bytes(8, "big"), *(_next(identity) for identity in taken), b"")
            curve = session.create_domain_parameters(
                library.KeyType.EC_EDWARDS, {attribute.EC_PARAMS: _ED25519}, local=True
            )
            public, _ = curve.generate_keypair(
                mechanism=library.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                id=identity,
                label=address.key_label,
                store=True,
                private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
            )
            return _point(public[attribute.EC_POINT])
        finally:
            session.close()
    except (library.exceptions.PKCS11Error, RuntimeError) as error:
        raise ConfigError(f"the token {address.token} makes no key: {_text(error)}") from None


def _library() -> ModuleType:
    """Return python-pkcs11. Raises: ConfigError where it is not installed."""
    try:
        import pkcs11  # noqa: PLC0415 – optional: only who has a token needs it
    except ImportError:
        raise ConfigError(
            "python-pkcs11 is not installed: pip install 'pila-node[hsm]', or another signer.kind"
        ) from None
    return pkcs11


def _login(address: TokenAddress, pin: str) -> "pkcs11.Session":
    """Open a session in which keys may be used, made and destroyed."""
    module = _library().lib(address.module)
    session: pkcs11.Session = module.get_token(token_label=address.token).open(rw=True, user_pin=pin)
    return session


def _keys(session: "pkcs11.Session", label: str) -> Iterator[tuple[PublicKey, _Key]]:
    """Yield the keys with a label, oldest first; one whose public half is missing cannot be used."""
    library = _library()
    attribute, kinds = library.Attribute, library.ObjectClass
    wanted = {attribute.LABEL: label, attribute.KEY_TYPE: library.KeyType.EC_EDWARDS}
    private = {key[attribute.ID]: key for key in session.get_objects({**wanted, attribute.CLASS: kinds.PRIVATE_KEY})}
    public = {
        key[attribute.ID]: _point(key[attribute.EC_POINT])
        for key in session.get_objects({**wanted, attribute.CLASS: kinds.PUBLIC_KEY})
        if key[attribute.EC_PARAMS] == _ED25519
    }
    for identity in sorted(private.keys() & public.keys()):
        yield public[identity], cast(_Key, private[identity])


def _next(identity: bytes) -> bytes:
    """Return the id after one of ours; of a key that was made elsewhere any later one will do."""
    number = int.from_bytes(identity, "big") + 1
    return number.to_bytes(8, "big") if len(identity) == 8 and number < 2**64 else identity


def _point(value: bytes) -> PublicKey:
    return value.removeprefix(_POINT_PREFIX) if len(value) == 34 else value


def _text(error: Exception) -> str:
    """Return what a module says; its errors are named and seldom have words."""
    return str(error) or type(error).__name__
