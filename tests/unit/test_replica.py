"""The replica around the core: effects in order, one write per run of records, refusals counted."""

from collections.abc import Sequence

import msgspec

from node.chain.certificate import Phase
from node.chain.evidence import make_evidence
from node.chain.statements import Commit, Prepare
from node.consensus.inputs import Timer, TimerKind
from node.consensus.messages import EvidenceReport, Status, Step
from node.errors import Reason, Rejected
from node.journal import Journal
from node.limits import CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX
from node.replica import Member, Replica
from node.signer.local import HeldKeys, LocalSigner
from node.state.kv import MemoryStore, WriteBatch
from node.wire import decode_message, encode_message
from tests.unit.consensus.desk import NOW_MS, Desk


class Diary:
    """An environment, two disks and an observer that write down what happens, in order."""

    def __init__(self, desk: Desk, *, begun: bool = True) -> None:
        self.desk = desk
        self.lines: list[str] = []
        self.sent: list = []
        self.timers: dict[TimerKind, tuple[Timer, int]] = {}
        self.rejected_messages: list[tuple[str, Reason]] = []
        self.synced: list[tuple[int, tuple[str, ...]]] = []
        self.time_ms = NOW_MS
        journal = Journal(WatchedStore(self, "journal"))
        if begun:
            journal.begin()
        signer = LocalSigner(HeldKeys(desk.ring.signers[desk.me]), desk.network, WatchedStore(self, "signer"))
        self.journal = journal
        self.replica = Replica(
            institution=desk.name(desk.me),
            chain=desk.chain,
            environment=self,
            member=Member(signer, journal, b"nonce"),
            observer=self,
            verify_digest=desk.ring.verify,
        )
        self.replica.start()
        self.lines.clear()

    def now_ms(self) -> int:
        return self.time_ms

    def set_timer(self, timer: Timer, delay_ms: int) -> None:
        self.timers[timer.kind] = (timer, delay_ms)

    def send(self, receiver: str, payload: bytes) -> None:
        self.sent.append(decode_message(payload))
        self.lines.append(f"send {type(self.sent[-1]).__name__}")

    def broadcast(self, receivers: Sequence[str] | None, payload: bytes) -> None:
        self.sent.append(decode_message(payload))
        self.lines.append(f"broadcast {type(self.sent[-1]).__name__}")

    def request_sync(self, target_height: int, peers: Sequence[str]) -> None:
        self.synced.append((target_height, tuple(peers)))

    def stepped(self, event: object, effects: object) -> None:
        pass

    def rejected(self, sender: str, rejection: Rejected) -> None:
        self.rejected_messages.append((sender, rejection.reason))

    def committed(self, block: object, certificate: object) -> None:
        self.lines.append("committed")

    def receive(self, *messages: object) -> None:
        for message in messages:
            self.replica.receive(self.desk.name(self.desk.others[0]), encode_message(message))


class WatchedStore(MemoryStore):
    """Writes down each write."""

    def __init__(self, diary: Diary, name: str) -> None:
        super().__init__()
        self._diary = diary
        self._name = name

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        self._diary.lines.append(f"{self._name} {len(batch)} {'synced' if sync else 'later'}")
        super().write(batch, sync=sync)


def test_persists_then_signs_then_sends() -> None:
    """Body and vote are one synced write; the signer's record is another; then the Prepare leaves."""
    desk = Desk()
    diary = Diary(desk)
    diary.receive(desk.proposal(desk.block()))
    assert diary.lines == ["journal 2 synced", "signer 1 synced", "broadcast Prepare"]


def test_own_votes_count() -> None:
    """Two more Prepares make Q = 3: certificate and vote in one write, then Commit, then the decision."""
    desk = Desk()
    diary = Diary(desk)
    block_hash = desk.block().hash()
    diary.receive(desk.proposal(desk.block()), *(desk.prepare(i, 0, block_hash) for i in desk.others[:2]))
    diary.lines.clear()
    diary.receive(*(desk.commit(i, 0, block_hash) for i in desk.others[:2]))
    assert diary.lines == ["committed", "journal 5 later"]
    assert desk.chain.head.height == 1
    assert diary.replica.view().height == 2
    assert diary.replica.counters.blocks_committed == 1


def test_refusal_is_counted_and_nothing_stops() -> None:
    """Garbage, a forged vote, then a good proposal."""
    desk = Desk()
    diary = Diary(desk)
    sender = desk.name(desk.others[0])
    diary.replica.receive(sender, b"\xc1")
    diary.receive(desk.prepare(desk.others[0], 0, b"h" * 32).__class__(0, 1, 0, b"h" * 32, 0, bytes(64)))
    diary.receive(desk.proposal(desk.block()))
    assert diary.rejected_messages == [(sender, Reason.MALFORMED), (sender, Reason.BAD_SIGNATURE)]
    assert diary.replica.counters.rejected == {Reason.MALFORMED: 1, Reason.BAD_SIGNATURE: 1}
    assert isinstance(diary.sent[-1], Prepare)


