"""Liars are caught on every ledger, the network goes on with them, and nobody else is ever accused."""

from dataclasses import replace

import pytest

from node.chain.evidence import decode_evidence
from node.chain.records.equivocation import Equivocations
from node.state import keys
from tests.simulation.backends import LedgerChain
from tests.simulation.plan import draw, quiet
from tests.simulation.world import World


def test_equivocating_validator_is_on_record_everywhere_and_validates_on() -> None:
    """Real ledgers and keys: each offence stands in one block, all nodes hold the same record, no set changes."""
    plan = replace(
        quiet(4, machines=4, scripted_ms=20_000),
        byzantine=(1,),
        attacks=("equivocate", "two-proposals"),
        real_ledger=True,
        real_signatures=True,
    )
    world = World(plan)
    world.run()
    liar = world.names[1]
    assert world.accusations == {liar}
    chains = [node.chain for node in world.honest()]
    lowest = min(chain.head.height for chain in chains)
    for chain in chains:
        assert isinstance(chain, LedgerChain)
        assert chain.validators_at(chain.head.height + 1) == world.validators
        blocks = [chain.block_at(height) for height in range(1, lowest + 1)]
        evidence = [data for found in blocks if found is not None for data in found[0].evidence]
        recorded = chain.read(keys.equivocations(liar), Equivocations)
        assert recorded is not None
        places = [item.place for item in recorded.items]
        assert len(set(places)) == len(places) >= len(evidence) > 0
        for data in evidence:
            assert {part.validator for part in decode_evidence(data).parts} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_validators_that_crash_at_every_write_are_never_accusable(seed: int) -> None:
    """Nothing that an honest validator signs before and after its crashes is evidence; the checkers compare it all."""
    World(replace(draw(seed), crash_per_mille=60)).run()
