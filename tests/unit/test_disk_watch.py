"""An operator hears once that the disk is getting full, and again when it was emptied and fills anew."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from node.disk_watch import DiskWatch
from node.metrics import Metrics


def test_a_disk_that_is_getting_full_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """100 bytes are little: what is free at each look, what the watch says of it, and the lines of the log."""
    metrics = Metrics()
    watch = DiskWatch(tmp_path, 100, metrics)
    seen = []
    with capture_logs() as lines:
        for free in (100, 99, 98, 100, 50):
            monkeypatch.setattr(shutil, "disk_usage", lambda _folder, free=free: SimpleNamespace(free=free))
            watch.look()
            seen.append((watch.low_bytes, metrics.registry.get_sample_value("pila_disk_free_bytes")))
    assert seen == [(None, 100), (99, 99), (98, 98), (None, 100), (50, 50)]
    assert [(line["event"], line["free_bytes"], line["wanted_bytes"]) for line in lines] == [
        ("disk is getting full", 99, 100),
        ("disk is getting full", 50, 100),
    ]
