"""How long a killed proposer holds up the network: from `kill -9` to the next committed block, trial after trial.

Each trial: everybody is well and nothing waits; whoever is due to propose the next height is killed and a transaction
is submitted elsewhere at once. What counts is the ratio of the time until it is committed to the view timeout that was
in force (`pila_view_timeout_seconds`). Then the victim is started, and blocks are made until it proposes again.
Run: `.venv/bin/python -m benchmarks.view_change`.
"""

import argparse
import functools
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster import Issuer, make_batches, publish_definitions
from benchmarks.report import save
from node import codec
from node.chain.demerits import NO_DEMERITS, Demerits
from node.chain.rotation import Rotation
from node.chain.validator_set import ValidatorSet
from tools.local_network import LocalNetwork, running

BLOCKS_BETWEEN_MAX: Final = 600
STILL_S: Final = 0.5
RECORD_BYTES_MAX: Final = 2**20


def view_timeout_s(network: LocalNetwork, index: int) -> float:
    """Return how long a node would wait in the view it is in."""
    with urllib.request.urlopen(network.nodes[index].metrics, timeout=30) as response:
        lines = response.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("pila_view_timeout_seconds "))


def next_proposer(network: LocalNetwork) -> tuple[int, bool]:
    """Return the index of the node that is due at the next height, and whether anybody is passed over there."""
    client = network.client()
    validators = codec.decode(
        bytes.fromhex(client.call("chain_validators")["raw"]), ValidatorSet, bytes_max=RECORD_BYTES_MAX
    )
    value = client.call("state_proof", key="val/demerits")["value"]
    demerits = (
        NO_DEMERITS if value is None else codec.decode(bytes.fromhex(value), Demerits, bytes_max=RECORD_BYTES_MAX)
    )
    height = network.height() + 1
    due = validators.members[Rotation(validators, height, demerits).proposer(0)].institution
    institutions = [node.institution for node in network.nodes]
    return institutions.index(due), bool(demerits.passed_over(validators, height))


def make_block(network: LocalNetwork, issuers: Sequence[Issuer], through: int) -> int:
    """Have one transaction committed and return its height."""
    client = network.client(through)
    (data,) = make_batches(network, issuers, number=1, size=1)
    return int(client.wait(client.submit(data))["height"])


def trial(network: LocalNetwork, issuers: Sequence[Issuer]) -> dict[str, Any] | None:
    """Kill the proposer of the next height and measure; None: the height had another one."""
    victim, _ = next_proposer(network)
    through = (victim + 1) % len(network.nodes)
    client = network.client(through)
    (data,) = make_batches(network, issuers, number=1, size=1)
    timeout_s = view_timeout_s(network, through)
    network.kill(victim)
    started = time.monotonic()
    found = client.wait(client.submit(data))
    seconds = time.monotonic() - started
    view = client.call("chain_certificate", height=found["height"])["view"]
    network.start(victim)
    network.wait_ready()
    if view == 0:
        return None
    return {
        "seconds": round(seconds, 3),
        "timeout_seconds": timeout_s,
        "ratio": round(seconds / timeout_s, 3),
        "view": view,
    }


def rest(network: LocalNetwork, issuers: Sequence[Issuer]) -> None:
    """Make blocks until nobody is passed over any more, then wait until all are connected and nothing moves."""
    for number in range(BLOCKS_BETWEEN_MAX):
        height = make_block(network, issuers, number % len(network.nodes))
        network.wait_height(height)
        if not next_proposer(network)[1]:
            break
    else:
        raise RuntimeError(f"somebody is still passed over after {BLOCKS_BETWEEN_MAX} blocks")
    for index in range(len(network.nodes)):
        connected = functools.partial(_is_connected_with_all, network, index)
        network.wait_until(connected, f"node {index} to be connected with all others")
    time.sleep(STILL_S)


def _is_connected_with_all(network: LocalNetwork, index: int) -> bool:
    return int(network.client(index).call("node_status")["peers"]) == len(network.nodes) - 1


def main() -> None:
    """Run the trials and save the distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--validators", type=int, default=4)
    options = parser.parse_args()
    trials: list[dict[str, Any]] = []
    missed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "network", validators=options.validators) as network,
    ):
        issuers = publish_definitions(network)
        while len(trials) < options.trials:
            rest(network, issuers)
            found = trial(network, issuers)
            if found is None:
                missed += 1
            else:
                trials.append(found)
    ratios = sorted(found["ratio"] for found in trials)
    figures = {
        "validators": options.validators,
        "trials": len(trials),
        "trials_without_view_change": missed,
        "ratio_to_view_timeout_median": round(statistics.median(ratios), 3),
        "ratio_to_view_timeout_p90": ratios[int(len(ratios) * 0.9)],
        "ratio_to_view_timeout_max": ratios[-1],
        "seconds_median": round(statistics.median(found["seconds"] for found in trials), 3),
        "seconds_max": max(found["seconds"] for found in trials),
        "seconds_all": [found["seconds"] for found in trials],
        "view_timeout_seconds_in_force": sorted({found["timeout_seconds"] for found in trials}),
        "views": sorted(found["view"] for found in trials),
    }
    save("view_change", f".venv/bin/python -m benchmarks.view_change --trials {options.trials}", figures)


if __name__ == "__main__":
    main()
