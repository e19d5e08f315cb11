"""`par/network`: what the network agreed on. `val/set`: who votes. `gov/keys`: who may recover it.

`gov/recovery/<epoch>`: that they did.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from node.chain.records.common import Code, Hundredths, Name, Url
from node.limits import LIST_ITEMS_MAX
from node.primitives import Hash, Height, InstitutionId, PublicKey, TimestampMs


class CreditFramework(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A unit of credit and what it is worth in hours, with the source that says so."""

    name: Code
    hours_per_credit_hundredths: Hundredths
    source: Url


class Parameters(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `par/network`; changed by governance only."""

    did_host: Name
    """Host in `did:web:<did_host>:did:<institution>`; fixed for ever. "" on test networks (did:key)."""
    credit_frameworks: Annotated[tuple[CreditFramework, ...], Meta(max_length=LIST_ITEMS_MAX)]
    credentials_per_batch_max: Annotated[int, Meta(ge=1, le=4_096)]
    pending_applications_max: Annotated[int, Meta(ge=1, le=1_000)]


class GovernanceKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One offline key of an authority or a validator."""

    institution: InstitutionId
    algorithm: Annotated[int, Meta(ge=1, le=255)]
    public_key: PublicKey


class Governance(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `gov/keys`."""

    threshold: Annotated[int, Meta(ge=1, le=256)]
    """How many of the keys a recovery document needs: at least two thirds."""
    keys: Annotated[tuple[GovernanceKey, ...], Meta(max_length=256)]
    """Ascending by institution."""


class Recovered(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `gov/recovery/<epoch>`: that governance keys began an epoch."""

    document: Hash
    """What they signed (`RecoveryDocument.digest`)."""
    height: Height
    """First height of the epoch."""
    time_ms: TimestampMs
    signers: Annotated[tuple[InstitutionId, ...], Meta(max_length=256)]
    """Whose governance keys signed the document in that block, ascending."""
