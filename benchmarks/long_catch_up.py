"""What a chain of 100,000 blocks costs: a restart, and catching up from nothing by a snapshot and by blocks.

Two validators of four have the chain; a third one is restarted on it, then wiped, and catches up from the two. Nothing
is decided meanwhile: two of four are no quorum. `load_average` says how much else the machine did.
Run: `.venv/bin/python -m benchmarks.long_catch_up`; `--chain FOLDER` takes a chain that `benchmarks.long_chain` made.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import long_chain
from benchmarks.report import save
from node.config import CONFIG_FILE, DATA_FOLDER
from node.snapshots import CHAIN_FOLDER, SNAPSHOTS_FOLDER
from tools.local_network import LocalNetwork

STARTS: Final = 5
NODE: Final = 3
SOURCES: Final = (0, 1)
PATIENCE_S: Final = 3_600


@dataclass(frozen=True, slots=True)
class Spent:
    """What catching up took."""

    seconds: float
    cpu_seconds: float
    """Of the node that catches up."""
    cpu_seconds_serving: float
    """Of both that give."""


def restart(network: LocalNetwork, index: int, height: int) -> tuple[float, float]:
    """Start a node that has the chain; return wall and CPU seconds until it answers with its height."""
    began = time.perf_counter()
    network.start(index)
    network.wait_height(height, index, timeout_s=PATIENCE_S)
    seconds, cpu = time.perf_counter() - began, network.cpu_seconds()[index]
    network.stop(index)
    return seconds, cpu


def catch_up(network: LocalNetwork, height: int, *, by_snapshot: bool) -> Spent:
    """Start a wiped node and wait until it has the head."""
    long_chain.wipe(network, NODE)
    _set(network, "restore_from_snapshot", "true" if by_snapshot else "false")
    before = network.cpu_seconds()
    began = time.perf_counter()
    network.start(NODE)
    network.wait_height(height, NODE, timeout_s=PATIENCE_S)
    seconds, cpu = time.perf_counter() - began, network.cpu_seconds()
    pruned = int(network.client(NODE).call("node_status")["pruned_below"])
    assert (pruned > 0) == by_snapshot, f"blocks begin at {pruned}"
    network.stop(NODE)
    return Spent(seconds, cpu[NODE], sum(cpu[index] - before[index] for index in SOURCES))


def _set(network: LocalNetwork, option: str, value: str) -> None:
    path = network.nodes[NODE].home / CONFIG_FILE
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith(option)]
    at = lines.index("[storage]")
    path.write_text("\n".join([*lines[: at + 1], f"{option} = {value}", *lines[at + 1 :]]) + "\n", encoding="utf-8")


def bytes_of(folder: Path) -> int:
    """Return what the files of a folder take."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prepare(network: LocalNetwork, blocks: int) -> None:
    """Give the chain to the second source and start both."""
    long_chain.give(network, SOURCES[1])
    network.start(*SOURCES)
    for index in SOURCES:
        network.wait_height(blocks, index, timeout_s=PATIENCE_S)


def measure_snapshot(network: LocalNetwork, blocks: int) -> dict[str, object]:
    """Return what restarts and a catch-up by snapshot take."""
    data = network.nodes[0].home / DATA_FOLDER
    starts = [restart(network, 0, blocks) for _ in range(STARTS)]
    prepare(network, blocks)
    spent = catch_up(network, blocks, by_snapshot=True)
    return {
        "blocks": blocks,
        "chain_mib": round(bytes_of(data / CHAIN_FOLDER) / 2**20),
        "snapshot_mib": round(bytes_of(data / SNAPSHOTS_FOLDER) / 2**20),
        "restart_seconds_median": round(statistics.median(seconds for seconds, _ in starts), 2),
        "restart_seconds_max": round(max(seconds for seconds, _ in starts), 2),
        "restart_cpu_seconds_median": round(statistics.median(cpu for _, cpu in starts), 2),
        "catch_up_seconds": round(spent.seconds, 1),
        "catch_up_cpu_seconds": round(spent.cpu_seconds, 1),
        "serving_cpu_seconds": round(spent.cpu_seconds_serving, 1),
        "load_average": round(os.getloadavg()[1], 1),
    }


def measure_blocks(network: LocalNetwork, blocks: int) -> dict[str, object]:
    """Return what catching up by blocks takes."""
    prepare(network, blocks)
    spent = catch_up(network, blocks, by_snapshot=False)
    return {
        "blocks": blocks,
        "catch_up_seconds": round(spent.seconds, 1),
        "blocks_per_second": round(blocks / spent.seconds),
        "catch_up_cpu_seconds": round(spent.cpu_seconds, 1),
        "blocks_per_cpu_second": round(blocks / spent.cpu_seconds),
        "serving_cpu_seconds": round(spent.cpu_seconds_serving, 1),
        "load_average": round(os.getloadavg()[1], 1),
    }


MEASURES: Final = {"snapshot": measure_snapshot, "blocks": measure_blocks}


def main() -> None:
    """Make or take the chain, measure, and save the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=long_chain.BLOCKS)
    parser.add_argument("--chain", type=Path, help="a folder that benchmarks.long_chain wrote; it is not changed")
    parser.add_argument("--by", choices=sorted(MEASURES), action="append", help="default: both ways")
    options = parser.parse_args()
    for way in options.by or MEASURES:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "network"
            if options.chain is None:
                network = long_chain.make(place, options.blocks)
            else:
                shutil.copytree(options.chain, place)
                network = long_chain.reopen(place)
            try:
                figures = MEASURES[way](network, options.blocks)
            finally:
                network.stop()
        command = f".venv/bin/python -m benchmarks.long_catch_up --by {way} --blocks {options.blocks}"
        save(f"long_catch_up_by_{way}", command, figures)


if __name__ == "__main__":
    main()
