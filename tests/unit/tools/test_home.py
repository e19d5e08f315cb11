"""What `pila init` says about the keys of a home."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from node.config import FRESH_KEY_FILE, NODE_KEYSTORE_FILE
from tools.pila import main


def pila(*arguments: object) -> None:
    """Run a command that must succeed."""
    ended = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert ended.exit_code == 0, ended.output


@pytest.mark.parametrize("extra,is_fresh", [((), False), (("--unused-keys",), True)])
def test_existing_keys_are_not_taken_for_unused(tmp_path: Path, extra: tuple[str, ...], is_fresh: bool) -> None:
    """They may have voted from another home: only the operator can say that they have not; new ones have not."""
    pila("testnet", "--output", tmp_path / "net")
    genesis, keys = tmp_path / "net" / "genesis.json", tmp_path / "net" / "node0" / NODE_KEYSTORE_FILE
    name = "seg.guanajuato.gob.mx"
    pila("init", "--home", tmp_path / "new", "--genesis", genesis, "--institution", name)
    pila(
        "init", "--home", tmp_path / "old", "--genesis", genesis, "--institution", name, "--node-keystore", keys, *extra
    )
    assert (tmp_path / "new" / FRESH_KEY_FILE).exists()
    assert (tmp_path / "old" / FRESH_KEY_FILE).exists() is is_fresh
