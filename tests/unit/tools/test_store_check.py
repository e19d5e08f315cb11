"""`check-db` says the first wrong thing in real databases, and what to do about it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from node import codec
from node.chain.certificate import verify_consensus_signature
from node.chain.records.institution import Purpose
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.statements import Prepare
from node.chain.store import HEAD, BlockStore, StoredHead
from node.consensus.messages import SignsFrom
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import StorageError
from node.journal import Journal
from node.signer.local import STEP_OF_COMMIT
from node.signer.record import SigningRecord
from node.state.keys import Column
from node.state.kv import WriteBatch
from node.state.leveldb import open_leveldb
from tests.unit.chain.kit import SEG, UGTO, Key, TestChain, definition, genesis
from tools.store_check import FETCH_AGAIN, LISTEN_FIRST, RIGHT_GENESIS, Counts, Owner, StoreCheck, Stores, Wrong

BLOCKS = 6
"""A definition, then five batches of three."""
OWNER = Owner(SEG, (Key(SEG, Purpose.CONSENSUS, 0).public_key,))


def make_stores(folder: Path) -> None:
    """Write a chain, a journal and a signer's record as a validator leaves them."""
    with open_leveldb(folder / "chain") as store:
        chain = TestChain(store=store)
        chain.do("definition.publish", DefinitionPublish(definition(f"{UGTO}/x/1")), signer=UGTO)
        for number in range(BLOCKS - 1):
            ids = [sha256(bytes([number, index])) for index in range(3)]
            payload = CredentialIssue(f"{UGTO}/x/1", merkle.root(ids), len(ids), b"".join(ids))
            chain.do("credential.issue", payload, signer=UGTO)
    with open_leveldb(folder / "journal") as store:
        journal = Journal(store)
        journal.begin()
        journal.append(BLOCKS, [Prepare(0, BLOCKS, 0, bytes(32), 2, bytes(64))])
        journal.forget_below(BLOCKS + 1)
    with open_leveldb(folder / "signer") as store:
        SigningRecord(store).append((0, BLOCKS, 0, STEP_OF_COMMIT), (bytes(32), bytes(64)))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores that are whole; copied before anything is done to them."""
    folder = tmp_path_factory.mktemp("stores")
    make_stores(folder)
    return folder


@pytest.fixture
def data(original: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(original, tmp_path / "data"))


def look(data: Path, *, full: bool = False, chain_id: str | None = None) -> Counts:
    """Check stores as the command does. Raises: Wrong."""
    document = genesis() if chain_id is None else msgspec.structs.replace(genesis(), chain_id=chain_id)
    with (
        open_leveldb(data / "chain") as chain,
        open_leveldb(data / "journal") as journal,
        open_leveldb(data / "signer") as signer,
    ):
        stores = Stores(chain, journal, signer)
        check = StoreCheck(stores, document, OWNER, lambda *_: None, verify_consensus_signature)
        check.run(full=full)
        return check.counts


def wrong(data: Path, *, full: bool = False) -> tuple[str, str]:
    """Return sentence and advice."""
    with pytest.raises(Wrong) as found:
        look(data, full=full)
    return found.value.sentence, found.value.advice


def change(data: Path, name: str, *items: tuple[bytes, bytes | None]) -> None:
    """Write or delete records past those who own them."""
    batch = WriteBatch()
    for key, value in items:
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    with open_leveldb(data / name) as store:
        store.write(batch, sync=True)


def read(data: Path, key: bytes) -> bytes:
    """Return a record of the chain."""
    with open_leveldb(data / "chain") as store:
        value = store.get(key)
    assert value is not None
    return value


@pytest.mark.parametrize("full", [False, True])
def test_whole_stores_are_whole(data: Path, full: bool) -> None:
    """Everything was looked at, and nothing else is said."""
    counts = look(data, full=full)
    assert (counts.head, counts.blocks, counts.transactions, counts.certificates) == (
        BLOCKS,
        BLOCKS + 1,
        BLOCKS,
        BLOCKS,
    )
    assert (counts.executed, counts.own_vote, counts.notes) == (BLOCKS if full else 0, BLOCKS, [])
    assert counts.state_records > 10


def contents(data: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return every record of every store."""
    found = {}
    for name in ("chain", "journal", "signer"):
        with open_leveldb(data / name) as store:
            found[name] = list(store.iterate())
    return found


