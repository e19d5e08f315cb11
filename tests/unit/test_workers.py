"""The other process does what it is asked, is ended when it takes too long, and is replaced.

It finds functions by module and name, so those of the standard library stand for good and bad work.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.workers import Overloaded, Worker, WorkFailed, verify_bundle


def working(use: Callable[[Worker], Awaitable[None]], **options: int) -> None:
    """Use a worker in a loop, and end it."""

    async def run() -> None:
        worker = Worker(**options)
        try:
            await use(worker)
        finally:
            await worker.stop()

    asyncio.run(run())


def test_work_is_done_in_another_process() -> None:
    """And in the same one again: starting it takes half a second."""

    async def use(worker: Worker) -> None:
        first = await worker.run(os.getpid)
        assert first != os.getpid()
        assert await worker.run(os.getpid) == first
        assert await worker.run(sha256, b"x") == sha256(b"x")

    working(use)


def test_refusal_comes_back_as_it_was() -> None:
    """Reason and detail cross the pipe."""

    async def use(worker: Worker) -> None:
        from node.chain.transaction import decode_transaction

        with pytest.raises(Rejected) as refused:
            await worker.run(decode_transaction, b"")
        with pytest.raises(Rejected) as here:
            decode_transaction(b"")
        assert (refused.value.reason, refused.value.detail) == (here.value.reason, here.value.detail)

    working(use)


def test_our_own_fault_says_nothing_of_what_was_worked_on(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither its message nor a traceback, for either could quote an upload; the process goes on."""

    async def use(worker: Worker) -> None:
        process = await worker.run(os.getpid)
        with pytest.raises(WorkFailed, match=r"^ValueError at \S+workers\.py:\d+, \S+uuid\.py:\d+$"):
            await worker.run(UUID, "María Núñez")
        assert await worker.run(os.getpid) == process

    working(use)
    assert "María" not in "".join(capfd.readouterr())


def test_bundle_is_verified_there() -> None:
    """What is no bundle is answered by red lights, as a file and as an object."""

    async def use(worker: Worker) -> None:
        for is_file in (True, False):
            answer = await worker.run(verify_bundle, b"{ }", is_file, bytes(32), 0)
            assert (answer.readable, answer.verified) == (False, False)

    working(use)


def test_what_takes_too_long_is_ended_and_the_next_is_done() -> None:
    """The process is killed, whatever it does, and another takes its place."""

    async def use(worker: Worker) -> None:
        first = await worker.run(os.getpid)
        worker._timeout_ms = 50
        with pytest.raises(Overloaded) as ended:
            await worker.run(time.sleep, 3_600)
        assert str(ended.value) == "it took longer than 50 ms and was ended"
        worker._timeout_ms = 10_000
        assert await worker.run(os.getpid) != first

    working(use)


def test_too_much_memory_is_refused() -> None:
    """The process has a bound of its own and lives on, or is replaced."""

    async def use(worker: Worker) -> None:
        with pytest.raises(Rejected) as refused:
            await worker.run(bytes, 2**33)
        assert (refused.value.reason, refused.value.detail) == (Reason.TOO_LARGE, "MemoryError while working on it")
        assert await worker.run(sha256, b"x") == sha256(b"x")

    working(use)


def test_process_that_dies_is_replaced() -> None:
    """Whoever waited is told."""

    async def use(worker: Worker) -> None:
        with pytest.raises(Overloaded):
            await worker.run(os._exit, 3)
        assert await worker.run(sha256, b"x") == sha256(b"x")

    working(use)


def test_line_before_it_is_bounded() -> None:
    """One more than may wait is sent away at once."""

    async def use(worker: Worker) -> None:
        busy = [asyncio.create_task(worker.run(time.sleep, 0.2)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await worker.run(os.getpid)
        assert str(refused.value) == "2 pieces of work are waiting already"
        await asyncio.gather(*busy)

    working(use, pending_max=2)


def test_who_stops_waiting_does_not_leave_an_answer_behind() -> None:
    """The next caller gets the answer to its own question."""

    async def use(worker: Worker) -> None:
        await worker.run(sha256, b"warm")
        task = asyncio.create_task(worker.run(time.sleep, 0.1))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await worker.run(sha256, b"x") == sha256(b"x")

    working(use)
