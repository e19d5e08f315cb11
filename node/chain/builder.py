"""Fills a block from the mempool, within its cost and bytes, and leaves out what no longer executes.

Half is reserved for priority kinds (authorities and status changes), in turns; the rest goes to the
others, in turns; what either leaves over, the other may use. Source: PROTOCOL §3.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field

from node import codec
from node.chain.block import Block, Header
from node.chain.certificate import Certificate
from node.chain.execution import BlockDraft, Execution
from node.chain.frame import Frame
from node.chain.mempool import Mempool
from node.chain.verification import ParsedTransaction, TransactionCache
from node.errors import Rejected
from node.limits import (
    BLOCK_BYTES_MAX,
    BLOCK_COST_MAX,
    BLOCK_RESERVED_COST_SHARE_PERCENT,
    BLOCK_TRANSACTIONS_MAX,
    COST_BASE,
    COST_PER_SIGNATURE,
)
from node.primitives import Hash
from node.state.world_state import StateStore

TRANSACTION_FRAME_BYTES_MAX = 5
"""Length prefix of a transaction inside a block."""


@dataclass(frozen=True, slots=True)
class Filled:
    """An executed choice of transactions."""

    execution: Execution
    refused: tuple[tuple[ParsedTransaction, Rejected], ...]
    """Waiting transactions that no longer execute even alone: they can leave the mempool."""


@dataclass(slots=True)
class _Budget:
    """What is left of a block."""

    cost: int
    bytes: int
    transactions: int

    def fits(self, parsed: ParsedTransaction) -> bool:
        return (
            self.transactions > 0
            and parsed.cost <= self.cost
            and len(parsed.data) + TRANSACTION_FRAME_BYTES_MAX <= self.bytes
        )

    @property
    def is_used_up(self) -> bool:
        return self.transactions == 0 or self.cost < COST_BASE + COST_PER_SIGNATURE

    def take(self, parsed: ParsedTransaction) -> None:
        self.cost -= parsed.cost
        self.bytes -= len(parsed.data) + TRANSACTION_FRAME_BYTES_MAX
        self.transactions -= 1

    def share(self, percent: int) -> "_Budget":
        return _Budget(self.cost * percent // 100, self.bytes * percent // 100, self.transactions * percent // 100)


@dataclass(slots=True)
class _Filling:
    """A block while it is filled."""

    draft: BlockDraft
    total: _Budget
    attempts_cost: int
    """Cost that may still be spent on trying: transactions that fail cost time too."""
    tried: set[Hash] = field(default_factory=set)
    failed: list[ParsedTransaction] = field(default_factory=list)

    def fill(self, candidates: Iterator[ParsedTransaction], share: _Budget) -> None:
        """Take candidates while they fit into the share and the whole."""
        for parsed in candidates:
            if self.total.is_used_up or share.is_used_up or self.attempts_cost <= 0:
                return
            if parsed.id in self.tried or not (share.fits(parsed) and self.total.fits(parsed)):
                continue
            self.tried.add(parsed.id)
            self.attempts_cost -= parsed.cost
            try:
                self.draft.add(parsed)
            except Rejected:
                self.failed.append(parsed)
                continue
            share.take(parsed)
            self.total.take(parsed)


def fill_block(
    state: StateStore,
    frame: Frame,
    mempool: Mempool,
    recent: Container[Hash],
    cache: TransactionCache,
    *,
    bytes_free: int,
) -> Filled:
    """Choose and execute the transactions of a block that has `bytes_free` bytes for them."""
    draft = BlockDraft(state, frame, recent, cache)
    filling = _Filling(draft, _Budget(BLOCK_COST_MAX, bytes_free, BLOCK_TRANSACTIONS_MAX), 2 * BLOCK_COST_MAX)
    filling.fill(mempool.in_turns(priority=True), filling.total.share(BLOCK_RESERVED_COST_SHARE_PERCENT))
    filling.fill(mempool.in_turns(priority=False), filling.total.share(100))
    filling.fill(mempool.in_turns(priority=True), filling.total.share(100))
    refused = []
    for parsed in filling.failed:
        error = _refusal_alone(state, frame, parsed, recent, cache)
        if error is not None:
            refused.append((parsed, error))
    return Filled(draft.finish(), tuple(refused))


def bytes_free_beside(header: Header, evidence: tuple[bytes, ...], parent_certificate: Certificate | None) -> int:
    """Return how many bytes of a block are left for transactions beside its header, evidence and certificate."""
    return BLOCK_BYTES_MAX - len(codec.encode(Block(header, (), evidence, parent_certificate))) - 64


def _refusal_alone(
    state: StateStore, frame: Frame, parsed: ParsedTransaction, recent: Container[Hash], cache: TransactionCache
) -> Rejected | None:
    """Tell why a transaction that failed in a block would fail without the others too, or None.

    One that only collides with another of the same block may be good once that one was not decided.
    """
    draft = BlockDraft(state, frame, recent, cache)
    try:
        draft.add(parsed)
    except Rejected as error:
        return error
    return None
