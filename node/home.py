"""A node's home on disk as the node reads it, and the lock that only one process holds.

Source: INTERFACE §2, `pila start`.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.chain.genesis import genesis_hash
from node.chain.genesis_document import GenesisDocument
from node.chain.genesis_json import parse_document
from node.config import GENESIS_FILE, LOCK_FILE, NODE_KEYSTORE_FILE, Config
from node.errors import ConfigError
from node.keystore import Keystore


@contextlib.contextmanager
def locked(home: Path, *, name: str = LOCK_FILE, whose: str = "a node") -> Iterator[None]:
    """Hold the home for this process; the kernel lets go of it however the process ends.

    A node and a signer's process (`name`, `whose`) may run on one home. Raises: ConfigError.
    """
    path = home / name
    try:
        file = path.open("a+b")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{whose} runs on {home} already; stop it first, or give another --home") from None
        yield


@dataclass(frozen=True, slots=True)
class Home:
    """What a node is made from."""

    folder: Path
    config: Config
    genesis: GenesisDocument
    keystore: Keystore
    passphrase: bytes | None = field(default=None, repr=False)
    """What opened the keystore, if it is sealed."""


def read_home(folder: Path, config: Config, passphrase: bytes | None) -> Home:
    """Read genesis and keys. Raises: ConfigError naming the file."""
    genesis = read_genesis(folder)
    keystore = Keystore.open(folder / NODE_KEYSTORE_FILE, passphrase)
    if keystore.institution != config.node.institution:
        raise ConfigError(
            f"{folder / NODE_KEYSTORE_FILE} is the keystore of {keystore.institution}, "
            f"node.institution in the configuration is {config.node.institution}"
        )
    return Home(folder, config, genesis, keystore, passphrase)


def read_genesis(folder: Path) -> GenesisDocument:
    """Read a home's genesis document and check the hash that stands in it. Raises: ConfigError naming the file."""
    path = folder / GENESIS_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    try:
        genesis, claimed = parse_document(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    found = genesis_hash(genesis)
    if claimed is not None and claimed != found:
        raise ConfigError(f"{path}: genesis_hash is {claimed.hex()}, the document makes {found.hex()}")
    return genesis
