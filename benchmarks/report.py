"""How results are written: JSON with the machine and how they were made, and a line for people."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """Describe the machine, without its name."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(aliased=True, terse=True),
        "python": platform.python_version(),
    }


def save(name: str, command: str, figures: dict[str, Any]) -> None:
    """Write `results/<name>.json` and print the figures."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    ).stdout.strip()
    document = {
        "name": name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "commit": commit,
        "machine": machine(),
        "figures": figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sys.stdout.write(f"{name}\n")
    for key, value in figures.items():
        sys.stdout.write(f"  {key:<44} {value}\n")
    sys.stdout.flush()
