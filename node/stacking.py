"""Components → consents → result → register → transaction → bundle: how an institution awards a stack.

Like issuing, safe to repeat after a crash: the result and its transaction are in the register before
anything is submitted, and the chain takes one result once. Source: DOMAIN §4; INTERFACE `pila stack`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node import codec
from node.chain.records.credential import Origin
from node.chain.records.pathway import Pathway
from node.chain.rules.stacking import ComponentOpening, HolderConsent, StackPayload, consent_digest
from node.chain.transaction import TransactionSigner, make_transaction
from node.crypto.signing import Ed25519Signer
from node.documents.bundle import Bundle
from node.documents.credential import Issuer, PreparedCredential, prepare_credential
from node.documents.disclosure import opened
from node.documents.learners import Learner
from node.errors import Reason, Rejected
from node.issuing import Desk, bundle_name, fetch_bundle, is_issued, load_issuer, read_record, write_file
from node.primitives import CatalogueId, PublicKey, TimestampMs
from node.register import NewCredential, RegisteredBatch, RegisteredCredential
from node.state import keys

KIND: Final = "credential.stack"
VALIDITY_HEIGHTS: Final = 100
"""How many blocks the consents and so the transaction stay good."""


@dataclass(frozen=True, slots=True)
class HolderKey:
    """A key that can consent for components."""

    signer: Ed25519Signer
    custodial: bool
    """Whether an institution keeps it for the learner."""


def award(
    desk: Desk,
    pathway_id: CatalogueId,
    components: Sequence[Bundle],
    holders: Mapping[PublicKey, HolderKey],
    *,
    signers: Sequence[TransactionSigner],
    attest: bool,
    output: Path,
    public_url: str,
    now_ms: TimestampMs,
) -> Path:
    """Stack components by a pathway of the desk's institution and write the result's bundle.

    `signers`: exactly the institution's keys that the chain asks for. Raises: Rejected: no such pathway
    (NOT_FOUND), another institution's (NOT_PERMITTED), components of different people (INVALID_VALUE), a
    holder whose key is missing (CONSENT_MISSING), or what the chain refuses; StorageError; what the node
    client raises.
    """
    pathway = read_record(desk.node, keys.pathway(pathway_id), Pathway)
    if pathway is None:
        raise Rejected(Reason.NOT_FOUND, f"no pathway {pathway_id} is on the chain")
    issuer = load_issuer(desk, pathway.content.awards, public_url=public_url)
    learner = one_learner(components, issuer.institution.id)
    consenting = _consenting(components, holders)
    person = desk.register.person(learner.identity)
    registered = desk.register.find(issuer.definition.id, person)
    if registered is not None and registered.credential.leaf.origin is not Origin.STACK:
        raise Rejected(Reason.ALREADY_EXISTS, f"{learner.full_name} was issued {issuer.definition.id} without stacking")
    prepared = _prepare(desk, issuer, learner, min(consenting), now_ms) if registered is None else registered.credential
    batch = None if registered is None else desk.register.batch(registered.batch)
    if batch is None or not is_issued(desk, batch):
        data = _transaction(desk, pathway_id, components, consenting, prepared, signers, attest=attest)
        batch = _register(desk, registered, prepared, person, data, custodial=consenting[prepared.holder_key].custodial)
        _submit(desk, batch, data)
    desk.register.mark_final(batch.number)
    path = output / bundle_name(learner, prepared)
    output.mkdir(parents=True, exist_ok=True)
    write_file(path, fetch_bundle(desk.node, prepared))
    return path


def one_learner(components: Sequence[Bundle], institution: str) -> Learner:
    """Return the person whose components they are; student number and e-mail as the institution itself has them.

    Raises: Rejected(INVALID_VALUE): the names differ, or a component shows none.
    """
    names = set()
    number = email = ""
    for component in components:
        shown = opened(component.claims)
        names.add((str(shown.get("/given_name", "")), str(shown.get("/family_name", ""))))
        if component.leaf.issuer == institution:
            number = number or str(shown.get("/student_number", ""))
            email = email or str(shown.get("/email", ""))
    if len(names) != 1:
        listed = ", ".join(sorted(" ".join(name) for name in names))
        raise Rejected(Reason.INVALID_VALUE, f"the components are of different people: {listed}")
    given_name, family_name = names.pop()
    if not given_name or not family_name:
        raise Rejected(Reason.INVALID_VALUE, "the components do not show whose they are: given_name, family_name")
    return Learner(given_name, family_name, email=email, student_number=number)


def _consenting(components: Sequence[Bundle], holders: Mapping[PublicKey, HolderKey]) -> dict[PublicKey, HolderKey]:
    """Return the keys that hold the components. Raises: Rejected(CONSENT_MISSING) naming the one that is not there."""
    found = {}
    for component in components:
        if component.holder is None:
            raise Rejected(
                Reason.CONSENT_MISSING, "a presentation cannot be stacked; the holder's own bundle is needed"
            )
        key = component.holder.public_key
        if key not in holders:
            raise Rejected(
                Reason.CONSENT_MISSING,
                f"{component.leaf.definition}: its holder key {key.hex()} is neither among the --holder files nor kept "
                "by a --custody keystore",
            )
        found[key] = holders[key]
    return dict(sorted(found.items()))


def _prepare(
    desk: Desk, issuer: Issuer, learner: Learner, holder_key: PublicKey, now_ms: TimestampMs
) -> PreparedCredential:
    place = desk.register.draw_places(1)[0]
    return prepare_credential(
        issuer, learner, holder_key=holder_key, entry=place, now_ms=now_ms, entropy=desk.entropy, origin=Origin.STACK
    )


def _transaction(
    desk: Desk,
    pathway_id: CatalogueId,
    components: Sequence[Bundle],
    consenting: Mapping[PublicKey, HolderKey],
    result: PreparedCredential,
    signers: Sequence[TransactionSigner],
    *,
    attest: bool,
) -> bytes:
    """Let every holder key consent to exactly this stack and sign it in the institution's name."""
    if result.holder_key not in consenting:
        raise Rejected(
            Reason.CONSENT_MISSING, f"the result is held by {result.holder_key.hex()}, which does not consent"
        )
    network, epoch, height = desk.node.network()
    until = height + VALIDITY_HEIGHTS
    digest = consent_digest(
        network,
        epoch,
        awarding=desk.keystore.institution,
        pathway=pathway_id,
        component_ids=[component.leaf.credential_id() for component in components],
        holder_keys=list(consenting),
        result_id=result.credential_id(),
        valid_until_height=until,
    )
    payload = StackPayload(
        pathway_id,
        tuple(_opening(component) for component in components),
        tuple(HolderConsent(key, holder.custodial, holder.signer.sign(digest)) for key, holder in consenting.items()),
        attest,
        result.leaf,
        result.holder_key,
        result.holder_salt,
    )
    return codec.encode(
        make_transaction(
            network,
            epoch,
            signer=desk.keystore.institution,
            kind=KIND,
            valid_until_height=until,
            payload=payload,
            signers=signers,
        )
    )


def _opening(component: Bundle) -> ComponentOpening:
    assert component.holder is not None
    place = component.chain.batch
    return ComponentOpening(
        component.leaf, place.batch_id, place.index, place.path, component.holder.public_key, component.holder.salt
    )


def _register(
    desk: Desk,
    registered: RegisteredCredential | None,
    prepared: PreparedCredential,
    person: bytes,
    transaction: bytes,
    *,
    custodial: bool,
) -> RegisteredBatch:
    """Write the result, or the new transaction of one that an earlier run wrote."""
    if registered is not None:
        desk.register.set_transaction(registered.batch, transaction)
        return desk.register.batch(registered.batch)
    return desk.register.add_batch(
        prepared.leaf.definition,
        [prepared.credential_id()],
        [NewCredential(prepared, person, custodial)],
        transaction=transaction,
    )


def _submit(desk: Desk, batch: RegisteredBatch, data: bytes) -> None:
    try:
        desk.node.wait(desk.node.submit(data))
    except Exception:
        # An earlier run that crashed may have been first: the chain takes one result once.
        if not is_issued(desk, batch):
            raise
