"""A network of real node processes on this machine: for the demonstration, benchmarks and functional tests."""

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from node.chain.block import PROTOCOL_VERSION
from tools.node_client import CallFailed, NodeClient, NodeUnreachable
from tools.testnet import HOST, PORTS_PER_NODE, Testnet, TestnetNode, write_testnet

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
FIRST_PORT: Final = 8_600
LAST_PORT: Final = 60_000
_PILA: Final = (sys.executable, "-m", "tools.pila")
_ENDS_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""Nodes would outlive a program that was killed. It is the thread which starts them that counts."""


class LocalNetwork:
    """Validators as child processes; each writes its log to `<home>/node.log`."""

    def __init__(self, testnet: Testnet) -> None:
        self.testnet = testnet
        self.prefixes: dict[int, Sequence[str]] = {}
        """Commands that start a node for us, such as `prlimit --fsize=1000000`; they must end by exec."""
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        validators: int = 4,
        base_port: int | None = None,
        institutions: Path | None = None,
        protocol_version: int = PROTOCOL_VERSION,
    ) -> Self:
        """Write a network's files into an empty folder; nothing runs yet."""
        port = base_port if base_port is not None else free_base_port(validators)
        return cls(
            write_testnet(
                folder,
                validators=validators,
                base_port=port,
                institutions=institutions,
                protocol_version=protocol_version,
            )
        )

    @property
    def nodes(self) -> tuple[TestnetNode, ...]:
        """The validators, by index."""
        return self.testnet.nodes

    def start(self, *indexes: int) -> None:
        """Start nodes (default: all) without waiting for them."""
        for index in indexes or range(len(self.nodes)):
            home = self.nodes[index].home
            with (home / "node.log").open("ab") as log:
                self._processes[index] = subprocess.Popen(
                    [*_ENDS_WITH_US, *self.prefixes.get(index, ()), *_PILA, "start", "--home", str(home)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )

    def wait_ready(self, *indexes: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until nodes (default: all) answer and have each other. Raises: RuntimeError with the log's end."""
        for index in indexes or range(len(self.nodes)):
            self.wait_until(functools.partial(self._is_ready, index), f"node {index} to be ready", timeout_s, index)

    def _is_ready(self, index: int) -> bool:
        import urllib.error
        import urllib.request

        try:
            with urllib.request.urlopen(self.nodes[index].rpc + "/ready", timeout=5) as response:  # noqa: S310 -- http, ours
                return bool(response.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except (urllib.error.URLError, OSError):
            return False

    def wait_until(
        self, holds: Callable[[], bool], what: str, timeout_s: float = START_TIMEOUT_S, index: int | None = None
    ) -> None:
        """Poll until something holds. Raises: RuntimeError naming what did not, with the node's last log lines."""
        deadline = time.monotonic() + timeout_s
        while True:
            with contextlib.suppress(NodeUnreachable, CallFailed):
                if holds():
                    return
            if index is not None and not self.is_running(index):
                raise RuntimeError(f"node {index} has stopped while waiting for {what}:\n{self.log_tail(index)}")
            if time.monotonic() > deadline:
                tail = "" if index is None else f":\n{self.log_tail(index)}"
                raise RuntimeError(f"waited {timeout_s:g} s for {what}{tail}")
            time.sleep(0.05)

    def client(self, index: int = 0) -> NodeClient:
        """Return a client of a node."""
        return NodeClient(self.nodes[index].rpc)

    def height(self, index: int = 0) -> int:
        """Return a node's height."""
        return int(self.client(index).call("node_status")["height"])

    def wait_height(self, height: int, *indexes: int, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until nodes (default: all) have a height."""
        for index in indexes or range(len(self.nodes)):
            has_it = functools.partial(self._has_height, index, height)
            self.wait_until(has_it, f"node {index} at height {height}", timeout_s, index)

    def _has_height(self, index: int, height: int) -> bool:
        return self.height(index) >= height

    def pid(self, index: int) -> int:
        """Return a node's process id."""
        return self._processes[index].pid

    def is_running(self, index: int) -> bool:
        """Tell whether a node's process lives."""
        process = self._processes.get(index)
        return process is not None and process.poll() is None

    def kill(self, index: int) -> None:
        """Kill a node with -9 and wait for its end."""
        self._processes[index].send_signal(signal.SIGKILL)
        self._processes[index].wait()

    def stop(self, *indexes: int) -> dict[int, int]:
        """Stop nodes (default: all) in order and return their exit codes; what hangs is killed."""
        wanted = indexes or tuple(self._processes)
        for index in wanted:
            if self.is_running(index):
                self._processes[index].send_signal(signal.SIGTERM)
        codes = {}
        for index in wanted:
            try:
                codes[index] = self._processes[index].wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill(index)
                codes[index] = -signal.SIGKILL
        return codes

    def wait_exit(self, index: int, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Wait for a node that should stop by itself and return its exit code."""
        return self._processes[index].wait(timeout_s)

    def log_tail(self, index: int, lines: int = 15) -> str:
        """Return the last lines of a node's log."""
        path = self.nodes[index].home / "node.log"
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def cpu_seconds(self) -> dict[int, float]:
        """Return user and system CPU seconds of each running node."""
        ticks = os.sysconf("SC_CLK_TCK")
        found = {}
        for index in self._processes:
            if self.is_running(index):
                fields = Path(f"/proc/{self.pid(index)}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
                found[index] = (int(fields[11]) + int(fields[12])) / ticks
        return found

    def memory_bytes(self, index: int) -> int:
        """Return a node's resident memory."""
        pages = int(Path(f"/proc/{self.pid(index)}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def running(folder: Path, *, validators: int = 4, base_port: int | None = None) -> Iterator[LocalNetwork]:
    """Make, start and in the end stop a network."""
    network = LocalNetwork.make(folder, validators=validators, base_port=base_port)
    try:
        network.start()
        network.wait_ready()
        yield network
    finally:
        network.stop()


def free_base_port(validators: int, *, first: int | None = None) -> int:
    """Return a base port from which every port that the validators need is free now.

    Looks from `first` on; by default from a place that differs by process, so that tests may run side by side.
    """
    step = PORTS_PER_NODE * validators
    start = FIRST_PORT + (os.getpid() * step) % 20_000 if first is None else first
    for base in range(start, LAST_PORT, step):
        if all(_is_free(base + PORTS_PER_NODE * i + offset) for i in range(validators) for offset in range(3)):
            return base
    raise RuntimeError(f"no {step} free ports from {start} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
