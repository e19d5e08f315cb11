"""The canonical encoding: any bytes are refused, or are the only bytes of what they mean."""

import unicodedata
from enum import StrEnum
from typing import Annotated

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Meta

from node import codec
from node.chain.block import Block, Header
from node.chain.certificate import Certificate
from node.chain.transaction import Transaction
from node.errors import Reason, Rejected
from node.primitives import UINT_MAX, Hash, Uint

BYTES_MAX = 4_096


class Colour(StrEnum):
    """A closed list of words."""

    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="point"):
    """One member of a union."""

    x: Uint


class Line(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="line"):
    """Another member of a union."""

    points: Annotated[tuple[Point, ...], Meta(max_length=3)]


class Sample(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Every kind of field that the chain has."""

    number: Uint
    digest: Hash
    text: Annotated[str, Meta(max_length=20)]
    flag: bool
    colour: Colour | None
    parts: tuple[tuple[Uint, bytes], ...]
    shape: Point | Line


SHAPES = (Sample, Header, Block, Certificate, Transaction, Hash, Uint, tuple[Uint, ...])
TEXTS = (
    st.text(max_size=20)
    .map(lambda text: unicodedata.normalize("NFC", text))
    .filter(lambda text: len(text) <= 20 and codec.is_clean_text(text))
)
POINTS = st.builds(Point, st.integers(0, UINT_MAX))
SAMPLES = st.builds(
    Sample,
    st.integers(0, UINT_MAX),
    st.binary(min_size=32, max_size=32),
    TEXTS,
    st.booleans(),
    st.none() | st.sampled_from(Colour),
    st.lists(st.tuples(st.integers(0, UINT_MAX), st.binary(max_size=40)), max_size=4).map(tuple),
    POINTS | st.builds(Line, st.lists(POINTS, max_size=3).map(tuple)),
)
SAMPLE = Sample(300, b"h" * 32, "año", True, Colour.RED, ((1, b"x"),), Line((Point(2),)))
# What other writers of MessagePack make, floats, maps and extensions among them.
FOREIGN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=5)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4)),
    lambda items: st.lists(items, max_size=8) | st.dictionaries(st.text(max_size=2), items, max_size=2),
).map(msgpack.packb)


def check_any(data: bytes) -> None:
    """Hold some bytes against every shape: refused with a reason of the codec's, or canonical."""
    for shape in SHAPES:
        try:
            value = codec.decode(data, shape, bytes_max=BYTES_MAX)
        except Rejected as refused:
            assert refused.reason in {Reason.MALFORMED, Reason.TOO_LARGE}  # noqa: PT017 - either outcome is good
        else:
            assert codec.encode(value) == data


@given(SAMPLES)
@example(SAMPLE)
def test_what_is_encoded_reads_back(sample: Sample) -> None:
    """Decoding is the inverse of encoding."""
    assert codec.decode(codec.encode(sample), Sample, bytes_max=BYTES_MAX) == sample


@given(st.binary(max_size=300) | FOREIGN)
@example(b"")
@example(b"\x91" * BYTES_MAX)  # deep nesting
@example(b"\xdd\xff\xff\xff\xff")  # an array of 4 G elements
@example(b"\xc6\xff\xff\xff\xff")  # 4 GiB of bytes
@example(b"\xdf\xff\xff\xff\xff")  # a map of 4 G entries
def test_any_bytes_are_refused_or_canonical(data: bytes) -> None:
    """Nothing else ever leaves the codec, whatever comes in."""
    check_any(data)


@given(SAMPLES, st.data())
def test_changed_encodings_are_refused_or_canonical(sample: Sample, data: st.DataObject) -> None:
    """Near misses: a byte changed, put in or left out, the end cut off or added to."""
    encoded = bytearray(codec.encode(sample))
    place = data.draw(st.integers(0, len(encoded) - 1))
    match data.draw(st.sampled_from(["change", "insert", "drop", "cut", "append"])):
        case "change":
            encoded[place] = data.draw(st.integers(0, 255))
        case "insert":
            encoded.insert(place, data.draw(st.integers(0, 255)))
        case "drop":
            del encoded[place]
        case "cut":
            del encoded[place:]
        case _:
            encoded += data.draw(st.binary(min_size=1, max_size=3))
    check_any(bytes(encoded))


def sample_with(plain: bytes, wide: bytes) -> bytes:
    """Return the sample's encoding with one part in another form."""
    encoded = codec.encode(SAMPLE)
    assert encoded.count(plain) == 1
    return encoded.replace(plain, wide)


@pytest.mark.parametrize(
    "data, detail",
    [
        (sample_with(b"\xcd\x01\x2c", b"\xce\x00\x00\x01\x2c"), "Sample: not in canonical form"),  # uint32
        (sample_with(b"\xcd\x01\x2c", b"\xd1\x01\x2c"), "Sample: not in canonical form"),  # int16
        (sample_with(b"\xcd\x01\x2c", b"\xcf" + bytes(6) + b"\x01\x2c"), "Sample: not in canonical form"),
        (sample_with(b"\xa4a\xc3\xb1o", b"\xd9\x04a\xc3\xb1o"), "Sample: not in canonical form"),  # str8
        (sample_with(b"\xc4\x20", b"\xc5\x00\x20"), "Sample: not in canonical form"),  # bin16
        (sample_with(b"\x97", b"\xdc\x00\x07"), "Sample: not in canonical form"),  # array16
        (codec.encode(SAMPLE) + b"\x00", "Sample: MessagePack data is malformed: trailing characters (byte 69)"),
        (b"\x80", "Sample: Expected `array`, got `object`"),
        (sample_with(b"\xcd\x01\x2c", b"\xff"), "Sample: Expected `int` >= 0 - at `$[0]`"),
        (
            sample_with(b"\xcd\x01\x2c", b"\xcb\x40\x72\xc0\x00\x00\x00\x00\x00"),
            "Sample: Expected `int`, got `float` - at `$[0]`",  # 300.0
        ),
        (
            sample_with(b"\xcd\x01\x2c", b"\xcf\x00\x20" + bytes(6)),
            f"Sample: Expected `int` <= {UINT_MAX} - at `$[0]`",
        ),
        (
            sample_with(b"a\xc3\xb1o", b"an\xcc\x83"),
            "text is not NFC or holds control characters",
        ),
        (sample_with(b"a\xc3\xb1o", b"a\x00\x0ao"), "text is not NFC or holds control characters"),
        (sample_with(b"\xa3red", b"\xa3rot"), "Sample: Invalid enum value 'rot' - at `$[4]`"),
        (sample_with(b"\xa4line", b"\xa4lime"), "Sample: Invalid value 'lime' - at `$[6][0]`"),
    ],
)
def test_other_forms_are_refused_with_a_sentence(data: bytes, detail: str) -> None:
    """Wider numbers and lengths, maps, floats, negatives, loose text: one refusal each."""
    with pytest.raises(Rejected) as refused:
        codec.decode(data, Sample, bytes_max=BYTES_MAX)
    assert (refused.value.reason, refused.value.detail) == (Reason.MALFORMED, detail)


def test_length_bound_comes_first() -> None:
    """Bytes above the bound are not looked at; exactly at the bound they are."""
    encoded = codec.encode(SAMPLE)
    assert codec.decode(encoded, Sample, bytes_max=len(encoded)) == SAMPLE
    with pytest.raises(Rejected) as refused:
        codec.decode(encoded, Sample, bytes_max=len(encoded) - 1)
    assert (refused.value.reason, refused.value.detail) == (
        Reason.TOO_LARGE,
        f"{len(encoded)} bytes, at most {len(encoded) - 1}",
    )


def test_encoding_is_written_out() -> None:
    """The bytes of the sample by hand: fields in order, tag first, nothing named."""
    assert codec.encode(SAMPLE) == (
        b"\x97\xcd\x01\x2c\xc4\x20"
        + b"h" * 32
        + b"\xa4a\xc3\xb1o\xc3\xa3red\x91\x92\x01\xc4\x01x\x92\xa4line\x91\x92\xa5point\x02"
    )


@pytest.mark.parametrize(
    "text, is_clean",
    [
        ("", True),
        ("Pespunte", True),
        ("año", True),  # one character, composed
        ("an\u0303o", False),  # n and a combining tilde
        ("\n", False),
        ("\x7f", False),
        ("é\x85", False),  # a control character beyond ASCII
        ("\ud800", False),  # a lone surrogate
        ("日本語 🎓", True),
        ("Mosꞌ ꞌÑuu", True),  # the saltillo of Mexican languages
        ("a\U0001e08f\u0323", False),  # NFC for Unicode 14, not for 15: nodes on two Pythons would part
        ("\U0001fae8", False),  # came with Unicode 15
        ("\u0378", False),  # stands for nothing yet
    ],
)
def test_clean_text_is_nfc_without_control_characters(text: str, is_clean: bool) -> None:
    """What may stand on the chain."""
    assert codec.is_clean_text(text) is is_clean
