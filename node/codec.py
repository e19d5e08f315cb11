"""The one canonical encoding: MessagePack in which a struct is an array in declared field order.

`msgpack` makes the bytes and `msgspec` reads them into typed values, so two independent
implementations check each other on every decode: whatever does not re-encode to itself is refused
(both readers accept integers and lengths in wider forms than needed; we must not).
Source: PROTOCOL §1.
"""

import unicodedata
from functools import lru_cache
from typing import Any, Final, TypeVar

import msgpack
import msgspec
import msgspec.inspect

from node.errors import Reason, Rejected

T = TypeVar("T")

# Whether text is NFC depends on the Unicode version of the Python that asks: "a", U+1E08F, U+0323 is in
# 3.11 and is not in 3.12. So text holds only what Unicode 14 knows, whichever Python a node runs on.
_RANGES_AFTER_UNICODE_14: Final = (
    "CF3 ECE 10EFD-10EFF 1123F-11241 11B00-11B09 11F00-11F10 11F12-11F3A 11F3E-11F59 1342F 13439-13455 1B132 1B155 "
    "1D2C0-1D2D3 1DF25-1DF2A 1E030-1E06D 1E08F 1E4D0-1E4F9 1F6DC 1F774-1F776 1F77B-1F77F 1F7D9 1FA75-1FA77 "
    "1FA87-1FA88 1FAAD-1FAAF 1FABB-1FABD 1FABF 1FACE-1FACF 1FADA-1FADB 1FAE8 1FAF7-1FAF8 2B739 31350-323AF"
)
"""What Unicode 15.0 added (DerivedAge.txt). Python 3.11 calls it unassigned, 3.12 does not."""
assert unicodedata.unidata_version in ("14.0.0", "15.0.0"), "a later Unicode version needs its additions listed here"


def _characters(ranges: str) -> frozenset[str]:
    found: set[str] = set()
    for item in ranges.split():
        first, _, last = item.partition("-")
        found.update(map(chr, range(int(first, 16), int(last or first, 16) + 1)))
    return frozenset(found)


_AFTER_UNICODE_14: Final = _characters(_RANGES_AFTER_UNICODE_14)


def _as_array(value: object) -> tuple[object, ...]:
    """Turn a struct into the array that stands for it, its tag (if it has one) first."""
    assert isinstance(value, msgspec.Struct), f"{type(value).__name__} has no canonical form"
    tag = _tag_of(type(value))
    fields = msgspec.structs.astuple(value)
    return fields if tag is None else (tag, *fields)


@lru_cache(maxsize=256)
def _tag_of(shape: type[msgspec.Struct]) -> object:
    return shape.__struct_config__.tag


# One buffer, so one thread: a second one that encodes at the same time would mix its bytes in. A node has one.
_packer = msgpack.Packer(default=_as_array, use_bin_type=True, strict_types=False)


def encode(value: object) -> bytes:
    """Return the canonical bytes of a struct, or of tuples of unsigned integers, bytes, text, booleans and None."""
    packed: bytes = _packer.pack(value)
    return packed


@lru_cache(maxsize=256)
def _decoder(shape: object) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(shape)


def decode(data: bytes, shape: type[T], *, bytes_max: int) -> T:
    """Read canonical bytes into `shape`.

    Raises: Rejected(TOO_LARGE) above `bytes_max`; Rejected(MALFORMED) for anything that is not the
    one canonical encoding of a `shape`.
    """
    if len(data) > bytes_max:
        raise Rejected(Reason.TOO_LARGE, f"{len(data)} bytes, at most {bytes_max}")
    key: object = shape  # what the cache hashes is the type itself
    decoder: msgspec.msgpack.Decoder[T] = _decoder(key)
    try:
        value = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Rejected(Reason.MALFORMED, f"{_shape_name(shape)}: {error}") from None
    if encode(value) != data:
        raise Rejected(Reason.MALFORMED, f"{_shape_name(shape)}: not in canonical form")
    _check_text(value)
    return value


def _shape_name(shape: object) -> str:
    return getattr(shape, "__name__", None) or str(shape)


def _check_text(value: object) -> None:
    """Refuse text that may not stand on the chain, at any depth."""
    match value:
        case str():
            if not is_clean_text(value):
                raise Rejected(Reason.MALFORMED, "text is not NFC or holds control characters")
        case msgspec.Struct():
            for field in _text_fields(type(value)):
                _check_text(getattr(value, field))
        case tuple() | list():
            for item in value:
                _check_text(item)
        case _:
            return


@lru_cache(maxsize=256)
def _text_fields(shape: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the fields that can hold text at any depth: most of what is decoded is numbers and hashes."""
    info = msgspec.inspect.type_info(shape)
    assert isinstance(info, msgspec.inspect.StructType)
    return tuple(field.name for field in info.fields if _may_hold_text(field.type, frozenset({shape})))


def _may_hold_text(kind: msgspec.inspect.Type, above: frozenset[type]) -> bool:
    """Tell whether a value of a type can hold text; an enumeration's members are our own."""
    match kind:
        case msgspec.inspect.IntType() | msgspec.inspect.BytesType() | msgspec.inspect.BoolType():
            return False
        case msgspec.inspect.NoneType() | msgspec.inspect.EnumType() | msgspec.inspect.LiteralType():
            return False
        case msgspec.inspect.VarTupleType(item) | msgspec.inspect.ListType(item):
            return _may_hold_text(item, above)
        case msgspec.inspect.TupleType(items):
            return any(_may_hold_text(item, above) for item in items)
        case msgspec.inspect.UnionType(types):
            return any(_may_hold_text(item, above) for item in types)
        case msgspec.inspect.StructType() if kind.cls in above:
            return False
        case msgspec.inspect.StructType():
            return any(_may_hold_text(field.type, above | {kind.cls}) for field in kind.fields)
        case _:
            return True


def is_clean_text(text: str) -> bool:
    """Tell whether text may stand on the chain: NFC, characters of Unicode 14, no controls, no lone surrogates."""
    if text.isascii():
        return text.isprintable()
    if not unicodedata.is_normalized("NFC", text):
        return False
    return not any(
        unicodedata.category(character) in ("Cc", "Cs", "Cn") or character in _AFTER_UNICODE_14
        for character in set(text)
    )
