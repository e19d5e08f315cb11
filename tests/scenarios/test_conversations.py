"""Golden conversations, and the regression scenarios of PROTOCOL §9.6 that concern consensus, by name."""

import pytest

from tests.scenarios import conversations
from tests.scenarios.conversations import CONVERSATIONS, FOLDER, path_of, written


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.__name__)
def test_conversation_is_as_written_down(conversation) -> None:  # noqa: ANN001 – one of the functions above
    """Word by word; `python -m tests.scenarios.conversations` writes them again, to be explained in the commit."""
    assert written(conversation) == path_of(conversation).read_text(encoding="utf-8")


def test_every_transcript_has_its_conversation() -> None:
    """No file is left over."""
    assert sorted(FOLDER.glob("*.txt")) == sorted(path_of(conversation) for conversation in CONVERSATIONS)


def test_regression_commits_of_mixed_views() -> None:
    """Three voters for one block in two views decide nothing; a third of one view does."""
    assert conversations.commits_of_mixed_views().heights() == {"A": 0, "B": 0, "C": 0, "D": 1}


def test_regression_one_faulty_validator_freezing_view_synchronisation() -> None:
    """The three honest ones meet in view 2 and decide there."""
    table = conversations.one_faulty_freezes_nobody()
    assert table.heights() == {"A": 0, "B": 1, "C": 1, "D": 1}
    assert table.node("B").chain.head_certificate.view == 2


def test_regression_prepared_block_whose_body_nobody_kept() -> None:
    """Its signers did keep it, on disk: the new proposer fetches it and the same block is decided."""
    table = conversations.body_that_nobody_kept()
    assert table.heights() == {"A": 0, "B": 1, "C": 1, "D": 1}
    assert table.node("B").chain.state == {b"t1": 1}


def test_regression_view_change_with_false_certificate() -> None:
    """The liar's claim counts for nothing and the prepared block is decided."""
    table = conversations.false_certificate()
    assert table.heights() == {"A": 1, "B": 1, "C": 1, "D": 0}
    assert table.rejections == {"bad_certificate": 3}


def test_decided_block_survives_although_one_alone_knew() -> None:
    """Four different ways to one hash."""
    table = conversations.decided_by_one_alone()
    assert len({node.chain.head.hash() for node in table.nodes}) == 1


def test_restarted_validator_says_the_same_bytes() -> None:
    """Nobody sees B equivocate, and its repeated Commit completes the decision."""
    table = conversations.restart_repeats()
    assert [node.replica.counters.equivocations for node in table.nodes] == [0, 0, 0, 0]
    assert table.heights() == {"A": 1, "B": 0, "C": 1, "D": 1}
