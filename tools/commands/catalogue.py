"""`pila definition …`, `pila pathway …` and `pila catalog …`: what can be learned, and how it adds up."""

import json
import tomllib
from pathlib import Path
from typing import Any

import click

from node.chain import definition_file
from node.chain.rules import catalogue as rules
from node.errors import ConfigError
from tools.console import (
    EXIT_NO,
    command,
    cosign_option,
    keystore_option,
    open_keystore,
    passphrase_option,
    read_text,
    rpc_option,
    say,
    stop,
    table,
)
from tools.node_client import NodeClient
from tools.signing import send


@click.group()
def definition() -> None:
    """Definitions: what a microcredential is."""


@click.group()
def pathway() -> None:
    """Pathways: how credentials add up to a larger one."""


@click.group()
def catalog() -> None:
    """The public catalogue."""


def read_table(path: Path) -> dict[str, Any]:
    """Read a TOML or JSON file into a dictionary. Raises: ConfigError naming file and line."""
    text = read_text(path)
    try:
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: expected a table of fields, found {type(found).__name__}")
    return found


@command(definition, "check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Name every missing or doubtful element of a definition file; sends nothing."""
    findings = definition_file.check_definition(read_table(file))
    result = {"file": str(file), "ok": not findings, "findings": findings}
    if findings:
        say(result, "\n".join([f"{file}: {len(findings)} to mend", *(f"  {item}" for item in findings)]))
        raise SystemExit(EXIT_NO)
    say(result, f"{file}: complete.")


@command(definition, "publish")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@keystore_option()
@passphrase_option
@cosign_option
@rpc_option
def publish(file: Path, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str) -> None:
    """Publish a definition; a published version never changes."""
    content = definition_file.read_definition(read_table(file))
    payload = rules.DefinitionPublish(content)
    result = send(NodeClient(rpc), "definition.publish", payload, open_keystore(keystore, passphrase_file), cosign)
    say({**result, "id": content.id}, f"Published {content.id} (block {result['height']}).")


def _change_command(group: click.Group, name: str, kind: str, payload: type, done: str, help_text: str) -> None:
    @command(group, name)
    @click.argument("identifier", metavar="ID")
    @keystore_option()
    @passphrase_option
    @cosign_option
    @rpc_option
    def change(
        identifier: str, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str
    ) -> None:
        result = send(NodeClient(rpc), kind, payload(identifier), open_keystore(keystore, passphrase_file), cosign)
        say({**result, "id": identifier}, f"{done} {identifier} (block {result['height']}).")

    change.help = help_text


_change_command(
    definition,
    "authorise",
    "definition.authorise",
    rules.DefinitionAuthorise,
    "Authorised",
    "Give a definition the legally protected label; an authority's act.",
)
_change_command(
    definition,
    "retire",
    "definition.retire",
    rules.DefinitionRetire,
    "Retired",
    "End issuing under a definition; what was issued stays.",
)
_change_command(
    pathway,
    "retire",
    "pathway.retire",
    rules.PathwayRetire,
    "Retired",
    "End stacking by a pathway; what was awarded stays.",
)


@command(definition, "show")
@click.argument("identifier", metavar="ID")
@rpc_option
def show(identifier: str, rpc: str) -> None:
    """Show a definition."""
    found = NodeClient(rpc).call("catalog_get", id=identifier)
    say(found, json.dumps(found, ensure_ascii=False, indent=2))


@command(pathway, "publish")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@keystore_option()
@passphrase_option
@cosign_option
@rpc_option
def publish_pathway(
    file: Path, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str
) -> None:
    """Publish a pathway."""
    content = definition_file.read_pathway(read_table(file))
    payload = rules.PathwayPublish(content)
    result = send(NodeClient(rpc), "pathway.publish", payload, open_keystore(keystore, passphrase_file), cosign)
    say({**result, "id": content.id}, f"Published {content.id} (block {result['height']}).")


@command(pathway, "show")
@click.argument("identifier", metavar="ID")
@rpc_option
def show_pathway(identifier: str, rpc: str) -> None:
    """Show a pathway."""
    found = NodeClient(rpc).call("pathway_get", id=identifier)
    say(found, json.dumps(found, ensure_ascii=False, indent=2))


@command(pathway, "evaluate")
@click.argument("identifier", metavar="ID")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@rpc_option
def evaluate(identifier: str, files: tuple[Path, ...], rpc: str) -> None:
    """Say which requirements hold for some credentials, and what is missing."""
    from tools.commands.verification import credential_id_of

    ids = [credential_id_of(file) for file in files]
    found = NodeClient(rpc).call("pathway_evaluate", pathway=identifier, credentials=ids)
    lines = [f"  {'✓' if item['holds'] else '✗'} {item['text']['es']}" for item in found["requirements"]]
    if not found["holds"]:
        say(found, "\n".join([f"{identifier}: not yet", *lines]))
        raise SystemExit(EXIT_NO)
    say(found, "\n".join([f"{identifier}: holds", *lines]))


@command(catalog, "search")
@click.argument("text", default="")
@click.option("--level", help="FRAMEWORK:N such as MNC:5.")
@click.option("--field")
@click.option("--credits-min", type=float)
@click.option("--credits-max", type=float)
@click.option("--participation", type=click.Choice(["in_person", "online", "hybrid", "dual"]))
@click.option("--municipality")
@click.option("--issuer")
@click.option("--standard", help="Code of a standard that it is aligned with, such as EC0217.")
@click.option("--label", type=click.Choice(["autorizada", "registrada", "propia"]))
@rpc_option
def search(text: str, rpc: str, **filters: str | float | None) -> None:
    """Search the catalogue; accents do not matter."""
    given = {name: value for name, value in filters.items() if value is not None}
    found = NodeClient(rpc).call("catalog_search", text=text, **given)
    rows = table("definition", "title", "credits", "hours", "level", "label")
    for item in found["items"]:
        credits_text = f"{item['credits']['value']:g} {item['credits']['framework']}"
        level_text = f"{item['level']['framework']} {item['level']['value']}"
        rows.add_row(
            item["id"], item["title"].get("es", ""), credits_text, str(item["hours"]), level_text, item["label"]
        )
    if not found["items"]:
        stop(f"Nothing in the catalogue matches {text!r}.", EXIT_NO)
    say(found, rows)
