"""What the replica asks of whoever holds its consensus key, and the two ways of not getting it.

Source: PROTOCOL §5, "Persist before send".
"""

from typing import Protocol

from node.consensus.messages import Promise, Status
from node.primitives import Hash, PublicKey, Signature
from node.signer.record import Position


class SigningRefused(Exception):
    """The signer would contradict itself: nothing was signed, and the same request is refused for ever."""


class SignerUnreachable(Exception):
    """Nobody signed, but only for now: the signer's process or device does not answer. Ask for the same again."""


class ConsensusSigner(Protocol):
    """The consensus key of one validator with its record; in this process, in another or in a device."""

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """All consensus keys held, oldest first: the present one, and one that is to follow it. Ed25519, 32 bytes."""
        ...

    @property
    def last_position(self) -> Position | None:
        """The highest (epoch, height, view, step) ever signed, as far as is known here; None for a new key."""
        ...

    def choose(self, public_key: PublicKey) -> None:
        """Sign with this key from now on; it is one of `public_keys`."""
        ...

    def sign(self, message: Promise) -> Signature:
        """Sign what binds us; the same bytes for the same message.

        Raises: SigningRefused, SignerUnreachable, StorageError.
        """
        ...

    def sign_status(self, message: Status) -> Signature:
        """Sign what binds nobody. Raises: SignerUnreachable."""
        ...

    def destroy(self, public_key: PublicKey) -> None:
        """Forget a key that another one has followed, for ever.

        Raises: SigningRefused (it is the only one, the chosen one, or the last that signed), SignerUnreachable,
        ConfigError (its file cannot be written).
        """
        ...

    def close(self) -> None:
        """Let go of the process or device. Harmless when repeated."""
        ...


class ConsensusKeys(Protocol):
    """Where secret keys lie; signs whatever it is given, so only a `LocalSigner` may use it for consensus."""

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """Oldest first."""
        ...

    def sign_with(self, public_key: PublicKey, digest: Hash) -> Signature:
        """Sign a 32-byte digest with one of the keys. Raises: SignerUnreachable."""
        ...

    def destroy(self, public_key: PublicKey) -> None:
        """Wipe one of the keys. Raises: SignerUnreachable, ConfigError."""
        ...

    def close(self) -> None:
        """Let go of the device. Harmless when repeated."""
        ...
