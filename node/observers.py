"""What happens in consensus and transport, as metrics and as log lines: one line a step.

Called from inside those rooms, in the event loop: nothing here waits or calls back.
"""

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Final

from node.chain.answers import Committed
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.statements import Commit, Prepare
from node.channels import Channel
from node.clock import monotonic_seconds, wall_ms
from node.consensus.effects import Effect, ReportEquivocation, SignAndBroadcast
from node.consensus.inputs import HeightStarted, Input, MessageReceived, MessageSigned, TransactionsPending
from node.consensus.messages import NewView, Proposal, Status, ViewChange, header_of
from node.errors import Rejected
from node.limits import LOG_CAUSES_MAX, ROUND_VIEWS_MAX
from node.log import get_logger
from node.metrics import Metrics
from node.p2p.observer import PeerIdentity
from node.primitives import Height, InstitutionId, View
from node.rounds import Round
from node.witness import Witness

QUIET_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 5.0
"""A height that took longer is told in one line, as is every one that needed another view."""
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
        if cause not in self._seen and len(self._seen) >= LOG_CAUSES_MAX:
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
        self.witness = Witness()
        self._look: Callable[[], Round] | None = None
        self._height: Height = 0
        self._busy_seconds: float | None = None
        """Since when there is something to decide at this height."""
        self._entered: dict[View, float] = {}
        """When the latest views above 0 were entered; at most ROUND_VIEWS_MAX."""

    def attach(self, look: Callable[[], Round]) -> None:
        """Learn how to look at the height in progress; before the replica starts."""
        self._look = look

    def stepped(self, event: Input, effects: Sequence[Effect]) -> None:
        """One input was applied."""
        self.witness.stepped(event)
        self._note_time(event)
        if isinstance(event, MessageReceived) and isinstance(event.message, Proposal):
            skew_ms = event.message.block.header.timestamp_ms - event.now_ms
            self._metrics.clock_skew_seconds.set(skew_ms / 1_000)
        for effect in effects:
            if isinstance(effect, SignAndBroadcast):
                match effect.message:
                    case Prepare():
                        self._accepted_seconds = monotonic_seconds()
                    case ViewChange(head=head):
                        self._note_view(head.view)
                        self._log.warning("view change", height=head.height, view=head.view, **self._left(head.view))
                    case NewView(head=head):
                        self._note_view(head.view)
                        self._log.info("new view", height=head.height, view=head.view)
                    case _:
                        pass
            if isinstance(effect, ReportEquivocation):
                self._log_equivocation(effect)
        if self._is_verbose and not (isinstance(event, MessageReceived) and isinstance(event.message, Status)):
            self._log.debug("step", input=repr(event), effects=[repr(effect) for effect in effects])

    def _log_equivocation(self, report: ReportEquivocation) -> None:
        one, other = report.evidence
        self._log.warning(
            "equivocation",
            validator=report.institution,
            height=one.height,
            view=min(one.view, other.view),
            statements=[type(part).__name__ for part in report.evidence],
        )

    def rejected(self, sender: InstitutionId, rejection: Rejected) -> None:
        """Something a peer sent could not be taken."""
        self.witness.rejected(sender, rejection, wall_ms())
        count = self._calm.left_out((sender, rejection.reason))
        if count is not None:
            fields = {"left_out": count} if count else {}
            self._log.info("rejected", peer=sender, reason=rejection.reason.value, detail=rejection.detail, **fields)

    def committed(self, _block: Block, certificate: Certificate) -> None:
        """The head moved, by consensus."""
        now = monotonic_seconds()
        if self._accepted_seconds is not None:
            self._metrics.consensus_round_trip_seconds.observe(now - self._accepted_seconds)
            self._accepted_seconds = None
        seconds = 0.0 if self._busy_seconds is None else now - self._busy_seconds
        if self._look is not None and (certificate.view > 0 or seconds > SLOW_SECONDS):
            self._log_slow(self._look(), certificate.view, seconds)

    def _note_time(self, event: Input) -> None:
        """Note when a height had something to decide."""
        match event:
            case HeightStarted(head=head, has_pending=has_pending):
                self._height = head.height + 1
                self._busy_seconds = monotonic_seconds() if has_pending else None
                self._entered.clear()
                return
            case TransactionsPending() | MessageSigned():
                pass
            case MessageReceived(message=Proposal() | NewView() | Prepare() | Commit() | ViewChange() as message):
                if header_of(message).height != self._height:  # a late vote of the height below
                    return
            case _:
                return
        if self._busy_seconds is None:
            self._busy_seconds = monotonic_seconds()

    def _note_view(self, view: View) -> None:
        self._entered.setdefault(view, monotonic_seconds())
        while len(self._entered) > ROUND_VIEWS_MAX:
            del self._entered[next(iter(self._entered))]

    def _left(self, entered: View) -> dict[str, object]:
        """Return why a view was left: how far it came, and who was not heard."""
        if self._look is None:
            return {}
        height = self._look()
        left = [found for found in height.views if found.view < entered]
        if not left:
            return {"silent": height.silent}
        last = left[-1]
        return {
            "proposer": last.proposer,
            "prepared": last.prepared,
            "committed": last.committed,
            "silent": height.silent,
        }

    def _log_slow(self, height: Round, view: View, seconds: float) -> None:
        """Say in one line how a height went that was slow."""
        begin = self._busy_seconds or 0.0
        views = [
            {
                "view": found.view,
                "proposer": found.proposer,
                "entered_seconds": round(self._entered.get(found.view, begin) - begin, 3),
                "prepared": found.prepared,
                "committed": found.committed,
                "left": found.left,
            }
            for found in height.views
        ]
        fields = {"height": height.height, "view": view, "seconds": round(seconds, 3), "quorum": height.quorum}
        self._log.warning("slow height", **fields, views=views, silent=height.silent)


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
        for event in committed.upkeep:
            if event.action == "equivocation":
                validator = event.subject.rpartition("/")[2]
                self._log.warning("equivocation recorded", validator=validator, height=header.height)
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

    def __init__(self, metrics: Metrics, dialled: Collection[str] = ()) -> None:
        """`dialled`: the addresses of the configuration."""
        self._metrics = metrics
        self._dialled = frozenset(dialled)
        self._log = get_logger("p2p")
        self._calm = Calm()
        self._refusals: dict[str, str] = {}
        """The last reason by address: a peer that is down is not worth a line for every attempt."""
        self._troubles: dict[str, tuple[str, str]] = {}
        """Cause and detail of the last failure, by address that we dial or institution that was connected."""

    def trouble(self, *names: str | None) -> tuple[str, str] | None:
        """Return why the last connection with an address or institution failed or ended; the first that is known."""
        return next((self._troubles[name] for name in names if name is not None and name in self._troubles), None)

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
        for name in (address, peer.institution):
            self._troubles.pop(name, None)
        self._log.info("connected", peer=peer.institution, address=address, dialled=is_dialled)

    def disconnected(self, peer: PeerIdentity, address: str, cause: str, detail: str) -> None:
        """A connection has ended."""
        self._troubles[peer.institution] = (cause, detail)
        self._log.info("disconnected", peer=peer.institution, address=address, cause=cause, detail=detail)

    def refused(self, address: str, cause: str, detail: str) -> None:
        """A connection never came to stand."""
        if address in self._dialled:
            self._troubles[address] = (cause, detail)
        host = address.rpartition(":")[0] if cause != "unreachable" else address
        if self._refusals.get(host) == cause:
            return
        if len(self._refusals) >= LOG_CAUSES_MAX:
            self._refusals.clear()
        self._refusals[host] = cause
        self._log.info("not connected", address=address, cause=cause, detail=detail)
