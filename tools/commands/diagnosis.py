"""`pila replay`: what consensus was told, once more. `pila check-db`: whether a node's stores are whole."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any, Final

import click
from rich.progress import TaskID

from node.chain.certificate import verify_consensus_signature
from node.chain.records.institution import Purpose
from node.config import DATA_FOLDER, GENESIS_FILE, NODE_KEYSTORE_FILE
from node.errors import ConfigError, StorageError
from node.home import locked
from node.keystore import public_keys, read_keystore_file
from node.recorder import SUFFIX
from node.recording import Reader, RecordingDamaged, replay
from node.state.leveldb import LevelDbStore, open_leveldb
from tools.commands.network import read_genesis
from tools.console import EXIT_NO, command, home_option, is_json, progress_bar, read_bytes, say, stop
from tools.replaying import as_line, as_object
from tools.store_check import FETCH_AGAIN, LISTEN_FIRST, Owner, StoreCheck, Stores, Wrong

PROGRESS_EVERY: Final = 256
"""Things looked at between two movements of the bar."""

_root = click.Group()


@command(_root, "replay")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--height", type=click.IntRange(1), help="Show this height only; everything is replayed.")
@click.option("--summary", is_flag=True, help="Show the result only.")
def replay_command(file: Path, height: int | None, summary: bool) -> None:
    """Feed a recording to the very core that runs in a validator and say whether the same comes of it.

    FILE is one file of HOME/data/recording, or the folder. Record with `record = true` under [diagnosis] in
    config.toml. Nothing is signed, sent or stored.
    """
    paths = sorted(file.glob(f"*{SUFFIX}")) if file.is_dir() else [file]
    if not paths:
        raise ConfigError(f"{file} holds no recordings (*{SUFFIX})")
    results = [_replay_one(path, height, summary) for path in paths]
    is_same = all(result["as_recorded"] for result in results)
    if is_json():
        say({"as_recorded": is_same, "files": results}, "")
    if not is_same:
        raise SystemExit(EXIT_NO)


@command(_root, "check-db")
@home_option
@click.option("--full", is_flag=True, help="Also execute every block again, in memory, from the genesis.")
def check_db(home: Path, full: bool) -> None:
    """Look through the stores of a stopped node: everything is held against what commits to it.

    Says the first wrong thing and what to do about it; exit 1. Opening the stores lets LevelDB finish what its log
    holds; nothing else is written.
    """
    with locked(home), contextlib.ExitStack() as stack:
        document = read_genesis(home / GENESIS_FILE)
        keystore = read_keystore_file(home / NODE_KEYSTORE_FILE)
        owner = Owner(
            keystore.institution, tuple(public_key for _, public_key in public_keys(keystore, Purpose.CONSENSUS))
        )
        bar = stack.enter_context(progress_bar())
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of or None)
            if done % PROGRESS_EVERY == 0 or done == of:
                bar.update(tasks[what], completed=done)

        try:
            chain = _open_store(home, "chain", stack)
            if chain is None:
                raise Wrong(f"{home / DATA_FOLDER / 'chain'} is no database", FETCH_AGAIN)
            stores = Stores(chain, _open_store(home, "journal", stack), _open_store(home, "signer", stack))
            check = StoreCheck(stores, document, owner, progress, verify_consensus_signature)
            check.run(full=full)
        except Wrong as wrong:
            stop(f"{home}: {wrong.sentence}. {wrong.advice}", EXIT_NO, problem=wrong.sentence, advice=wrong.advice)
    counts = check.counts
    where = f"blocks {counts.first_block} to {counts.head}"
    again = f"; executed again: {counts.executed}" if full else ""
    vote = "" if counts.own_vote is None else f"; latest vote of this validator in block {counts.own_vote}"
    found = (
        f"{home} is whole: {counts.records} records, {counts.state_records} of the state, {where} with "
        f"{counts.transactions} transactions and {counts.certificates} certificates{again}{vote}."
    )
    notes = (f"Note: {note}." for note in counts.notes)
    say({"home": str(home), "ok": True, **dataclasses.asdict(counts)}, "\n".join((found, *notes)))


def _open_store(home: Path, name: str, stack: contextlib.ExitStack) -> LevelDbStore | None:
    """Open a store; None where there is none. Raises: Wrong."""
    path = home / DATA_FOLDER / name
    if not (path / "CURRENT").exists():
        return None
    try:
        store = open_leveldb(path)
    except StorageError as error:
        raise Wrong(str(error), FETCH_AGAIN if name == "chain" else LISTEN_FIRST) from error
    stack.callback(store.close)
    return store


def _replay_one(path: Path, height: int | None, summary: bool) -> dict[str, Any]:
    """Replay one file, showing its steps; return what came of it. Raises: ConfigError."""
    try:
        reader = Reader(read_bytes(path))
    except RecordingDamaged as error:
        raise ConfigError(f"{path}: {error}") from None
    options = reader.opening.options
    steps: list[dict[str, Any]] = []
    inputs, differing, at = 0, 0, reader.opening.carried.height
    has_failed = False
    for inputs, step in enumerate(replay(reader), start=1):
        differing += not step.is_as_recorded
        has_failed = has_failed or step.failure is not None
        at = step.event.head.height + 1 if hasattr(step.event, "head") else at
        if summary or height not in (None, at):
            continue
        if is_json():
            steps.append(as_object(inputs, step))
        else:
            click.echo(as_line(inputs, step))
    is_same = not differing and not has_failed and (reader.problem is None or reader.is_torn)
    ending = _ending(reader, has_failed)
    if not is_json():
        judged = "the same effects as recorded" if not differing else f"{differing} of them had other effects"
        click.echo(f"{path}: {options.institution}, {reader.opening.program}: {inputs} inputs, {judged}. {ending}")
    return {
        "file": str(path),
        "institution": options.institution,
        "program": reader.opening.program,
        "inputs": inputs,
        "differing": differing,
        "as_recorded": is_same,
        "ending": ending,
        "steps": steps,
    }


def _ending(reader: Reader, has_failed: bool) -> str:
    """Say how a file ends, in a sentence."""
    if has_failed:
        return "The core fails on the last of them: please report it with this file."
    if reader.problem is not None:
        rest = "" if reader.is_torn else "; nothing after it was replayed"
        return f"{reader.problem[0].upper()}{reader.problem[1:]}{rest}."
    if reader.is_paused:
        return "The last height had filled the file: what else happened at it is missing."
    return "The file ends with a whole record."
