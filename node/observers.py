"""What happens in consensus and transport, as metrics and as log lines: one line a step.

Called from inside those rooms, in the event loop: nothing here waits or calls back.
"""

from collections.abc import Hashable, Sequence
from typing import Final

from node.chain.answers import Committed
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.statements import Prepare
from node.channels import Channel
from node.clock import monotonic_seconds
from node.consensus.effects import Effect, SignAndBroadcast
from node.consensus.inputs import Input, MessageReceived
from node.consensus.messages import NewView, Proposal, Status, ViewChange
from node.errors import Rejected
from node.log import get_logger
from node.metrics import Metrics
from node.p2p.observer import PeerIdentity
from node.primitives import InstitutionId

QUIET_SECONDS: Final = 1.0
_CAUSES_MAX: Final = 1_024
_CHANNEL_NAMES: Final = {int(channel): channel.name.lower() for channel in Channel}


class Calm:
    """Keeps what a peer can cause at will from filling the log: one line a second for each cause."""

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[float, int]] = {}
        """Cause → when its last line was written, and how many were left out since."""

    def left_out(self, cause: Hashable) -> int | None:
        """Return how many lines were left out since the last one; None where this one is left out too."""
        now = monotonic_seconds()
        written, count = self._seen.get(cause, (-QUIET_SECONDS, 0))
        if now - written < QUIET_SECONDS:
            self._seen[cause] = (written, count + 1)
            return None
        if cause not in self._seen and len(self._seen) >= _CAUSES_MAX:
            self._seen.clear()
        self._seen[cause] = (now, 0)
        return count


class ConsensusObserver:
    """Watches one replica."""

    def __init__(self, metrics: Metrics, *, is_verbose: bool) -> None:
        """`is_verbose`: every input and effect is logged, so that a log can be replayed."""
        self._metrics = metrics
        self._is_verbose = is_verbose
        self._log = get_logger("consensus")
        self._calm = Calm()
        self._accepted_seconds: float | None = None
        """When the proposal being decided was accepted."""

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        """One input was applied."""
        if isinstance(event, MessageReceived) and isinstance(event.message, Proposal):
            skew_ms = event.message.block.header.timestamp_ms - event.now_ms
            self._metrics.clock_skew_seconds.set(skew_ms / 1_000)
        for effect in effects:
            if isinstance(effect, SignAndBroadcast):
                match effect.message:
                    case Prepare():
                        self._accepted_seconds = monotonic_seconds()
                    case ViewChange(head=head):
                        self._log.warning("view change", height=head.height, view=head.view)
                    case NewView(head=head):
                        self._log.info("new view", height=head.height, view=head.view)
                    case _:
                        pass
        if self._is_verbose and not (isinstance(event, MessageReceived) and isinstance(event.message, Status)):
            self._log.debug("step", input=repr(event), effects=[repr(effect) for effect in effects])

    def rejected(self, sender: InstitutionId, rejection: Rejected) -> None:
        """Something a peer sent could not be taken."""
        count = self._calm.left_out((sender, rejection.reason))
        if count is not None:
            fields = {"left_out": count} if count else {}
            self._log.info("rejected", peer=sender, reason=rejection.reason.value, detail=rejection.detail, **fields)

    def committed(self, _block: Block, _certificate: Certificate) -> None:
        """The head moved, by consensus."""
        if self._accepted_seconds is not None:
            self._metrics.consensus_round_trip_seconds.observe(monotonic_seconds() - self._accepted_seconds)
            self._accepted_seconds = None


class ChainObserver:
    """Watches the ledger's commits."""

    def __init__(self, metrics: Metrics, head_time_ms: int) -> None:
        self._metrics = metrics
        self._head_time_ms = head_time_ms
        self._log = get_logger("chain")

    def committed(self, committed: Committed) -> None:
        """A block is durable here."""
        metrics, header = self._metrics, committed.header
        metrics.block_interval_seconds.observe((header.timestamp_ms - self._head_time_ms) / 1_000)
        self._head_time_ms = header.timestamp_ms
        metrics.block_transactions.observe(len(committed.receipts))
        metrics.block_credentials.observe(committed.credentials_issued)
        metrics.credentials_issued.inc(committed.credentials_issued)
        metrics.credentials_revoked.inc(committed.credentials_revoked)
        for receipt in committed.receipts:
            metrics.transactions.labels(receipt.kind).inc()
        self._log.info(
            "block",
            height=header.height,
            block=committed.block_hash.hex(),
            view=committed.certificate.view,
            proposer=header.proposer,
            transactions=len(committed.receipts),
            credentials=committed.credentials_issued,
        )


class TransportObserver:
    """Watches connections and bytes."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._log = get_logger("p2p")
        self._calm = Calm()
        self._refusals: dict[str, str] = {}
        """The last reason by address: a peer that is down is not worth a line for every attempt."""

    def sent(self, channel: int, size_bytes: int) -> None:
        """Payload bytes were encrypted for one peer."""
        self._metrics.carried("out", _CHANNEL_NAMES.get(channel, "other"), size_bytes)

    def received(self, channel: int, size_bytes: int) -> None:
        """A frame is complete."""
        self._metrics.carried("in", _CHANNEL_NAMES.get(channel, "other"), size_bytes)

    def dropped(self, peer: PeerIdentity, channel: int, size_bytes: int) -> None:
        """A frame found no room in a peer's queue."""
        name = _CHANNEL_NAMES.get(channel, "other")
        count = self._calm.left_out((peer.institution, name))
        if count is not None:
            fields = {"left_out": count} if count else {}
            self._log.warning("frame dropped", peer=peer.institution, channel=name, size_bytes=size_bytes, **fields)

    def connected(self, peer: PeerIdentity, address: str, *, is_dialled: bool) -> None:
        """A connection stands."""
        self._refusals.pop(address, None)
        self._log.info("connected", peer=peer.institution, address=address, dialled=is_dialled)

    def disconnected(self, peer: PeerIdentity, address: str, cause: str, detail: str) -> None:
        """A connection has ended."""
        self._log.info("disconnected", peer=peer.institution, address=address, cause=cause, detail=detail)

    def refused(self, address: str, cause: str, detail: str) -> None:
        """A connection never came to stand."""
        host = address.rpartition(":")[0] if cause != "unreachable" else address
        if self._refusals.get(host) == cause:
            return
        if len(self._refusals) > 1_024:
            self._refusals.clear()
        self._refusals[host] = cause
        self._log.info("not connected", address=address, cause=cause, detail=detail)
