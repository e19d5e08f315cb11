"""Counting: fast tallies against a naive twin, and the bounds of what one liar can fill."""

from hypothesis import given
from hypothesis import strategies as st

from node.chain.certificate import Phase
from node.chain.statements import Commit, Prepare
from node.consensus.messages import UNSIGNED
from node.consensus.votes import ViewChangeBook, VoteBook, has_bit, phase_of
from node.limits import VOTE_VIEWS_PER_VALIDATOR_MAX
from tests.unit.consensus.desk import Desk

DESK = Desk(n=7)
HASHES = (b"a" * 32, b"b" * 32)
VOTES = st.builds(
    lambda kind, view, block_hash, index: kind(0, 1, view, block_hash, index, UNSIGNED),
    st.sampled_from([Prepare, Commit]),
    st.integers(0, 2),
    st.sampled_from(HASHES),
    st.integers(0, 6),
)


@given(st.lists(VOTES, max_size=60))
def test_tally_is_what_a_naive_count_says(votes: list[Prepare | Commit]) -> None:
    """Of each validator the first vote of a phase and view counts, and decided means Q Commits of one view."""
    book = VoteBook(DESK.validators, 0, 1)
    first: dict[tuple[Phase, int, int], bytes] = {}
    decided = None
    for vote in votes:
        book.add(vote)
        first.setdefault((phase_of(vote), vote.view, vote.validator), vote.block_hash)
        counts = {
            (view, block_hash): sum(
                1 for (phase, v, _), h in first.items() if (phase, v, h) == (Phase.COMMIT, view, block_hash)
            )
            for view in range(3)
            for block_hash in HASHES
        }
        decided = decided or next((place for place, count in counts.items() if count >= 5), None)
    assert book.decided == decided
    for phase in Phase:
        for view in range(3):
            voters = sorted(index for (p, v, index) in first if (p, v) == (phase, view))
            assert book.voters(phase, view) == voters
            assert [i for i in range(7) if has_bit(book.seen(phase, view), i)] == voters
            for block_hash in HASHES:
                naive = sum(1 for (p, v, _), h in first.items() if (p, v, h) == (phase, view, block_hash))
                assert book.count(phase, view, block_hash) == naive


def test_a_liar_fills_only_its_own_eight_views() -> None:
    """The lowest view gives way to higher ones, and a lower one does not come back."""
    book = VoteBook(DESK.validators, 0, 1)
    for view in range(20):
        book.add(DESK.commit(0, view, HASHES[0]))
    book.add(DESK.commit(0, 3, HASHES[0]))
    held = [view for view in range(20) if book.held(Phase.COMMIT, 0, view) is not None]
    assert held == list(range(20 - VOTE_VIEWS_PER_VALIDATOR_MAX, 20))
    assert book.count(Phase.COMMIT, 3, HASHES[0]) == 0


def test_what_gave_way_leaves_nothing_behind() -> None:
    """A liar that climbs through views for hours, while nothing is decided, takes no more memory than its eight."""
    book = VoteBook(DESK.validators, 0, 1)
    for view in range(1_000):
        book.add(DESK.commit(0, view, HASHES[0]))
    assert len(book._tallies) == VOTE_VIEWS_PER_VALIDATOR_MAX


def test_certificate_is_ascending_and_verifies() -> None:
    """Whatever the order of arrival."""
    book = VoteBook(DESK.validators, 0, 1)
    for index in (6, 2, 4, 0, 3):
        book.add(DESK.prepare(index, 1, HASHES[1]))
    certificate = book.certificate(Phase.PREPARE, 1, HASHES[1])
    assert certificate == DESK.certificate(Phase.PREPARE, 1, HASHES[1], [0, 2, 3, 4, 6])
    certificate.check(DESK.network, DESK.validators, DESK.ring.verify)


def test_bits_beyond_the_bitmap_are_not_set() -> None:
    """A short bitmap from a peer is no error."""
    assert [has_bit(b"\x05", index) for index in (0, 1, 2, 8, 99)] == [True, False, True, False, False]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=30), st.integers(0, 9))
def test_view_to_join_is_what_a_naive_count_says(asked: list[tuple[int, int]], current: int) -> None:
    """The smallest of the highest views above ours, when f+1 = 3 members are above."""
    book = ViewChangeBook(DESK.validators)
    for index, view in asked:
        book.add(DESK.view_change(index, view))
    highest = {index: max(view for i, view in asked if i == index) for index, _ in asked}
    above = sorted(view for view in highest.values() if view > current)
    assert book.view_to_join(current) == (above[0] if len(above) >= 3 else None)
    assert book.members_at_least(current) == sum(view >= current for view in highest.values())
