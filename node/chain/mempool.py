"""Transactions that wait for a block: bounded, and nobody's flood keeps the others out.

Each account (the signer; of an application its forwarder) holds at most as much as stays free: the
first that floods gets half, the next a quarter, and there is always room for one who was quiet.
A tenth is kept for priority kinds: authorities and status changes. Nothing admitted is thrown out
for something newer. Blocks are filled in turns between accounts, the one with the least cost so far
first. Source: PROTOCOL §3.
"""

import heapq
from collections.abc import Collection, Iterator
from typing import Final

from node.chain.verification import ParsedTransaction
from node.errors import Reason, Rejected
from node.limits import (
    MEMPOOL_BYTES_MAX,
    MEMPOOL_RESERVED_SHARE_PERCENT,
    MEMPOOL_SHARE_PER_INSTITUTION_PERCENT,
    MEMPOOL_TRANSACTIONS_MAX,
)
from node.primitives import Hash, Height, InstitutionId


class _Account:
    """One account's transactions of one class, in the order in which they came."""

    def __init__(self) -> None:
        self.transactions: dict[Hash, ParsedTransaction] = {}
        self.bytes = 0


class _Lane:
    """One class of transactions: priority or ordinary."""

    def __init__(self, share_percent: int) -> None:
        self.transactions_max: Final = MEMPOOL_TRANSACTIONS_MAX * share_percent // 100
        """How many the whole mempool may hold for one more to enter this lane."""
        self.bytes_max: Final = MEMPOOL_BYTES_MAX * share_percent // 100
        self.accounts: dict[InstitutionId, _Account] = {}
        """In the order of their turns."""


class Mempool:
    """What was admitted and is in no block yet."""

    def __init__(self) -> None:
        self._transactions: dict[Hash, ParsedTransaction] = {}
        self._bytes = 0
        self._lanes = {True: _Lane(100), False: _Lane(100 - MEMPOOL_RESERVED_SHARE_PERCENT)}
        """By whether the kind has priority."""

    def __len__(self) -> int:
        return len(self._transactions)

    def __contains__(self, transaction_id: object) -> bool:
        return transaction_id in self._transactions

    @property
    def bytes(self) -> int:
        """Bytes of all waiting transactions."""
        return self._bytes

    def get(self, transaction_id: Hash) -> ParsedTransaction | None:
        """Return a waiting transaction."""
        return self._transactions.get(transaction_id)

    def transactions(self) -> Iterator[ParsedTransaction]:
        """Yield all waiting transactions in the order in which they came."""
        return iter(tuple(self._transactions.values()))

    def check_room(self, parsed: ParsedTransaction) -> None:
        """Refuse what does not fit, before any work is spent on it. Raises: Rejected(MEMPOOL_FULL)."""
        lane = self._lanes[parsed.rule.priority]
        account = lane.accounts.get(parsed.account)
        held, held_bytes = (len(account.transactions), account.bytes) if account is not None else (0, 0)
        size = len(parsed.data)
        _check_share(parsed.account, "transactions", len(self._transactions), held, 1, lane.transactions_max)
        _check_share(parsed.account, "bytes", self._bytes, held_bytes, size, lane.bytes_max)

    def add(self, parsed: ParsedTransaction) -> None:
        """Take in an admitted transaction that is not here. Raises: Rejected(MEMPOOL_FULL)."""
        assert parsed.id not in self._transactions
        self.check_room(parsed)
        account = self._lanes[parsed.rule.priority].accounts.setdefault(parsed.account, _Account())
        account.transactions[parsed.id] = parsed
        account.bytes += len(parsed.data)
        self._transactions[parsed.id] = parsed
        self._bytes += len(parsed.data)

    def remove(self, transaction_id: Hash) -> ParsedTransaction | None:
        """Take out a transaction, if it is here."""
        parsed = self._transactions.pop(transaction_id, None)
        if parsed is None:
            return None
        self._bytes -= len(parsed.data)
        accounts = self._lanes[parsed.rule.priority].accounts
        account = accounts[parsed.account]
        del account.transactions[transaction_id]
        account.bytes -= len(parsed.data)
        if not account.transactions:
            del accounts[parsed.account]
        return parsed

    def drop_expired(self, head: Height) -> list[ParsedTransaction]:
        """Take out what the next block may no longer include, and return it."""
        expired = [item for item in self._transactions.values() if item.envelope.valid_until_height <= head]
        for parsed in expired:
            self.remove(parsed.id)
        return expired

    def give_turns(self, served: Collection[InstitutionId]) -> None:
        """Move accounts that a block served behind those that it did not."""
        for lane in self._lanes.values():
            for account_id in served:
                account = lane.accounts.pop(account_id, None)
                if account is not None:
                    lane.accounts[account_id] = account

    def in_turns(self, *, priority: bool) -> Iterator[ParsedTransaction]:
        """Yield one class of transactions for a block: always from the account with the least cost so far."""
        queues = [
            (0, turn, iter(tuple(account.transactions.values())))
            for turn, account in enumerate(self._lanes[priority].accounts.values())
        ]
        heapq.heapify(queues)
        while queues:
            cost, turn, queue = queues[0]
            parsed = next(queue, None)
            if parsed is None:
                heapq.heappop(queues)
                continue
            yield parsed
            heapq.heapreplace(queues, (cost + parsed.cost, turn, queue))


def _check_share(account: InstitutionId, unit: str, used: int, held: int, more: int, most: int) -> None:
    """Check held + more ≤ what then stays free · share / (100 − share); with 50 %: as much as stays free."""
    free = most - used - more
    if free < 0:
        raise Rejected(Reason.MEMPOOL_FULL, f"{used} {unit} wait, there is room for {most}")
    share = MEMPOOL_SHARE_PER_INSTITUTION_PERCENT
    if (held + more) * (100 - share) > free * share:
        raise Rejected(Reason.MEMPOOL_FULL, f"{account} has {held} {unit} waiting, {free + more} are free")
