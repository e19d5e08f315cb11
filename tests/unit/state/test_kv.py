"""The two stores give the same answers: in memory and on disk."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.state.kv import KeyValueStore, MemoryStore, WriteBatch, prefix_end
from node.state.leveldb import open_leveldb

KEYS = st.binary(min_size=1, max_size=3)
OPERATIONS = st.lists(st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=3))))


@pytest.fixture(params=["memory", "leveldb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    """Return each store in turn, empty."""
    opened: KeyValueStore = MemoryStore() if request.param == "memory" else open_leveldb(tmp_path / "db")
    yield opened
    opened.close()


def write(store: KeyValueStore, *operations: tuple[bytes, bytes | None]) -> None:
    """Write puts, and deletes (None), as one batch."""
    batch = WriteBatch()
    for key, value in operations:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    store.write(batch, sync=True)


def test_batch_keeps_its_order() -> None:
    """A batch yields what was put into it, in order; None deletes."""
    batch = WriteBatch()
    batch.put(b"b", b"1")
    batch.delete(b"a")
    assert (list(batch), len(batch)) == ([(b"b", b"1"), (b"a", None)], 2)


def test_last_word_in_a_batch_wins(store: KeyValueStore) -> None:
    """Put, delete and put of one key in one batch leave the last value."""
    write(store, (b"k", b"1"), (b"k", None), (b"k", b"2"), (b"l", b"3"), (b"l", None))
    assert (store.get(b"k"), store.get(b"l")) == (b"2", None)


def test_absent_key_is_none_and_empty_value_is_not(store: KeyValueStore) -> None:
    """An empty value is a value."""
    write(store, (b"k", b""))
    assert (store.get(b"k"), store.get(b"x")) == (b"", None)


@pytest.mark.parametrize(
    "range_of, expected",
    [
        ({}, [b"a", b"a\xff", b"a\xffz", b"b", b"ba", b"\xff", b"\xff\xff"]),
        ({"prefix": b"a"}, [b"a", b"a\xff", b"a\xffz"]),
        ({"prefix": b"a\xff"}, [b"a\xff", b"a\xffz"]),
        ({"prefix": b"\xff"}, [b"\xff", b"\xff\xff"]),  # no key ends the range
        ({"start": b"a\xff"}, [b"a\xff", b"a\xffz", b"b", b"ba", b"\xff", b"\xff\xff"]),  # start is included
        ({"stop": b"b"}, [b"a", b"a\xff", b"a\xffz"]),  # stop is not
        ({"prefix": b"a", "start": b"a\xff", "stop": b"a\xffz"}, [b"a\xff"]),
        ({"prefix": b"b", "start": b"a", "stop": b"c"}, [b"b", b"ba"]),  # the prefix is narrower
        ({"prefix": b"a", "start": b"b"}, []),
        ({"start": b"b", "stop": b"a"}, []),
    ],
)
def test_iteration_covers_prefix_and_range(
    store: KeyValueStore, range_of: dict[str, bytes], expected: list[bytes]
) -> None:
    """Keys come in byte order, in both directions, within prefix, start and stop."""
    keys = [b"\xff\xff", b"b", b"a\xffz", b"a", b"\xff", b"a\xff", b"ba"]
    write(store, *((key, key + b"!") for key in keys))
    prefix, start, stop = range_of.get("prefix", b""), range_of.get("start"), range_of.get("stop")
    forward = list(store.iterate(prefix=prefix, start=start, stop=stop))
    backward = list(store.iterate(prefix=prefix, start=start, stop=stop, reverse=True))
    assert forward == [(key, key + b"!") for key in expected]
    assert backward == forward[::-1]


def test_iteration_does_not_see_later_writes(store: KeyValueStore) -> None:
    """What is written during an iteration is not in it."""
    write(store, (b"a", b"1"), (b"b", b"2"))
    running = store.iterate()
    first = next(running)
    write(store, (b"b", b"changed"), (b"c", b"3"))
    assert [first, *running] == [(b"a", b"1"), (b"b", b"2")]


def test_close_may_be_repeated(store: KeyValueStore) -> None:
    """Closing twice is harmless."""
    store.close()
    store.close()


def test_copy_is_independent() -> None:
    """A copy of the memory store keeps its contents whatever happens to the original."""
    store = MemoryStore()
    write(store, (b"a", b"1"))
    twin = store.copy()
    write(store, (b"a", None), (b"b", b"2"))
    assert (list(twin.iterate()), twin.approximate_bytes()) == ([(b"a", b"1")], 2)


@pytest.mark.parametrize(
    "prefix, end",
    [(b"a", b"b"), (b"a\xff", b"b"), (b"a\xfe", b"a\xff"), (b"\xff\xff", None), (b"", None)],
)
def test_prefix_end_is_the_least_key_above(prefix: bytes, end: bytes | None) -> None:
    """0xff carries into the byte before it."""
    assert prefix_end(prefix) == end


@settings(max_examples=60)
@given(batches=OPERATIONS, prefix=st.binary(max_size=2), start=st.none() | KEYS, stop=st.none() | KEYS)
def test_stores_are_twins(
    batches: list[list[tuple[bytes, bytes | None]]], prefix: bytes, start: bytes | None, stop: bytes | None
) -> None:
    """After any batches both stores hold the same, also after the one on disk was opened again."""
    memory = MemoryStore()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        with open_leveldb(path) as disk:
            for operations in batches:
                write(memory, *operations)
                write(disk, *operations)
            expected = list(memory.iterate(prefix=prefix, start=start, stop=stop))
            assert list(disk.iterate(prefix=prefix, start=start, stop=stop)) == expected
        with open_leveldb(path) as disk:
            assert list(disk.iterate()) == list(memory.iterate())
