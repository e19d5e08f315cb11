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
from tools.commands.catalogue import read_table
from tools.console import EXIT_NO, EXIT_UNUSABLE, command, is_json, print_table, say, table
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
DEMO_FOLDER: Final = Path(str(resources.files("genesis").joinpath("demo")))
_root = click.Group()


@dataclass(frozen=True, slots=True)
class Group:
    """Learners of one definition: those whose student number begins with the prefix."""

    prefix: str
    definition: str


GROUPS: Final = (
    Group("HAB", "anahuac.mx/habilidades-clave-para-tu-primer-empleo/1"),
    Group("PES", "bajio.delasalle.edu.mx/pespunte/1"),
    Group("SEG", "bajio.delasalle.edu.mx/seguridad-en-el-taller/1"),
)
PATHWAY: Final = "bajio.delasalle.edu.mx/ruta-oficio-inicial-en-calzado/1"
STACKED: Final = "apiladas"
CREDENTIALS: Final = 240
BAD_ROWS: Final = 6
STACKING_PEOPLE: Final = 3


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
        self.pila(
            "pathway", "publish", self.input / "pathway.toml", "--keystore", self.key(SECOND), *self.node_of(SECOND)
        )
        found = self.pila("catalog", "search", "pespunte", *self.node_of(AUTHORITY))["items"]
        self.expect(len(found) == 1, f"searching «pespunte» found {len(found)} definitions")
        return f"{len(ids)} definitions (2 authorised) and a pathway"

    def issue_credentials(self) -> str:
        """Two universities issue 240 credentials; a validator is killed and brought back meanwhile."""
        self.make_holders()
        refusal = self.pila(*self.issue_arguments(GROUPS[0]), expect=EXIT_UNUSABLE)["error"]
        self.expect("row 12" in refusal and "row 53" in refusal, f"bad rows were not named: {refusal}")
        self.issue(GROUPS[0])
        killed = len(self.network.nodes) - 1
        before = self.network.height(killed)
        self.network.kill(killed)
        for group in GROUPS[1:]:
            self.issue(group, through=AUTHORITY)
        height = self.network.height(0)
        self.network.start(killed)
        self.network.wait_ready(killed)
        self.network.wait_height(height, killed)
        count = sum(len(self.bundles(group.prefix)) for group in GROUPS)
        self.expect(count == CREDENTIALS, f"{count} bundles")
        return (
            f"{count} credentials of two universities, {BAD_ROWS} bad rows named and left out; validator {killed} "
            f"killed at block {before}, caught up at {self.network.height(killed)}"
        )

    def issue(self, group: Group, *, through: str = "") -> None:
        """Issue one group's good rows; `through`: whose node, its university's own unless said."""
        done = self.pila(*self.issue_arguments(group, through), "--skip-bad")
        self.expect(done["issued"] == CREDENTIALS // len(GROUPS), f"{group.prefix}: {done}")

    def change_status(self) -> str:
        """Revoke one; suspend another and reinstate it."""
        revoked, suspended = self.revoked, self.bundles(GROUPS[2].prefix)[7]
        signing = ("--keystore", self.key(SECOND), *self.node_of(SECOND))
        self.pila("revoke", revoked, "--reason", "issued_in_error", *signing)
        self.pila("suspend", suspended, "--reason", "other", *signing)
        answer = self.pila("verify", suspended, *self.anchor(), *self.node_of(FIRST), expect=EXIT_NO)
        self.expect_red(answer, "status")
        self.pila("reinstate", suspended, "--reason", "other", *signing)
        self.pila("verify", suspended, *self.anchor(), *self.node_of(FIRST))
        return "1 revoked; 1 suspended, refused, reinstated, verified"

    def stack_three(self) -> str:
        """Three people's three credentials each become a larger one."""
        for number in range(1, STACKING_PEOPLE + 1):
            files = [self.bundle_of(group, number) for group in GROUPS]
            found = self.pila("pathway", "evaluate", PATHWAY, *files, *self.node_of(SECOND))
            self.expect(found["holds"], f"{PATHWAY} does not hold for person {number}")
            missing = self.pila("pathway", "evaluate", PATHWAY, *files[:2], *self.node_of(SECOND), expect=EXIT_NO)
            self.expect(not missing["holds"], f"{PATHWAY} holds for two of three credentials")
            self.pila(
                "stack", "--pathway", PATHWAY, "--credentials", *files, "--out", self.folder / STACKED,
                "--keystore", self.key(SECOND), "--holder", self.holder(number), *self.node_of(SECOND),
            )  # fmt: skip
        return f"{STACKING_PEOPLE} people: three credentials stacked into one each"

    def verify_all(self) -> str:
        """Every bundle is verified with no network; the revoked and the tampered one are refused."""
        files = [file for name in (*(group.prefix for group in GROUPS), STACKED) for file in self.bundles(name)]
        self.pila("refresh", *files, *self.node_of(AUTHORITY))
        answers = {
            Path(item["file"]): item for item in self.pila("verify", *files, *self.anchor(), expect=EXIT_NO)["files"]
        }
        refused = [file for file, answer in answers.items() if not answer["verified"]]
        self.expect(refused == [self.revoked], f"refused: {[file.name for file in refused]}")
        self.expect_red(answers[self.revoked], "status")
        for file in self.bundles(STACKED):
            self.expect("components" in [light["name"] for light in answers[file]["checks"]], "no light for components")
        tampered = self.folder / "alterada.pila.json"
        text = self.bundles(GROUPS[1].prefix)[0].read_text(encoding="utf-8")
        self.expect("Pespunte" in text, "nothing to tamper with")
        tampered.write_text(text.replace("Pespunte", "Pespunta"), encoding="utf-8")
        self.expect_red(self.pila("verify", tampered, *self.anchor(), expect=EXIT_NO), "document")
        return f"{len(files) - 1} verified offline; the revoked one refused (status), a tampered one refused (document)"

    def agree(self) -> str:
        """All nodes have the same block hash at every height."""
        height = min(self.network.height(i) for i in range(len(self.network.nodes)))
        clients = [self.network.client(i) for i in range(len(self.network.nodes))]
        for number in range(height + 1):
            hashes = {client.call("chain_header", height=number)["hash"] for client in clients}
            self.expect(len(hashes) == 1, f"nodes differ at height {number}")
        return f"{len(clients)} nodes, same hash at heights 0 … {height}"

    # The kit

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

    def expect_red(self, answer: dict[str, Any], name: str) -> None:
        """Expect that one light says no, and only lights that depend on it with it."""
        red = [light["name"] for light in answer["checks"] if not light["ok"]]
        self.expect(red == [name], f"expected {name} to say no, found {red}")

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
        """Return the bundles of one group, in order of their names."""
        return sorted((self.folder / name).glob("*.pila.json"))

    @property
    def revoked(self) -> Path:
        """The bundle whose credential is revoked."""
        return self.bundles(GROUPS[1].prefix)[40]

    def holder(self, number: int) -> Path:
        """Return the key file of one of the people who stack."""
        return self.folder / f"titular-{number}.json"

    def bundle_of(self, group: Group, number: int) -> Path:
        """Return a person's bundle of a group: the one that the person's key holds."""
        key = self.holder_key(number)
        return next(file for file in self.bundles(group.prefix) if key in file.read_text(encoding="utf-8"))

    def holder_key(self, number: int) -> str:
        """Return a person's public key in hex."""
        _, public_key = public_keys(read_keystore_file(self.holder(number)), "holder")[0]
        return public_key.hex()

    def make_holders(self) -> None:
        """Make keys for the people who stack, and a learners' file a group with those keys filled in."""
        for number in range(1, STACKING_PEOPLE + 1):
            self.pila("key", "new", "--kind", "holder", "--output", self.holder(number), "--no-passphrase")
        keys = {f"{group.prefix}-{n:04}": self.holder_key(n) for group in GROUPS for n in range(1, STACKING_PEOPLE + 1)}
        with (self.input / "learners.csv").open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        number_at, key_at = header.index("matricula"), header.index("llave")
        for group in GROUPS:
            with (self.folder / f"{group.prefix}.csv").open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                for row in rows:
                    # A row of another group stays as an empty line, so that rows keep the numbers of the whole file.
                    mine = row[number_at].startswith(group.prefix)
                    row[key_at] = keys.get(row[number_at], row[key_at])
                    writer.writerow(row if mine else [])

    def issue_arguments(self, group: Group, through: str = "") -> list[str | Path]:
        """Return the arguments that issue one group."""
        issuer = group.definition.partition("/")[0]
        return [
            "issue", "--definition", group.definition, "--learners", self.folder / f"{group.prefix}.csv",
            "--out", self.folder / group.prefix, "--keystore", self.key(issuer), *self.node_of(through or issuer),
        ]  # fmt: skip

    def pila(self, *arguments: str | Path, expect: int = 0) -> dict[str, Any]:
        """Run a command of the command line, which must end with a code, and return what it says."""
        code, out, err = run_pila(*arguments)
        if code != expect:
            named = " ".join(str(argument) for argument in arguments[:3])
            raise DemoFailed(f"`pila {named} …` ended with {code} instead of {expect}: {err or out}")
        found: dict[str, Any] = json.loads(out)
        return found


def run_pila(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command of the command line as a process; returns exit code, stdout (JSON) and stderr."""
    ended = subprocess.run(
        [sys.executable, "-m", "tools.pila", *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_TIMEOUT_S,
    )
    return ended.returncode, ended.stdout, ended.stderr.strip()


def definition_id(file: Path) -> str:
    """Return the id that a definition or pathway file gives itself."""
    return str(read_table(file)["id"])


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
        port = base_port if base_port is not None else free_base_port(validators, first=PREFERRED_PORT)
        network = stack.enter_context(running(folder / "network", validators=validators, base_port=port))
        story = Story(network, work, DEMO_FOLDER)
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
        say({"ok": True, "steps": steps, "urls": [node.rpc for node in network.nodes]}, summary)
        if not is_json():
            print_table(urls_table(network.nodes))
        if not once:
            click.echo(f"Files: {work}\nRunning until Ctrl-C.")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                click.echo("Stopping.")
