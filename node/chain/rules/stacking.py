"""`credential.stack`: several credentials of one person become a larger one.

Every validator opens each component, checks that it still stands, that its holder agreed to exactly
this stack, and that together they fulfil the pathway. The cascade is never written: it is derived
from the components' present status. Source: DOMAIN §4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from node import codec
from node.chain.catalogue_check import line_of
from node.chain.certificate import Network
from node.chain.credential_finding import stacked_finding
from node.chain.pathway_evaluation import Candidate, candidate, evaluate, months_after
from node.chain.reading import (
    Impairment,
    is_void,
    stack_finding,
)
from node.chain.records.credential import Batch, Leaf, Origin, batch_id
from node.chain.records.pathway import (
    Consent,
    Exclusivity,
    PathwayContent,
    Stack,
    StackedComponent,
    Use,
    Uses,
)
from node.chain.rules.catalogue import check_award, definition_in_force, pathway_in_force
from node.chain.rules.credentials import count_credentials
from node.chain.rules.framework import Context, Event, Rule, signer_group
from node.chain.rules.opening import batch_holding, check_holder, check_leaf, check_stands, issued_content
from node.chain.transaction import Transaction
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import Algorithm, verify
from node.errors import Reason, Rejected
from node.limits import (
    COMPONENTS_PER_STACK_MAX,
    COST_PER_STATE_KEY,
    CREDENTIALS_PER_BATCH_MAX,
    LIST_ITEMS_MAX,
    MERKLE_PATH_STEPS_MAX,
    STACK_DEPTH_MAX,
    STACK_LEAVES_MAX,
)
from node.primitives import CatalogueId, Epoch, Hash, Height, InstitutionId, Salt, Signature
from node.state import keys

COST_PER_PIECE: Final = 40
"""Cost units of looking a piece of a piece up, once for all pieces and once for the stack that it is in."""

HolderKey: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=32)]
"""A learner's Ed25519 key."""


