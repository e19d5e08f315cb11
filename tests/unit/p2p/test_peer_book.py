"""Tests of node/p2p/peer_book.py and pace.py: time and randomness are numbers here."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.limits import DIALS_PENDING_MAX, HANDSHAKE_TIMEOUT_MS, PEER_ADDRESSES_MAX, PEER_PENALTIES_MAX, PEER_STABLE_MS
from node.p2p.pace import Pace
from node.p2p.peer_book import Backoff, Link, PeerAddress, PeerBook, Survivor, survivor

ONE = PeerAddress("10.0.0.1", 7_001, "one.mx")
ONE_ALSO = PeerAddress("10.0.0.9", 7_001, "one.mx")
TWO = PeerAddress("10.0.0.2", 7_001, "two.mx")
SOMEBODY = PeerAddress("10.0.0.3", 7_001)
BACKOFF = Backoff(min_ms=100, max_ms=1_000)


@pytest.mark.parametrize(
    "failures,fraction,delay_ms",
    [
        (1, 0.0, 50),
        (1, 0.5, 75),
        (2, 0.0, 100),
        (4, 0.0, 400),
        (5, 0.0, 500),  # 1,600 would be more than the greatest
        (1_000_000, 0.999, 999),
    ],
)
def test_delay_doubles_up_to_the_greatest(failures: int, fraction: float, delay_ms: int) -> None:
    """Half of each delay is random."""
    assert BACKOFF.delay_ms(failures, fraction) == delay_ms


def test_everybody_who_is_not_connected_is_due_at_first() -> None:
    """An address is handed out once, until it is known how it went."""
    book = PeerBook([ONE, TWO, SOMEBODY], backoff=BACKOFF)
    assert book.due(0, ["two.mx"]) == [ONE, SOMEBODY]
    assert book.due(0, []) == [TWO]
    assert book.due(0, []) == []


def test_failed_address_is_due_again_after_its_delay() -> None:
    """Each failure in a row doubles the delay; a connection that stood long enough starts it anew."""
    book = PeerBook([ONE], backoff=BACKOFF)
    assert book.due(0, []) == [ONE]
    book.failed(ONE, 1_000, 0.0)
    assert book.due(1_049, []) == []
    assert book.due(1_050, []) == [ONE]
    book.failed(ONE, 2_000, 0.0)
    assert book.due(2_099, []) == []
    assert book.due(2_100, []) == [ONE]
    book.connected(ONE)
    assert book.due(2_100, ["one.mx"]) == []
    book.lost("one.mx", PEER_STABLE_MS - 1, 3_000, 0.0)
    assert book.due(3_199, []) == []
    assert book.due(3_200, []) == [ONE]
    book.connected(ONE)
    book.lost("one.mx", PEER_STABLE_MS, 4_000, 0.0)
    assert book.due(4_049, []) == []
    assert book.due(4_050, []) == [ONE]


def test_one_address_of_an_institution_at_a_time() -> None:
    """The second address is tried when the first fails."""
    book = PeerBook([ONE, ONE_ALSO], backoff=BACKOFF)
    assert book.due(0, []) == [ONE]
    assert book.due(0, []) == []
    book.failed(ONE, 0, 0.0)
    assert book.due(0, []) == [ONE_ALSO]


def test_who_answered_at_an_address_is_remembered() -> None:
    """An address without a name is left alone while the one who answered there is connected."""
    book = PeerBook([SOMEBODY], backoff=BACKOFF)
    assert book.due(0, ["two.mx"]) == [SOMEBODY]
    book.answered(SOMEBODY, "two.mx")
    book.failed(SOMEBODY, 0, 0.0)
    assert book.due(10_000, ["two.mx"]) == []
    assert book.due(10_000, []) == [SOMEBODY]


def test_dials_under_way_are_bounded() -> None:
    """However long the book, only so many sockets are being opened."""
    addresses = [PeerAddress("10.0.0.1", port) for port in range(1, 100)]
    book = PeerBook(addresses, backoff=BACKOFF)
    assert book.due(0, []) == addresses[:DIALS_PENDING_MAX]
    assert book.due(0, []) == []
    book.failed(addresses[0], 0, 0.0)
    assert book.due(0, []) == [addresses[DIALS_PENDING_MAX]]


def test_replacing_keeps_what_is_known_and_stays_in_bounds() -> None:
    """A new list of addresses does not reset a back-off; beyond the bound the first ones count."""
    book = PeerBook([ONE, TWO], backoff=BACKOFF)
    book.due(0, [])
    book.failed(ONE, 0, 0.0)
    book.replace([ONE, SOMEBODY])
    assert book.due(0, []) == [SOMEBODY]
    assert book.due(50, []) == [ONE]
    # A result for an address that is no longer in the book changes nothing.
    book.failed(TWO, 0, 0.0)
    book.replace([PeerAddress("10.0.0.1", port) for port in range(1, PEER_ADDRESSES_MAX + 10)])
    assert len(book.addresses()) == PEER_ADDRESSES_MAX


def test_penalty_ends_by_itself_and_is_not_shortened() -> None:
    """A lighter fault does not end a heavier penalty."""
    book = PeerBook()
    assert book.penalty_left_ms(b"key", 0) == 0
    book.penalise(b"key", 1_000)
    book.penalise(b"key", 500)
    assert book.penalty_left_ms(b"key", 400) == 600
    assert book.penalty_left_ms(b"other", 400) == 0
    assert book.penalty_left_ms(b"key", 1_000) == 0


def test_penalties_are_bounded() -> None:
    """The oldest is forgiven first."""
    book = PeerBook()
    for number in range(PEER_PENALTIES_MAX + 1):
        book.penalise(number.to_bytes(4, "big"), 1_000)
    assert book.penalty_left_ms((0).to_bytes(4, "big"), 0) == 0
    assert book.penalty_left_ms((1).to_bytes(4, "big"), 0) == 1_000


SMALL, LARGE = b"\x01" * 32, b"\x02" * 32
WINDOW_MS = 2 * HANDSHAKE_TIMEOUT_MS


@pytest.mark.parametrize(
    "own,old,new,expected",
    [
        # Crossing: what the smaller identity dialled stays, whichever came first.
        (SMALL, Link(LARGE, b"i", True, 0), Link(LARGE, b"i", False, 10), Survivor.OLD),
        (SMALL, Link(LARGE, b"i", False, 0), Link(LARGE, b"i", True, 10), Survivor.NEW),
        (LARGE, Link(SMALL, b"i", True, 0), Link(SMALL, b"i", False, 10), Survivor.NEW),
        (LARGE, Link(SMALL, b"i", False, 0), Link(SMALL, b"i", True, 10), Survivor.OLD),
        # So far apart that they did not cross: the peer knows that the old one is dead.
        (SMALL, Link(LARGE, b"i", True, 0), Link(LARGE, b"i", False, WINDOW_MS), Survivor.OLD),
        (SMALL, Link(LARGE, b"i", True, 0), Link(LARGE, b"i", False, WINDOW_MS + 1), Survivor.NEW),
        # The same side dialled again.
        (SMALL, Link(LARGE, b"i", False, 0), Link(LARGE, b"i", False, 10), Survivor.NEW),
        (LARGE, Link(SMALL, b"i", True, 0), Link(SMALL, b"i", True, 10), Survivor.NEW),
        # The peer was started again.
        (SMALL, Link(LARGE, b"i", True, 0), Link(LARGE, b"j", False, 10), Survivor.NEW),
        # Another key of the institution.
        (SMALL, Link(LARGE, b"i", False, 0), Link(b"\x03" * 32, b"j", False, 10), Survivor.OLD),
    ],
)
def test_survivor_of_two_connections(own: bytes, old: Link, new: Link, expected: Survivor) -> None:
    """Every line of the rule."""
    assert survivor(own, old, new) is expected


@given(st.booleans(), st.booleans(), st.integers(0, WINDOW_MS), st.integers(0, WINDOW_MS))
def test_both_sides_keep_the_same_of_two_crossing_connections(
    small_first: bool, large_first: bool, small_gap_ms: int, large_gap_ms: int
) -> None:
    """In whatever order the two handshakes end on either side, the same connection is left."""

    def kept(own: bytes, peer: bytes, *, own_dial_first: bool, gap_ms: int) -> bytes:
        """Return who dialled the connection that this side keeps."""
        old = Link(peer, b"i", own_dial_first, 0)
        new = Link(peer, b"i", not own_dial_first, gap_ms)
        stays = old if survivor(own, old, new) is Survivor.OLD else new
        return own if stays.is_dialled else peer

    at_small = kept(SMALL, LARGE, own_dial_first=small_first, gap_ms=small_gap_ms)
    at_large = kept(LARGE, SMALL, own_dial_first=large_first, gap_ms=large_gap_ms)
    assert at_small == at_large == SMALL


def test_pace_allows_a_burst_and_then_its_rate() -> None:
    """A second's worth passes at once; what exceeds it has to wait."""
    pace = Pace(1_000)
    assert pace.spend(1_000, 0) == 0
    assert pace.spend(500, 0) == 500
    assert pace.spend(100, 600) == 0
    assert pace.spend(1_500, 10_000) == 500


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 2_000)), max_size=50))
def test_who_pauses_as_told_never_exceeds_the_rate(steps: list[tuple[int, int]]) -> None:
    """Over any time at most a burst, the rate, and the last portion are read."""
    pace, at_ms, total, last = Pace(1_000), 0.0, 0, 0
    for units, wait_ms in steps:
        assert total - last <= 1_000 + at_ms + 1e-6
        pause_ms = pace.spend(units, at_ms)
        total, last = total + units, units
        at_ms += max(pause_ms, wait_ms)
