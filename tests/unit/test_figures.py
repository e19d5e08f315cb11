"""What the parts of a node count for themselves reaches its metrics, when somebody reads them."""

from collections import Counter
from types import SimpleNamespace
from typing import cast

from node.errors import Reason
from node.figures import Figures, Sources
from node.gossip import Gossip
from node.metrics import Metrics
from node.p2p.network import Network
from node.p2p.observer import PeerIdentity
from node.replica import Replica
from node.state.leveldb import LevelDbStore
from node.sync import Sync
from tests.unit.chain.kit import COEPES, ITLEON, UGTO, TestChain
from tests.unit.consensus.desk import Desk
from tests.unit.test_replica import Diary


def test_totals_of_all_parts_are_taken_over() -> None:
    """Gauges at once; counters, peers and refusals of the whole house with each refresh."""
    chain, metrics, replica = TestChain(), Metrics(), Diary(Desk()).replica
    peers = [
        SimpleNamespace(identity=PeerIdentity(name, bytes(32)), queue_frames=frames)
        for name, frames in ((COEPES, 2), (ITLEON, 3))
    ]
    heights = {COEPES: 7}
    sources = Sources(
        ledger=chain.ledger,
        chain_store=cast(LevelDbStore, SimpleNamespace(approximate_bytes=lambda: 4_096)),
        replica=cast(Replica, replica),
        gossip=cast(Gossip, SimpleNamespace(rejected=Counter({Reason.EXPIRED: 1}))),
        sync=cast(
            Sync,
            SimpleNamespace(rejected=Counter({Reason.BAD_BLOCK: 1}), target_height=9, claimed_height=heights.get),
        ),
        network=cast(Network, SimpleNamespace(peers=lambda: peers)),
        rejected=Counter({Reason.EXPIRED: 2}),
        unreachable_count=lambda: 1,
        backup_age_seconds=lambda: 60.0,
    )
    figures = Figures(metrics, sources)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"pila_{name}", labels)

    assert (value("consensus_height"), value("sync_lag_blocks"), value("db_bytes")) == (1, 9, 4_096)
    assert (value("missing_validators"), value("backup_age_seconds")) == (1, 60)
    replica.counters.rejected[Reason.EXPIRED] = 4
    replica.counters.missed_proposals[UGTO] = 5
    figures.refresh()
    assert (value("rejected_total", reason="expired"), value("rejected_total", reason="bad_block")) == (7, 1)
    assert value("validator_missed_proposals_total", validator=UGTO) == 5
    assert (value("signer_reachable"), value("view_timeout_seconds")) == (1, 2)
    assert (value("peers"), value("p2p_queue")) == (2, 5)
    assert (value("peer_height", peer=COEPES), value("peer_height", peer=ITLEON)) == (7, None)
    heights.clear()
    figures.refresh()
    assert value("peer_height", peer=COEPES) is None
