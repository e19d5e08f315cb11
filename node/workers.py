"""The one other process of a node: does what would hold up the event loop, within a time limit.

Some hostile JSON-LD never canonicalises; a thread could not be ended, a process can. It is started
when there is first something to do, takes one piece of work at a time, and is replaced when it had
to be killed. Source: ARCHITECTURE, rules 2 and 10.
"""

import asyncio
import contextlib
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from traceback import extract_tb
from typing import Final, TypeVar

from node.chain.checkpoint import Checkpoint
from node.documents.answer import Answer
from node.errors import Reason, Rejected
from node.limits import BUNDLE_BYTES_MAX, VERIFICATION_MS_MAX, VERIFICATIONS_PENDING_MAX, WORKER_MEMORY_BYTES_MAX
from node.primitives import Hash, TimestampMs

T = TypeVar("T")

_LENGTH_BYTES: Final = 4
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


class Overloaded(Exception):
    """There is no room or no time for this piece of work; the sentence says which."""


class WorkFailed(Exception):
    """Our own fault while working; says what and where, and nothing of what was worked on."""


class Worker:
    """One process beside this one, and the line before it."""

    def __init__(self, *, timeout_ms: int = VERIFICATION_MS_MAX, pending_max: int = VERIFICATIONS_PENDING_MAX) -> None:
        self._timeout_ms = timeout_ms
        self._pending_max = pending_max
        self._pending = 0
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function of a module there and return what it returns.

        Raises: Rejected as the function does; Overloaded when too many wait, or it takes too long; WorkFailed.
        """
        if self._pending >= self._pending_max:
            raise Overloaded(f"{self._pending} pieces of work are waiting already")
        self._pending += 1
        try:
            async with self._turn:
                return await self._run(function, arguments)
        finally:
            self._pending -= 1

    async def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _run(self, function: Callable[..., T], arguments: tuple[object, ...]) -> T:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "node.workers",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**20,
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        request = pickle.dumps((function.__module__, function.__qualname__, arguments))
        try:
            async with asyncio.timeout(self._timeout_ms / 1_000):
                process.stdin.write(len(request).to_bytes(_LENGTH_BYTES, "big") + request)
                await process.stdin.drain()
                length = int.from_bytes(await process.stdout.readexactly(_LENGTH_BYTES), "big")
                assert length <= _ANSWER_BYTES_MAX
                reply = await process.stdout.readexactly(length)
        except TimeoutError:
            await self.stop()
            raise Overloaded(f"it took longer than {self._timeout_ms} ms and was ended") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            await self.stop()
            raise Overloaded("it used more memory than it may, and was ended") from None
        except BaseException:
            # Cancelled between question and answer: the next one must not read this one's answer.
            await self.stop()
            raise
        is_good, value = pickle.loads(reply)  # noqa: S301 – written by our own process
        if not is_good:
            raise value if isinstance(value, Rejected) else WorkFailed(str(value))
        result: T = value
        return result


def verify_bundle(
    data: bytes, is_file: bool, genesis_hash: Hash, now_ms: TimestampMs, checkpoints: Sequence[Checkpoint] = ()
) -> Answer:
    """Verify a bundle; `is_file` = exactly the file, else any JSON of it, which is made canonical first."""
    from node.documents.jcs import canonical, parse  # noqa: PLC0415 – only the other process loads the JSON-LD library
    from node.documents.verifier import verify_bundle as verify  # noqa: PLC0415 – as above

    if not is_file:
        with contextlib.suppress(Rejected):
            data = canonical(parse(data, bytes_max=BUNDLE_BYTES_MAX))
    return verify(data, genesis_hash=genesis_hash, now_ms=now_ms, checkpoints=checkpoints)


def main() -> None:
    """Do one piece of work after the other until the parent closes the pipe."""
    import importlib  # noqa: PLC0415 – only the other process needs it
    import resource  # noqa: PLC0415 – as above

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY_BYTES_MAX, WORKER_MEMORY_BYTES_MAX))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints must not end up between answers
    while length := source.read(_LENGTH_BYTES):
        module, name, arguments = pickle.loads(source.read(int.from_bytes(length, "big")))  # noqa: S301 – from our parent
        try:
            reply = pickle.dumps((True, getattr(importlib.import_module(module), name)(*arguments)))
        except Rejected as rejection:
            reply = pickle.dumps((False, rejection))
        except (MemoryError, RecursionError) as error:
            reply = pickle.dumps((False, Rejected(Reason.TOO_LARGE, f"{type(error).__name__} while working on it")))
        except Exception as error:  # noqa: BLE001 – our own fault, for the log of the parent
            # Without its message, which could quote what was uploaded.
            place = ", ".join(f"{frame.filename}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-3:])
            reply = pickle.dumps((False, f"{type(error).__name__} at {place}"))
        target.write(len(reply).to_bytes(_LENGTH_BYTES, "big") + reply)
        target.flush()


if __name__ == "__main__":
    main()
