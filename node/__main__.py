"""`python -m node HOME`: run a node; `pila start --home HOME` does the same."""

import sys
from pathlib import Path

from node.app import run
from node.errors import ConfigError, StorageError


def main() -> int:
    """Run until a signal; return the exit code."""
    if len(sys.argv) != 2:
        sys.stderr.write("Usage: python -m node HOME\n")
        return 2
    try:
        run(Path(sys.argv[1]))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except StorageError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