class ComponentOpening(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One credential to be stacked, opened as far as the chain needs."""

    leaf: Leaf
    batch_id: Hash
    index: Annotated[int, Meta(ge=0, lt=CREDENTIALS_PER_BATCH_MAX)]
    """Position in the batch."""
    path: Annotated[tuple[Hash, ...], Meta(max_length=MERKLE_PATH_STEPS_MAX)]
    """Sibling hashes from the leaf up to the batch's root."""
    holder_key: HolderKey
    holder_salt: Salt


class HolderConsent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One holder key's agreement to exactly this stack."""

    holder_key: HolderKey
    custodial: bool
    """Whether an institution keeps the key for the learner; the awarding institution says so."""
    signature: Signature
    """Ed25519 over `consent_digest`."""


class StackPayload(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The payload of `credential.stack`."""

    pathway: CatalogueId
    components: Annotated[tuple[ComponentOpening, ...], Meta(min_length=1, max_length=COMPONENTS_PER_STACK_MAX)]
    consents: Annotated[tuple[HolderConsent, ...], Meta(min_length=1, max_length=COMPONENTS_PER_STACK_MAX)]
    """One of each key that holds a component, ascending by key."""
    attested: bool
    """Whether the awarding institution states that several keys are one person's."""
    result: Leaf
    result_holder_key: HolderKey
    """One of the consenting keys."""
    result_holder_salt: Salt


def consent_digest(
    network: Network,
    epoch: Epoch,
    *,
    awarding: InstitutionId,
    pathway: CatalogueId,
    component_ids: Sequence[Hash],
    holder_keys: Sequence[bytes],
    result_id: Hash,
    valid_until_height: Height,
) -> Hash:
    """Return what each holder key signs; the order of components and keys makes no difference.

    `valid_until_height` is the transaction's: a consent cannot outlive it.
    """
    fields = (
        network.chain_id,
        network.genesis_hash,
        epoch,
        awarding,
        pathway,
        tuple(sorted(component_ids)),
        tuple(sorted(set(holder_keys))),
        result_id,
        valid_until_height,
    )
    return tagged(Tag.STACK_CONSENT, codec.encode(fields))


@dataclass(frozen=True, slots=True)
class _Component:
    """A component that was opened and stands."""

    opening: ComponentOpening
    record: StackedComponent
    view: Candidate


def stack(context: Context, transaction: Transaction, payload: StackPayload) -> tuple[Event, ...]:
    """Check everything that DOMAIN §4 asks for, then record stack, uses and the result's batch."""
    pathway = pathway_in_force(context, payload.pathway).content
    _check_awarding(context, transaction, pathway)
    result_id = payload.result.credential_id()
    _check_result_is_new(context, payload.result, result_id)
    _check_result(context, transaction, payload, pathway)
    components = [_open(context, opening, f"components[{i}]") for i, opening in enumerate(payload.components)]
    record = Stack(
        payload.pathway,
        pathway.cascade,
        _check_consents(context, transaction, payload, pathway, result_id),
        any(consent.custodial for consent in payload.consents),
        tuple(component.record for component in components),
        context.act(transaction),
    )
    _check_disjoint(context, record, payload.result)
    _check_inner_stacks(context, components)
    _check_requirements(context, pathway, components)
    uses = [
        _used(context, component.record, payload.pathway, pathway.exclusivity, result_id) for component in components
    ]
    return _write(context, record, payload.result, result_id, uses)


def _check_awarding(context: Context, transaction: Transaction, pathway: PathwayContent) -> None:
    """Refuse a pathway of somebody else, or an award that the signer may not make now."""
    awarded = definition_in_force(context, pathway.awards)
    if awarded.issuer != transaction.signer:
        raise Rejected(Reason.NOT_PERMITTED, f"{pathway.id} is of {awarded.issuer}, not of {transaction.signer}")
    check_award(context, transaction.signer, awarded.content)


# --- the result ---


def _check_result_is_new(context: Context, result: Leaf, result_id: Hash) -> None:
    if context.state.get(keys.stack(result_id), Stack) is not None:
        raise Rejected(Reason.ALREADY_EXISTS, f"credential {result_id.hex()} was stacked before")
    the_batch_id = batch_id(result.issuer, result.definition, result_id, 1)
    if context.state.get(keys.batch(the_batch_id), Batch) is not None:
        raise Rejected(Reason.ALREADY_EXISTS, f"batch {the_batch_id.hex()} was issued before")


def _check_result(context: Context, transaction: Transaction, payload: StackPayload, pathway: PathwayContent) -> None:
    """Refuse a result leaf that is not what this stack awards to this holder at this time."""
    result = payload.result
    check_leaf(context, result, "result")
    expected = (transaction.signer, pathway.awards, Origin.STACK)
    if (result.issuer, result.definition, result.origin) != expected:
        raise Rejected(
            Reason.BAD_OPENING,
            f"result: {result.issuer} {result.definition} {result.origin} instead of {' '.join(expected)}",
        )
    check_holder(result, payload.result_holder_key, payload.result_holder_salt, "result")
    if not result.valid_from_ms < result.valid_until_ms:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"result: valid from {result.valid_from_ms} ms until {result.valid_until_ms} ms",
        )
    if context.time_ms >= result.valid_until_ms:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"result: valid until {result.valid_until_ms} ms, block time is {context.time_ms} ms",
        )
    awarded = definition_in_force(context, pathway.awards).content
    limit = months_after(result.valid_from_ms, awarded.validity_months)
    if result.valid_until_ms > limit:
        raise Rejected(
            Reason.INVALID_VALUE,
            f"result: valid until {result.valid_until_ms} ms, {awarded.validity_months} months end at {limit} ms",
        )


# --- each component ---


def _open(context: Context, opening: ComponentOpening, where: str) -> _Component:
    """Return a component that lies where it says, by an issuer that might, and stands at block time."""
    leaf = opening.leaf
    check_leaf(context, leaf, where)
    batch = batch_holding(context, leaf, opening.batch_id, opening.index, opening.path, where)
    check_holder(leaf, opening.holder_key, opening.holder_salt, where)
    content = issued_content(context, batch, where)
    check_stands(context, leaf, where)
    record = StackedComponent(leaf.credential_id(), opening.batch_id, leaf.issuer, leaf.definition, leaf.status_key)
    return _Component(opening, record, candidate(content, issuer=leaf.issuer, valid_from_ms=leaf.valid_from_ms))


