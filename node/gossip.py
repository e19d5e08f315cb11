"""Transactions between nodes: each travels to each peer once.

Who takes a transaction from a client sends it to every peer at once; nobody passes on what came from a
peer. Whatever is still pending after a while is announced by its id, and who lacks it asks: so what
was lost, or came before a peer did, arrives too, also where not everybody is connected with everybody.
Checking signatures is done in slices between which the event loop runs. Source: PROTOCOL §7.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.errors import Reason, Rejected
from node.limits import (
    FRAME_BYTES_MAX,
    GOSSIP_ANNOUNCE_MS,
    GOSSIP_BUNDLE_BYTES_MAX,
    GOSSIP_DELAY_MS,
    GOSSIP_IDS_MAX,
    GOSSIP_INBOX_BYTES_MAX,
    GOSSIP_REQUEST_MS,
    GOSSIP_SLICE_BYTES,
    GOSSIP_SLICE_TRANSACTIONS,
    MEMPOOL_TRANSACTIONS_MAX,
    TRANSACTION_BYTES_MAX,
)
from node.primitives import Hash, InstitutionId

Ids: TypeAlias = Annotated[tuple[Hash, ...], Meta(max_length=GOSSIP_IDS_MAX)]


class Transactions(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=1):
    """Complete canonical bytes of some transactions."""

    items: Annotated[
        tuple[Annotated[bytes, Meta(max_length=TRANSACTION_BYTES_MAX)], ...], Meta(max_length=MEMPOOL_TRANSACTIONS_MAX)
    ]


class Have(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """Ids of transactions that the sender holds and that are still pending."""

    ids: Ids


class Want(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """Ids of transactions that the sender lacks: answered by `Transactions`."""

    ids: Ids


class GossipParcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message on the channel of transactions."""

    message: Transactions | Have | Want


class Taken(Protocol):
    """What the mempool says of a transaction that it holds, now or before."""

    @property
    def tx_id(self) -> Hash:
        """Its id."""
        ...

    @property
    def is_new(self) -> bool:
        """Whether it came in just now."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What gossip needs of the node. Times are milliseconds of any clock that never goes back."""

    submit: Callable[[bytes], Taken]
    """Check a transaction and put it into the mempool. Raises: Rejected."""
    pending: Callable[[Hash], bytes | None]
    """Bytes of a pending transaction."""
    is_known: Callable[[Hash], bool]
    """Pending or committed."""
    broadcast: Callable[[bytes], object]
    send: Callable[[InstitutionId, bytes], object]
    call_later: Callable[[int, Callable[[], None]], object]
    """Call back after so many milliseconds; 0 = in the next turn of the event loop."""
    now_ms: Callable[[], int]
    arrived: Callable[[], None]
    """Something that could be included is new in the mempool."""


