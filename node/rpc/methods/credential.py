"""`credential_…`: where a credential is, what became of it, and the proof of both.

Nothing here is personal: ids and status keys are commitments that open to nothing without the
holder's file. Source: DOMAIN §3, §5; INTERFACE §3.
"""

from collections.abc import Awaitable
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from node.chain.answers import LocatedCredential
from node.chain.proof import credential_proof as proof_of
from node.chain.proof_json import to_json
from node.chain.reading import batch_is_void
from node.chain.reading import credential_status as status_of
from node.chain.records.credential import Batch, Status
from node.chain.records.institution import Institution as InstitutionRecord
from node.documents.answer import Answer
from node.errors import Reason, Rejected
from node.rpc.services import Later, Services
from node.rpc.shapes import (
    ActView,
    CatalogueId,
    Check,
    HeightNumber,
    Hex32,
    Institution,
    Time,
    Verification,
    act_view,
    invalid,
    not_found,
    time_text,
)
from node.state import keys
from node.state.proof_json import prefix_to_json

PrefixDigits = Annotated[
    str,
    Meta(pattern="^[0-9a-f]{4}$", min_length=4, max_length=4, description="first hex digits of SHA-256(plain key)"),
]


class CredentialView(Struct, frozen=True):
    """Where a credential is: its batch, and its path to the batch's root."""

    credential_id: Hex32
    batch_id: Hex32
    issuer: Institution
    definition: CatalogueId
    origin: str
    """issue or stack."""
    height: HeightNumber
    block_time: Time
    tx_id: Hex32 | None
    """Nil where this node has pruned the block."""
    index: int
    """Of its leaf in the batch."""
    count: int
    """Leaves of the batch."""
    root: Hex32
    path: list[Hex32]
    """Sibling hashes from the leaf up to the root (RFC 6962)."""
    batch_void: bool
    """Too few of the keys that signed stay good at its height."""


class StatusView(Struct, frozen=True):
    """What is posted under a status key."""

    status: str
    """active, suspended, revoked or superseded."""
    reason: str | None
    """From the closed list; nil while active, as are the next three."""
    since_height: HeightNumber | None
    since: Time | None
    by: Institution | None
    as_of_height: HeightNumber
    """The head that this was read at."""
    as_of: Time


class PrefixView(Struct, frozen=True):
    """All records under four hex digits of SHA-256(plain key), with the proof that these are all."""

    prefix: str
    height: HeightNumber
    state_root: Hex32
    proof: dict[str, object]
    """`prefix`, `entries: [{key, value}]`, `left`, `right`: the neighbours that bound the range."""


class HistoryEvent(Struct, frozen=True):
    """One thing that happened to a credential."""

    action: str
    """issue, stack, suspend, revoke or supersede."""
    reason: str | None
    act: ActView


class HistoryView(Struct, frozen=True):
    """What happened to a credential, as far as its status key tells."""

    credential_id: Hex32
    status: str
    """active, suspended, revoked, superseded; `unknown` without the status key."""
    events: list[HistoryEvent]
    """Oldest first; a suspension that was lifted is no longer in the state."""


def credential_get(services: Services, credential_id: Hex32) -> CredentialView:
    """Return where a credential is on the chain, with its path to its batch's root."""
    located = _locate(services, credential_id)
    ledger = services.ledger
    batch = _batch(services, located)
    lies = ledger.credential_path(bytes.fromhex(credential_id))
    assert lies is not None
    receipts = ledger.receipts_at(located.height)
    return CredentialView(
        credential_id,
        located.batch_id.hex(),
        located.issuer,
        located.definition,
        batch.origin.value,
        located.height,
        time_text(batch.act.time_ms),
        None if receipts is None else receipts[located.transaction_index].transaction_id.hex(),
        lies.leaf_index,
        lies.count,
        lies.root.hex(),
        [step.hex() for step in lies.path],
        batch_is_void(services.records, batch),
    )


def credential_status(services: Services, issuer: Institution, status_key: Hex32) -> StatusView:
    """Return what is posted under a status key of an issuer; nothing posted means active.

    Whoever asks tells this node which credential is meant: `credential_statusPrefix` hides it.
    """
    head = services.ledger.head
    found = status_of(services.records, issuer, bytes.fromhex(status_key))
    as_of = time_text(head.timestamp_ms)
    mark = found.by
    if mark is None:
        return StatusView(found.state, None, None, None, None, head.height, as_of)
    act = mark.act
    return StatusView(found.state, mark.reason, act.height, time_text(act.time_ms), act.actor, head.height, as_of)


