"""Catching up: blocks with certificates from peers, each judged by what this node already knows.

    a peer says that it is further → ask it → block, certificate → check → commit → tell the replica

What a peer says about heights decides whom to ask, nothing else: only a certificate of the validators of
the very next height moves the head, and consensus goes on beside it, so a liar costs time and never stops
anybody. Several peers are asked at once, each for other blocks; where the lowest take long, another is asked for
them too. A node that is far behind looks for a snapshot first (`node.snapshot_fetch`) and goes by blocks where that
fails. Source: PROTOCOL §6.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from node import codec
from node.allowance import Allowance
from node.block_fetch import BlockFetch, Claim, Item
from node.block_server import BlockServer, EmptyShelf, Shelf
from node.chain.block import Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.block_check import check_names
from node.chain.certificate import Certificate, Network, VerifyDigest, verify_consensus_signature
from node.chain.recovery import sentence_of_other_epoch
from node.chain.transaction import decode_transaction, transaction_id
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected
from node.limits import (
    FRAME_BYTES_MAX,
    HEAD_ANNOUNCE_MS,
    HEAD_REPEAT_MS,
    SNAPSHOT_LAG_HEIGHTS_MIN,
    SNAPSHOT_RETRY_MS,
    SYNC_BACKOFF_MAX_MS,
    SYNC_BLOCKS_MAX,
    SYNC_BYTES_PER_PEER_PER_SECOND_MAX,
    SYNC_FAR_SLICE_MS,
    SYNC_MESSAGES_PER_PEER_PER_SECOND_MAX,
    SYNC_PATIENCE_MS,
    SYNC_POLL_MS,
    SYNC_SLICE_MS,
)
from node.peer_standing import Standings
from node.primitives import Epoch, Height, InstitutionId
from node.snapshot_fetch import Phase, Restorer, SnapshotFetch
from node.sync_messages import (
    BlocksReply,
    BlocksRequest,
    CertifiedBlock,
    Chunk,
    ChunkRequest,
    Head,
    ManifestPiece,
    ManifestRequest,
    SnapshotAnswer,
    Snapshots,
    SnapshotsRequest,
    decode_sync,
    encode_sync,
)


class Chain(Protocol):
    """What sync needs of the ledger; `node.chain.ledger.Ledger` is one."""

    network: Network

    @property
    def head(self) -> Header:
        """Header of the last committed block."""
        ...

    @property
    def epoch(self) -> Epoch:
        """Of the next height."""
        ...

    @property
    def pruned_below(self) -> Height:
        """Lowest height, besides 0, whose block is here; 0 where every block is."""
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
    shelf: Shelf = field(default_factory=EmptyShelf)
    """The snapshots that this node gives."""
    restorer: Restorer | None = None
    """Where a snapshot is built; None: this node goes by blocks only."""
    said: Callable[[str], None] = field(default=lambda _: None)
    """A sentence about how the search for a snapshot goes, for the log."""


@dataclass(slots=True)
class _Peer:
    """A connected peer."""

    claimed: Height = 0
    """What it last said of its head."""
    base: Height = 0
    """What it last said of its lowest block."""
    allowance: Allowance = field(
        default_factory=lambda: Allowance(SYNC_MESSAGES_PER_PEER_PER_SECOND_MAX, SYNC_BYTES_PER_PEER_PER_SECOND_MAX)
    )
    fault: Rejected | None = None
    """What no honest peer sends; raised with its next message."""


class Sync:
    """The one owner of what is asked, what has come and who said what of heights."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._node = surroundings
        self._chain = surroundings.chain
        self._peers: dict[InstitutionId, _Peer] = {}
        self._standings = Standings()
        self._fetch = BlockFetch(send=surroundings.send, now_ms=surroundings.now_ms, standings=self._standings)
        self._snapshot: SnapshotFetch | None = None
        """The present attempt to get a snapshot, or the last one."""
        self._snapshot_height: Height | None = None
        """Of the snapshot that was last said to be fetched."""
        self._next_snapshot_ms = surroundings.now_ms()
        """When a snapshot may be looked for."""
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
            shelf=surroundings.shelf,
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

    @property
    def snapshot(self) -> SnapshotFetch | None:
        """The present attempt to get a snapshot, or the last one; None where there was none."""
        return self._snapshot

    # --- what happens here ---

    def connected(self, peer: InstitutionId) -> None:
        """Tell a new peer where we are."""
        self._peers[peer] = _Peer()
        self._fetch.forget(peer)
        self._node.send(peer, encode_sync(self._own_head()))
        if self._snapshot is not None:
            self._snapshot.connected(peer)

    def disconnected(self, peer: InstitutionId) -> None:
        """Forget a connection and what was said on it; blocks that came are still judged, and faults remembered."""
        self._peers.pop(peer, None)
        self._fetch.forget(peer)
        self._server.forget(peer)
        if self._snapshot is not None:
            self._snapshot.disconnected(peer)

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
        self._fetch.tick()
        since_ms = now_ms - self._announced_ms
        has_moved = self._announced != self._chain.head.height
        if since_ms >= (HEAD_ANNOUNCE_MS if has_moved else HEAD_REPEAT_MS):
            self._announce()
        self._note_goal()
        self._consider_snapshot()
        if self._has_attempt():
            self._go_on_with_snapshot()
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
        if not peer.allowance.spend(len(payload), self._node.now_ms()):
            self.rejected[Reason.QUOTA_EXCEEDED] += 1
            return
        match decode_sync(payload):
            case Head(height, base):
                peer.claimed, peer.base = height, base
                self._note_goal()
                self._step()
            case BlocksRequest() | SnapshotsRequest() | ManifestRequest() | ChunkRequest() as request:
                self._server.take(sender, request)
            case BlocksReply() as reply:
                self._on_reply(sender, peer, reply)
            case Snapshots() | ManifestPiece() | Chunk() as answer:
                self._on_snapshot_answer(sender, answer)
            case unreachable:
                assert_never(unreachable)

    def _on_reply(self, sender: InstitutionId, peer: _Peer, reply: BlocksReply) -> None:
        lacks_from = self._fetch.take(sender, reply, self._chain.head.height)
        if lacks_from is not None:
            # It has less than it said; what it says next counts again, after a pause.
            peer.claimed = min(peer.claimed, lacks_from - 1)
        if self._fetch.has(self._chain.head.height + 1) and not self._is_committing:
            self._is_committing = True
            self._node.call_later(0, self._commit_slice)
        self._step()

    def _on_snapshot_answer(self, sender: InstitutionId, answer: SnapshotAnswer) -> None:
        if self._snapshot is None:
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{type(answer).__name__} that nobody asked for")
        is_over = not self._has_attempt()
        self._snapshot.take(sender, answer)
        if not is_over:
            self._go_on_with_snapshot()

    # --- committing ---

    def _commit_slice(self) -> None:
        """Commit blocks for some milliseconds, at least one; then the event loop has its turn."""
        started_ms = self._node.now_ms()
        before = self._chain.head.height
        is_far = self.target_height - before > SYNC_BLOCKS_MAX
        slice_ms = SYNC_FAR_SLICE_MS if is_far else SYNC_SLICE_MS
        while (item := self._fetch.pop(self._chain.head.height + 1)) is not None:
            self._commit_one(item)
            if self._node.now_ms() - started_ms >= slice_ms:
                break
        if self._fetch.has(self._chain.head.height + 1):
            self._node.call_later(0, self._commit_slice)
        else:
            self._is_committing = False
        if self._chain.head.height > before:
            self._node.moved()
        self._step()

    def _commit_one(self, item: Item) -> None:
        """Check and commit the next block, or blame whoever sent it and drop what would follow."""
        try:
            certified = self._read(item)
        except Rejected as rejection:
            if rejection.reason is Reason.WRONG_EPOCH:
                self._spare(item.sender, rejection)
            else:
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
        self._standings.helped(item.sender, self._node.now_ms())

    def _read(self, item: Item) -> CertifiedBlock:
        """Return a block whose header a quorum of the next height has committed. Raises: Rejected."""
        certified = codec.decode(item.data, CertifiedBlock, bytes_max=FRAME_BYTES_MAX)
        block, certificate = certified.block, certified.certificate
        height = self._chain.head.height + 1
        if block.header.height != height:
            raise Rejected(Reason.WRONG_HEIGHT, f"block {block.header.height}, {height} was asked for")
        if block.header.epoch != self._chain.epoch:
            raise Rejected(Reason.WRONG_EPOCH, sentence_of_other_epoch(block.header.epoch, self._chain.epoch))
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
        """A peer sent what no honest one has: it is not asked again for long, and its next message disconnects it."""
        self._note_rejection(sender, rejection)
        self._fetch.drop(sender)
        self._standings.banned(sender, self._node.now_ms())
        peer = self._peers.get(sender)
        if peer is not None:
            peer.fault = rejection

    def _spare(self, sender: InstitutionId, rejection: Rejected) -> None:
        """A peer is on the other side of a recovery: one of us lacks the document, which only people can load."""
        self._note_rejection(sender, rejection)
        self._fetch.drop(sender)
        self._standings.rests(sender, self._node.now_ms() + SYNC_BACKOFF_MAX_MS)

    def _doubt_ourselves(self, sender: InstitutionId, rejection: Rejected) -> None:
        """A quorum has decided exactly this block and we cannot execute it: no peer is to blame, all are spared."""
        self._note_rejection(sender, rejection)
        self._fetch.clear()
        self.contradiction = rejection
        for name in self._peers:
            self._standings.rests(name, self._node.now_ms() + SYNC_BACKOFF_MAX_MS)

    def _note_rejection(self, sender: InstitutionId, rejection: Rejected) -> None:
        self.rejected[rejection.reason] += 1
        self._node.rejected(sender, rejection)

    # --- asking ---

    def _step(self) -> None:
        """Ask for the next blocks if there is a need, room and somebody to ask."""
        if self._has_attempt():
            return
        now_ms, head = self._node.now_ms(), self._chain.head.height
        able = {
            name: Claim(peer.base, peer.claimed)
            for name, peer in self._peers.items()
            if peer.claimed > head and peer.fault is None and self._standings.may_ask(name, now_ms)
        }
        if not able and self._fetch.is_idle:
            self._is_running = False
            self._behind_since_ms = None
            self._poll(now_ms)
            return
        if able and self._behind_since_ms is None:
            self._behind_since_ms = now_ms
        if self._is_due(now_ms) and self._fetch.ask(head, able):
            self._is_running = True

    def _is_due(self, now_ms: int) -> bool:
        """A validator leaves it to consensus unless that has failed to move the head for a while."""
        if self._is_running or not self._node.is_validator() or self._urgent_to > self._chain.head.height:
            return True
        return self._behind_since_ms is not None and now_ms - self._behind_since_ms >= SYNC_PATIENCE_MS

    def _poll(self, now_ms: int) -> None:
        """Without a vote and without news, ask now and then: silence may also mean that nobody told us."""
        if self._node.is_validator() or now_ms - self._polled_ms < SYNC_POLL_MS:
            return
        self._polled_ms = now_ms
        rested = self._standings.best((name for name, peer in self._peers.items() if peer.fault is None), now_ms)
        if rested:
            self._fetch.poll(rested[0], self._chain.head.height)

    # --- snapshots ---

    def _consider_snapshot(self) -> None:
        """Look for a snapshot where the head is far behind, or where nobody has the next blocks any more."""
        now_ms, head = self._node.now_ms(), self._chain.head.height
        if now_ms < self._next_snapshot_ms or self._has_attempt():
            return
        lag = self.target_height - head
        is_cut_off = lag > 0 and self._is_cut_off(head)
        if lag < SNAPSHOT_LAG_HEIGHTS_MIN and not is_cut_off:
            return
        self._next_snapshot_ms = now_ms + SNAPSHOT_RETRY_MS
        restorer = self._node.restorer
        if restorer is None:
            if is_cut_off:
                self._node.said(
                    f"every peer that is further has pruned block {head + 1}: connect an archive node, "
                    "or set storage.restore_from_snapshot"
                )
            return
        self._fetch.clear()
        self._node.said(f"{lag} blocks behind: looking for a snapshot")
        self._snapshot = SnapshotFetch(
            restorer=restorer,
            standings=self._standings,
            send=self._node.send,
            now_ms=self._node.now_ms,
            blame=self._blame,
            height_min=head + 1 + min(lag, SNAPSHOT_LAG_HEIGHTS_MIN) // 2,
        )
        for name in list(self._peers):
            self._snapshot.connected(name)

    def _go_on_with_snapshot(self) -> None:
        snapshot = self._snapshot
        assert snapshot is not None
        snapshot.tick()
        if snapshot.height is not None and snapshot.height != self._snapshot_height:
            self._snapshot_height = snapshot.height
            self._node.said(f"fetching the snapshot of height {snapshot.height}")
        if snapshot.phase is Phase.FAILED:
            self._node.said(f"{snapshot.failure}; going on by blocks")

    def _has_attempt(self) -> bool:
        """Tell whether a snapshot is being fetched, or was and the node is about to start on it."""
        return self._snapshot is not None and self._snapshot.phase is not Phase.FAILED

    def _is_cut_off(self, head: Height) -> bool:
        """Tell whether every peer that is further has pruned the next block."""
        further = [peer for peer in self._peers.values() if peer.claimed > head]
        return bool(further) and all(peer.base > head + 1 for peer in further)

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
        payload = encode_sync(self._own_head())
        for name in list(self._peers):
            self._node.send(name, payload)

    def _own_head(self) -> Head:
        return Head(self._chain.head.height, self._chain.pruned_below)
