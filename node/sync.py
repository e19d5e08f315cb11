"""Catching up: blocks with certificates from peers, each judged by what this node already knows.

    a peer says that it is further → ask it → block, certificate → check → commit → tell the replica

What a peer says about heights decides whom to ask, nothing else: only a certificate of the validators of
the very next height moves the head, and consensus goes on beside it, so a liar costs time and never stops
anybody. One request is under way, a second one where the first takes long. Source: PROTOCOL §6.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from node import codec
from node.block_server import BlockServer
from node.chain.block import Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.block_check import check_names
from node.chain.certificate import Certificate, Network, VerifyDigest, verify_consensus_signature
from node.chain.transaction import decode_transaction, transaction_id
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected
from node.limits import (
    FRAME_BYTES_MAX,
    HEAD_ANNOUNCE_MS,
    HEAD_REPEAT_MS,
    SYNC_BACKOFF_MAX_MS,
    SYNC_BACKOFF_MS,
    SYNC_BLOCKS_MAX,
    SYNC_BYTES_MAX,
    SYNC_HEDGE_MS,
    SYNC_LATE_MAX,
    SYNC_PATIENCE_MS,
    SYNC_POLL_MS,
    SYNC_REQUESTS_MAX,
    SYNC_SLICE_MS,
    SYNC_TIMEOUT_MS,
)
from node.primitives import Height, InstitutionId
from node.sync_messages import BlocksReply, BlocksRequest, CertifiedBlock, Head, decode_sync, encode_sync


class Chain(Protocol):
    """What sync needs of the ledger; `node.chain.ledger.Ledger` is one."""

    network: Network

    @property
    def head(self) -> Header:
        """Header of the last committed block."""
        ...

    def validators_at(self, height: Height) -> ValidatorSet:
        """The set that votes at a height ≤ head + 1."""
        ...

    def commit_block(self, block: Block, certificate: Certificate) -> object:
        """Validate a block on the head and make it durable. Raises: Rejected, StorageError."""
        ...

    def block_at(self, height: Height) -> tuple[Block, Certificate] | None:
        """Return a committed block with a certificate of it; None where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What sync needs of the node. Times are milliseconds of any clock that never goes back."""

    chain: Chain
    send: Callable[[InstitutionId, bytes], bool]
    """Queue a message for a peer; False where it could not be queued."""
    call_later: Callable[[int, Callable[[], None]], object]
    """Call back after so many milliseconds; 0 = in the next turn of the event loop."""
    now_ms: Callable[[], int]
    moved: Callable[[], None]
    """Sync has moved the head: the replica starts the next height."""
    is_validator: Callable[[], bool]
    """Whether this node votes on the next height; it then leaves small lags to consensus."""
    rejected: Callable[[InstitutionId, Rejected], None]
    """A peer's blocks could not be taken, for logs and metrics."""
    verify_digest: VerifyDigest = verify_consensus_signature


@dataclass(slots=True)
class _Peer:
    """A connected peer."""

    claimed: Height = 0
    """What it last said of its head."""
    rests_until_ms: int = 0
    failures: int = 0
    """Since the last block of it that was committed."""
    asked_ms: int = 0
    late: deque[Height] = field(default_factory=lambda: deque(maxlen=SYNC_LATE_MAX))
    """First heights of requests that nobody waits for any more: their answers may still come."""
    fault: Rejected | None = None
    """What no honest peer sends; raised with its next message."""


@dataclass(frozen=True, slots=True)
class _Request:
    """One question that is under way."""

    from_height: Height
    sent_ms: int
    is_poll: bool
    """The peer never said that it has more."""


@dataclass(frozen=True, slots=True)
class _Item:
    """A block that came and is not read yet."""

    height: Height
    data: bytes
    sender: InstitutionId


