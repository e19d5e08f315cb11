"""Bugs that broke other systems, planted one at a time: the simulator must see each of them.

The seeds are the first of at most 500 that show the bug; `python -m tests.simulation --seeds 500 --seed 0 --plant
NAME` searches anew, after a change of the plans or of the rules.
"""

import pytest

from tests.scenarios import conversations
from tests.simulation.plants import planted, plants
from tests.simulation.run import play, play_plan

WITNESSES = [
    ("quorum-2f+1", 0, "oracle: no quorum of round changes"),
    ("mixed-views", 0, "oracle: UponPrepare: "),
    ("duplicate-signers", 7, "validity: "),
    ("commit-unprepared", 0, "oracle: UponPrepare: "),
    ("forget-prepared", 0, "signer: "),
    ("lowest-prepared", 7, "oracle: highest prepared block without a quorum of prepares"),
    ("one-moves-all", 2, "oracle: UponRoundChange: "),
    ("new-time", 0, "oracle: block is not the highest prepared one"),
    ("any-block-again", 268, "oracle: block is not the highest prepared one"),
    ("late-prepares-change-claim", 2, "signer: "),
    ("vote-below-promise", 4, "signer: "),
    ("heads-of-other-views", 68, "oracle: a round change is invalid"),
    ("few-heads", 7, "oracle: no quorum of round changes"),
    ("false-claims", 197, "oracle: highest prepared block without a quorum of prepares"),
    ("unchecked-decision", 7, "validity: "),
    ("anybody-proposes", 22, "oracle: not signed by the proposer"),
    ("any-time", 2, "oracle: fresh block is 59734 ms ahead"),
    ("empty-at-once", 2, "oracle: empty block 1 ms after its parent"),
    ("other-epochs", 14, "oracle: UponPrepare: "),
    ("evidence-of-other-epochs", 9, "evidence: "),
    ("commit-binds-for-ever", 7, "progress: "),
    ("view-change-said-once", 6, "progress: "),
    ("maker-blamed", 0, "oracle: not signed by the proposer"),
    ("early-messages-unbounded", 3, "bounds: "),
    ("vote-before-persist", 0, "body: "),
    ("journal-unsynced", 0, "signer: "),
    ("body-not-kept", 0, "body: "),
    ("restart-forgets-view-change", 304, "signer: "),
    ("restart-forgets-prepared", 0, "signer: "),
    ("safe-start-early", 245, "double vote: "),
    ("safe-start-at-once", 44, "evidence: "),
    ("sync-unchecked", 65, "validity: "),
    ("one-set-for-all", 3, "refusal: "),
    ("newest-key", 2, "refusal: "),
    ("turns-of-another-set", 0, "oracle: not signed by the proposer"),
]
SCENARIOS = {"timer-for-exactly-this-view", "join-nobody"}
"""A named scenario is their witness: random seeds rarely bring about what they need."""


@pytest.mark.parametrize("plant,seed,seen", WITNESSES)
def test_planted_bug_is_seen(plant: str, seed: int, seen: str) -> None:
    """With the bug the seed is a violation; without it the same plan is clean."""
    with planted(plant):
        violation = play(seed, plant=plant).violation
    assert violation is not None and violation.startswith(seen)
    assert play_plan(plants()[plant].draw(seed)).violation is None


def test_every_plant_has_a_witness() -> None:
    """There are at least fifteen, and none is planted without being found."""
    assert {plant for plant, _, _ in WITNESSES} | SCENARIOS == set(plants())
    assert len(WITNESSES) >= 15
    assert max(seed for _, seed, _ in WITNESSES) < 500


def test_nobody_meets_when_higher_views_do_not_count() -> None:
    """[T2] The scenario of one faulty validator comes to where C waits and no timer of its runs."""
    with planted("timer-for-exactly-this-view"), pytest.raises(AssertionError, match="the timer of C does not run"):
        conversations.one_faulty_freezes_nobody()


def test_nothing_ends_when_nobody_joins() -> None:
    """[V2] Two ask for view 1, the third has no reason of its own to: without joining nothing is decided."""
    assert conversations.idle_one_is_taken_along().heights() == {"A": 0, "B": 1, "C": 1, "D": 1}
    with planted("join-nobody"):
        table = conversations.idle_one_is_taken_along()
    assert table.heights() == {"A": 0, "B": 0, "C": 0, "D": 0}
