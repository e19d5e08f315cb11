"""So many messages and bytes of one peer are read in one second."""

import pytest

from node.allowance import Allowance


@pytest.mark.parametrize(
    "sizes,allowed",
    [
        ([1, 1, 1], [True, True, False]),  # messages_max = 2
        ([10, 0], [True, True]),  # bytes_max = 10
        ([11, 0], [False, False]),
        ([0, 11], [True, False]),
    ],
)
def test_messages_and_bytes_are_counted_apart(sizes: list[int], allowed: list[bool]) -> None:
    """Either one ends the second."""
    allowance = Allowance(2, 10)
    assert [allowance.spend(size, 5_000) for size in sizes] == allowed


def test_the_next_second_begins_anew() -> None:
    """What was not read is gone; the peer is not."""
    allowance = Allowance(1, 10)
    assert [allowance.spend(1, at_ms) for at_ms in (5_000, 5_999, 6_000, 6_001)] == [True, False, True, False]
