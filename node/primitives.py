"""The narrow types of the protocol: what a height, a hash or an institution's id is.

They are annotated aliases: the annotation is enforced where outside bytes become values
(`node.codec.decode`), and the name documents every other place.
Source: PROTOCOL §1, §2; DOMAIN §1.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

UINT_MAX: Final = 2**53 - 1
"""Largest integer on the chain: what every JSON reader can still hold exactly."""

TIMESTAMP_MS_MAX: Final = 253_402_300_799_999
"""The last millisecond of year 9999."""
HASH_BYTES: Final = 32
KEY_ID_BYTES: Final = 16
SALT_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
INSTITUTION_ID_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$"
SLUG_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$"
CATALOGUE_ID_PATTERN: Final = r"^[a-z0-9.-]{3,63}/[a-z0-9-]{1,64}/[1-9][0-9]{0,5}$"

Uint: TypeAlias = Annotated[int, Meta(ge=0, le=UINT_MAX)]
Height: TypeAlias = Uint
"""Number of a block; block 0 is made from the genesis document."""
View: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""Attempt at one height; never carried in a block."""
Epoch: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""Number of recoveries so far; never a synonym of view."""
TimestampMs: TypeAlias = Annotated[int, Meta(ge=0, le=TIMESTAMP_MS_MAX)]
"""Milliseconds since 1970-01-01T00:00:00Z."""
ValidatorIndex: TypeAlias = Annotated[int, Meta(ge=0, le=255)]
"""Position of a validator in its height's set."""

Hash: TypeAlias = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
KeyId: TypeAlias = Annotated[bytes, Meta(min_length=KEY_ID_BYTES, max_length=KEY_ID_BYTES)]
"""First 16 bytes of H("pila/key", canonical [algorithm, public key])."""
Salt: TypeAlias = Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
PublicKey: TypeAlias = Annotated[bytes, Meta(min_length=32, max_length=33)]
"""Ed25519: 32 bytes. P-256: 33 bytes, SEC 1 compressed."""
Signature: TypeAlias = Annotated[bytes, Meta(min_length=SIGNATURE_BYTES, max_length=SIGNATURE_BYTES)]
"""Ed25519: R | S. P-256: r | s, big endian, low s."""

InstitutionId: TypeAlias = Annotated[str, Meta(min_length=3, max_length=63, pattern=INSTITUTION_ID_PATTERN)]
"""A DNS-like name such as `ugto.mx`."""
CatalogueId: TypeAlias = Annotated[str, Meta(max_length=135, pattern=CATALOGUE_ID_PATTERN)]
"""`<institution>/<slug>/<version>`: a definition or a pathway."""
ChainId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9.-]*$")]

NO_HASH: Final = bytes(HASH_BYTES)
"""32 zero bytes: "there is none" in a hash field (block 1's parent certificate)."""
