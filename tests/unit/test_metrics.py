"""Metrics carry the promised names, count what they are told, and are served as text."""

import asyncio
import socket

import aiohttp
import pytest

from node.errors import ConfigError
from node.metrics import Metrics, serve

# INTERFACE §5 without what later issues bring (backups, expiry of keys).
PROMISED = {
    *("consensus_height", "consensus_view", "consensus_step", "consensus_round_trip_seconds", "view_timeout_seconds"),
    *("block_interval_seconds", "block_transactions", "block_credentials", "view_changes", "proposals"),
    *("missing_validators", "validator_missed_proposals", "equivocations", "equivocations_recorded", "votes_late"),
    *("transactions", "credentials_issued", "credentials_revoked", "commit_seconds", "execute_seconds"),
    *("state_keys", "db_bytes", "mempool_transactions", "mempool_bytes", "rejected"),
    *("peers", "peer_height", "p2p_bytes", "p2p_queue", "rpc_requests", "rpc_seconds"),
    *("head_age_seconds", "sync_lag_blocks", "clock_skew_seconds", "disk_free_bytes"),
    *("signer_reachable", "backup_age_seconds", "loop_lag_seconds"),
}
LABELS = {
    "proposals": ("result",),
    "validator_missed_proposals": ("validator",),
    "transactions": ("kind",),
    "rejected": ("reason",),
    "peer_height": ("peer",),
    "p2p_bytes": ("direction", "channel"),
    "rpc_requests": ("method", "code"),
    "rpc_seconds": ("method",),
}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one sample."""
    return metrics.registry.get_sample_value(name, labels)


def test_every_promised_name_is_there() -> None:
    """Dashboards and alerts rely on them."""
    names = {
        metric.name.removeprefix("pila_") for metric in Metrics().registry.collect() if metric.name.startswith("pila_")
    }
    assert names == PROMISED


def test_labels_are_those_promised() -> None:
    """No other label, so nothing grows without bound."""
    metrics = Metrics()
    for name in PROMISED:
        attribute = {"validator_missed_proposals": "missed_proposals"}.get(name, name)
        assert getattr(metrics, attribute)._labelnames == LABELS.get(name, ()), name


def test_calls_are_counted_by_method_and_code() -> None:
    """And timed by method."""
    metrics = Metrics()
    metrics.called("tx_get", 0, 0.002)
    metrics.called("tx_get", 0, 0.002)
    metrics.called("tx_get", -32001, 0.002)
    assert value(metrics, "pila_rpc_requests_total", method="tx_get", code="0") == 2
    assert value(metrics, "pila_rpc_requests_total", method="tx_get", code="-32001") == 1
    assert value(metrics, "pila_rpc_seconds_count", method="tx_get") == 3


def test_total_kept_elsewhere_is_followed() -> None:
    """A counter rises to the total and never falls; labels are followed apart."""
    metrics = Metrics()
    metrics.follow(metrics.view_changes, 3)
    metrics.follow(metrics.view_changes, 5)
    metrics.follow(metrics.view_changes, 4)
    metrics.follow(metrics.rejected, 2, "expired")
    assert value(metrics, "pila_view_changes_total") == 5
    assert value(metrics, "pila_rejected_total", reason="expired") == 2


def test_watched_gauge_is_read_when_asked() -> None:
    """The value is that of the moment."""
    metrics = Metrics()
    keys = [1]
    metrics.watch({metrics.state_keys: lambda: len(keys)})
    keys.append(2)
    assert value(metrics, "pila_state_keys") == 2


def test_payload_bytes_are_counted_by_direction_and_channel() -> None:
    """As transport reports them."""
    metrics = Metrics()
    metrics.carried("out", "consensus", 10)
    metrics.carried("out", "consensus", 5)
    assert value(metrics, "pila_p2p_bytes_total", direction="out", channel="consensus") == 15


def test_metrics_are_served_as_text_after_a_refresh() -> None:
    """What others count is taken over just before the answer."""
    metrics = Metrics()

    async def run() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        task = asyncio.create_task(serve(metrics, ("127.0.0.1", port), lambda: metrics.peers.set(3)))
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                        text = await response.text()
                    break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return text

    assert "pila_peers 3.0" in asyncio.run(run()).splitlines()


def test_address_in_use_is_said_in_a_sentence() -> None:
    """The operator reads which address it is."""

    async def run() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError) as refused:
                await serve(Metrics(), ("127.0.0.1", port))
            assert str(refused.value).startswith(f"metrics: cannot listen on 127.0.0.1:{port}: ")

    asyncio.run(run())
