"""The signer's record survives whatever happens to its process, and never lets anything go back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.statements import Commit, Prepare, ProposalHead, SignedPart, ViewChangeHead
from node.consensus.messages import UNSIGNED
from node.crypto.hashing import sha256
from node.errors import StorageError
from node.signer.contract import SigningRefused
from node.signer.local import HeldKeys, LocalSigner, position_of
from node.signer.record import Position, SigningRecord
from node.state.kv import MemoryStore, WriteBatch
from node.state.leveldb import open_leveldb
from tests.unit.consensus.desk import Desk
from tests.unit.signer.test_local import KEY

NETWORK = Desk().network
SIGNATURE = bytes(64)


def part(position: Position, content: int) -> SignedPart:
    """Return a statement at a position that says one of a few things."""
    epoch, height, view, step = position
    said = sha256(bytes([content]))
    match step:
        case 0:
            return ViewChangeHead(epoch, height, view, content, said, 0, UNSIGNED)
        case 1:
            return ProposalHead(epoch, height, view, said, 0, UNSIGNED)
        case 2:
            return Prepare(epoch, height, view, said, 0, UNSIGNED)
        case _:
            return Commit(epoch, height, view, said, 0, UNSIGNED)


class Crash(Exception):
    """The process is gone."""


class MortalStore(MemoryStore):
    """Dies at a write: before anything of it is there, or when all of it is."""

    def __init__(self) -> None:
        super().__init__()
        self.dies: str | None = None

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        assert sync, "a signature whose record is not durable"
        if self.dies == "before":
            raise Crash
        super().write(batch, sync=sync)
        if self.dies == "after":
            raise Crash


POSITIONS = st.tuples(st.integers(0, 1), st.integers(1, 3), st.integers(0, 2), st.integers(0, 3))
REQUESTS = st.lists(
    st.tuples(POSITIONS, st.integers(0, 2), st.sampled_from([None, "before", "after", "restart"])), max_size=60
)


@given(REQUESTS)
def test_no_two_statements_at_a_place_and_none_going_back_over_any_crashes(
    requests: list[tuple[Position, int, str | None]],
) -> None:
    """Whatever is asked, in whatever order, over kills before and after each write: what left never contradicts."""
    store = MortalStore()
    signer = LocalSigner(HeldKeys(KEY), NETWORK, store)
    handed_out: dict[Position, tuple[int, bytes]] = {}
    highest: Position = (0, 0, 0, 0)
    for position, content, fate in requests:
        if fate == "restart":
            signer = LocalSigner(HeldKeys(KEY), NETWORK, store)
            continue
        store.dies = fate
        wanted = part(position, content)
        assert position_of(wanted) == position
        try:
            signature = signer.sign_part(wanted)
        except SigningRefused:
            continue
        except Crash:
            signer = LocalSigner(HeldKeys(KEY), NETWORK, store)
            continue
        finally:
            store.dies = None
        said = (content, signature)
        assert handed_out.setdefault(position, said) == said
        assert position >= highest or position[:2] == highest[:2], "signed below what was signed"
        highest = max(highest, position)
    assert signer.last_position is None or signer.last_position >= highest or not handed_out


@given(st.lists(POSITIONS, unique=True, min_size=1, max_size=6), st.data())
def test_a_torn_tail_leaves_what_was_durable(
    tmp_path_factory: pytest.TempPathFactory, positions: list[Position], data: st.DataObject
) -> None:
    """LevelDB's log is cut anywhere inside the last write: the record is that of the write before."""
    folder: Path = tmp_path_factory.mktemp("torn") / "signer"
    positions.sort()
    with open_leveldb(folder) as store:
        record = SigningRecord(store)
        (log,) = folder.glob("*.log")
        sizes = [log.stat().st_size]
        for position in positions:
            record.append(position, (sha256(bytes(position)), SIGNATURE))
            sizes.append(log.stat().st_size)
    whole = data.draw(st.integers(0, len(positions) - 1))
    with log.open("r+b") as file:
        file.truncate(data.draw(st.integers(sizes[whole], sizes[whole + 1] - 1)))
    with open_leveldb(folder) as store:
        assert SigningRecord(store).last == (positions[whole - 1] if whole else None)


def test_a_position_without_its_statement_is_refused_and_so_is_all_below() -> None:
    """A restored record knows how far was signed, not what."""
    store = MemoryStore()
    SigningRecord(store).append((0, 7, 1, 2), None)
    signer = LocalSigner(HeldKeys(KEY), NETWORK, store)
    with pytest.raises(SigningRefused) as refusal:
        signer.sign_part(part((0, 7, 1, 2), 0))
    assert str(refusal.value) == "(0, 7, 1, 2) has signed something that a restored record does not know"
    with pytest.raises(SigningRefused) as refusal:
        signer.sign_part(part((0, 7, 1, 1), 0))
    assert str(refusal.value) == "(0, 7, 1, 1) lies before (0, 7, 1, 2), which was signed"
    signer.sign_part(part((0, 7, 1, 3), 0))
    assert signer.last_position == (0, 7, 1, 3)


def test_a_new_epoch_goes_before_height() -> None:
    """After a recovery the heights begin lower; the epoch is what counts first."""
    signer = LocalSigner(HeldKeys(KEY), NETWORK, MemoryStore())
    signer.sign_part(part((0, 100, 0, 3), 0))
    signer.sign_part(part((1, 90, 0, 2), 0))
    with pytest.raises(SigningRefused):
        signer.sign_part(part((0, 101, 0, 2), 0))


def test_a_strange_key_in_the_record_stops_the_validator() -> None:
    """Better no validator than one that misreads its record."""
    store = MemoryStore()
    batch = WriteBatch()
    batch.put(b"gx", b"")
    store.write(batch, sync=True)
    with pytest.raises(StorageError) as error:
        SigningRecord(store)
    assert str(error.value) == "the signer's record holds a key that is none of its own: 6778"
