"""`pila backup | restore`: a home in one file, and back."""

from pathlib import Path

import click
import msgspec

from tools.backup import Manifest, make_backup, restore_backup
from tools.console import command, home_option, say
from tools.home import check_empty

_root = click.Group()


@command(_root, "backup")
@home_option
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
def backup(home: Path, out: Path) -> None:
    """Write a home into one file, while its node runs or not: options, genesis, keys and the whole chain.

    A running node sends its database as it is at one moment and goes on; it must be a node of this machine and
    user. The file holds secret keys (sealed as they are in the home) and is readable by its owner only.
    """
    manifest, was_running = make_backup(home, out)
    size = out.stat().st_size
    how = "the node went on" if was_running else "the node was not running"
    say(
        {**_result(manifest), "file": str(out), "bytes": size, "node_was_running": was_running},
        f"{out}: {size} bytes, {manifest.institution} at height {manifest.height}; {how}.",
    )


@command(_root, "restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@home_option
def restore(file: Path, home: Path) -> None:
    """Make a home of a backup; every hash, the genesis and the chain's state are checked first.

    Its validator listens before it signs, so that it never says two different things. The old home must not be
    started again, here or anywhere.
    """
    check_empty(home)
    manifest = restore_backup(file, home)
    say(
        {**_result(manifest), "home": str(home)},
        f"{home} is ready: {manifest.institution} at height {manifest.height}, as of {manifest.made_at}.\n"
        f"A validator listens until it is safe to sign: pila start --home {home}",
    )


def _result(manifest: Manifest) -> dict[str, object]:
    fields = msgspec.structs.asdict(manifest)
    return {name: fields[name] for name in ("made_at", "institution", "genesis_hash", "height", "block_hash", "signed")}
