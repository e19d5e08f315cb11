"""Whether what a stopped node has on disk is whole: each thing is held against what commits to it.

    every record's checksum → head → state records under the state root → blocks from the lowest to the head:
    hash chain, roots, certificates by their sets, look-ups → journal and signer's record against our votes in the chain

Nothing is written. What is found first is said, with what to do about it: what lies above it rests on it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.chain.block import Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.block_check import check_names
from node.chain.certificate import Certificate, Network, VerifyDigest
from node.chain.genesis import genesis_block
from node.chain.genesis_document import GenesisDocument
from node.chain.index import Index, Place, credential_ids
from node.chain.ledger import Ledger
from node.chain.receipt import receipts_root
from node.chain.recent_ids import oldest_height
from node.chain.store import BlockStore
from node.chain.validator_set import ValidatorSet
from node.chain.verification import ParsedTransaction, TransactionCache
from node.errors import Rejected, StorageError
from node.journal import Journal
from node.primitives import Hash, Height, InstitutionId, PublicKey
from node.signer.local import STEP_OF_COMMIT
from node.signer.record import Position, SigningRecord
from node.state import flat
from node.state.keys import Column
from node.state.kv import KeyValueStore, MemoryStore, WriteBatch
from node.state.world_state import StateStore

OWN_VOTES_LOOKED_FOR: Final = 1_000
"""How many blocks down our latest vote is looked for."""

FETCH_AGAIN: Final = (
    "Move data/chain away and start the node: it fetches the chain from the others; data/journal and data/signer stay "
    "(docs/operators.md, “Corrupt database”)."
)
LISTEN_FIRST: Final = (
    "Delete data/journal and data/signer together, never one to keep the other going, make sure that keys/node.fresh "
    "is not there, and start: the validator listens before it signs (docs/operators.md, “A wiped node”)."
)
RIGHT_GENESIS: Final = "Put the genesis of this network back; never delete data because of this."

Progress = Callable[[str, int, int], None]
"""What is being looked at, how much of it is done, how much there is (0: not known)."""


class Wrong(Exception):
    """The first thing that is not as it should be."""

    def __init__(self, sentence: str, advice: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.advice = advice


@dataclass(frozen=True, slots=True)
class Stores:
    """What a node has on disk; None where it is not there."""

    chain: KeyValueStore
    journal: KeyValueStore | None
    signer: KeyValueStore | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose node this is."""

    institution: InstitutionId
    consensus_keys: tuple[PublicKey, ...]


@dataclass(slots=True)
class Counts:
    """How much was looked at."""

    records: int = 0
    state_records: int = 0
    first_block: Height = 0
    head: Height = 0
    blocks: int = 0
    transactions: int = 0
    certificates: int = 0
    executed: int = 0
    own_vote: Height | None = None
    """Height of our latest vote that the chain holds."""
    notes: list[str] = field(default_factory=list)


