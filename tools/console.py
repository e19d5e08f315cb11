"""What every command shares: `--json`, one-sentence errors, exit codes, passphrases.

Exit 0: done. 1: the answer is no (not verified, rejected). 2: unusable input or unreachable node.
Source: INTERFACE §2.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from node.errors import ConfigError, Rejected, StorageError
from node.keystore import Keystore, read_keystore_file
from tools.node_client import CallFailed, NodeUnreachable

P = ParamSpec("P")

EXIT_NO = 1
EXIT_UNUSABLE = 2
WIDTH_WITHOUT_TERMINAL = 200
PASSPHRASE_VARIABLE = "PILA_PASSPHRASE"  # noqa: S105 -- the variable's name, not a passphrase


def is_json() -> bool:
    """Tell whether `--json` was given."""
    return bool(click.get_current_context().find_root().obj["json"])


def say(result: dict[str, Any], lines: str | Table) -> None:
    """Print a result: as JSON where `--json` was given, else for people."""
    if is_json():
        click.echo(json.dumps(result, ensure_ascii=False, indent=2))
    elif isinstance(lines, Table):
        print_table(lines)
    else:
        click.echo(lines)


def table(*headers: str, title: str | None = None) -> Table:
    """Return an empty table whose cells are folded, never cut: what is shown can be copied."""
    made = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        made.add_column(header, overflow="fold")
    return made


def print_table(rows: Table) -> None:
    """Print a table; as wide as it needs where stdout is no terminal."""
    Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL).print(rows)


def stop(sentence: str, code: int, **result: object) -> NoReturn:
    """End the command with one sentence on stderr; with `--json` also as an object on stdout."""
    if is_json():
        click.echo(json.dumps({"ok": False, "error": sentence, **result}, ensure_ascii=False))
    click.echo(sentence, err=True)
    sys.exit(code)


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    root = context.find_root()
    root.ensure_object(dict)
    root.obj["json"] = value or root.obj.get("json", False)


def command(group: click.Group, name: str) -> Callable[[Callable[P, None]], click.Command]:
    """Register a command: adds `--json` and turns our exceptions into sentences and exit codes."""

    def register(function: Callable[P, None]) -> click.Command:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except Rejected as rejected:
                stop(
                    f"Rejected: {rejected.detail} ({rejected.reason})",
                    EXIT_NO,
                    reason=rejected.reason,
                    detail=rejected.detail,
                )
            except CallFailed as failed:
                stop(f"Refused: {failed}", failed.exit_code, reason=failed.reason, detail=failed.detail)
            except NodeUnreachable as unreachable:
                stop(str(unreachable), EXIT_UNUSABLE)
            except (ConfigError, StorageError) as error:
                stop(str(error), EXIT_UNUSABLE)

        option = click.option(
            "--json", is_flag=True, expose_value=False, callback=_set_json, help="Print the result as JSON."
        )
        return group.command(name)(option(run))

    return register


def one_of(members: type[StrEnum]) -> click.Choice[str]:
    """The values of an enumeration, as an option's choice."""
    return click.Choice([member.value for member in members])


def keystore_option(*, required: bool = True, name: str = "--keystore", help_text: str = "") -> Callable[[Any], Any]:
    """The option that names a keystore file."""
    return click.option(
        name,
        type=click.Path(path_type=Path, dir_okay=False),
        required=required,
        metavar="FILE",
        help=help_text or "Keystore that signs (DIR/keys/<institution>.json).",
    )


def passphrase_option(function: Callable[P, None]) -> Callable[P, None]:
    """The option that names a file with the passphrase; never the passphrase itself."""
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help=f"File with the keystore's passphrase; else {PASSPHRASE_VARIABLE}, else a prompt.",
    )(function)


def cosign_option(function: Callable[P, None]) -> Callable[P, None]:
    """The option that names further keystores whose keys sign too."""
    return click.option(
        "--cosign",
        type=click.Path(path_type=Path, dir_okay=False),
        multiple=True,
        metavar="FILE",
        help="Further keystore that signs too: a second key of the institution, or an authority's. May be repeated.",
    )(function)


def rpc_option(function: Callable[P, None]) -> Callable[P, None]:
    """The option that names the node."""
    return click.option(
        "--rpc", default="http://127.0.0.1:8600", show_default=True, metavar="URL", help="Node to talk to."
    )(function)


def open_keystore(path: Path, passphrase_file: Path | None = None) -> Keystore:
    """Open a keystore, asking for its passphrase only where it is sealed."""
    if read_keystore_file(path).kdf is None:
        return Keystore.open(path)
    return Keystore.open(path, read_passphrase(path, passphrase_file))


def read_passphrase(path: Path, passphrase_file: Path | None, *, confirm: bool = False) -> bytes:
    """Return the passphrase from the file, the environment or a prompt. Raises: ConfigError."""
    if passphrase_file is not None:
        try:
            return passphrase_file.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise ConfigError(f"{passphrase_file}: {error.strerror}") from None
    if PASSPHRASE_VARIABLE in os.environ:
        return os.environ[PASSPHRASE_VARIABLE].encode()
    if not sys.stdin.isatty():
        raise ConfigError(f"{path}: needs a passphrase; give --passphrase-file or set {PASSPHRASE_VARIABLE}")
    asked: str = click.prompt(f"Passphrase of {path.name}", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked.encode()


def home_option(function: Callable[P, None]) -> Callable[P, None]:
    """The option that names a home."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        required=True,
        metavar="DIR",
        help="The node's folder: config.toml, genesis.json, keys/node.json, data/.",
    )(function)


def progress_bar() -> Progress:
    """A progress bar on stderr; silent where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def read_bytes(path: Path) -> bytes:
    """Read a file. Raises: ConfigError naming it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def read_text(path: Path) -> str:
    """Read a UTF-8 text file. Raises: ConfigError naming it."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
