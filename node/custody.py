"""The care a node takes of its consensus key beside signing: how it is opened, and whether its records are the newest.

A copy of a data folder knows less than the chain remembers. Where the operator says that it is one
(`data/restored`), or where a block shows a Commit of ours that our record does not know, the validator
listens before it signs. Source: PROTOCOL §5, "Persist before send"; labels [R2] [R3].
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.chain.answers import Committed
from node.chain.archive import Archive
from node.chain.certificate import Certificate, Network
from node.chain.records.institution import Purpose
from node.config import FRESH_KEY_FILE, RESTORED_FILE, Config
from node.errors import ConfigError
from node.journal import Journal
from node.keystore import Keystore
from node.log import get_logger
from node.primitives import Height, InstitutionId
from node.replica import Member
from node.replica_view import ReplicaView
from node.signer.contract import ConsensusSigner, SignerUnreachable, SigningRefused
from node.signer.local import STEP_OF_COMMIT, LocalSigner
from node.signer.opening import open_keys
from node.signer.record import Position
from node.signer.remote import SocketSigner
from node.state.kv import KeyValueStore

NONCE_BYTES = 32
WIPE_RETRY_HEIGHTS: Final = 100
"""After this many blocks a key that could not be wiped is tried again: opening a keystore takes its time."""


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a node's consensus key and its marks lie."""

    folder: Path
    """The home."""
    config: Config
    keystore: Keystore
    passphrase: bytes | None = field(default=None, repr=False)
    """Seals the keystore anew when a key is wiped."""


def open_member(
    place: KeyPlace, network: Network, journal_store: KeyValueStore, signer_store: KeyValueStore | None
) -> Member | None:
    """Return our consensus key with its records; None for a node that only follows.

    `signer_store`: the record, where it is kept in this process. Raises: ConfigError, StorageError.
    """
    options = place.config.signer
    is_held = options.kind != "local" or bool(place.keystore.signers(Purpose.CONSENSUS))
    if not place.config.node.validate or not is_held:
        return None
    signer: ConsensusSigner
    if options.kind == "socket":
        signer = SocketSigner.open(place.folder / options.socket, network)
    else:
        assert signer_store is not None
        keys = open_keys(place.folder, options, place.keystore, place.passphrase)
        signer = LocalSigner(keys, network, signer_store)
    journal = Journal(journal_store)
    was_restored = (place.folder / RESTORED_FILE).exists()
    marker = place.folder / FRESH_KEY_FILE
    if marker.exists():
        # These keys have signed nothing yet: no need to listen first. Begun before the marker goes, so that a
        # crash in between is harmless.
        if not was_restored and not journal.is_begun and signer.last_position is None:
            journal.begin()
        marker.unlink()
    return Member(signer, journal, os.urandom(NONCE_BYTES), was_restored)


def mark_restored(folder: Path) -> None:
    """State durably that a home's data is a copy. Raises: OSError."""
    path = folder / RESTORED_FILE
    path.touch()
    _sync_folder(path.parent)


class Custody:
    """Watches one validator's key while the node runs."""

    def __init__(self, folder: Path, institution: InstitutionId, ledger: Archive, member: Member) -> None:
        self._folder = folder
        self._institution = institution
        self._ledger = ledger
        self._signer = member.signer
        self._was_restored = member.was_restored
        self._was_listening = False
        self._problem: str | None = None
        self._wipes_from: Height = 0
        """Before it no replaced key is wiped: the last attempt failed."""
        self._log = get_logger("signer")

    def check_start(self, *, is_listening: bool) -> None:
        """Refuse to go on with a record older than the chain beside it. Raises: ConfigError."""
        certificate = self._ledger.head_certificate
        # An empty record may be that of a network of listeners, whose operators began it anew together.
        if certificate is not None and not is_listening and self._signer.last_position is not None:
            self._check(certificate)

    def committed(self, committed: Committed, *, is_listening: bool) -> None:
        """Look at a block that was decided. Raises: ConfigError: it shows that our record is an old copy."""
        if not is_listening:
            self._check(committed.certificate)
        if len(self._signer.public_keys) > 1 and committed.header.height >= self._wipes_from:
            self._destroy_replaced(committed)

    def tick(self, view: ReplicaView) -> None:
        """Say whether this validator signs, and drop the mark of a copy once it does; call about once a second."""
        is_listening = view.is_validator and not view.may_sign
        if is_listening != self._was_listening:
            event = "listening until it is safe to sign" if is_listening else "signing"
            self._log.info(event, height=view.height)
        self._was_listening = is_listening
        if view.signer_problem != self._problem:
            if view.signer_problem is None:
                self._log.info("signer answers again", height=view.height)
            elif self._problem is None:
                self._log.warning("signer does not answer", cause=view.signer_problem, height=view.height)
            self._problem = view.signer_problem
        if self._was_restored and view.may_sign:
            # The journal says by now from which height on it is complete.
            (self._folder / RESTORED_FILE).unlink(missing_ok=True)
            _sync_folder((self._folder / RESTORED_FILE).parent)
            self._was_restored = False

    def close(self) -> None:
        """Let go of the signer."""
        self._signer.close()

    def _check(self, certificate: Certificate) -> None:
        """Compare our own Commit in a certificate with our record. Raises: ConfigError."""
        position: Position = (certificate.epoch, certificate.height, certificate.view, STEP_OF_COMMIT)
        last = self._signer.last_position
        if (last is not None and last >= position) or not self._has_signed(certificate):
            return
        with contextlib.suppress(OSError):
            mark_restored(self._folder)
        raise ConfigError(
            f"block {certificate.height} carries a Commit of this validator that its signer's record does not know "
            f"(it ends at {last}): the data or the signer's record is an older copy, and signing with it could make a "
            f"double vote. It is marked as such ({RESTORED_FILE}): start again, and the node listens before it signs"
        )

    def _has_signed(self, certificate: Certificate) -> bool:
        validators = self._ledger.validators_at(certificate.height)
        index = validators.index_of(self._institution)
        if index is None or validators.members[index].public_key not in self._signer.public_keys:
            return False
        return any(vote.validator == index for vote in certificate.signatures)

    def _destroy_replaced(self, committed: Committed) -> None:
        """Wipe keys older than the one that is in force, once a block was decided under it: the swap is final."""
        height = committed.header.height
        decided, following = (self._ledger.validators_at(at) for at in (height, height + 1))
        index = following.index_of(self._institution)
        if index is None or following.members[index] not in decided.members:
            return
        held = self._signer.public_keys
        present = following.members[index].public_key
        for old in held[: held.index(present)] if present in held else ():
            try:
                self._signer.destroy(old)
            except SigningRefused:
                return  # nothing is signed with the new one yet: after the next block
            except (SignerUnreachable, ConfigError) as error:
                self._wipes_from = height + WIPE_RETRY_HEIGHTS
                self._log.warning(
                    "replaced consensus key not destroyed, destroy it by hand",
                    public_key=old.hex(),
                    cause=str(error),
                    next_attempt=self._wipes_from,
                )
                return
            self._log.info("consensus key destroyed", public_key=old.hex(), height=height)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
