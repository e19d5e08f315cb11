"""How long a view may last."""

import pytest

from node.consensus.timeouts import ViewTimeouts


@pytest.mark.parametrize(
    "view,expected_ms",
    [(0, 2_000), (1, 3_000), (2, 4_500), (3, 6_750), (6, 22_780), (7, 30_000), (2**32 - 1, 30_000)],
)
def test_each_view_lasts_half_as_long_again_up_to_thirty_seconds(view: int, expected_ms: int) -> None:
    """[T3] From 2 s at first; the largest view costs no loop of four thousand million steps."""
    assert ViewTimeouts().duration_ms(view) == expected_ms


@pytest.mark.parametrize("decision_ms,expected_ms", [(0, 1_000), (1_000, 4_000), (60_000, 10_000), (-5, 1_000)])
def test_first_view_adapts_between_one_and_ten_seconds(decision_ms: int, expected_ms: int) -> None:
    """[T3] Four times the average of decisions; a clock that jumped is clamped."""
    timeouts = ViewTimeouts()
    for _ in range(100):
        timeouts.observe(decision_ms)
    assert abs(timeouts.duration_ms(0) - expected_ms) <= 32
