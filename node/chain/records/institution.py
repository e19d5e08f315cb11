"""`acc/<institution>`: an institution, its standing by height, and what it must sign with.

`key/<institution>/<key id>`: one of its keys. `cnt/<institution>`: what it has used up.
Both carry their own history, so a proof under today's root answers for any earlier height.
Source: DOMAIN §1.
"""

from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from node.chain.records.common import Act, Code, Hundredths, Level, Name, Translations, Url
from node.limits import (
    GOVERNED_KEYS_PER_INSTITUTION_MAX,
    HISTORY_STEPS_PER_INSTITUTION_MAX,
    KEYS_PER_INSTITUTION_MAX,
    LIST_ITEMS_MAX,
    SIGNATURES_PER_TRANSACTION_MAX,
)
from node.primitives import Hash, Height, InstitutionId, KeyId, PublicKey, TimestampMs, Uint


class Role(StrEnum):
    """What an institution may do; see DOMAIN §1."""

    AUTHORITY = "authority"
    QUALITY_AGENCY = "quality_agency"
    ISSUER = "issuer"
    CERTIFIER = "certifier"
    ENDORSER = "endorser"


class Standing(StrEnum):
    """Where an institution is in its life."""

    APPLIED = "applied"
    ACCREDITED = "accredited"
    SUSPENDED = "suspended"
    WITHDRAWN = "withdrawn"


class Purpose(StrEnum):
    """What a key is for; a key has one purpose."""

    TRANSACTION = "transaction"
    ASSERTION = "assertion"
    CONSENSUS = "consensus"
    NODE = "node"
    RECOVERY = "recovery"
    GOVERNANCE = "governance"


class StepKind(StrEnum):
    """What happened to an institution."""

    GENESIS = "genesis"
    APPLY = "apply"
    REVIEW = "review"
    ACCREDIT = "accredit"
    SUSPEND = "suspend"
    REINSTATE = "reinstate"
    WITHDRAW = "withdraw"


ROLES_AWARDING: Final = frozenset({Role.ISSUER, Role.CERTIFIER})
"""Roles that publish definitions and issue credentials."""


class Scope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What an accreditation covers; an empty list or a zero maximum sets no limit."""

    levels: Annotated[tuple[Level, ...], Meta(max_length=LIST_ITEMS_MAX)]
    credits_min_hundredths: Hundredths
    credits_max_hundredths: Hundredths
    frameworks: Annotated[tuple[Code, ...], Meta(max_length=LIST_ITEMS_MAX)]
    """Credit frameworks allowed."""
    fields: Annotated[tuple[Code, ...], Meta(max_length=LIST_ITEMS_MAX)]
    jurisdiction: Code


UNLIMITED_SCOPE: Final = Scope((), 0, 0, (), (), "")


class RequiredSignatures(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """How many of the institution's own keys one kind of transaction needs."""

    kind: Annotated[str, Meta(max_length=40, pattern=r"^[a-z]+\.[a-z]+$")]
    count: Annotated[int, Meta(ge=1, le=SIGNATURES_PER_TRANSACTION_MAX)]


RequiredSignaturesList: TypeAlias = Annotated[tuple[RequiredSignatures, ...], Meta(max_length=LIST_ITEMS_MAX)]
"""Ascending by kind, none twice; a kind not listed needs 1."""


class Step(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One change of an institution, and how it stood afterwards."""

    kind: StepKind
    act: Act
    standing: Standing
    roles: Annotated[tuple[Role, ...], Meta(max_length=8)]
    """Ascending."""
    scope: Scope
    valid_until_ms: TimestampMs
    """End of the accreditation; 0 = open."""
    decision: Code
    """A review's: `favourable` or `unfavourable`; else the reason code given, or ""."""
    report_hash: Hash | None
    """SHA-256 of the reviewed report, where there is one."""


class Institution(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `acc/<institution>`."""

    id: InstitutionId
    names: Translations
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    region: Code
    municipality: Name
    website: Url
    cct: Code
    """Mexican school code (clave de centro de trabajo), or ""."""
    did: Url
    """The issuer id of its documents: a did:key or did:web; "" while it has none."""
    required_signatures: RequiredSignaturesList
    keys: Annotated[tuple[KeyId, ...], Meta(max_length=KEYS_PER_INSTITUTION_MAX + GOVERNED_KEYS_PER_INSTITUTION_MAX)]
    """Ids of all keys it ever had, in the order they came; of consensus and governance keys those in force."""
    history: Annotated[tuple[Step, ...], Meta(max_length=HISTORY_STEPS_PER_INSTITUTION_MAX)]
    """Ascending by height; the last non-void step that sets a standing is the present one."""

    def signatures_for(self, kind: str) -> int:
        """Return how many of its own keys a kind of transaction needs; 1 unless set."""
        return next((item.count for item in self.required_signatures if item.kind == kind), 1)


class Compromise(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """That a key was in wrong hands."""

    since_height: Height
    """What was included below it stays good."""
    act: Act


class InstitutionKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `key/<institution>/<key id>`."""

    institution: InstitutionId
    algorithm: Annotated[int, Meta(ge=1, le=255)]
    public_key: PublicKey
    purpose: Purpose
    added: Act
    """By whose keys; the new key signed too, but is not named."""
    retired: Act | None
    """Old signatures stay good."""
    compromised: Compromise | None

    @property
    def is_in_force(self) -> bool:
        """Whether it may sign something new."""
        return self.retired is None and self.compromised is None

    def is_good_at(self, height: Height) -> bool:
        """Tell whether what this key signed in a block of that height counts today."""
        if height < self.added.height:
            return False
        if self.compromised is not None and height >= self.compromised.since_height:
            return False
        return self.retired is None or height <= self.retired.height


class Counters(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `cnt/<institution>`: bounds what one institution can add to the state."""

    credentials: Uint
    """Ids issued so far, in batches and stacks."""
    batches: Uint
    status_keys: Uint
    """Status records that it has written itself; never more than credentials."""
    definitions: Uint
    pathways: Uint
    authority_status_keys: Uint
    """Status records that an authority wrote first; never more than credentials. Counted apart, so that
    nobody else can use up the room that the issuer needs to revoke."""


NO_COUNTERS: Final = Counters(0, 0, 0, 0, 0, 0)
