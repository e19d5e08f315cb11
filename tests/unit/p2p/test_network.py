"""Tests of node/p2p/network.py and connection.py over real sockets."""

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest
import uvloop

from node.crypto.hashing import sha256
from node.errors import ConfigError, Reason, Rejected
from node.limits import BLOCK_BYTES_MAX, FRAME_BYTES_MAX
from node.p2p.connection import Bounds, Control, ControlKind
from node.p2p.frames import CONTROL_CHANNEL, continuation, make_frame
from node.p2p.noise import PLAINTEXT_BYTES_MAX
from node.p2p.observer import PeerIdentity
from node.p2p.peer_book import PeerAddress
from tests.unit.p2p.net_kit import GENESIS_HASH, BarePeer, running, signer

ALL = ("one.mx", "two.mx", "three.mx")
QUICK = Bounds(handshake_ms=1_000, keepalive_ms=100, silence_ms=1_500, blocked_ms=1_000, penalty_ms=2_000)


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_two_nodes_exchange_frames_of_all_sizes_on_several_channels(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Small, empty and block-sized payloads arrive whole, in both directions, on either event loop."""
    block = random.Random(1).randbytes(BLOCK_BYTES_MAX)

    async def scenario() -> None:
        async with running("one.mx", ALL) as one, running("two.mx", ALL, dials=[one.address]) as two:
            await two.until(lambda: two.peers == ["one.mx"])
            await one.until(lambda: one.peers == ["two.mx"])
            assert two.network.send("one.mx", 2, block)
            assert two.network.send("one.mx", 0, b"vote")
            assert two.network.send("one.mx", 6, b"")
            assert one.network.broadcast(1, block) == 1
            assert one.network.broadcast(0, b"answer") == 1
            await one.until(lambda: len(one.messages) == 3)
            await two.until(lambda: len(two.messages) == 2)
            assert sorted(one.messages) == [("two.mx", 0, b"vote"), ("two.mx", 2, block), ("two.mx", 6, b"")]
            assert sorted(two.messages) == [("one.mx", 0, b"answer"), ("one.mx", 1, block)]
            assert one.tally.received_bytes == {0: 4, 2: len(block), 6: 0}
            assert two.tally.sent_bytes[2] == len(block)
            assert [view.is_dialled for view in two.network.peers()] == [True]
            assert [view.identity for view in two.network.peers()] == [
                PeerIdentity("one.mx", signer("one.mx").public_key)
            ]

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(scenario())


async def test_identity_that_is_not_authorised_is_refused_with_a_sentence() -> None:
    """A stranger completes the handshake, is told why it may not stay, and never becomes a peer."""
    async with running("one.mx", ALL) as one, running("stranger.mx", ALL, dials=[one.address]) as stranger:
        await stranger.until(lambda: stranger.tally.refusals["peer_says"] >= 1)
        detail = f"{signer('stranger.mx').public_key.hex()} is the node key of no institution"
        assert stranger.tally.last_detail["peer_says"] == f"not_a_peer: {detail}"
        await one.until(lambda: one.tally.refusals["not_a_peer"] >= 1)
        assert one.tally.last_detail["not_a_peer"] == detail
        assert (one.events, stranger.events) == ([], [])


async def test_dialled_peer_that_is_not_authorised_never_learns_who_dialled() -> None:
    """The initiator stops before the message that carries its identity."""
    async with running("one.mx", ALL) as one, running("two.mx", ["three.mx"], dials=[one.address]) as two:
        await two.until(lambda: two.tally.refusals["not_a_peer"] >= 1)
        assert (
            two.tally.last_detail["not_a_peer"]
            == f"{signer('one.mx').public_key.hex()} is the node key of no institution"
        )
        await one.until(lambda: one.tally.refusals["closed"] >= 1)
        assert (one.events, two.events) == ([], [])


async def test_another_institution_than_expected_is_refused() -> None:
    """An address book that names the wrong institution leads to a refusal, not to a mix-up."""
    async with running("one.mx", ALL) as one:
        wrong = PeerAddress(one.address.host, one.address.port, "three.mx")
        async with running("two.mx", ALL, dials=[wrong]) as two:
            await two.until(lambda: two.tally.refusals["not_a_peer"] >= 1)
            assert two.tally.last_detail["not_a_peer"] == f"{wrong} is one.mx, expected three.mx"


async def test_node_of_another_genesis_is_refused() -> None:
    """A network that was set up anew does not mix with the old one, and the sentence names both."""
    other = sha256(b"another genesis")
    async with (
        running("one.mx", ALL) as one,
        running("two.mx", ALL, dials=[one.address], genesis_hash=other) as two,
    ):
        await two.until(lambda: two.tally.refusals["wrong_chain"] >= 1)
        assert two.tally.last_detail["wrong_chain"] == (
            f"the peer follows guanajuato-1 with genesis {GENESIS_HASH.hex()}, "
            f"we follow guanajuato-1 with genesis {other.hex()}"
        )
        assert (one.events, two.events) == ([], [])


async def test_responder_refuses_another_genesis_as_well() -> None:
    """An initiator that does not look is refused by the other side."""
    async with running("one.mx", ALL) as one:
        peer = await BarePeer.dial(one.address)
        with pytest.raises(Rejected) as refusal:
            await peer.shake("two.mx", genesis_hash=sha256(b"another genesis"))
        assert refusal.value.reason is Reason.WRONG_CHAIN
        await peer.close()
        await one.until(lambda: one.tally.refusals["closed"] == 1)


async def test_own_identity_is_refused() -> None:
    """A node that dials itself notices."""
    async with running("one.mx", ALL) as one:
        peer = await BarePeer.dial(one.address)
        await peer.shake("one.mx")
        await peer.read_to_end()
        assert peer.controls == [
            Control(ControlKind.GOODBYE, "not_a_peer", "the other side has our own identity"),
        ]
        await peer.close()


async def test_simultaneous_dial_leaves_exactly_one_connection() -> None:
    """Both sides dial at the same time; one connection stays, the same on both sides, and carries frames."""
    async with running("one.mx", ALL) as one, running("two.mx", ALL) as two:
        one.network.set_addresses([two.address])
        two.network.set_addresses([one.address])
        await one.until(lambda: one.peers == ["two.mx"] and two.peers == ["one.mx"])
        # Long enough for whatever was under way to come to an end.
        for _ in range(20):
            await asyncio.sleep(0.02)
        await one.until(lambda: len(one.network._connections) == 1 and len(two.network._connections) == 1)
        (at_one,) = one.network.peers()
        (at_two,) = two.network.peers()
        assert at_one.is_dialled is not at_two.is_dialled
        assert one.network.send("two.mx", 0, b"vote")
        await two.until(lambda: two.messages == [("one.mx", 0, b"vote")])


async def test_mesh_in_which_everybody_dials_everybody_settles() -> None:
    """Six nodes that start at once end with five peers each, one socket per pair, and no more comings and goings."""
    names = [f"n{number}.mx" for number in range(6)]
    async with contextlib.AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(running(name, names)) for name in names]
        addresses = [node.address for node in nodes]
        for node in nodes:
            node.network.set_addresses([address for address in addresses if address.institution != node.name])

        def is_settled() -> bool:
            return all(len(node.peers) == 5 and len(node.network._connections) == 5 for node in nodes)

        await nodes[0].until(is_settled)
        events = [list(node.events) for node in nodes]
        # Ten ticks of every node's watch.
        await asyncio.sleep(1)
        assert is_settled()
        assert [node.events for node in nodes] == events
        for node in nodes:
            assert node.network.broadcast(0, node.name.encode()) == 5
        for node in nodes:
            wanted = sorted((name, 0, name.encode()) for name in names if name != node.name)
            await node.until(lambda node=node, wanted=wanted: sorted(node.messages) == wanted)


async def test_peer_that_dials_again_replaces_its_own_earlier_connection() -> None:
    """The dialling side knows that its old connection is gone before anybody else does."""
    async with running("one.mx", ALL) as one:
        old = await BarePeer.dial(one.address)
        await old.shake("two.mx")
        await old.read_some()
        new = await BarePeer.dial(one.address)
        await new.shake("two.mx")
        await new.read_some()
        assert new.controls == [Control(ControlKind.ACCEPT)]
        await old.read_to_end()
        assert [control.cause for control in old.controls] == ["", "replaced"]
        assert one.events == [("up", "two.mx"), ("down", "two.mx"), ("up", "two.mx")]
        await new.close()
        await old.close()


async def test_peer_that_was_killed_and_started_again_is_found_again() -> None:
    """The side that stays up dials until somebody answers; frames flow as before."""
    async with running("one.mx", ALL, seed="first") as one:
        port = one.address.port
        async with running("two.mx", ALL, dials=[one.address]) as two:
            await two.until(lambda: two.peers == ["one.mx"])
            await one.stop()
            await two.until(lambda: two.peers == [])
            await two.until(lambda: two.tally.refusals["unreachable"] >= 1)
            async with running("one.mx", ALL, port=port, seed="second") as again:
                await two.until(lambda: two.peers == ["one.mx"])
                assert two.network.send("one.mx", 0, b"vote")
                await again.until(lambda: again.messages == [("two.mx", 0, b"vote")])
            assert two.events[:3] == [("up", "one.mx"), ("down", "one.mx"), ("up", "one.mx")]


async def test_restarted_peer_takes_the_place_of_its_dead_connection() -> None:
    """A peer that died without a word comes back at once, not after the silence limit."""
    async with running("one.mx", ALL) as one:
        dead = await BarePeer.dial(one.address)
        await dead.shake("two.mx", seed="first life")
        await one.until(lambda: one.peers == ["two.mx"])
        async with running("two.mx", ALL, dials=[one.address]) as two:
            await two.until(lambda: two.peers == ["one.mx"])
            await one.until(lambda: one.tally.disconnections["replaced"] == 1)
            assert one.events == [("up", "two.mx"), ("down", "two.mx"), ("up", "two.mx")]
        await dead.close()


async def test_silent_peer_is_noticed_in_bounded_time() -> None:
    """A peer that answers nothing for the silence limit is dropped; one that only sends heartbeats stays."""
    async with (
        running("one.mx", ALL, bounds=QUICK) as one,
        running("two.mx", ALL, dials=[one.address], bounds=QUICK) as two,
    ):
        silent = await BarePeer.dial(one.address)
        await silent.shake("three.mx")
        await one.until(lambda: one.peers == ["three.mx", "two.mx"])
        await one.until(lambda: one.tally.disconnections["silent"] == 1)
        assert one.peers == ["two.mx"]
        assert two.events == [("up", "one.mx")]
        await silent.close()


async def test_socket_without_handshake_is_closed() -> None:
    """Whoever connects and says nothing is gone after the handshake limit."""
    async with running("one.mx", ALL, bounds=QUICK) as one:
        peer = await BarePeer.dial(one.address)
        await one.until(lambda: one.tally.refusals["timeout"] == 1)
        assert await peer.reader.read(1) == b""
        assert one.tally.last_detail["timeout"] == "no handshake within 1000 ms"
        await peer.close()


async def test_slow_reader_is_dropped_while_others_go_on() -> None:
    """A peer that does not read loses its place; its queue stays in bounds and nobody else waits."""
    bounds = Bounds(queue_frames=64, queue_bytes=FRAME_BYTES_MAX, blocked_ms=1_000, write_buffer_bytes=65_536)
    async with (
        running("one.mx", ALL, bounds=bounds) as one,
        running("two.mx", ALL, dials=[one.address]) as two,
    ):
        slow = await BarePeer.dial(one.address, receive_buffer_bytes=4_096)
        await slow.shake("three.mx")
        await one.until(lambda: one.peers == ["three.mx", "two.mx"])
        slow.writer.transport.pause_reading()
        payload = bytes(100_000)
        sent = 0
        for _ in range(1_000):
            one.network.send("three.mx", 1, payload)
            sent += one.network.send("two.mx", 1, payload)
            for view in one.network.peers():
                assert view.queue_frames <= 64
                assert view.queue_bytes <= FRAME_BYTES_MAX
            await asyncio.sleep(0.005)
            if one.tally.disconnections["slow_reader"]:
                break
        assert one.tally.disconnections == {"slow_reader": 1}
        assert one.tally.dropped_frames[1] > 0
        assert one.peers == ["two.mx"]
        await two.until(lambda: len(two.messages) == sent)
        slow.writer.transport.abort()


async def test_peer_without_room_for_consensus_is_dropped_at_once() -> None:
    """When even channel 0 finds no room the connection ends; `send` says so and does not raise."""
    async with running("one.mx", ALL, bounds=Bounds(queue_frames=10)) as one:
        slow = await BarePeer.dial(one.address)
        await slow.shake("two.mx")
        await one.until(lambda: one.peers == ["two.mx"])
        results = [one.network.send("two.mx", 0, b"vote") for _ in range(13)]
        # The heartbeat channel took no place: the accept was sent before.
        assert results == [True] * 10 + [False] * 3
        await one.until(lambda: one.events == [("up", "two.mx"), ("down", "two.mx")])
        assert one.tally.disconnections == {"slow_reader": 1}
        await slow.close()


async def test_frames_of_urgent_channels_overtake_those_that_wait() -> None:
    """What is queued in one turn leaves by channel, and a vote cuts into a block that is under way."""
    async with running("one.mx", ALL) as one:
        peer = await BarePeer.dial(one.address, receive_buffer_bytes=4_096)
        await peer.shake("two.mx")
        await one.until(lambda: one.peers == ["two.mx"])
        block = bytes(FRAME_BYTES_MAX)
        one.network.send("two.mx", 2, block)
        one.network.send("two.mx", 1, b"transaction")
        one.network.send("two.mx", 0, b"vote")
        while len(peer.frames) < 2:
            await peer.read_some()
        assert peer.frames == [(0, b"vote"), (1, b"transaction")]
        one.network.send("two.mx", 0, b"later vote")
        while len(peer.frames) < 4:
            await peer.read_some()
        assert peer.frames[2:] == [(0, b"later vote"), (2, block)]
        await peer.close()


async def test_garbage_from_a_bare_socket_disturbs_nobody() -> None:
    """Bytes that are no handshake cost the sender its socket; peers go on, and honest ones still come in."""
    dice = random.Random(7)
    async with running("one.mx", ALL) as one, running("two.mx", ALL, dials=[one.address]) as two:
        await two.until(lambda: two.peers == ["one.mx"])
        garbage = [dice.randbytes(dice.randrange(1, 3_000)) for _ in range(30)]
        garbage += [
            b"\x00\x20" + bytes(32),
            b"\x00\x00",
            b"\xff\xff",
            b"\x00\x21" + bytes(33),
            b"GET / HTTP/1.1\r\n\r\n",
        ]
        for data in garbage:
            reader, writer = await asyncio.open_connection(one.address.host, one.address.port)
            writer.write(data)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 20)
            writer.close()
        await one.until(lambda: one.tally.refusals.total() == len(garbage))
        assert set(one.tally.refusals) <= {"too_large", "handshake_failed", "closed"}
        assert two.network.send("one.mx", 0, b"vote")
        await one.until(lambda: one.messages == [("two.mx", 0, b"vote")])
        async with running("three.mx", ALL, dials=[one.address]) as three:
            await three.until(lambda: three.peers == ["one.mx"])
        assert two.events == [("up", "one.mx")]


@pytest.mark.parametrize(
    "plaintext,reason,detail",
    [
        (b"\x08\x00\x00\x00\x00", "malformed", "channel 8, at most 7"),
        (continuation(3), "malformed", "channel 3: goes on with a frame that never started"),
        (b"\x02\x00", "malformed", "channel 2: a piece ends inside its head"),
        (
            b"\x02" + (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
            "too_large",
            f"channel 2: a frame of {FRAME_BYTES_MAX + 1} bytes, at most {FRAME_BYTES_MAX}",
        ),
        (make_frame(CONTROL_CHANNEL, b"").start, "malformed", "Control: Input data was truncated"),
        (make_frame(1, b"junk").start + b"junk", "malformed", "no message of ours"),
    ],
    ids=["channel", "continuation", "head", "length", "control", "content"],
)
async def test_bad_frame_ends_the_connection_and_keeps_the_peer_away_for_a_while(
    plaintext: bytes, reason: str, detail: str
) -> None:
    """The peer is told why, counted under the reason, and refused while its penalty lasts."""

    def on_message(peer: PeerIdentity, channel: int, payload: bytes) -> None:
        raise Rejected(Reason.MALFORMED, "no message of ours")

    bounds = Bounds(penalty_ms=60_000)
    async with running("one.mx", ALL, on_message=on_message, bounds=bounds) as one:
        peer = await BarePeer.dial(one.address)
        await peer.shake("two.mx")
        await peer.read_some()
        peer.say_plaintext(plaintext)
        await peer.read_to_end()
        assert peer.controls == [Control(ControlKind.ACCEPT), Control(ControlKind.GOODBYE, reason, detail)]
        assert one.tally.disconnections == {reason: 1}
        assert one.events == [("up", "two.mx"), ("down", "two.mx")]
        again = await BarePeer.dial(one.address)
        await again.shake("two.mx")
        await again.read_to_end()
        assert [control.cause for control in again.controls] == ["quota_exceeded"]
        await peer.close()
        await again.close()


async def test_changed_byte_ends_the_connection_with_a_short_penalty_only() -> None:
    """Anybody on the way can change a byte, so the peer itself comes back soon."""
    async with running("one.mx", ALL, bounds=Bounds(unproven_penalty_ms=150)) as one:
        peer = await BarePeer.dial(one.address)
        await peer.shake("two.mx")
        await peer.read_some()
        peer.writer.write(b"\x00\x20" + bytes(32))
        await peer.read_to_end()
        assert one.tally.disconnections == {"malformed": 1}
        assert one.tally.last_detail["malformed"] == "message 0: its MAC does not fit"
        await peer.close()
        async with running("two.mx", ALL, dials=[one.address]) as two:
            await two.until(lambda: two.peers == ["one.mx"])


async def test_application_frame_before_the_accept_is_refused() -> None:
    """A responder that skips the accept breaks the protocol."""
    async with running("one.mx", ALL) as one:
        peer = await BarePeer.dial(one.address)
        await peer.shake("two.mx")
        await peer.read_some()
        peer.say(CONTROL_CHANNEL, bytes([0x93, 1, 0xA0, 0xA0]))
        await peer.read_to_end()
        assert peer.controls[1:] == [
            Control(ControlKind.GOODBYE, "malformed", "an accept on a connection that is open")
        ]
        await peer.close()


async def test_flood_of_frames_is_slowed_down_and_others_go_on() -> None:
    """A flooding peer is read no faster than its pace allows, while another's vote comes through."""
    bounds = Bounds(read_items_per_second=1_000)
    async with (
        running("one.mx", ALL, bounds=bounds) as one,
        running("two.mx", ALL, dials=[one.address]) as two,
    ):
        await two.until(lambda: two.peers == ["one.mx"])
        flooder = await BarePeer.dial(one.address)
        await flooder.shake("three.mx")
        await flooder.read_some()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        frame = make_frame(1, b"x").start + b"x"
        for _ in range(10):
            flooder.say_plaintext(frame * 1_000)
        two.network.send("one.mx", 0, b"vote")
        await one.until(lambda: ("two.mx", 0, b"vote") in one.messages)
        await one.until(lambda: one.tally.received_frames[1] >= 3_000)
        # 1,000 at once and 1,000 a second, plus what one read of at most 256 KiB may bring beyond its allowance.
        allowed = 1_000 * (1 + loop.time() - begin) + 256 * 1024 / len(frame)
        assert one.tally.received_frames[1] <= allowed
        flooder.writer.transport.abort()


async def test_strangers_cannot_keep_peers_out_by_holding_sockets_open() -> None:
    """Beyond the bound the oldest silent socket goes, so an honest handshake still finds its place."""
    async with running("one.mx", ALL, bounds=Bounds(handshakes_pending=4)) as one:
        held = [await BarePeer.dial(one.address) for _ in range(8)]
        await one.until(lambda: one.tally.refusals["quota_exceeded"] == 4)
        async with running("two.mx", ALL, dials=[one.address]) as two:
            await two.until(lambda: two.peers == ["one.mx"])
        for peer in held:
            await peer.close()


async def test_handshakes_of_one_address_are_bounded_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its burst an address is turned away before anything is computed; a connection that stands stays."""
    monkeypatch.setattr("node.p2p.doorman.HANDSHAKES_BURST_SECONDS", 1)
    monkeypatch.setattr("node.p2p.doorman.HANDSHAKES_PER_ADDRESS_PER_SECOND_MAX", 3)
    async with running("one.mx", ALL) as one, running("two.mx", ALL, dials=[one.address]):
        await one.until(lambda: one.peers == ["two.mx"])
        strangers = [await BarePeer.dial(one.address) for _ in range(6)]
        await one.until(lambda: one.tally.refusals["quota_exceeded"] >= 2)
        assert one.tally.last_detail["quota_exceeded"] == "too many handshakes a second from 127.0.0.1"
        assert one.peers == ["two.mx"]
        for stranger in strangers:
            await stranger.close()


async def test_validator_gets_the_place_of_another_peer_when_all_are_taken() -> None:
    """With one place, an ordinary peer gives way to a privileged one and does not get in again."""
    async with (
        running("one.mx", ALL, bounds=Bounds(peers=1), is_privileged=lambda name: name == "two.mx") as one,
        running("three.mx", ALL, dials=[one.address]) as three,
    ):
        await three.until(lambda: three.peers == ["one.mx"])
        async with running("two.mx", ALL, dials=[one.address]) as two:
            await two.until(lambda: two.peers == ["one.mx"])
            await three.until(lambda: three.tally.refusals["peer_says"] >= 1)
            assert three.tally.last_detail["peer_says"] == "quota_exceeded: 1 peers are connected, at most 1"
            assert one.peers == ["two.mx"]


async def test_recheck_disconnects_a_peer_whose_key_was_revoked() -> None:
    """When keys on the chain change, who is no longer authorised has to go."""
    trusted = {signer("two.mx").public_key: "two.mx"}
    async with running("one.mx", ALL) as one:
        one.network._authorise = trusted.get
        peer = await BarePeer.dial(one.address)
        await peer.shake("two.mx")
        await peer.read_some()
        one.network.recheck()
        assert one.peers == ["two.mx"]
        trusted.clear()
        one.network.recheck()
        await peer.read_to_end()
        detail = f"{signer('two.mx').public_key.hex()} is no longer a node key of two.mx"
        assert peer.controls[1:] == [Control(ControlKind.GOODBYE, "not_a_peer", detail)]
        assert one.tally.disconnections == {"not_a_peer": 1}
        assert one.events == [("up", "two.mx"), ("down", "two.mx")]
        await peer.close()


async def test_fault_of_our_own_in_a_callback_ends_run() -> None:
    """A bug must not be logged and forgotten by the event loop."""

    def on_message(peer: PeerIdentity, channel: int, payload: bytes) -> None:
        raise AssertionError("cannot be")

    async with (
        running("one.mx", ALL, on_message=on_message) as one,
        running("two.mx", ALL, dials=[one.address]) as two,
    ):
        await two.until(lambda: two.network.send("one.mx", 0, b"vote"))
        assert one.task is not None
        with pytest.raises(ExceptionGroup) as failure:
            await asyncio.wait_for(asyncio.shield(one.task), 20)
        assert [str(error) for error in failure.value.exceptions] == ["cannot be"]


async def test_port_in_use_is_the_operators_fault() -> None:
    """The sentence names the address."""
    async with running("one.mx", ALL) as one, running("two.mx", ALL, port=one.address.port) as two:
        assert two.task is not None
        with pytest.raises(ConfigError, match=f"^p2p: cannot listen on 127.0.0.1:{one.address.port}: "):
            await two.task


async def test_send_to_nobody_and_of_too_much_is_answered_with_no() -> None:
    """`send` and `broadcast` never raise into the consensus loop."""
    async with running("one.mx", ALL) as one, running("two.mx", ALL, dials=[one.address]) as two:
        await two.until(lambda: two.peers == ["one.mx"])
        assert two.network.send("three.mx", 0, b"vote") is False
        assert two.network.send("one.mx", 0, bytes(FRAME_BYTES_MAX + 1)) is False
        assert two.network.broadcast(0, bytes(FRAME_BYTES_MAX + 1)) == 0
        assert two.network.broadcast(0, b"vote", only=["three.mx"]) == 0
        assert two.network.broadcast(0, b"vote", except_=["one.mx"]) == 0
        assert two.network.is_connected("one.mx") is True
        assert two.network.is_connected("three.mx") is False


async def test_orderly_stop_tells_peers_and_makes_no_more_callbacks() -> None:
    """Cancelling `run` says goodbye; the stopped node's own callbacks stay silent."""
    async with running("one.mx", ALL) as one, running("two.mx", ALL, dials=[one.address]) as two:
        await one.until(lambda: one.peers == ["two.mx"])
        await one.stop()
        await two.until(lambda: two.tally.disconnections["peer_says"] == 1)
        assert two.tally.last_detail["peer_says"] == "stopping: the node is being stopped"
        assert one.events == [("up", "two.mx")]
        assert one.network._connections == {}


async def test_small_frames_of_one_turn_share_a_noise_message() -> None:
    """A hundred votes queued together travel in one message; a lone one goes out at once."""
    async with running("one.mx", ALL) as one:
        peer = await BarePeer.dial(one.address)
        await peer.shake("two.mx")
        await peer.read_some()
        for number in range(100):
            one.network.send("two.mx", 0, bytes([number]) * 200)
        await peer.read_some()
        assert peer.frames == [(0, bytes([number]) * 200) for number in range(100)]
        assert PLAINTEXT_BYTES_MAX > 100 * 205
        one.network.send("two.mx", 0, b"lone")
        await peer.read_some()
        assert peer.frames[100:] == [(0, b"lone")]
        await peer.close()
