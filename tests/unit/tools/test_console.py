"""What commands share: `--json`, one sentence and an exit code for each kind of failure, passphrases, `--help`."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from node.errors import ConfigError, Reason, Rejected, StorageError
from tools import console
from tools.node_client import CallFailed, NodeUnreachable
from tools.pila import GROUPS, main


def run(act: Callable[[], None], *arguments: str) -> tuple[int, str, str]:
    """Run a command that does this; return exit code, stdout, stderr."""
    group = click.Group(context_settings={"obj": {"json": False}})
    console.command(group, "act")(act)
    done = CliRunner().invoke(group, ["act", *arguments])
    return done.exit_code, done.stdout, done.stderr


def fail(error: Exception) -> Callable[[], None]:
    """Return a command that fails."""

    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    "error, code, sentence",
    [
        (Rejected(Reason.NOT_PERMITTED, "a, not b"), 1, "Rejected: a, not b (not_permitted)"),
        (CallFailed(-32000, "Rejected", {"reason": "expired", "detail": "5"}), 1, "Refused: 5 (expired)"),
        (CallFailed(-32001, "Not found", {"detail": "no x"}), 1, "Refused: Not found: no x"),
        (CallFailed(-32602, "Invalid params", {"detail": "no x"}), 2, "Refused: Invalid params: no x"),
        (NodeUnreachable("nobody there"), 2, "nobody there"),
        (ConfigError("file: line 3"), 2, "file: line 3"),
        (StorageError("the disk is full"), 2, "the disk is full"),
    ],
)
def test_a_failure_is_one_sentence_and_a_code(error: Exception, code: int, sentence: str) -> None:
    """On stderr; with --json the same as an object on stdout."""
    assert run(fail(error)) == (code, "", sentence + "\n")
    found = run(fail(error), "--json")
    assert (found[0], found[2]) == (code, sentence + "\n")
    answer = json.loads(found[1])
    assert (answer["ok"], answer["error"]) == (False, sentence)


def test_our_own_faults_are_not_hidden() -> None:
    """An assertion is no sentence for people: it comes out as it is."""
    group = click.Group(context_settings={"obj": {"json": False}})
    console.command(group, "act")(fail(AssertionError("ours")))
    assert isinstance(CliRunner().invoke(group, ["act"]).exception, AssertionError)


def test_a_result_is_text_or_json() -> None:
    """Text for people, one JSON value with accents for programs."""

    def act() -> None:
        console.say({"name": "Ñandú"}, "It is Ñandú.")

    assert run(act) == (0, "It is Ñandú.\n", "")
    assert json.loads(run(act, "--json")[1]) == {"name": "Ñandú"}
    assert "Ñandú" in run(act, "--json")[1]


def test_a_table_is_not_cut_where_there_is_no_terminal() -> None:
    """What is shown can be copied."""

    def act() -> None:
        rows = console.table("key", "value")
        rows.add_row("hash", "ab" * 64)
        console.say({}, rows)

    assert "ab" * 64 in run(act)[1]


def test_a_passphrase_comes_from_file_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file wins; its line end does not count; without either and without a terminal there is a sentence."""
    file = tmp_path / "phrase"
    file.write_bytes("ñ frase\r\n".encode())
    monkeypatch.setenv("PILA_PASSPHRASE", "other")
    assert console.read_passphrase(tmp_path / "k.json", file) == "ñ frase".encode()
    assert console.read_passphrase(tmp_path / "k.json", None) == b"other"
    monkeypatch.delenv("PILA_PASSPHRASE")
    with pytest.raises(ConfigError) as refused:
        console.read_passphrase(tmp_path / "k.json", None)
    assert str(refused.value) == (
        f"{tmp_path / 'k.json'}: needs a passphrase; give --passphrase-file or set PILA_PASSPHRASE"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a folder, not UTF-8: the sentence names the file and the place."""
    (tmp_path / "latin1").write_bytes(b"abc\xf1")
    for path, says in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin1", "not UTF-8 at byte 3"),
    ):
        with pytest.raises(ConfigError) as refused:
            console.read_text(path)
        assert str(refused.value) == f"{path}: {says}"


def every_command() -> list[list[str]]:
    """Return the words of every command there is."""
    context = click.Context(main)
    found = []
    for name in sorted(GROUPS):
        command = main.get_command(context, name)
        assert command is not None
        found += below(command, [name])
    return found


def below(command: click.Command, words: list[str]) -> list[list[str]]:
    """Return the words of a command, or of those inside a group at any depth."""
    if not isinstance(command, click.Group):
        return [words]
    return [line for name, inner in sorted(command.commands.items()) for line in below(inner, [*words, name])]


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_help_and_json(words: list[str]) -> None:
    """`--help` describes it and every option of it that is not plain from its name; `--json` is taken everywhere."""
    done = CliRunner().invoke(main, [*words, "--help"])
    assert done.exit_code == 0
    assert "--json" in done.output
    described = done.output.split("\n\n")[1].strip()
    assert described
    assert not described.startswith("Options:")
