"""Strangers' handshakes are counted by the second: by address, and all together."""

from node.limits import (
    HANDSHAKE_ADDRESSES_MAX,
    HANDSHAKES_BURST_SECONDS,
    HANDSHAKES_OF_STRANGERS_PER_SECOND_MAX,
    HANDSHAKES_PER_ADDRESS_PER_SECOND_MAX,
)
from node.p2p.doorman import Doorman

KNOWN = "10.0.0.1"
BURST = HANDSHAKES_PER_ADDRESS_PER_SECOND_MAX * HANDSHAKES_BURST_SECONDS
BURST_OF_ALL = HANDSHAKES_OF_STRANGERS_PER_SECOND_MAX * HANDSHAKES_BURST_SECONDS


def doorman() -> Doorman:
    """One that knows a single host."""
    return Doorman(lambda host: host == KNOWN)


def test_one_address_gets_its_share_and_more_with_time() -> None:
    """A burst, then twenty a second; another address is not touched."""
    door = doorman()
    assert [door.lets_in("1.1.1.1", 0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert door.lets_in("2.2.2.2", 0)
    assert [door.lets_in("1.1.1.1", 100) for _ in range(3)] == [True, True, False]


def test_all_strangers_together_are_bounded_and_whom_we_dial_is_not() -> None:
    """From a thousand addresses comes no more than the strangers' share; a known host still gets in."""
    door = doorman()
    let_in = sum(door.lets_in(f"1.1.{n // 250}.{n % 250}", 0) for n in range(1_000))
    assert let_in == BURST_OF_ALL
    assert door.lets_in(KNOWN, 0)
    assert not door.lets_in("9.9.9.9", 0)
    assert door.lets_in("9.9.9.9", 1_000)


def test_addresses_are_bounded() -> None:
    """The least recently seen is forgotten first."""
    door = doorman()
    for number in range(HANDSHAKE_ADDRESSES_MAX + 10):
        door.lets_in(f"host{number}", 0)
    assert len(door._by_host) == HANDSHAKE_ADDRESSES_MAX
    assert "host9" not in door._by_host
