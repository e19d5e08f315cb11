"""What happens becomes a metric and at most one line."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from node import observers
from node.chain.certificate import Certificate, Phase
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.statements import Commit, Prepare, ProposalHead, ViewChangeHead
from node.channels import Channel
from node.consensus.effects import SignAndBroadcast
from node.consensus.inputs import HeightStarted, MessageReceived, TransactionsPending
from node.consensus.messages import UNSIGNED, Proposal, ViewChange
from node.errors import Reason, Rejected
from node.log import configure
from node.metrics import Metrics
from node.observers import ChainObserver, ConsensusObserver, TransportObserver
from node.p2p.observer import PeerIdentity
from node.rounds import Round, ViewRound
from tests.unit.chain.kit import GENESIS_TIME_MS, SEG, UGTO, TestChain, definition

PEER = PeerIdentity(UGTO, bytes(32))


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Collect what is logged at debug."""
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure("debug", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def events(log: io.StringIO) -> list[tuple[object, ...]]:
    """Return event and the fields that matter, line by line."""
    hidden = {"timestamp", "level", "event", "room"}
    found = [json.loads(line) for line in log.getvalue().splitlines()]
    return [(line["event"], {key: value for key, value in line.items() if key not in hidden}) for line in found]


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one sample."""
    return metrics.registry.get_sample_value(f"pila_{name}", labels)


def test_block_is_one_line_and_counts(log: io.StringIO) -> None:
    """Height, hash, view, proposer and how much is in it."""
    metrics, chain = Metrics(), TestChain()
    observer = ChainObserver(metrics, GENESIS_TIME_MS)
    chain.ledger.on_commit(observer.committed)
    committed = chain.do("definition.publish", DefinitionPublish(definition(f"{UGTO}/x/1")), signer=UGTO)
    expected = {
        "height": 1,
        "block": committed.block_hash.hex(),
        "view": 0,
        "proposer": SEG,
        "transactions": 1,
        "credentials": 0,
    }
    assert events(log) == [("block", expected)]
    assert sample(metrics, "transactions_total", kind="definition.publish") == 1
    assert sample(metrics, "block_transactions_sum") == 1
    assert sample(metrics, "block_interval_seconds_sum") == 1.0


def test_consensus_is_timed_from_accepting_a_proposal_to_its_decision(log: io.StringIO) -> None:
    """A decision that was not preceded by our Prepare is not measured."""
    metrics, chain = Metrics(), TestChain()
    observer = ConsensusObserver(metrics, is_verbose=False)
    block = chain.build()
    certificate = chain.certificate(block)
    observer.committed(block, certificate)
    assert sample(metrics, "consensus_round_trip_seconds_count") == 0
    prepare = Prepare(0, 1, 0, block.hash(), 0, UNSIGNED)
    observer.stepped(TransactionsPending(0), [SignAndBroadcast(prepare)])
    observer.committed(block, certificate)
    observer.committed(block, certificate)
    assert sample(metrics, "consensus_round_trip_seconds_count") == 1
    assert events(log) == []


def test_view_change_and_rejection_are_lines(log: io.StringIO) -> None:
    """With what an operator asks first: where, who, why."""
    observer = ConsensusObserver(Metrics(), is_verbose=False)
    head = ViewChangeHead(0, 5, 2, None, None, 0, UNSIGNED)
    observer.stepped(TransactionsPending(0), [SignAndBroadcast(ViewChange(head, None))])
    observer.rejected(UGTO, Rejected(Reason.BAD_SIGNATURE, "of a vote"))
    assert events(log) == [
        ("view change", {"height": 5, "view": 2}),
        ("rejected", {"peer": UGTO, "reason": "bad_signature", "detail": "of a vote"}),
    ]


def test_every_step_is_logged_at_debug(log: io.StringIO) -> None:
    """Inputs and effects in full, so that a log can be replayed."""
    observer = ConsensusObserver(Metrics(), is_verbose=True)
    observer.stepped(TransactionsPending(7), [])
    assert events(log) == [("step", {"input": "TransactionsPending(now_ms=7)", "effects": []})]


def test_proposals_show_how_clocks_differ(log: io.StringIO) -> None:
    """Its timestamp against the time at which it came."""
    metrics, chain = Metrics(), TestChain()
    block = chain.build()
    proposal = Proposal(ProposalHead(0, 1, 0, block.hash(), 0, UNSIGNED), block)
    event = MessageReceived(block.header.timestamp_ms - 250, UGTO, proposal)
    ConsensusObserver(metrics, is_verbose=False).stepped(event, [])
    assert sample(metrics, "clock_skew_seconds") == 0.25


def test_transport_counts_bytes_by_channel_name() -> None:
    """A number that is no channel does not become a label of its own."""
    metrics = Metrics()
    observer = TransportObserver(metrics)
    observer.sent(Channel.CONSENSUS, 10)
    observer.received(Channel.SYNC, 20)
    observer.received(6, 30)
    assert sample(metrics, "p2p_bytes_total", direction="out", channel="consensus") == 10
    assert sample(metrics, "p2p_bytes_total", direction="in", channel="sync") == 20
    assert sample(metrics, "p2p_bytes_total", direction="in", channel="other") == 30


def test_peer_that_is_down_is_one_line_until_it_is_back(log: io.StringIO) -> None:
    """Attempts repeat several times a second; a line each would drown everything."""
    observer = TransportObserver(Metrics())
    for _ in range(3):
        observer.refused("127.0.0.1:9", "unreachable", "refused")
    observer.connected(PEER, "127.0.0.1:9", is_dialled=True)
    observer.disconnected(PEER, "127.0.0.1:9", "closed", "by the other side")
    observer.refused("127.0.0.1:9", "unreachable", "refused")
    down = ("not connected", {"address": "127.0.0.1:9", "cause": "unreachable", "detail": "refused"})
    assert events(log) == [
        down,
        ("connected", {"peer": UGTO, "address": "127.0.0.1:9", "dialled": True}),
        ("disconnected", {"peer": UGTO, "address": "127.0.0.1:9", "cause": "closed", "detail": "by the other side"}),
        down,
    ]


def test_peer_cannot_fill_the_log(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line a second for each peer and reason; the next one says how many were left out."""
    now = 100.0
    monkeypatch.setattr("node.observers.monotonic_seconds", lambda: now)
    observer = ConsensusObserver(Metrics(), is_verbose=False)
    refused = Rejected(Reason.QUOTA_EXCEEDED, "too many")
    for _ in range(2_000):
        observer.rejected(UGTO, refused)
    observer.rejected(SEG, refused)
    observer.rejected(UGTO, Rejected(Reason.MALFORMED, "cut"))
    now += 1.0
    observer.rejected(UGTO, refused)
    many = {"reason": "quota_exceeded", "detail": "too many"}
    assert events(log) == [
        ("rejected", {"peer": UGTO, **many}),
        ("rejected", {"peer": SEG, **many}),
        ("rejected", {"peer": UGTO, "reason": "malformed", "detail": "cut"}),
        ("rejected", {"peer": UGTO, **many, "left_out": 1_999}),
    ]
    transport = TransportObserver(Metrics())
    for _ in range(100):
        transport.dropped(PEER, Channel.SYNC, 10)
    assert len(events(log)) == 5


def a_height(view: int = 1, *, silent: tuple[str, ...] = ("d.example",)) -> Round:
    """Height 7 of four: view 0 was prepared by two, the views above by three."""
    early = ViewRound(0, "a.example", ("a.example", "b.example"), (), ("a.example", "b.example", "c.example"))
    later = tuple(
        ViewRound(v, "b.example", ("a.example", "b.example", "c.example"), ("a.example", "b.example", "c.example"), ())
        for v in range(1, view + 1)
    )
    return Round(7, 3, (early, *later), silent)


def a_certificate(view: int) -> Certificate:
    """What decided height 7; only its view is looked at."""
    return Certificate(1, Phase.COMMIT, 0, 7, view, bytes(32), ())


def test_a_height_that_needed_another_view_is_told_in_one_line(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Views with proposer, who prepared and committed, when each was entered, and who was silent."""
    clock = [100.0]
    monkeypatch.setattr(observers, "monotonic_seconds", lambda: clock[0])
    watching = ConsensusObserver(Metrics(), is_verbose=False)
    watching.attach(a_height)
    watching.stepped(TransactionsPending(5), ())
    clock[0] = 102.5
    change = ViewChange(ViewChangeHead(0, 7, 1, None, None, 0, UNSIGNED), None)
    watching.stepped(TransactionsPending(6), (SignAndBroadcast(change),))
    clock[0] = 103.0
    watching.committed(definition, a_certificate(1))
    four = ["a.example", "b.example", "c.example"]
    assert events(log) == [
        (
            "view change",
            {
                "height": 7,
                "view": 1,
                "proposer": "a.example",
                "prepared": four[:2],
                "committed": [],
                "silent": ["d.example"],
            },
        ),
        (
            "slow height",
            {
                "height": 7,
                "view": 1,
                "seconds": 3.0,
                "quorum": 3,
                "views": [
                    {
                        "view": 0,
                        "proposer": "a.example",
                        "entered_seconds": 0.0,
                        "prepared": four[:2],
                        "committed": [],
                        "left": four,
                    },
                    {
                        "view": 1,
                        "proposer": "b.example",
                        "entered_seconds": 2.5,
                        "prepared": four,
                        "committed": four,
                        "left": [],
                    },
                ],
                "silent": ["d.example"],
            },
        ),
    ]


@pytest.mark.parametrize("seconds,is_told", [(5.0, False), (5.1, True)])  # SLOW_SECONDS = 5
def test_a_height_that_took_long_is_told_and_a_quick_one_is_not(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch, seconds: float, is_told: bool
) -> None:
    """Counted from when there was something to decide, so an idle minute is not slow."""
    clock = [0.0]
    monkeypatch.setattr(observers, "monotonic_seconds", lambda: clock[0])
    watching = ConsensusObserver(Metrics(), is_verbose=False)
    watching.attach(lambda: a_height(0, silent=()))
    clock[0] = 60.0
    watching.stepped(TransactionsPending(5), ())
    clock[0] += seconds
    watching.committed(definition, a_certificate(0))
    assert [name for name, _ in events(log)] == ["slow height"] * is_told


def test_a_late_vote_of_the_height_below_makes_no_idle_height_slow(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fourth Commit of a height comes after three decided it; a minute later the heartbeat is no slow height."""
    clock = [0.0]
    monkeypatch.setattr(observers, "monotonic_seconds", lambda: clock[0])
    watching = ConsensusObserver(Metrics(), is_verbose=False)
    watching.attach(lambda: a_height(0, silent=()))
    head, validators = TestChain().ledger.head, TestChain().ledger.validators_at(1)
    watching.stepped(HeightStarted(5, head, None, 0, validators, has_pending=False), ())
    watching.stepped(MessageReceived(5, "d.example", Commit(0, head.height, 0, bytes(32), 3, bytes(64))), ())
    clock[0] = 60.0
    watching.committed(definition, a_certificate(0))
    assert events(log) == []
