"""A small network for tests: institutions whose keys come from their names, and a chain that votes for itself."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import msgspec
import pytest

from node import codec
from node.chain.answers import Committed
from node.chain.block import PROTOCOL_VERSION, Block
from node.chain.certificate import Certificate, Network, Phase, VoteSignature, vote_digest
from node.chain.frame import Frame
from node.chain.genesis import genesis_hash
from node.chain.genesis_document import (
    GenesisDocument,
    GenesisKey,
    InstitutionDescription,
    NetworkDescription,
    make_genesis,
)
from node.chain.ledger import Ledger
from node.chain.records.common import Translation
from node.chain.records.definition import DefinitionContent, Quality
from node.chain.records.institution import Purpose, RequiredSignatures, Role
from node.chain.records.network import CreditFramework, Governance, GovernanceKey, Parameters
from node.chain.rules.keys import NewKey
from node.chain.transaction import Transaction, TransactionSigner, make_transaction
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm, Signer, key_id, signer_from_seed
from node.errors import Reason, Rejected
from node.limits import TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.primitives import Hash, Height, InstitutionId, KeyId, Signature, TimestampMs
from node.state.kv import KeyValueStore, MemoryStore
from tests.unit.chain.rules.harness import definition_content

GENESIS_TIME_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
BLOCK_INTERVAL_MS = 1_000

SEG = "seg.example"
SDES = "sdes.example"
COEPES = "coepes.example"
CONOCER = "conocer.example"
UGTO = "ugto.example"
ITLEON = "itleon.example"
ROLES = {
    SEG: Role.AUTHORITY,
    SDES: Role.AUTHORITY,
    COEPES: Role.QUALITY_AGENCY,
    CONOCER: Role.CERTIFIER,
    UGTO: Role.ISSUER,
    ITLEON: Role.ISSUER,
}
VALIDATORS = (ITLEON, SDES, SEG, UGTO)
"""Ascending, as in the set."""


@dataclass(frozen=True)
class Key:
    """A key of an institution, made from its name, its purpose and a number."""

    institution: InstitutionId
    purpose: Purpose
    number: int = 0
    algorithm: Algorithm = Algorithm.ED25519

    @cached_property
    def signer(self) -> Signer:
        return signer_from_seed(self.algorithm, sha256(f"{self.institution}/{self.purpose}/{self.number}".encode()))

    @property
    def public_key(self) -> bytes:
        return self.signer.public_key

    @cached_property
    def key_id(self) -> KeyId:
        return key_id(self.algorithm, self.public_key)

    @property
    def new(self) -> NewKey:
        return NewKey(int(self.algorithm), self.public_key, self.purpose)

    @property
    def in_genesis(self) -> GenesisKey:
        return GenesisKey(int(self.algorithm), self.purpose, self.public_key)

    def sign(self, digest: Hash) -> Signature:
        return self.signer.sign(digest)


def transaction_key(institution: InstitutionId, number: int = 0) -> Key:
    """Key 0 is P-256, all others are Ed25519."""
    algorithm = Algorithm.P256 if number == 0 else Algorithm.ED25519
    return Key(institution, Purpose.TRANSACTION, number, algorithm)


def recovery_key(institution: InstitutionId, number: int = 0) -> Key:
    """Return a recovery key of an institution."""
    return Key(institution, Purpose.RECOVERY, number)


def names(text: str) -> tuple[Translation, ...]:
    """Return a name in English and Spanish."""
    return (Translation("en", text), Translation("es", text))


def description(id_: InstitutionId, role: Role, required: Sequence[RequiredSignatures] = ()) -> InstitutionDescription:
    """Return an institution of one role."""
    return InstitutionDescription(id_, names(id_), (role,), "MX", "GTO", "León", f"https://{id_}", "", tuple(required))


PARAMETERS = Parameters(
    "",
    (
        CreditFramework("SATCA", 1_600, "https://example.org/satca"),
        CreditFramework("ECTS", 2_500, "https://example.org/ects"),
    ),
    4_096,
    2,
)


def network_description(
    required: dict[InstitutionId, Sequence[RequiredSignatures]] | None = None,
) -> NetworkDescription:
    """Return the six institutions as a network description."""
    wanted = required or {}
    institutions = tuple(description(id_, role, wanted.get(id_, ())) for id_, role in ROLES.items())
    return NetworkDescription("pila-test", PARAMETERS, institutions)


def genesis_keys(institution: InstitutionId) -> tuple[Key, ...]:
    """Two transaction keys, two recovery keys, one for documents and one for the node."""
    return (
        transaction_key(institution, 0),
        transaction_key(institution, 1),
        Key(institution, Purpose.ASSERTION),
        Key(institution, Purpose.NODE),
        recovery_key(institution, 0),
        recovery_key(institution, 1),
    )


def genesis(
    *,
    required: dict[InstitutionId, Sequence[RequiredSignatures]] | None = None,
    parameters: Parameters = PARAMETERS,
    validators: Sequence[InstitutionId] = VALIDATORS,
    protocol_version: int = PROTOCOL_VERSION,
) -> GenesisDocument:
    """Return the genesis of the test network."""
    return make_genesis(
        msgspec.structs.replace(network_description(required), parameters=parameters),
        time_ms=GENESIS_TIME_MS,
        dids={},
        institution_keys={id_: tuple(key.in_genesis for key in genesis_keys(id_)) for id_ in ROLES},
        validators=[Validator(id_, Key(id_, Purpose.CONSENSUS).public_key) for id_ in validators],
        governance=Governance(
            3, tuple(GovernanceKey(id_, 1, Key(id_, Purpose.GOVERNANCE).public_key) for id_ in VALIDATORS)
        ),
        protocol_version=protocol_version,
    )


def consensus_key(member: Validator) -> Key:
    """Return the key of a validator by its public key: the first that it had, or one of the next."""
    numbered = (Key(member.institution, Purpose.CONSENSUS, number) for number in range(8))
    return next(key for key in numbered if key.public_key == member.public_key)


def certify(
    network: Network,
    validators: ValidatorSet,
    block_hash: Hash,
    height: Height,
    *,
    phase: Phase = Phase.COMMIT,
    epoch: int = 0,
    view: int = 0,
    members: Iterable[int] | None = None,
) -> Certificate:
    """Return a certificate signed by the first Q members, or by those given."""
    digest = vote_digest(network, phase, epoch, height, view, block_hash)
    chosen = range(validators.quorum) if members is None else members
    votes = tuple(VoteSignature(index, consensus_key(validators.members[index]).sign(digest)) for index in chosen)
    return Certificate(1, phase, epoch, height, view, block_hash, votes)


def refusal(action: Callable[[], object]) -> tuple[Reason, str]:
    """Run what must be refused; return why it was."""
    with pytest.raises(Rejected) as refused:
        action()
    return refused.value.reason, refused.value.detail


class TestChain:
    """A ledger over a store, with a clock of its own and all validators in one hand."""

    __test__ = False

    def __init__(self, document: GenesisDocument | None = None, store: KeyValueStore | None = None) -> None:
        self.document = document or genesis()
        self.store = store or MemoryStore()
        self.ledger = Ledger.open(self.store, self.document)
        self.network = Network(self.document.chain_id, genesis_hash(self.document))

    @property
    def next_frame(self) -> Frame:
        """Frame of the next block, a block interval after the head."""
        head = self.ledger.head
        return Frame(
            self.network,
            self.ledger.epoch,
            self.next_height,
            self.next_time_ms,
            self.ledger.next_version,
            head,
            self.ledger.head_certificate,
        )

    @property
    def next_height(self) -> Height:
        return self.ledger.head.height + 1

    @property
    def next_time_ms(self) -> TimestampMs:
        return self.ledger.head.timestamp_ms + BLOCK_INTERVAL_MS

    def transaction(
        self,
        kind: str,
        payload: msgspec.Struct,
        *,
        signer: InstitutionId,
        by: Sequence[TransactionSigner] | None = None,
        valid_until: Height | None = None,
    ) -> bytes:
        """Return the bytes of a transaction, by default signed with the signer's key 0."""
        made: Transaction = make_transaction(
            self.network,
            self.ledger.epoch,
            signer=signer,
            kind=kind,
            valid_until_height=self.next_height + TRANSACTION_VALIDITY_HEIGHTS_MAX // 2
            if valid_until is None
            else valid_until,
            payload=payload,
            signers=[transaction_key(signer)] if by is None else by,
        )
        return codec.encode(made)

    def submit(
        self,
        kind: str,
        payload: msgspec.Struct,
        *,
        signer: InstitutionId,
        by: Sequence[TransactionSigner] | None = None,
    ) -> Hash:
        """Submit a transaction. Raises: Rejected."""
        return self.ledger.submit(self.transaction(kind, payload, signer=signer, by=by)).tx_id

    def build(self, *, proposer: InstitutionId = SEG) -> Block:
        """Build the next block."""
        return self.ledger.build_block(proposer=proposer, timestamp_ms=self.next_time_ms)

    def certificate(self, block: Block, **options: object) -> Certificate:
        """Return a commit certificate of a block on the head."""
        validators = self.ledger.validators_at(block.header.height)
        options.setdefault("epoch", block.header.epoch)
        return certify(self.network, validators, block.hash(), block.header.height, **options)  # type: ignore[arg-type]  # test options

    def commit(self) -> Committed:
        """Build, certify and commit the next block."""
        block = self.build()
        return self.ledger.commit_block(block, self.certificate(block))

    def do(
        self,
        kind: str,
        payload: msgspec.Struct,
        *,
        signer: InstitutionId,
        by: Sequence[TransactionSigner] | None = None,
    ) -> Committed:
        """Submit a transaction and commit the block that holds it. Raises: Rejected."""
        tx_id = self.submit(kind, payload, signer=signer, by=by)
        committed = self.commit()
        assert [parsed.id for parsed in committed.transactions] == [tx_id]
        return committed

    def refusal(
        self,
        kind: str,
        payload: msgspec.Struct,
        *,
        signer: InstitutionId,
        by: Sequence[TransactionSigner] | None = None,
    ) -> tuple[Reason, str]:
        """Submit what must be refused; return reason and detail. Nothing waits afterwards that did not before."""
        waiting = len(self.ledger.mempool)
        with pytest.raises(Rejected) as refused:
            self.submit(kind, payload, signer=signer, by=by)
        assert len(self.ledger.mempool) == waiting
        return refused.value.reason, refused.value.detail

    def skip_to(self, height: Height) -> None:
        """Commit empty blocks until the head has a height."""
        while self.ledger.head.height < height:
            self.commit()


def definition(definition_id: str) -> DefinitionContent:
    """Return a definition that lacks nothing, reviewed by the test network's agency."""
    return definition_content(definition_id, quality=Quality(COEPES, GENESIS_TIME_MS, None))
