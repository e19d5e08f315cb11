"""Who proposes."""

import pytest

from node.chain.rotation import Rotation, proposer_order
from tests.unit.consensus.desk import Desk


@pytest.mark.parametrize("n", [4, 5, 10, 100])
def test_everybody_has_a_turn_in_every_n_views_and_heights(n: int) -> None:
    """The order is a permutation, walked by height + view."""
    validators = Desk(n).validators
    everybody = list(range(n))
    assert sorted(proposer_order(validators)) == everybody
    assert sorted(Rotation(validators, 7).proposer(view) for view in range(n)) == everybody
    assert sorted(Rotation(validators, height).proposer(0) for height in range(n)) == everybody
    assert Rotation(validators, 5).proposer(3) == Rotation(validators, 8).proposer(0)


def test_proposed_before_looks_only_at_lower_views() -> None:
    """In view 2 of four validators, two have had their turn; from view 4 on all have."""
    rotation = Rotation(Desk(4).validators, 1)
    for view in (0, 1, 2, 4, 2**32 - 1):
        earlier = {rotation.proposer(u) for u in range(min(view, 4))}
        assert {i for i in range(4) if rotation.proposed_before(i, view)} == earlier
