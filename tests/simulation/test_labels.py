"""Every labelled line of the protocol is passed by a few seeds; `make sim` reports the same over many."""

import pytest

from tests.simulation.labels import NODE, Site, defined, sites
from tests.simulation.run import play

SEEDS = (24, 47, 9, 26, 54, 32, 128)
"""Together they pass every label; 128 is a marathon, long enough for missed turns to be forgotten [L4]."""
AWAITED = frozenset({"L5", "M2", "X2", "X4"})
"""Need a set of validators that changes, or a recovery."""


def test_every_label_of_the_page_stands_in_the_code() -> None:
    """A rule that is written down is found by its label where it is applied."""
    assert {label for label in defined() if all(site.label != label for site in sites())} <= {"X2"}


def test_a_label_is_passed_where_the_rule_has_its_effect() -> None:
    """Behind an `if` the body counts; the comment's own line is none of it."""
    text = (NODE / "consensus" / "verification.py").read_text(encoding="utf-8").splitlines()
    (proposer, _) = [site for site in sites() if site.label == "A1"]
    assert "if head.validator != proposer:  # [A1]" in text[proposer.line - 1]
    assert "raise Rejected(Reason.WRONG_PROPOSER" in text[proposer.passed - 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_label_is_exercised() -> None:
    """A fixed batch of seeds; whoever adds a label adds the fault that leads to it."""
    passed: set[Site] = set()
    for seed in SEEDS:
        verdict = play(seed, watch=True)
        assert verdict.violation is None
        passed |= verdict.passed
    reached = {site.label for site in passed}
    assert [label for label in defined() if label not in reached | AWAITED] == []