class StoreCheck:
    """One look through the stores of one node."""

    def __init__(
        self, stores: Stores, genesis: GenesisDocument, owner: Owner, progress: Progress, verify_digest: VerifyDigest
    ) -> None:
        self._stores = stores
        self._genesis = genesis
        self._owner = owner
        self._progress = progress
        self._verify_digest = verify_digest
        block_zero = genesis_block(genesis)
        self._network = Network(genesis.chain_id, block_zero.hash())
        self._blocks = BlockStore(stores.chain)
        self._index = Index(stores.chain)
        self._own_votes: list[Position] = []
        """Of the last OWN_VOTES_LOOKED_FOR heights, ascending."""
        self.counts = Counts()

    def run(self, *, full: bool) -> None:
        """Look at everything; `full`: also execute every block again from the genesis. Raises: Wrong."""
        self._read_everything()
        head = self._check_head()
        self._check_state(head)
        self._check_blocks(head)
        self._check_promises()
        if full:
            self._execute_again(head)

    # --- reading ---

    def _read_everything(self) -> None:
        """Read each record of each store once: LevelDB compares every block's checksum."""
        named = (("chain", self._stores.chain), ("journal", self._stores.journal), ("signer", self._stores.signer))
        for name, store in named:
            if store is None:
                self.counts.notes.append(f"data/{name} is not there")
                continue
            try:
                for _ in store.iterate():
                    self.counts.records += 1
                    self._advance(f"reading data/{name}", self.counts.records, 0)
            except StorageError as error:
                raise Wrong(str(error), FETCH_AGAIN if name == "chain" else LISTEN_FIRST) from error

    def _check_head(self) -> Header:
        with _blaming(FETCH_AGAIN):
            stored = self._blocks.head()
            if stored is None:
                raise Wrong("data/chain holds no chain", FETCH_AGAIN)
            if stored.genesis_hash != self._network.genesis_hash:
                raise Wrong(
                    f"data/chain belongs to the network {stored.genesis_hash.hex()}, genesis.json makes "
                    f"{self._network.genesis_hash.hex()}",
                    RIGHT_GENESIS,
                )
            head = self._blocks.header(stored.height)
            if head is None or head.hash() != stored.hash:
                raise Wrong(f"the header of the head, height {stored.height}, is missing or another one", FETCH_AGAIN)
            self.counts.head = head.height
            return head

    def _check_state(self, head: Header) -> None:
        """Rebuild the tree from the leaf hashes, then compare each record with its leaf hash."""
        with _blaming(FETCH_AGAIN):
            state = StateStore.open(self._stores.chain)
            if (state.height, state.root) != (head.height, head.state_root):
                raise Wrong(
                    f"the state is at height {state.height} with root {state.root.hex()}, the head at {head.height} "
                    f"with {head.state_root.hex()}",
                    FETCH_AGAIN,
                )
            for key, value in self._stores.chain.iterate(prefix=Column.STATE.value):
                flat.unpack(key[1:], flat.leaf_of(value), value)
                self.counts.state_records += 1
                self._advance("state records", self.counts.state_records, state.key_count)

    # --- blocks ---

    def _check_blocks(self, head: Header) -> None:
        cache = TransactionCache(self._network, head.epoch)
        first = self._blocks.pruned_below()
        self.counts.first_block = first
        parent = None if first == 0 else self._header(first - 1)
        sets: dict[Hash, ValidatorSet] = {}
        with _blaming(FETCH_AGAIN):
            indexed = self._index.height
            if indexed is not None and indexed > head.height:
                raise Wrong(f"the index is at height {indexed}, the head at {head.height}", FETCH_AGAIN)
            for height in range(first, head.height + 1):
                if parent is not None and parent.epoch != self._header(height).epoch:
                    cache = TransactionCache(self._network, self._header(height).epoch)
                block = self._check_block(height, parent, cache, indexed)
                self._check_certificate(height, block.header, sets)
                parent = block.header
                self.counts.blocks += 1
                self._advance("blocks", height - first + 1, head.height - first + 1)

    def _check_block(
        self, height: Height, parent: Header | None, cache: TransactionCache, indexed: int | None
    ) -> Block:
        """Hold one block against its parent, its own header, and what is stored beside it."""
        block, name = self._blocks.block(height), f"block {height}"
        if block is None:
            raise Wrong(f"{name} is missing, the head is {self.counts.head}", FETCH_AGAIN)
        header, block_hash = block.header, block.header.hash()
        if height == 0:
            _same(name, "hash", block_hash, self._network.genesis_hash)
        _same(name, "height in the header", header.height, height)
        _same(name, "header stored beside it", self._header(height), header)
        _same(name, "height found by its hash", self._blocks.height_of(block_hash), height)
        if parent is not None:
            self._check_parent(header, parent)
        parsed = [cache.parse(data) for data in block.transactions]
        self._check_body(block, parsed)
        if block.parent_certificate is not None and height > self.counts.first_block:
            _same(name, "parent's certificate", self._blocks.certificate(height - 1), block.parent_certificate)
        if indexed is not None and height <= indexed:
            self._check_index(height, parsed)
        if parsed and height >= oldest_height(self.counts.head):
            kept = self._stores.chain.get(Column.RECENT.at(height))
            _same(name, "list of transaction ids", kept, b"".join(one.id for one in parsed))
        for one in parsed:
            cache.forget(one)
        self.counts.transactions += len(parsed)
        return block

    def _check_parent(self, header: Header, parent: Header) -> None:
        name = f"block {header.height}"
        _same(name, "parent hash", header.parent_hash, parent.hash())
        if header.epoch == parent.epoch:
            _same(name, "validators hash", header.validators_hash, parent.next_validators_hash)
        if header.timestamp_ms <= parent.timestamp_ms:
            raise Wrong(f"{name}: its time is not after its parent's", FETCH_AGAIN)

    def _check_body(self, block: Block, parsed: Sequence[ParsedTransaction]) -> None:
        """Compare what the header commits to with what is there."""
        header, name = block.header, f"block {block.header.height}"
        receipts = self._blocks.receipts(header.height)
        if receipts is None:
            raise Wrong(f"the receipts of {name} are missing", FETCH_AGAIN)
        found = transactions_root([(one.id, one.data) for one in parsed])
        _same(name, "transactions root", found, header.transactions_root)
        _same(name, "evidence root", evidence_root(block.evidence), header.evidence_root)
        found = certificate_hash(block.parent_certificate)
        _same(name, "parent certificate hash", found, header.parent_certificate_hash)
        _same(name, "receipts root", receipts_root(receipts), header.receipts_root)

    def _check_index(self, height: Height, parsed: Sequence[ParsedTransaction]) -> None:
        """Find each transaction and each credential by its id."""
        for number, one in enumerate(parsed):
            place = Place(height, number)
            _same(f"transaction {one.id.hex()}", "place in the index", self._index.transaction(one.id), place)
            for credential_id in credential_ids(one):
                if place not in (found.place for found in self._index.credentials(credential_id)):
                    sentence = f"the index lacks the credential {credential_id.hex()} of block {height}"
                    raise Wrong(sentence, FETCH_AGAIN)

    def _check_certificate(self, height: Height, header: Header, sets: dict[Hash, ValidatorSet]) -> None:
        """Verify a quorum's signatures by the set that the header names."""
        validators = self._validators(header.validators_hash, sets)
        self._validators(header.next_validators_hash, sets)
        if height == 0:
            return
        certificate = self._blocks.certificate(height)
        if certificate is None:
            raise Wrong(f"the certificate of block {height} is missing", FETCH_AGAIN)
        check_names(certificate, header, header.hash())
        certificate.check(self._network, validators, self._verify_digest)
        self.counts.certificates += 1
        self._note_own_vote(certificate, validators)

    def _note_own_vote(self, certificate: Certificate, validators: ValidatorSet) -> None:
        index = validators.index_of(self._owner.institution)
        if index is None or validators.members[index].public_key not in self._owner.consensus_keys:
            return
        if any(vote.validator == index for vote in certificate.signatures):
            self._own_votes.append((certificate.epoch, certificate.height, certificate.view, STEP_OF_COMMIT))
            del self._own_votes[:-OWN_VOTES_LOOKED_FOR]
            self.counts.own_vote = certificate.height

    def _validators(self, validators_hash: Hash, sets: dict[Hash, ValidatorSet]) -> ValidatorSet:
        found = sets.get(validators_hash) or self._blocks.validators(validators_hash)
        if found is None:
            raise Wrong(f"the validator set {validators_hash.hex()} is missing", FETCH_AGAIN)
        _same("a stored validator set", "hash", found.hash, validators_hash)
        sets[validators_hash] = found
        return found

    def _header(self, height: Height) -> Header:
        found = self._blocks.header(height)
        if found is None:
            raise Wrong(f"the header of height {height} is missing", FETCH_AGAIN)
        return found

    # --- promises ---

    def _check_promises(self) -> None:
        """Compare what this validator remembers of its votes with its votes in the chain."""
        signed: Position | None = None
        with _blaming(LISTEN_FIRST):
            if self._stores.signer is not None:
                signed = SigningRecord(self._stores.signer).last
            if self._stores.journal is None:
                return
            journal = Journal(self._stores.journal)
            if not journal.is_begun:
                self.counts.notes.append("the journal is not begun: as a validator this node listens before it signs")
                return
            knows_to = journal.knows_to
            journal.records(self.counts.head + 1, journal.epoch)
        if not self._own_votes:
            return
        vote = self._own_votes[-1]
        if vote[0] == journal.epoch and vote[1] > knows_to:  # of older epochs it has forgotten everything
            raise Wrong(
                f"the journal knows of heights up to {knows_to}, and block {vote[1]} holds a vote of this validator: "
                "it is an older copy, with which it could vote twice",
                LISTEN_FIRST,
            )
        if self._stores.signer is not None and vote[1] >= journal.signs_from and (signed is None or signed < vote):
            raise Wrong(
                f"the signer's record ends at (epoch, height, view, step) {signed}, and block {vote[1]} holds this "
                f"validator's Commit {vote}: it is an older copy, with which it could vote twice",
                LISTEN_FIRST,
            )

    # --- everything again ---

    def _execute_again(self, head: Header) -> None:
        """Execute the whole chain in memory; every root is compared on the way."""
        if self.counts.first_block > 0:
            self.counts.notes.append(
                f"not executed again: the blocks below {self.counts.first_block} are not here; an archive node has them"
            )
            return
        memory = MemoryStore()
        documents = WriteBatch()
        for key, value in self._stores.chain.iterate(prefix=Column.META.key(b"recovery/")):
            documents.put(key, value)
        memory.write(documents, sync=True)
        with _blaming(FETCH_AGAIN):
            twin = Ledger.open(memory, self._genesis, verify_digest=self._verify_digest)
            for height in range(1, head.height + 1):
                block, certificate = self._blocks.block(height), self._blocks.certificate(height)
                assert block is not None
                assert certificate is not None
                try:
                    twin.commit_block(block, certificate)
                except Rejected as rejection:
                    raise Wrong(
                        f"block {height} cannot be executed again: {rejection}; program and data disagree", FETCH_AGAIN
                    ) from rejection
                self.counts.executed += 1
                self._advance("executing", height, head.height)

    def _advance(self, what: str, done: int, of: int) -> None:
        self._progress(what, done, of)


class _blaming:  # noqa: N801 – reads as a statement
    """Turns faults of the store and of what it holds into the first wrong thing."""

    def __init__(self, advice: str) -> None:
        self._advice = advice

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StorageError | Rejected):
            raise Wrong(str(error), self._advice) from error


def _same(what: str, which: str, found: object, expected: object) -> None:
    """Raise Wrong unless two things are equal."""
    if found != expected:
        raise Wrong(f"{what}: its {which} is {_shown(found)} instead of {_shown(expected)}", FETCH_AGAIN)


def _shown(value: object) -> str:
    match value:
        case bytes() if len(value) <= 32:
            return value.hex()
        case None:
            return "nothing"
        case int():
            return str(value)
        case Place(height, index):
            return f"({height}, {index})"
        case _:
            return "another one"
