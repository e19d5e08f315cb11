"""What is committed, for those who only look: the head, blocks, places, records and their proofs.

One chain on one store. Only the ledger, which extends it, writes and moves the head. Source: PROTOCOL §4.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from node.chain.answers import CredentialPath, LocatedCredential, ProvenValue
from node.chain.block import Block, Header
from node.chain.certificate import Certificate, Network
from node.chain.hops import Hop, HopStore
from node.chain.index import Index, Place
from node.chain.reading import batch_is_void
from node.chain.receipt import Receipt
from node.chain.records.credential import Batch
from node.chain.records.governance import Upgrade
from node.chain.records.network import Parameters
from node.chain.store import BlockStore
from node.chain.upgrades import coming_upgrade, version_at
from node.chain.validator_set import ValidatorSet
from node.crypto import merkle
from node.errors import Reason, Rejected, StorageError
from node.limits import HAND_OVERS_PER_PROOF_MAX, VALIDATOR_SETS_KEPT_MAX
from node.primitives import CatalogueId, Hash, Height, InstitutionId
from node.state import keys
from node.state.kv import KeyValueStore
from node.state.proof import ExistenceProof
from node.state.world_state import StateStore, WorldState

T = TypeVar("T")


class Archive:
    """Answers about one chain. Not shared between threads; waits for nothing but the disk."""

    def __init__(self, store: KeyValueStore, state: StateStore, network: Network, head: Header) -> None:
        self.network = network
        self.state = state
        self._blocks = BlockStore(store)
        self._index = Index(store)
        self._hops = HopStore(store)
        self.pruned_below: Height = self._blocks.pruned_below()
        """Lowest height, besides 0, whose block is here; 0 where every block is."""
        self._validator_sets: dict[Hash, ValidatorSet] = {}
        """By hash, at most VALIDATOR_SETS_KEPT_MAX."""
        self._last_receipts: tuple[Height, tuple[Receipt, ...]] = (-1, ())
        self._set_head(head, head.hash(), self._blocks.certificate(head.height))

    def _set_head(self, head: Header, head_hash: Hash, certificate: Certificate | None) -> None:
        """Look from another head; its state is in force already."""
        self._head = head
        self._head_hash = head_hash
        self._head_certificate = certificate
        self._next_version = version_at(WorldState(self.state), head)

    # --- the head ---

    @property
    def head(self) -> Header:
        """Header of the last committed block."""
        return self._head

    @property
    def head_hash(self) -> Hash:
        """Its hash."""
        return self._head_hash

    @property
    def head_certificate(self) -> Certificate | None:
        """This node's commit certificate of the head; None at height 0."""
        return self._head_certificate

    @property
    def parameters(self) -> Parameters:
        """What the network agreed on."""
        found = self.read(keys.NETWORK_PARAMETERS, Parameters)
        assert found is not None
        return found

    @property
    def next_version(self) -> int:
        """Version of the protocol that judges the next height."""
        return self._next_version

    @property
    def coming_upgrade(self) -> Upgrade | None:
        """The next version of the protocol, once it is certain; None where there is none."""
        return coming_upgrade(WorldState(self.state), self._head.height)

    # --- blocks ---

    def header_at(self, height: Height) -> Header | None:
        """Return the header of a committed height."""
        return self._head if height == self._head.height else self._blocks.header(height)

    def header_by_hash(self, block_hash: Hash) -> Header | None:
        """Return the header of a committed block."""
        height = self._blocks.height_of(block_hash)
        return None if height is None else self.header_at(height)

    def hash_at(self, height: Height) -> Hash | None:
        """Return the hash of a committed block, from its header alone."""
        header = self.header_at(height)
        return None if header is None else header.hash()

    def block_at(self, height: Height) -> tuple[Block, Certificate] | None:
        """Return a committed block and its certificate; None above the head, and for block 0, which has none."""
        block = self._blocks.block(height)
        certificate = self.certificate_at(height)
        if block is None or certificate is None:
            return None
        return block, certificate

    def certificate_at(self, height: Height) -> Certificate | None:
        """Return the canonical certificate of a height, inside the block above; at the head this node's own."""
        return self._head_certificate if height == self._head.height else self._blocks.certificate(height)

    def receipts_at(self, height: Height) -> tuple[Receipt, ...] | None:
        """Return the receipts of a committed block in block order; those last asked for cost nothing."""
        if self._last_receipts[0] != height:
            receipts = self._blocks.receipts(height)
            if receipts is None:
                return None
            self._last_receipts = (height, receipts)
        return self._last_receipts[1]

    def absence(self, height: Height) -> str:
        """Return the sentence that says why this node has no block at a height."""
        if height <= self._head.height and height < self.pruned_below:
            return f"height {height} is pruned below {self.pruned_below} on this node; ask an archive node"
        return f"no block at height {height}; the head is {self._head.height}"

    # --- who voted ---

    def validators_at(self, height: Height) -> ValidatorSet:
        """Return the set that votes on a height, up to the one after the head.

        Raises: Rejected(NOT_FOUND) above that.
        """
        header = self.header_at(height)
        if header is not None:
            return self._validators(header.validators_hash)
        below = self.header_at(height - 1) if height > 0 else None
        if below is None:
            raise Rejected(Reason.NOT_FOUND, self.absence(height))
        return self._validators(below.next_validators_hash)

    def hops_to(self, height: Height) -> tuple[Hop, ...]:
        """Return what leads a light client from genesis to a header of this height, at most the head's.

        Raises: Rejected(LIMIT_EXCEEDED): more hops than a proof may have.
        """
        found = tuple(islice(self._hops.below(height), HAND_OVERS_PER_PROOF_MAX + 1))
        if len(found) > HAND_OVERS_PER_PROOF_MAX:
            raise Rejected(Reason.LIMIT_EXCEEDED, f"more than {HAND_OVERS_PER_PROOF_MAX} changes of the validator set")
        return found

    def _validators(self, validators_hash: Hash) -> ValidatorSet:
        found = self._validator_sets.get(validators_hash)
        if found is None:
            found = self._blocks.validators(validators_hash)
            if found is None:
                raise StorageError(f"the validator set {validators_hash.hex()} is missing")
            if len(self._validator_sets) >= VALIDATOR_SETS_KEPT_MAX:
                self._validator_sets.clear()
            self._validator_sets[validators_hash] = found
        return found

    # --- finding ---

    def find_transaction(self, tx_id: Hash) -> Place | None:
        """Return where a committed transaction stands."""
        return self._index.transaction(tx_id)

    def find_credential(self, credential_id: Hash, issuer: InstitutionId | None = None) -> LocatedCredential | None:
        """Return where a credential id was first issued, by an issuer if one is named; whether it is revoked is open.

        A batch by keys that turned bad is named only where there is no other: its credentials are issued anew.
        """
        records = WorldState(self.state)
        void: LocatedCredential | None = None
        for found in self._index.credentials(credential_id):
            batch_id = self._index.batch_at(found.place)
            batch = self.read(keys.batch(batch_id), Batch)
            assert batch is not None
            if issuer not in (None, batch.issuer):
                continue
            located = LocatedCredential(
                found.place.height, found.place.index, found.leaf_index, batch_id, batch.issuer, batch.definition
            )
            if not batch_is_void(records, batch):
                return located
            void = void or located
        return void

    def credential_path(self, credential_id: Hash, issuer: InstitutionId | None = None) -> CredentialPath | None:
        """Return how a credential lies in the batch that `find_credential` names."""
        found = self.find_credential(credential_id, issuer)
        if found is None:
            return None
        ids = self._index.batch_ids(found.batch_id)
        path = merkle.path(ids, found.leaf_index)
        return CredentialPath(found.leaf_index, len(ids), path, merkle.root(ids))

    def batches_before(self, height: Height) -> Iterator[Hash]:
        """Yield the ids of the batches that were issued below a height."""
        return (batch_id for batch_id, place, _ in self._index.batches() if place.height < height)

    def institutions(self, after: InstitutionId = "") -> Iterator[InstitutionId]:
        """Yield all institutions in order of id, those above `after` only."""
        return self._names("acc/", after)

    def definitions(self, after: CatalogueId = "") -> Iterator[CatalogueId]:
        """Yield all definitions in order of id, those above `after` only."""
        return self._names("def/", after)

    def pathways(self, after: CatalogueId = "") -> Iterator[CatalogueId]:
        """Yield all pathways in order of id, those above `after` only."""
        return self._names("path/", after)

    def _names(self, prefix: str, after: str) -> Iterator[str]:
        start = prefix + after if after else ""
        return (plain_key.removeprefix(prefix) for plain_key in self._index.names(prefix, start))

    # --- records ---

    def read(self, plain_key: str, shape: type[T]) -> T | None:
        """Return a committed record."""
        return self.state.read(plain_key, shape)

    def prove(self, plain_key: str, height: Height | None = None) -> ProvenValue:
        """Return a record, or its absence, with its proof under the state root of a recent height.

        Raises: Rejected(INVALID_VALUE), Rejected(NOT_FOUND).
        """
        at = self._head.height if height is None else height
        proof = self.state.prove(plain_key, at)
        header = self.header_at(at)
        assert header is not None
        value = proof.value if isinstance(proof, ExistenceProof) else None
        return ProvenValue(plain_key, value, at, header.state_root, proof)
