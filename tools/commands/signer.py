"""`pila signer run | show | init`: the consensus key in a process of its own."""

from pathlib import Path

import click

from node.config import NODE_KEYSTORE_FILE, Config, load_config
from node.keystore import Keystore, KeystoreKind, read_keystore_file
from tools.console import command, home_option, passphrase_option, read_passphrase, say


@click.group()
def signer() -> None:
    """The consensus key in a process of its own."""


def open_node_keystore(home: Path, config: Config, passphrase_file: Path | None) -> tuple[Keystore, bytes | None]:
    """Open a home's keystore and return it with its passphrase; an empty one where the key lies in a token."""
    path = home / NODE_KEYSTORE_FILE
    if config.signer.module and not path.exists():
        return Keystore.new(KeystoreKind.NODE, config.node.institution, {}, entropy=b""), None
    sealed = read_keystore_file(path).kdf is not None
    passphrase = read_passphrase(path, passphrase_file) if sealed else None
    return Keystore.open(path, passphrase), passphrase


@command(signer, "run")
@home_option
@click.option(
    "--socket", type=click.Path(path_type=Path, dir_okay=False), help="Default: signer.socket of config.toml."
)
@passphrase_option
def run(home: Path, socket: Path | None, passphrase_file: Path | None) -> None:
    """Hold the consensus key of a home and sign for its node until SIGINT or SIGTERM.

    The home may be the node's own, or one that `pila signer init` made. The key lies in keys/node.json, or in a
    token where signer.module is set; the record of what it has signed in data/signer.
    """
    from node.chain.certificate import Network
    from node.chain.genesis import genesis_hash
    from node.config import DATA_FOLDER
    from node.home import locked, read_genesis
    from node.log import configure
    from node.signer.local import LocalSigner
    from node.signer.opening import open_keys
    from node.signer.process import SignerProcess
    from node.state.leveldb import open_leveldb
    from tools.signer_home import SIGNER_LOCK

    config = load_config(home)
    configure(config.log.level)
    genesis = read_genesis(home)
    network = Network(genesis.chain_id, genesis_hash(genesis))
    keystore, passphrase = open_node_keystore(home, config, passphrase_file)
    keys = open_keys(home, config.signer, keystore, passphrase)
    with locked(home, name=SIGNER_LOCK, whose="a signer"):
        (home / DATA_FOLDER).mkdir(exist_ok=True)
        with open_leveldb(home / DATA_FOLDER / "signer", cache_bytes=2**20) as store:
            SignerProcess(LocalSigner(keys, network, store), network, socket or home / config.signer.socket).run()


@command(signer, "show")
@home_option
def show(home: Path) -> None:
    """Show the keys and the last position signed, from whoever holds the record now: signer, node, or the disk."""
    from tools.signer_home import read_standing

    standing = read_standing(home, load_config(home))
    last = standing.last
    position = None if last is None else dict(zip(("epoch", "height", "view", "step"), last, strict=True))
    keys = [key.hex() for key in standing.public_keys]
    words = "nothing" if last is None else "epoch {}, height {}, view {}, step {}".format(*last)
    say(
        {"held_by": standing.held_by, "public_keys": keys, "last": position},
        "\n".join([f"Record: {standing.held_by}", *(f"Key:    {key}" for key in keys), f"Signed: {words}"]),
    )


@command(signer, "init")
@home_option
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The signer's home.",
)
@passphrase_option
def init(home: Path, output: Path, passphrase_file: Path | None) -> None:
    """Move the consensus key of a stopped node, with the record of what it signed, into a home of its own.

    The node's config.toml then says signer.kind = "socket". A sealed keystore stays sealed.
    """
    from tools.home import check_empty
    from tools.signer_home import move_key

    check_empty(output)
    config = load_config(home)
    keystore, passphrase = open_node_keystore(home, config, passphrase_file)
    moved = move_key(home, output, config, keystore, passphrase)
    say(
        {"home": str(home), "signer_home": str(output), "public_keys": [key.hex() for key in moved]},
        f"{output} holds the consensus key of {config.node.institution} now. Start both, the signer first:\n"
        f"  pila signer run --home {output}\n  pila start --home {home}",
    )
