"""Every benchmark, one after the other, each in a process of its own: `make bench`."""

import subprocess
import sys

BENCHMARKS = (
    "micro_state",
    "micro_chain",
    "micro_documents",
    "micro_p2p",
    "micro_signer",
    "rpc_load",
    "start_up",
    "long_catch_up",
    "cluster",
    "dead_proposers",
    "view_change",
    "wide_area",
    "vote_latency",
)


def main() -> int:
    """Run all; the exit code is 1 if one of them failed."""
    failed = [name for name in BENCHMARKS if subprocess.call([sys.executable, "-m", f"benchmarks.{name}"]) != 0]
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
