"""What a network starts from, as canonical structs: the description without keys, the document with them.

A *network description* names chain id, parameters and institutions and holds no keys. A *genesis
document* adds keys, validators, governance keys and time. `node.chain.genesis` reads both from JSON
and makes block 0. Source: PROTOCOL §4; DOMAIN §1.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node.chain.block import PROTOCOL_VERSION
from node.chain.records.common import Code, Name, Translations, Url
from node.chain.records.institution import Purpose, RequiredSignaturesList, Role
from node.chain.records.network import Governance, Parameters
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto.signing import Algorithm, check_public_key
from node.errors import ConfigError, Rejected
from node.limits import (
    AUTHORITIES_MAX,
    GENESIS_INSTITUTIONS_MAX,
    GOVERNANCE_KEYS_MAX,
    GOVERNED_KEYS_PER_INSTITUTION_MAX,
    KEYS_PER_INSTITUTION_MAX,
    VALIDATORS_MAX,
    VALIDATORS_MIN,
)
from node.primitives import ChainId, InstitutionId, PublicKey, TimestampMs

GENESIS_FORMAT: Final = "pila-genesis/1"
NETWORK_FORMAT: Final = "pila-network/1"
ED25519_PURPOSES: Final = frozenset({Purpose.ASSERTION, Purpose.CONSENSUS, Purpose.NODE})
"""Purposes whose keys sign what only Ed25519 can be checked for."""


class InstitutionDescription(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An institution before it has keys."""

    id: InstitutionId
    names: Translations
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, max_length=8)]
    """Ascending."""
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    region: Code
    municipality: Name
    website: Url
    cct: Code
    required_signatures: RequiredSignaturesList


