"""What is left on the disk of the data folder; its end would be a StorageError."""

import shutil
from pathlib import Path

from node.log import get_logger
from node.metrics import Metrics


class DiskWatch:
    """Looks at one folder's disk."""

    def __init__(self, folder: Path, free_bytes_min: int, metrics: Metrics) -> None:
        """`free_bytes_min`: with less the operator is warned."""
        self.low_bytes: int | None = None
        """What is free, where that is little."""
        self._folder = folder
        self._free_bytes_min = free_bytes_min
        self._metrics = metrics
        self._log = get_logger("app")

    def look(self) -> None:
        """Say in time that the disk is getting full, once until there is room again."""
        free_bytes = shutil.disk_usage(self._folder).free
        self._metrics.disk_free_bytes.set(free_bytes)
        least = self._free_bytes_min
        if free_bytes < least and self.low_bytes is None:
            self._log.warning("disk is getting full", free_bytes=free_bytes, wanted_bytes=least)
        self.low_bytes = free_bytes if free_bytes < least else None
