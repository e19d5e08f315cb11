"""The consensus key behind its own rule: never two things that contradict each other.

Neither two different ones at one (epoch, height, view, step), nor a ViewChange that denies a Commit. The rule
is kept here a second time, from a durable record that nobody else writes, so that a faulty core, a lost
journal or two processes with one data folder cannot make us sign twice.
Source: PROTOCOL §5, "Persist before send"; node/consensus/README.md [E1]–[E3].
"""

from collections.abc import Callable
from typing import Final, assert_never

from node.chain.certificate import Network, Phase, vote_digest
from node.chain.statements import Commit, Prepare, ProposalHead, SignedPart, ViewChangeHead
from node.consensus.messages import Promise, Status, header_of, signing_digest
from node.crypto.signing import Algorithm, Signer, verify
from node.primitives import Hash, PublicKey, Signature
from node.signer.contract import ConsensusKeys, SigningRefused
from node.signer.record import Position, SigningRecord
from node.state.kv import KeyValueStore

_STEP_OF_VIEW_CHANGE: Final = 0
"""ViewChange → v comes before anything else of view v."""
_STEP_OF_PROPOSAL: Final = 1
_STEP_OF_PREPARE: Final = 2
STEP_OF_COMMIT: Final = 3


class HeldKeys:
    """Keys in this process's memory."""

    def __init__(self, *signers: Signer, wipe: Callable[[PublicKey], None] = lambda _: None) -> None:
        """`signers` oldest first; `wipe` removes one from where they were read. Raises: ConfigError."""
        self._signers = {signer.public_key: signer for signer in signers}
        self._wipe = wipe

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """Oldest first."""
        return tuple(self._signers)

    def sign_with(self, public_key: PublicKey, digest: Hash) -> Signature:
        """Sign a 32-byte digest."""
        return self._signers[public_key].sign(digest)

    def destroy(self, public_key: PublicKey) -> None:
        """Wipe a key from its file, then from memory. Raises: ConfigError."""
        self._wipe(public_key)
        del self._signers[public_key]

    def close(self) -> None:
        """Nothing to let go of."""


class LocalSigner:
    """Keys at hand, their record in a store of its own: whatever holds the keys signs through this."""

    def __init__(self, keys: ConsensusKeys, network: Network, store: KeyValueStore) -> None:
        """Sign with the newest key until told otherwise. Raises: StorageError where the record is damaged."""
        assert keys.public_keys, "a signer without a key"
        self._keys = keys
        self._network = network
        self._record = SigningRecord(store)
        self._chosen = keys.public_keys[-1]

    @property
    def public_keys(self) -> tuple[PublicKey, ...]:
        """Oldest first."""
        return self._keys.public_keys

    @property
    def last_position(self) -> Position | None:
        """The highest (epoch, height, view, step) ever signed; None for a new key."""
        return self._record.last

    def choose(self, public_key: PublicKey) -> None:
        """Sign with this key from now on. Raises: SigningRefused when it is not held."""
        if public_key not in self._keys.public_keys:
            raise SigningRefused(f"the key {public_key.hex()} is not held here")
        self._chosen = public_key

    def sign(self, message: Promise) -> Signature:
        """Sign once per position, and only forwards.

        Raises: SigningRefused(position already taken by something else, or passed; a ViewChange that denies a
        Commit); SignerUnreachable; StorageError.
        """
        return self.sign_part(header_of(message))

    def sign_part(self, part: SignedPart) -> Signature:
        """As `sign`, for the part of a promise that its signature covers."""
        position = position_of(part)
        digest = signing_digest(self._network, part)
        if position in self._record:
            return self._repeat(position, digest)
        last = self._record.last
        if last is not None and position < last:
            raise SigningRefused(f"{position} lies before {last}, which was signed")
        if isinstance(part, ViewChangeHead):
            self._check_kept(part)
        signature = self._keys.sign_with(self._chosen, digest)
        self._record.append(position, (digest, signature))
        return signature

    def _repeat(self, position: Position, digest: Hash) -> Signature:
        """Return the bytes that were handed out for this very statement. Raises: SigningRefused."""
        earlier = self._record.at(position)
        if earlier is None:
            raise SigningRefused(f"{position} has signed something that a restored record does not know")
        if earlier[0] != digest:
            raise SigningRefused(f"{position} has signed {earlier[0].hex()}, asked for {digest.hex()}")
        return earlier[1]

    def _check_kept(self, change: ViewChangeHead) -> None:
        """[E2] Refuse a claim that denies our highest Commit of its height: that would be evidence against us.

        Of a restored record only the Commit's view may be known. Raises: SigningRefused.
        """
        view = self._record.highest_view(change.epoch, change.height, STEP_OF_COMMIT)
        if view is None:
            return
        claimed = change.prepared_view
        keeps = claimed is not None and claimed >= view
        committed = self._record.at((change.epoch, change.height, view, STEP_OF_COMMIT))
        if claimed == view and change.prepared_hash is not None and committed is not None:
            place = (change.epoch, change.height, view, change.prepared_hash)
            keeps = committed[0] == vote_digest(self._network, Phase.COMMIT, *place)
        if not keeps:
            raise SigningRefused(f"{position_of(change)} denies the Commit that was signed in view {view}")

    def sign_status(self, message: Status) -> Signature:
        """Sign a Status; it binds nobody, so no record is kept. Raises: SignerUnreachable."""
        return self._keys.sign_with(self._chosen, signing_digest(self._network, message))

    def destroy(self, public_key: PublicKey) -> None:
        """Wipe a key that another one has followed. A key that is not held is gone already.

        Raises: SigningRefused, SignerUnreachable, ConfigError.
        """
        if public_key not in self._keys.public_keys:
            return
        last = self._record.last
        latest = None if last is None else self._record.at(last)
        if public_key == self._chosen or latest is None or verify(Algorithm.ED25519, public_key, *latest):
            raise SigningRefused(f"the key {public_key.hex()} is in use: no other one has signed since")
        self._keys.destroy(public_key)

    def close(self) -> None:
        """Let go of the device; whoever opened the record closes it."""
        self._keys.close()


def position_of(part: SignedPart) -> Position:
    """Return where a statement stands."""
    return part.epoch, part.height, part.view, _step(part)


def _step(part: SignedPart) -> int:
    match part:
        case ViewChangeHead():
            return _STEP_OF_VIEW_CHANGE
        case ProposalHead():
            return _STEP_OF_PROPOSAL
        case Prepare():
            return _STEP_OF_PREPARE
        case Commit():
            return STEP_OF_COMMIT
        case unreachable:
            assert_never(unreachable)
