"""Whether a transaction may wait in the mempool: would it execute if it were alone in the next block?

It runs on a throw-away draft over the committed state. The clock is not asked: the earliest possible
time of the next block stands for it, and the builder asks again. Source: PROTOCOL §3.
"""

from node.chain.execution import execute_transaction, parameters_of
from node.chain.frame import Frame
from node.chain.verification import ParsedTransaction, TransactionCache
from node.errors import Reason, Rejected
from node.limits import BLOCK_COST_MAX
from node.state.world_state import StateStore, WorldState


def check_admission(state: StateStore, frame: Frame, parsed: ParsedTransaction, cache: TransactionCache) -> None:
    """Execute a transaction alone on the committed state and throw the draft away. Raises: Rejected."""
    if parsed.cost > BLOCK_COST_MAX:
        raise Rejected(Reason.TOO_LARGE, f"cost {parsed.cost}, a block has {BLOCK_COST_MAX}")
    base = WorldState(state)
    execute_transaction(base, frame, parameters_of(base), parsed, cache)
