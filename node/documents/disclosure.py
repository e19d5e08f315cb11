"""Salted claims: what a credential says about a person, one opening each.

claim leaf = RFC 6962 leaf of canonical ["pila/claim", salt, path, JCS bytes]; the document commitment
is the root over the claims in ascending order of path. An unopened claim shows nothing but its leaf,
which its salt of 32 random bytes hides. Source: DOMAIN §5.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from node import codec
from node.crypto import merkle
from node.crypto.hashing import Tag
from node.documents.jcs import Json, canonical
from node.errors import Reason, Rejected
from node.limits import CLAIM_BYTES_MAX, CLAIM_PATH_CHARS_MAX, CLAIMS_PER_CREDENTIAL_MAX
from node.primitives import SALT_BYTES, Hash, Salt

RENDITION_OPEN_BADGES: Final = "/rendition/ob3"
"""Claim whose value is the SHA-256 (hex) of the signed document's canonical JSON."""
_PATH: Final = re.compile(r"(?:/[a-z0-9_]+)+")


@dataclass(frozen=True, slots=True)
class Claim:
    """An opened claim."""

    path: str
    """Such as `/grade`."""
    salt: Salt
    value: Json

    def leaf(self) -> Hash:
        """Return the leaf hash. Raises: Rejected(MALFORMED), Rejected(TOO_LARGE): a value out of bounds."""
        if len(self.path) > CLAIM_PATH_CHARS_MAX or not _PATH.fullmatch(self.path):
            raise Rejected(Reason.MALFORMED, f"{self.path!r} is no claim path")
        if len(self.salt) != SALT_BYTES:
            raise Rejected(Reason.MALFORMED, f"a salt of {len(self.salt)} bytes instead of {SALT_BYTES}")
        value = canonical(self.value)
        if len(value) > CLAIM_BYTES_MAX:
            raise Rejected(Reason.TOO_LARGE, f"claim {self.path} has {len(value)} bytes, at most {CLAIM_BYTES_MAX}")
        return merkle.leaf_hash(codec.encode((Tag.CLAIM.value, self.salt, self.path, value)))


@dataclass(frozen=True, slots=True)
class HiddenClaim:
    """A claim that the holder does not show."""

    leaf_hash: Hash

    def leaf(self) -> Hash:
        """Return the leaf hash."""
        return self.leaf_hash


Claims = tuple[Claim | HiddenClaim, ...]
"""Every claim of a credential in the order of their paths, shown or not."""


def make_claims(values: dict[str, Json], entropy: Callable[[int], bytes]) -> tuple[Claim, ...]:
    """Return claims in order of path, each with a salt of its own from `entropy` (bytes wanted → bytes)."""
    assert 0 < len(values) <= CLAIMS_PER_CREDENTIAL_MAX
    return tuple(Claim(path, entropy(SALT_BYTES), values[path]) for path in sorted(values))


def document_commitment(claims: Sequence[Claim | HiddenClaim]) -> Hash:
    """Return the root over the claims.

    Raises: Rejected(MALFORMED): opened paths that do not ascend, or no claim; Rejected(TOO_LARGE).
    """
    if not 0 < len(claims) <= CLAIMS_PER_CREDENTIAL_MAX:
        raise Rejected(Reason.MALFORMED, f"{len(claims)} claims, 1 to {CLAIMS_PER_CREDENTIAL_MAX} are possible")
    paths = [claim.path for claim in claims if isinstance(claim, Claim)]
    if any(low >= high for low, high in pairwise(paths)):
        raise Rejected(Reason.MALFORMED, "claims do not ascend by path")
    return merkle.root([claim.leaf() for claim in claims])


def opened(claims: Sequence[Claim | HiddenClaim]) -> dict[str, Json]:
    """Return the values of the opened claims by path."""
    return {claim.path: claim.value for claim in claims if isinstance(claim, Claim)}


def hide_all_but(claims: Sequence[Claim | HiddenClaim], paths: frozenset[str]) -> Claims:
    """Return the claims with only those of `paths` open.

    Raises: Rejected(NOT_FOUND): a path that is not among the opened claims.
    """
    missing = paths - opened(claims).keys()
    if missing:
        raise Rejected(Reason.NOT_FOUND, f"no such field: {', '.join(sorted(missing))}")
    return tuple(
        claim if isinstance(claim, HiddenClaim) or claim.path in paths else HiddenClaim(claim.leaf())
        for claim in claims
    )
