"""What commands share that sign as a validator: where its consensus keys lie, and how a transaction is sent."""

from pathlib import Path
from typing import Any

from node.config import NODE_KEYSTORE_FILE, load_config
from node.keystore import read_keystore_file
from node.signer.contract import ConsensusKeys
from node.signer.opening import open_keys
from tools.console import cosign_option, keystore_option, open_keystore, passphrase_option, read_passphrase, rpc_option


def signing_options(function: Any) -> Any:  # noqa: ANN401 -- a stack of click's decorators
    """Options of every command that sends a transaction."""
    for option in (rpc_option, cosign_option, passphrase_option, keystore_option()):
        function = option(function)
    return function


def consensus_keys(home: Path, passphrase_file: Path | None) -> tuple[ConsensusKeys, str]:
    """Open the consensus keys of a home. Raises: ConfigError."""
    config = load_config(home)
    path = home / NODE_KEYSTORE_FILE
    sealed = path.exists() and read_keystore_file(path).kdf is not None
    passphrase = read_passphrase(path, passphrase_file) if sealed else None
    return open_keys(home, config.signer, open_keystore(path, passphrase_file), passphrase), config.node.institution
