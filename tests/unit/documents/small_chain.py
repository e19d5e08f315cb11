"""A real ledger over memory with four validators, to prove credentials from: everything but the sockets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from node import codec
from node.chain.block import PROTOCOL_VERSION
from node.chain.certificate import Certificate, Phase, VoteSignature, vote_digest
from node.chain.genesis_document import (
    GENESIS_FORMAT,
    GenesisDocument,
    GenesisInstitution,
    GenesisKey,
    InstitutionDescription,
)
from node.chain.ledger import Ledger
from node.chain.proof import ChainProof, credential_proof
from node.chain.records.common import Credits, Level, Translation
from node.chain.records.credential import Origin, ReasonCode, StatusListEntry
from node.chain.records.definition import Alignment, DefinitionContent, Outcome, Participation, Quality
from node.chain.records.institution import Institution, Purpose, Role
from node.chain.records.network import CreditFramework, Governance, GovernanceKey, Parameters
from node.chain.records.pathway import (
    Cascade,
    Exclusivity,
    PathwayContent,
    Requirement,
    RequirementKind,
    Selector,
)
from node.chain.recovery import RECOVERY_VERSION, RecoveryDocument, with_signature
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue, StatusChange, StatusEntry
from node.chain.rules.stacking import ComponentOpening, HolderConsent, StackPayload, consent_digest
from node.chain.transaction import make_transaction
from node.chain.validator_set import Validator
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm, Ed25519Signer, P256Signer, Signer, key_id
from node.documents.bundle import Bundle
from node.documents.credential import Issuer, PreparedCredential, custody_signer, prepare_credential
from node.documents.did import did_key
from node.documents.learners import Learner
from node.keystore import InstitutionSigner
from node.primitives import Hash, TimestampMs
from node.state import keys
from node.state.kv import MemoryStore

SEG, COEPES, UGTO, ITLEON = "seg.guanajuato.gob.mx", "coepes.guanajuato.gob.mx", "ugto.mx", "itleon.edu.mx"
ROLES = {SEG: Role.AUTHORITY, COEPES: Role.QUALITY_AGENCY, UGTO: Role.ISSUER, ITLEON: Role.ISSUER}
GENESIS_TIME_MS = 1_790_000_000_000
NOW_MS = GENESIS_TIME_MS + 3_600_000
PUBLIC_URL = "http://127.0.0.1:8600"


def seed(*parts: str) -> bytes:
    """Return a key seed that depends on its name alone."""
    return sha256("/".join(parts).encode())


def counting_entropy(name: str) -> Callable[[int], bytes]:
    """Return a source of bytes that gives the same bytes in every run."""
    count = 0

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        return sha256(f"{name}/{count}".encode())[:length]

    return draw


def signer(institution: str, purpose: Purpose) -> Signer:
    """Return an institution's key of a purpose."""
    kind = P256Signer if purpose is Purpose.TRANSACTION else Ed25519Signer
    return kind(seed(institution, purpose))


def assertion_signer(institution: str) -> Ed25519Signer:
    """Return the key that signs an institution's documents."""
    return Ed25519Signer(seed(institution, Purpose.ASSERTION))


def genesis_document(*, did_host: str = "", chain_id: str = "pila-test") -> GenesisDocument:
    """Return the genesis of four institutions that all validate."""
    institutions = []
    for name, role in ROLES.items():
        purposes = (Purpose.TRANSACTION, Purpose.ASSERTION, Purpose.NODE, Purpose.RECOVERY)
        owned = [(purpose, signer(name, purpose)) for purpose in purposes]
        did = f"did:web:{did_host}:did:{name}" if did_host else did_key(assertion_signer(name).public_key)
        institutions.append(
            GenesisInstitution(
                InstitutionDescription(
                    name,
                    (Translation("en", f"University {name}"), Translation("es", f"Universidad {name}")),
                    (role,),
                    "MX",
                    "GTO",
                    "Guanajuato",
                    f"https://{name}",
                    "11USU0001A",
                    (),
                ),
                did,
                tuple(GenesisKey(key.algorithm, purpose, key.public_key) for purpose, key in owned),
            )
        )
    validators = [Validator(name, signer(name, Purpose.CONSENSUS).public_key) for name in sorted(ROLES)]
    governors = tuple(
        GovernanceKey(name, Algorithm.ED25519, Ed25519Signer(seed(name, "governance")).public_key)
        for name in sorted(ROLES)
    )
    return GenesisDocument(
        GENESIS_FORMAT,
        chain_id,
        GENESIS_TIME_MS,
        Parameters(did_host, (CreditFramework("SATCA", 1_600, "https://example.org/satca"),), 1_000, 8),
        tuple(institutions),
        tuple(validators),
        Governance(3, governors),
        PROTOCOL_VERSION,
    )


