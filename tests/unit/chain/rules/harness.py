"""A small world for rules: accredited institutions with keys over a real state, and one way to run a transaction.

Payloads pass through the codec and transactions carry real signatures, as in a block; a refused
transaction leaves the state untouched because its draft is thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from node import codec
from node.chain.block import PROTOCOL_VERSION
from node.chain.certificate import Network
from node.chain.records.common import Act, Credits, KeyReference, Level, Translation
from node.chain.records.credential import (
    LEAF_VERSION,
    Leaf,
    Origin,
    batch_id,
    holder_commitment,
    status_key,
)
from node.chain.records.definition import Alignment, DefinitionContent, Outcome, Participation, Quality
from node.chain.records.institution import (
    UNLIMITED_SCOPE,
    Compromise,
    Institution,
    InstitutionKey,
    Purpose,
    RequiredSignatures,
    Role,
    Scope,
    Standing,
    Step,
    StepKind,
)
from node.chain.records.network import CreditFramework, Parameters
from node.chain.records.pathway import (
    Cascade,
    Exclusivity,
    PathwayContent,
    Requirement,
    RequirementKind,
    Selector,
)
from node.chain.rules import catalogue, credentials, stacking
from node.chain.rules.framework import Context, Event, Rule
from node.chain.rules.stacking import ComponentOpening, HolderConsent, StackPayload, consent_digest
from node.chain.transaction import Transaction, make_transaction
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm, Ed25519Signer, key_id
from node.errors import Reason, Rejected
from node.limits import TRANSACTION_BYTES_MAX
from node.state import keys
from node.state.kv import MemoryStore
from node.state.world_state import StateStore, WorldState

SEG = "seg.guanajuato.gob.mx"
SDES = "sdes.guanajuato.gob.mx"
COEPES = "coepes.guanajuato.gob.mx"
CONOCER = "conocer.gob.mx"
UGTO = "ugto.mx"
ITLEON = "itleon.edu.mx"
ROLES = {
    SEG: (Role.AUTHORITY,),
    SDES: (Role.AUTHORITY,),
    COEPES: (Role.QUALITY_AGENCY,),
    CONOCER: (Role.CERTIFIER,),
    UGTO: (Role.ISSUER,),
    ITLEON: (Role.ISSUER,),
}

NETWORK = Network("pila-test", sha256(b"genesis"))
HEIGHT = 10
TIME_MS = 1_700_000_000_000
DAY_MS = 86_400_000
PARAMETERS = Parameters(
    did_host="",
    credit_frameworks=(
        CreditFramework("SATCA", 1_600, "https://example.org/satca"),
        CreditFramework("ECTS", 2_500, ""),
    ),
    credentials_per_batch_max=1_000,
    pending_applications_max=8,
)
PESPUNTE = f"{UGTO}/pespunte/1"
CORTE = f"{UGTO}/corte/1"
EMPLEO = f"{ITLEON}/primer-empleo/1"
CALZADO = f"{UGTO}/calzado/1"
ROUTE = f"{UGTO}/ruta-calzado/1"
_ALL: tuple[Rule[Any], ...] = (*catalogue.RULES, *credentials.RULES, *stacking.RULES)
RULES = {rule.kind: rule for rule in _ALL}


def definition_content(definition_id: str = PESPUNTE, **changes: object) -> DefinitionContent:
    """Return a definition that lacks nothing."""
    content = DefinitionContent(
        id=definition_id,
        title=(Translation("en", "Stitching"), Translation("es", "Pespunte")),
        description=(Translation("es", "Costura de calzado."),),
        creators=("Cámara de la Industria",),
        languages=("es",),
        outcomes=(Outcome("coser", "cose piezas de corte", "muestra física"),),
        hours=40,
        credits=Credits("SATCA", 250),
        level=Level("MNC", 3),
        assessment="observación en taller",
        participation=Participation.IN_PERSON,
        quality=Quality(COEPES, TIME_MS - DAY_MS, None),
        prerequisites=("ninguno",),
        supervision="instructor en taller",
        grading="aprobado o no aprobado",
        stackability="apilable",
        field="manufactura",
        egel_area="",
        sdgs=(4, 8),
        municipality="León",
        price="",
        alignments=(Alignment("CONOCER", "EC0001", "Pespunte de calzado", "https://example.org/ec"),),
        validity_months=36,
        strand="competencia_laboral",
        origin="formal",
        assessment_only=False,
        learning_account_eligible=True,
    )
    return msgspec.structs.replace(content, **changes)


def all_of(*definitions: str) -> Requirement:
    """Return the requirement of every one of some definitions."""
    selectors = tuple(Selector(definition, "", "", None) for definition in definitions)
    return Requirement(RequirementKind.ALL_OF, 0, "", 0, selectors)


def pathway_content(pathway_id: str = ROUTE, **changes: object) -> PathwayContent:
    """Return a pathway of three definitions of two institutions that awards a fourth."""
    content = PathwayContent(
        id=pathway_id,
        title=(Translation("es", "Ruta de calzado"),),
        description=(),
        awards=CALZADO,
        requirements=(all_of(PESPUNTE, CORTE, EMPLEO),),
        age_months_max=0,
        level_min=None,
        external_max=2,
        exclusivity=Exclusivity.NONE,
        cascade=Cascade.REVOKE,
        attested_allowed=True,
        custodial_allowed=True,
    )
    return msgspec.structs.replace(content, **changes)


@dataclass(frozen=True, slots=True)
class InstitutionSigner:
    """One transaction key of an institution."""

    institution: str
    signer: Ed25519Signer

    @property
    def key_id(self) -> bytes:
        return key_id(Algorithm.ED25519, self.signer.public_key)

    def sign(self, digest: bytes) -> bytes:
        return self.signer.sign(digest)


def institution_signer(institution: str, number: int = 0) -> InstitutionSigner:
    """Return the same key for the same institution and number every time."""
    return InstitutionSigner(institution, Ed25519Signer(sha256(f"{institution}#{number}".encode())))


def genesis_step(roles: Sequence[Role], scope: Scope = UNLIMITED_SCOPE, valid_until_ms: int = 0) -> Step:
    """Return the step by which the genesis accredits."""
    act = Act(0, 0, SEG, (), 0)
    return Step(StepKind.GENESIS, act, Standing.ACCREDITED, tuple(sorted(roles)), scope, valid_until_ms, "", None)


class World:
    """The state, the block that is being executed, and how to run transactions in it."""

    def __init__(self) -> None:
        self.state = WorldState(StateStore.open(MemoryStore()))
        self.height = HEIGHT
        self.time_ms = TIME_MS
        self.parameters = PARAMETERS
        for institution, roles in ROLES.items():
            self.add_institution(institution, roles)

    def add_institution(
        self, institution: str, roles: Sequence[Role], *, scope: Scope = UNLIMITED_SCOPE, keys_count: int = 3
    ) -> None:
        """Accredit an institution in the genesis with some transaction keys."""
        ids = []
        for number in range(keys_count):
            signer = institution_signer(institution, number)
            ids.append(signer.key_id)
            record = InstitutionKey(
                institution,
                Algorithm.ED25519,
                signer.signer.public_key,
                Purpose.TRANSACTION,
                Act(0, 0, institution, (), 0),
                None,
                None,
            )
            self.state.put(keys.key(institution, signer.key_id), record)
        names = (Translation("es", institution),)
        self.state.put(
            keys.accreditation(institution),
            Institution(institution, names, "MX", "GTO", "", "", "", "", (), tuple(ids), (genesis_step(roles, scope),)),
        )

    def institution(self, institution: str) -> Institution:
        found = self.state.get(keys.accreditation(institution), Institution)
        assert found is not None
        return found

    def add_step(self, institution: str, **changes: object) -> None:
        """Change an institution's standing in this block, by the first authority."""
        record = self.institution(institution)
        act = Act(self.height, self.time_ms, SEG, (KeyReference(SEG, institution_signer(SEG).key_id),), 1)
        step = msgspec.structs.replace(record.history[-1], kind=StepKind.ACCREDIT, act=act, **changes)
        self.state.put(
            keys.accreditation(institution), msgspec.structs.replace(record, history=(*record.history, step))
        )

    def require_signatures(self, institution: str, kind: str, count: int) -> None:
        """Make an institution ask for several of its own keys."""
        record = self.institution(institution)
        self.state.put(
            keys.accreditation(institution),
            msgspec.structs.replace(record, required_signatures=(RequiredSignatures(kind, count),)),
        )

    def compromise(self, institution: str, since_height: int, number: int = 0) -> None:
        """Declare a key compromised since a height."""
        plain_key = keys.key(institution, institution_signer(institution, number).key_id)
        record = self.state.get(plain_key, InstitutionKey)
        assert record is not None
        mark = Compromise(since_height, Act(self.height, self.time_ms, institution, (), 0))
        self.state.put(plain_key, msgspec.structs.replace(record, compromised=mark))

    def context(self) -> Context:
        return Context(WorldState(self.state), NETWORK, 0, self.height, self.time_ms, PROTOCOL_VERSION, self.parameters)

    def transaction(
        self,
        kind: str,
        payload: msgspec.Struct,
        signer: str,
        by: Sequence[InstitutionSigner] = (),
        *,
        valid_until_height: int | None = None,
    ) -> Transaction:
        """Return a signed transaction; by the signer's first key unless told otherwise."""
        return make_transaction(
            NETWORK,
            0,
            signer=signer,
            kind=kind,
            valid_until_height=self.height + 100 if valid_until_height is None else valid_until_height,
            payload=payload,
            signers=by or (institution_signer(signer),),
        )

    def run(
        self, kind: str, payload: msgspec.Struct, signer: str, by: Sequence[InstitutionSigner] = ()
    ) -> tuple[Event, ...]:
        """Execute a transaction; its writes stay when it is not refused."""
        rule = RULES[kind]
        transaction = self.transaction(kind, payload, signer, by)
        decoded = codec.decode(transaction.payload, rule.payload, bytes_max=TRANSACTION_BYTES_MAX)
        assert rule.cost(decoded) > 0
        context = self.context()
        rule.signers(context, transaction, decoded)
        events = rule.execute(context, transaction, decoded)
        self.state.absorb(context.state)
        return events

    def refusal(
        self, kind: str, payload: msgspec.Struct, signer: str, by: Sequence[InstitutionSigner] = ()
    ) -> tuple[Reason, str]:
        """Execute a transaction that must be refused; return reason and detail. Nothing has changed."""
        before = dict(self.state.written)
        with pytest.raises(Rejected) as refused:
            self.run(kind, payload, signer, by)
        assert dict(self.state.written) == before
        return refused.value.reason, refused.value.detail

    def publish(self, *definition_ids: str, **changes: object) -> None:
        """Publish definitions that lack nothing."""
        for definition_id in definition_ids:
            content = definition_content(definition_id, **changes)
            self.run("definition.publish", catalogue.DefinitionPublish(content), definition_id.partition("/")[0])

    def act(self, institution: str) -> Act:
        """Return the act of a transaction by an institution's first key in this block."""
        reference = KeyReference(institution, institution_signer(institution).key_id)
        return Act(self.height, self.time_ms, institution, (reference,), 1)


