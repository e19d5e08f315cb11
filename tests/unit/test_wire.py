"""Messages as parcels: one form each, and any bytes are a message or a refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.chain.certificate import Phase
from node.consensus.messages import (
    UNSIGNED,
    BlockReply,
    BlockRequest,
    Decided,
    KeptBlock,
    Status,
)
from node.errors import Reason, Rejected
from node.limits import FRAME_BYTES_MAX
from node.wire import Parcel, decode_message, encode_message
from tests.unit.consensus.desk import Desk

DESK = Desk()
BLOCK = DESK.block()
CLAIM = DESK.certificate(Phase.PREPARE, 0, BLOCK.hash())
CHANGES = [DESK.view_change(i, 1, CLAIM) for i in range(3)]
MESSAGES = [
    DESK.proposal(BLOCK),
    DESK.prepare(0, 0, BLOCK.hash()),
    DESK.commit(0, 2**32 - 1, BLOCK.hash()),
    CHANGES[0],
    DESK.new_view(1, BLOCK, CHANGES, CLAIM),
    BlockRequest(0, 1, BLOCK.hash()),
    BlockReply(BLOCK),
    Decided(BLOCK, DESK.certificate(Phase.COMMIT, 0, BLOCK.hash())),
    Status(0, 1, 0, 0, True, b"\x01", b"\x02", b"", b"nonce", CLAIM, 0, UNSIGNED),
]


@pytest.mark.parametrize("number,message", list(enumerate(MESSAGES, 1)), ids=lambda value: type(value).__name__)
def test_message_comes_back_as_it_was(number: int, message) -> None:  # noqa: ANN001 – any message
    """And its third byte is the number of its kind."""
    payload = encode_message(message)
    assert decode_message(payload) == message
    assert payload[2] == number


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    """Nothing else comes out."""
    try:
        message = decode_message(payload)
    except Rejected:
        return
    assert encode_message(message) == payload


@given(st.sampled_from(MESSAGES), st.data())
def test_a_changed_byte_is_another_message_or_refused(message, data: st.DataObject) -> None:  # noqa: ANN001 – any
    """No two parcels hold the same message."""
    payload = bytearray(encode_message(message))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_message(bytes(payload))
    except Rejected:
        return
    assert changed != message
    assert encode_message(changed) == bytes(payload)


def test_journal_records_are_no_messages() -> None:
    """A KeptBlock cannot be sent to us."""
    with pytest.raises(Rejected) as refusal:
        decode_message(encode_message(KeptBlock(BLOCK)))  # type: ignore[arg-type]  # not a message: that is the point
    assert refusal.value.reason is Reason.MALFORMED


def test_oversized_parcel_is_refused_before_it_is_read() -> None:
    """The bound is the frame's."""
    with pytest.raises(Rejected) as refusal:
        decode_message(bytes(FRAME_BYTES_MAX + 1))
    assert (refusal.value.reason, refusal.value.detail) == (
        Reason.TOO_LARGE,
        f"{FRAME_BYTES_MAX + 1} bytes, at most {FRAME_BYTES_MAX}",
    )
    assert Parcel.__struct_fields__ == ("message",)
