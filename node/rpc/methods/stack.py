"""`stack_…`: what a stacked credential was made of."""

from msgspec import Struct

from node.chain.reading import stack_finding
from node.chain.records.pathway import Stack
from node.rpc.services import Services
from node.rpc.shapes import ActView, CatalogueId, Hex32, Institution, act_view, not_found
from node.state import keys


class ComponentView(Struct, frozen=True):
    """One credential inside a stack."""

    credential_id: Hex32
    batch_id: Hex32
    issuer: Institution
    definition: CatalogueId
    status_key: Hex32


class ComponentFindingView(Struct, frozen=True):
    """A component, at any depth, that is not what it was."""

    credential_id: Hex32
    status: str
    batch_void: bool


class StackView(Struct, frozen=True):
    """A stack and what its components' present status does to it."""

    credential_id: Hex32
    pathway: CatalogueId
    cascade: str
    """revoke, flag or none."""
    consent: str
    """one_key, or attested."""
    custodial: bool
    """A consenting key was kept by an institution."""
    components: list[ComponentView]
    impairment: str
    """none, impaired or revoked: derived now, never stored."""
    findings: list[ComponentFindingView]
    complete: bool
    """False when depth or number exceeds the bounds: then nothing may be concluded."""
    act: ActView


def stack_get(services: Services, credential_id: Hex32) -> StackView:
    """Return the components of a stacked credential and what their status today does to it."""
    record = services.ledger.read(keys.stack(bytes.fromhex(credential_id)), Stack)
    if record is None:
        raise not_found(f"{credential_id} is no stacked credential")
    found = stack_finding(services.records, record)
    components = [
        ComponentView(
            item.credential_id.hex(), item.batch_id.hex(), item.issuer, item.definition, item.status_key.hex()
        )
        for item in record.components
    ]
    findings = [
        ComponentFindingView(item.component.credential_id.hex(), item.state.value, item.batch_void)
        for item in found.findings
    ]
    return StackView(
        credential_id,
        record.pathway,
        record.cascade.value,
        record.consent.value,
        record.custodial,
        components,
        found.impairment.value,
        findings,
        found.complete,
        act_view(record.act),
    )