@dataclass(frozen=True, slots=True)
class Held:
    """A credential as its holder has it: everything needed to open it."""

    leaf: Leaf
    batch_id: bytes
    index: int
    path: tuple[bytes, ...]
    holder: Ed25519Signer
    holder_salt: bytes

    @property
    def id(self) -> bytes:
        return self.leaf.credential_id()

    def opening(self) -> ComponentOpening:
        return ComponentOpening(
            self.leaf, self.batch_id, self.index, self.path, self.holder.public_key, self.holder_salt
        )


def holder(name: str) -> Ed25519Signer:
    """Return the same learner's key for the same name every time."""
    return Ed25519Signer(sha256(f"holder {name}".encode()))


def make_leaf(definition: str, who: Ed25519Signer, seed: str, /, **changes: object) -> Leaf:
    """Return a leaf of a definition for a holder; the seed decides salts and secrets."""
    leaf = Leaf(
        version=LEAF_VERSION,
        genesis_hash=NETWORK.genesis_hash,
        issuer=definition.partition("/")[0],
        definition=definition,
        origin=Origin.ISSUE,
        holder_commitment=holder_commitment(who.public_key, sha256(f"salt {seed}".encode())),
        document_commitment=sha256(f"document {seed}".encode()),
        claim_count=12,
        status_key=status_key(sha256(f"secret {seed}".encode())),
        valid_from_ms=TIME_MS - 30 * DAY_MS,
        valid_until_ms=TIME_MS + 300 * DAY_MS,
    )
    return msgspec.structs.replace(leaf, **changes)


