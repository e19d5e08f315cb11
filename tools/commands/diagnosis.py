"""`pila replay`: what consensus was told, once more. `pila check-db`: whether a node's stores are whole."""

from pathlib import Path
from typing import Any

import click

from node.errors import ConfigError
from node.recorder import SUFFIX
from node.recording import Reader, RecordingDamaged, replay
from tools.console import EXIT_NO, command, is_json, read_bytes, say
from tools.replaying import as_line, as_object

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
