"""Transactions between nodes: each travels to each peer once.

Who takes a transaction from a client sends it to every peer at once. What came from a peer and is not in
a block a moment later is announced, by its id, to those who have not shown that they hold it, and who
lacks it asks: where everybody is connected with everybody nothing is sent twice, and elsewhere everything
arrives too. So does what was lost or came before a peer did: whatever stays pending is announced again.
Checking is done in slices between which the event loop runs, peers in turns. Source: PROTOCOL §7.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.allowance import Allowance
from node.errors import Reason, Rejected
from node.limits import (
    FRAME_BYTES_MAX,
    GOSSIP_ANNOUNCE_MS,
    GOSSIP_ANSWER_BYTES_PER_SECOND_MAX,
    GOSSIP_BUNDLE_BYTES_MAX,
    GOSSIP_BYTES_PER_PEER_PER_SECOND_MAX,
    GOSSIP_DELAY_MS,
    GOSSIP_FAULTS_FORGIVEN_PER_SECOND,
    GOSSIP_FAULTS_MAX,
    GOSSIP_IDS_MAX,
    GOSSIP_IDS_PER_SECOND_MAX,
    GOSSIP_INBOX_BYTES_MAX,
    GOSSIP_INBOX_TRANSACTIONS_MAX,
    GOSSIP_INVALID_FAULT,
    GOSSIP_MESSAGES_PER_PEER_PER_SECOND_MAX,
    GOSSIP_RELAY_MS,
    GOSSIP_REQUEST_MS,
    GOSSIP_SLICE_MS,
    GOSSIP_SLICE_TRANSACTIONS,
    MEMPOOL_TRANSACTIONS_MAX,
    TRANSACTION_BYTES_MAX,
)
from node.primitives import Hash, InstitutionId

Ids: TypeAlias = Annotated[tuple[Hash, ...], Meta(max_length=GOSSIP_IDS_MAX)]

NEVER_VALID: Final = frozenset({Reason.MALFORMED, Reason.TOO_LARGE, Reason.WRONG_CHAIN, Reason.BAD_SIGNATURE})
"""Refusals that hold for everybody at any height: an honest node does not pass such a transaction on."""
BLAMELESS: Final = frozenset({Reason.DUPLICATE, Reason.EXPIRED, Reason.MEMPOOL_FULL, Reason.RATE_EXCEEDED})
"""Refusals that say nothing about the sender: it crossed with a block, or we have no room."""


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


GossipMessage: TypeAlias = Transactions | Have | Want


class GossipParcel(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One message on the channel of transactions."""

    message: GossipMessage


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
    send: Callable[[InstitutionId, bytes], bool]
    """Queue a message for a peer; False where it could not be queued."""
    call_later: Callable[[int, Callable[[], None]], object]
    """Call back after so many milliseconds; 0 = in the next turn of the event loop."""
    now_ms: Callable[[], int]
    arrived: Callable[[], None]
    """Something that could be included is new in the mempool."""
    is_behind: Callable[[], bool] = lambda: False
    """Whether our state is so old that its refusals say nothing about the sender."""


@dataclass(slots=True)
class _Peer:
    """A connected peer."""

    bit: int
    """Its place in `_Held.holders`."""
    allowance: Allowance = field(
        default_factory=lambda: Allowance(GOSSIP_MESSAGES_PER_PEER_PER_SECOND_MAX, GOSSIP_BYTES_PER_PEER_PER_SECOND_MAX)
    )
    inbox: deque[bytes] = field(default_factory=deque)
    """Transactions that wait to be checked."""
    inbox_bytes: int = 0
    asked: OrderedDict[Hash, int] = field(default_factory=OrderedDict)
    """Ids that it was asked for → when, oldest first; at most GOSSIP_IDS_MAX."""
    faults: int = 0
    """Points for invalid transactions, less what was forgiven since."""
    faults_ms: int = 0
    answered_bytes: int = 0
    """In the second `second`, as `heard_ids`."""
    heard_ids: int = 0
    second: int = -1


