"""A home is read strictly and held by one process at a time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.config import load_config
from node.errors import ConfigError
from node.home import Home, locked, read_home
from tools import testnet


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> testnet.Testnet:
    """Return four homes that nobody runs."""
    return testnet.write_testnet(tmp_path_factory.mktemp("testnet") / "network", validators=4, base_port=8_600)


def read(folder: Path) -> Home:
    """Read a home as a node does."""
    return read_home(folder, load_config(folder), None)


def test_home_holds_what_a_node_is_made_from(network: testnet.Testnet) -> None:
    """Options, genesis and keys belong together."""
    node = network.nodes[0]
    home = read(node.home)
    assert (home.config.node.institution, home.keystore.institution) == (node.institution, node.institution)
    assert home.genesis == network.document


def test_keys_of_another_institution_are_refused(network: testnet.Testnet) -> None:
    """A node never speaks for somebody else by mistake."""
    first, second = network.nodes[:2]
    with pytest.raises(ConfigError) as refused:
        read_home(first.home, load_config(second.home), None)
    assert str(refused.value) == (
        f"{first.home}/keys/node.json is the keystore of {first.institution}, "
        f"node.institution in the configuration is {second.institution}"
    )


def test_genesis_with_a_wrong_hash_is_refused(network: testnet.Testnet) -> None:
    """The hash in the file is compared with the one that the document makes."""
    node = network.nodes[2]
    path = node.home / "genesis.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    found, document["genesis_hash"] = document["genesis_hash"], "00" * 32
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read(node.home)
    assert str(refused.value) == f"{path}: genesis_hash is {'00' * 32}, the document makes {found}"


def test_missing_or_broken_genesis_is_named(network: testnet.Testnet) -> None:
    """The sentence names the file."""
    path = network.nodes[3].home / "genesis.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read(network.nodes[3].home)
    assert str(refused.value).startswith(f"{path}: ")
    path.unlink()
    with pytest.raises(ConfigError) as refused:
        read(network.nodes[3].home)
    assert str(refused.value) == f"{path} cannot be read: No such file or directory"


HOLD = """
import sys
from pathlib import Path

from node.home import locked

with locked(Path(sys.argv[1])):
    print(1, flush=True)
    sys.stdin.read()
"""


def test_home_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    """A second start is refused with a sentence; a holder that was killed leaves nothing behind."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"1\n"
        with pytest.raises(ConfigError) as refused, locked(tmp_path):
            pass
        assert str(refused.value) == f"a node runs on {tmp_path} already; stop it first, or give another --home"
        holder.kill()
        holder.wait()
    with locked(tmp_path):
        pass


def test_home_that_does_not_exist_cannot_be_held(tmp_path: Path) -> None:
    """Nor is it made by trying."""
    with pytest.raises(ConfigError) as refused, locked(tmp_path / "none"):
        pass
    assert str(refused.value) == f"{tmp_path}/none/node.lock cannot be written: No such file or directory"