def definition_content(definition_id: str, title: str = "Habilidades clave para tu primer empleo") -> DefinitionContent:
    """Return a definition with every element filled."""
    return DefinitionContent(
        id=definition_id,
        title=(Translation("es", title),),
        description=(Translation("es", "Comunicación, trabajo en equipo y derechos laborales básicos."),),
        creators=("Cámara de la Industria del Calzado",),
        languages=("es",),
        outcomes=(
            Outcome("Comunica", "Comunica por escrito una propuesta", "Presentación de cinco minutos"),
            Outcome("Colabora", "Colabora en un equipo de cuatro personas", "Bitácora del equipo"),
        ),
        hours=60,
        credits=Credits("SATCA", 375),
        level=Level("MNC", 4),
        assessment="Proyecto integrador con rúbrica",
        participation=Participation.HYBRID,
        quality=Quality(COEPES, GENESIS_TIME_MS, None),
        prerequisites=("Secundaria terminada",),
        supervision="Presencial, con identificación oficial",
        grading="Escala de 0 a 10, mínimo 7",
        stackability="Apilable",
        field="administracion",
        egel_area="",
        sdgs=(4, 8),
        municipality="Guanajuato",
        price="0 MXN",
        alignments=(Alignment("CONOCER", "EC0217", "Impartición de cursos", "https://conocer.gob.mx/ec0217"),),
        validity_months=24,
        strand="competencia_laboral",
        origin="formal",
        assessment_only=False,
        learning_account_eligible=True,
    )


@dataclass(frozen=True, slots=True)
class Person:
    """A learner and the key that the institution keeps for them."""

    learner: Learner
    key: Ed25519Signer


def person(number: int) -> Person:
    """Return one of many learners."""
    learner = Learner(
        "María José", f"Núñez {number}", f"m{number}@x.mx", f"NUA{number}", None, "2026-06-30", "9.5", "https://e.mx/1"
    )
    return Person(learner, custody_signer(bytes(32), sha256(str(number).encode())))


class SmallChain:
    """The ledger, and the blocks that four honest validators would agree on."""

    def __init__(self, *, did_host: str = "", chain_id: str = "pila-test") -> None:
        self.ledger = Ledger.open(MemoryStore(), genesis_document(did_host=did_host, chain_id=chain_id))
        self.time_ms: TimestampMs = GENESIS_TIME_MS

    @property
    def genesis_hash(self) -> Hash:
        """The trust anchor."""
        return self.ledger.network.genesis_hash

    def submit(self, institution: str, kind: str, payload: msgspec.Struct, *signers: InstitutionSigner) -> Hash:
        """Sign with the institution's transaction key (or the signers given) and submit."""
        transaction = make_transaction(
            self.ledger.network,
            self.ledger.epoch,
            signer=institution,
            kind=kind,
            valid_until_height=self.ledger.head.height + 900,
            payload=payload,
            signers=signers or (self.transaction_signer(institution),),
        )
        return self.ledger.submit(codec.encode(transaction)).tx_id

    def transaction_signer(self, institution: str) -> InstitutionSigner:
        """Return the institution's transaction key."""
        return InstitutionSigner(institution, signer(institution, Purpose.TRANSACTION))

    def block(self) -> None:
        """Commit one block of what waits, certified by all four validators."""
        self.time_ms += 60_000
        validators = self.ledger.validators_at(self.ledger.head.height + 1)
        block = self.ledger.build_block(proposer=validators.members[0].institution, timestamp_ms=self.time_ms)
        header = block.header
        digest = vote_digest(self.ledger.network, Phase.COMMIT, header.epoch, header.height, 0, header.hash())
        signatures = tuple(
            VoteSignature(index, signer(member.institution, Purpose.CONSENSUS).sign(digest))
            for index, member in enumerate(validators.members)
        )
        self.ledger.commit_block(
            block,
            Certificate(Algorithm.ED25519, Phase.COMMIT, header.epoch, header.height, 0, header.hash(), signatures),
        )

    def run(self, institution: str, kind: str, payload: msgspec.Struct, *signers: InstitutionSigner) -> None:
        """Submit and commit; the transaction must be in the block."""
        tx_id = self.submit(institution, kind, payload, *signers)
        self.block()
        assert self.ledger.find_transaction(tx_id) is not None

    def recover(self, reason: str) -> tuple[str, ...]:
        """Begin the next epoch with the same validators, signed by three of four; return who signed."""
        ledger = self.ledger
        place = (ledger.network.chain_id, ledger.network.genesis_hash, ledger.epoch + 1, ledger.head.height)
        validators = ledger.validators_at(ledger.head.height + 1)
        document = RecoveryDocument(RECOVERY_VERSION, *place, ledger.head_hash, validators, reason, ())
        signers = tuple(sorted(ROLES))[:3]
        for name in signers:
            document = with_signature(document, Ed25519Signer(seed(name, "governance")))
        ledger.load_recovery(document)
        self.block()
        return signers

    def publish(self, definition_id: str, title: str = "Habilidades clave para tu primer empleo") -> DefinitionContent:
        """Publish a definition in its institution's name."""
        content = definition_content(definition_id, title)
        self.run(definition_id.split("/", maxsplit=1)[0], "definition.publish", DefinitionPublish(content))
        return content

    def institution(self, name: str) -> Institution:
        """Return an institution's record."""
        record = self.ledger.read(keys.accreditation(name), Institution)
        assert record is not None
        return record

    def issuer(self, content: DefinitionContent) -> Issuer:
        """Return what documents of a definition are made from."""
        name = content.id.split("/", maxsplit=1)[0]
        return Issuer(self.ledger.network, self.institution(name), content, assertion_signer(name), PUBLIC_URL)

    def prepare(self, content: DefinitionContent, someone: Person, index: int = 0) -> PreparedCredential:
        """Make one person's credential."""
        return prepare_credential(
            self.issuer(content),
            someone.learner,
            holder_key=someone.key.public_key,
            entry=StatusListEntry(0, index),
            now_ms=self.time_ms,
            entropy=counting_entropy(f"{content.id}/{someone.learner.student_number}"),
        )

    def issue(self, content: DefinitionContent, people: Sequence[Person]) -> list[PreparedCredential]:
        """Issue one batch."""
        prepared = [self.prepare(content, someone, index) for index, someone in enumerate(people)]
        ids = [item.credential_id() for item in prepared]
        payload = CredentialIssue(content.id, merkle.root(ids), len(ids), b"".join(ids))
        self.run(content.id.split("/", maxsplit=1)[0], "credential.issue", payload)
        return prepared

    def change_status(self, kind: str, credential: PreparedCredential, *, by: str = "") -> None:
        """Revoke, suspend, reinstate or supersede one credential."""
        issuer = credential.leaf.issuer
        entry = None if by and by != issuer else credential.entry
        status = StatusEntry(credential.leaf.status_key, ReasonCode.ACADEMIC_DECISION, entry)
        self.run(by or issuer, kind, StatusChange(issuer, (status,)))

    def proof(self, credential: PreparedCredential) -> ChainProof:
        """Return the chain part of a credential's bundle."""
        return credential_proof(
            self.ledger,
            credential.credential_id(),
            issuer=credential.leaf.issuer,
            status_key=credential.leaf.status_key,
        )

    def bundle(self, credential: PreparedCredential) -> Bundle:
        """Return the holder's own bundle."""
        return credential.bundle(self.proof(credential))


