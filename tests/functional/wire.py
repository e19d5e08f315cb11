"""The wire between the nodes of a test: cut, one way or both, lossy, slow, narrow.

Two kinds, with one set of commands. `Kind.NAMESPACES`: every node in a network namespace of its own, and a process
between them that carries each IP packet or does not; TCP is the kernel's own, so a lost packet is a lost packet.
It needs root and /dev/net/tun. `Kind.PROXY`: nodes dial each other through a process that carries the bytes of each
connection; it runs anywhere, and shows loss as what TCP makes of it, a pause. Either process ends with its standard
input, so nothing is left behind when a test ends in whatever way: namespaces have no name, the kernel takes them back.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any

from msgspec import structs

from node.config import config_text, parse_config
from tests.functional.harness import REPOSITORY
from tests.functional.wire_process import Link
from tools.local_network import LocalNetwork

STOP_TIMEOUT_S = 30


CUT = Link(is_cut=True)
Links = Mapping[tuple[int, int], Link]
"""By sender and receiver; what is not in it is clear."""


class Kind(StrEnum):
    """How nodes are kept apart."""

    NAMESPACES = "namespaces"
    PROXY = "proxy"


MODULES = {Kind.NAMESPACES: "tests.functional.wire_namespaces", Kind.PROXY: "tests.functional.wire_proxy"}


class Wire:
    """The wire of one network; made by `wired` before its nodes start."""

    def __init__(self, kind: Kind, process: subprocess.Popen[str], size: int) -> None:
        self.kind = kind
        self._process = process
        self._size = size
        self._layers: list[Links] = []
        """The later ones hide the earlier ones."""

    @contextlib.contextmanager
    def shaped(self, links: Links) -> Iterator[None]:
        """Make some links so, on top of what is; clear them in the end."""
        self._layers.append(links)
        self._apply()
        try:
            yield
        finally:
            self._layers.remove(links)
            self._apply()

    def _apply(self) -> None:
        effective = {pair: link for layer in self._layers for pair, link in layer.items()}
        command = [[sender, receiver, asdict(link)] for (sender, receiver), link in effective.items()]
        assert _ask(self._process, command), f"the wire has ended with {self._process.wait()}"

    def all_pairs(self, link: Link) -> Links:
        """Return one link between all."""
        everybody = range(self._size)
        return one_way(everybody, everybody, link)


def between(first: Iterable[int], second: Iterable[int], link: Link = CUT) -> Links:
    """Return the links between two groups, both ways."""
    one, other = list(first), list(second)
    return one_way(one, other, link) | one_way(other, one, link)


def one_way(senders: Iterable[int], receivers: Iterable[int], link: Link = CUT) -> dict[tuple[int, int], Link]:
    """Return the links from some to others."""
    to = list(receivers)
    return {(a, b): link for a in senders for b in to if a != b}


def best_kind() -> Kind:
    """Return NAMESPACES where this machine lets us make them, else PROXY."""
    with _started(MODULES[Kind.NAMESPACES], Path(os.devnull)) as process:
        # The process ends with a traceback where it may not.
        return Kind.NAMESPACES if _ask(process, {"ports": [[0, 0, 0]] * 2}) else Kind.PROXY


@contextlib.contextmanager
def wired(network: LocalNetwork, kind: Kind) -> Iterator[Wire]:
    """Put a wire between the nodes of a network that has not started; gone on leaving."""
    log = network.testnet.output / "wire.log"
    with _started(MODULES[kind], log) as process:
        ports = [[node.ports.rpc, node.ports.p2p, node.ports.metrics] for node in network.nodes]
        answer = _ask(process, {"ports": ports})
        assert answer, log.read_text(encoding="utf-8")
        for index, node in enumerate(network.nodes):
            # Namespaces: every node has an address. Proxy: every pair has a port.
            own = answer["listen"][index]
            peers = {other.institution: answer["dial"][index][j] for j, other in enumerate(network.nodes) if j != index}
            _readdress(node.home / "config.toml", own, peers)
            network.prefixes[index] = [*network.prefixes.get(index, ()), *answer["prefix"][index]]
        yield Wire(kind, process, len(network.nodes))


@contextlib.contextmanager
def _started(module: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ask(process: subprocess.Popen[str], command: object) -> dict[str, Any]:
    """Give one command; an empty answer: the process has ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(command) + "\n")
        process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline() or "{}")
    return answer


def _readdress(path: Path, listen: str, peers: Mapping[str, str]) -> None:
    """Let a node listen and dial elsewhere."""
    config = parse_config(path.read_bytes())
    moved = tuple(structs.replace(peer, address=peers[peer.institution]) for peer in config.p2p.peers)
    p2p = structs.replace(config.p2p, listen=listen, peers=moved)
    path.write_text(config_text(structs.replace(config, p2p=p2p)), encoding="utf-8")
