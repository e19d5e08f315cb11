"""Tests of node/p2p/handshake.py: who gets in, and what is said to those who do not."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.p2p.handshake import PROLOGUE, Handshake, Hello, Ourselves, binding, read_hello, write_hello
from node.p2p.noise import NoiseHandshake, Role, public_key_of
from tests.unit.p2p.net_kit import CHAIN_ID, GENESIS_HASH, directory, reason_of, signer


def admit(public_key: bytes) -> str:
    """Let in two institutions."""
    institution = directory("one.mx", "two.mx")(public_key)
    if institution is None:
        raise Rejected(Reason.NOT_A_PEER, "who is that")
    return institution


def side(role: Role, name: str, **changes: object) -> Handshake:
    """Return one side with fixed keys."""
    ourselves = Ourselves(signer(name), CHAIN_ID, GENESIS_HASH, sha256(name.encode() + b"static"))
    for field, value in changes.items():
        object.__setattr__(ourselves, field, value)
    return Handshake(role, ourselves, ephemeral=sha256(name.encode() + b"ephemeral"), admit=admit)


def meet(initiator: Handshake, responder: Handshake) -> None:
    """Exchange the three messages."""
    second = responder.receive(initiator.start())
    assert second is not None
    third = initiator.receive(second)
    assert third is not None
    assert responder.receive(third) is None


def refusal_of(call: Callable[[], object]) -> tuple[Reason, str]:
    """Return reason and detail of the refusal that a call ends in."""
    with pytest.raises(Rejected) as refusal:
        call()
    return refusal.value.reason, refusal.value.detail


def liar(payload_for: Callable[[bytes], bytes]) -> Callable[[], object]:
    """Return a call in which an initiator takes message 2 of a responder that says what it likes."""
    initiator = side(Role.INITIATOR, "one.mx")
    responder = NoiseHandshake(Role.RESPONDER, static=sha256(b"s"), ephemeral=sha256(b"e"), prologue=PROLOGUE)
    responder.read(initiator.start())
    message = responder.write(payload_for)
    return lambda: initiator.receive(message)


def test_two_sides_prove_who_they_are() -> None:
    """Afterwards both know identity, institution and instance of the other, and share a channel."""
    initiator, responder = side(Role.INITIATOR, "one.mx"), side(Role.RESPONDER, "two.mx")
    meet(initiator, responder)
    assert (initiator.institution, initiator.public_key) == ("two.mx", signer("two.mx").public_key)
    assert (responder.institution, responder.public_key) == ("one.mx", signer("one.mx").public_key)
    assert initiator.instance == public_key_of(sha256(b"two.mxstatic"))
    assert responder.instance == public_key_of(sha256(b"one.mxstatic"))
    send, receive = initiator.split()
    their_send, their_receive = responder.split()
    assert their_receive.decrypt(send.encrypt(b"question")) == b"question"
    assert receive.decrypt(their_send.encrypt(b"answer")) == b"answer"


@pytest.mark.parametrize(
    "changes,theirs",
    [
        ({"genesis_hash": sha256(b"another")}, f"{CHAIN_ID} with genesis {sha256(b'another').hex()}"),
        ({"chain_id": "devnet-1"}, f"devnet-1 with genesis {GENESIS_HASH.hex()}"),
    ],
)
def test_another_chain_is_refused(changes: dict[str, object], theirs: str) -> None:
    """Chain id and genesis hash must both be ours."""
    initiator, responder = side(Role.INITIATOR, "one.mx"), side(Role.RESPONDER, "two.mx", **changes)
    assert refusal_of(lambda: meet(initiator, responder)) == (
        Reason.WRONG_CHAIN,
        f"the peer follows {theirs}, we follow {CHAIN_ID} with genesis {GENESIS_HASH.hex()}",
    )


def test_institution_that_is_not_admitted_is_refused_by_either_side() -> None:
    """What `admit` says stands."""
    wanted = (Reason.NOT_A_PEER, "who is that")
    assert refusal_of(lambda: meet(side(Role.INITIATOR, "x.mx"), side(Role.RESPONDER, "one.mx"))) == wanted
    assert refusal_of(lambda: meet(side(Role.INITIATOR, "one.mx"), side(Role.RESPONDER, "x.mx"))) == wanted


def test_unknown_version_is_refused_with_both_numbers() -> None:
    """The version is read before anything whose shape may have changed."""
    assert refusal_of(liar(lambda _: b"\x00\x02whatever comes then")) == (
        Reason.UNKNOWN_VERSION,
        "the peer speaks version 2 of the protocol, we speak 1",
    )


@pytest.mark.parametrize(
    "digest_of",
    [
        lambda bound: binding(bound, CHAIN_ID, GENESIS_HASH, Role.INITIATOR),
        lambda bound: binding(sha256(bound), CHAIN_ID, GENESIS_HASH, Role.RESPONDER),
        lambda bound: binding(bound, "devnet-1", GENESIS_HASH, Role.RESPONDER),
        lambda bound: binding(bound, CHAIN_ID, sha256(b"another"), Role.RESPONDER),
    ],
    ids=["role", "handshake", "chain", "genesis"],
)
def test_signature_made_for_something_else_is_refused(digest_of: Callable[[bytes], bytes]) -> None:
    """A signature counts for one handshake, one chain and one side: it cannot be passed on."""

    def payload(bound: bytes) -> bytes:
        identity = signer("two.mx")
        return write_hello(Hello(CHAIN_ID, GENESIS_HASH, identity.public_key, identity.sign(digest_of(bound))))

    key = signer("two.mx").public_key.hex()
    assert refusal_of(liar(payload)) == (Reason.BAD_SIGNATURE, f"{key} did not sign this handshake")


def test_relayed_identity_is_refused() -> None:
    """Somebody in the middle cannot show a third party's hello as its own."""
    caught: list[bytes] = []
    middle = NoiseHandshake(Role.INITIATOR, static=sha256(b"m"), ephemeral=sha256(b"n"), prologue=PROLOGUE)
    victim = side(Role.RESPONDER, "two.mx")
    answer = victim.receive(middle.write(lambda _: b""))
    assert answer is not None
    caught.append(middle.read(answer)[0])
    assert refusal_of(liar(lambda _: caught[0]))[0] is Reason.BAD_SIGNATURE


