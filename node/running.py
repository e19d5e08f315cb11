"""The running node as JSON-RPC sees it, and the chain as consensus sees it: adapters that `app` wires.

Source: ARCHITECTURE, rule 1 (`NodeView`); `node.replica_contract.Chain`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from node.chain.answers import Committed, Submission
from node.chain.block import Block, Header
from node.chain.certificate import Certificate, Network
from node.chain.checkpoint import Checkpoint
from node.chain.demerits import Demerits
from node.chain.ledger import Ledger
from node.chain.validator_set import ValidatorSet
from node.clock import monotonic_seconds, wall_ms
from node.consensus.messages import Step
from node.documents.answer import Answer
from node.metrics import Metrics
from node.p2p.network import Network as PeerNetwork
from node.primitives import Epoch, Hash, Height, InstitutionId, PublicKey, TimestampMs
from node.replica import Replica
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.rpc.methods.registry import VERSION
from node.rpc.services import ConsensusInfo, OwnTrouble, PeerInfo, Trouble, ValidatorState
from node.sync import Sync
from node.witness import Witness
from node.workers import Overloaded, Worker, verify_bundle

T = TypeVar("T")


class TimedChain:
    """The ledger as consensus uses it, with a clock beside it: the chain itself is pure."""

    def __init__(self, ledger: Ledger, metrics: Metrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    @property
    def network(self) -> Network:
        """Chain id and genesis hash."""
        return self._ledger.network

    @property
    def head(self) -> Header:
        """Header of the last committed block."""
        return self._ledger.head

    @property
    def epoch(self) -> Epoch:
        """Of the height being agreed on."""
        return self._ledger.epoch

    @property
    def head_certificate(self) -> Certificate | None:
        """Commit certificate of the head; None at height 0."""
        return self._ledger.head_certificate

    @property
    def demerits(self) -> Demerits:
        """Who let turns to propose go by, as it holds for head + 1."""
        return self._ledger.demerits

    def validators_at(self, height: Height) -> ValidatorSet:
        """The set that votes at a height ≤ head + 1."""
        return self._ledger.validators_at(height)

    def has_pending(self) -> bool:
        """Tell whether the mempool holds something includable, or evidence waits."""
        return self._ledger.has_pending()

    def submit_evidence(self, data: bytes) -> bool:
        """Take evidence for one of the next blocks. Raises: Rejected."""
        return self._ledger.submit_evidence(data)

    def build_block(self, *, proposer: InstitutionId, timestamp_ms: int) -> Block:
        """Make a block on the head."""
        started = monotonic_seconds()
        block = self._ledger.build_block(proposer=proposer, timestamp_ms=timestamp_ms)
        self._metrics.execute_seconds.observe(monotonic_seconds() - started)
        return block

    def validate_block(self, block: Block) -> None:
        """Check a block. Raises: Rejected."""
        started = monotonic_seconds()
        self._ledger.validate_block(block)
        self._metrics.execute_seconds.observe(monotonic_seconds() - started)

    def commit_block(self, block: Block, certificate: Certificate) -> Committed:
        """Make a decided block durable. Raises: StorageError, Rejected."""
        started = monotonic_seconds()
        committed = self._ledger.commit_block(block, certificate)
        self._metrics.commit_seconds.observe(monotonic_seconds() - started)
        return committed

    def block_at(self, height: Height) -> tuple[Block, Certificate] | None:
        """Return a committed block with a certificate of it."""
        return self._ledger.block_at(height)


class Waiters:
    """Calls that wait for a transaction to be in a block."""

    def __init__(self) -> None:
        self._by_id: dict[Hash, set[asyncio.Future[None]]] = {}

    def committed(self, committed: Committed) -> None:
        """Wake whoever waits for a transaction of this block."""
        if not self._by_id:
            return
        for receipt in committed.receipts:
            for future in self._by_id.pop(receipt.transaction_id, ()):
                if not future.done():
                    future.set_result(None)

    async def wait(self, tx_id: Hash, timeout_ms: int) -> None:
        """Return when the transaction is in a block, or the time is over."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._by_id.setdefault(tx_id, set()).add(future)
        try:
            await asyncio.wait((future,), timeout=timeout_ms / 1_000)
        finally:
            waiting = self._by_id.get(tx_id)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._by_id[tx_id]