def credential_statusPrefix(services: Services, issuer: Institution, prefix: PrefixDigits) -> PrefixView:
    """Return every record under four hex digits of SHA-256(plain key), with its proof.

    The plain key of a status is `sta/<issuer>/<status_key>`. The answer is about a 65,536th of the
    state, of whatever issuer, so this node cannot tell which credential is asked for.
    """
    ledger = services.ledger
    if ledger.read(keys.accreditation(issuer), InstitutionRecord) is None:
        raise not_found(f"{issuer} is not on the chain")
    proof = ledger.state.prove_prefix(prefix)
    head = ledger.head
    return PrefixView(prefix, head.height, head.state_root.hex(), prefix_to_json(proof))


def credential_history(
    services: Services,
    credential_id: Hex32,
    issuer: Institution | None = None,
    status_key: Hex32 | None = None,
) -> HistoryView:
    """Return what happened to a credential.

    Without its status key nobody but the holder of the file can tell its status: then it is *unknown*, never active.
    """
    located = _locate(services, credential_id, issuer)
    _check_status_parameters(located, issuer, status_key)
    batch = _batch(services, located)
    issued = HistoryEvent(batch.origin.value, None, act_view(batch.act))
    if status_key is None:
        return HistoryView(credential_id, "unknown", [issued])
    plain_key = keys.status(located.issuer, bytes.fromhex(status_key))
    record = services.ledger.read(plain_key, Status)
    found = status_of(services.records, located.issuer, bytes.fromhex(status_key))
    return HistoryView(credential_id, found.state, [issued, *_marks(record)])


def credential_proof(
    services: Services,
    credential_id: Hex32,
    issuer: Institution | None = None,
    status_key: Hex32 | None = None,
    height: HeightNumber | None = None,
) -> dict[str, object]:
    """Return the chain part of a bundle, under the state root of the head or of a recent height.

    Without `status_key` it proves nothing about the credential's status. Its members are those of
    `chain` in `docs/bundle.schema.json`.
    """
    located = _locate(services, credential_id, issuer)
    _check_status_parameters(located, issuer, status_key)
    services.check_height(height)
    try:
        proof = proof_of(
            services.ledger,
            bytes.fromhex(credential_id),
            issuer=issuer,
            status_key=None if status_key is None else bytes.fromhex(status_key),
            height=height,
        )
    except Rejected as rejection:
        if rejection.reason is Reason.NOT_FOUND:
            raise not_found(rejection.detail) from None
        raise
    return to_json(proof)


def credential_verify(services: Services, bundle: Raw) -> Awaitable[Verification]:
    """Verify a bundle against this network: its text as one JSON string, or the object itself.

    The trust anchor is this node's own genesis. A string must be exactly the file; an object is
    brought into canonical form first.
    """
    data = bytes(bundle)
    if not data.startswith(b'"'):
        return Later(services.node.verify(data, is_file=False), _verification)
    file = msgspec.json.decode(data, type=str).encode("utf-8")
    return Later(services.node.verify(file, is_file=True), _verification)


def _verification(answer: Answer) -> Verification:
    return Verification(
        answer.verified,
        [
            Check(light.name, light.ok, {"es": light.text.es, "en": light.text.en}, light.detail)
            for light in answer.checks
        ],
    )


def _locate(services: Services, credential_id: str, issuer: str | None = None) -> LocatedCredential:
    """Return where a credential lies: in the issuer's batch, else (to name what disagrees) in anybody's."""
    raw = bytes.fromhex(credential_id)
    located = services.ledger.find_credential(raw, issuer) or services.ledger.find_credential(raw)
    if located is None:
        raise not_found(f"no credential {credential_id}")
    return located


def _batch(services: Services, located: LocatedCredential) -> Batch:
    batch = services.ledger.read(keys.batch(located.batch_id), Batch)
    assert batch is not None, located.batch_id.hex()
    return batch


def _check_status_parameters(located: LocatedCredential, issuer: str | None, status_key: str | None) -> None:
    """Refuse a status key of another issuer: it would answer `active` for any number."""
    if issuer is not None and issuer != located.issuer:
        raise invalid(f"the issuer of this credential is {located.issuer}, not {issuer}")
    if issuer is not None and status_key is None:
        raise invalid("issuer is given without status_key")


def _marks(record: Status | None) -> list[HistoryEvent]:
    if record is None:
        return []
    marks = [("suspend", mark) for mark in (record.issuer_suspension, record.authority_suspension) if mark is not None]
    events = [HistoryEvent(action, mark.reason, act_view(mark.act)) for action, mark in marks]
    if record.final is not None:
        action = {"revoked": "revoke", "superseded": "supersede"}[record.final.state]
        events.append(HistoryEvent(action, record.final.reason, act_view(record.final.act)))
    return sorted(events, key=lambda event: event.act.height)
