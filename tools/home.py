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
from node.keystore import Keystore


def check_empty(folder: Path) -> None:
    """Refuse to write into a folder that holds something. Raises: ConfigError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty; choose a new folder")


def write_home(
    home: Path,
    *,
    genesis_text: str,
    node: Keystore,
    rpc_listen: str,
    p2p_listen: str,
    metrics_listen: str,
    peers: Mapping[str, str],
    are_keys_unused: bool,
) -> None:
    """Write a home whose node dials `peers` (addresses by institution).

    `are_keys_unused`: they have signed nothing yet, nowhere; else a validator listens before it signs.
    Raises: ConfigError naming the option that cannot be; then nothing was written.
    """
    text = render_config(
        institution=node.institution,
        rpc_listen=rpc_listen,
        p2p_listen=p2p_listen,
        metrics_listen=metrics_listen,
        peers=peers,
    )
    parse_config(text.encode())
    (home / DATA_FOLDER).mkdir(parents=True)
    (home / CONFIG_FILE).write_text(text, encoding="utf-8")
    (home / GENESIS_FILE).write_text(genesis_text, encoding="utf-8")
    node.save(home / NODE_KEYSTORE_FILE)
    if are_keys_unused:
        (home / FRESH_KEY_FILE).touch()
