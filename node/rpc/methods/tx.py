"""`tx_…`: submit a transaction, and ask what became of it."""

from collections.abc import Awaitable
from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from node.limits import RPC_WAIT_MS_MAX
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.rpc.services import Services
from node.rpc.shapes import HeightNumber, Hex32, Institution, TransactionHex, not_found

WaitMs = Annotated[int, Meta(ge=0, le=RPC_WAIT_MS_MAX, description="milliseconds")]


class TransactionStatus(StrEnum):
    """Where a transaction is, as this node knows."""

    PENDING = "pending"
    COMMITTED = "committed"
    UNKNOWN = "unknown"


class Submitted(Struct, frozen=True):
    """A transaction that the node has taken, now or before."""

    tx_id: Hex32


class TransactionEvent(Struct, frozen=True):
    """One thing that a transaction did."""

    topic: str
    action: str
    subject: str
    """Plain key of the record that changed."""
    count: int


class TransactionResult(Struct, frozen=True):
    """What a committed transaction did; a block holds no failed ones."""

    kind: str
    signer: Institution
    events: list[TransactionEvent]


class TransactionView(Struct, frozen=True):
    """What became of a transaction."""

    tx_id: Hex32
    status: TransactionStatus
    height: HeightNumber | UnsetType = UNSET
    """Of its block; absent unless committed, as are `index` and `result`."""
    index: int | UnsetType = UNSET
    """Place in its block."""
    result: TransactionResult | UnsetType = UNSET


def tx_submit(services: Services, tx: TransactionHex) -> Submitted:
    """Submit a signed transaction; safe to repeat.

    The answer says that this node has checked and kept it, not that it is final: `tx_wait` does.
    """
    if services.node.syncing:
        raise RpcError(ErrorCode.NOT_IN_SYNC, "this node is catching up; submit again when /ready answers 200")
    return Submitted(services.node.submit(bytes.fromhex(tx)).tx_id.hex())


def tx_get(services: Services, tx_id: Hex32) -> TransactionView:
    """Say whether a transaction is pending, committed (where, and what it did) or unknown here."""
    ledger = services.ledger
    identifier = bytes.fromhex(tx_id)
    located = ledger.find_transaction(identifier)
    if located is None:
        is_pending = ledger.pending_transaction(identifier) is not None
        return TransactionView(tx_id, TransactionStatus.PENDING if is_pending else TransactionStatus.UNKNOWN)
    receipts = ledger.receipts_at(located.height)
    if receipts is None:
        raise not_found(ledger.absence(located.height))
    receipt = receipts[located.index]
    events = [TransactionEvent(event.topic, event.action, event.subject, event.count) for event in receipt.events]
    return TransactionView(
        tx_id,
        TransactionStatus.COMMITTED,
        located.height,
        located.index,
        TransactionResult(receipt.kind, receipt.signer, events),
    )


def tx_wait(services: Services, tx_id: Hex32, timeout_ms: WaitMs = 30_000) -> Awaitable[TransactionView]:
    """Answer as `tx_get` once the transaction is in a block, or when the time is over."""
    return services.node.settled(bytes.fromhex(tx_id), timeout_ms, lambda: tx_get(services, tx_id))
