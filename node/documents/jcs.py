"""Canonical JSON (RFC 8785) in and out, bounded before anything is parsed.

A file of ours *is* its canonical form: whatever parses but does not come out as the same bytes is
refused, so no byte of it is outside a check. Source: DOMAIN §6; RFC 8785.
"""

from typing import TypeAlias

import msgspec
import rfc8785

from node.errors import Reason, Rejected
from node.limits import JSON_DEPTH_MAX

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]

_OPENING = frozenset(b"[{")
_CLOSING = frozenset(b"]}")


def canonical(value: Json) -> bytes:
    """Return the RFC 8785 form of a value.

    Raises: Rejected(MALFORMED) for numbers beyond 2^53 − 1, not-a-number and lone surrogates.
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"has no canonical JSON form: {error}") from None


def parse(data: bytes, *, bytes_max: int) -> Json:
    """Read JSON of bounded size and depth. Raises: Rejected(TOO_LARGE), Rejected(MALFORMED)."""
    if len(data) > bytes_max:
        raise Rejected(Reason.TOO_LARGE, f"{len(data)} bytes, at most {bytes_max}")
    check_depth(data)
    try:
        value: Json = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"not JSON: {error}") from None
    return value


def check_depth(data: bytes) -> None:
    """Refuse JSON text nested deeper than `JSON_DEPTH_MAX`, without recursion.

    Strings are skipped by their quotes; text that is not JSON is left to the parser.
    Raises: Rejected(TOO_LARGE).
    """
    depth = 0
    for position, part in enumerate(data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')):
        if position % 2:
            continue
        for byte in part:
            if byte in _OPENING:
                depth += 1
                if depth > JSON_DEPTH_MAX:
                    raise Rejected(Reason.TOO_LARGE, f"nested deeper than {JSON_DEPTH_MAX} levels")
            elif byte in _CLOSING:
                depth -= 1
