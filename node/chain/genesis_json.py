"""The JSON files of a network: reading them with errors that name the field, and writing them.

Bytes are lower-case hex, times RFC 3339 in UTC with milliseconds, decimals are exact. Unknown,
missing and duplicate members are refused, so a misspelt one never passes for a default.
Source: INTERFACE §2; `genesis/README.md` describes each field.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final, TypeAlias, TypeVar

import msgspec

from node import codec
from node.chain.genesis_document import (
    GENESIS_FORMAT,
    NETWORK_FORMAT,
    GenesisDocument,
    GenesisInstitution,
    GenesisKey,
    InstitutionDescription,
    NetworkDescription,
    check_description,
    check_genesis,
)
from node.chain.records.common import Translation
from node.chain.records.institution import Purpose, RequiredSignatures, Role
from node.chain.records.network import CreditFramework, Governance, GovernanceKey, Parameters
from node.chain.validator_set import Validator
from node.crypto.signing import Algorithm
from node.errors import ConfigError
from node.limits import GENESIS_BYTES_MAX
from node.primitives import HASH_BYTES, Hash, TimestampMs

S = TypeVar("S", bound=msgspec.Struct)
E = TypeVar("E", bound=StrEnum)
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | Decimal | bool | None"
Members: TypeAlias = Mapping[str, Json]

_ALGORITHMS: Final = {"ed25519": Algorithm.ED25519, "p256": Algorithm.P256}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", re.ASCII)
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*", re.ASCII)
_DESCRIBED: Final = frozenset({"id", "names", "roles", "country"})
_DESCRIBED_OPTIONAL: Final = frozenset({"region", "municipality", "website", "cct", "required_signatures"})


def parse_network_description(data: bytes) -> NetworkDescription:
    """Read a network description. Raises: ConfigError naming line or field."""
    top = _members(read_json(data), "", {"format", "chain_id", "parameters", "institutions"})
    _expect_format(top, NETWORK_FORMAT)
    described = frozenset(_DESCRIBED | _DESCRIBED_OPTIONAL)
    institutions = tuple(
        _description(_members(item, path, _DESCRIBED, described), path) for path, item in _items(top, "institutions")
    )
    found = _build(
        NetworkDescription,
        "",
        chain_id=top["chain_id"],
        parameters=_parameters(top["parameters"]),
        institutions=institutions,
    )
    check_description(institutions)
    return found


def parse_document(data: bytes) -> tuple[GenesisDocument, Hash | None]:
    """Read a genesis document and the hash that it claims, if any. Raises: ConfigError naming line or field."""
    required = {"format", "chain_id", "time", "parameters", "institutions", "validators", "governance"}
    top = _members(read_json(data), "", required, {"genesis_hash", "protocol_version"})
    _expect_format(top, GENESIS_FORMAT)
    document = _build(
        GenesisDocument,
        "",
        format=GENESIS_FORMAT,
        chain_id=top["chain_id"],
        time_ms=_time(top["time"], "time"),
        parameters=_parameters(top["parameters"]),
        institutions=tuple(_institution(item, path) for path, item in _items(top, "institutions")),
        validators=tuple(_validator(item, path) for path, item in _items(top, "validators")),
        governance=_governance(top["governance"]),
        protocol_version=top.get("protocol_version", 1),
    )
    check_genesis(document)
    if "genesis_hash" not in top:
        return document, None
    claimed = _hex(top["genesis_hash"], "genesis_hash")
    if len(claimed) != HASH_BYTES:
        raise ConfigError(f"genesis_hash: {len(claimed)} bytes instead of {HASH_BYTES}")
    return document, claimed


def file_format(data: bytes) -> str:
    """Return the member `format`, which tells the two files apart. Raises: ConfigError."""
    top = read_json(data)
    if not isinstance(top, dict) or not isinstance(found := top.get("format"), str):
        raise ConfigError(f"format: missing; it is {NETWORK_FORMAT} or {GENESIS_FORMAT}")
    return found


def document_json(document: GenesisDocument, genesis_hash: Hash) -> dict[str, object]:
    """Return the document as JSON values, in the order in which people read them."""
    return {
        "format": GENESIS_FORMAT,
        "chain_id": document.chain_id,
        "time": _time_text(document.time_ms),
        "genesis_hash": genesis_hash.hex(),
        "protocol_version": document.protocol_version,
        "parameters": _parameters_json(document.parameters),
        "institutions": [_institution_json(institution) for institution in document.institutions],
        "validators": [
            {"institution": member.institution, "public_key": member.public_key.hex()} for member in document.validators
        ],
        "governance": {
            "threshold": document.governance.threshold,
            "keys": [
                {
                    "institution": key.institution,
                    "algorithm": Algorithm(key.algorithm).name.lower(),
                    "public_key": key.public_key.hex(),
                }
                for key in document.governance.keys
            ],
        },
    }


def read_json(data: bytes) -> Json:
    """Read strict JSON: UTF-8, no member twice, no NaN. Raises: ConfigError with the line."""
    if len(data) > GENESIS_BYTES_MAX:
        raise ConfigError(f"the file has {len(data)} bytes, at most {GENESIS_BYTES_MAX} are possible")
    try:
        value: Json = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=Decimal, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise ConfigError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"the file cannot be read: {error}") from None
    return value


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members: dict[str, Json] = {}
    for name, value in pairs:
        if name in members:
            raise ConfigError(f"{name}: is there twice in one object")
        members[name] = value
    return members


def _no_constant(text: str) -> Json:
    raise ConfigError(f"{text} is no JSON value")


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _members(
    value: Json, path: str, required: frozenset[str] | set[str], allowed: frozenset[str] | set[str] = frozenset()
) -> Members:
    """Return an object's members. Raises: ConfigError naming one that is missing or not known."""
    if not isinstance(value, dict):
        raise ConfigError(f"{path or 'the file'}: not an object")
    for name in sorted(required - value.keys()):
        raise ConfigError(f"{_at(path, name)}: missing")
    for name in value:
        if name not in required and name not in allowed:
            raise ConfigError(f"{_at(path, name)}: not known")
    return value