def issue(
    world: World,
    definition: str,
    /,
    *holders: Ed25519Signer,
    seed: str = "",
    by: Sequence[InstitutionSigner] = (),
    **changes: object,
) -> list[Held]:
    """Issue one credential to each holder in one batch, with two more that pad it."""
    seeds = [f"{definition} {seed} {index}" for index in range(len(holders))]
    leaves = [make_leaf(definition, who, name, **changes) for who, name in zip(holders, seeds, strict=True)]
    ids = [leaf.credential_id() for leaf in leaves]
    ids += [sha256(f"padding {definition} {seed} {index}".encode()) for index in range(2)]
    root = merkle.root(ids)
    payload = credentials.CredentialIssue(definition, root, len(ids), b"".join(ids))
    issuer = definition.partition("/")[0]
    world.run("credential.issue", payload, issuer, by)
    the_id = batch_id(issuer, definition, root, len(ids))
    return [
        Held(leaf, the_id, index, merkle.path(ids, index), holders[index], sha256(f"salt {seeds[index]}".encode()))
        for index, leaf in enumerate(leaves)
    ]


def stack_payload(
    world: World,
    components: Sequence[Held],
    *,
    pathway: str = ROUTE,
    awards: str = CALZADO,
    seed: str = "result",
    custodial: bool = False,
    attested: bool = False,
    result: Leaf | None = None,
    **changes: object,
) -> StackPayload:
    """Return the payload that stacks some credentials, agreed to by every holder; the first one holds the result."""
    holders = {held.holder.public_key: held.holder for held in components}
    first = components[0].holder
    leaf = result or make_leaf(awards, first, seed, origin=Origin.STACK, valid_from_ms=world.time_ms)
    digest = consent_digest(
        NETWORK,
        0,
        awarding=awards.partition("/")[0],
        pathway=pathway,
        component_ids=[held.id for held in components],
        holder_keys=list(holders),
        result_id=leaf.credential_id(),
        valid_until_height=world.height + 100,
    )
    payload = StackPayload(
        pathway=pathway,
        components=tuple(held.opening() for held in components),
        consents=tuple(
            HolderConsent(public_key, custodial, holders[public_key].sign(digest)) for public_key in sorted(holders)
        ),
        attested=attested,
        result=leaf,
        result_holder_key=first.public_key,
        result_holder_salt=sha256(f"salt {seed}".encode()),
    )
    return msgspec.structs.replace(payload, **changes)


def held_result(payload: StackPayload, who: Ed25519Signer) -> Held:
    """Return a stacked credential as its holder has it."""
    the_id = payload.result.credential_id()
    batch = batch_id(payload.result.issuer, payload.result.definition, the_id, 1)
    return Held(payload.result, batch, 0, (), who, payload.result_holder_salt)


def later(held: Held, **changes: object) -> Held:
    """Return a credential as somebody holds it who changed parts of it."""
    return replace(held, **changes)  # type: ignore[arg-type]  # the test names the fields
