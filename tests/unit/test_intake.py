"""What a node's own clients bring is kept, told to the others and proposed; what cannot be taken is counted."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from node.chain.rules.catalogue import DefinitionPublish
from node.errors import Reason, Rejected
from node.gossip import Gossip
from node.intake import Intake
from node.replica import Replica
from tests.unit.chain.kit import UGTO, TestChain, definition


def test_transactions_that_come_together_wake_consensus_once() -> None:
    """Two new ones and one again: two are told to the others, consensus hears of them in the next turn."""
    chain = TestChain()
    told: list[tuple[bytes, bytes]] = []
    later: list[tuple[int, Callable[[], None]]] = []
    woken: list[bool] = []
    intake = Intake(chain.ledger, lambda delay_ms, callback: later.append((delay_ms, callback)))
    intake.attach(
        cast(Gossip, SimpleNamespace(submitted=lambda tx_id, data: told.append((tx_id, data)))),
        cast(Replica, SimpleNamespace(on_transactions_pending=lambda: woken.append(True))),
    )
    one, other = (
        chain.transaction("definition.publish", DefinitionPublish(definition(f"{UGTO}/{name}/1")), signer=UGTO)
        for name in ("x", "y")
    )
    ids = [intake.take(data).tx_id for data in (one, other)]
    assert not intake.take(one).is_new
    assert told == [(ids[0], one), (ids[1], other)]
    assert ([delay_ms for delay_ms, _ in later], woken) == ([0], [])
    later[0][1]()
    assert woken == [True]
    third = chain.transaction("definition.publish", DefinitionPublish(definition(f"{UGTO}/z/1")), signer=UGTO)
    intake.take(third)
    assert len(later) == 2


def test_what_cannot_be_taken_is_counted_and_told_to_nobody() -> None:
    """By reason; the client gets the refusal."""
    intake = Intake(TestChain().ledger, lambda _delay_ms, _callback: None)
    intake.attach(cast(Gossip, SimpleNamespace()), cast(Replica, SimpleNamespace()))
    with pytest.raises(Rejected) as refused:
        intake.take(b"\x00")
    assert refused.value.reason is Reason.MALFORMED
    assert intake.rejected == {Reason.MALFORMED: 1}