def _items(members: Members, name: str, path: str = "") -> list[tuple[str, Json]]:
    """Return (path, item) of a list."""
    value = members[name]
    place = _at(path, name)
    if not isinstance(value, list):
        raise ConfigError(f"{place}: not a list")
    return [(f"{place}[{index}]", item) for index, item in enumerate(value)]


def _build(shape: type[S], path: str, **values: object) -> S:
    """Return a struct whose every field was checked. Raises: ConfigError naming the field."""
    for field in msgspec.structs.fields(shape):
        value = values[field.name]
        try:
            msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{_at(path, field.name)}: {error}") from None
        if isinstance(value, str) and not codec.is_clean_text(value):
            raise ConfigError(f"{_at(path, field.name)}: text is not NFC or holds control characters")
    return shape(**values)


def _expect_format(top: Members, wanted: str) -> None:
    if top["format"] != wanted:
        raise ConfigError(f"format: {top['format']} instead of {wanted}")


def _parameters(value: Json) -> Parameters:
    names = {"did_host", "credit_frameworks", "credentials_per_batch_max", "pending_applications_max"}
    members = _members(value, "parameters", names)
    frameworks = tuple(_framework(item, path) for path, item in _items(members, "credit_frameworks", "parameters"))
    if len({framework.name for framework in frameworks}) != len(frameworks):
        raise ConfigError("parameters.credit_frameworks: a framework is listed twice")
    return _build(Parameters, "parameters", **{**members, "credit_frameworks": frameworks})


def _framework(value: Json, path: str) -> CreditFramework:
    members = _members(value, path, {"name", "hours_per_credit", "source"})
    hours = members["hours_per_credit"]
    if isinstance(hours, bool) or not isinstance(hours, int | Decimal):
        raise ConfigError(f"{path}.hours_per_credit: not a number")
    try:
        hundredths = Decimal(hours) * 100
        whole = int(hundredths)
    except (InvalidOperation, OverflowError, ValueError):
        raise ConfigError(f"{path}.hours_per_credit: out of range") from None
    if whole != hundredths or whole <= 0:
        raise ConfigError(f"{path}.hours_per_credit: {hours} is not a positive number of hundredths")
    return _build(
        CreditFramework, path, name=members["name"], hours_per_credit_hundredths=whole, source=members["source"]
    )


def _description(members: Members, path: str) -> InstitutionDescription:
    required = members.get("required_signatures", {})
    if not isinstance(required, dict):
        raise ConfigError(f"{path}.required_signatures: not an object")
    place = f"{path}.required_signatures"
    return _build(
        InstitutionDescription,
        path,
        id=members["id"],
        names=_names(members["names"], f"{path}.names"),
        roles=tuple(sorted(_member_of(Role, item, place) for place, item in _items(members, "roles", path))),
        country=members["country"],
        region=members.get("region", ""),
        municipality=members.get("municipality", ""),
        website=members.get("website", ""),
        cct=members.get("cct", ""),
        required_signatures=tuple(
            _build(RequiredSignatures, f"{place}.{kind}", kind=kind, count=required[kind]) for kind in sorted(required)
        ),
    )


