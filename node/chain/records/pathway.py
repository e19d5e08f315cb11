"""`path/<institution>/<slug>/<version>`: how credentials add up to a larger one.

`stk/<credential id>`: how one did. `use/<credential id>`: what a component was used for.
Source: DOMAIN §4.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from node.chain.records.common import Act, Code, Hundredths, Level, Translations
from node.limits import (
    COMPONENTS_PER_STACK_MAX,
    LIST_ITEMS_MAX,
    REQUIREMENTS_PER_PATHWAY_MAX,
    VALIDITY_MONTHS_MAX,
)
from node.primitives import CatalogueId, Hash, InstitutionId


class RequirementKind(StrEnum):
    """The three forms of a requirement."""

    ALL_OF = "all_of"
    N_OF = "n_of"
    CREDITS_AT_LEAST = "credits_at_least"


class Exclusivity(StrEnum):
    """Whether a component may be used again."""

    NONE = "none"
    PATHWAY = "pathway"
    """Once only for this pathway, any version."""
    ALL = "all"
    """Once only, for anything."""


class Cascade(StrEnum):
    """What a component's later revocation does to the result."""

    REVOKE = "revoke"
    FLAG = "flag"
    NONE = "none"


class Consent(StrEnum):
    """How the components were shown to be one person's."""

    ONE_KEY = "one_key"
    ATTESTED = "attested"


class Selector(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A set of definitions: those that match every member that is not empty; one is not."""

    definition: Annotated[str, Meta(max_length=135)]
    """Exact id, or `<institution>/<slug>/*` for any version."""
    issuer: Annotated[str, Meta(max_length=63)]
    field: Code
    level: Level | None
    """At least this level of this framework."""


class Requirement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One thing that the components must satisfy together."""

    kind: RequirementKind
    count: Annotated[int, Meta(ge=0, le=COMPONENTS_PER_STACK_MAX)]
    """n of `n_of`; else 0."""
    framework: Code
    """Credit framework of `credits_at_least`; else ""."""
    credits_hundredths: Hundredths
    selectors: Annotated[tuple[Selector, ...], Meta(min_length=1, max_length=LIST_ITEMS_MAX)]


class PathwayContent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the awarding institution publishes."""

    id: CatalogueId
    title: Translations
    description: Translations
    awards: CatalogueId
    """The definition that a stack awards; of the same institution."""
    requirements: Annotated[tuple[Requirement, ...], Meta(min_length=1, max_length=REQUIREMENTS_PER_PATHWAY_MAX)]
    """All must hold."""
    age_months_max: Annotated[int, Meta(ge=0, le=VALIDITY_MONTHS_MAX)]
    """How old a component may be (its valid_from against block time); 0 = no limit."""
    level_min: Level | None
    """Least level of each component."""
    external_max: Annotated[int, Meta(ge=0, le=COMPONENTS_PER_STACK_MAX)]
    """How many components may come from other institutions."""
    exclusivity: Exclusivity
    cascade: Cascade
    attested_allowed: bool
    """Whether several holder keys with the institution's attestation are enough."""
    custodial_allowed: bool
    """Whether keys kept by an institution may consent."""


class Pathway(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `path/<id>`."""

    content: PathwayContent
    published: Act
    retired: Act | None


class StackedComponent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One credential inside a stack: all that later status checks need."""

    credential_id: Hash
    batch_id: Hash
    issuer: InstitutionId
    definition: CatalogueId
    status_key: Hash


class Stack(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `stk/<credential id>`."""

    pathway: CatalogueId
    cascade: Cascade
    consent: Consent
    custodial: bool
    """Whether any consenting key was kept by an institution."""
    components: Annotated[tuple[StackedComponent, ...], Meta(min_length=1, max_length=COMPONENTS_PER_STACK_MAX)]
    act: Act


class Use(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One use of a component."""

    pathway: CatalogueId
    exclusivity: Exclusivity
    result: Hash


class Uses(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The record under `use/<credential id>`."""

    uses: Annotated[tuple[Use, ...], Meta(min_length=1, max_length=LIST_ITEMS_MAX)]
