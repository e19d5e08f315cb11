"""Tests of node/p2p/noise.py: the published vectors, and everything that is not a handshake."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.limits import NOISE_MESSAGE_BYTES_MAX
from node.p2p.noise import NONCE_MAX, Cipher, NoiseHandshake, Role, public_key_of, shared_secret
from tests.unit.p2p.net_kit import reason_of

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "noise").glob("*.json"))

# Points of order 1, 2, 4 and 8 on Curve25519 and on its twist, in every encoding of 255 bits.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def pair() -> tuple[NoiseHandshake, NoiseHandshake]:
    """Return an initiator and a responder with fixed keys."""
    return (
        NoiseHandshake(Role.INITIATOR, static=sha256(b"is"), ephemeral=sha256(b"ie")),
        NoiseHandshake(Role.RESPONDER, static=sha256(b"rs"), ephemeral=sha256(b"re")),
    )


def run(initiator: NoiseHandshake, responder: NoiseHandshake) -> list[bytes]:
    """Exchange the three messages of XX; return them."""
    messages = [initiator.write(lambda _: b"")]
    responder.read(messages[0])
    messages.append(responder.write(lambda _: b"responder"))
    assert initiator.read(messages[1])[0] == b"responder"
    messages.append(initiator.write(lambda _: b"initiator"))
    assert responder.read(messages[2])[0] == b"initiator"
    return messages


def test_both_published_files_are_here() -> None:
    """The next test would pass on an empty folder."""
    assert [path.name for path in VECTORS] == [
        "noise_xx_25519_chachapoly_sha256_cacophony.json",
        "noise_xx_25519_chachapoly_sha256_snow.json",
    ]


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_published_conversation_is_reproduced_byte_for_byte(path: Path) -> None:
    """With the keys of the vectors, each message has the bytes that other implementations make."""
    (vector,) = json.loads(path.read_text())["vectors"]
    sides = [
        NoiseHandshake(
            role,
            static=bytes.fromhex(vector[f"{name}_static"]),
            ephemeral=bytes.fromhex(vector[f"{name}_ephemeral"]),
            prologue=bytes.fromhex(vector[f"{name}_prologue"]),
        )
        for role, name in ((Role.INITIATOR, "init"), (Role.RESPONDER, "resp"))
    ]
    wanted = [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])) for message in vector["messages"]
    ]
    for number, (payload, ciphertext) in enumerate(wanted[:3]):
        writer, reader = sides[number % 2], sides[1 - number % 2]
        assert writer.write(lambda _, payload=payload: payload) == ciphertext
        assert reader.read(ciphertext)[0] == payload
    assert sides[0].hash == sides[1].hash
    if "handshake_hash" in vector:
        assert sides[0].hash.hex() == vector["handshake_hash"]
    assert sides[0].remote_static == public_key_of(bytes.fromhex(vector["resp_static"]))
    assert sides[1].remote_static == public_key_of(bytes.fromhex(vector["init_static"]))
    ciphers = [side.split() for side in sides]
    for number, (payload, ciphertext) in enumerate(wanted[3:], start=3):
        assert ciphers[number % 2][0].encrypt(payload) == ciphertext
        assert ciphers[1 - number % 2][1].decrypt(ciphertext) == payload


def test_both_sides_see_the_same_hash_before_a_payload() -> None:
    """What a side may sign is what the other side can check, and differs from message to message."""
    initiator, responder = pair()
    responder.read(initiator.write(lambda _: b""))
    written: list[bytes] = []
    _, second = initiator.read(responder.write(lambda bound: written.append(bound) or b""))
    _, third = responder.read(initiator.write(lambda bound: written.append(bound) or b""))
    assert written == [second, third]
    assert second != third


@pytest.mark.parametrize("public", SMALL_ORDER)
def test_key_of_small_order_is_refused(public: str) -> None:
    """A shared secret of zero bytes would be known to everybody."""
    with pytest.raises(Rejected) as refusal:
        shared_secret(sha256(b"private"), bytes.fromhex(public))
    assert (refusal.value.reason, refusal.value.detail) == (Reason.HANDSHAKE_FAILED, f"{public} has small order")


def test_ephemeral_key_of_small_order_is_refused_before_anything_is_said() -> None:
    """The responder does not reveal its static key under a secret that is none."""
    _, responder = pair()
    responder.read(bytes(32))
    with pytest.raises(Rejected) as refusal:
        responder.write(lambda _: b"")
    assert (refusal.value.reason, refusal.value.detail) == (
        Reason.HANDSHAKE_FAILED,
        f"{bytes(32).hex()} has small order",
    )


@pytest.mark.parametrize(
    "message,detail",
    [
        (bytes(31), "message 1: ends 1 bytes early"),
        (bytes(NOISE_MESSAGE_BYTES_MAX + 1), "message 1 of 65536 bytes, at most 65535"),
    ],
)
def test_first_message_of_wrong_length_is_refused(message: bytes, detail: str) -> None:
    """A message holds its keys and is no longer than Noise allows."""
    _, responder = pair()
    with pytest.raises(Rejected) as refusal:
        responder.read(message)
    assert (refusal.value.reason, refusal.value.detail) == (Reason.HANDSHAKE_FAILED, detail)


@given(st.integers(1, 2), st.data())
def test_any_changed_bit_of_an_encrypted_message_is_refused(number: int, data: st.DataObject) -> None:
    """Messages 2 and 3 are authenticated as a whole."""
    messages = run(*pair())
    reader = pair()[0 if number == 1 else 1]
    if number == 1:
        reader.write(lambda _: b"")
    else:
        reader.read(messages[0])
        reader.write(lambda _: b"responder")
    changed = bytearray(messages[number])
    position = data.draw(st.integers(0, len(changed) * 8 - 1))
    # X25519 ignores the top bit of a public key; the hash of the handshake does not.
    changed[position // 8] ^= 1 << position % 8
    with pytest.raises(Rejected) as refusal:
        reader.read(bytes(changed))
    assert refusal.value.reason is Reason.HANDSHAKE_FAILED


@given(st.sampled_from(list(Role)), st.binary(max_size=300))
def test_any_bytes_are_accepted_or_rejected_in_a_handshake(role: Role, message: bytes) -> None:
    """Nothing but a refusal comes out of a handshake, whatever goes in."""
    side = pair()[role]
    if role is Role.INITIATOR:
        side.write(lambda _: b"")
    assert reason_of(lambda: (side.read(message), side.write(lambda _: b"hello"))) in (None, Reason.HANDSHAKE_FAILED)


@given(st.binary(max_size=200))
def test_any_bytes_are_no_message_of_an_established_channel(message: bytes) -> None:
    """Nobody guesses a MAC."""
    cipher = Cipher(sha256(b"key"))
    with pytest.raises(Rejected) as refusal:
        cipher.decrypt(message)
    short = f"a ciphertext of {len(message)} bytes, at least 16"
    expected = short if len(message) < 16 else "message 0: its MAC does not fit"
    assert (refusal.value.reason, refusal.value.detail) == (Reason.MALFORMED, expected)


def test_message_out_of_order_is_refused() -> None:
    """A message counts at its own number only, so nothing is replayed or left out."""
    send, receive = Cipher(sha256(b"key")), Cipher(sha256(b"key"))
    first, second = send.encrypt(b"first"), send.encrypt(b"second")
    assert receive.decrypt(first) == b"first"
    with pytest.raises(Rejected) as refusal:
        receive.decrypt(first)
    assert refusal.value.detail == "message 1: its MAC does not fit"
    other = Cipher(sha256(b"key"))
    with pytest.raises(Rejected):
        other.decrypt(second)


def test_nonce_never_repeats() -> None:
    """After 2^64 − 1 messages the channel is at its end, in both directions."""
    detail = "18446744073709551615 messages under one key, no more"
    cipher = Cipher(sha256(b"key"))
    cipher.nonce = NONCE_MAX - 1
    last = cipher.encrypt(b"last")
    with pytest.raises(Rejected) as refusal:
        cipher.encrypt(b"one more")
    assert (refusal.value.reason, refusal.value.detail) == (Reason.LIMIT_EXCEEDED, detail)
    reader = Cipher(sha256(b"key"))
    reader.nonce = NONCE_MAX - 1
    assert reader.decrypt(last) == b"last"
    with pytest.raises(Rejected) as refusal:
        reader.decrypt(last)
    assert (refusal.value.reason, refusal.value.detail) == (Reason.LIMIT_EXCEEDED, detail)
