"""Wrong clocks: what time a node believes it is, set while it runs. The Debian package `faketime` does it.

Only the clock of day is changed. Timers run on the monotonic clock, which a step does not move, on a real machine
as here.
"""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.functional.small_disk import can_mount, mount_flags

LIBRARY_FOLDERS = ("/usr/lib", "/usr/local/lib", "/usr/lib64")
REREAD_S = 1
"""How long a node goes on with the time it has before it looks again."""
DRIFT_STEP_S = 0.25


def library() -> Path | None:
    """Return the library that is put before libc, if it is installed."""
    found = (path for folder in LIBRARY_FOLDERS for path in Path(folder).glob("**/faketime/libfaketimeMT.so.1"))
    return next(found, None)


class Clocks:
    """The clocks of a network's nodes, right ones in the beginning."""

    def __init__(self, folder: Path, size: int) -> None:
        """Write a file for each node; `folder` must exist."""
        path = library()
        assert path is not None, "faketime is not installed"
        self._library = path
        self._files = [folder / f"clock{index}" for index in range(size)]
        for index in range(size):
            self.set(index, "+0")

    def prefix(self, index: int) -> list[str]:
        """What a node is started with."""
        # The library leaves a file in /dev/shm for each process that is killed: give it one that ends with the node.
        own_memory = ["unshare", *mount_flags(), "sh", "-c", 'mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"]
        return [
            *(own_memory if can_mount() else ()),
            "env",
            f"LD_PRELOAD={self._library}",
            f"FAKETIME_TIMESTAMP_FILE={self._files[index]}",
            f"FAKETIME_CACHE_DURATION={REREAD_S}",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
        ]

    def set(self, index: int, offset: str) -> None:
        """Give a node a clock: `+3600` an hour ahead, `-5` behind; in effect within REREAD_S."""
        made = self._files[index].with_suffix(".new")
        made.write_text(offset + "\n", encoding="ascii")
        made.replace(self._files[index])

    @contextlib.contextmanager
    def drifting(self, indexes: Sequence[int], share: float) -> Iterator[None]:
        """Let clocks run fast by a share of the time that passes, or slow where it is negative; right in the end."""
        is_over, started = threading.Event(), time.monotonic()

        def drift() -> None:
            while not is_over.wait(DRIFT_STEP_S):
                for index in indexes:
                    self.set(index, f"{(time.monotonic() - started) * share:+.3f}")

        thread = threading.Thread(target=drift, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            for index in indexes:
                self.set(index, "+0")
