"""Who waits for a transaction is woken by its block, and by nothing else."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from node.chain.answers import Committed
from node.chain.rules.catalogue import DefinitionPublish
from node.environment import Callbacks
from node.metrics import Metrics
from node.running import TimedChain, Waiters
from tests.unit.chain.kit import SEG, UGTO, TestChain, definition


def in_loop(use: Callable[[], Awaitable[None]]) -> None:
    """Run in a loop of its own."""

    async def run() -> None:
        await use()

    asyncio.run(run())


def one_block() -> Committed:
    """Return a block with one transaction."""
    return TestChain().do("definition.publish", DefinitionPublish(definition(f"{UGTO}/x/1")), signer=UGTO)


def test_everybody_who_waits_for_a_transaction_is_woken_by_its_block() -> None:
    """Two wait for it, one for another: only the two go on, and nothing is left behind."""
    committed = one_block()
    tx_id = committed.receipts[0].transaction_id

    async def use() -> None:
        waiters = Waiters()
        ours = [asyncio.create_task(waiters.wait(tx_id, 60_000)) for _ in range(2)]
        other = asyncio.create_task(waiters.wait(bytes(32), 60_000))
        await asyncio.sleep(0)
        waiters.committed(committed)
        await asyncio.wait_for(asyncio.gather(*ours), 10)
        assert not other.done()
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)
        assert waiters._by_id == {}

    in_loop(use)


def test_waiting_ends_when_its_time_is_over() -> None:
    """Without an error: the answer then says that it is still pending."""

    async def use() -> None:
        waiters = Waiters()
        await asyncio.wait_for(waiters.wait(bytes(32), 1), 10)
        assert waiters._by_id == {}

    in_loop(use)


def test_chain_is_timed_and_otherwise_the_ledger() -> None:
    """Consensus sees the same chain; execution and commit are measured."""
    chain, metrics = TestChain(), Metrics()
    timed = TimedChain(chain.ledger, metrics)
    block = timed.build_block(proposer=SEG, timestamp_ms=chain.next_time_ms)
    timed.validate_block(block)
    timed.commit_block(block, chain.certificate(block))
    assert (timed.head, timed.network, timed.epoch) == (block.header, chain.ledger.network, 0)
    assert timed.block_at(1) == (block, timed.head_certificate)
    assert timed.validators_at(2) == chain.ledger.validators_at(2)
    assert timed.has_pending() is False
    counts = [metrics.registry.get_sample_value(f"pila_{name}_seconds_count") for name in ("execute", "commit")]
    assert counts == [2, 1]


@pytest.mark.parametrize("delay_ms", [0, 1])
def test_callback_that_fails_is_reported(delay_ms: int) -> None:
    """The loop would swallow it; the node must stop."""
    failures: list[BaseException] = []
    fault = ValueError("ours")

    def fail() -> None:
        raise fault

    async def use() -> None:
        reported = asyncio.Event()

        def report(error: BaseException) -> None:
            failures.append(error)
            reported.set()

        Callbacks(asyncio.get_running_loop(), report).call_later(delay_ms, fail)
        assert failures == []
        await asyncio.wait_for(reported.wait(), 10)

    in_loop(use)
    assert failures == [fault]
