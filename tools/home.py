"""A node's home on disk: config.toml, genesis.json, keys/node.json."""

from collections.abc import Mapping
from pathlib import Path

from node.config import (
    CONFIG_FILE,
    GENESIS_FILE,
    NODE_KEYSTORE_FILE,
    Config,
    MetricsConfig,
    NodeConfig,
    P2pConfig,
    PeerConfig,
    RpcConfig,
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
    institution: str,
    genesis_text: str,
    node: Keystore,
    rpc_listen: str,
    p2p_listen: str,
    metrics_listen: str,
    peers: Mapping[str, str],
) -> None:
    """Write a home whose node dials `peers` (addresses by institution).

    Raises: ConfigError naming the option that cannot be.
    """
    config = Config(
        NodeConfig(institution),
        RpcConfig(rpc_listen),
        P2pConfig(p2p_listen, tuple(PeerConfig(name, address) for name, address in peers.items())),
        MetricsConfig(metrics_listen),
    )
    text = render_config(config)
    parse_config(text.encode())
    home.mkdir(parents=True, exist_ok=True)
    (home / CONFIG_FILE).write_text(text, encoding="utf-8")
    (home / GENESIS_FILE).write_text(genesis_text, encoding="utf-8")
    (home / "data").mkdir()
    node.save(home / NODE_KEYSTORE_FILE)
