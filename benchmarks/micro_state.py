"""What the state costs: CPU per updated key, proofs, start and memory, at 10k, 100k and 1M keys.

    .venv/bin/python benchmarks/micro_state.py [--keys 10000 --keys 100000 …] [--folder DIR]

CPU time of the calling thread, best and median over the blocks of one run; beside it that of the
whole process (LevelDB compacts in a thread of its own), and what one hash costs, as the measure of the
machine. A block has 1,000 updates, half of them new keys, with records of 100 bytes, and one synced
write. Opening is measured in a process of its own, whose peak memory includes the interpreter and the
database's mapped tables.
"""

import argparse
import gc
import hashlib
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from node.state.kv import WriteBatch
from node.state.leveldb import open_leveldb
from node.state.proof import ExistenceProof, NonExistenceProof, verify_exist, verify_nonexist
from node.state.world_state import PreparedState, StateStore

UPDATES_PER_BLOCK = 1_000
BLOCKS = 24
LOADING_BATCH = 20_000
PROOFS = 2_000


def main() -> None:
    """Measure, or (as the child) only open."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, action="append")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open is not None:
        measure_opening(arguments.open)
        return
    for key_count in arguments.keys or (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            measure(Path(folder) / "db", key_count)


def plain_key(number: int) -> str:
    """Return a key of the usual length."""
    return f"sta/ugto.mx/{number:064x}"


def measure(path: Path, key_count: int) -> None:
    """Fill a database, run blocks on it, prove from it, and open it again in a child."""
    rng = random.Random(key_count)
    with open_leveldb(path) as store:
        state = StateStore.open(store)
        for first in range(0, key_count, LOADING_BATCH):
            numbers = range(first, min(first + LOADING_BATCH, key_count))
            changes = {plain_key(number): rng.randbytes(100) for number in numbers}
            batch = WriteBatch()
            height = first // LOADING_BATCH
            prepared = state.prepare(changes)
            state.stage(prepared, height, batch)
            store.write(batch, sync=False)
            state.apply(prepared, height)
    settle()
    subprocess.run([sys.executable, __file__, "--open", str(path)], check=True)
    with open_leveldb(path) as store:
        state = StateStore.open(store)
        settle()
        measure_hash()
        measure_blocks(state, store.write, rng)
        measure_proofs(state, rng, key_count)


def settle() -> None:
    """Wait until the database's own thread has nothing left to do."""
    before = -1.0
    while time.process_time() - before > 0.1:
        before = time.process_time()
        time.sleep(1)


def measure_hash() -> None:
    """Print what one inner hash costs here and now."""
    node = bytes(65)
    best = math.inf
    for _ in range(20):
        started = time.thread_time()
        for _ in range(10_000):
            hashlib.sha256(node).digest()
        best = min(best, (time.thread_time() - started) / 10_000 * 1e6)
    print(f"           one SHA-256 of 65 bytes: {best:.2f} µs")


def measure_opening(path: Path) -> None:
    """Print what opening takes in a fresh process."""
    gc.disable()
    started, started_thread = time.process_time(), time.thread_time()
    with open_leveldb(path) as store:
        state = StateStore.open(store)
        seconds = time.process_time() - started
        seconds_thread = time.thread_time() - started_thread
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        private_mb = sum(
            int(line.split()[1])
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines()
            if line.startswith("RssAnon:")
        )
        print(
            f"{state.key_count:>9,} keys: open {seconds_thread:.2f} s CPU (with compaction {seconds:.2f}), "
            f"peak {peak_mb:.0f} MB, of which not files {private_mb / 1024:.0f} MB"
        )


def measure_blocks(state: StateStore, write: Callable[..., None], rng: random.Random) -> None:
    """Print the CPU time per updated key of each step of a block."""
    steps: dict[str, list[float]] = {"prepare": [], "stage": [], "write": [], "apply": []}
    steps |= {"sum": [], "with compaction": []}
    first_new = state.key_count
    for block in range(BLOCKS):
        new = range(first_new + block * UPDATES_PER_BLOCK // 2, first_new + (block + 1) * UPDATES_PER_BLOCK // 2)
        old = rng.sample(range(first_new), UPDATES_PER_BLOCK // 2)
        changes = {plain_key(number): rng.randbytes(100) for number in [*old, *new]}
        height = state.height + 1
        batch = WriteBatch()
        started = time.process_time()
        marks = [time.thread_time()]
        prepared: PreparedState = state.prepare(changes)
        marks.append(time.thread_time())
        state.stage(prepared, height, batch)
        marks.append(time.thread_time())
        write(batch, sync=True)
        marks.append(time.thread_time())
        state.apply(prepared, height)
        marks.append(time.thread_time())
        for name, (start, end) in zip(steps, pairwise(marks), strict=False):
            steps[name].append((end - start) / UPDATES_PER_BLOCK * 1e6)
        steps["sum"].append((marks[-1] - marks[0]) / UPDATES_PER_BLOCK * 1e6)
        steps["with compaction"].append((time.process_time() - started) / UPDATES_PER_BLOCK * 1e6)
    figures = ", ".join(f"{name} {min(times):.1f} ({statistics.median(times):.1f})" for name, times in steps.items())
    print(f"           µs a key, best (median): {figures}")


def measure_proofs(state: StateStore, rng: random.Random, key_count: int) -> None:
    """Print the CPU time of making and of checking a proof."""
    present = [plain_key(rng.randrange(key_count)) for _ in range(PROOFS)]
    absent = [f"use/{rng.randbytes(32).hex()}" for _ in range(PROOFS)]
    marks = [time.thread_time()]
    existing = [state.prove(name) for name in present]
    marks.append(time.thread_time())
    missing = [state.prove(name) for name in absent]
    marks.append(time.thread_time())
    for name, proof in zip(present, existing, strict=True):
        assert isinstance(proof, ExistenceProof)
        verify_exist(state.root, name, proof.value, proof)
    marks.append(time.thread_time())
    for name, proof in zip(absent, missing, strict=True):
        assert isinstance(proof, NonExistenceProof)
        verify_nonexist(state.root, name, proof)
    marks.append(time.thread_time())
    each = [(end - start) / PROOFS * 1e6 for start, end in pairwise(marks)]
    print(
        f"           µs a proof: make present {each[0]:.0f}, absent {each[1]:.0f}; "
        f"verify present {each[2]:.0f}, absent {each[3]:.0f}"
    )


if __name__ == "__main__":
    main()
