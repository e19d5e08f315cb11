"""A consensus key is moved out of its node's home whole, and a config.toml is changed in two lines."""

from pathlib import Path

import pytest

from node.config import load_config
from node.errors import ConfigError
from node.keystore import Keystore
from node.signer.record import SigningRecord
from node.state.leveldb import open_leveldb
from tools.signer_home import move_key, read_standing, set_options
from tools.testnet import write_testnet


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home whose key has signed something."""
    made = write_testnet(tmp_path / "net", validators=4, base_port=8_600).nodes[0].home
    with open_leveldb(made / "data" / "signer") as store:
        SigningRecord(store).append((0, 7, 1, 3), (bytes(32), bytes(64)))
    return made


def test_key_and_record_are_moved_and_nothing_of_them_stays(home: Path, tmp_path: Path) -> None:
    """The node's home keeps its node key and says where its signer is; the signer's has the rest."""
    output = tmp_path / "signer"
    before = Keystore.open(home / "keys" / "node.json")
    (key,) = before.signers("consensus")
    assert move_key(home, output, load_config(home), before, None) == (key.public_key,)
    after = Keystore.open(home / "keys" / "node.json")
    assert after.signers("consensus") == ()
    assert after.signers("node")[0].public_key == before.signers("node")[0].public_key
    assert not (home / "data" / "signer").exists()
    options = load_config(home).signer
    assert (options.kind, options.socket) == ("socket", str(output / "signer.sock"))
    held = Keystore.open(output / "keys" / "node.json")
    assert [part.public_key for part in held.public_parts()] == [key.public_key.hex()]
    standing = read_standing(output, load_config(output))
    assert (standing.held_by, standing.last) == ("data/signer, nobody runs", (0, 7, 1, 3))
    assert standing.public_keys == (key.public_key,)
    with pytest.raises(ConfigError) as error:
        move_key(home, tmp_path / "again", load_config(home), after, None)
    assert str(error.value) == (f'{home / "config.toml"}: signer.kind is "socket"; only a local key can be moved')


def test_only_the_named_options_change(tmp_path: Path) -> None:
    """Comments, order and other tables stay; a table that is missing is added."""
    path = tmp_path / "config.toml"
    path.write_text('# mine\n[node]\ninstitution = "a.mx"\n[signer]\n# who\nkind = "local"\n[log]\nlevel = "info"\n')
    set_options(path, "signer", {"kind": "socket", "socket": "/run/s"})
    assert path.read_text() == (
        '# mine\n[node]\ninstitution = "a.mx"\n[signer]\nsocket = "/run/s"\n# who\nkind = "socket"\n'
        '[log]\nlevel = "info"\n'
    )
    path.write_text('[node]\ninstitution = "a.mx"\n')
    set_options(path, "signer", {"kind": "socket"})
    assert path.read_text() == '[node]\ninstitution = "a.mx"\n\n[signer]\nkind = "socket"\n'


def test_a_change_that_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    """The old file stays."""
    path = tmp_path / "config.toml"
    path.write_text('[node]\ninstitution = "a.mx"\n')
    with pytest.raises(ConfigError):
        set_options(path, "signer", {"kind": "paper"})
    assert path.read_text() == '[node]\ninstitution = "a.mx"\n'