def outcome(data: Path) -> str:
    """Return what is said of stores: "" where they are whole."""
    try:
        look(data)
    except Wrong as found:
        return f"{found.sentence}. {found.advice}"
    except StorageError as unopened:  # not even LevelDB opened it: the command says it with the same advice
        return str(unopened)
    return ""


@pytest.mark.parametrize("store", ["chain", "journal", "signer"])
def test_a_flipped_bit_in_a_database_file_is_found(original: Path, tmp_path: Path, store: str) -> None:
    """In logs and tables, at many places: it is told, or it lay where nothing is stored and nothing has changed."""
    shutil.copytree(original, tmp_path / "reference")
    whole = contents(tmp_path / "reference")
    told = 0
    for path in sorted((original / store).iterdir()):
        size = path.stat().st_size
        if path.suffix not in (".log", ".ldb") or not size:
            continue
        for at in {size * part // 16 for part in range(1, 16)}:
            copy = Path(shutil.copytree(original, tmp_path / f"{path.name}-{at}"))
            damaged = bytearray(path.read_bytes())
            damaged[at] ^= 1 << (at % 8)
            (copy / store / path.name).write_bytes(damaged)
            said = outcome(copy)
            assert said or contents(copy) == whole
            told += bool(said)
    assert told >= 5


def swap_blocks(data: Path) -> None:
    """Put block 3 in the place of block 4."""
    change(data, "chain", (Column.BLOCK.at(4), read(data, Column.BLOCK.at(3))))


def forge_body(data: Path) -> None:
    """Take the transaction out of block 4."""
    with open_leveldb(data / "chain") as store:
        block = BlockStore(store).block(4)
    assert block is not None
    bare = type(block)(block.header, (), block.evidence, block.parent_certificate)
    change(data, "chain", (Column.BLOCK.at(4), codec.encode(bare)))


def forge_certificate(data: Path) -> None:
    """Change one signature of the certificate at the head."""
    value = bytearray(read(data, Column.CERTIFICATE.at(BLOCKS)))
    value[-1] ^= 1
    change(data, "chain", (Column.CERTIFICATE.at(BLOCKS), bytes(value)))


def forge_state(data: Path) -> None:
    """Change the last byte of a state record, not its leaf hash."""
    with open_leveldb(data / "chain") as store:
        key, value = next(iter(store.iterate(prefix=Column.STATE.value)))
    change(data, "chain", (key, value[:-1] + bytes([value[-1] ^ 1])))


def forge_leaf(data: Path) -> None:
    """Change the leaf hash of a state record."""
    with open_leveldb(data / "chain") as store:
        key, value = next(iter(store.iterate(prefix=Column.STATE.value)))
    change(data, "chain", (key, bytes([value[0] ^ 1]) + value[1:]))


def lower_head(data: Path) -> None:
    """Say that the head is one lower than the state is."""
    with open_leveldb(data / "chain") as store:
        header = BlockStore(store).header(BLOCKS - 1)
    assert header is not None
    stored = codec.decode(read(data, HEAD), StoredHead, bytes_max=1_024)
    change(data, "chain", (HEAD, codec.encode(StoredHead(BLOCKS - 1, header.hash(), stored.genesis_hash))))


def lose(*keys: bytes) -> Callable[[Path], None]:
    """Delete records of the chain."""
    return lambda data: change(data, "chain", *((key, None) for key in keys))


FORGERIES = [
    (swap_blocks, "block 4: its height in the header is 3 instead of 4"),
    (forge_body, "block 4: its transactions root is "),
    (forge_certificate, "bad_certificate: signature of "),
    (forge_state, "the state record "),
    (forge_leaf, "the state records come to root "),
    (lower_head, f"the state is at height {BLOCKS} with root "),
    (lose(Column.BLOCK.at(2)), f"block 2 is missing, the head is {BLOCKS}"),
    (lose(Column.HEADER.at(2)), "the header of height 2 is missing"),
    (lose(Column.RECEIPTS.at(2)), "the receipts of block 2 are missing"),
    (lose(Column.CERTIFICATE.at(2)), "the certificate of block 2 is missing"),
    (lose(Column.RECENT.at(2)), "block 2: its list of transaction ids is nothing instead of "),
    (lose(HEAD), "data/chain holds no chain"),
]


@pytest.mark.parametrize("forge,sentence", FORGERIES, ids=[sentence[:40] for _, sentence in FORGERIES])
def test_the_first_wrong_thing_is_said(data: Path, forge: Callable[[Path], None], sentence: str) -> None:
    """What no checksum sees because it was written so: each is held against what commits to it."""
    forge(data)
    found, advice = wrong(data)
    assert found.startswith(sentence)
    assert advice == FETCH_AGAIN


def test_a_lost_entry_of_the_index_is_found(data: Path) -> None:
    """A credential that could not be found by its id any more, and a transaction."""
    credential = sha256(bytes([0, 1]))
    with open_leveldb(data / "chain") as store:
        (key,) = (key for key, _ in store.iterate(prefix=Column.CREDENTIAL.key(credential)))
    value = read(data, key)
    change(data, "chain", (key, None))
    assert wrong(data)[0] == f"the index lacks the credential {credential.hex()} of block 2"
    change(data, "chain", (key, value))
    with open_leveldb(data / "chain") as store:
        key = next(key for key, _ in store.iterate(prefix=Column.TRANSACTION.value))
    change(data, "chain", (key, None))
    assert wrong(data)[0].startswith(f"transaction {key[1:].hex()}: its place in the index is nothing instead of (")


def test_another_network_is_no_damage(data: Path) -> None:
    """The genesis is to be put right; nobody is told to delete anything."""
    with pytest.raises(Wrong) as found:
        look(data, chain_id="other")
    assert found.value.sentence.startswith("data/chain belongs to the network ")
    assert found.value.advice == RIGHT_GENESIS


def test_an_older_signers_record_is_found(data: Path) -> None:
    """The chain holds our Commit of block 6; a record that ends at block 4 could sign another one."""
    shutil.rmtree(data / "signer")
    with open_leveldb(data / "signer") as store:
        SigningRecord(store).append((0, 4, 0, STEP_OF_COMMIT), (bytes(32), bytes(64)))
    sentence, advice = wrong(data)
    assert sentence == (
        "the signer's record ends at (epoch, height, view, step) (0, 4, 0, 3), and block 6 holds this validator's "
        "Commit (0, 6, 0, 3): it is an older copy, with which it could vote twice"
    )
    assert advice == LISTEN_FIRST


def test_an_older_journal_is_found(data: Path) -> None:
    """A journal that knows of nothing above height 4 has not seen what was promised at 6."""
    shutil.rmtree(data / "journal")
    with open_leveldb(data / "journal") as store:
        journal = Journal(store)
        journal.begin()
        journal.append(4, [Prepare(0, 4, 0, bytes(32), 2, bytes(64))])
    sentence, advice = wrong(data)
    assert sentence == (
        "the journal knows of heights up to 4, and block 6 holds a vote of this validator: it is an older copy, with "
        "which it could vote twice"
    )
    assert advice == LISTEN_FIRST


def test_a_validator_that_listened_is_whole(data: Path) -> None:
    """Journal and signer were lost together; from height 9 on it knows all again, whatever it voted before."""
    for name in ("journal", "signer"):
        shutil.rmtree(data / name)
    with open_leveldb(data / "journal") as store:
        Journal(store).append(BLOCKS + 1, [SignsFrom(BLOCKS + 3)])
    assert look(data).notes == []


def test_a_wiped_validator_is_told_to_listen(data: Path) -> None:
    """Without a journal nothing is wrong: it will listen first."""
    for name in ("journal", "signer"):
        shutil.rmtree(data / name)
    assert look(data).notes == ["the journal is not begun: as a validator this node listens before it signs"]


def test_a_damaged_journal_record_is_found(data: Path) -> None:
    """Its own sentence, and the advice for promises."""
    with open_leveldb(data / "journal") as store:
        Journal(store).append(BLOCKS + 1, [Prepare(0, BLOCKS + 1, 0, bytes(32), 2, bytes(64))])
        key, value = next(iter(store.iterate(prefix=Column.JOURNAL.key(b"\x01"))))
    change(data, "journal", (key, value[:-1]))
    sentence, advice = wrong(data)
    assert sentence.startswith(f"record 0 of height {BLOCKS + 1} in the journal is damaged")
    assert advice == LISTEN_FIRST
