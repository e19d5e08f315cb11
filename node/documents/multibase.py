"""Base58 as Bitcoin writes it: the `z` form of multibase, for keys and proof values."""

from typing import Final

from node.errors import Reason, Rejected
from node.limits import BASE58_CHARS_MAX

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}


def encode_base58(data: bytes) -> str:
    """Return base58 text; each leading zero byte is a `1`."""
    number = int.from_bytes(data, "big")
    digits = []
    while number:
        number, rest = divmod(number, 58)
        digits.append(ALPHABET[rest])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return ALPHABET[0] * zeros + "".join(reversed(digits))


def decode_base58(text: str) -> bytes:
    """Read base58 text. Raises: Rejected(MALFORMED)."""
    if len(text) > BASE58_CHARS_MAX:
        raise Rejected(Reason.MALFORMED, f"base58 text of {len(text)} characters, at most {BASE58_CHARS_MAX}")
    number = 0
    for character in text:
        value = _VALUES.get(character)
        if value is None:
            raise Rejected(Reason.MALFORMED, f"{character!r} is no base58 character")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def encode_multibase(data: bytes) -> str:
    """Return `z` and base58."""
    return "z" + encode_base58(data)


def decode_multibase(text: str) -> bytes:
    """Read `z` and base58. Raises: Rejected(MALFORMED)."""
    if not text.startswith("z"):
        raise Rejected(Reason.MALFORMED, "multibase text does not begin with z (base58)")
    return decode_base58(text[1:])