def key_reference(institution: str, purpose: Purpose) -> tuple[str, bytes]:
    """Return institution and key id of one of its keys."""
    key = signer(institution, purpose)
    return institution, key_id(key.algorithm, key.public_key)


def recovery_signer(institution: str) -> InstitutionSigner:
    """Return the key that adds, retires and declares keys compromised."""
    return InstitutionSigner(institution, signer(institution, Purpose.RECOVERY))


def stack(
    chain: SmallChain,
    pathway_id: str,
    result: DefinitionContent,
    components: Sequence[PreparedCredential],
    someone: Person,
) -> PreparedCredential:
    """Stack one person's credentials into a larger one."""
    issuer = chain.issuer(result)
    made = prepare_credential(
        issuer,
        someone.learner,
        holder_key=someone.key.public_key,
        entry=StatusListEntry(0, 131_071),
        now_ms=chain.time_ms,
        entropy=counting_entropy(pathway_id),
        origin=Origin.STACK,
    )
    until = chain.ledger.head.height + 900
    ids = [component.credential_id() for component in components]
    holder_keys = [someone.key.public_key]
    digest = consent_digest(
        chain.ledger.network,
        chain.ledger.epoch,
        awarding=issuer.institution.id,
        pathway=pathway_id,
        component_ids=ids,
        holder_keys=holder_keys,
        result_id=made.credential_id(),
        valid_until_height=until,
    )
    openings = []
    for component in components:
        place = chain.proof(component).batch
        openings.append(
            ComponentOpening(
                component.leaf, place.batch_id, place.index, place.path, component.holder_key, component.holder_salt
            )
        )
    consent = HolderConsent(someone.key.public_key, False, someone.key.sign(digest))
    payload = StackPayload(pathway_id, tuple(openings), (consent,), False, made.leaf, made.holder_key, made.holder_salt)
    chain.run(issuer.institution.id, "credential.stack", payload)
    return made


def pathway_content(pathway_id: str, awards: str, wanted: Sequence[str], cascade: Cascade) -> PathwayContent:
    """Return a pathway that asks for all of some definitions."""
    return PathwayContent(
        id=pathway_id,
        title=(Translation("es", "Ruta"),),
        description=(Translation("es", "Tres microcredenciales hacen una."),),
        awards=awards,
        requirements=tuple(
            Requirement(RequirementKind.ALL_OF, 0, "", 0, (Selector(name, "", "", None),)) for name in wanted
        ),
        age_months_max=0,
        level_min=None,
        external_max=9,
        exclusivity=Exclusivity.NONE,
        cascade=cascade,
        attested_allowed=False,
        custodial_allowed=True,
    )