@dataclass(frozen=True, slots=True)
class Senses:
    """What was seen and heard of others, for `node_whyStalled`."""

    witness: Witness
    trouble: Callable[[str | None, str | None], tuple[str, str] | None]
    """Cause and detail of the last failed connection with an address or an institution."""
    addresses: Mapping[InstitutionId, str]
    """Whom the configuration dials, and where."""
    disk_low_bytes: Callable[[], int | None]
    """What is free on the disk, where that is little."""


class RunningNode:
    """Fills `NodeView` from the parts of one process."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        institution: InstitutionId,
        node_key: PublicKey,
        take: Callable[[bytes], Submission],
        waiters: Waiters,
        worker: Worker,
        checkpoints: Sequence[Checkpoint] = (),
    ) -> None:
        """`take` puts a client's transaction into the mempool and tells the others. Raises: Rejected."""
        self._ledger = ledger
        self._institution = institution
        self._node_key = node_key
        self._take = take
        self._waiters = waiters
        self._worker = worker
        self._checkpoints = checkpoints
        self._network: PeerNetwork | None = None
        self._replica: Replica | None = None
        self._sync: Sync | None = None
        self._senses: Senses | None = None
        self._busy_since_ms: TimestampMs | None = None
        """Since when there is something to agree on without a decision."""

    def attach(self, network: PeerNetwork, replica: Replica, sync: Sync, senses: Senses) -> None:
        """Learn of the parts that are made after this one; before anything runs."""
        self._network = network
        self._replica = replica
        self._sync = sync
        self._senses = senses

    # --- NodeView ---

    @property
    def institution(self) -> InstitutionId:
        """Who runs it."""
        return self._institution

    @property
    def node_key(self) -> PublicKey:
        """Ed25519 identity of the node, 32 bytes."""
        return self._node_key

    @property
    def version(self) -> str:
        """Version of this program."""
        return VERSION

    @property
    def syncing(self) -> bool:
        """Whether blocks are known to exist that this node does not have."""
        assert self._sync is not None
        return self._sync.is_syncing

    @property
    def contradiction(self) -> str | None:
        """What this node finds wrong with a block that a quorum has decided; None where it agrees."""
        assert self._sync is not None
        found = self._sync.contradiction
        return None if found is None else f"{found.reason}: {found.detail}"

    @property
    def is_ready(self) -> bool:
        """In sync with who has said where it is; a validator also signs and has a quorum of such, itself included."""
        assert self._replica is not None
        if self.syncing:
            return False
        heard = {peer.institution for peer in self.peers() if peer.height is not None}
        view = self._replica.view()
        if not view.is_validator:
            return bool(heard)
        return (
            view.may_sign
            and view.signer_problem is None
            and len(heard.intersection(self.validators())) + 1 >= view.quorum
        )

    def now_ms(self) -> TimestampMs:
        """Return this machine's time."""
        return wall_ms()

    def peers(self) -> Sequence[PeerInfo]:
        """Return the connections that stand."""
        assert self._network is not None
        assert self._sync is not None
        return [
            PeerInfo(
                peer.identity.institution,
                peer.address,
                peer.is_dialled,
                peer.connected_ms,
                peer.silence_ms,
                self._sync.claimed_height(peer.identity.institution),
            )
            for peer in self._network.peers()
        ]

    def consensus(self) -> ConsensusInfo | None:
        """Return where the replica is; None on a node that only follows."""
        assert self._replica is not None
        view = self._replica.view()
        if not view.is_validator:
            return None
        missing = view.missing if self._busy_since_ms is not None else ()
        return ConsensusInfo(
            view.height,
            view.view,
            Step(view.step).name.lower(),
            self._busy_since_ms,
            missing,
            not view.may_sign,
            view.signs_from,
            view.signer_problem,
        )

    def validator_state(self, institution: InstitutionId) -> ValidatorState:
        """Return what was last seen and heard of another validator."""
        assert self._network is not None
        assert self._senses is not None
        now_ms, heard = self.now_ms(), self._senses.witness.heard(institution)
        address = self._senses.addresses.get(institution)
        trouble = self._senses.trouble(address, institution)
        refusal = heard.refusal
        return ValidatorState(
            institution,
            is_connected=self._network.is_connected(institution),
            address=address,
            trouble=None if trouble is None else Trouble(*trouble),
            status_ms_ago=None if heard.status_ms is None else now_ms - heard.status_ms,
            height=heard.height,
            view=heard.view,
            listens=heard.listens,
            refused_ms_ago=None if heard.refused_ms is None else now_ms - heard.refused_ms,
            refusal=None if refusal is None else Trouble(refusal.reason, refusal.detail),
        )

    def own_troubles(self) -> tuple[OwnTrouble, ...]:
        """Return what is wrong with this node itself."""
        assert self._senses is not None
        others = [name for name in self.validators() if name != self._institution]
        skew_ms, free_bytes = self._senses.witness.own_skew_ms(others), self._senses.disk_low_bytes()
        clock = () if skew_ms is None else (OwnTrouble("clock", skew_ms),)
        disk = () if free_bytes is None else (OwnTrouble("disk", free_bytes),)
        assert self._replica is not None
        ours, theirs = self._ledger.epoch, self._replica.other_epochs.values()
        epoch = (OwnTrouble("epoch", ours + 1),) if any(other > ours for other in theirs) else ()
        return (*epoch, *clock, *disk)

    def submit(self, data: bytes) -> Submission:
        """Take a client's transaction. Raises: Rejected."""
        return self._take(data)

    async def settled(self, tx_id: Hash, timeout_ms: int, answer: Callable[[], T]) -> T:
        """Give the answer once a transaction is in a block, or when the time is over."""
        if timeout_ms and self._ledger.find_transaction(tx_id) is None:
            await self._waiters.wait(tx_id, timeout_ms)
        return answer()

    async def verify(self, bundle: bytes, *, is_file: bool) -> Answer:
        """Verify a bundle in the other process. Raises: RpcError(LIMIT_EXCEEDED)."""
        genesis_hash = self._ledger.network.genesis_hash
        try:
            return await self._worker.run(
                verify_bundle, bundle, is_file, genesis_hash, self.now_ms(), self._checkpoints
            )
        except Overloaded as error:
            raise RpcError(ErrorCode.LIMIT_EXCEEDED, f"verification: {error}") from None

    # --- for metrics and the wiring ---

    def validators(self) -> list[InstitutionId]:
        """Return who votes on the next height."""
        members = self._ledger.validators_at(self._ledger.head.height + 1).members
        return [member.institution for member in members]

    def unreachable(self) -> list[InstitutionId]:
        """Return the validators that this node is not connected with."""
        assert self._network is not None
        network = self._network
        return [name for name in self.validators() if name != self._institution and not network.is_connected(name)]

    def decided(self) -> None:
        """A height was decided: whatever waits now has waited since now."""
        self._busy_since_ms = None

    def tick(self) -> None:
        """Note whether something waits for a decision; call about once a second."""
        assert self._replica is not None
        view = self._replica.view()
        is_busy = self._ledger.has_pending() or view.view > 0 or view.step is not Step.WAITING
        if not is_busy:
            self._busy_since_ms = None
        elif self._busy_since_ms is None:
            self._busy_since_ms = self.now_ms()
