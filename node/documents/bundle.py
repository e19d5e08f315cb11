"""The bundle `*.pila.json`: one self-contained file that proves one credential.

Its bytes are exactly their own canonical JSON (RFC 8785). Members, all present, no others:
`format`; `document` (the untouched Open Badges credential, or null in a presentation); `claims` (each
opened `{path, salt, value}` or hidden `{leaf}`, in order of path); `holder` (the opening of the holder
commitment, or null); `leaf` (canonical bytes in hex); `chain` (`node.chain.proof_json`). Never a status
secret nor a private key. JSON Schema: docs/bundle.schema.json. Source: DOMAIN §6.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal, TypeAlias, cast

import msgspec
from msgspec import Meta

from node import codec
from node.chain import proof_json
from node.chain.proof import ChainProof
from node.chain.records.credential import Leaf
from node.documents.disclosure import Claim, Claims, HiddenClaim, hide_all_but
from node.documents.jcs import Json, JsonObject, canonical, parse
from node.errors import Reason, Rejected
from node.limits import BUNDLE_BYTES_MAX, CLAIM_PATH_CHARS_MAX, CLAIMS_PER_CREDENTIAL_MAX
from node.primitives import PublicKey, Salt

FORMAT: Final = "pila-bundle/1"
FILE_SUFFIX: Final = ".pila.json"
_LEAF_BYTES_MAX: Final = 2_048

HexHash: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
HexLeaf: TypeAlias = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{2})+\Z", max_length=2 * _LEAF_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class HolderOpening:
    """What opens the leaf's holder commitment."""

    public_key: PublicKey
    salt: Salt


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle in memory; nothing about it is checked but its shape."""

    document: JsonObject | None
    """The signed Open Badges credential; None in a presentation of chosen fields."""
    claims: Claims
    holder: HolderOpening | None
    leaf: Leaf
    chain: ChainProof


class OpenedJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An opened claim."""

    path: Annotated[str, Meta(max_length=CLAIM_PATH_CHARS_MAX)]
    salt: HexHash
    value: object


class HiddenJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A claim that is not shown."""

    leaf: HexHash


class HolderJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The holder's opening."""

    public_key: HexHash
    salt: HexHash


class BundleJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file's members."""

    format: Literal["pila-bundle/1"]
    document: dict[str, object] | None
    claims: Annotated[tuple[dict[str, object], ...], Meta(min_length=1, max_length=CLAIMS_PER_CREDENTIAL_MAX)]
    holder: HolderJson | None
    leaf: HexLeaf
    chain: dict[str, object]


def write_bundle(bundle: Bundle) -> bytes:
    """Return the bytes of the file."""
    holder: Json = None
    if bundle.holder is not None:
        holder = {"public_key": bundle.holder.public_key.hex(), "salt": bundle.holder.salt.hex()}
    return canonical(
        {
            "format": FORMAT,
            "document": bundle.document,
            "claims": [_claim_json(claim) for claim in bundle.claims],
            "holder": holder,
            "leaf": codec.encode(bundle.leaf).hex(),
            "chain": cast(Json, proof_json.to_json(bundle.chain)),
        }
    )


def read_bundle(data: bytes) -> Bundle:
    """Read a file. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED), Rejected(BAD_PROOF)."""
    value = parse(data, bytes_max=BUNDLE_BYTES_MAX)
    try:
        read = msgspec.convert(value, BundleJson, strict=True)
    except msgspec.ValidationError as error:
        raise Rejected(Reason.MALFORMED, f"not a bundle: {error}") from None
    holder = None
    if read.holder is not None:
        holder = HolderOpening(bytes.fromhex(read.holder.public_key), bytes.fromhex(read.holder.salt))
    bundle = Bundle(
        document=cast("JsonObject | None", read.document),
        claims=tuple(_claim(claim) for claim in read.claims),
        holder=holder,
        leaf=codec.decode(bytes.fromhex(read.leaf), Leaf, bytes_max=_LEAF_BYTES_MAX),
        chain=proof_json.from_json(read.chain),
    )
    # Duplicate members, spaces, other escapes and number forms, another spelling of any byte string:
    # whatever does not come out as it went in is refused here, once for all.
    if write_bundle(bundle) != data:
        raise Rejected(Reason.MALFORMED, "not in its canonical form (RFC 8785)")
    return bundle


def present(bundle: Bundle, paths: frozenset[str]) -> Bundle:
    """Return a presentation: these claims only, without document and holder opening.

    Leaf, status and dates stay: a holder cannot hide a revocation. Raises: Rejected(NOT_FOUND).
    """
    return replace(bundle, document=None, claims=hide_all_but(bundle.claims, paths), holder=None)


def refreshed(bundle: Bundle, chain: ChainProof) -> Bundle:
    """Return the same credential with a younger chain part."""
    return replace(bundle, chain=chain)


def _claim_json(claim: Claim | HiddenClaim) -> Json:
    if isinstance(claim, HiddenClaim):
        return {"leaf": claim.leaf_hash.hex()}
    return {"path": claim.path, "salt": claim.salt.hex(), "value": claim.value}


def _claim(read: dict[str, object]) -> Claim | HiddenClaim:
    try:
        if "leaf" in read:
            return HiddenClaim(bytes.fromhex(msgspec.convert(read, HiddenJson, strict=True).leaf))
        claim = msgspec.convert(read, OpenedJson, strict=True)
    except msgspec.ValidationError as error:
        raise Rejected(Reason.MALFORMED, f"not a claim: {error}") from None
    return Claim(claim.path, bytes.fromhex(claim.salt), cast(Json, claim.value))
