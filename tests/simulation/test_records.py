"""Two records keep a validator from a double vote, the journal and the signer's: here each has to do it alone."""

from dataclasses import replace

import pytest

from node.journal import Journal
from tests.simulation.checkers import Violation
from tests.simulation.plan import draw, quiet
from tests.simulation.world import World


@pytest.mark.parametrize("seed", range(1_000, 1_020))
def test_journal_alone_prevents_a_double_vote(seed: int) -> None:
    """Power fails often, and the signer would sign anything."""
    world = World(replace(draw(seed), crash_per_mille=40, real_signatures=False, real_ledger=False), journal_alone=True)
    assert world.run()


@pytest.mark.parametrize("seed", range(1_000, 1_010))
def test_signer_is_never_asked_to_contradict_itself(seed: int) -> None:
    """With a whole journal its refusals are for faults that this program does not have; the checkers count them."""
    World(replace(draw(seed), crash_per_mille=40, real_ledger=False)).run()


@pytest.mark.parametrize("lost_ms", range(2_000, 6_000, 200))
def test_chain_lost_under_a_journal_that_stays(lost_ms: int) -> None:
    """It is fetched again, and the promises at the height that it comes to still bind."""
    plan = replace(
        quiet(4, seed=lost_ms, scripted_ms=9_000), delay_ms=(20, 400), loss_percent=20, transaction_every_ms=100
    )
    world = World(plan, journal_alone=True)
    node = world.nodes[2]

    def lose_chain() -> None:
        world.faults.crash(node)
        world.faults.lose_chain(node)

    world.schedule(lost_ms, None, lose_chain)
    assert world.run()


@pytest.mark.parametrize("wiped", [2, 4])
def test_network_of_listeners_goes_on_after_a_restart_together(wiped: int) -> None:
    """With no quorum that signs, nothing comes; docs/operators.md says what to do, and here it is done."""
    world = World(replace(quiet(4, scripted_ms=8_000), transaction_every_ms=300))
    listeners = world.nodes[:wiped]
    for node in listeners:
        world.schedule(5_000, None, world.faults.lose_records, node)
    with pytest.raises(Violation, match="progress: "):
        world.run()
    (head,) = {node.height for node in world.nodes}
    assert [node.replica.view().may_sign for node in world.nodes] == [node not in listeners for node in world.nodes]
    for node in world.nodes:
        node.stop()
    for node in listeners:
        node.journal_disk.wipe()
        node.signer_disk.wipe()
        Journal(node.journal_disk).begin()
    for node in world.nodes:
        node.start()
    until_ms = world.time_ms + 60_000
    world.run_until(lambda: world.time_ms > until_ms)
    assert min(node.height for node in world.nodes) > head + 10
