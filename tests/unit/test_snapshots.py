"""Snapshot files and their shelf, the keeper beside a running node, and how a restored chain takes its place."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from node.chain.ledger import Ledger
from node.chain.snapshot import verify_manifest
from node.environment import Callbacks
from node.errors import ConfigError, StorageError
from node.limits import SNAPSHOTS_KEPT
from node.snapshot_file import SnapshotFile, SnapshotShelf, SnapshotWriter, path_of
from node.snapshots import CHAIN_FOLDER, NEW_FOLDER, OLD_FOLDER, DiskRestorer, SnapshotKeeper, settle
from node.state.leveldb import open_leveldb
from tests.unit.chain.kit import TestChain
from tests.unit.chain.snapshot_kit import snapshot_at_head


def written(chain: TestChain, folder: Path) -> SnapshotFile:
    """Write a snapshot of the head, and the block above."""
    making = chain.ledger.begin_snapshot()
    assert making is not None
    writer = SnapshotWriter(making, folder)
    for _ in writer.steps():
        pass
    chain.commit()
    file = writer.finish()
    assert file is not None
    return file


# --- files ---


def test_a_file_gives_back_manifest_and_chunks(tmp_path: Path) -> None:
    """What is read is what was made, by number of chunk."""
    chain = TestChain()
    chain.skip_to(5)
    twin = TestChain(store=chain.store)
    made = snapshot_at_head(twin)
    fresh = TestChain()
    for height in range(1, 6):
        item = twin.ledger.block_at(height)
        assert item is not None
        fresh.ledger.commit_block(*item)
    file = written(fresh, tmp_path)
    found = SnapshotFile.open(file.path)
    assert (found.name, found.manifest_bytes, found.height) == (made.name, made.manifest_bytes, 5)
    assert [found.chunk(number) for number in range(found.manifest.chunk_count)] == list(made.chunks)
    verify_manifest(found.manifest_bytes, fresh.document)


@pytest.mark.parametrize(
    "at, what", [(0, "is no snapshot"), (-1, "is damaged"), (-50, "is damaged"), (-38, "is damaged")]
)
def test_a_changed_byte_is_noticed(tmp_path: Path, at: int, what: str) -> None:
    """The file's name, the manifest, its sum and its length are guarded."""
    chain = TestChain()
    chain.skip_to(3)
    path = written(chain, tmp_path).path
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=what):
        SnapshotFile.open(path)


@pytest.mark.parametrize("size", [0, 10, 60, 500])
def test_a_cut_file_is_refused(tmp_path: Path, size: int) -> None:
    """A torn copy is no snapshot."""
    chain = TestChain()
    chain.skip_to(3)
    path = written(chain, tmp_path).path
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ConfigError):
        SnapshotFile.open(path)


def test_a_chunk_that_the_disk_changed_is_not_given(tmp_path: Path) -> None:
    """An honest node must not be taken for a liar: it throws the snapshot away instead."""
    chain = TestChain()
    chain.skip_to(3)
    file = written(chain, tmp_path)
    shelf = SnapshotShelf(tmp_path)
    data = bytearray(file.path.read_bytes())
    data[100] ^= 1
    file.path.write_bytes(data)
    with pytest.raises(StorageError, match="is damaged in chunk 0"):
        file.chunk(0)
    assert shelf.chunk(file.name, 0) is None
    assert (shelf.all(), file.path.exists()) == ((), False)


def test_the_shelf_keeps_the_last_two_and_clears_up(tmp_path: Path) -> None:
    """Older ones, unfinished ones and damaged ones go."""
    chain = TestChain()
    files = []
    for height in (2, 4, 6):
        chain.skip_to(height)
        files.append(written(chain, tmp_path))
    (tmp_path / "000000000009.part").write_bytes(b"half")
    path_of(tmp_path, 8).write_bytes(b"damaged")
    shelf = SnapshotShelf(tmp_path)
    assert [file.height for file in shelf.all()] == [6, 4]
    assert len(shelf.all()) == SNAPSHOTS_KEPT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000000004.snapshot", "000000000006.snapshot"]
    assert shelf.find(files[0].name) is None
    assert shelf.chunk(files[2].name, 99) is None


# --- the keeper ---


def keep(tmp_path: Path, play: Callable[[TestChain, SnapshotKeeper], None], interval: int = 5) -> SnapshotShelf:
    """Let a keeper work beside a chain until nothing is left to do."""

    async def run() -> SnapshotShelf:
        failures: list[BaseException] = []
        with open_leveldb(tmp_path / "chain") as store:
            chain = TestChain(store=store)
            shelf = SnapshotShelf(tmp_path / "snapshots")
            callbacks = Callbacks(asyncio.get_running_loop(), failures.append)
            keeper = SnapshotKeeper(chain.ledger, store, shelf, tmp_path / "snapshots", callbacks)
            chain.ledger.on_commit(lambda _: keeper.committed(interval))
            play(chain, keeper)
            for _ in range(200):
                await asyncio.sleep(0.01)
                if keeper._writer is None:
                    break
                if keeper._is_whole:
                    chain.commit()
            keeper.stop()
            assert failures == []
            return shelf

    return asyncio.run(run())