class Sync:
    """The one owner of what is asked, what has come and who said what of heights."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._node = surroundings
        self._chain = surroundings.chain
        self._peers: dict[InstitutionId, _Peer] = {}
        self._requests: dict[InstitutionId, _Request] = {}
        self._buffer: deque[_Item] = deque()
        """Consecutive heights; at most a request's worth beyond SYNC_BLOCKS_MAX / 2."""
        self._buffer_bytes = 0
        self._is_committing = False
        self._is_running = False
        """Blocks were asked for because somebody has them, and there are more to get."""
        self._urgent_to: Height = 0
        """Consensus asked for blocks up to here."""
        self._behind_since_ms: int | None = None
        """Since when a peer claims more while the head stands still."""
        self._goal: tuple[Height, int] | None = None
        """What f+1 validators claimed, and since when the head is below it."""
        self._announced_ms = surroundings.now_ms() - HEAD_REPEAT_MS
        self._announced: Height = 0
        self._polled_ms = surroundings.now_ms()
        self._server = BlockServer(
            block_at=surroundings.chain.block_at,
            send=surroundings.send,
            call_later=surroundings.call_later,
            now_ms=surroundings.now_ms,
        )
        self.rejected: Counter[Reason] = Counter()
        """Blocks and certificates of peers that could not be taken, for metrics."""
        self.blocks_committed = 0
        self.contradiction: Rejected | None = None
        """Why this node cannot execute a block that the network has decided: it is out of date or damaged."""

    # --- what others ask ---

    @property
    def target_height(self) -> Height:
        """Highest head that f+1 validators claim, so that one honest one has it; at least our own."""
        validators = self._chain.validators_at(self._chain.head.height + 1)
        names = [member.institution for member in validators.members]
        claims = [self._peers[name].claimed for name in names if name in self._peers]
        claims.sort(reverse=True)
        proven = claims[validators.max_faulty] if len(claims) > validators.max_faulty else 0
        return max(proven, self._chain.head.height)

    @property
    def is_syncing(self) -> bool:
        """Whether this node is far behind, or a little for longer than consensus needs."""
        self._note_goal()
        if self._goal is None:
            return False
        is_far = self.target_height - self._chain.head.height > SYNC_BLOCKS_MAX
        return is_far or self._node.now_ms() - self._goal[1] > SYNC_PATIENCE_MS

    def claimed_height(self, peer: InstitutionId) -> Height | None:
        """Return what a connected peer says of its head."""
        found = self._peers.get(peer)
        return None if found is None else found.claimed

    # --- what happens here ---

    def connected(self, peer: InstitutionId) -> None:
        """Tell a new peer where we are."""
        self._peers[peer] = _Peer(asked_ms=self._node.now_ms() - SYNC_POLL_MS)
        self._requests.pop(peer, None)
        self._node.send(peer, encode_sync(Head(self._chain.head.height)))

    def disconnected(self, peer: InstitutionId) -> None:
        """Forget a peer and what it said; blocks that it sent are still judged."""
        self._peers.pop(peer, None)
        self._requests.pop(peer, None)
        self._server.forget(peer)

    def request(self, target_height: Height, peers: Sequence[InstitutionId]) -> None:
        """Consensus knows of a height that these peers are said to have: fetch it without delay."""
        for name in peers:
            peer = self._peers.get(name)
            if peer is not None:
                peer.claimed = max(peer.claimed, target_height)
        self._urgent_to = target_height
        self._step()

    def committed(self) -> None:
        """The head moved, by whatever way."""
        if not self._is_running:
            self._behind_since_ms = None
        if self._node.now_ms() - self._announced_ms >= HEAD_ANNOUNCE_MS:
            self._announce()

    def tick(self) -> None:
        """Give up on who does not answer, announce the head, ask; call it several times a second."""
        now_ms = self._node.now_ms()
        for name, request in list(self._requests.items()):
            if now_ms - request.sent_ms >= SYNC_TIMEOUT_MS:
                self._give_up(name)
                self._failed(name)
        since_ms = now_ms - self._announced_ms
        has_moved = self._announced != self._chain.head.height
        if since_ms >= (HEAD_ANNOUNCE_MS if has_moved else HEAD_REPEAT_MS):
            self._announce()
        self._note_goal()
        self._step()

    # --- what peers say ---

    def receive(self, sender: InstitutionId, payload: bytes) -> None:
        """Take one message of a connected peer.

        Raises: Rejected: what no honest node sends, now or in blocks that came before; the peer is to be
        disconnected.
        """
        peer = self._peers[sender]
        if peer.fault is not None:
            raise peer.fault
        match decode_sync(payload):
            case Head(height):
                peer.claimed = height
                self._note_goal()
                self._step()
            case BlocksRequest() as request:
                self._server.take(sender, request)
            case BlocksReply() as reply:
                self._on_reply(sender, peer, reply)

    def _on_reply(self, sender: InstitutionId, peer: _Peer, reply: BlocksReply) -> None:
        request = self._requests.get(sender)
        if request is None or request.from_height != reply.from_height:
            if reply.from_height not in peer.late:
                raise Rejected(Reason.QUOTA_EXCEEDED, f"blocks from {reply.from_height}, nobody asked for them")
            peer.late.remove(reply.from_height)
            return
        del self._requests[sender]
        if reply.items:
            self._keep(sender, reply)
        elif not request.is_poll:
            # It has less than it said; what it says next counts again, after a pause.
            peer.claimed = min(peer.claimed, request.from_height - 1)
            self._failed(sender)
        self._step()

    def _keep(self, sender: InstitutionId, reply: BlocksReply) -> None:
        """Put what continues the buffer into it; another peer, or consensus, may have been faster."""
        following = self._next_height()
        for height, data in enumerate(reply.items, reply.from_height):
            if height == following:
                self._buffer.append(_Item(height, data, sender))
                self._buffer_bytes += len(data)
                following += 1
        if self._buffer and not self._is_committing:
            self._is_committing = True
            self._node.call_later(0, self._commit_slice)

    # --- committing ---

    def _commit_slice(self) -> None:
        """Commit blocks for some milliseconds, at least one; then the event loop has its turn."""
        started_ms = self._node.now_ms()
        before = self._chain.head.height
        while self._buffer:
            item = self._buffer.popleft()
            self._buffer_bytes -= len(item.data)
            if item.height <= self._chain.head.height:
                continue
            self._commit_one(item)
            if self._node.now_ms() - started_ms >= SYNC_SLICE_MS:
                break
        if self._buffer:
            self._node.call_later(0, self._commit_slice)
        else:
            self._is_committing = False
        if self._chain.head.height > before:
            self._node.moved()
        self._step()

    def _commit_one(self, item: _Item) -> None:
        """Check and commit the next block, or blame whoever sent it and drop what would follow."""
        try:
            certified = self._read(item)
        except Rejected as rejection:
            self._blame(item.sender, rejection)
            return
        block, certificate = certified.block, certified.certificate
        try:
            self._chain.commit_block(block, certificate)
        except Rejected as rejection:
            if self._is_whole(block):
                self._doubt_ourselves(item.sender, rejection)
            else:
                self._blame(item.sender, rejection)
            return
        self.contradiction = None
        self.blocks_committed += 1
        if item.sender in self._peers:
            self._peers[item.sender].failures = 0

    def _read(self, item: _Item) -> CertifiedBlock:
        """Return a block whose header a quorum of the next height has committed. Raises: Rejected."""
        certified = codec.decode(item.data, CertifiedBlock, bytes_max=FRAME_BYTES_MAX)
        block, certificate = certified.block, certified.certificate
        height = self._chain.head.height + 1
        if block.header.height != height:
            raise Rejected(Reason.WRONG_HEIGHT, f"block {block.header.height}, {height} was asked for")
        # After this a refusal is the body's fault or our own: the ledger must find no fault with the certificate.
        check_names(certificate, block.header, block.hash())
        certificate.check(self._chain.network, self._chain.validators_at(height), self._node.verify_digest)
        return certified

    def _is_whole(self, block: Block) -> bool:
        """Whether a body is the one that its header commits to."""
        header = block.header
        try:
            parsed = [(decode_transaction(data), data) for data in block.transactions]
        except Rejected:
            return False
        network = self._chain.network
        identified = [(transaction_id(made, network, header.epoch), data) for made, data in parsed]
        return (header.transactions_root, header.evidence_root, header.parent_certificate_hash) == (
            transactions_root(identified),
            evidence_root(block.evidence),
            certificate_hash(block.parent_certificate),
        )

    def _blame(self, sender: InstitutionId, rejection: Rejected) -> None:
        """A peer sent what no honest one has: its next message disconnects it."""
        self._drop(sender, rejection)
        peer = self._peers.get(sender)
        if peer is not None:
            peer.fault = rejection
            peer.rests_until_ms = self._node.now_ms() + SYNC_BACKOFF_MAX_MS

    def _doubt_ourselves(self, sender: InstitutionId, rejection: Rejected) -> None:
        """A quorum has decided exactly this block and we cannot execute it: no peer is to blame, all are spared."""
        self._drop(sender, rejection)
        self.contradiction = rejection
        for peer in self._peers.values():
            peer.rests_until_ms = self._node.now_ms() + SYNC_BACKOFF_MAX_MS

    def _drop(self, sender: InstitutionId, rejection: Rejected) -> None:
        self.rejected[rejection.reason] += 1
        self._node.rejected(sender, rejection)
        self._buffer.clear()
        self._buffer_bytes = 0
        for name in list(self._requests):
            self._give_up(name)

    # --- asking ---

    def _step(self) -> None:
        """Ask for the next blocks if there is a need, room and somebody to ask."""
        now_ms = self._node.now_ms()
        following = self._next_height()
        able = [
            name
            for name, peer in self._peers.items()
            if peer.claimed >= following and peer.rests_until_ms <= now_ms and peer.fault is None
        ]
        if not able and not self._requests and not self._buffer:
            self._is_running = False
            self._behind_since_ms = None
            self._poll(now_ms, following)
            return
        if able and self._behind_since_ms is None:
            self._behind_since_ms = now_ms
        has_room = len(self._buffer) < SYNC_BLOCKS_MAX // 2 and self._buffer_bytes < SYNC_BYTES_MAX
        if not has_room or not self._may_ask_another(now_ms) or not self._is_due(now_ms):
            return
        idle = [name for name in able if name not in self._requests]
        for name in sorted(idle, key=lambda name: (self._peers[name].failures, self._peers[name].asked_ms, name)):
            # Queueing for a peer may disconnect one that does not read.
            if name in self._peers and self._ask(name, following, now_ms, is_poll=False):
                self._is_running = True
                return

    def _may_ask_another(self, now_ms: int) -> bool:
        """One request at a time; a second where every other has waited long."""
        if len(self._requests) >= SYNC_REQUESTS_MAX:
            return False
        return all(now_ms - request.sent_ms >= SYNC_HEDGE_MS for request in self._requests.values())

    def _is_due(self, now_ms: int) -> bool:
        """A validator leaves it to consensus unless that has failed to move the head for a while."""
        if self._is_running or not self._node.is_validator() or self._urgent_to > self._chain.head.height:
            return True
        return self._behind_since_ms is not None and now_ms - self._behind_since_ms >= SYNC_PATIENCE_MS

    def _poll(self, now_ms: int, following: Height) -> None:
        """Without a vote and without news, ask now and then: silence may also mean that nobody told us."""
        if self._node.is_validator() or now_ms - self._polled_ms < SYNC_POLL_MS:
            return
        self._polled_ms = now_ms
        rested = [name for name, peer in self._peers.items() if peer.rests_until_ms <= now_ms and peer.fault is None]
        if rested:
            name = min(rested, key=lambda name: (self._peers[name].asked_ms, name))
            self._ask(name, following, now_ms, is_poll=True)

    def _ask(self, name: InstitutionId, following: Height, now_ms: int, *, is_poll: bool) -> bool:
        peer = self._peers[name]
        peer.asked_ms = now_ms
        if not self._node.send(name, encode_sync(BlocksRequest(following, SYNC_BLOCKS_MAX))):
            peer.rests_until_ms = now_ms + SYNC_BACKOFF_MS
            return False
        self._requests[name] = _Request(following, now_ms, is_poll)
        return True

    def _give_up(self, name: InstitutionId) -> None:
        """Wait no more for an answer."""
        self._peers[name].late.append(self._requests.pop(name).from_height)

    def _failed(self, name: InstitutionId) -> None:
        """Leave a peer alone for a while, longer each time."""
        peer = self._peers[name]
        pause_ms = min(SYNC_BACKOFF_MS << min(peer.failures, 16), SYNC_BACKOFF_MAX_MS)
        peer.failures += 1
        peer.rests_until_ms = self._node.now_ms() + pause_ms

    def _next_height(self) -> Height:
        """Return the first height that is neither committed nor buffered."""
        buffered = self._buffer[-1].height if self._buffer else 0
        return max(buffered, self._chain.head.height) + 1

    # --- heights ---

    def _note_goal(self) -> None:
        """Follow what f+1 validators claim: a goal that was reached, or is claimed no more, is over."""
        head, target = self._chain.head.height, self.target_height
        if target <= head:
            self._goal = None
        elif self._goal is None or self._goal[0] <= head:
            self._goal = (target, self._node.now_ms())
        elif target < self._goal[0]:
            self._goal = (target, self._goal[1])

    def _announce(self) -> None:
        self._announced_ms = self._node.now_ms()
        self._announced = self._chain.head.height
        payload = encode_sync(Head(self._announced))
        for name in list(self._peers):
            self._node.send(name, payload)
