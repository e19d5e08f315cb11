"""Opens the consensus keys that a home's configuration names; every failure is a sentence for the operator."""

import os
from pathlib import Path
from typing import Final

from node.chain.records.institution import Purpose
from node.config import NODE_KEYSTORE_FILE, SignerConfig
from node.errors import ConfigError
from node.keystore import Keystore, destroy_key
from node.signer.contract import ConsensusKeys
from node.signer.local import HeldKeys
from node.signer.token import TokenAddress, TokenKeys

PIN_VARIABLE: Final = "PILA_SIGNER_PIN"


def open_keys(folder: Path, options: SignerConfig, keystore: Keystore, passphrase: bytes | None) -> ConsensusKeys:
    """Open the keys that lie in this home's keystore or in its token.

    They sign whatever they are given: for consensus only behind a `LocalSigner`; for what a key says of
    itself (its rotation, its activation) directly. `passphrase` seals the keystore anew when a key goes.
    Raises: ConfigError: no such keys here, or the token does not open.
    """
    if options.module:
        return TokenKeys(token_address(folder, options), read_pin(folder, options))
    signers = keystore.signers(Purpose.CONSENSUS)
    if not signers:
        raise ConfigError(f"{folder / NODE_KEYSTORE_FILE} holds no consensus key")
    return HeldKeys(*signers, wipe=lambda key: destroy_key(folder / NODE_KEYSTORE_FILE, key, passphrase))


def token_address(folder: Path, options: SignerConfig) -> TokenAddress:
    """Return where the token is."""
    return TokenAddress(str(folder / options.module), options.token, options.key_label)


def read_pin(folder: Path, options: SignerConfig) -> str:
    """Return the token's PIN from the file that the configuration names, else from the environment.

    Raises: ConfigError.
    """
    if options.pin_file:
        path = folder / options.pin_file
        try:
            return path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"signer.pin_file: {path} cannot be read: {error}") from None
    if PIN_VARIABLE not in os.environ:
        raise ConfigError(f"the token {options.token} needs its PIN: set signer.pin_file or {PIN_VARIABLE}")
    return os.environ[PIN_VARIABLE]