def test_signer_that_refuses_keeps_the_replica_silent() -> None:
    """A restored journal meets a newer signer's record: no message, one count, no crash."""
    desk = Desk()
    diary = Diary(desk)
    member = diary.replica._member
    assert member is not None
    member.signer.sign(desk.view_change(desk.me, 9))
    diary.lines.clear()
    diary.receive(desk.proposal(desk.block()))
    assert diary.lines == ["journal 2 synced"]
    assert diary.replica.counters.signing_refused == 1


def test_sync_moves_the_replica_to_the_next_height() -> None:
    """Once, however often it is told."""
    desk = Desk()
    diary = Diary(desk)
    block = desk.block()
    desk.chain.commit_block(block, desk.certificate(2, 0, block.hash()))
    diary.replica.on_committed_by_sync()
    diary.replica.on_committed_by_sync()
    assert diary.replica.view().height == 2


def test_sync_to_the_height_of_old_promises_takes_them_up() -> None:
    """The chain was fetched again under a journal that had stayed: the ViewChange promised at height 2 still binds."""
    desk = Desk()
    diary = Diary(desk)
    change = desk.view_change(desk.me, 3)
    head = msgspec.structs.replace(change.head, height=2)
    promised = desk.signed(msgspec.structs.replace(change, head=head))
    diary.journal.append(2, [promised])
    block = desk.block()
    desk.chain.commit_block(block, desk.certificate(Phase.COMMIT, 0, block.hash()))
    diary.replica.on_committed_by_sync()
    view = diary.replica.view()
    assert (view.height, view.view, view.step) == (2, 3, Step.VIEW_CHANGING)
    assert diary.sent[-1] == promised


def test_validator_without_journal_only_listens() -> None:
    """[R2] It asks under its nonce and signs no vote."""
    desk = Desk()
    diary = Diary(desk, begun=False)
    diary.receive(desk.proposal(desk.block()))
    assert diary.lines == []
    timer, _ = diary.timers[TimerKind.TICK]
    diary.replica.on_timer(timer)
    assert isinstance(diary.sent[-1], Status) and diary.sent[-1].probe == b"nonce"
    assert not diary.replica.view().may_sign


def test_late_votes_are_counted() -> None:
    """For heights that are decided."""
    desk = Desk()
    diary = Diary(desk)
    diary.receive(Commit(0, 0, 0, b"h" * 32, 0, bytes(64)))
    assert diary.replica.counters.votes_late == 1


def test_peer_whose_messages_are_refused_is_not_read_for_the_rest_of_the_second() -> None:
    """[B4] Forged votes cost a verification each: after two hundred the sender's are not even decoded; others' are."""
    desk = Desk()
    diary = Diary(desk)
    liar, honest = (desk.name(index) for index in desk.others[:2])
    forged = [
        encode_message(msgspec.structs.replace(desk.prepare(desk.others[0], view, b"h" * 32), signature=b"x" * 64))
        for view in range(CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX + 10)
    ]
    for payload in forged:
        diary.replica.receive(liar, payload)
    reasons = [reason for sender, reason in diary.rejected_messages if sender == liar]
    assert reasons.count(Reason.BAD_SIGNATURE) == CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX + 1
    assert set(reasons[CONSENSUS_FAULTS_PER_PEER_PER_SECOND_MAX + 1 :]) == {Reason.QUOTA_EXCEEDED}
    diary.replica.receive(honest, encode_message(desk.prepare(desk.others[1], 0, b"h" * 32)))
    assert desk.others[1] in diary.replica._core.state.votes.voters(Phase.PREPARE, 0)
    diary.time_ms += 1_000
    diary.replica.receive(liar, encode_message(desk.prepare(desk.others[0], 0, b"h" * 32)))
    assert desk.others[0] in diary.replica._core.state.votes.voters(Phase.PREPARE, 0)


def evidence_reports(diary: Diary) -> list[EvidenceReport]:
    """Everything said about others."""
    return [message for message in diary.sent if isinstance(message, EvidenceReport)]


def test_evidence_is_told_once_and_waits_for_a_block() -> None:
    """[E4] Seen by ourselves, then reported by two others: one report of ours, one count, something to include."""
    desk = Desk()
    diary = Diary(desk)
    votes = [desk.prepare(desk.others[0], 0, block_hash) for block_hash in (b"x" * 32, b"y" * 32)]
    report = EvidenceReport(make_evidence(votes[0], votes[1]))
    diary.receive(*votes, report, report)
    assert evidence_reports(diary) == [report]
    assert diary.replica.counters.equivocations == 1
    assert desk.chain.has_pending()
    assert diary.timers[TimerKind.VIEW][0] == Timer(TimerKind.VIEW, 1, 0)


def test_reported_evidence_is_passed_on_once_and_bad_evidence_is_refused() -> None:
    """[E4] Who was not there hears of it too; what proves nothing goes no further."""
    desk = Desk()
    diary = Diary(desk)
    votes = [desk.prepare(desk.others[0], 0, block_hash) for block_hash in (b"x" * 32, b"y" * 32)]
    forged = [msgspec.structs.replace(vote, signature=bytes(64)) for vote in votes]
    reports = [EvidenceReport(make_evidence(pair[0], pair[1])) for pair in (votes, forged)]
    diary.receive(*reports, *reports)
    assert evidence_reports(diary) == [reports[0]]
    assert diary.rejected_messages == [(desk.name(desk.others[0]), Reason.BAD_EVIDENCE)] * 2
