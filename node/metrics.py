"""What Prometheus reads: every name of INTERFACE §5 that this version can fill, with bounded labels.

Others hand in numbers and names; this file knows no block and no peer. Values that somebody else
keeps are read when they are asked for (`watch`).
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web
from prometheus_client import (
    GC_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from node.errors import ConfigError

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
COUNTS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)
TEXT: Final = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}


class Metrics:
    """All metrics of one node, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        registry.register(GC_COLLECTOR)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"pila_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"pila_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"pila_{name}", text, labels, buckets=buckets, registry=registry)

        # Consensus.
        self.consensus_height = gauge("consensus_height", "Height being agreed on")
        self.consensus_view = gauge("consensus_view", "View of that height")
        self.consensus_step = gauge(
            "consensus_step", "0 waiting, 1 preparing, 2 committing, 3 view_changing, 4 decided"
        )
        self.view_timeout_seconds = gauge("view_timeout_seconds", "How long the present view may last")
        self.consensus_round_trip_seconds = histogram(
            "consensus_round_trip_seconds", "From accepting a proposal to its decision", SECONDS
        )
        self.block_interval_seconds = histogram(
            "block_interval_seconds", "Between two blocks, by their timestamps", (*SECONDS, 30.0, 60.0, 120.0)
        )
        self.block_transactions = histogram("block_transactions", "Transactions of a block", COUNTS)
        self.block_credentials = histogram("block_credentials", "Credentials issued by a block", COUNTS)
        self.view_changes = counter("view_changes", "Views that this replica gave up")
        self.proposals = counter("proposals", "Proposals: sent, accepted or invalid", "result")
        self.missing_validators = gauge("missing_validators", "Validators that this node is not connected with")
        self.missed_proposals = counter(
            "validator_missed_proposals", "Views that ended without this proposer's decision", "validator"
        )
        self.equivocations = counter("equivocations", "Proofs that a validator signed two things, seen by this node")
        self.equivocations_recorded = gauge(
            "equivocations_recorded", "Such proofs against present validators that are on the chain"
        )
        self.votes_late = counter("votes_late", "Votes for heights decided before")
        # Ledger.
        self.transactions = counter("transactions", "Committed transactions", "kind")
        self.credentials_issued = counter("credentials_issued", "Credentials issued, stacked ones included")
        self.credentials_revoked = counter("credentials_revoked", "Status entries that revoke")
        self.commit_seconds = histogram("commit_seconds", "Writing a decided block", SECONDS)
        self.execute_seconds = histogram("execute_seconds", "Building or validating a block", SECONDS)
        self.state_keys = gauge("state_keys", "Records in the state")
        self.db_bytes = gauge("db_bytes", "Database on disk, about")
        # Mempool.
        self.mempool_transactions = gauge("mempool_transactions", "Transactions that wait for a block")
        self.mempool_bytes = gauge("mempool_bytes", "Bytes of these")
        self.rejected = counter("rejected", "What somebody sent and could not be taken", "reason")
        # p2p.
        self.peers = gauge("peers", "Connections that stand")
        self.peer_height = gauge("peer_height", "Head of a connected peer, as it claims", "peer")
        self.p2p_bytes = counter("p2p_bytes", "Payload bytes", "direction", "channel")
        self.p2p_queue = gauge("p2p_queue", "Frames that wait to be sent, all peers together")
        # RPC.
        self.rpc_requests = counter("rpc_requests", "Calls answered; code 0 = success", "method", "code")
        self.rpc_seconds = histogram("rpc_seconds", "How long calls took", SECONDS, "method")
        # Health.
        self.head_age_seconds = gauge("head_age_seconds", "Since the timestamp of the last block")
        self.sync_lag_blocks = gauge("sync_lag_blocks", "Blocks that peers claim to have and we do not")
        self.clock_skew_seconds = gauge(
            "clock_skew_seconds", "Timestamp of the last fresh proposal from another validator against our clock"
        )
        self.signer_reachable = gauge("signer_reachable", "1 while whoever holds the consensus key answers, else 0")
        self.backup_age_seconds = gauge("backup_age_seconds", "Since the last backup; +Inf where there is none")
        self.disk_free_bytes = gauge("disk_free_bytes", "Free on the disk of the data folder")

        self.loop_lag_seconds = histogram(
            "loop_lag_seconds", "How much later than asked for the event loop came back: what a vote may wait", SECONDS
        )

        self._calls: dict[tuple[str, int], Counter] = {}
        self._call_seconds: dict[str, Histogram] = {}
        self._frame_bytes: dict[tuple[str, str], Counter] = {}
        self._totals: dict[tuple[Counter, str], int] = {}

    def watch(self, gauges: Mapping[Gauge, Callable[[], float]]) -> None:
        """Read these values whenever somebody asks."""
        for gauge, read in gauges.items():
            gauge.set_function(read)

    def called(self, method: str, code: int, seconds: float) -> None:
        """Count one call; `method` is one that exists or "unknown". Looking labels up costs more than counting."""
        count = self._calls.get((method, code))
        if count is None:
            count = self._calls[method, code] = self.rpc_requests.labels(method, str(code))
        count.inc()
        took = self._call_seconds.get(method)
        if took is None:
            took = self._call_seconds[method] = self.rpc_seconds.labels(method)
        took.observe(seconds)

    def carried(self, direction: str, channel: str, size_bytes: int) -> None:
        """Count payload bytes; `direction` is in or out."""
        count = self._frame_bytes.get((direction, channel))
        if count is None:
            count = self._frame_bytes[direction, channel] = self.p2p_bytes.labels(direction, channel)
        count.inc(size_bytes)

    def follow(self, counter: Counter, total: int, label: str = "") -> None:
        """Raise a counter to a total that somebody else keeps."""
        before = self._totals.get((counter, label), 0)
        if total > before:
            (counter.labels(label) if label else counter).inc(total - before)
            self._totals[counter, label] = total


async def serve(metrics: Metrics, address: tuple[str, int], refresh: Callable[[], None] = lambda: None) -> None:
    """Answer GET /metrics until cancelled; `refresh` is called before each answer. Raises: ConfigError."""

    async def answer(_request: web.Request) -> web.Response:
        refresh()
        return web.Response(body=generate_latest(metrics.registry), headers=TEXT)

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        host, port = address
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(f"metrics: cannot listen on {host}:{port}: {error.strerror or error}") from None
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