def test_a_snapshot_is_made_at_every_interval(tmp_path: Path) -> None:
    """Begun with its block, finished when the block above is decided."""
    shelf = keep(tmp_path, lambda chain, _: chain.skip_to(5))
    assert [file.height for file in shelf.all()] == [5]


def test_a_full_disk_costs_the_snapshot_not_the_node(tmp_path: Path) -> None:
    """Where it cannot be written, the node says so and goes on."""
    (tmp_path / "snapshots").write_bytes(b"a file in the place of the folder")
    assert keep(tmp_path, lambda chain, _: chain.skip_to(7)).all() == ()


def test_pruning_stops_below_the_oldest_snapshot_and_what_is_not_counted(tmp_path: Path) -> None:
    """Whoever restores it needs the blocks above; statistics need their receipts."""

    def play(chain: TestChain, keeper: SnapshotKeeper) -> None:
        chain.skip_to(2_010)
        found = []
        for keep_blocks, counted in ((0, 2_010), (2_000, 3), (2_000, 2_010)):
            keeper.prune(keep_blocks, counted)
            found.append(chain.ledger.pruned_below)
        assert found == [0, 4, 11]

    keep(tmp_path, play, interval=0)


# --- taking the place of the old chain ---


def finished(data: Path, chain: TestChain) -> None:
    """Leave a complete restored chain beside the old one."""
    made = snapshot_at_head(chain)
    done: list[bool] = []
    restorer = DiskRestorer(data, chain.document, lambda: done.append(True))
    restoration = restorer.begin(made.manifest_bytes)
    while missing := restoration.missing(10):
        for number in missing:
            restoration.take(number, made.chunks[number])
    restoration.finish()
    restorer.done(restoration)
    assert done == [True]


def height_of(data: Path, chain: TestChain) -> int:
    """Open what lies in the place of the chain."""
    with open_leveldb(data / CHAIN_FOLDER) as store:
        return Ledger.open(store, chain.document).head.height


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with an old chain of height 2."""
    with open_leveldb(tmp_path / CHAIN_FOLDER) as store:
        TestChain(store=store).skip_to(2)
    return tmp_path


@pytest.fixture
def longer() -> TestChain:
    """Return the chain of the others."""
    chain = TestChain()
    chain.skip_to(9)
    return chain


def test_a_complete_chain_takes_the_place_of_the_old_one(data: Path, longer: TestChain) -> None:
    """Two renames, and nothing is left over."""
    finished(data, longer)
    assert height_of(data, longer) == 2
    settle(data)
    assert height_of(data, longer) == 9
    assert sorted(path.name for path in data.iterdir()) == [CHAIN_FOLDER]


def test_a_crash_between_the_two_renames_is_finished(data: Path, longer: TestChain) -> None:
    """The old chain is aside, the new one not in place yet: the next start puts it there."""
    finished(data, longer)
    (data / CHAIN_FOLDER).rename(data / OLD_FOLDER)
    settle(data)
    assert height_of(data, longer) == 9
    assert sorted(path.name for path in data.iterdir()) == [CHAIN_FOLDER]


def test_a_crash_after_the_renames_leaves_the_new_chain(data: Path, longer: TestChain) -> None:
    """What is left of the old one is thrown away."""
    finished(data, longer)
    (data / CHAIN_FOLDER).rename(data / OLD_FOLDER)
    (data / NEW_FOLDER).rename(data / CHAIN_FOLDER)
    settle(data)
    assert height_of(data, longer) == 9
    assert sorted(path.name for path in data.iterdir()) == [CHAIN_FOLDER]


def test_an_unfinished_chain_stays_aside_and_is_gone_on_with(data: Path, longer: TestChain) -> None:
    """The old chain is used meanwhile."""
    made = snapshot_at_head(longer)
    restorer = DiskRestorer(data, longer.document, lambda: None)
    restorer.begin(made.manifest_bytes).take(0, made.chunks[0])
    restorer.close()
    settle(data)
    assert height_of(data, longer) == 2
    again = DiskRestorer(data, longer.document, lambda: None)
    resumed = again.resume()
    assert resumed is not None
    assert (resumed.name, resumed.taken) == (made.name, 1)
    again.abandon()
    assert sorted(path.name for path in data.iterdir()) == [CHAIN_FOLDER]


def test_nothing_to_settle_changes_nothing(data: Path, longer: TestChain) -> None:
    """An ordinary start."""
    settle(data)
    assert height_of(data, longer) == 2
