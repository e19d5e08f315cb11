"""What a block does to the state: one pure function from (state, transactions) to receipts, changes and root.

Each transaction runs on a draft of its own, which is taken over only when every check held. One that
is refused makes the whole block invalid: proposers filter, there are no failed transactions in blocks.
Source: PROTOCOL §3, §4.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from node.chain.frame import Frame
from node.chain.receipt import Receipt, make_receipt
from node.chain.records.network import Parameters
from node.chain.rules.framework import Context, Event
from node.chain.upkeep import begin_block, end_block
from node.chain.validator_set import ValidatorSet
from node.chain.verification import ParsedTransaction, TransactionCache, check_signatures
from node.errors import Reason, Rejected
from node.limits import BLOCK_COST_MAX, TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.primitives import Hash, Height
from node.state import keys
from node.state.world_state import PreparedState, StateStore, WorldState


@dataclass(frozen=True, slots=True)
class Execution:
    """What executing a block gave; good until another block is committed."""

    transactions: tuple[ParsedTransaction, ...]
    receipts: tuple[Receipt, ...]
    events: tuple[Event, ...]
    """Of the upkeep before them, all transactions in order, and the upkeep after them."""
    upkeep: tuple[Event, ...]
    """Those before and after the transactions alone."""
    prepared: PreparedState
    next_validators: ValidatorSet
    """The set that votes on the next height."""
    cost: int

    @property
    def state_root(self) -> Hash:
        """Root of the state after the block."""
        return self.prepared.root


class BlockDraft:
    """A block while its transactions execute one by one; used by validator and builder alike."""

    def __init__(self, state: StateStore, frame: Frame, recent: Container[Hash], cache: TransactionCache) -> None:
        """Begin a block. Raises: Rejected: what it brings besides transactions is refused."""
        self._store = state
        self._frame = frame
        self._recent = recent
        self._cache = cache
        self._state = WorldState(state)
        self._upkeep = begin_block(self._state, frame)
        self._events = list(self._upkeep)
        self._parameters = parameters_of(self._state)
        self._ids: set[Hash] = set()
        self._transactions: list[ParsedTransaction] = []
        self._receipts: list[Receipt] = []
        self._cost = 0

    def add(self, parsed: ParsedTransaction) -> None:
        """Execute one more transaction; a refused one changes nothing. Raises: Rejected."""
        if parsed.id in self._recent or parsed.id in self._ids:
            raise Rejected(Reason.DUPLICATE, f"{parsed.id.hex()} is in one of the last blocks or in this one")
        if self._cost + parsed.cost > BLOCK_COST_MAX:
            raise Rejected(Reason.TOO_LARGE, f"cost {self._cost} + {parsed.cost}, a block has {BLOCK_COST_MAX}")
        draft, events = execute_transaction(self._state, self._frame, self._parameters, parsed, self._cache)
        self._state.absorb(draft)
        self._ids.add(parsed.id)
        self._transactions.append(parsed)
        self._receipts.append(make_receipt(parsed.id, parsed.envelope.signer, parsed.envelope.kind, events))
        self._events += events
        self._cost += parsed.cost

    def finish(self) -> Execution:
        """Return what the block did, with the root of the state after it; call once."""
        ending = end_block(self._state, self._frame)
        self._events += ending
        validators = self._state.get(keys.VALIDATOR_SET, ValidatorSet)
        assert validators is not None
        return Execution(
            tuple(self._transactions),
            tuple(self._receipts),
            tuple(self._events),
            (*self._upkeep, *ending),
            self._store.prepare(self._state.changes()),
            validators,
            self._cost,
        )


def execute_block(
    state: StateStore,
    frame: Frame,
    transactions: Sequence[bytes],
    recent: Container[Hash],
    cache: TransactionCache,
) -> Execution:
    """Execute a block's transactions on the committed state, which stays as it is.

    `cache` makes it faster and never changes the answer.
    Raises: Rejected(BAD_BLOCK) naming the first transaction that cannot be executed and why; Rejected
    as `begin_block`.
    """
    draft = BlockDraft(state, frame, recent, cache)
    for index, data in enumerate(transactions):
        try:
            draft.add(cache.parse(data))
        except Rejected as error:
            raise Rejected(Reason.BAD_BLOCK, f"transaction {index}: {error}") from error
    return draft.finish()


def execute_transaction(
    base: WorldState, frame: Frame, parameters: Parameters, parsed: ParsedTransaction, cache: TransactionCache
) -> tuple[WorldState, tuple[Event, ...]]:
    """Execute one transaction on a draft over `base` and return the draft and what happened. Raises: Rejected."""
    envelope = parsed.envelope
    check_window(envelope.valid_until_height, frame.height)
    draft = WorldState(base)
    context = Context(
        draft, frame.network, frame.epoch, frame.height, frame.time_ms, frame.version, parameters, frame.hash_at
    )
    check_signatures(context, parsed, parsed.rule.signers(context, envelope, parsed.payload), cache)
    return draft, parsed.rule.execute(context, envelope, parsed.payload)


def check_window(valid_until: Height, height: Height) -> None:
    """Check 0 ≤ valid_until − height ≤ 1,000. Raises: Rejected(EXPIRED), Rejected(VALIDITY_TOO_LONG)."""
    if valid_until < height:
        raise Rejected(Reason.EXPIRED, f"valid until height {valid_until}, this is {height}")
    if valid_until - height > TRANSACTION_VALIDITY_HEIGHTS_MAX:
        raise Rejected(
            Reason.VALIDITY_TOO_LONG,
            f"valid until height {valid_until}, at most {height + TRANSACTION_VALIDITY_HEIGHTS_MAX} at {height}",
        )


def parameters_of(state: WorldState) -> Parameters:
    """Return the network's parameters, which the genesis wrote."""
    parameters = state.get(keys.NETWORK_PARAMETERS, Parameters)
    assert parameters is not None
    return parameters
