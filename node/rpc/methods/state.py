"""`state_…`: proofs that a record is in the state, or that none is."""

from typing import Annotated

from msgspec import Meta, Struct

from node.errors import Reason, Rejected
from node.limits import STATE_KEY_CHARS_MAX
from node.rpc.services import Services
from node.rpc.shapes import HeightNumber, Hex, Hex32, invalid, not_found
from node.state.keys import is_plain_key
from node.state.proof_json import to_json
from node.state.trie import key_hash_of

KeyText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2 * STATE_KEY_CHARS_MAX,
        description="plain key such as `acc/ugto.mx`, as text or in lower-case hex",
    ),
]


class ProofView(Struct, frozen=True):
    """A record, or its absence, under the state root of a height."""

    key: str
    """Plain key."""
    key_hash: Hex32
    """SHA-256 of the plain key; in the proof written as 64 bytes `0x40 | nibble`."""
    value: Hex | None
    """Canonical record; nil where there is none."""
    height: HeightNumber
    state_root: Hex32
    proof: dict[str, object]
    """ICS23 as JSON: `{"exist": …}` or `{"nonexist": …}`."""


def state_proof(services: Services, key: KeyText, height: HeightNumber | None = None) -> ProofView:
    """Prove a record or its absence under the state root of the head or of a recent height."""
    plain_key = _plain_key(key)
    services.check_height(height)
    try:
        proven = services.ledger.prove(plain_key, height)
    except Rejected as rejection:
        if rejection.reason is Reason.NOT_FOUND:
            raise not_found(rejection.detail) from None
        raise
    return ProofView(
        plain_key,
        key_hash_of(plain_key).hex(),
        None if proven.value is None else proven.value.hex(),
        proven.height,
        proven.state_root.hex(),
        to_json(proven.proof),
    )


def _plain_key(key: str) -> str:
    """Read a key as text or hex; every plain key holds a `/`, which hex does not."""
    if "/" not in key:
        try:
            key = bytes.fromhex(key).decode("ascii")
        except ValueError:
            raise invalid("key is neither a plain key such as `acc/ugto.mx` nor one in hex") from None
    if not is_plain_key(key):
        raise invalid(f"key is not a plain key: printable ASCII, at most {STATE_KEY_CHARS_MAX} characters")
    return key
