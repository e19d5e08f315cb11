"""A disk of a few megabytes for one node: a file system in a mount namespace of its own."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.functional import harness


@dataclass
class SmallDisk:
    """A mounted file system; gone when its keeper ends, and that ends with its standard input, so with the test."""

    folder: Path
    keeper: subprocess.Popen[bytes]

    @property
    def prefix(self) -> list[str]:
        """What runs a command where the small disk is mounted."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.keeper.pid}", "--mount", "--root", f"--wd={harness.REPOSITORY}", *user]

    def run(self, *words: object) -> None:
        """Run a command there."""
        subprocess.run([*self.prefix, *map(str, words)], check=True, cwd="/")


def can_mount() -> bool:
    """Tell whether this machine lets us mount in a namespace."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return False
    return subprocess.run(["unshare", *mount_flags(), "true"], check=False, capture_output=True).returncode == 0


@contextlib.contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[SmallDisk]:
    """Mount a small disk over a folder, keeping what was in it."""
    copy, flag = folder.with_name("data.copy"), folder.with_name("mounted")
    shutil.copytree(folder, copy)
    script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && cp -a "$3/." "$2/" && touch "$4" && exec cat'
    words = ["sh", "-c", script, "sh", str(size_bytes), str(folder), str(copy), str(flag)]
    with subprocess.Popen(
        ["unshare", *mount_flags(), *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as keeper:
        try:
            while not flag.exists():
                assert keeper.poll() is None, "the small disk could not be mounted"
                time.sleep(0.02)
            yield SmallDisk(folder, keeper)
        finally:
            keeper.kill()


def mount_flags() -> list[str]:
    """Return what `unshare` needs for a mount namespace."""
    return ["--mount"] if os.geteuid() == 0 else ["--map-root-user", "--mount"]
