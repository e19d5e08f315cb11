"""The message recorder: a ring of files in `data/recording`, each of which can be replayed by itself.

A file begins with what the core carried along, so an older file may be gone. A new one is begun with a height once the
present one is full; a height that fills a file alone is recorded no further: how a stall began says more than how it
went on. Recording is never worth a vote: when the disk refuses, the recorder stops and says so.
"""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from node.consensus.carried import Carried
from node.consensus.core import CoreOptions
from node.consensus.effects import Effect
from node.consensus.inputs import HeightStarted, Input
from node.errors import Rejected
from node.limits import RECORDING_FILE_BYTES_MAX, RECORDING_FILES_MAX
from node.recording import Encoder

RECORDING_FOLDER: Final = "recording"
SUFFIX: Final = ".rec"


class Recorder:
    """Writes down what one core is told, before it is applied, and what came of it."""

    def __init__(self, folder: Path, program: str, on_failure: Callable[[str], None]) -> None:
        """`on_failure` is told once, with a sentence, when nothing more is recorded."""
        self._folder = folder
        self._program = program
        self._on_failure = on_failure
        self._options: CoreOptions | None = None
        self._encoder = Encoder()
        self._file: int | None = None
        self._size = 0
        self._is_paused = False
        self._has_failed = False

    def begin(self, options: CoreOptions) -> None:
        """Learn of whose core this is; before anything is applied."""
        self._options = options

    def applying(self, event: Input, carried: Callable[[], Carried]) -> None:
        """An input is about to be applied; `carried`: what the core has carried along until now."""
        if isinstance(event, HeightStarted) and (self._file is None or self._size >= RECORDING_FILE_BYTES_MAX):
            self._guarded(self._begin_file, carried())
        if not self._is_paused:
            self._guarded(self._write, self._encoder.input(event))

    def applied(self, effects: Sequence[Effect]) -> None:
        """The input was taken."""
        self._finish(effects, None)

    def refused(self, rejection: Rejected) -> None:
        """The input was a peer's, and was refused."""
        self._finish((), rejection)

    def close(self) -> None:
        """Let go of the file. Harmless when repeated."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _finish(self, effects: Sequence[Effect], refusal: Rejected | None) -> None:
        if self._is_paused or self._file is None:
            return
        self._guarded(self._write, self._encoder.outcome(effects, refusal))
        if self._size >= 2 * RECORDING_FILE_BYTES_MAX:
            self._guarded(self._write, self._encoder.pause())
            self._is_paused = True

    def _begin_file(self, carried: Carried) -> None:
        assert self._options is not None
        self.close()
        self._folder.mkdir(exist_ok=True)
        numbers = sorted(int(path.stem) for path in self._folder.glob(f"*{SUFFIX}") if path.stem.isdigit())
        for number in numbers[: max(0, len(numbers) + 1 - RECORDING_FILES_MAX)]:
            self._path(number).unlink(missing_ok=True)
        path = self._path(numbers[-1] + 1 if numbers else 1)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._encoder, self._size, self._is_paused = Encoder(), 0, False
        self._write(self._encoder.opening(self._options, carried, self._program))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:010d}{SUFFIX}"

    def _write(self, data: bytes) -> None:
        """Hand bytes to the kernel: they outlive this process, not the machine."""
        if self._file is not None:
            written = os.write(self._file, data)
            self._size += written
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _guarded(self, call: Callable[..., None], argument: object) -> None:
        if self._has_failed:
            return
        try:
            call(argument)
        except OSError as error:
            self._has_failed = self._is_paused = True
            self.close()
            self._on_failure(f"cannot write to {self._folder}: {error.strerror}; nothing more is recorded")
