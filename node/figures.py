"""What metrics say of a running node that nobody tells them: totals that its parts keep, and the loop's lag."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.chain.equivocations import recorded_count
from node.chain.ledger import Ledger
from node.clock import monotonic_seconds, wall_ms
from node.errors import Reason
from node.gossip import Gossip
from node.metrics import Metrics
from node.p2p.network import Network
from node.replica import Replica
from node.state.leveldb import LevelDbStore
from node.sync import Sync

LAG_SECONDS: Final = 0.05
"""How often the event loop's lag is measured."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Who keeps the totals."""

    ledger: Ledger
    chain_store: LevelDbStore
    replica: Replica
    gossip: Gossip
    sync: Sync
    network: Network
    rejected: Counter[Reason]
    """What clients sent and could not be taken."""
    unreachable_count: Callable[[], int]
    """How many validators this node is not connected with."""
    backup_age_seconds: Callable[[], float]


class Figures:
    """Lets the metrics of one node read its parts."""

    def __init__(self, metrics: Metrics, sources: Sources) -> None:
        self._metrics = metrics
        self._sources = sources
        ledger, sync = sources.ledger, sources.sync
        metrics.watch(
            {
                metrics.consensus_height: lambda: ledger.head.height + 1,
                metrics.equivocations_recorded: lambda: recorded_count(
                    ledger, ledger.validators_at(ledger.head.height + 1)
                ),
                metrics.missing_validators: sources.unreachable_count,
                metrics.state_keys: lambda: ledger.state.key_count,
                metrics.db_bytes: sources.chain_store.approximate_bytes,
                metrics.mempool_transactions: lambda: len(ledger.mempool),
                metrics.mempool_bytes: lambda: ledger.mempool.bytes,
                metrics.head_age_seconds: lambda: (wall_ms() - ledger.head.timestamp_ms) / 1_000,
                metrics.backup_age_seconds: sources.backup_age_seconds,
                metrics.sync_lag_blocks: lambda: sync.target_height - ledger.head.height,
            }
        )

    def refresh(self) -> None:
        """Take over what cannot be read one by one; just before somebody reads the metrics."""
        metrics, sources = self._metrics, self._sources
        counters, view = sources.replica.counters, sources.replica.view()
        metrics.consensus_view.set(view.view)
        metrics.consensus_step.set(view.step)
        metrics.view_timeout_seconds.set(view.view_timeout_ms / 1_000)
        metrics.signer_reachable.set(view.signer_problem is None)
        metrics.follow(metrics.view_changes, counters.view_changes)
        metrics.follow(metrics.equivocations, counters.equivocations)
        metrics.follow(metrics.votes_late, counters.votes_late)
        for result, count in counters.proposals.items():
            metrics.follow(metrics.proposals, count, result)
        for institution, count in counters.missed_proposals.items():
            metrics.follow(metrics.missed_proposals, count, institution)
        rejected = counters.rejected + sources.gossip.rejected + sources.sync.rejected + sources.rejected
        for reason, count in rejected.items():
            metrics.follow(metrics.rejected, count, reason.value)
        peers = sources.network.peers()
        metrics.peers.set(len(peers))
        metrics.p2p_queue.set(sum(peer.queue_frames for peer in peers))
        metrics.peer_height.clear()
        for peer in peers:
            height = sources.sync.claimed_height(peer.identity.institution)
            if height is not None:
                metrics.peer_height.labels(peer.identity.institution).set(height)

    async def measure_lag(self) -> None:
        """Note how long others keep the event loop, until cancelled: nothing in it may make a vote wait for long."""
        while True:
            asked = monotonic_seconds() + LAG_SECONDS
            await asyncio.sleep(LAG_SECONDS)
            self._metrics.loop_lag_seconds.observe(max(0.0, monotonic_seconds() - asked))
