"""A running node's snapshots: made in slices as the chain grows, given to others, and restored from others.

Also the pruning of old blocks, for a node keeps what others need to go on from a snapshot. Where a restored chain is
complete it takes the place of the old one by two renames; whenever the process dies, the next start finds the old
chain or the new one, never a mix.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from node.chain.checkpoint import Checkpoint, check_way
from node.chain.genesis_document import GenesisDocument
from node.chain.ledger import Ledger
from node.chain.recovery import RecoveryDocument
from node.chain.recovery_loading import check_followed, stage_documents
from node.chain.restoring import Restoration, is_chain
from node.clock import monotonic_seconds
from node.environment import Callbacks
from node.errors import Rejected, StorageError
from node.limits import PRUNE_SLICE_BLOCKS, SNAPSHOT_PAUSE_MS, SNAPSHOT_RECENT_BLOCKS_MAX, SNAPSHOT_SLICE_MS
from node.log import get_logger
from node.primitives import Height
from node.snapshot_file import SnapshotShelf, SnapshotWriter
from node.state.keys import Column
from node.state.kv import WriteBatch
from node.state.leveldb import LevelDbStore, open_leveldb

CHAIN_FOLDER: Final = "chain"
NEW_FOLDER: Final = "chain.new"
"""A chain that is being restored; beside it `chain` is in use."""
OLD_FOLDER: Final = "chain.old"
"""The chain that a restored one takes the place of; gone after the next start."""
SNAPSHOTS_FOLDER: Final = "snapshots"
COMPACTION_BLOCKS: Final = 1_000
"""After so many pruned blocks the disk gets its space back."""


class SnapshotKeeper:
    """Makes a snapshot at every so many heights, and deletes blocks that nobody needs any more."""

    def __init__(
        self, ledger: Ledger, store: LevelDbStore, shelf: SnapshotShelf, folder: Path, callbacks: Callbacks
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._shelf = shelf
        self._folder = folder
        self._callbacks = callbacks
        self._log = get_logger("snapshots")
        self._writer: SnapshotWriter | None = None
        self._is_whole = False
        """All chunks are written; the block above is not decided yet."""
        self._pruned_since = 0
        self._compactor = ThreadPoolExecutor(1, "compaction")
        self._compaction: Future[None] | None = None

    def committed(self, interval: Height) -> None:
        """The head moved: begin a snapshot where one is due, finish one that waited for this block."""
        height = self._ledger.head.height
        if self._writer is not None:
            if self._is_whole:
                self._finish(self._writer)
            return
        if not interval or height % interval:
            return
        making = self._ledger.begin_snapshot()
        if making is None:
            return
        try:
            self._writer = SnapshotWriter(making, self._folder)
        except StorageError as error:
            self._log.warning("no snapshot", height=height, cause=str(error))
            return
        steps = self._writer.steps()
        self._callbacks.call_later(SNAPSHOT_PAUSE_MS, lambda: self._slice(steps.__next__))

    def _slice(self, step: Callable[[], None]) -> None:
        """Go on for some milliseconds; a vote waits no longer than that and one step."""
        writer = self._writer
        assert writer is not None
        until = monotonic_seconds() + SNAPSHOT_SLICE_MS / 1_000
        try:
            while monotonic_seconds() < until:
                step()
        except StopIteration:
            self._is_whole = True
            self._finish(writer)
            return
        except StorageError as error:
            self._give_up(writer, error)
            return
        self._callbacks.call_later(SNAPSHOT_PAUSE_MS, lambda: self._slice(step))

    def _finish(self, writer: SnapshotWriter) -> None:
        try:
            file = writer.finish()
        except StorageError as error:
            self._give_up(writer, error)
            return
        if file is None:
            return
        self._writer, self._is_whole = None, False
        self._shelf.add(file)
        self._log.info("snapshot", height=file.height, bytes=file.byte_count, chunks=file.manifest.chunk_count)

    def _give_up(self, writer: SnapshotWriter, error: StorageError) -> None:
        """A snapshot is only for others: the node goes on without."""
        self._log.warning("no snapshot", height=writer.height, cause=str(error))
        writer.abandon()
        self._writer, self._is_whole = None, False

    def prune(self, keep_blocks: int, counted_to: Height) -> None:
        """Delete some of the oldest blocks beyond `keep_blocks` (0: none).

        What lies above the oldest snapshot stays, for who restores it needs it, and so does what is not counted yet.
        """
        if not keep_blocks:
            return
        below = min(self._ledger.head.height + 1 - keep_blocks, counted_to + 1)
        below = min([below, *(file.height + 1 for file in self._shelf.all())])
        if self._writer is not None:
            below = min(below, self._writer.height + 1 - SNAPSHOT_RECENT_BLOCKS_MAX)
        self._pruned_since += self._ledger.prune(below, PRUNE_SLICE_BLOCKS)
        if self._pruned_since >= COMPACTION_BLOCKS and self._compaction is None:
            self._pruned_since = 0
            # LevelDB lets go of deleted records when it compacts; in a thread, for it takes seconds.
            self._compaction = self._compactor.submit(compact_blocks, self._store)
        if self._compaction is not None and self._compaction.done():
            error = self._compaction.exception()
            self._compaction = None
            if error is not None:
                self._log.warning("no compaction", cause=str(error))

    def stop(self) -> None:
        """Wait for what must be over before the store is closed; throw away an unfinished snapshot."""
        self._compactor.shutdown(cancel_futures=True)
        if self._writer is not None:
            self._writer.abandon()


class DiskRestorer:
    """Builds a restored chain in a folder beside the one in use."""

    def __init__(
        self,
        data: Path,
        genesis: GenesisDocument,
        done: Callable[[], None],
        followed: Callable[[], Iterable[RecoveryDocument]] = tuple,
        checkpoints: Sequence[Checkpoint] = (),
    ) -> None:
        """`done` is called once the new chain is complete and closed: `settle` then puts it in place.

        `followed` returns the recovery documents that this node was told to follow; `checkpoints`: blocks known.
        """
        self._path = data / NEW_FOLDER
        self._genesis = genesis
        self._done = done
        self._followed = followed
        self._checkpoints = checkpoints
        self._store: LevelDbStore | None = None

    def resume(self) -> Restoration | None:
        """Return what an earlier process had begun."""
        if self._store is None and self._path.exists():
            try:
                self._store = open_leveldb(self._path)
                return Restoration.resume(self._store, self._genesis)
            except StorageError:
                self.abandon()
        return None

    def begin(self, manifest: bytes) -> Restoration:
        """Begin anew with a manifest. Raises: Rejected, WRONG_EPOCH beyond a recovery not followed; StorageError."""
        self.abandon()
        followed = tuple(self._followed())
        self._store = open_leveldb(self._path)
        restoration = Restoration.begin(self._store, self._genesis, manifest)
        try:
            manifest_read = restoration.manifest
            check_followed(manifest_read.hops, followed)
            check_way(
                manifest_read.network.genesis_hash,
                self._genesis.validator_set(),
                manifest_read.hops,
                manifest_read.header,
                self._checkpoints,
            )
        except Rejected:
            self.abandon()
            raise
        batch = WriteBatch()
        stage_documents(followed, batch)
        self._store.write(batch, sync=True)
        return restoration

    def abandon(self) -> None:
        """Throw away what was begun."""
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)

    def done(self, restoration: Restoration) -> None:
        """Close the complete chain and have the node start again on it."""
        get_logger("snapshots").info("restored", height=restoration.height, snapshot=restoration.name.hex())
        self.close()
        self._done()

    def close(self) -> None:
        """Let go of the folder; what is in it is gone on with later."""
        if self._store is not None:
            self._store.close()
            self._store = None


def settle(data: Path) -> None:
    """Before the chain is opened: finish what a crash has interrupted, and put a complete restored chain in place.

    Raises: StorageError.
    """
    chain, new, old = data / CHAIN_FOLDER, data / NEW_FOLDER, data / OLD_FOLDER
    try:
        if old.exists() and not chain.exists():
            # It died between the two renames.
            (new if new.exists() else old).rename(chain)
        if new.exists() and _is_complete(new):
            shutil.rmtree(old, ignore_errors=True)
            if chain.exists():
                chain.rename(old)
            new.rename(chain)
            _sync_folder(data)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{data}: the restored chain cannot be put in place: {error.strerror}") from None


def compact_blocks(store: LevelDbStore) -> None:
    """Give back the space of deleted blocks."""
    for column in (Column.BLOCK, Column.RECEIPTS, Column.HEADER, Column.CERTIFICATE):
        store.compact(column.value, column.value + b"\xff" * 9)


def _is_complete(path: Path) -> bool:
    try:
        store = open_leveldb(path)
    except StorageError:
        return False
    try:
        return is_chain(store)
    finally:
        store.close()


def _sync_folder(path: Path) -> None:
    """Make renames in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
