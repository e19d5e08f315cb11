"""What catching up remembers of peers: pauses that grow, faults that are forgiven, bans that outlive a connection."""

from node.limits import SYNC_BACKOFF_MAX_MS, SYNC_BACKOFF_MS, SYNC_BAN_MS, SYNC_FORGIVE_MS, SYNC_STANDINGS_MAX
from node.peer_standing import Standings

ONE, TWO, THREE = "one.example", "two.example", "three.example"


def test_pauses_grow_with_failures_up_to_a_bound() -> None:
    """Two seconds, four, eight … a minute."""
    standings = Standings()
    pauses = []
    now_ms = 0
    for _ in range(8):
        standings.failed(ONE, now_ms)
        pauses.append(standings.of(ONE).rests_until_ms - now_ms)
        now_ms = standings.of(ONE).rests_until_ms
    assert pauses[:4] == [SYNC_BACKOFF_MS << doubled for doubled in range(4)]
    assert max(pauses) == SYNC_BACKOFF_MAX_MS


def test_failures_are_forgiven_with_time() -> None:
    """Each minute without another failure halves them."""
    standings = Standings()
    for _ in range(4):
        standings.failed(ONE, 0)
    standings.failed(TWO, 0)
    late_ms = 3 * SYNC_FORGIVE_MS
    standings.asked(ONE, 0)
    standings.asked(TWO, 1)
    assert standings.best([ONE, TWO], late_ms) == [ONE, TWO]


def test_good_answers_halve_failures() -> None:
    """Who helps is asked again soon."""
    standings = Standings()
    for _ in range(3):
        standings.failed(ONE, 0)
    standings.helped(ONE, 1)
    standings.helped(ONE, 2)
    standings.failed(TWO, 0)
    later_ms = SYNC_FORGIVE_MS - 1
    assert standings.best([TWO, ONE], later_ms) == [ONE, TWO]


def test_the_fastest_goes_first_and_everybody_has_a_chance() -> None:
    """Throughput decides among those without failures; who was never asked is tried first."""
    standings = Standings()
    standings.answered(ONE, 1_000, 100)
    standings.answered(TWO, 1_000, 10)
    assert standings.best([ONE, TWO, THREE], 0) == [THREE, TWO, ONE]
    for _ in range(8):
        standings.kept_waiting(TWO)
    assert standings.best([ONE, TWO], 0) == [ONE, TWO]


def test_a_ban_outlives_everything_but_time() -> None:
    """Good answers do not end it."""
    standings = Standings()
    standings.banned(ONE, 0)
    standings.helped(ONE, 1)
    assert not standings.may_ask(ONE, SYNC_BAN_MS - 1)
    assert standings.may_ask(ONE, SYNC_BAN_MS)


def test_a_crowd_of_names_does_not_wash_a_ban_away() -> None:
    """What is remembered is bounded; whoever's pause ends first is forgotten first."""
    standings = Standings()
    standings.banned(ONE, 0)
    for number in range(2 * SYNC_STANDINGS_MAX):
        standings.asked(f"peer{number}.example", 0)
    assert not standings.may_ask(ONE, 1)
    assert len(standings._by_name) == SYNC_STANDINGS_MAX