@dataclass(slots=True)
class _Held:
    """A transaction that was pending when last looked at."""

    since_ms: int
    """When it came or was last announced to everybody."""
    holders: int
    """One bit for each connected peer that it was sent to or that showed that it has it."""


class Gossip:
    """The one owner of what has been said about transactions."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._node = surroundings
        self.rejected: Counter[Reason] = Counter()
        """Transactions from peers that could not be taken, for metrics; QUOTA_EXCEEDED: no room to check them."""
        self._peers: dict[InstitutionId, _Peer] = {}
        self._held: OrderedDict[Hash, _Held] = OrderedDict()
        """At most MEMPOOL_TRANSACTIONS_MAX; ascending by `since_ms`."""
        self._outbox: list[tuple[Hash, bytes]] = []
        """From clients, for everybody."""
        self._outbox_bytes = 0
        self._is_flushing = False
        self._flushed_ms = surroundings.now_ms() - GOSSIP_ANNOUNCE_MS
        self._relay: deque[Hash] = deque(maxlen=MEMPOOL_TRANSACTIONS_MAX)
        """From peers, to be announced soon."""
        self._is_relaying = False
        self._is_taking = False
        self._ticked_ms = surroundings.now_ms()

    # --- what happens here ---

    def submitted(self, tx_id: Hash, data: bytes) -> None:
        """A client gave us a transaction that is new: tell everybody, together with its neighbours in time."""
        self._hold(tx_id, holders=0)
        self._outbox.append((tx_id, data))
        self._outbox_bytes += len(data)
        if self._outbox_bytes >= GOSSIP_BUNDLE_BYTES_MAX:
            self._flush()
        elif not self._is_flushing:
            self._is_flushing = True
            # On an idle network at once; under load a few milliseconds save most frames.
            is_idle = self._node.now_ms() - self._flushed_ms > 4 * GOSSIP_DELAY_MS
            self._node.call_later(0 if is_idle else GOSSIP_DELAY_MS, self._flush_in_time)

    def committed(self, tx_ids: Iterable[Hash]) -> None:
        """These are in a block: nobody needs to hear of them any more."""
        for tx_id in tx_ids:
            self._held.pop(tx_id, None)

    def connected(self, peer: InstitutionId) -> None:
        """Tell a new peer what is pending; what does not fit into one message is announced in its turn."""
        used = sum(1 << other.bit for other in self._peers.values())
        free = (~used & (used + 1)).bit_length() - 1
        self._peers[peer] = _Peer(free, faults_ms=self._node.now_ms())
        ids = tuple(self._held)[:GOSSIP_IDS_MAX]
        if ids:
            self._node.send(peer, _encode(Have(ids)))

    def disconnected(self, peer: InstitutionId) -> None:
        """Forget a peer, what it has and what it sent that was not looked at yet."""
        gone = self._peers.pop(peer, None)
        if gone is not None:
            for held in self._held.values():
                held.holders &= ~(1 << gone.bit)

    def tick(self) -> None:
        """Announce what has been pending for a while; call it about once a second or more often."""
        now_ms = self._node.now_ms()
        for peer in self._peers.values():
            while peer.asked and now_ms - next(iter(peer.asked.values())) > GOSSIP_REQUEST_MS:
                peer.asked.popitem(last=False)
        if now_ms - self._ticked_ms < GOSSIP_ANNOUNCE_MS // 2:
            return
        self._ticked_ms = now_ms
        late: list[Hash] = []
        while self._held and len(late) < GOSSIP_IDS_MAX:
            tx_id, held = next(iter(self._held.items()))
            if now_ms - held.since_ms < GOSSIP_ANNOUNCE_MS:
                break
            del self._held[tx_id]
            if self._node.pending(tx_id) is not None:
                # To the end of the line: with more than one announcement's worth, each gets its turn.
                self._held[tx_id] = _Held(now_ms, held.holders)
                late.append(tx_id)
        if late:
            payload = _encode(Have(tuple(late)))
            for name in list(self._peers):
                self._node.send(name, payload)

    # --- what peers say ---

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        """Take one message of a connected peer.

        Raises: Rejected(MALFORMED, TOO_LARGE): no honest node sends such a thing; Rejected(QUOTA_EXCEEDED): it
        has sent too many invalid transactions. The peer is to be disconnected.
        """
        peer = self._peers[sender]
        if not peer.allowance.spend(len(payload), self._node.now_ms()):
            self.rejected[Reason.QUOTA_EXCEEDED] += 1
            return
        if self._faults(peer) > GOSSIP_FAULTS_MAX:
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{peer.faults} points for invalid transactions")
        match codec.decode(payload, GossipParcel, bytes_max=FRAME_BYTES_MAX).message:
            case Transactions(items):
                self._put(peer, items)
            case Have(ids):
                self._ask(sender, peer, ids)
            case Want(ids):
                self._answer(sender, peer, ids)

    def _put(self, peer: _Peer, items: Sequence[bytes]) -> None:
        """Put transactions into the peer's inbox; what finds no room is announced to us again."""
        for data in items:
            if (
                len(peer.inbox) >= GOSSIP_INBOX_TRANSACTIONS_MAX
                or peer.inbox_bytes + len(data) > GOSSIP_INBOX_BYTES_MAX
            ):
                self.rejected[Reason.QUOTA_EXCEEDED] += 1
                continue
            peer.inbox.append(data)
            peer.inbox_bytes += len(data)
        if peer.inbox and not self._is_taking:
            self._is_taking = True
            self._node.call_later(0, self._take_slice)

    def _take_slice(self) -> None:
        """Check some of what came, one of each peer in turn; then votes and clients have theirs."""
        started_ms = self._node.now_ms()
        is_news = False
        taken = 0
        waiting = deque(peer for peer in self._peers.values() if peer.inbox)
        while waiting and taken < GOSSIP_SLICE_TRANSACTIONS and self._node.now_ms() - started_ms < GOSSIP_SLICE_MS:
            peer = waiting.popleft()
            data = peer.inbox.popleft()
            peer.inbox_bytes -= len(data)
            is_news = self._take(peer, data) or is_news
            taken += 1
            if peer.inbox:
                waiting.append(peer)
        if waiting:
            self._rotate()
            self._node.call_later(0, self._take_slice)
        else:
            self._is_taking = False
        if is_news:
            self._node.arrived()

    def _rotate(self) -> None:
        """Let the next slice begin with another peer."""
        name = next(iter(self._peers))
        self._peers[name] = self._peers.pop(name)

    def _take(self, peer: _Peer, data: bytes) -> bool:
        """Submit one transaction; tell whether it is new."""
        try:
            taken = self._node.submit(data)
        except Rejected as rejection:
            self.rejected[rejection.reason] += 1
            if rejection.reason in NEVER_VALID:
                peer.faults += GOSSIP_INVALID_FAULT
            elif rejection.reason not in BLAMELESS and not self._node.is_behind():
                peer.faults += 1
            return False
        peer.asked.pop(taken.tx_id, None)
        if not taken.is_new:
            self._note_holder(peer, taken.tx_id)
            return False
        self._hold(taken.tx_id, holders=1 << peer.bit)
        self._relay.append(taken.tx_id)
        if not self._is_relaying:
            self._is_relaying = True
            self._node.call_later(GOSSIP_RELAY_MS, self._announce_relayed)
        return True

    def _ask(self, sender: InstitutionId, peer: _Peer, ids: Sequence[Hash]) -> None:
        """Ask for what we lack and have not just asked for; who announces without end is heard in part."""
        now_ms = self._node.now_ms()
        self._begin_second(peer)
        ids = ids[: max(0, GOSSIP_IDS_PER_SECOND_MAX - peer.heard_ids)]
        peer.heard_ids += len(ids)
        wanted = []
        for tx_id in ids:
            if self._node.is_known(tx_id):
                self._note_holder(peer, tx_id)
                continue
            if len(peer.asked) < GOSSIP_IDS_MAX and not self._is_asked(tx_id, now_ms):
                peer.asked.pop(tx_id, None)
                peer.asked[tx_id] = now_ms
                wanted.append(tx_id)
        if wanted:
            self._node.send(sender, _encode(Want(tuple(wanted))))

    def _is_asked(self, tx_id: Hash, now_ms: int) -> bool:
        """Whether somebody is just being asked for it."""
        asked = (peer.asked.get(tx_id) for peer in self._peers.values())
        return any(asked_ms is not None and now_ms - asked_ms <= GOSSIP_REQUEST_MS for asked_ms in asked)

    def _answer(self, sender: InstitutionId, peer: _Peer, ids: Sequence[Hash]) -> None:
        """Send what is still pending, as much as one frame should hold; the rest is announced again."""
        self._begin_second(peer)
        found: list[tuple[Hash, bytes]] = []
        size = 0
        for tx_id in ids:
            data = self._node.pending(tx_id)
            if data is None:
                continue
            is_full = found and size + len(data) > GOSSIP_BUNDLE_BYTES_MAX
            if is_full or peer.answered_bytes + len(data) > GOSSIP_ANSWER_BYTES_PER_SECOND_MAX:
                break
            found.append((tx_id, data))
            size += len(data)
            peer.answered_bytes += len(data)
        if found:
            self._send_all({sender: peer}, found)

    def _begin_second(self, peer: _Peer) -> None:
        second = self._node.now_ms() // 1_000
        if second != peer.second:
            peer.second, peer.answered_bytes, peer.heard_ids = second, 0, 0

    # --- sending ---

    def _flush_in_time(self) -> None:
        self._is_flushing = False
        self._flush()

    def _flush(self) -> None:
        """Send what came from clients to everybody."""
        if self._outbox:
            items, self._outbox, self._outbox_bytes = self._outbox, [], 0
            self._flushed_ms = self._node.now_ms()
            self._send_all(self._peers, items)

    def _send_all(self, peers: dict[InstitutionId, _Peer], items: Sequence[tuple[Hash, bytes]]) -> None:
        payload = _encode(Transactions(tuple(data for _, data in items)))
        reached = sum(1 << peer.bit for name, peer in list(peers.items()) if self._node.send(name, payload))
        for tx_id, _ in items:
            held = self._held.get(tx_id)
            if held is not None:
                held.holders |= reached

    def _announce_relayed(self) -> None:
        """Tell those who may lack it of what came from peers and is still pending."""
        self._is_relaying = False
        fresh = [(tx_id, held) for tx_id in self._relay if (held := self._held.get(tx_id)) is not None]
        self._relay.clear()
        for name, peer in list(self._peers.items()):
            ids = [tx_id for tx_id, held in fresh if not held.holders >> peer.bit & 1]
            for start in range(0, len(ids), GOSSIP_IDS_MAX):
                self._node.send(name, _encode(Have(tuple(ids[start : start + GOSSIP_IDS_MAX]))))

    # --- remembering ---

    def _hold(self, tx_id: Hash, *, holders: int) -> None:
        self._held.pop(tx_id, None)
        self._held[tx_id] = _Held(self._node.now_ms(), holders)
        if len(self._held) > MEMPOOL_TRANSACTIONS_MAX:
            self._held.popitem(last=False)

    def _note_holder(self, peer: _Peer, tx_id: Hash) -> None:
        held = self._held.get(tx_id)
        if held is not None:
            held.holders |= 1 << peer.bit

    def _faults(self, peer: _Peer) -> int:
        """Return a peer's points; some are forgiven with each second."""
        now_ms = self._node.now_ms()
        seconds = (now_ms - peer.faults_ms) // 1_000
        peer.faults_ms += seconds * 1_000
        peer.faults = max(0, peer.faults - seconds * GOSSIP_FAULTS_FORGIVEN_PER_SECOND)
        return peer.faults


def _encode(message: GossipMessage) -> bytes:
    return codec.encode(GossipParcel(message))
