"""A small deterministic chain behind the replica's `Chain`: real blocks and certificates, a dict for a state.

A transaction is any non-empty byte string; it may be included once. The state maps each to the height
that included it, and the state root is a hash over that map in order of inclusion, so two chains with
the same root executed the same transactions in the same order. One kind of transaction changes the
validators (membership.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from node.chain.block import PROTOCOL_VERSION, Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.certificate import Certificate, Network, VerifyDigest
from node.chain.demerits import NO_DEMERITS, Demerits
from node.chain.evidence import Offence, Place, judge
from node.chain.missed_turns import demerits_after
from node.chain.validator_set import ValidatorSet
from node.crypto.hashing import Tag, sha256, tagged
from node.crypto.merkle import EMPTY_ROOT
from node.errors import Reason, Rejected, StorageError
from node.limits import EVIDENCE_PER_BLOCK_MAX
from node.primitives import NO_HASH, Hash
from tests.simulation.disk import SimulatedDisk
from tests.simulation.membership import Membership, first_membership

BLOCK_TRANSACTIONS = 8
CHAIN_ID = "simulation.pila"


def genesis_header(validators: ValidatorSet, timestamp_ms: int) -> Header:
    """Return header 0 of a chain in which these validators vote first."""
    return Header(
        version=PROTOCOL_VERSION,
        chain_id=CHAIN_ID,
        epoch=0,
        height=0,
        parent_hash=tagged(Tag.GENESIS, validators.hash),
        timestamp_ms=timestamp_ms,
        transactions_root=EMPTY_ROOT,
        evidence_root=EMPTY_ROOT,
        state_root=sha256(b"genesis"),
        receipts_root=EMPTY_ROOT,
        validators_hash=validators.hash,
        next_validators_hash=validators.hash,
        parent_certificate_hash=NO_HASH,
        proposer=None,
    )


class Archive(SimulatedDisk):
    """What is on disk: blocks with certificates, one synced write each, and the state that they lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: list[tuple[Block, Certificate]] = []
        self.state: dict[bytes, int] = {}
        self.state_root: Hash | None = None
        self.demerits: Demerits = NO_DEMERITS
        self.recorded: dict[tuple[str, Place], int] = {}
        self.memberships: list[Membership] = []
        """In the state after each block."""
        self._rotten_height = 0

    def append(self, block: Block, certificate: Certificate, change: "Change") -> None:
        """Write a block and what it does to the state, durably and at once."""
        self.before_write()
        self.blocks.append((block, certificate))
        self.state.update(dict.fromkeys(block.transactions, block.header.height))
        self.state_root, self.demerits = change.state_root, change.demerits
        self.recorded.update(change.recorded)
        self.memberships.append(change.membership)
        self.after_write()

    def rot(self, random: Random) -> bool:
        """Flip a bit in one of the blocks."""
        if not self.blocks:
            return False
        self._rotten_height = random.randint(1, len(self.blocks))
        return True

    @property
    def is_rotten(self) -> bool:
        return self._rotten_height > 0

    def read(self, height: int) -> tuple[Block, Certificate] | None:
        """Return a block with its certificate. Raises: StorageError."""
        if height == self._rotten_height and height:
            raise StorageError(f"block {height} cannot be read as it was written")
        return self.blocks[height - 1] if 0 < height <= len(self.blocks) else None


@dataclass(frozen=True)
class Change:
    """What a block does to the state besides its transactions."""

    state_root: Hash
    demerits: Demerits
    recorded: dict[tuple[str, Place], int]
    membership: Membership


