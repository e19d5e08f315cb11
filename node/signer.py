"""The consensus key behind its own rule: never two different things at one (epoch, height, view, step).

The rule is kept here a second time, from a durable record that nobody else writes, so that a faulty
core, a lost journal or two processes with one data folder cannot make us sign twice.
Source: PROTOCOL §5, "Persist before send".
"""

from typing import Final, Protocol, TypeAlias, assert_never

from node.chain.certificate import Network
from node.chain.statements import Commit, Prepare
from node.consensus.messages import NewView, Promise, Proposal, Status, ViewChange, header_of, signing_digest
from node.crypto.signing import Signer
from node.errors import StorageError
from node.primitives import HASH_BYTES, SIGNATURE_BYTES, Hash, PublicKey, Signature
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch

Position: TypeAlias = tuple[int, int, int, int]
"""(epoch, height, view, step); grows with everything a correct replica signs."""

_STEP_OF_VIEW_CHANGE: Final = 0
"""ViewChange → v comes before anything else of view v."""
_STEP_OF_PROPOSAL: Final = 1
_STEP_OF_PREPARE: Final = 2
_STEP_OF_COMMIT: Final = 3


class SigningRefused(Exception):
    """The signer would contradict itself; nothing was signed."""


class ConsensusSigner(Protocol):
    """What the replica needs; in this process, in another or in a device."""

    @property
    def public_key(self) -> PublicKey:
        """Ed25519, 32 bytes."""
        ...

    def sign(self, message: Promise) -> Signature:
        """Sign what binds us; the same bytes for the same message. Raises: SigningRefused, StorageError."""
        ...

    def sign_status(self, message: Status) -> Signature:
        """Sign what binds nobody."""
        ...


class LocalSigner:
    """The key in this process, its record in a store of its own."""

    def __init__(self, key: Signer, network: Network, store: KeyValueStore) -> None:
        self._key = key
        self._network = network
        self._store = store
        self._signed: dict[Position, tuple[Hash, Signature]] = {}
        """Everything signed at the latest height."""
        for name, value in store.iterate(prefix=Column.SIGNER.value):
            self._signed[_position(name)] = _entry(name, value)

    @property
    def public_key(self) -> PublicKey:
        """Ed25519, 32 bytes."""
        return self._key.public_key

    @property
    def last_position(self) -> Position | None:
        """The highest (epoch, height, view, step) ever signed; None for a new key."""
        return max(self._signed, default=None)

    def sign(self, message: Promise) -> Signature:
        """Sign once per position, and only forwards.

        Raises: SigningRefused(position already taken by something else, or passed); StorageError.
        """
        head = header_of(message)
        position = (head.epoch, head.height, head.view, _step(message))
        digest = signing_digest(self._network, head)
        earlier = self._signed.get(position)
        if earlier is not None:
            if earlier[0] != digest:
                raise SigningRefused(f"{position} has signed {earlier[0].hex()}, asked for {digest.hex()}")
            return earlier[1]
        last = self.last_position
        if last is not None and position < last:
            raise SigningRefused(f"{position} lies before {last}, which was signed")
        signature = self._key.sign(digest)
        batch = WriteBatch()
        for old in [place for place in self._signed if place[:2] < position[:2]]:
            batch.delete(_name(old))
            del self._signed[old]
        batch.put(_name(position), digest + signature)
        self._store.write(batch, sync=True)
        self._signed[position] = (digest, signature)
        return signature

    def sign_status(self, message: Status) -> Signature:
        """Sign a Status; it binds nobody, so no record is kept."""
        return self._key.sign(signing_digest(self._network, message))


def _step(message: Promise) -> int:
    match message:
        case ViewChange():
            return _STEP_OF_VIEW_CHANGE
        case Proposal() | NewView():
            return _STEP_OF_PROPOSAL
        case Prepare():
            return _STEP_OF_PREPARE
        case Commit():
            return _STEP_OF_COMMIT
        case unreachable:
            assert_never(unreachable)


_WIDTHS: Final = (4, 8, 4, 1)


def _name(position: Position) -> bytes:
    parts = [part.to_bytes(width, "big") for part, width in zip(position, _WIDTHS, strict=True)]
    return Column.SIGNER.key(b"".join(parts))


def _position(name: bytes) -> Position:
    if len(name) != 1 + sum(_WIDTHS):
        raise StorageError(f"the signer's record holds a key that is none of its own: {name.hex()}")
    return (
        int.from_bytes(name[1:5], "big"),
        int.from_bytes(name[5:13], "big"),
        int.from_bytes(name[13:17], "big"),
        name[17],
    )


def _entry(name: bytes, value: bytes) -> tuple[Hash, Signature]:
    if len(value) != HASH_BYTES + SIGNATURE_BYTES:
        raise StorageError(
            f"the signer's record of {_position(name)} is damaged: {len(value)} bytes instead of "
            f"{HASH_BYTES + SIGNATURE_BYTES}; move the journal and this record away together, "
            "and the node listens before it signs"
        )
    return value[:HASH_BYTES], value[HASH_BYTES:]
