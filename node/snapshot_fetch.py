"""Getting a snapshot from peers: offers → manifest → chunks, each judged before it counts.

    who has one? → the highest that most have → its manifest proves its header → chunks from all who have it → done

Nothing is believed: an offer decides whom to ask; the manifest must be proven by hand-overs from our genesis; a chunk
must hash to what the manifest commits to. Whoever sends something else is banned, and the chunk is asked of another.
Where no peer is left that has the snapshot the attempt is over, and the node goes on by blocks. Source: PROTOCOL §6.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

from node.chain.restoring import Restoration
from node.chain.snapshot import snapshot_hash
from node.errors import Reason, Rejected
from node.limits import (
    SNAPSHOT_OFFERS_WAIT_MS,
    SNAPSHOT_PIECE_BYTES,
    SNAPSHOT_REQUESTS_MAX,
    SYNC_LATE_MAX,
    SYNC_TIMEOUT_MS,
)
from node.peer_standing import Standings
from node.primitives import Hash, Height, InstitutionId
from node.sync_messages import (
    Chunk,
    ChunkRequest,
    ManifestPiece,
    ManifestRequest,
    SnapshotAnswer,
    SnapshotOffer,
    Snapshots,
    SnapshotsRequest,
    encode_sync,
)


class Restorer(Protocol):
    """Where a snapshot is built; it never touches the chain in use."""

    def resume(self) -> Restoration | None:
        """Return what an earlier process had begun."""
        ...

    def begin(self, manifest: bytes) -> Restoration:
        """Begin anew with a manifest; what was begun before is thrown away. Raises: Rejected, StorageError."""
        ...

    def abandon(self) -> None:
        """Throw away what was begun."""
        ...

    def done(self, restoration: Restoration) -> None:
        """The new chain is complete: the node puts it in the place of the old one and starts again."""
        ...


class Phase(Enum):
    """Where an attempt is."""

    OFFERS = "asking who has a snapshot"
    MANIFEST = "fetching a manifest"
    CHUNKS = "fetching chunks"
    DONE = "done"
    FAILED = "failed"


_Question: TypeAlias = SnapshotsRequest | ManifestRequest | ChunkRequest


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that is under way with one peer."""

    question: _Question
    sent_ms: int


