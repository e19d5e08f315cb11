"""The store on disk when the disk is corrupt, full, taken, or the process dies."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from node.errors import StorageError
from node.state.kv import WriteBatch
from node.state.leveldb import LevelDbStore, open_leveldb
from node.state.world_state import StateStore
from tests.unit.state.kit import commit, records_of

WRITER = """
import sys
from pathlib import Path
from node.state.kv import WriteBatch
from node.state.leveldb import open_leveldb

with open_leveldb(Path(sys.argv[1])) as store:
    for number in range(10**9):
        batch = WriteBatch()
        batch.put(b"n", number.to_bytes(8, "big"))
        for part in range(20):
            batch.put(number.to_bytes(8, "big") + bytes([part]), bytes(200))
        store.write(batch, sync=number % 2 == 0)
        print(number, flush=True)
"""

LIMITED = """
import resource, signal, sys
from pathlib import Path
from node.errors import StorageError
from node.state.leveldb import open_leveldb
from node.state.world_state import StateStore
from tests.unit.state.kit import commit

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
with open_leveldb(Path(sys.argv[1])) as store:
    state = StateStore.open(store)
    for height in range(10**6):
        before = (state.root, state.height, state.key_count, state.get("acc/0"))
        try:
            commit(state, store, {f"acc/{height}": bytes(4_000)}, height)
        except StorageError as error:
            assert (state.root, state.height, state.key_count, state.get("acc/0")) == before
            print(state.root.hex(), state.height, error)
            break
    try:
        commit(state, store, {"acc/x": b"1"}, state.height + 1)
    except StorageError as error:
        print(error)
"""


def put(store: LevelDbStore, key: bytes, value: bytes) -> None:
    """Write one pair, synced."""
    batch = WriteBatch()
    batch.put(key, value)
    store.write(batch, sync=True)


def flip(path: Path, offset: int) -> None:
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_store_keeps_what_was_written(tmp_path: Path) -> None:
    """What one opening wrote the next one reads."""
    with open_leveldb(tmp_path / "db") as store:
        put(store, b"a", b"1")
    with open_leveldb(tmp_path / "db") as store:
        assert store.get(b"a") == b"1"


def test_second_open_of_one_folder_is_refused(tmp_path: Path) -> None:
    """A folder that is held says so in one sentence, and stays usable for its holder."""
    path = tmp_path / "db"
    with open_leveldb(path) as store:
        with pytest.raises(StorageError) as refused:
            open_leveldb(path)
        assert str(refused.value).startswith(f"the database in {path} is in use by another process: ")
        put(store, b"a", b"1")
        assert store.get(b"a") == b"1"


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A parent that is no folder gives a sentence with the path."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as refused:
        open_leveldb(tmp_path / "file" / "db")
    assert str(refused.value).startswith(f"cannot open the database in {tmp_path / 'file' / 'db'}: ")


def test_flipped_bit_in_the_log_stops_the_opening(tmp_path: Path) -> None:
    """One bit turned in the log is never a silent loss of the batches behind it."""
    path = tmp_path / "db"
    with open_leveldb(path) as store:
        for number in range(100):
            put(store, b"k%d" % number, bytes(50))
    [log] = path.glob("*.log")
    flip(log, log.stat().st_size // 2)
    with pytest.raises(StorageError) as refused:
        open_leveldb(path)
    assert str(refused.value).startswith(f"the database in {path} is corrupt: ")


def test_flipped_bit_in_a_table_is_never_served(tmp_path: Path) -> None:
    """Every read of a table with one bit turned is right or a StorageError."""
    path = tmp_path / "db"
    with open_leveldb(path) as store:
        for number in range(500):
            put(store, b"k%03d" % number, b"%d" % number * 20)
    open_leveldb(path).close()  # opening moves the log into a table
    [table] = path.glob("*.ldb")
    flip(table, table.stat().st_size // 4)
    refusals = []
    with open_leveldb(path) as store:
        for number in range(500):
            try:
                found = store.get(b"k%03d" % number)
            except StorageError as error:
                refusals.append(str(error))
            else:
                assert found == b"%d" % number * 20
        with pytest.raises(StorageError):
            list(store.iterate())
    assert refusals
    assert all(refusal.startswith(f"cannot read from {path}: ") for refusal in refusals)


def test_state_with_a_flipped_bit_does_not_open(tmp_path: Path) -> None:
    """A state whose tables are corrupt stops at opening, not at some later read."""
    path = tmp_path / "db"
    with open_leveldb(path) as store:
        commit(StateStore.open(store), store, records_of(500), 0)
    open_leveldb(path).close()
    [table] = path.glob("*.ldb")
    flip(table, table.stat().st_size // 4)
    with open_leveldb(path) as store, pytest.raises(StorageError):
        StateStore.open(store)


def test_closed_store_answers_with_a_storage_error(tmp_path: Path) -> None:
    """Use after closing is a sentence, not a crash."""
    store = open_leveldb(tmp_path / "db")
    store.close()
    for use in (lambda: store.get(b"a"), lambda: put(store, b"a", b"1"), lambda: list(store.iterate())):
        with pytest.raises(StorageError):
            use()


def test_full_disk_changes_nothing_in_memory_and_loses_nothing(tmp_path: Path) -> None:
    """Given a limit on file size, when a block's write fails, then the state is as before, and reopens so."""
    path = tmp_path / "db"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], check=True, capture_output=True, text=True, timeout=120
    )
    first, second = done.stdout.splitlines()
    found = re.fullmatch(r"([0-9a-f]{64}) (\d+) cannot write to .*: .*", first)
    assert found is not None, first
    assert second.startswith(f"{path} takes no more writes since one failed: ")
    with open_leveldb(path) as store:
        state = StateStore.open(store)
        assert (state.root.hex(), state.height) == (found[1], int(found[2]))
        assert state.height > 10
        commit(state, store, {"acc/x": b"1"}, state.height + 1)


@pytest.mark.parametrize("writes", [1, 40, 400])
def test_kill_loses_no_acknowledged_batch(tmp_path: Path, writes: int) -> None:
    """After kill -9 in the midst of writing every acknowledged batch is there, and each is whole."""
    path = tmp_path / "db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(writes):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    acknowledged = [int(line) for line in writer.stdout.read().splitlines() if line]
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    last_acknowledged = acknowledged[-1] if acknowledged else writes - 1
    with open_leveldb(path) as store:
        last = int.from_bytes(store.get(b"n") or b"", "big")
        assert last >= last_acknowledged
        for number in range(last + 1):
            whole = list(store.iterate(prefix=number.to_bytes(8, "big")))
            assert whole == [(number.to_bytes(8, "big") + bytes([part]), bytes(200)) for part in range(20)]
