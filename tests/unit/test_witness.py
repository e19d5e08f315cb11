"""What each validator was last heard to say."""

from node import witness as witness_module
from node.consensus.inputs import MessageReceived
from node.consensus.messages import UNSIGNED, Status, Step
from node.errors import Reason, Rejected
from node.witness import Heard, Witness
from tests.unit.consensus.desk import NOW_MS, Desk


def a_status(height: int, view: int, *, probe: bytes = b"") -> Status:
    """A Status of validator 1."""
    return Status(0, height, view, Step.WAITING, False, b"", b"", probe, b"", None, 1, UNSIGNED)


def test_the_latest_status_counts() -> None:
    """Height, view and when."""
    witness = Witness()
    for at_ms, height, view in ((1_000, 5, 0), (2_000, 5, 3)):
        witness.stepped(MessageReceived(at_ms, "a.example", a_status(height, view)))
    assert witness.heard("a.example") == Heard(status_ms=2_000, height=5, view=3)
    assert witness.heard("b.example") == Heard()


def test_who_asks_without_a_journal_listens_until_it_promises_something() -> None:
    """Once it knows from where it signs it asks no more, and still listens; a vote ends that."""
    desk, witness = Desk(), Witness()
    name = desk.name(desk.others[0])
    witness.stepped(MessageReceived(1_000, name, a_status(5, 0, probe=b"nonce")))
    witness.stepped(MessageReceived(2_000, name, a_status(5, 0)))
    assert witness.heard(name).listens
    witness.stepped(MessageReceived(3_000, name, desk.prepare(desk.others[0], 0, b"h" * 32)))
    assert not witness.heard(name).listens


def test_a_refusal_is_remembered_and_a_quota_is_not() -> None:
    """What a flood leads to says nothing about why a word is missing."""
    witness = Witness()
    refusal = Rejected(Reason.WRONG_EPOCH, "epoch 0 instead of 1")
    witness.rejected("a.example", refusal, 1_000)
    witness.rejected("a.example", Rejected(Reason.QUOTA_EXCEEDED, "more"), 2_000)
    assert witness.heard("a.example") == Heard(refused_ms=1_000, refusal=refusal)


def test_our_clock_is_wrong_when_the_others_agree_on_it() -> None:
    """Proposals of two others five seconds in our future: we are behind; one alone says nothing about us."""
    desk, witness = Desk(), Witness()
    names = [desk.name(index) for index in range(4)]
    for view in range(2):
        proposer = desk.name(desk.rotation.proposer(view))
        proposal = desk.proposal(desk.block(view, timestamp_ms=NOW_MS + 5_000))
        assert witness.own_skew_ms(names) is None
        witness.stepped(MessageReceived(NOW_MS, proposer, proposal))
    assert witness.own_skew_ms(names) == -5_000


def test_senders_are_bounded() -> None:
    """Who was heard first is forgotten first."""
    witness = Witness()
    for number in range(witness_module.PEERS_MAX + 10):
        witness.stepped(MessageReceived(1_000, f"n{number}.example", a_status(5, 0)))
    assert witness.heard("n9.example") == Heard()
    assert witness.heard("n10.example") != Heard()
    assert len(witness._heard) == witness_module.PEERS_MAX