class TwinChain:
    """One node's ledger; made anew from its archive after every crash."""

    def __init__(
        self, genesis: Header, validators: ValidatorSet, archive: Archive, verify_digest: VerifyDigest
    ) -> None:
        self.network = Network(CHAIN_ID, genesis.hash())
        self.archive = archive
        self.pruned_below = 0
        self.on_new_head: Callable[[Block, Certificate], object] = lambda _block, _certificate: None
        self.state = archive.state
        self.recorded = archive.recorded
        """Height at which each offence was recorded."""
        self._evidence: dict[bytes, Offence] = {}
        """Good evidence that waits for a block."""
        self.mempool: dict[bytes, None] = {}
        self._genesis = genesis
        self._first_membership = first_membership(validators)
        self._verify_digest = verify_digest
        self._valid: dict[Hash, Hash] = {}
        """State root after each block validated on the present head."""

    @property
    def state_root(self) -> Hash:
        return self._genesis.state_root if self.archive.state_root is None else self.archive.state_root

    @property
    def demerits(self) -> Demerits:
        return self.archive.demerits

    @property
    def head(self) -> Header:
        return self.archive.blocks[-1][0].header if self.archive.blocks else self._genesis

    @property
    def epoch(self) -> int:
        return 0

    @property
    def head_certificate(self) -> Certificate | None:
        return self.archive.blocks[-1][1] if self.archive.blocks else None

    def validators_at(self, height: int) -> ValidatorSet:
        assert height <= self.head.height + 1
        return self._membership_after(max(0, height - 1)).validators

    def _membership_after(self, height: int) -> Membership:
        return self.archive.memberships[height - 1] if height else self._first_membership

    def has_pending(self) -> bool:
        return bool(self.mempool) or bool(self._evidence)

    def submit_evidence(self, data: bytes) -> bool:
        """Keep good evidence of an offence that is neither recorded nor waits."""
        offence = self._judge(data)
        known = {(waiting.institution, waiting.place) for waiting in self._evidence.values()} | self.recorded.keys()
        if (offence.institution, offence.place) in known:
            return False
        self._evidence[data] = offence
        return True

    def submit(self, transaction: bytes) -> bool:
        """Take a transaction into the mempool; False when it is known."""
        if transaction in self.mempool or transaction in self.state:
            return False
        self.mempool[transaction] = None
        return True

    def build_block(self, *, proposer: str, timestamp_ms: int) -> Block:
        transactions = tuple(list(self.mempool)[:BLOCK_TRANSACTIONS])
        return self.block_of(transactions, proposer=proposer, timestamp_ms=timestamp_ms)

    def block_of(self, transactions: Sequence[bytes], *, proposer: str, timestamp_ms: int) -> Block:
        """Return the block of these transactions on the head."""
        head = self.head
        height = head.height + 1
        root = self._root_after(transactions, height)
        parent_certificate = self.head_certificate
        evidence = tuple(self._evidence)[:EVIDENCE_PER_BLOCK_MAX]
        header = Header(
            version=PROTOCOL_VERSION,
            chain_id=CHAIN_ID,
            epoch=0,
            height=height,
            parent_hash=head.hash(),
            timestamp_ms=timestamp_ms,
            transactions_root=_transactions_root(transactions),
            evidence_root=evidence_root(evidence),
            state_root=root,
            receipts_root=EMPTY_ROOT,
            validators_hash=self.validators_at(height).hash,
            next_validators_hash=self._next_validators(transactions, height).hash,
            parent_certificate_hash=certificate_hash(parent_certificate),
            proposer=proposer,
        )
        block = Block(header, tuple(transactions), evidence, parent_certificate)
        self._valid[block.hash()] = root
        return block

    def validate_block(self, block: Block) -> None:
        """Refuse whatever this chain would not have built at this height."""
        header, head = block.header, self.head
        block_hash = block.hash()
        if header.transactions_root != _transactions_root(block.transactions):
            raise Rejected(Reason.WRONG_ROOT, "transactions root")
        if header.evidence_root != evidence_root(block.evidence):
            raise Rejected(Reason.WRONG_ROOT, "evidence root")
        if header.parent_certificate_hash != certificate_hash(block.parent_certificate):
            raise Rejected(Reason.BAD_CERTIFICATE, "parent certificate")
        if block_hash in self._valid:
            return
        if (header.height, header.parent_hash) != (head.height + 1, head.hash()):
            raise Rejected(Reason.WRONG_PARENT, f"height {header.height} on {head.height}")
        if header.timestamp_ms <= head.timestamp_ms:
            raise Rejected(Reason.BAD_TIMESTAMP, f"{header.timestamp_ms} after {head.timestamp_ms}")
        if (header.version, header.chain_id, header.epoch) != (PROTOCOL_VERSION, CHAIN_ID, 0):
            raise Rejected(Reason.WRONG_CHAIN, header.chain_id)
        following = self._next_validators(block.transactions, header.height)
        expected = (self.validators_at(header.height).hash, following.hash)
        if (header.validators_hash, header.next_validators_hash) != expected:
            raise Rejected(Reason.WRONG_ROOT, "validators hash")
        self._check_parent_certificate(block)
        if any(not transaction or transaction in self.state for transaction in block.transactions) or len(
            set(block.transactions)
        ) != len(block.transactions):
            raise Rejected(Reason.DUPLICATE, "a transaction is empty or repeated")
        offences = [(offence.institution, offence.place) for offence in map(self._judge, block.evidence)]
        if len(set(offences)) < len(offences) or not self.recorded.keys().isdisjoint(offences):
            raise Rejected(Reason.DUPLICATE, "an offence is repeated")
        root = self._root_after(block.transactions, header.height)
        if header.state_root != root:
            raise Rejected(Reason.WRONG_ROOT, "state root")
        self._valid[block_hash] = root

    def take(self, transaction: bytes) -> bool:
        return self.submit(transaction)

    def other_block(self, *, proposer: str, timestamp_ms: int) -> Block:
        return self.block_of(list(self.mempool)[1:3], proposer=proposer, timestamp_ms=timestamp_ms)

    def executed_root(self) -> Hash:
        return self.state_root

    def included(self) -> dict[bytes, int]:
        return self.state

    def commit_block(self, block: Block, certificate: Certificate) -> None:
        height = block.header.height
        known = self.block_at(height)
        if known is not None:
            if known[0].hash() != block.hash():
                raise Rejected(Reason.BAD_BLOCK, f"height {height} is {known[0].hash().hex()}")
            return
        self.validate_block(block)
        self.archive.append(block, certificate, self._change(block))
        for transaction in block.transactions:
            self.mempool.pop(transaction, None)
        self._evidence = {
            data: offence
            for data, offence in self._evidence.items()
            if (offence.institution, offence.place) not in self.recorded and height < offence.height + 800
        }
        self._valid = {}
        self.on_new_head(block, certificate)

    def _change(self, block: Block) -> Change:
        height, demerits = block.header.height, self.demerits
        if block.parent_certificate is not None:
            demerits = demerits_after(demerits, self.validators_at(height), self.head, block.parent_certificate)
        offences = map(self._judge, block.evidence)
        recorded = {(offence.institution, offence.place): height for offence in offences}
        membership = self._membership_after(height - 1).after(height, block.transactions)
        return Change(self._root_after(block.transactions, height), demerits, recorded, membership)

    def _next_validators(self, transactions: Sequence[bytes], height: int) -> ValidatorSet:
        return self._membership_after(height - 1).after(height, transactions).validators

    def block_at(self, height: int) -> tuple[Block, Certificate] | None:
        return self.archive.read(height)

    def _check_parent_certificate(self, block: Block) -> None:
        certificate = block.parent_certificate
        if block.header.height == 1:
            if certificate is not None:
                raise Rejected(Reason.BAD_CERTIFICATE, "block 1 has no parent certificate")
            return
        place = (2, 0, self.head.height, self.head.hash())
        if certificate is None or place != (
            certificate.phase,
            certificate.epoch,
            certificate.height,
            certificate.block_hash,
        ):
            raise Rejected(Reason.BAD_CERTIFICATE, "parent certificate is for something else")
        certificate.check(self.network, self.validators_at(self.head.height), self._verify_digest)

    def _judge(self, data: bytes) -> Offence:
        return judge(data, self.network, 0, self.head.height + 1, self.validators_at, self._verify_digest)

    def _root_after(self, transactions: Sequence[bytes], height: int) -> Hash:
        root = self.state_root
        for transaction in transactions:
            root = sha256(root + sha256(transaction) + height.to_bytes(8, "big"))
        return root


def _transactions_root(transactions: Sequence[bytes]) -> Hash:
    return transactions_root([(sha256(transaction), transaction) for transaction in transactions])