class SnapshotFetch:
    """One attempt to get a snapshot."""

    def __init__(
        self,
        *,
        restorer: Restorer,
        standings: Standings,
        send: Callable[[InstitutionId, bytes], bool],
        now_ms: Callable[[], int],
        blame: Callable[[InstitutionId, Rejected], None],
        height_min: Height,
    ) -> None:
        """Begin; `height_min`: a lower snapshot does not help, `blame` bans who sent what no honest peer has."""
        self._restorer = restorer
        self._standings = standings
        self._send = send
        self._now_ms = now_ms
        self._blame = blame
        self._height_min = height_min
        self._began_ms = now_ms()
        self._peers: set[InstitutionId] = set()
        self._asked: dict[InstitutionId, _Asked] = {}
        self._late: dict[InstitutionId, deque[_Question]] = {}
        """What nobody waits for any more: the answers may still come."""
        self._offers: dict[InstitutionId, tuple[SnapshotOffer, ...]] = {}
        self._refused: set[Hash] = set()
        """Manifests that prove nothing."""
        self._chosen: SnapshotOffer | None = None
        self._manifest = bytearray()
        self._manifest_from: InstitutionId | None = None
        self._restoration: Restoration | None = None
        self.phase = Phase.OFFERS
        self.failure = ""
        """Why the attempt is over."""
        self.chunks_taken = 0

    @property
    def is_over(self) -> bool:
        """Whether it succeeded or failed."""
        return self.phase in (Phase.DONE, Phase.FAILED)

    @property
    def height(self) -> Height | None:
        """The height of the snapshot that is being fetched, once it is proven."""
        return None if self._restoration is None else self._restoration.height

    @property
    def progress(self) -> tuple[int, int]:
        """How many chunks there are already, of how many."""
        if self._restoration is None:
            return 0, 0
        return self._restoration.taken, self._restoration.manifest.chunk_count

    def connected(self, peer: InstitutionId) -> None:
        """Ask a peer what it has."""
        self._peers.add(peer)
        if not self.is_over and self._standings.may_ask(peer, self._now_ms()):
            self._ask(peer, SnapshotsRequest())

    def disconnected(self, peer: InstitutionId) -> None:
        """Forget a peer; what it was asked is asked of others."""
        self._peers.discard(peer)
        self._asked.pop(peer, None)
        self._late.pop(peer, None)
        self._offers.pop(peer, None)
        if self.phase is Phase.MANIFEST and peer == self._manifest_from:
            self._restart_manifest()

    def tick(self) -> None:
        """Give up on who does not answer, choose, ask; call it several times a second."""
        now_ms = self._now_ms()
        for peer, asked in list(self._asked.items()):
            if now_ms - asked.sent_ms >= SYNC_TIMEOUT_MS:
                self._late.setdefault(peer, deque(maxlen=SYNC_LATE_MAX)).append(self._asked.pop(peer).question)
                self._standings.failed(peer, now_ms)
                if self.phase is Phase.MANIFEST and peer == self._manifest_from:
                    self._restart_manifest()
        self._step()

    def take(self, sender: InstitutionId, answer: SnapshotAnswer) -> None:
        """Take an answer. Raises: Rejected: nobody asked for it, or no honest peer sends it."""
        asked = self._asked.get(sender)
        if asked is None or not _answers(answer, asked.question):
            self._take_late(sender, answer)
            return
        del self._asked[sender]
        took_ms = self._now_ms() - asked.sent_ms
        match answer:
            case Snapshots(offers):
                self._offers[sender] = offers
            case ManifestPiece(data=data):
                self._standings.answered(sender, len(data), took_ms)
                self._on_piece(sender, data)
            case Chunk(number=number, data=data):
                self._standings.answered(sender, len(data or b""), took_ms)
                self._on_chunk(sender, number, data)
        self._step()

    # --- inside ---

    def _take_late(self, sender: InstitutionId, answer: SnapshotAnswer) -> None:
        """Let an answer pass that was given up. Raises: Rejected(QUOTA_EXCEEDED) for any other."""
        late = self._late.get(sender, ())
        question = next((question for question in late if _answers(answer, question)), None)
        if question is None:
            raise Rejected(Reason.QUOTA_EXCEEDED, f"{type(answer).__name__} that nobody asked for")
        self._late[sender].remove(question)

    def _step(self) -> None:
        if self.phase is Phase.OFFERS:
            self._choose()
        if self.phase is Phase.MANIFEST:
            self._ask_for_piece()
        if self.phase is Phase.CHUNKS:
            self._ask_for_chunks()

    def _choose(self) -> None:
        """Take the highest snapshot that most peers have, once all were heard or have had their time."""
        is_waiting = any(isinstance(asked.question, SnapshotsRequest) for asked in self._asked.values())
        if (is_waiting or not self._offers) and self._now_ms() - self._began_ms < SNAPSHOT_OFFERS_WAIT_MS:
            return
        resumed = self._resumed()
        if resumed is not None:
            self._restoration, self.phase = resumed, Phase.CHUNKS
            return
        offers = [offer for offered in self._offers.values() for offer in offered if self._is_wanted(offer)]
        if not offers:
            self._fail(f"no peer offers a snapshot at height {self._height_min} or above")
            return
        self._chosen = max(offers, key=lambda offer: (offer.height, len(self._holders(offer.name)), offer.name))
        self._restart_manifest()

    def _resumed(self) -> Restoration | None:
        """Return what was begun before if somebody still has it."""
        restoration = self._restorer.resume()
        if restoration is None or restoration.height < self._height_min or not self._holders(restoration.name):
            return None
        return restoration

    def _is_wanted(self, offer: SnapshotOffer) -> bool:
        return offer.height >= self._height_min and offer.name not in self._refused

    def _holders(self, name: Hash) -> list[InstitutionId]:
        """Return who says that it has a snapshot and may be asked."""
        having = [
            peer
            for peer, offers in self._offers.items()
            if peer in self._peers and any(offer.name == name for offer in offers)
        ]
        return self._standings.best(having, self._now_ms())

    def _restart_manifest(self) -> None:
        """Get the manifest from its beginning, all of it from one peer, who answers for it."""
        self._manifest = bytearray()
        self._manifest_from = None
        self.phase = Phase.MANIFEST

    def _ask_for_piece(self) -> None:
        assert self._chosen is not None
        if self._manifest_from is None:
            holders = [peer for peer in self._holders(self._chosen.name) if peer not in self._asked]
            if not holders:
                if not self._holders(self._chosen.name):
                    self._choose_another()
                return
            self._manifest_from = holders[0]
        if self._manifest_from not in self._asked:
            self._ask(self._manifest_from, ManifestRequest(self._chosen.name, len(self._manifest)))

    def _on_piece(self, sender: InstitutionId, data: bytes) -> None:
        if self.phase is not Phase.MANIFEST or sender != self._manifest_from:
            return
        assert self._chosen is not None
        # What a peer announced bounds what we keep of it; the announcement itself is bounded by its type.
        announced = next((item for item in self._offers.get(sender, ()) if item.name == self._chosen.name), None)
        if announced is None or not data:
            self._without(sender, self._chosen.name)
            self._restart_manifest()
            return
        self._manifest += data
        if len(self._manifest) < announced.manifest_bytes and len(data) == SNAPSHOT_PIECE_BYTES:
            return
        manifest, name = bytes(self._manifest), self._chosen.name
        try:
            if len(manifest) != announced.manifest_bytes or snapshot_hash(manifest) != name:
                raise Rejected(Reason.BAD_PROOF, f"{len(manifest)} bytes of a manifest do not hash to {name.hex()}")
            restoration = self._restorer.begin(manifest)
        except Rejected as rejection:
            if rejection.reason is Reason.WRONG_EPOCH:
                self._fail(rejection.detail)  # honest, but beyond a recovery that this node was not told of
            else:
                self._on_false_manifest(sender, name, rejection)
            return
        if restoration.height < self._height_min:
            # An old snapshot under a high offer.
            self._restorer.abandon()
            self._on_false_manifest(
                sender, name, Rejected(Reason.WRONG_HEIGHT, f"a snapshot of height {restoration.height}")
            )
            return
        self._restoration, self.phase = restoration, Phase.CHUNKS
        self._manifest = bytearray()

    def _on_false_manifest(self, sender: InstitutionId, name: Hash, rejection: Rejected) -> None:
        """Ban who sent it. A manifest that hashes to its name is false whoever sends it."""
        if snapshot_hash(bytes(self._manifest)) == name:
            self._refused.add(name)
        self._ban(sender, rejection)
        self._choose_another()

    def _choose_another(self) -> None:
        self._chosen, self._manifest_from, self._manifest = None, None, bytearray()
        self.phase = Phase.OFFERS
        self._choose()

    def _ask_for_chunks(self) -> None:
        restoration = self._restoration
        assert restoration is not None
        if restoration.taken == restoration.manifest.chunk_count:
            self._finish(restoration)
            return
        holders = self._holders(restoration.name)
        under_way = {
            asked.question.number for asked in self._asked.values() if isinstance(asked.question, ChunkRequest)
        }
        if not holders and not under_way:
            self._fail(f"no peer is left that has the snapshot of height {restoration.height}")
            return
        missing = restoration.missing(SNAPSHOT_REQUESTS_MAX + len(under_way))
        wanted = iter([number for number in missing if number not in under_way])
        for peer in holders:
            if len(under_way) >= SNAPSHOT_REQUESTS_MAX:
                return
            if peer in self._asked:
                continue
            number = next(wanted, None)
            if number is None:
                return
            if self._ask(peer, ChunkRequest(restoration.name, number)):
                under_way.add(number)

    def _on_chunk(self, sender: InstitutionId, number: int, data: bytes | None) -> None:
        restoration = self._restoration
        if self.phase is not Phase.CHUNKS or restoration is None:
            return
        if data is None:
            self._without(sender, restoration.name)
            return
        try:
            restoration.take(number, data)
        except Rejected as rejection:
            self._ban(sender, rejection)
            return
        self.chunks_taken += 1
        self._standings.helped(sender, self._now_ms())

    def _finish(self, restoration: Restoration) -> None:
        try:
            restoration.finish()
        except Rejected as rejection:
            self._restorer.abandon()
            self._fail(f"the snapshot of height {restoration.height} is not whole: {rejection.detail}")
            return
        self.phase = Phase.DONE
        self._restorer.done(restoration)

    def _without(self, peer: InstitutionId, name: Hash) -> None:
        """A peer does not have a snapshot any more."""
        self._offers[peer] = tuple(offer for offer in self._offers.get(peer, ()) if offer.name != name)

    def _ban(self, peer: InstitutionId, rejection: Rejected) -> None:
        self._offers.pop(peer, None)
        self._blame(peer, rejection)

    def _fail(self, why: str) -> None:
        self.phase, self.failure = Phase.FAILED, why

    def _ask(self, peer: InstitutionId, question: _Question) -> bool:
        now_ms = self._now_ms()
        self._standings.asked(peer, now_ms)
        # Queueing for a peer may disconnect one that does not read.
        if not self._send(peer, encode_sync(question)) or peer not in self._peers:
            self._standings.failed(peer, now_ms)
            return False
        self._asked[peer] = _Asked(question, now_ms)
        return True


def _answers(answer: SnapshotAnswer, question: _Question) -> bool:
    """Tell whether an answer is of the question that was asked."""
    match answer, question:
        case Snapshots(), SnapshotsRequest():
            return True
        case ManifestPiece(name, offset), ManifestRequest(asked_name, asked_offset):
            return (name, offset) == (asked_name, asked_offset)
        case Chunk(name, number), ChunkRequest(asked_name, asked_number):
            return (name, number) == (asked_name, asked_number)
        case _:
            return False