# --- the holders ---


def _check_consents(
    context: Context,
    transaction: Transaction,
    payload: StackPayload,
    pathway: PathwayContent,
    result_id: Hash,
) -> Consent:
    """Return how the components were shown to be one person's.

    Raises: Rejected(CONSENT_MISSING), Rejected(NOT_PERMITTED), Rejected(BAD_SIGNATURE).
    """
    consenting = [consent.holder_key for consent in payload.consents]
    if any(before >= after for before, after in pairwise(consenting)):
        raise Rejected(Reason.INVALID_VALUE, "consents: not ascending by key, none twice")
    holders = {component.holder_key for component in payload.components}
    for position, component in enumerate(payload.components):
        if component.holder_key not in consenting:
            raise Rejected(
                Reason.CONSENT_MISSING, f"components[{position}]: no consent of {component.holder_key.hex()}"
            )
    for key in consenting:
        if key not in holders:
            raise Rejected(Reason.CONSENT_MISSING, f"consent of {key.hex()}, which holds no component")
    if payload.result_holder_key not in holders:
        raise Rejected(Reason.CONSENT_MISSING, f"result: no consent of its holder {payload.result_holder_key.hex()}")
    _check_allowed(payload, pathway)
    digest = consent_digest(
        context.network,
        context.epoch,
        awarding=transaction.signer,
        pathway=payload.pathway,
        component_ids=[component.leaf.credential_id() for component in payload.components],
        holder_keys=consenting,
        result_id=result_id,
        valid_until_height=transaction.valid_until_height,
    )
    for consent in payload.consents:
        if not verify(Algorithm.ED25519, consent.holder_key, digest, consent.signature):
            raise Rejected(Reason.BAD_SIGNATURE, f"consent of {consent.holder_key.hex()} is not over {digest.hex()}")
    return Consent.ONE_KEY if len(consenting) == 1 else Consent.ATTESTED


def _check_allowed(payload: StackPayload, pathway: PathwayContent) -> None:
    """Refuse ways of consent that the pathway forbids, and several keys that nobody says are one person's."""
    if len(payload.consents) > 1:
        if not pathway.attested_allowed:
            raise Rejected(
                Reason.NOT_PERMITTED, f"{len(payload.consents)} holder keys, {payload.pathway} allows one only"
            )
        if not payload.attested:
            raise Rejected(
                Reason.CONSENT_MISSING,
                f"{len(payload.consents)} holder keys, nobody attests that they are one person's",
            )
    for consent in payload.consents:
        if consent.custodial and not pathway.custodial_allowed:
            raise Rejected(
                Reason.NOT_PERMITTED,
                f"consent of {consent.holder_key.hex()}: {payload.pathway} forbids keys that an institution keeps",
            )


# --- all of them together ---


def _check_disjoint(context: Context, record: Stack, result: Leaf) -> None:
    """Refuse components that meet at any depth, in id or in status key; the result counts too."""
    finding = stack_finding(context.state, record)
    if not finding.complete:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"more than {STACK_LEAVES_MAX} components or {STACK_DEPTH_MAX} levels of stacks",
        )
    seen_ids: set[Hash] = set()
    seen_keys = {(result.issuer, result.status_key)}
    for item in finding.leaves:
        if item.credential_id in seen_ids:
            raise Rejected(Reason.NOT_DISJOINT, f"credential {item.credential_id.hex()} is in the stack twice")
        if (item.issuer, item.status_key) in seen_keys:
            raise Rejected(
                Reason.NOT_DISJOINT, f"status key {item.status_key.hex()} of {item.issuer} is in the stack twice"
            )
        seen_ids.add(item.credential_id)
        seen_keys.add((item.issuer, item.status_key))


