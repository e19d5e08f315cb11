"""A node's home on disk: config.toml, genesis.json, keys/node.json."""

from collections.abc import Mapping
from pathlib import Path

from node.config import (
    CONFIG_FILE,
    DATA_FOLDER,
    FRESH_KEY_FILE,
    GENESIS_FILE,
    NODE_KEYSTORE_FILE,
    parse_config,
    render_config,
)
from node.errors import ConfigError
from node.keystore import write_private
from node.primitives import InstitutionId


def check_empty(folder: Path) -> None:
    """Refuse to write into a folder that holds something. Raises: ConfigError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; choose a new folder")


def write_home(
    home: Path,
    *,
    institution: InstitutionId,
    genesis_text: str,
    node_keystore: str,
    rpc_listen: str,
    p2p_listen: str,
    metrics_listen: str,
    peers: Mapping[str, str],
    are_keys_unused: bool,
) -> None:
    """Write a home whose node dials `peers` (addresses by institution).

    `node_keystore` is the text of keys/node.json, sealed or not. `are_keys_unused`: they have signed nothing
    yet, nowhere; else a validator listens before it signs.
    Raises: ConfigError naming the option that cannot be; then nothing was written.
    """
    text = render_config(
        institution=institution,
        rpc_listen=rpc_listen,
        p2p_listen=p2p_listen,
        metrics_listen=metrics_listen,
        peers=peers,
    )
    parse_config(text.encode())
    (home / DATA_FOLDER).mkdir(parents=True)
    (home / CONFIG_FILE).write_text(text, encoding="utf-8")
    (home / GENESIS_FILE).write_text(genesis_text, encoding="utf-8")
    write_private(home / NODE_KEYSTORE_FILE, node_keystore)
    if are_keys_unused:
        (home / FRESH_KEY_FILE).touch()