class Gossip:
    """The one owner of what has been said about transactions."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._node = surroundings
        self.rejected: Counter[Reason] = Counter()
        """Transactions from peers that could not be taken, for metrics."""
        self._outbox: list[bytes] = []
        self._outbox_bytes = 0
        self._is_flushing = False
        self._flushed_ms = -GOSSIP_ANNOUNCE_MS
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._is_taking = False
        self._held: OrderedDict[Hash, int] = OrderedDict()
        """Pending transactions by id → since when, oldest first."""
        self._asked: OrderedDict[Hash, int] = OrderedDict()
        """Ids asked for → when; at most as many as the mempool takes."""

    # --- what happens here ---

    def submitted(self, tx_id: Hash, data: bytes) -> None:
        """A client gave us a transaction that is new: tell everybody, together with its neighbours in time."""
        self._hold(tx_id)
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        if self._outbox_bytes >= GOSSIP_BUNDLE_BYTES_MAX:
            self._flush()
        elif not self._is_flushing:
            self._is_flushing = True
            # On an idle network at once; under load a few milliseconds save most frames.
            is_idle = self._node.now_ms() - self._flushed_ms > 4 * GOSSIP_DELAY_MS
            self._node.call_later(0 if is_idle else GOSSIP_DELAY_MS, self._flush)

    def committed(self, tx_ids: Iterable[Hash]) -> None:
        """These are in a block: nobody needs to hear of them any more."""
        for tx_id in tx_ids:
            self._held.pop(tx_id, None)
            self._asked.pop(tx_id, None)

    def connected(self, peer: InstitutionId) -> None:
        """Tell a new peer what is pending."""
        ids = tuple(self._held)[:GOSSIP_IDS_MAX]
        if ids:
            self._node.send(peer, codec.encode(GossipParcel(Have(ids))))

    def tick(self) -> None:
        """Announce what has been pending for a while; call about once a second."""
        now_ms = self._node.now_ms()
        late: list[Hash] = []
        for tx_id, since_ms in list(self._held.items()):
            if now_ms - since_ms < GOSSIP_ANNOUNCE_MS or len(late) >= GOSSIP_IDS_MAX:
                break
            self._held.pop(tx_id)
            if self._node.pending(tx_id) is not None:
                # To the end of the line: with more than one announcement's worth, each gets its turn.
                self._held[tx_id] = now_ms
                late.append(tx_id)
        if late:
            self._node.broadcast(codec.encode(GossipParcel(Have(tuple(late)))))
        while self._asked and now_ms - next(iter(self._asked.values())) > GOSSIP_REQUEST_MS:
            self._asked.popitem(last=False)

    # --- what peers say ---

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        """Take one message. Raises: Rejected(MALFORMED), Rejected(TOO_LARGE): no honest node sends such a thing."""
        match codec.decode(payload, GossipParcel, bytes_max=FRAME_BYTES_MAX).message:
            case Transactions(items):
                self._put(items)
            case Have(ids):
                self._ask(sender, ids)
            case Want(ids):
                self._answer(sender, ids)

    def _put(self, items: Sequence[bytes]) -> None:
        for data in items:
            if self._inbox_bytes + len(data) > GOSSIP_INBOX_BYTES_MAX:
                self.rejected[Reason.QUOTA_EXCEEDED] += 1
                continue  # it will be announced again
            self._inbox.append(data)
            self._inbox_bytes += len(data)
        if self._inbox and not self._is_taking:
            self._is_taking = True
            self._node.call_later(0, self._take_slice)

    def _take_slice(self) -> None:
        """Check some of what came: about two milliseconds, then votes and clients have their turn."""
        taken_bytes, is_news = 0, False
        for _ in range(GOSSIP_SLICE_TRANSACTIONS):
            if not self._inbox or taken_bytes > GOSSIP_SLICE_BYTES:
                break
            data = self._inbox.popleft()
            self._inbox_bytes -= len(data)
            taken_bytes += len(data)
            try:
                taken = self._node.submit(data)
            except Rejected as rejection:
                self.rejected[rejection.reason] += 1
                continue
            self._asked.pop(taken.tx_id, None)
            if taken.is_new:
                self._hold(taken.tx_id)
                is_news = True
        if self._inbox:
            self._node.call_later(0, self._take_slice)
        else:
            self._is_taking = False
        if is_news:
            self._node.arrived()

    def _ask(self, sender: InstitutionId, ids: Sequence[Hash]) -> None:
        """Ask for what we lack and have not just asked somebody else for."""
        now_ms = self._node.now_ms()
        wanted = []
        for tx_id in ids:
            asked_ms = self._asked.get(tx_id)
            is_asked = asked_ms is not None and now_ms - asked_ms <= GOSSIP_REQUEST_MS
            if is_asked or self._node.is_known(tx_id) or len(self._asked) >= MEMPOOL_TRANSACTIONS_MAX:
                continue
            self._asked.pop(tx_id, None)
            self._asked[tx_id] = now_ms
            wanted.append(tx_id)
        if wanted:
            self._node.send(sender, codec.encode(GossipParcel(Want(tuple(wanted)))))

    def _answer(self, sender: InstitutionId, ids: Sequence[Hash]) -> None:
        """Send what is still pending, as much as one frame should hold; the rest is announced again."""
        found: list[bytes] = []
        size = 0
        for tx_id in ids:
            data = self._node.pending(tx_id)
            if data is None:
                continue
            if size + len(data) > GOSSIP_BUNDLE_BYTES_MAX and found:
                break
            found.append(data)
            size += len(data)
        if found:
            self._node.send(sender, codec.encode(GossipParcel(Transactions(tuple(found)))))

    def _flush(self) -> None:
        self._is_flushing = False
        if not self._outbox:
            return
        items, self._outbox, self._outbox_bytes = tuple(self._outbox), [], 0
        self._flushed_ms = self._node.now_ms()
        self._node.broadcast(codec.encode(GossipParcel(Transactions(items))))

    def _hold(self, tx_id: Hash) -> None:
        self._held[tx_id] = self._node.now_ms()
        if len(self._held) > MEMPOOL_TRANSACTIONS_MAX:
            self._held.popitem(last=False)
