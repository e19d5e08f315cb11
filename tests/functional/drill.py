"""Real nodes under one fault after the other, for as long as one likes: `make drill MINUTES=30 VALIDATORS=7`.

Faults come in random order, each for some seconds, sometimes with a bad wire beneath; after each the network must be
whole again and every promise to a client kept. In the end all nodes are stopped, started, and read anew from block 0.
Logs stay where `--folder` says when anything was wrong. Source of chance: `--seed`.
"""

import argparse
import contextlib
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import save
from tests.functional import clocks, faults
from tests.functional.arena import Arena, arena
from tests.functional.faults import Fault, Outcome, endure, name_of
from tests.functional.small_disk import can_mount
from tests.functional.wire import Kind, best_kind

HOLD_MIN_S, HOLD_MAX_S = 2.0, 25.0
"""Between the shortest view and longer than silence that ends a connection."""
PAUSE_S = 0.05
BENEATH_SHARE = 0.25
"""How often a fault happens on a wire that is bad already."""
BENEATH: tuple[Fault, ...] = (faults.loss, faults.delay, faults.narrow)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a drill; 0: every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--validators", type=int, default=4)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--wire", choices=[*Kind], default=None, help="default: the best that this machine has")
    parser.add_argument("--fault", action="append", help="only this one; may be repeated")
    parser.add_argument("--folder", type=Path, help="where the network's files go; kept")
    options = parser.parse_args(arguments)
    say(f"seed {options.seed}")

    folder = options.folder or Path(tempfile.mkdtemp(prefix="pila-drill-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        figures = run(options, folder)
    except BaseException:
        say(f"logs and data are kept in {folder}")
        raise
    if options.folder is None:
        shutil.rmtree(folder)
    save(
        f"drill_{options.validators}",
        f"make drill MINUTES={options.minutes:g} VALIDATORS={options.validators}",
        figures,
    )
    return 0


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Play faults until the time is over; return what happened."""
    rng = random.Random(options.seed)
    kind = Kind(options.wire) if options.wire else best_kind()
    has_clocks = clocks.library() is not None
    disks = [options.validators - 1] if can_mount() else []
    available = [*faults.PROCESS_FAULTS, *faults.WIRE_FAULTS, *(faults.CLOCK_FAULTS if has_clocks else ())]
    available += [fault for fault in faults.DISK_FAULTS if disks or fault is not faults.disk_full]
    chosen = [fault for fault in available if not options.fault or name_of(fault) in options.fault]
    say(f"wire: {kind}; {', '.join(map(name_of, chosen))}")

    started, outcomes = time.monotonic(), list[Outcome]()
    with arena(
        folder,
        kind,
        rng=rng,
        validators=options.validators,
        wrong_clocks=has_clocks,
        small_disks=disks,
        pause_s=PAUSE_S,
    ) as made:
        made.wait_whole()
        while time.monotonic() - started < options.minutes * 60:
            for fault in rng.sample(chosen, len(chosen)):
                outcomes.append(_one(made, fault))
                if time.monotonic() - started > options.minutes * 60:
                    break
        height = _final_check(made)
        told = list(made.clients.told)
        return {
            "validators": options.validators,
            "wire": str(kind),
            "seed": options.seed,
            "minutes": round((time.monotonic() - started) / 60, 1),
            "faults": len(outcomes),
            "height": height,
            "acknowledged": sum(one.place is not None for one in told),
            "fate_unknown_to_the_client": sum(one.place is None for one in told),
            "refused": dict(made.clients.refused),
            "lost": 0,
            "double": 0,
            "equivocations": 0,
            "by_fault": _by_fault(outcomes),
        }


def _one(made: Arena, fault: Fault) -> Outcome:
    """Let one fault happen, perhaps on a bad wire, and hold everybody to what was promised so far."""
    hold_s = made.rng.uniform(HOLD_MIN_S, HOLD_MAX_S)
    with contextlib.ExitStack() as beneath:
        if made.rng.random() < BENEATH_SHARE:
            under = made.rng.choice(BENEATH)
            beneath.enter_context(under(made))
            say(f"beneath: {name_of(under)}")
        outcome = endure(made, fault, hold_s)
    height = made.check()
    say(f"height {height}, {len(made.clients.told)} transactions; {outcome}")
    return outcome


def _final_check(made: Arena) -> int:
    """Start all nodes anew and read them from block 0."""
    codes = made.network.stop()
    assert codes == dict.fromkeys(made.everybody, 0), codes
    made.network.start()
    made.wait_whole()
    return made.check(anew=True)


def _by_fault(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return how often each fault happened, and how long the network took afterwards."""
    grouped: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        grouped[outcome.fault].append(outcome)
    return {
        name: {
            "times": len(group),
            "acknowledged_meanwhile": sum(one.acknowledged_meanwhile for one in group),
            "seconds_to_next_block_median": round(statistics.median(one.next_block_s for one in group), 2),
            "seconds_to_next_block_max": round(max(one.next_block_s for one in group), 2),
            "seconds_until_whole_median": round(statistics.median(one.whole_s for one in group), 2),
            "seconds_until_whole_max": round(max(one.whole_s for one in group), 2),
        }
        for name, group in sorted(grouped.items())
    }


def say(text: str) -> None:
    """Write a line with the time of day."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