class NetworkDescription(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A network before it has keys: what `genesis/guanajuato.json` holds."""

    chain_id: ChainId
    parameters: Parameters
    institutions: Annotated[tuple[InstitutionDescription, ...], Meta(min_length=1, max_length=GENESIS_INSTITUTIONS_MAX)]
    """In the order of the file: validators are chosen by it."""


class GenesisKey(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One key of an institution."""

    algorithm: Annotated[int, Meta(ge=1, le=255)]
    purpose: Purpose
    public_key: PublicKey


class GenesisInstitution(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An institution that is accredited from the start, with an unlimited scope."""

    description: InstitutionDescription
    did: Url
    keys: Annotated[tuple[GenesisKey, ...], Meta(max_length=KEYS_PER_INSTITUTION_MAX)]
    """In the order of the file; consensus and governance keys are listed apart."""


class GenesisDocument(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, dict=True):
    """All that block 0 is made from; two nodes with the same one make the same block."""

    format: Annotated[str, Meta(pattern=r"^pila-genesis/1$")]
    chain_id: ChainId
    time_ms: TimestampMs
    parameters: Parameters
    institutions: Annotated[tuple[GenesisInstitution, ...], Meta(min_length=1, max_length=GENESIS_INSTITUTIONS_MAX)]
    validators: Annotated[tuple[Validator, ...], Meta(min_length=VALIDATORS_MIN, max_length=VALIDATORS_MAX)]
    """Ascending by institution."""
    governance: Governance
    protocol_version: Annotated[int, Meta(ge=1, le=65_535)]
    """Which version judges the first blocks."""

    def validator_set(self) -> ValidatorSet:
        """Return the set that votes on the first heights."""
        return ValidatorSet(self.validators)


def make_genesis(
    description: NetworkDescription,
    *,
    time_ms: TimestampMs,
    dids: Mapping[InstitutionId, str],
    institution_keys: Mapping[InstitutionId, Sequence[GenesisKey]],
    validators: Sequence[Validator],
    governance: Governance,
    protocol_version: int = PROTOCOL_VERSION,
) -> GenesisDocument:
    """Return the checked genesis document of a network whose keys are known. Raises: ConfigError."""
    document = GenesisDocument(
        GENESIS_FORMAT,
        description.chain_id,
        time_ms,
        description.parameters,
        tuple(
            GenesisInstitution(item, dids.get(item.id, ""), tuple(institution_keys.get(item.id, ())))
            for item in description.institutions
        ),
        tuple(sorted(validators, key=lambda member: member.institution)),
        Governance(governance.threshold, tuple(sorted(governance.keys, key=lambda key: key.institution))),
        protocol_version,
    )
    check_genesis(document)
    return document


def check_description(institutions: Sequence[InstitutionDescription]) -> None:
    """Refuse a set of institutions that no network can start from. Raises: ConfigError naming the field."""
    seen: set[InstitutionId] = set()
    for index, item in enumerate(institutions):
        path = f"institutions[{index}]"
        if item.id in seen:
            raise ConfigError(f"{path}.id: {item.id} is listed twice")
        seen.add(item.id)
        if list(item.roles) != sorted(set(item.roles)):
            raise ConfigError(f"{path}.roles: a role is listed twice")
        languages = [text.language for text in item.names]
        if "es" not in languages:
            raise ConfigError(f"{path}.names: es is missing")
        if any(not text.text for text in item.names):
            raise ConfigError(f"{path}.names: a name is empty")
    if not any(Role.AUTHORITY in item.roles for item in institutions):
        raise ConfigError("institutions: none has the role authority, so nobody could ever be accredited")
    authorities = sum(Role.AUTHORITY in item.roles for item in institutions)
    if authorities > AUTHORITIES_MAX:
        raise ConfigError(f"institutions: {authorities} have the role authority, at most {AUTHORITIES_MAX} can")


def check_genesis(document: GenesisDocument) -> None:
    """Refuse a document that no network can start from. Raises: ConfigError naming the field."""
    if document.protocol_version > PROTOCOL_VERSION:
        raise ConfigError(
            f"protocol_version: {document.protocol_version}, this program knows versions up to {PROTOCOL_VERSION}"
        )
    check_description([institution.description for institution in document.institutions])
    seen: dict[PublicKey, str] = {}
    _check_validators(document, seen)
    _check_governance(document, seen)
    for index, institution in enumerate(document.institutions):
        _check_institution_keys(document, index, institution, seen)


def _check_key(path: str, algorithm: int, public_key: PublicKey, seen: dict[PublicKey, str]) -> None:
    try:
        check_public_key(algorithm, public_key)
    except Rejected as error:
        raise ConfigError(f"{path}.public_key: {error.detail}") from None
    if public_key in seen:
        raise ConfigError(f"{path}.public_key: the same key as {seen[public_key]}")
    seen[public_key] = path


def _check_validators(document: GenesisDocument, seen: dict[PublicKey, str]) -> None:
    ids = [institution.description.id for institution in document.institutions]
    members = [member.institution for member in document.validators]
    if not VALIDATORS_MIN <= len(members) <= VALIDATORS_MAX:
        raise ConfigError(f"validators: {len(members)}, from {VALIDATORS_MIN} to {VALIDATORS_MAX} are possible")
    if members != sorted(set(members)):
        raise ConfigError("validators: not ascending by institution, or one is listed twice")
    for index, member in enumerate(document.validators):
        path = f"validators[{index}]"
        if member.institution not in ids:
            raise ConfigError(f"{path}.institution: {member.institution} is not among the institutions")
        _check_key(path, Algorithm.ED25519, member.public_key, seen)


def _check_governance(document: GenesisDocument, seen: dict[PublicKey, str]) -> None:
    ids = [institution.description.id for institution in document.institutions]
    governors = [key.institution for key in document.governance.keys]
    if governors != sorted(governors):
        raise ConfigError("governance.keys: not ascending by institution")
    if not governors:
        raise ConfigError("governance.keys: there are none")
    if len(governors) > GOVERNANCE_KEYS_MAX:
        raise ConfigError(f"governance.keys: {len(governors)}, at most {GOVERNANCE_KEYS_MAX} are possible")
    institution, most = Counter(governors).most_common(1)[0]
    if most >= GOVERNED_KEYS_PER_INSTITUTION_MAX:
        raise ConfigError(
            f"governance.keys: {institution} has {most}, at most {GOVERNED_KEYS_PER_INSTITUTION_MAX - 1} are possible"
        )
    least = (2 * len(governors) + 2) // 3
    if not least <= document.governance.threshold <= len(governors):
        raise ConfigError(
            f"governance.threshold: {document.governance.threshold}, "
            f"from {least} to {len(governors)} are possible with {len(governors)} keys"
        )
    for index, key in enumerate(document.governance.keys):
        path = f"governance.keys[{index}]"
        if key.institution not in ids:
            raise ConfigError(f"{path}.institution: {key.institution} is not among the institutions")
        _check_key(path, key.algorithm, key.public_key, seen)


def _check_institution_keys(
    document: GenesisDocument, index: int, institution: GenesisInstitution, seen: dict[PublicKey, str]
) -> None:
    """Refuse keys of a wrong kind, and an institution that could not sign, be reached or recover."""
    path = f"institutions[{index}]"
    for number, key in enumerate(institution.keys):
        place = f"{path}.keys[{number}]"
        if key.purpose in (Purpose.CONSENSUS, Purpose.GOVERNANCE):
            raise ConfigError(f"{place}.purpose: {key.purpose} keys are listed apart")
        if key.purpose in ED25519_PURPOSES and key.algorithm != Algorithm.ED25519:
            raise ConfigError(f"{place}.algorithm: a key of purpose {key.purpose} is ed25519")
        _check_key(place, key.algorithm, key.public_key, seen)
    id_ = institution.description.id
    counts = {purpose: sum(key.purpose is purpose for key in institution.keys) for purpose in Purpose}
    needed = {Purpose.TRANSACTION: 1, Purpose.RECOVERY: 1}
    if any(member.institution == id_ for member in document.validators):
        needed[Purpose.NODE] = 1
    for item in institution.description.required_signatures:
        purpose = Purpose.RECOVERY if item.kind.startswith("key.") else Purpose.TRANSACTION
        needed[purpose] = max(needed[purpose], item.count)
    for purpose, count in needed.items():
        if counts[purpose] < count:
            raise ConfigError(f"{path}.keys: {id_} has {counts[purpose]} {purpose} keys, {count} needed")
