"""Transactions that this node's own clients bring: checked, kept, told to the others, proposed."""

from collections import Counter
from collections.abc import Callable

from node.chain.answers import Submission
from node.chain.ledger import Ledger
from node.errors import Reason, Rejected
from node.gossip import Gossip
from node.replica import Replica


class Intake:
    """Where they come in, by JSON-RPC or a page."""

    def __init__(self, ledger: Ledger, call_later: Callable[[int, Callable[[], None]], object]) -> None:
        """`call_later` calls back after so many milliseconds; 0: in the next turn of the loop."""
        self.rejected: Counter[Reason] = Counter()
        """What could not be taken."""
        self._ledger = ledger
        self._call_later = call_later
        self._is_waking = False
        self._gossip: Gossip | None = None
        self._replica: Replica | None = None

    def attach(self, gossip: Gossip, replica: Replica) -> None:
        """Learn of the parts that are made after this one; before anything runs."""
        self._gossip = gossip
        self._replica = replica

    def take(self, data: bytes) -> Submission:
        """Take a transaction. Raises: Rejected."""
        assert self._gossip is not None
        try:
            submission = self._ledger.submit(data)
        except Rejected as rejection:
            self.rejected[rejection.reason] += 1
            raise
        if submission.is_new:
            self._gossip.submitted(submission.tx_id, data)
            if not self._is_waking:
                # In the next turn of the loop: calls that arrive together are proposed together.
                self._is_waking = True
                self._call_later(0, self._wake)
        return submission

    def _wake(self) -> None:
        assert self._replica is not None
        self._is_waking = False
        self._replica.on_transactions_pending()
