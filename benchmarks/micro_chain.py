"""What the ledger costs: CPU per transaction and per batch to submit, build, validate and commit.

    .venv/bin/python -m benchmarks.micro_chain [--batches 20] [--singles 300]

CPU time of the calling thread, over a memory store, best and median over the blocks of one run. `execute`
is a block on a node whose signatures were verified at submission (as every validator's are after
gossip); `execute cold` includes parsing and signature checks. One node of four does: submit + validate + commit.
"""

import argparse
import hashlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from node.chain.block import Block
from node.chain.execution import execute_block
from node.chain.ledger import Ledger
from node.chain.recent_ids import RecentIds
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.verification import TransactionCache
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.state.kv import MemoryStore
from tests.unit.chain.kit import UGTO, TestChain, definition, transaction_key

T = TypeVar("T")
DEFINITION = f"{UGTO}/pespunte/1"
BLOCKS = 5


def main() -> None:
    """Measure batches of 1,000 credentials, then single ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--singles", type=int, default=300)
    arguments = parser.parse_args()
    started = time.thread_time()
    for _ in range(100_000):
        hashlib.sha256(b"x" * 64).digest()
    print(f"one SHA-256 of 64 bytes: {(time.thread_time() - started) * 10:.2f} µs")
    measure("batch of 1,000", arguments.batches, 1_000, p256=True)
    measure("single, P-256", arguments.singles, 1, p256=True)
    measure("single, Ed25519", arguments.singles, 1, p256=False)


def measure(name: str, count: int, size: int, *, p256: bool) -> None:
    """Run blocks of `count` transactions of `size` credentials through a proposer and a follower."""
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    store = chain.store
    assert isinstance(store, MemoryStore)
    follower = Ledger.open(store.copy(), chain.document)
    spent: dict[str, list[float]] = {}
    in_block, size_bytes = 0, 0
    for number in range(BLOCKS):
        made = [batch(chain, f"{number}/{index}", size, p256=p256) for index in range(count)]
        stage(spent, "submit", partial(submit, follower, made))
        submit(chain.ledger, made)
        block = stage(spent, "build", chain.build)
        in_block, size_bytes = len(block.transactions), len(made[0])
        warm, cold = follower._cache, TransactionCache(chain.network, 0)  # noqa: SLF001 – the figure is the ledger's own
        stage(spent, "execute", partial(execute, follower, block, warm))
        stage(spent, "execute cold", partial(execute, follower, block, cold))
        certificate = chain.certificate(block)
        stage(spent, "validate", partial(follower.validate_block, block))
        stage(spent, "commit", partial(follower.commit_block, block, certificate))
        chain.ledger.commit_block(block, certificate)
    print(f"\n{name}: {in_block} a block, {size_bytes} bytes each; µs a transaction")
    for what, seconds in spent.items():
        per = [second * 1e6 / (count if what == "submit" else in_block) for second in seconds]
        print(f"  {what:14} best {min(per):8.1f}   median {statistics.median(per):8.1f}")


def batch(chain: TestChain, seed: str, size: int, *, p256: bool) -> bytes:
    """Return a signed batch of credentials that nobody else has."""
    ids = [sha256(f"{seed}/{index}".encode()) for index in range(size)]
    payload = CredentialIssue(DEFINITION, merkle.root(ids), size, b"".join(ids))
    return chain.transaction("credential.issue", payload, signer=UGTO, by=[transaction_key(UGTO, 0 if p256 else 1)])


def submit(ledger: Ledger, transactions: list[bytes]) -> None:
    """Submit transactions one by one."""
    for data in transactions:
        ledger.submit(data)


def execute(ledger: Ledger, block: Block, cache: TransactionCache) -> None:
    """Execute a block and throw the result away."""
    frame = ledger._frame(block.header.timestamp_ms)  # noqa: SLF001 – see above
    execute_block(ledger.state, frame, block.transactions, RecentIds(), cache)


def stage(spent: dict[str, list[float]], what: str, action: Callable[[], T]) -> T:
    """Run one step and note its CPU time."""
    started = time.thread_time()
    result = action()
    spent.setdefault(what, []).append(time.thread_time() - started)
    return result


if __name__ == "__main__":
    main()
