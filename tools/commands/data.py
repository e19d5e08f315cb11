"""`pila snapshot make | show | restore` and `pila prune`: a stopped node's chain as a file, and less of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from node.chain.genesis import genesis_hash
from node.chain.genesis_document import GenesisDocument
from node.chain.ledger import Ledger
from node.chain.recovery import RecoveryDocument
from node.chain.restoring import Restoration
from node.chain.snapshot import verify_manifest
from node.config import DATA_FOLDER, GENESIS_FILE, load_config
from node.errors import ConfigError
from node.home import locked
from node.limits import KEEP_BLOCKS_MIN
from node.primitives import UINT_MAX
from node.release import checkpoints_of
from node.rpc.shapes import time_text
from node.snapshot_file import SnapshotFile, SnapshotWriter, check_network
from node.snapshots import CHAIN_FOLDER, NEW_FOLDER, SNAPSHOTS_FOLDER, DiskRestorer, settle
from node.state.leveldb import LevelDbStore, open_leveldb
from tools.commands.network import read_genesis
from tools.console import command, home_option, progress_bar, say

PRUNE_BLOCKS: Final = 500
"""Deleted in one write."""
_root = click.Group()


@click.group()
def snapshot() -> None:
    """The state of a chain at one height as a file that proves itself."""


@command(snapshot, "make")
@home_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Default: HOME/data/snapshots, where the node also gives it to others.",
)
def make(home: Path, output: Path | None) -> None:
    """Make a snapshot of a stopped node's head."""
    with _chain_of(home) as (_, ledger):
        making = ledger.begin_snapshot()
        if making is None:
            raise ConfigError(
                f"{home}: no snapshot of height {ledger.head.height}: the node has too few of the blocks below it; "
                "wait until it has made 1,000 of its own"
            )
        folder = home / DATA_FOLDER / SNAPSHOTS_FOLDER if output is None else output.absolute().parent
        writer = SnapshotWriter(making, folder)
        for _ in writer.steps():
            pass
        file = writer.finish(is_alone=True)
        assert file is not None
        path = file.path
        if output is not None:
            path = path.replace(output)
    _show(SnapshotFile.open(path), is_proven=True)


@command(snapshot, "show")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--genesis",
    "genesis_file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also check that the network's validators have certified it.",
)
def show(file: Path, genesis_file: Path | None) -> None:
    """Say of which height a snapshot is, and with --genesis whether it is true."""
    found = SnapshotFile.open(file)
    if genesis_file is not None:
        document = read_genesis(genesis_file)
        check_network(found, document, genesis_hash(document))
        verify_manifest(found.manifest_bytes, document)
    _show(found, is_proven=genesis_file is not None)


def _show(file: SnapshotFile, *, is_proven: bool) -> None:
    manifest = file.manifest
    header = manifest.header
    result = {
        "file": str(file.path),
        "chain_id": manifest.network.chain_id,
        "genesis_hash": manifest.network.genesis_hash.hex(),
        "height": header.height,
        "block_hash": header.hash().hex(),
        "block_time": time_text(header.timestamp_ms),
        "state_root": header.state_root.hex(),
        "records": sum(part.record_count for part in manifest.state),
        "batches": sum(part.batch_count for part in manifest.batches),
        "chunks": manifest.chunk_count,
        "bytes": file.byte_count,
        "snapshot_hash": file.name.hex(),
        "proven": is_proven,
    }
    say(result, "\n".join(f"{name:<14} {value}" for name, value in result.items()))


@command(snapshot, "restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@home_option
@click.option("--replace", is_flag=True, help="Also where the home has a chain already: its blocks are given up.")
def restore(file: Path, home: Path, replace: bool) -> None:
    """Put the chain of a snapshot into a stopped node's home.

    Everything is checked against the home's own genesis. What the validator has promised and signed stays as it is; a
    validator that has lost that listens before it signs.
    """
    found = SnapshotFile.open(file)
    document = read_genesis(home / GENESIS_FILE)
    check_network(found, document, genesis_hash(document))
    with locked(home):
        data = home / DATA_FOLDER
        data.mkdir(exist_ok=True)
        settle(data)
        followed = _check_place(data, document, found, replace=replace)
        checkpoints = checkpoints_of(home, load_config(home))
        restorer = DiskRestorer(data, document, lambda: None, lambda: followed, checkpoints)
        try:
            restoration = restorer.begin(found.manifest_bytes)
            _take_all(restoration, found)
            restoration.finish()
        except BaseException:
            restorer.abandon()
            raise
        restorer.close()
        settle(data)
    say(
        {"home": str(home), "height": found.height},
        f"{home} is at height {found.height}; its blocks begin above. Start the node: it fetches the rest.",
    )


def _check_place(
    data: Path, genesis: GenesisDocument, file: SnapshotFile, *, replace: bool
) -> tuple[RecoveryDocument, ...]:
    """Refuse to take a home back, or to give up blocks that nobody said may go; return the recoveries it follows.

    Raises: ConfigError, StorageError.
    """
    chain = data / CHAIN_FOLDER
    if not chain.exists():
        return ()
    with open_leveldb(chain) as store:
        ledger = Ledger.open(store, genesis)
        height, followed = ledger.head.height, tuple(ledger.recoveries())
    if height >= file.height:
        raise ConfigError(f"{chain} is at height {height} already, the snapshot is of height {file.height}")
    if height > 0 and not replace:
        raise ConfigError(f"{chain} holds a chain of height {height}; give --replace to give its blocks up")
    return followed


def _take_all(restoration: Restoration, file: SnapshotFile) -> None:
    with progress_bar() as bar:
        task = bar.add_task("chunks", total=file.manifest.chunk_count)
        while numbers := restoration.missing(100):
            for number in numbers:
                restoration.take(number, file.chunk(number))
                bar.advance(task)


@command(_root, "prune")
@home_option
@click.option(
    "--keep-blocks",
    type=click.IntRange(KEEP_BLOCKS_MIN, UINT_MAX),
    required=True,
    help="How many of the latest blocks stay; at least 2,000.",
)
def prune(home: Path, keep_blocks: int) -> None:
    """Delete a stopped node's old blocks and give their space back to the disk.

    The state, and the proof of every credential, stay.
    """
    with _chain_of(home) as (store, ledger):
        before, first = _folder_bytes(home), ledger.pruned_below
        with progress_bar() as bar:
            task = bar.add_task("blocks", total=max(0, ledger.head.height + 1 - keep_blocks - first))
            while count := ledger.prune(ledger.head.height + 1 - keep_blocks, PRUNE_BLOCKS):
                bar.advance(task, count)
        store.compact()
        below = ledger.pruned_below
    after = _folder_bytes(home)
    say(
        {"home": str(home), "pruned_below": below, "bytes_before": before, "bytes_after": after},
        f"{home}: blocks below {below} are gone; {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB now."
        if below
        else f"{home}: nothing to prune.",
    )


def _folder_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in (home / DATA_FOLDER / CHAIN_FOLDER).iterdir())


@contextmanager
def _chain_of(home: Path) -> Iterator[tuple[LevelDbStore, Ledger]]:
    """Open a stopped node's chain. Raises: ConfigError, StorageError."""
    document = read_genesis(home / GENESIS_FILE)
    with locked(home):
        data = home / DATA_FOLDER
        if not (data / CHAIN_FOLDER).exists() and not (data / NEW_FOLDER).exists():
            raise ConfigError(f"{data} holds no chain: the node has never run")
        settle(data)
        with open_leveldb(data / CHAIN_FOLDER) as store:
            yield store, Ledger.open(store, document)
