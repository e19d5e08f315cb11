"""The front desk of the chain: submit, build, validate, commit. The only writer of chain data; `archive.py` reads it.

One height at a time: a block is executed once, kept under its hash, and committed in one synced batch
with its state, receipts and certificate. `commit_block` is the one funnel and is idempotent by height.
Source: PROTOCOL §3, §4; ARCHITECTURE, "Four straight walks".
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Self

from node import codec
from node.chain.admission import check_admission
from node.chain.answers import Committed, Submission
from node.chain.archive import Archive
from node.chain.block import PROTOCOL_VERSION, Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.block_check import (
    Expected,
    check_after_execution,
    check_before_execution,
    check_names,
    check_parent_certificate,
)
from node.chain.builder import bytes_free_beside, fill_block
from node.chain.certificate import Certificate, Network, VerifyDigest, verify_consensus_signature
from node.chain.checkpoint import Checkpoint, check_block
from node.chain.demerits import NO_DEMERITS, Demerits
from node.chain.epoch import document_of
from node.chain.equivocations import check_new, choose_evidence
from node.chain.evidence import Offence, judge
from node.chain.evidence_pool import EvidencePool
from node.chain.execution import Execution, execute_block
from node.chain.frame import Frame
from node.chain.genesis import genesis_block, genesis_changes
from node.chain.genesis_document import GenesisDocument
from node.chain.hops import HandOver, first_quorum
from node.chain.mempool import Mempool
from node.chain.receipt import receipts_root
from node.chain.recent_ids import RecentIds, oldest_height
from node.chain.recovery import RecoveryDocument
from node.chain.recovery_loading import Loaded, Loading, Recoveries
from node.chain.snapshot_making import SnapshotMaking
from node.chain.store import BlockStore
from node.chain.upgrades import ignorance
from node.chain.validator_set import ValidatorSet
from node.chain.verification import ParsedTransaction, TransactionCache, parse_transaction
from node.errors import ConfigError, Reason, Rejected, StorageError
from node.limits import (
    EVIDENCE_AGE_HEIGHTS_MAX,
    EXECUTIONS_KEPT_MAX,
    KEEP_BLOCKS_MIN,
    PENDING_RECHECK_COST_MAX,
)
from node.primitives import Epoch, Hash, Height, InstitutionId, TimestampMs
from node.state import keys
from node.state.kv import KeyValueStore, WriteBatch
from node.state.world_state import StateStore


class Ledger(Archive):
    """One chain and what may become its next block. Not shared between threads; waits for nothing but the disk."""

    def __init__(
        self,
        store: KeyValueStore,
        state: StateStore,
        genesis: GenesisDocument,
        network: Network,
        head: Header,
        verify_digest: VerifyDigest,
        version_max: int = PROTOCOL_VERSION,
    ) -> None:
        super().__init__(store, state, network, head)
        self.genesis = genesis
        self.version_max = version_max
        """Newest version of the protocol that may judge a block here."""
        self.mempool = Mempool()
        self.evidence = EvidencePool()
        self._store = store
        self._verify_digest = verify_digest
        self._cache = TransactionCache(network, head.epoch)
        self._recoveries = Recoveries(store, self._blocks, state, network)
        self._recovery: RecoveryDocument | None = None
        """What the next block carries where it begins an epoch."""
        self._checkpoints: dict[Height, Hash] = {}
        self._pins: dict[Height, Hash] = {}
        """Blocks that are known beforehand: of checkpoints and of recovery documents."""
        self._recent = RecentIds()
        for height, ids in self._blocks.recent_ids(head.height):
            self._recent.add(height, ids)
        self._executed: dict[Hash, tuple[Block, Execution]] = {}
        """Valid blocks on the head by hash, at most EXECUTIONS_KEPT_MAX, oldest first."""
        self._includable: Hash | None = None
        """A waiting transaction that was found to execute on this head."""
        self._listeners: list[Callable[[Committed], None]] = []

    @classmethod
    def open(
        cls,
        store: KeyValueStore,
        genesis: GenesisDocument,
        *,
        verify_digest: VerifyDigest = verify_consensus_signature,
        version_max: int = PROTOCOL_VERSION,
        checkpoints: Iterable[Checkpoint] = (),
    ) -> Self:
        """Open the chain in a store; a new store gets block 0.

        Raises: StorageError where the store is not what it should be; ConfigError where it belongs to
        another genesis, or is not the chain of the `checkpoints`. A newer version of the protocol than
        `version_max` judges no block here.
        """
        block_zero = genesis_block(genesis)
        network = Network(genesis.chain_id, block_zero.hash())
        blocks = BlockStore(store)
        stored = blocks.head()
        if stored is None:
            _create(store, genesis, block_zero)
            stored = blocks.head()
            assert stored is not None
        if stored.genesis_hash != network.genesis_hash:
            raise ConfigError(
                f"the database belongs to the network {stored.genesis_hash.hex()}, "
                f"the genesis document makes {network.genesis_hash.hex()}"
            )
        head = blocks.header(stored.height)
        if head is None or head.hash() != stored.hash:
            raise StorageError(f"the header of the head, height {stored.height}, is missing or another one")
        state = StateStore.open(store)
        if (state.height, state.root) != (head.height, head.state_root):
            raise StorageError(
                f"the state is at height {state.height} with root {state.root.hex()}, "
                f"the head at {head.height} with {head.state_root.hex()}"
            )
        ledger = cls(store, state, genesis, network, head, verify_digest, version_max)
        ledger._catch_up_index()
        ledger._recoveries.check_single()
        ledger._take_checkpoints(checkpoints)
        ledger._look_for_recovery()
        return ledger

    # --- the head ---

    @property
    def epoch(self) -> Epoch:
        """Of the next height: number of recoveries so far."""
        return self._head.epoch if self._recovery is None else self._recovery.epoch

    @property
    def demerits(self) -> Demerits:
        """Who let turns to propose go by, as it holds for the next height; a new epoch begins without any."""
        if self.epoch != self._head.epoch:
            return NO_DEMERITS
        return self.read(keys.DEMERITS, Demerits) or NO_DEMERITS

    @property
    def ignorance(self) -> str | None:
        """Why this program cannot judge the next height: a newer version of the protocol does; None where it can."""
        return ignorance(self.next_version, self.head.height + 1, self.version_max)

    def validators_at(self, height: Height) -> ValidatorSet:
        """Return the set that votes on a height, up to the one after the head; a recovery names that one anew.

        Raises: Rejected(NOT_FOUND) above that.
        """
        if self._recovery is not None and height == self._head.height + 1:
            return self._recovery.validators
        return super().validators_at(height)

    # --- transactions come in ---

    def submit(self, data: bytes) -> Submission:
        """Admit a transaction into the mempool; harmless when repeated. Raises: Rejected."""
        parsed = self._cache.parse(data)
        waiting = self.mempool.get(parsed.id)
        if (waiting is not None and waiting.data == data) or self._index.transaction(parsed.id) is not None:
            return Submission(parsed.id, is_new=False)
        if waiting is None:
            self.mempool.check_room(parsed)
        check_admission(self.state, self._frame(self._head.timestamp_ms + 1), parsed, self._cache)
        if waiting is not None:
            return Submission(parsed.id, is_new=False)
        self.mempool.add(parsed)
        return Submission(parsed.id, is_new=True)

    def submit_evidence(self, data: bytes) -> bool:
        """Take evidence for one of the next blocks; tell whether it is new and worth telling others.

        What waits, is recorded, has become too old or finds no room is not new.
        Raises: Rejected as `evidence.judge`, where no honest node would have sent it.
        """
        try:
            offence = self._judge(data)
            if not self.evidence.holds(offence):
                check_new(self.state, offence)
                self.evidence.add(offence, data)
                return True
        except Rejected as rejection:
            if rejection.reason not in (Reason.EXPIRED, Reason.ALREADY_EXISTS, Reason.LIMIT_EXCEEDED):
                raise
        return False

    def pending_transaction(self, tx_id: Hash) -> bytes | None:
        """Return the complete bytes of a waiting transaction."""
        parsed = self.mempool.get(tx_id)
        return None if parsed is None else parsed.data

    def has_pending(self) -> bool:
        """Tell whether something waits that the next block could include.

        What a committed block made impossible leaves the mempool here, so that no node waits for a
        proposal that nobody can make. At most PENDING_RECHECK_COST_MAX is spent in one call, and one transaction.
        """
        if self._includable in self.mempool:
            return True
        if self.ignorance is not None:
            return False
        if self._recovery is not None or len(self.evidence):
            return True
        frame = self._frame(self._head.timestamp_ms + 1)
        spent = 0
        for parsed in self.mempool.transactions():
            if spent >= PENDING_RECHECK_COST_MAX:
                break
            spent += parsed.cost
            try:
                check_admission(self.state, frame, parsed, self._cache)
            except Rejected:
                self.mempool.remove(parsed.id)
                continue
            self._includable = parsed.id
            return True
        return len(self.mempool) > 0

    # --- epochs ---

    def load_recovery(self, document: RecoveryDocument, *, discard_above: bool = False) -> Loading:
        """Follow a recovery document from its height on; one above the head is kept until the head is there.

        Where blocks were taken back the store must be opened anew. Raises: Rejected, and nothing has changed;
        ConfigError where governance has signed two documents for one epoch; StorageError.
        """
        known = self._checkpoints.get(document.height)
        if known is not None and known != document.block_hash:
            raise Rejected(
                Reason.CONTRADICTS_CHECKPOINT,
                f"the document keeps block {document.block_hash.hex()} at height {document.height}, a checkpoint of "
                f"this node says {known.hex()}",
            )
        loading = self._recoveries.load(document, self._head, discard_above=discard_above)
        if not loading.discarded and loading.outcome is not Loaded.KNOWN:
            self._look_for_recovery()
        return loading

    @property
    def recovery(self) -> RecoveryDocument | None:
        """The document that the next block begins an epoch with; None where the epoch goes on."""
        return self._recovery

    def recoveries(self) -> Iterator[RecoveryDocument]:
        """Yield the documents that this node was told to follow, ascending by epoch."""
        return self._recoveries.all()

    def _take_checkpoints(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Hold the chain against what is known of it, now and at every later block. Raises: ConfigError."""
        for item in checkpoints:
            if item.genesis_hash != self.network.genesis_hash:
                continue
            header = self.header_at(item.height)
            try:
                if header is not None:
                    check_block(item, header.hash())
            except Rejected as rejection:
                raise ConfigError(
                    f"this node's chain is not the network's: {rejection.detail}; move the data away and fetch the "
                    "chain anew, or, if governance has taken that block back, use a release that knows"
                ) from None
            self._checkpoints[item.height] = item.block_hash

    def _look_for_recovery(self) -> None:
        """Find out whether an epoch begins above the head; then what waits was signed for another one.

        Raises: ConfigError where a document that was kept is none of this network; StorageError.
        """
        before = self.epoch
        self._recovery = self._recoveries.due(self._head, self._head_certificate)
        self._pins = {**self._checkpoints, **{item.height: item.block_hash for item in self._recoveries.all()}}
        if self.epoch != before:
            self._cache = TransactionCache(self.network, self.epoch)
            self.mempool = Mempool()
            self.evidence = EvidencePool()
            self._executed.clear()
            self._includable = None

    def _check_pin(self, height: Height, block_hash: Hash) -> None:
        """Refuse a block that is not the one that is known. Raises: Rejected(CONTRADICTS_CHECKPOINT)."""
        pinned = self._pins.get(height)
        if pinned is not None and pinned != block_hash:
            raise Rejected(
                Reason.CONTRADICTS_CHECKPOINT,
                f"block {height} is {block_hash.hex()}, a checkpoint or recovery document of this node says "
                f"{pinned.hex()}",
            )

    # --- blocks ---

    def build_block(self, *, proposer: InstitutionId, timestamp_ms: TimestampMs) -> Block:
        """Return the next block, filled from the mempool and executed.

        Its time is `timestamp_ms`, or one above the head's where that is not later. It is empty when
        nothing that waits executes any more; such transactions leave the mempool.
        """
        frame = self._frame_to_build(max(timestamp_ms, self._head.timestamp_ms + 1))
        bare = self._header(frame, proposer, None)
        filled = fill_block(
            self.state,
            frame,
            self.mempool,
            self._recent,
            self._cache,
            bytes_free=bytes_free_beside(bare, frame.evidence, frame.parent_certificate),
        )
        for parsed, _ in filled.refused:
            self.mempool.remove(parsed.id)
        execution = filled.execution
        header = self._header(frame, proposer, execution)
        data = tuple(parsed.data for parsed in execution.transactions)
        block = Block(header, data, frame.evidence, frame.parent_certificate)
        self._keep(header.hash(), block, execution)
        return block

    def validate_block(self, block: Block) -> None:
        """Check a block on the head in everything but who proposes and the clock, and keep its execution.

        Raises: Rejected(WRONG_HEIGHT, WRONG_PARENT, UNKNOWN_VERSION, WRONG_CHAIN, WRONG_EPOCH,
        BAD_TIMESTAMP, BAD_CERTIFICATE, BAD_BLOCK).
        """
        self._execution_of(block, block.hash())

    def commit_block(self, block: Block, certificate: Certificate) -> Committed:
        """Make a decided block durable and the new head; a block at or below the head is only looked up.

        The certificate was checked by the caller; here it must name this block.
        Raises: Rejected as `validate_block`; Rejected(BAD_CERTIFICATE) where it names another block;
        Rejected(BAD_BLOCK) where another block is committed at that height; StorageError.
        """
        block_hash = block.hash()
        if block.header.height <= self._head.height:
            return self._committed_before(block_hash, block.header.height)
        check_names(certificate, block.header, block_hash)
        execution = self._execution_of(block, block_hash)
        height = block.header.height
        batch = WriteBatch()
        ids = tuple(parsed.id for parsed in execution.transactions)
        self._blocks.stage(block, block_hash, certificate, execution.receipts, ids, self.network.genesis_hash, batch)
        if block.header.next_validators_hash != self._head.next_validators_hash:
            self._blocks.stage_validators(execution.next_validators, batch)
        self._stage_hop(block, batch)
        self.state.stage(execution.prepared, height, batch)
        self._store.write(batch, sync=True)
        self.state.apply(execution.prepared, height)
        self._advance(block, block_hash, certificate, execution)
        committed = Committed(
            block, block_hash, certificate, execution.transactions, execution.receipts, execution.upkeep
        )
        for listener in self._listeners:
            listener(committed)
        return committed

    def on_commit(self, callback: Callable[[Committed], None]) -> None:
        """Have `callback` called after each newly committed block, in order of height."""
        self._listeners.append(callback)

    # --- less than everything ---

    def begin_snapshot(self) -> SnapshotMaking | None:
        """Return the making of a snapshot at the head; None where its recent blocks are not here, or there is none."""
        height = self._head.height
        if height == 0 or max(1, oldest_height(height)) < self.pruned_below:
            return None
        return SnapshotMaking(self._store, self._head, self.network, self._validators)

    def prune(self, below: Height, blocks_max: int) -> int:
        """Delete the oldest blocks, at most so many and none of the last KEEP_BLOCKS_MIN; return how many were deleted.

        What is in the state stays, and so does every credential's place in its batch. Raises: StorageError.
        """
        below = min(below, self._head.height + 1 - KEEP_BLOCKS_MIN)
        first = max(1, self.pruned_below)
        last = min(below, first + blocks_max)
        if last <= first:
            return 0
        batch = WriteBatch()
        self._blocks.stage_pruning(first, last, batch)
        self._store.write(batch, sync=False)
        self.pruned_below = last
        return last - first

    # --- inside ---

    def _frame(self, time_ms: TimestampMs) -> Frame:
        """Return the frame of the next block as far as transactions see it.

        Raises: Rejected(UNKNOWN_VERSION): a newer program judges it.
        """
        if self.ignorance is not None:
            raise Rejected(Reason.UNKNOWN_VERSION, self.ignorance)
        return Frame(
            self.network,
            self.epoch,
            self._head.height + 1,
            time_ms,
            self.next_version,
            self._head,
            None if self._recovery is not None else self._head_certificate,
            hash_at=self.hash_at,
        )

    def _frame_to_build(self, time_ms: TimestampMs) -> Frame:
        """Return the frame of a block of our own: with the recovery document, or the evidence that waits."""
        frame = self._frame(time_ms)
        if self._recovery is not None:
            return replace(frame, evidence=(codec.encode(self._recovery),))
        offences, evidence = choose_evidence(self.state, self.evidence, frame.height)
        return replace(frame, evidence=evidence, offences=offences)

    def _frame_of(self, block: Block) -> Frame:
        """Return the frame of somebody's block. Raises: Rejected as `_frame` and `evidence.judge`."""
        frame = replace(
            self._frame(block.header.timestamp_ms), evidence=block.evidence, parent_certificate=block.parent_certificate
        )
        if self._recovery is not None:
            return frame
        return replace(frame, offences=tuple(map(self._judge, block.evidence)))

    def _judge(self, data: bytes) -> Offence:
        """Return what evidence proves, for the next block. Raises: Rejected."""
        height = self._head.height + 1
        return judge(data, self.network, self.epoch, height, self.validators_at, self._verify_digest)

    def _can_be_recorded(self, offence: Offence) -> bool:
        if offence.epoch != self.epoch or offence.height + EVIDENCE_AGE_HEIGHTS_MAX <= self._head.height + 1:
            return False
        try:
            check_new(self.state, offence)
        except Rejected:
            return False
        return True

    def _header(self, frame: Frame, proposer: InstitutionId, execution: Execution | None) -> Header:
        """Return the next header; without an execution one of the same length, to measure by."""
        parent = self._head
        if execution is None:
            roots = (parent.transactions_root, parent.state_root, parent.receipts_root, parent.next_validators_hash)
        else:
            roots = (
                transactions_root([(parsed.id, parsed.data) for parsed in execution.transactions]),
                execution.state_root,
                receipts_root(execution.receipts),
                execution.next_validators.hash,
            )
        return Header(
            frame.version,
            self.network.chain_id,
            frame.epoch,
            frame.height,
            self._head_hash,
            frame.time_ms,
            roots[0],
            evidence_root(frame.evidence),
            roots[1],
            roots[2],
            self.validators_at(frame.height).hash,
            roots[3],
            certificate_hash(frame.parent_certificate),
            proposer,
        )

    def _execution_of(self, block: Block, block_hash: Hash) -> Execution:
        """Return the block's execution, checked and kept."""
        kept = self._executed.get(block_hash)
        if kept is not None and kept[0] == block:
            return kept[1]
        expected = Expected(self.next_version, self.epoch, self.validators_at(self._head.height + 1).hash)
        check_before_execution(block, self._head, self._head_hash, self.network, expected)
        self._check_pin(block.header.height, block_hash)
        if self._recovery is not None:
            self._recoveries.check_first_block(self._recovery, document_of(block.evidence))
        check_parent_certificate(
            block, self._head, self.network, self._head_certificate, self._parent_validators, self._verify_digest
        )
        execution = execute_block(
            self.state,
            self._frame_of(block),
            block.transactions,
            self._recent,
            self._cache,
        )
        check_after_execution(block.header, execution)
        self._keep(block_hash, block, execution)
        return execution

    def _stage_hop(self, block: Block, batch: WriteBatch) -> None:
        """Keep what leads a light client over the head where the set changes: its certificate is final now."""
        head, certificate = self._head, block.parent_certificate
        if certificate is None or head.next_validators_hash == head.validators_hash:
            return
        old, new = self._validators(head.validators_hash), self._validators(head.next_validators_hash)
        self._hops.stage(HandOver(head, first_quorum(certificate, old), new), batch)

    def _parent_validators(self) -> ValidatorSet:
        return self._validators(self._head.validators_hash)

    def _keep(self, block_hash: Hash, block: Block, execution: Execution) -> None:
        self._executed.pop(block_hash, None)
        if len(self._executed) >= EXECUTIONS_KEPT_MAX:
            del self._executed[next(iter(self._executed))]
        self._executed[block_hash] = (block, execution)

    def _advance(self, block: Block, block_hash: Hash, certificate: Certificate, execution: Execution) -> None:
        """Make a block that is on disk the head in memory too."""
        self._set_head(block.header, block_hash, certificate)
        self._executed.clear()
        self._includable = None
        self._recent.add(block.header.height, [parsed.id for parsed in execution.transactions])
        served = []
        for parsed in execution.transactions:
            self.mempool.remove(parsed.id)
            self._cache.forget(parsed)
            served.append(parsed.account)
        self.mempool.give_turns(served)
        for parsed in self.mempool.drop_expired(block.header.height):
            self._cache.forget(parsed)
        self.evidence.keep(self._can_be_recorded)
        batch = WriteBatch()
        self._index.add_block(block.header.height, execution.transactions, execution.receipts, batch)
        # Derived: after a crash it is made again from the blocks, so it need not be synced.
        self._store.write(batch, sync=False)
        if self._recovery is not None or block.header.height in self._pins:
            self._look_for_recovery()

    def _committed_before(self, block_hash: Hash, height: Height) -> Committed:
        """Return what is committed at a height, if it is this block."""
        header = self.header_at(height)
        if header is None:
            raise Rejected(Reason.WRONG_HEIGHT, self.absence(height))
        if header.hash() != block_hash:
            raise Rejected(
                Reason.BAD_BLOCK, f"height {height} is decided with {header.hash().hex()}, not {block_hash.hex()}"
            )
        block = self._blocks.block(height)
        receipts = self._blocks.receipts(height)
        certificate = self.certificate_at(height)
        if certificate is None:
            raise Rejected(Reason.WRONG_HEIGHT, f"block {height} is made from the genesis and never voted on")
        if block is None or receipts is None:
            raise Rejected(Reason.WRONG_HEIGHT, self.absence(height))
        parsed = self._parse_all(block)
        return Committed(block, block_hash, certificate, parsed, receipts)

    def _parse_all(self, block: Block) -> tuple[ParsedTransaction, ...]:
        """Take a committed block's transactions apart; their ids belong to its epoch."""
        epoch = block.header.epoch
        if epoch == self.epoch:
            return tuple(self._cache.parse(data) for data in block.transactions)
        return tuple(parse_transaction(data, self.network, epoch) for data in block.transactions)

    def _catch_up_index(self) -> None:
        """Index the blocks between what was indexed and the head."""
        done = self._index.height
        first = 0 if done is None else done + 1
        for height in range(first, self._head.height + 1):
            block = self._blocks.block(height)
            receipts = self._blocks.receipts(height)
            if block is None or receipts is None:
                raise StorageError(f"block {height} is missing, the head is {self._head.height}")
            batch = WriteBatch()
            if height == 0:
                self._index.add_names(iter(genesis_changes(self.genesis)), batch)
            parsed = self._parse_all(block)
            self._index.add_block(height, parsed, receipts, batch)
            self._store.write(batch, sync=False)


def _create(store: KeyValueStore, genesis: GenesisDocument, block_zero: Block) -> None:
    """Write block 0 and its state into a new store, in one batch."""
    state = StateStore.open(store)
    if state.key_count:
        raise StorageError(f"the store has {state.key_count} state records but no chain")
    prepared = state.prepare(genesis_changes(genesis))
    assert prepared.root == block_zero.header.state_root
    block_hash = block_zero.hash()
    batch = WriteBatch()
    blocks = BlockStore(store)
    blocks.stage(block_zero, block_hash, None, (), (), block_hash, batch)
    blocks.stage_validators(genesis.validator_set(), batch)
    state.stage(prepared, 0, batch)
    store.write(batch, sync=True)
