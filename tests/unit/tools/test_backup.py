"""A backup is whole or refused, and a home made of one never says that its keys are fresh."""

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from node.chain.ledger import Ledger
from node.config import DATA_FOLDER
from node.control import read_backup_time
from node.errors import ConfigError, StorageError
from node.home import read_genesis
from node.signer.record import SigningRecord
from node.state.leveldb import open_leveldb
from tools.backup import Manifest, check_backup, make_backup, restore_backup
from tools.testnet import write_testnet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home at height 0 whose key has signed something, as a crash could leave it."""
    made = write_testnet(tmp_path / "net", validators=4, base_port=8_600).nodes[0].home
    with open_leveldb(made / DATA_FOLDER / "chain") as store:
        Ledger.open(store, read_genesis(made))
    with open_leveldb(made / DATA_FOLDER / "signer") as store:
        SigningRecord(store).append((0, 1, 2, 3), (bytes(32), bytes(64)))
    (made / "keys" / "node.json.new").write_text("half a file")
    return made


def test_what_is_restored_is_what_was_backed_up_and_marked(home: Path, tmp_path: Path) -> None:
    """Same options, genesis, keys and chain; no journal, no statement of fresh keys, a record that goes on above."""
    manifest, was_running = make_backup(home, tmp_path / "b.tar")
    assert (was_running, manifest.height, manifest.signed) == (False, 0, (0, 1, 2, 3))
    assert read_backup_time(home) is not None
    target = tmp_path / "restored"
    assert restore_backup(tmp_path / "b.tar", target) == manifest
    for name in ("config.toml", "genesis.json", "keys/node.json"):
        assert (target / name).read_bytes() == (home / name).read_bytes()
        assert (target / name).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in (target / "keys").iterdir()) == ["node.json"]
    assert sorted(path.name for path in (target / DATA_FOLDER).iterdir()) == ["chain", "restored", "signer"]
    with open_leveldb(target / DATA_FOLDER / "signer") as store:
        record = SigningRecord(store)
        assert (record.last, record.at((0, 1, 2, 3))) == ((0, 1, 2, 3), None)


def rewritten(path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write an archive anew with changed members."""
    with tarfile.open(path) as archive:
        found = [(info.name, archive.extractfile(info).read()) for info in archive]
    with tarfile.open(path, "w") as archive:
        for name, data in found:
            changed = change(name, data)
            if changed is not None:
                info = tarfile.TarInfo(changed[0])
                info.size = len(changed[1])
                archive.addfile(info, io.BytesIO(changed[1]))


DAMAGES: dict[str, tuple[Callable[[str, bytes], tuple[str, bytes] | None], str]] = {
    "other genesis": (
        lambda name, data: (name, data + b" " if name == "genesis.json" else data),
        "genesis.json is damaged: it is not what the manifest says",
    ),
    "no manifest": (
        lambda name, data: None if name == "manifest.json" else (name, data),
        "is no backup, or only the beginning of one: its manifest is missing",
    ),
    "one member too few": (
        lambda name, data: None if name == "keys/node.json" else (name, data),
        "its members are not those of its manifest",
    ),
    "a way out": (
        lambda name, data: (
            ("../evil", data)
            if name == "keys/node.json"
            else (name, data.replace(b'"keys/node.json"', b'"../evil"') if name == "manifest.json" else data)
        ),
        "'../evil' has no place in a backup",
    ),
    "another format": (
        lambda name, data: (
            name,
            data.replace(b"pila-backup/1", b"pila-backup/9") if name == "manifest.json" else data,
        ),
        "format 'pila-backup/9', this program reads 'pila-backup/1'",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_whole_is_refused_before_anything_is_written(home: Path, tmp_path: Path, name: str) -> None:
    """One sentence with the file; no home."""
    change, sentence = DAMAGES[name]
    path = tmp_path / "b.tar"
    make_backup(home, path)
    rewritten(path, change)
    with pytest.raises(ConfigError) as error:
        restore_backup(path, tmp_path / "restored")
    assert str(error.value).startswith(f"{path}")
    assert sentence in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "net"]


def test_a_chain_that_is_another_than_the_manifest_says_is_refused(home: Path, tmp_path: Path) -> None:
    """Even where every hash in the archive fits."""
    path = tmp_path / "b.tar"
    made, _ = make_backup(home, path)
    was = f'"block_hash": "{made.block_hash}'.encode()
    rewritten(
        path,
        lambda name, data: (
            name,
            data.replace(was, b'"block_hash": "' + b"00" * 32) if name == "manifest.json" else data,
        ),
    )
    with pytest.raises(StorageError) as error:
        restore_backup(path, tmp_path / "restored")
    assert str(error.value).startswith(f"the backup is damaged: its chain ends at 0 ({made.block_hash})")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "net"]


def test_a_backup_is_never_overwritten(home: Path, tmp_path: Path) -> None:
    """And a file that cannot be written leaves nothing."""
    path = tmp_path / "b.tar"
    path.write_bytes(b"precious")
    with pytest.raises(ConfigError) as error:
        make_backup(home, path)
    assert str(error.value) == f"{path} exists; a backup is never overwritten"
    with pytest.raises(ConfigError) as error:
        make_backup(home, tmp_path / "nowhere" / "b.tar")
    assert "cannot be written: No such file or directory" in str(error.value)


def test_a_home_without_a_chain_is_no_subject(home: Path, tmp_path: Path) -> None:
    """A signer's home, say; and none is made there."""
    shutil.rmtree(home / DATA_FOLDER / "chain")
    with pytest.raises(ConfigError) as error:
        make_backup(home, tmp_path / "b.tar")
    assert str(error.value) == f"{home} holds no chain; of a signer's home copy config.toml, genesis.json and keys/"
    assert not (home / DATA_FOLDER / "chain").exists()


def test_only_the_beginning_of_a_file_is_no_backup(home: Path, tmp_path: Path) -> None:
    """Wherever it was cut off."""
    path = tmp_path / "b.tar"
    make_backup(home, path)
    assert isinstance(check_backup(path), Manifest)
    whole = path.read_bytes()
    for size in (0, 1, 700, len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError):
            check_backup(path)
