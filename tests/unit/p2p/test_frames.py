"""Tests of node/p2p/frames.py and outbox.py: what is packed comes out, what is not ours is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.errors import Reason, Rejected
from node.limits import FRAME_BYTES_MAX, NOISE_MESSAGE_BYTES_MAX, P2P_CHANNELS_MAX
from node.p2p.frames import CONTROL_CHANNEL, FrameAssembler, MessageSplitter, delimit, make_frame
from node.p2p.noise import PLAINTEXT_BYTES_MAX
from node.p2p.outbox import Outbox
from tests.unit.p2p.net_kit import reason_of

CHANNELS = st.integers(0, P2P_CHANNELS_MAX - 1)
PARCELS = st.lists(st.tuples(CHANNELS, st.binary(max_size=60)), max_size=20)


def outbox(frames_max: int = 1_000, bytes_max: int = 16 * FRAME_BYTES_MAX) -> Outbox:
    """Return an empty outbox."""
    return Outbox(frames_max=frames_max, bytes_max=bytes_max)


def drain(box: Outbox, plaintext_bytes_max: int) -> list[bytes]:
    """Take everything out."""
    plaintexts = []
    while (plaintext := box.take(plaintext_bytes_max)[0]) != b"":
        assert len(plaintext) <= plaintext_bytes_max
        plaintexts.append(plaintext)
    return plaintexts


def feed_all(assembler: FrameAssembler, plaintexts: list[bytes]) -> None:
    """Feed one plaintext after the other."""
    for plaintext in plaintexts:
        assembler.feed(plaintext)


def assemble(plaintexts: list[bytes]) -> list[tuple[int, bytes]]:
    """Return the frames of a list of plaintexts."""
    assembler = FrameAssembler()
    frames = [frame for plaintext in plaintexts for frame in assembler.feed(plaintext)]
    assert assembler.buffered_bytes == 0
    return frames


@given(PARCELS, st.integers(6, 90))
def test_what_is_queued_arrives_by_channel_in_order(parcels: list[tuple[int, bytes]], room: int) -> None:
    """However small the messages are, each channel keeps its order and channels leave by priority."""
    box = outbox()
    for channel, payload in parcels:
        assert box.put(make_frame(channel, payload)) == []
    arrived = assemble(drain(box, room))
    assert arrived == sorted(parcels, key=lambda parcel: parcel[0])
    assert (box.frames, box.size_bytes) == (0, 0)


@given(st.lists(st.one_of(st.tuples(CHANNELS, st.binary(max_size=60)), st.integers(6, 40)), max_size=40))
def test_frames_queued_while_others_are_under_way_arrive_whole(steps: list[tuple[int, bytes] | int]) -> None:
    """Whatever the order of putting and taking, every frame arrives once and each channel keeps its order."""
    box, assembler = outbox(), FrameAssembler()
    sent, arrived = [], []
    for step in steps:
        if isinstance(step, int):
            arrived += assembler.feed(box.take(step)[0])
        else:
            sent.append(step)
            box.put(make_frame(*step))
    for plaintext in drain(box, PLAINTEXT_BYTES_MAX):
        arrived += assembler.feed(plaintext)
    for channel in range(P2P_CHANNELS_MAX):
        assert [f for f in arrived if f[0] == channel] == [f for f in sent if f[0] == channel]


def test_block_is_split_and_a_vote_cuts_in() -> None:
    """A frame of the greatest size fills Noise messages; what is more urgent goes into the very next one."""
    box = outbox()
    block = bytes(range(256)) * (FRAME_BYTES_MAX // 256)
    box.put(make_frame(2, block))
    plaintexts = [box.take(PLAINTEXT_BYTES_MAX)[0]]
    box.put(make_frame(0, b"vote"))
    box.put(make_frame(CONTROL_CHANNEL, b"heartbeat"))
    following, moved = box.take(PLAINTEXT_BYTES_MAX)
    assert moved == [(CONTROL_CHANNEL, 9), (0, 4), (2, PLAINTEXT_BYTES_MAX - 14 - 9 - 1)]
    plaintexts += [following, *drain(box, PLAINTEXT_BYTES_MAX)]
    assert {len(plaintext) for plaintext in plaintexts[:-1]} == {PLAINTEXT_BYTES_MAX}
    assert assemble(plaintexts) == [(CONTROL_CHANNEL, b"heartbeat"), (0, b"vote"), (2, block)]


@pytest.mark.parametrize(
    "size,messages",
    [
        (PLAINTEXT_BYTES_MAX - 5, 1),  # the last one that fits beside its head
        (PLAINTEXT_BYTES_MAX - 4, 2),
        (FRAME_BYTES_MAX, 69),  # ⌈4,456,448 / 65,518⌉
    ],
)
def test_number_of_messages_of_a_frame(size: int, messages: int) -> None:
    """A frame takes as many Noise messages as it must."""
    box = outbox()
    box.put(make_frame(1, bytes(size)))
    assert len(drain(box, PLAINTEXT_BYTES_MAX)) == messages


def test_urgent_frame_takes_the_place_of_others() -> None:
    """With all places taken, the last of the least urgent frames gives way; one that has started stays."""
    box = outbox(frames_max=3)
    frames = [make_frame(2, b"started, so it must end"), make_frame(2, b"late"), make_frame(1, b"transaction")]
    for frame in frames:
        assert box.put(frame) == []
    assembler = FrameAssembler()
    assert assembler.feed(box.take(40)[0]) == [(1, b"transaction")]
    assert box.frames == 2
    assert box.put(make_frame(1, b"another")) == []
    assert box.put(make_frame(2, b"no room")) is None
    assert box.put(make_frame(0, b"vote")) == [frames[1]]
    assert box.put(make_frame(0, b"vote 2")) == [make_frame(1, b"another")]
    assert assembler.feed(box.take(1_000)[0]) == [(0, b"vote"), (0, b"vote 2"), (2, frames[0].payload)]


def test_frame_that_gains_no_room_leaves_the_queue_as_it_was() -> None:
    """Nothing is thrown away for a frame that is refused all the same."""
    box = outbox(bytes_max=100)
    box.put(make_frame(0, bytes(60)))
    box.put(make_frame(1, b"a" * 20))
    box.put(make_frame(2, b"b" * 10))
    box.put(make_frame(2, b"c" * 10))
    assert box.put(make_frame(0, bytes(41))) is None
    assert (box.frames, box.size_bytes) == (4, 100)
    assert assemble(drain(box, 1_000)) == [(0, bytes(60)), (1, b"a" * 20), (2, b"b" * 10), (2, b"c" * 10)]


@given(st.lists(st.tuples(CHANNELS, st.integers(0, 50)), max_size=60))
def test_queue_stays_in_bounds(parcels: list[tuple[int, int]]) -> None:
    """Whatever is put in, neither bound is passed, and the counts are those of what comes out."""
    box = outbox(frames_max=5, bytes_max=100)
    for channel, size in parcels:
        box.put(make_frame(channel, bytes(size)))
        assert box.frames <= 5
        assert box.size_bytes <= 100
    frames, size_bytes = box.frames, box.size_bytes
    arrived = assemble(drain(box, 50))
    assert (len(arrived), sum(len(payload) for _, payload in arrived)) == (frames, size_bytes)


@given(st.lists(st.binary(max_size=50), max_size=10), st.data())
def test_stream_is_cut_into_the_messages_that_were_sent(messages: list[bytes], data: st.DataObject) -> None:
    """In whatever portions bytes arrive, the same messages come out."""
    stream = b"".join(delimit(message) for message in messages)
    splitter, found = MessageSplitter(), []
    while stream:
        portion = data.draw(st.integers(1, len(stream)))
        splitter.feed(stream[:portion])
        stream = stream[portion:]
        while (message := splitter.next_message()) is not None:
            found.append(message)
    assert found == messages
    assert splitter.buffered_bytes == 0


def test_length_above_the_bound_is_refused_before_the_message_arrives() -> None:
    """During a handshake nobody makes us wait for 65,535 bytes."""
    splitter = MessageSplitter(1_024)
    splitter.feed(b"\x04\x00")
    assert splitter.next_message() is None
    splitter = MessageSplitter(1_024)
    splitter.feed(b"\x04\x01")
    with pytest.raises(Rejected) as refusal:
        splitter.next_message()
    assert (refusal.value.reason, refusal.value.detail) == (
        Reason.TOO_LARGE,
        "a message of 1025 bytes, at most 1024",
    )


@pytest.mark.parametrize(
    "plaintexts,reason,detail",
    [
        ([b"\x08"], Reason.MALFORMED, "channel 8, at most 7"),
        ([b"\x00\x00\x00\x00"], Reason.MALFORMED, "channel 0: a piece ends inside its head"),
        ([b"\x82a"], Reason.MALFORMED, "channel 2: goes on with a frame that never started"),
        (
            [b"\x01\x00\x00\x00\x02a", b"\x01\x00\x00\x00\x02a"],
            Reason.MALFORMED,
            "channel 1: a frame starts inside another",
        ),
        ([b"\x01\x00\x44\x00\x01"], Reason.TOO_LARGE, "channel 1: a frame of 4456449 bytes, at most 4456448"),
        ([b"\x07\x00\x00\x04\x01"], Reason.TOO_LARGE, "channel 7: a frame of 1025 bytes, at most 1024"),
    ],
)
def test_bad_piece_is_refused(plaintexts: list[bytes], reason: Reason, detail: str) -> None:
    """Each way of breaking the format has its sentence."""
    assembler = FrameAssembler()
    with pytest.raises(Rejected) as refusal:
        feed_all(assembler, plaintexts)
    assert (refusal.value.reason, refusal.value.detail) == (reason, detail)


def test_announced_length_costs_nothing() -> None:
    """Only bytes that arrived are held."""
    assembler = FrameAssembler()
    for channel in range(P2P_CHANNELS_MAX):
        assert assembler.feed(bytes([channel]) + FRAME_BYTES_MAX.to_bytes(4, "big")) == []
    assert assembler.buffered_bytes == 0


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_any_plaintexts_are_frames_or_rejected(plaintexts: list[bytes]) -> None:
    """Nothing but frames and refusals comes out, and what is held is no more than what came in."""
    assembler = FrameAssembler()

    def feed() -> None:
        fed_bytes = 0
        for plaintext in plaintexts:
            fed_bytes += len(plaintext)
            for channel, payload in assembler.feed(plaintext):
                assert 0 <= channel <= CONTROL_CHANNEL
                assert len(payload) <= fed_bytes
            assert assembler.buffered_bytes <= fed_bytes

    assert reason_of(feed) in (None, Reason.MALFORMED, Reason.TOO_LARGE)


@given(st.lists(st.binary(max_size=200), max_size=10), st.sampled_from([64, 1_024, NOISE_MESSAGE_BYTES_MAX]))
def test_any_stream_is_messages_or_rejected(portions: list[bytes], bytes_max: int) -> None:
    """The splitter takes any bytes, and holds back at most one incomplete message."""
    splitter = MessageSplitter(bytes_max)

    def feed() -> None:
        for portion in portions:
            splitter.feed(portion)
            while (message := splitter.next_message()) is not None:
                assert len(message) <= bytes_max
            assert splitter.buffered_bytes < bytes_max + 2

    assert reason_of(feed) in (None, Reason.TOO_LARGE)
