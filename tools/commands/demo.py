"""`pila demo`: a network on this machine that accredits, issues, revokes, stacks and verifies.

Every step is a `pila` command in a process of its own, as a person would type it; each university signs
with its own keystore through its own node. Nothing is simulated.
"""

import csv
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from node.errors import ConfigError
from node.keystore import public_keys, read_keystore_file
from tools.console import EXIT_NO, command, print_table, say, table
from tools.home import check_empty
from tools.local_network import LocalNetwork, free_base_port, running
from tools.testnet import TestnetNode

AUTHORITY: Final = "seg.guanajuato.gob.mx"
AGENCY: Final = "coepes.guanajuato.gob.mx"
FIRST: Final = "anahuac.mx"
SECOND: Final = "bajio.delasalle.edu.mx"
NEWCOMER: Final = "instituto-ejemplo.mx"
PREFERRED_PORT: Final = 8_600
COMMAND_TIMEOUT_S: Final = 600
_root = click.Group()


class DemoFailed(Exception):
    """A step did not end as it must; the sentence says which and how."""


@dataclass(frozen=True, slots=True)
class Done:
    """One line of the summary."""

    step: str
    result: str
    seconds: float


class Story:
    """The demonstration, step by step, on a running network."""

    def __init__(self, network: LocalNetwork, folder: Path, input_folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.input = input_folder
        self.done: list[Done] = []
        self._console = Console(stderr=True)

    # The steps

    def accredit_newcomer(self) -> str:
        """Bring an institution that is not in the genesis: apply, review, accredit."""
        keystore, recovery = self.folder / f"{NEWCOMER}.json", self.folder / f"{NEWCOMER}.recovery.json"
        report = self.folder / "informe-de-evaluacion.txt"
        report.write_text("Informe de evaluación externa (inventado para esta demostración).\n", encoding="utf-8")
        self.pila("key", "new", "--institution", NEWCOMER, "--output", keystore, "--no-passphrase")
        self.pila(
            "key", "new", "--institution", NEWCOMER, "--kind", "recovery", "--output", recovery, "--no-passphrase"
        )
        self.pila(
            "institution", "apply", "--keystore", keystore, "--recovery", recovery, "--forwarder", self.key(FIRST),
            "--name", "Instituto Ejemplo (inventado)", *self.node_of(FIRST),
        )  # fmt: skip
        self.pila(
            "institution", "review", NEWCOMER, "--decision", "favourable", "--report", report,
            "--keystore", self.key(AGENCY), *self.node_of(AUTHORITY),
        )  # fmt: skip
        self.pila("institution", "accredit", NEWCOMER, "--keystore", self.key(AUTHORITY), *self.node_of(AUTHORITY))
        standing = self.pila("institution", "show", NEWCOMER, *self.node_of(SECOND))["standing"]
        self.expect(standing == "accredited", f"{NEWCOMER} is {standing}")
        return f"{NEWCOMER}: applied, reviewed, accredited"

    def publish_catalogue(self) -> str:
        """Publish every definition through its university's node, authorise some, publish the pathway."""
        files = sorted((self.input / "definitions").glob("*.toml"))
        ids = []
        for file in files:
            owner = definition_id(file).partition("/")[0]
            published = self.pila("definition", "publish", file, "--keystore", self.key(owner), *self.node_of(owner))
            ids.append(published["id"])
        for identifier in ids[:2]:
            self.pila(
                "definition", "authorise", identifier, "--keystore", self.key(AUTHORITY), *self.node_of(AUTHORITY)
            )
        for file in sorted(self.input.glob("pathway*.toml")):
            owner = definition_id(file).partition("/")[0]
            self.pila("pathway", "publish", file, "--keystore", self.key(owner), *self.node_of(owner))
        found = self.pila("catalog", "search", "pespunte", *self.node_of(AUTHORITY))["items"]
        self.expect(len(found) == 1, f"searching «pespunte» found {len(found)} definitions")
        return f"{len(ids)} definitions (2 authorised) and a pathway"

    def issue_credentials(self) -> str:
        """Two universities issue 240 credentials; a validator is killed and brought back meanwhile."""
        header, good, bad = self.read_learners()
        self.expect(len(good) == 240, f"{len(good)} good rows")
        self.make_holder(header, good[0])
        half = len(good) // 2
        refused = self.write_rows("con-errores.csv", header, [*good[:half], *bad])
        outcome = self.pila_fails(2, *self.issue_arguments(FIRST, self.plan.first, refused, "rechazado"))
        self.expect("row" in outcome or "fila" in outcome, "bad rows were not named")
        self.pila(*self.issue_arguments(FIRST, self.plan.first, refused, "primera"), "--skip-bad")
        before = self.network.height(3)
        self.network.kill(3)
        second = self.write_rows("segunda.csv", header, good[half:])
        node = self.node_of(AUTHORITY)
        self.pila(*self.issue_arguments(SECOND, self.plan.second, second, "segunda", node=node))
        height = self.network.height(0)
        self.network.start(3)
        self.network.wait_ready(3)
        self.network.wait_height(height, 3)
        count = len(self.bundles("primera")) + len(self.bundles("segunda"))
        self.expect(count == 240, f"{count} bundles")
        return (
            f"240 credentials, {len(bad)} bad rows named and skipped; validator 3 killed at block {before}, "
            f"back at {self.network.height(3)}"
        )

    def change_status(self) -> str:
        """Revoke one; suspend another and reinstate it."""
        revoked, suspended = self.bundles("segunda")[3], self.bundles("segunda")[7]
        signing = ("--keystore", self.key(SECOND), *self.node_of(SECOND))
        self.pila("revoke", revoked, "--reason", "issued_in_error", *signing)
        self.pila("suspend", suspended, "--reason", "other", *signing)
        self.pila_fails(1, "verify", suspended, *self.anchor(), *self.node_of(FIRST))
        self.pila("reinstate", suspended, "--reason", "other", *signing)
        self.pila("verify", suspended, *self.anchor(), *self.node_of(FIRST))
        return "1 revoked; 1 suspended, refused, reinstated, verified"

    def stack_three(self) -> str:
        """One learner's three credentials become a larger one."""
        header, good, _ = self.read_learners()
        self.make_holder(header, good[0])
        files = [self.holders_bundle("primera")]
        for number, identifier in enumerate(self.plan.further, start=1):
            owner = identifier.partition("/")[0]
            rows = self.write_rows(f"adicional-{number}.csv", header, [good[0]])
            self.pila(*self.issue_arguments(owner, identifier, rows, f"adicional-{number}"))
            files.append(self.bundles(f"adicional-{number}")[0])
        self.pila("pathway", "evaluate", self.plan.pathway, *files, *self.node_of(FIRST))
        owner = self.plan.pathway.partition("/")[0]
        self.pila(
            "stack", "--pathway", self.plan.pathway, "--credentials", *files, "--out", self.folder / "apilada",
            "--keystore", self.key(owner), "--holder", self.holder_keystore, *self.node_of(owner),
        )  # fmt: skip
        return f"3 credentials stacked by {self.plan.pathway}"

    def verify_all(self) -> str:
        """Every bundle is verified with no network; the tampered and the revoked one are refused."""
        names = ("primera", "segunda", *(f"adicional-{n}" for n in (1, 2)), "apilada")
        files = [file for name in names for file in self.bundles(name)]
        revoked = self.bundles("segunda")[3]
        self.pila("refresh", *files, *self.node_of(AUTHORITY))
        answers = self.verify_many(files)
        refused = [file for file, answer in answers.items() if not answer["verified"]]
        self.expect(refused == [revoked], f"refused: {[file.name for file in refused]}")
        self.expect_light(answers[revoked], "status")
        tampered = self.folder / "alterada.pila.json"
        text = self.bundles("primera")[0].read_text(encoding="utf-8")
        tampered.write_text(text.replace("Universidad", "Univers1dad", 1), encoding="utf-8")
        answer = self.pila_fails_json(1, "verify", tampered, *self.anchor())
        self.expect_light(answer, "document")
        stacked = answers[self.bundles("apilada")[0]]
        self.expect(
            next(light for light in stacked["checks"] if light["name"] == "components")["ok"], "components is not lit"
        )
        return f"{len(files) - 1} verified offline; revoked one refused (status), tampered one refused (document)"

    def agree(self) -> str:
        """All nodes have the same block hash at every height."""
        height = min(self.network.height(i) for i in range(len(self.network.nodes)))
        clients = [self.network.client(i) for i in range(len(self.network.nodes))]
        for number in range(height + 1):
            hashes = {client.call("chain_header", height=number)["hash"] for client in clients}
            self.expect(len(hashes) == 1, f"nodes differ at height {number}")
        return f"{len(clients)} nodes, same hash at heights 0 … {height}"

    # The kit

    @property
    def plan(self) -> "Plan":
        """Which definitions play which part, read from the pathway file."""
        return read_plan(self.input)

    def run(self, step: str, act: Callable[[], str]) -> None:
        """Do one step, time it, and say how it went."""
        started = time.monotonic()
        with self._console.status(step):
            result = act()
        self.done.append(Done(step, result, time.monotonic() - started))
        self._console.print(f"[green]✓[/green] {step}: {result}", highlight=False)

    def expect(self, holds: bool, sentence: str) -> None:
        """Stop the demonstration where something does not hold."""
        if not holds:
            raise DemoFailed(sentence)

    def expect_light(self, answer: dict[str, Any], name: str) -> None:
        """Expect that one light, and no other that applies, says no."""
        red = [light["name"] for light in answer["checks"] if light["ok"] is False]
        self.expect(name in red, f"expected {name} to say no, found {red}")

    def key(self, institution: str) -> Path:
        """Return an institution's keystore."""
        if institution == NEWCOMER:
            return self.folder / f"{NEWCOMER}.json"
        return self.network.testnet.keystore(institution)

    def node_of(self, institution: str) -> tuple[str, str]:
        """Return the option that names an institution's own node; the newcomer has none yet and uses SEG's."""
        own = [node for node in self.network.nodes if node.institution == institution]
        return ("--rpc", (own or self.network.nodes)[0].rpc)

    def anchor(self) -> tuple[str, str]:
        """Return the option that names the trust anchor."""
        return ("--genesis", str(self.network.testnet.output / "genesis.json"))

    def bundles(self, name: str) -> list[Path]:
        """Return the bundles of one issue, in order of their names."""
        return sorted((self.folder / name).glob("*.pila.json"))

    def holders_bundle(self, name: str) -> Path:
        """Return the bundle whose holder brought a key: the one in whose row it stands."""
        for file in self.bundles(name):
            if self._holder_public_key() in file.read_text(encoding="utf-8"):
                return file
        raise DemoFailed("no bundle of the learner who brought a key")

    @property
    def holder_keystore(self) -> Path:
        """The key of the one learner who brings one."""
        return self.folder / "persona-titular.json"

    def _holder_public_key(self) -> str:
        _, public_key = public_keys(read_keystore_file(self.holder_keystore), "holder")[0]
        return public_key.hex()

    def make_holder(self, header: list[str], row: dict[str, str]) -> None:
        """Give one learner a key of their own."""
        if not self.holder_keystore.exists():
            self.pila("key", "new", "--kind", "holder", "--output", self.holder_keystore, "--no-passphrase")
        column = next((name for name in header if name in ("holder_key", "clave_titular")), "holder_key")
        if column not in header:
            header.append(column)
        row[column] = self._holder_public_key()

    def read_learners(self) -> tuple[list[str], list[dict[str, str]], list[dict[str, str]]]:
        """Return the header, the good rows and the deliberately bad ones."""
        with (self.input / "learners.csv").open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            header = list(reader.fieldnames or ())
        bad = [row for row in rows if is_bad(row)]
        return header, [row for row in rows if row not in bad], bad

    def write_rows(self, name: str, header: list[str], rows: list[dict[str, str]]) -> Path:
        """Write a learners' file."""
        path = self.folder / name
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, header, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return path

    def issue_arguments(
        self, issuer: str, definition: str, learners: Path, out: str, node: tuple[str, str] | None = None
    ) -> list[str | Path]:
        """Return the arguments of one issue."""
        return [
            "issue", "--definition", definition, "--learners", learners, "--out", self.folder / out,
            "--keystore", self.key(issuer), *(node or self.node_of(issuer)),
        ]  # fmt: skip

    def verify_many(self, files: list[Path]) -> dict[Path, dict[str, Any]]:
        """Verify bundles with the offline verifier, by its own command, several files a call."""
        answer = self.pila_any("verify", *files, *self.anchor())
        return {Path(item["file"]): item for item in answer["files"]}

    def pila(self, *arguments: str | Path) -> dict[str, Any]:
        """Run a command that must succeed and return what it says."""
        code, out, err = self._run(arguments)
        if code != 0:
            raise DemoFailed(f"`pila {arguments[0]}` ended with {code}: {err or out}")
        return json.loads(out) if out.strip() else {}

    def pila_any(self, *arguments: str | Path) -> dict[str, Any]:
        """Run a command that may say yes or no."""
        code, out, err = self._run(arguments)
        if code > 1:
            raise DemoFailed(f"`pila {arguments[0]}` ended with {code}: {err}")
        found: dict[str, Any] = json.loads(out)
        return found

    def pila_fails(self, expected: int, *arguments: str | Path) -> str:
        """Run a command that must end with a code; returns what it wrote."""
        code, out, err = self._run(arguments)
        if code != expected:
            raise DemoFailed(f"`pila {arguments[0]}` ended with {code} instead of {expected}: {err or out}")
        return out + err

    def pila_fails_json(self, expected: int, *arguments: str | Path) -> dict[str, Any]:
        """Run a command that must end with a code; returns its answer."""
        code, out, err = self._run(arguments)
        if code != expected:
            raise DemoFailed(f"`pila {arguments[0]}` ended with {code} instead of {expected}: {err or out}")
        found: dict[str, Any] = json.loads(out)
        return found

    @staticmethod
    def _run(arguments: tuple[str | Path, ...]) -> tuple[int, str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "tools.pila", *map(str, arguments), "--json"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
        )
        return ended.returncode, ended.stdout, ended.stderr.strip()


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts that definitions play."""

    pathway: str
    first: str
    """Of the first university's 120 credentials; counts for the pathway."""
    second: str
    """Of the second university's 120 credentials."""
    further: tuple[str, ...]
    """What else the pathway asks of the learner who stacks."""


def read_plan(input_folder: Path) -> Plan:
    """Derive the plan from the pathway's own file."""
    import tomllib

    file = min(input_folder.glob("pathway*.toml"))
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    wanted = [selector["definition"] for item in table["requirements"] for selector in item["selectors"]]
    first = next(identifier for identifier in wanted if identifier.startswith(FIRST))
    published = [definition_id(path) for path in sorted((input_folder / "definitions").glob("*.toml"))]
    second = next(item for item in published if item.startswith(SECOND) and item not in wanted)
    return Plan(table["id"], first, second, tuple(item for item in wanted if item != first))


def definition_id(file: Path) -> str:
    """Return the id that a definition or pathway file gives itself."""
    import tomllib

    return str(tomllib.loads(file.read_text(encoding="utf-8"))["id"])


def is_bad(row: dict[str, str]) -> bool:
    """Tell whether a row of the demonstration is one of the deliberately bad ones: its number says so."""
    return row.get("matricula", "").startswith("MAL")


STEPS: Final = (
    ("Accredit an institution", Story.accredit_newcomer),
    ("Publish the catalogue", Story.publish_catalogue),
    ("Issue", Story.issue_credentials),
    ("Revoke, suspend, reinstate", Story.change_status),
    ("Stack", Story.stack_three),
    ("Verify", Story.verify_all),
    ("Agree", Story.agree),
)


def urls_table(nodes: tuple[TestnetNode, ...]) -> Table:
    """Return where the nodes can be seen."""
    rows = table("institution", "web and RPC", "metrics", title="The network")
    for node in nodes:
        rows.add_row(node.institution, node.rpc, node.metrics)
    return rows


@command(_root, "demo")
@click.option("--once", is_flag=True, help="Stop after verifying; exit 0 only if everything held.")
@click.option("--validators", type=int, default=4, show_default=True)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to keep everything. Default: a temporary folder.",
)
@click.option("--base-port", type=int, help="Default: 8600, or the next free ones.")
def demo(once: bool, validators: int, folder: Path | None, base_port: int | None) -> None:
    """Run a network here: accredit, issue, revoke, stack, verify; then keep it running until Ctrl-C."""
    if validators < 4:
        raise ConfigError(f"--validators {validators}: at least 4")
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pila-demo-")))
        check_empty(folder)
        work = folder / "work"
        work.mkdir(parents=True)
        input_folder = stack.enter_context(resources.as_file(resources.files("genesis").joinpath("demo")))
        port = base_port if base_port is not None else free_base_port(validators, first=PREFERRED_PORT)
        network = stack.enter_context(running(folder / "network", validators=validators, base_port=port))
        story = Story(network, work, input_folder)
        try:
            for name, act in STEPS:
                story.run(name, functools.partial(act, story))
        except (DemoFailed, RuntimeError) as failed:
            click.echo(f"The demonstration failed: {failed}", err=True)
            raise SystemExit(EXIT_NO) from None
        summary = table("step", "what happened", "seconds", title="What happened")
        for item in story.done:
            summary.add_row(item.step, item.result, f"{item.seconds:.1f}")
        steps = [{"step": item.step, "result": item.result, "seconds": round(item.seconds, 1)} for item in story.done]
        say({"ok": True, "steps": steps}, summary)
        if not once:
            print_table(urls_table(network.nodes))
            click.echo(f"Files: {work}\nRunning until Ctrl-C.")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                click.echo("Stopping.")
