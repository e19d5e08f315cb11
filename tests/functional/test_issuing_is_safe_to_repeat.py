"""`pila issue` is killed with -9 at chosen moments and run again: nobody gets two, nobody gets none.

Between the command and the node stands a small proxy that kills the command when a certain call comes by:
before it is passed on (the register is written, the chain knows nothing), after it (the chain knows, the
command does not), while bundles are fetched. The chain's own counters say how many credentials there are.
"""

import http.client
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.chain.records.institution import Counters
from node.documents.bundle import read_bundle
from node.issuing import read_record
from node.state import keys
from tests.functional import harness
from tests.functional.harness import pila, start_pila
from tools.local_network import LocalNetwork

INSTITUTION = "udem.edu.mx"
LEARNERS = 12


@dataclass
class Trap:
    """At which call the command dies, and whether the node still gets that call."""

    method: str
    number: int
    passes_on: bool


class Proxy:
    """Passes calls on to a node until the trap's call comes; then kills the process given."""

    def __init__(self, node_url: str, trap: Trap) -> None:
        self.victim: subprocess.Popen[bytes] | None = None
        self.is_sprung = threading.Event()
        self._trap = trap
        self._node = node_url.removeprefix("http://")
        self._seen = 0
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Answer one call."""
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = proxy.answer(body)
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 – the base class names it so
                """Stay silent."""

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """The killed command hangs up in the middle of an answer: that is the point."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, body: bytes) -> bytes:
        """Pass one call on, or spring the trap."""
        if json.loads(body)["method"] == self._trap.method:
            self._seen += 1
            if self._seen == self._trap.number:
                if self._trap.passes_on:
                    self._pass_on(body)
                assert self.victim is not None
                self.victim.kill()
                self.is_sprung.set()
                return b"{}"
        return self._pass_on(body)

    def _pass_on(self, body: bytes) -> bytes:
        connection = http.client.HTTPConnection(self._node, timeout=90)
        try:
            connection.request("POST", "/rpc", body, {"Content-Type": "application/json"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def proxy_to(network: LocalNetwork, trap: Trap) -> Iterator[Proxy]:
    """Run a proxy to node 0."""
    proxy = Proxy(network.nodes[0].rpc, trap)
    try:
        yield proxy
    finally:
        proxy.close()


def issued_so_far(network: LocalNetwork) -> int:
    """Return how many credentials the institution has on the chain."""
    found = read_record(network.client(), keys.counters(INSTITUTION), Counters)
    return 0 if found is None else found.credentials


TRAPS = {
    "register written, nothing sent": Trap("tx_submit", 1, passes_on=False),
    "sent, answer lost": Trap("tx_submit", 1, passes_on=True),
    "in a block, answer lost": Trap("tx_wait", 1, passes_on=True),
    "before the first bundle": Trap("credential_proof", 1, passes_on=False),
    "half of the bundles": Trap("credential_proof", LEARNERS // 2, passes_on=True),
    "before anything": Trap("node_status", 1, passes_on=True),
}


@pytest.fixture(scope="module")
def definitions(network: LocalNetwork) -> dict[str, str]:
    """A definition for each moment, so that each story is its own."""
    return {
        name: harness.publish(network, INSTITUTION, f"repetir-{number}").definition for number, name in enumerate(TRAPS)
    }


@pytest.mark.parametrize("name", TRAPS)
def test_issuing_is_safe_to_repeat(
    network: LocalNetwork, definitions: dict[str, str], anchor: tuple[str, str], tmp_path: Path, name: str
) -> None:
    """Killed at this moment, run again, and once more: everybody has exactly one, and it verifies."""
    before = issued_so_far(network)
    learners, out = tmp_path / "alumnos.csv", tmp_path / "out"
    rows = "".join(f"Ana {number},Peña,{number:03}\n" for number in range(LEARNERS))
    learners.write_text("nombre,apellidos,matricula\n" + rows, encoding="utf-8")
    arguments = [
        "issue", "--definition", definitions[name], "--learners", learners, "--out", out,
        "--keystore", network.testnet.keystore(INSTITUTION),
    ]  # fmt: skip
    with proxy_to(network, TRAPS[name]) as proxy:
        proxy.victim = start_pila(*arguments, "--rpc", proxy.url, log=tmp_path / "first.log")
        assert proxy.victim.wait(harness.COMMAND_TIMEOUT_S) == -9, (tmp_path / "first.log").read_text("utf-8")
        assert proxy.is_sprung.is_set()

    done = pila(*arguments, "--rpc", network.nodes[0].rpc).json
    assert done["issued"] + done["already_issued"] == LEARNERS
    again = pila(*arguments, "--rpc", network.nodes[1].rpc).json
    assert (again["issued"], again["already_issued"]) == (0, LEARNERS)

    assert issued_so_far(network) == before + LEARNERS
    bundles = sorted(out.glob("*.pila.json"))
    assert len({read_bundle(file.read_bytes()).leaf.credential_id() for file in bundles}) == len(bundles) == LEARNERS
    assert all(item["verified"] for item in pila("verify", *bundles, *anchor).json["files"])
    assert [path.name for path in out.iterdir() if path.name.endswith(".part")] == []


def test_two_commands_at_once_give_nobody_two(network: LocalNetwork, anchor: tuple[str, str], tmp_path: Path) -> None:
    """The same file by two processes at the same time: one may have to be repeated, nobody has two."""
    definition = harness.publish(network, INSTITUTION, "a-la-vez").definition
    before = issued_so_far(network)
    learners, out = tmp_path / "alumnos.csv", tmp_path / "out"
    rows = "".join(f"Eva {number},Peña,{number:03}\n" for number in range(LEARNERS))
    learners.write_text("nombre,apellidos,matricula\n" + rows, encoding="utf-8")
    arguments = [
        "issue", "--definition", definition, "--learners", learners, "--out", out,
        "--keystore", network.testnet.keystore(INSTITUTION), "--rpc", network.nodes[0].rpc,
    ]  # fmt: skip
    started = [start_pila(*arguments, log=tmp_path / f"{number}.log") for number in range(2)]
    codes = [process.wait(harness.COMMAND_TIMEOUT_S) for process in started]
    logs = [(tmp_path / f"{number}.log").read_text("utf-8") for number in range(2)]
    assert 0 in codes, logs
    assert all("Traceback" not in log for log in logs), logs
    assert pila(*arguments).json["already_issued"] == LEARNERS
    assert issued_so_far(network) == before + LEARNERS
    bundles = sorted(out.glob("*.pila.json"))
    assert len(bundles) == LEARNERS
    assert all(item["verified"] for item in pila("verify", *bundles, *anchor).json["files"])