def test_payload_in_the_first_message_is_refused() -> None:
    """Nothing is read from somebody who has shown no key."""
    stranger = NoiseHandshake(Role.INITIATOR, static=sha256(b"m"), ephemeral=sha256(b"n"), prologue=PROLOGUE)
    message = stranger.write(lambda _: b"hi")
    assert refusal_of(lambda: side(Role.RESPONDER, "two.mx").receive(message)) == (
        Reason.HANDSHAKE_FAILED,
        "message 1 carries 2 bytes, none expected",
    )


def test_message_out_of_turn_and_too_long_are_refused() -> None:
    """The initiator speaks first, and a handshake message has its own bound."""
    initiator = side(Role.INITIATOR, "one.mx")
    assert refusal_of(lambda: initiator.receive(bytes(32))) == (Reason.HANDSHAKE_FAILED, "a message out of turn")
    assert refusal_of(lambda: side(Role.RESPONDER, "two.mx").receive(bytes(1_025))) == (
        Reason.HANDSHAKE_FAILED,
        "a message of 1025 bytes, at most 1024",
    )


@given(st.binary(max_size=400))
def test_any_payload_is_a_hello_or_rejected(payload: bytes) -> None:
    """Also behind a version number that is ours."""
    for data in (payload, b"\x00\x01" + payload):
        reason = reason_of(lambda data=data: read_hello(data))
        assert reason in (None, Reason.MALFORMED, Reason.UNKNOWN_VERSION)
        if reason is None:
            assert write_hello(read_hello(data)) == data


def test_hello_is_read_back() -> None:
    """The payload is the version and the canonical struct."""
    hello = Hello(CHAIN_ID, GENESIS_HASH, bytes(32), bytes(64))
    assert write_hello(hello) == b"\x00\x01" + codec.encode(hello)
    assert read_hello(write_hello(hello)) == hello


@given(st.sampled_from(list(Role)), st.lists(st.binary(max_size=300), max_size=3))
def test_any_bytes_are_accepted_or_rejected(role: Role, messages: list[bytes]) -> None:
    """A handshake answers any bytes with a message or a refusal."""
    handshake = side(role, "one.mx")
    if role is Role.INITIATOR:
        handshake.start()
    reason = reason_of(lambda: [handshake.receive(message) for message in messages])
    assert reason in (None, Reason.HANDSHAKE_FAILED)
    assert not handshake.is_finished