def _names(value: Json, path: str) -> tuple[Translation, ...]:
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: not an object")
    return tuple(
        _build(Translation, f"{path}.{language}", language=language, text=value[language]) for language in sorted(value)
    )


def _member_of(kind: type[E], value: Json, path: str) -> E:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        raise ConfigError(f"{path}: {value} is none of {', '.join(kind)}") from None


def _institution(value: Json, path: str) -> GenesisInstitution:
    members = _members(value, path, _DESCRIBED | {"keys"}, _DESCRIBED_OPTIONAL | {"did"})
    return _build(
        GenesisInstitution,
        path,
        description=_description(members, path),
        did=members.get("did", ""),
        keys=tuple(_key(item, place) for place, item in _items(members, "keys", path)),
    )


def _key(value: Json, path: str) -> GenesisKey:
    members = _members(value, path, {"algorithm", "purpose", "public_key"})
    return _build(
        GenesisKey,
        path,
        algorithm=_algorithm(members["algorithm"], f"{path}.algorithm"),
        purpose=_member_of(Purpose, members["purpose"], f"{path}.purpose"),
        public_key=_hex(members["public_key"], f"{path}.public_key"),
    )


def _validator(value: Json, path: str) -> Validator:
    members = _members(value, path, {"institution", "public_key"})
    public_key = _hex(members["public_key"], f"{path}.public_key")
    return _build(Validator, path, institution=members["institution"], public_key=public_key)


def _governance(value: Json) -> Governance:
    members = _members(value, "governance", {"threshold", "keys"})
    governors = tuple(_governance_key(item, path) for path, item in _items(members, "keys", "governance"))
    return _build(Governance, "governance", threshold=members["threshold"], keys=governors)


def _governance_key(value: Json, path: str) -> GovernanceKey:
    members = _members(value, path, {"institution", "algorithm", "public_key"})
    return _build(
        GovernanceKey,
        path,
        institution=members["institution"],
        algorithm=_algorithm(members["algorithm"], f"{path}.algorithm"),
        public_key=_hex(members["public_key"], f"{path}.public_key"),
    )


def _algorithm(value: Json, path: str) -> int:
    if not isinstance(value, str) or value not in _ALGORITHMS:
        raise ConfigError(f"{path}: {value} is none of {', '.join(_ALGORITHMS)}")
    return int(_ALGORITHMS[value])


def _hex(value: Json, path: str) -> bytes:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ConfigError(f"{path}: not lower-case hex")
    return bytes.fromhex(value)


def _time(value: Json, path: str) -> TimestampMs:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ConfigError(f"{path}: not a time such as 2026-01-31T18:00:00.000Z")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ConfigError(f"{path}: {value} is no moment of the calendar") from None
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _time_text(time_ms: TimestampMs) -> str:
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parameters_json(parameters: Parameters) -> dict[str, object]:
    return {
        "did_host": parameters.did_host,
        "credit_frameworks": [
            {
                "name": framework.name,
                "hours_per_credit": _hours(framework.hours_per_credit_hundredths),
                "source": framework.source,
            }
            for framework in parameters.credit_frameworks
        ],
        "credentials_per_batch_max": parameters.credentials_per_batch_max,
        "pending_applications_max": parameters.pending_applications_max,
    }


def _hours(hundredths: int) -> int | float:
    return hundredths // 100 if hundredths % 100 == 0 else hundredths / 100


def _institution_json(institution: GenesisInstitution) -> dict[str, object]:
    item = institution.description
    return {
        "id": item.id,
        "names": {text.language: text.text for text in item.names},
        "roles": list(item.roles),
        "country": item.country,
        "region": item.region,
        "municipality": item.municipality,
        "website": item.website,
        "cct": item.cct,
        "did": institution.did,
        "required_signatures": {required.kind: required.count for required in item.required_signatures},
        "keys": [
            {
                "algorithm": Algorithm(key.algorithm).name.lower(),
                "purpose": key.purpose,
                "public_key": key.public_key.hex(),
            }
            for key in institution.keys
        ],
    }