def _check_inner_stacks(context: Context, components: Sequence[_Component]) -> None:
    """Refuse a component that is itself a stack whose own components no longer carry it."""
    for position, component in enumerate(components):
        if component.opening.leaf.origin is not Origin.STACK:
            continue
        inner = stacked_finding(context.state, component.record.credential_id)
        assert inner is not None, "a batch of origin stack has a stack record"
        if inner.impairment is not Impairment.NONE:
            raise Rejected(
                Reason.COMPONENT_NOT_VALID, f"components[{position}]: is {inner.impairment} by what it was stacked from"
            )


def _check_requirements(context: Context, pathway: PathwayContent, components: Sequence[_Component]) -> None:
    evaluation = evaluate(pathway, [component.view for component in components], time_ms=context.time_ms)
    if not evaluation.holds:
        raise Rejected(
            Reason.REQUIREMENT_NOT_MET,
            " ".join(f"{finding.subject}: {finding.en}" for finding in evaluation.missing),
        )


def _used(
    context: Context,
    component: StackedComponent,
    pathway: CatalogueId,
    exclusivity: Exclusivity,
    result_id: Hash,
) -> Uses:
    """Return the component's uses with this one.

    Exclusivity binds in both directions: what earlier pathways claimed, and what this one does.
    Raises: Rejected(ALREADY_USED), Rejected(LIMIT_EXCEEDED).
    """
    recorded = context.state.get(keys.use(component.credential_id), Uses)
    earlier = tuple(_uses_that_stand(context, recorded.uses)) if recorded is not None else ()
    for use in earlier:
        claims = {use.exclusivity, exclusivity}
        same_pathway = line_of(use.pathway) == line_of(pathway)
        if Exclusivity.ALL in claims or (Exclusivity.PATHWAY in claims and same_pathway):
            raise Rejected(
                Reason.ALREADY_USED, f"credential {component.credential_id.hex()} was used for {use.pathway}"
            )
    if len(earlier) >= LIST_ITEMS_MAX:
        raise Rejected(
            Reason.LIMIT_EXCEEDED,
            f"credential {component.credential_id.hex()} was used {len(earlier)} times, at most {LIST_ITEMS_MAX}",
        )
    return Uses((*earlier, Use(pathway, exclusivity, result_id)))


def _uses_that_stand(context: Context, uses: Sequence[Use]) -> Iterator[Use]:
    """Yield the uses by stacks that count; one by keys that turned bad used up nothing."""
    for use in uses:
        made = context.state.get(keys.stack(use.result), Stack)
        assert made is not None, "a use names the stack that made it"
        if not is_void(context.state, made.act):
            yield use


def _write(context: Context, record: Stack, result: Leaf, result_id: Hash, uses: Sequence[Uses]) -> tuple[Event, ...]:
    """Record the stack, each use, and the result as a batch of one."""
    plain_key = keys.batch(batch_id(result.issuer, result.definition, result_id, 1))
    context.state.put(keys.stack(result_id), record)
    for component, used in zip(record.components, uses, strict=True):
        context.state.put(keys.use(component.credential_id), used)
    context.state.put(plain_key, Batch(result.issuer, result.definition, result_id, 1, Origin.STACK, record.act))
    count_credentials(context, result.issuer, 1)
    return (Event("credential", "stack", plain_key),)


def _cost(payload: StackPayload) -> int:
    """Return the cost: openings, consents, and a use each, besides stack, batch and counters.

    A component that is a stack itself is walked down to its pieces; how many they are only the state
    knows, so it costs as if they were all that are allowed.
    """
    steps = sum(len(component.path) for component in payload.components)
    per_component = COST_PER_STATE_KEY + 100
    nested = any(component.leaf.origin is Origin.STACK for component in payload.components)
    return (
        200
        + 3 * COST_PER_STATE_KEY
        + per_component * len(payload.components)
        + steps
        + 70 * len(payload.consents)
        + nested * COST_PER_PIECE * STACK_LEAVES_MAX
    )


RULES: Final = (Rule("credential.stack", StackPayload, signer_group, stack, _cost),)
