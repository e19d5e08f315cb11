"""Who is on the other side: Noise XX, with payloads that bind an Ed25519 node identity to the channel.

Static Noise keys live as long as the process; what lasts is the identity. Each side signs
H("pila/handshake", canonical [handshake hash, chain id, genesis hash, role]), and the handshake hash covers
both ephemeral keys and the signer's static key, so a signature is good for one handshake and one side of it.
The initiator learns who the responder is (message 2) before it says who it is itself (message 3).
Source: PROTOCOL §7; the binding is that of libp2p's noise specification.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec

from node import codec
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import Algorithm, Signer, verify
from node.errors import Reason, Rejected
from node.limits import HANDSHAKE_MESSAGE_BYTES_MAX
from node.p2p.noise import Cipher, NoiseHandshake, Role
from node.primitives import ChainId, Hash, Signature

VERSION: Final = 1
"""The version of everything after the handshake that we speak."""
PROLOGUE: Final = b"pila/p2p"

_VERSION_BYTES: Final = 2


class Hello(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a side says about itself; on the wire after the version number (u16, big endian)."""

    chain_id: ChainId
    """The chain it follows."""
    genesis_hash: Hash
    """Of that chain: a network that was set up anew has another one."""
    public_key: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    """Its Ed25519 node identity."""
    signature: Signature
    """Of that identity over the binding (see the module)."""


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What our side of every handshake says."""

    signer: Signer
    """The node identity, Ed25519."""
    chain_id: str
    genesis_hash: Hash
    static: bytes
    """X25519 private key, 32 bytes, fresh for each start of the process."""


class Handshake:
    """One side of one handshake: feed it messages, send what it returns."""

    def __init__(self, role: Role, ourselves: Ourselves, *, ephemeral: bytes, admit: Callable[[bytes], str]) -> None:
        """Take a fresh 32-byte `ephemeral`; `admit` names the institution of an identity or raises Rejected."""
        assert ourselves.signer.algorithm is Algorithm.ED25519
        self.role = role
        self._ourselves = ourselves
        self._admit = admit
        self._noise = NoiseHandshake(role, static=ourselves.static, ephemeral=ephemeral, prologue=PROLOGUE)
        self.public_key = b""
        """The peer's Ed25519 identity, once it is proven."""
        self.institution = ""
        """Who that is, once admitted."""

    @property
    def is_over(self) -> bool:
        """Tell whether the channel stands, with whomever."""
        return self._noise.is_finished

    @property
    def is_finished(self) -> bool:
        """Tell whether the channel stands and the peer is admitted."""
        return self.is_over and bool(self.institution)

    @property
    def instance(self) -> bytes:
        """The peer's static Noise key: another one means that its process was started again."""
        return self._noise.remote_static

    def start(self) -> bytes:
        """Return the initiator's first message, 32 bytes."""
        return self._noise.write(lambda _: b"")

    def receive(self, message: bytes) -> bytes | None:
        """Take the peer's next message; return ours, if one is due.

        Raises: Rejected: HANDSHAKE_FAILED (not Noise, or not ours), UNKNOWN_VERSION, MALFORMED (not a Hello),
        WRONG_CHAIN, BAD_SIGNATURE, or what `admit` raises.
        """
        if not self._noise.is_their_turn:
            raise Rejected(Reason.HANDSHAKE_FAILED, "a message out of turn")
        if len(message) > HANDSHAKE_MESSAGE_BYTES_MAX:
            detail = f"a message of {len(message)} bytes, at most {HANDSHAKE_MESSAGE_BYTES_MAX}"
            raise Rejected(Reason.HANDSHAKE_FAILED, detail)
        payload, bound = self._noise.read(message)
        if self.role is Role.RESPONDER and not self._noise.is_finished:
            # Message 1: a bare key, from anybody.
            if payload:
                raise Rejected(Reason.HANDSHAKE_FAILED, f"message 1 carries {len(payload)} bytes, none expected")
        else:
            self._meet(payload, bound)
        return None if self._noise.is_finished else self._noise.write(self._hello)

    def split(self) -> tuple[Cipher, Cipher]:
        """Return the ciphers for what we send and for what we receive."""
        return self._noise.split()

    def _meet(self, payload: bytes, bound: Hash) -> None:
        hello = read_hello(payload)
        ours = self._ourselves
        if (hello.chain_id, hello.genesis_hash) != (ours.chain_id, ours.genesis_hash):
            theirs = f"{hello.chain_id} with genesis {hello.genesis_hash.hex()}"
            detail = f"the peer follows {theirs}, we follow {ours.chain_id} with genesis {ours.genesis_hash.hex()}"
            raise Rejected(Reason.WRONG_CHAIN, detail)
        role = Role.RESPONDER if self.role is Role.INITIATOR else Role.INITIATOR
        digest = binding(bound, ours.chain_id, ours.genesis_hash, role)
        if not verify(Algorithm.ED25519, hello.public_key, digest, hello.signature):
            detail = f"{hello.public_key.hex()} did not sign this handshake"
            raise Rejected(Reason.BAD_SIGNATURE, detail)
        self.public_key = hello.public_key
        self.institution = self._admit(hello.public_key)

    def _hello(self, bound: Hash) -> bytes:
        ours = self._ourselves
        signature = ours.signer.sign(binding(bound, ours.chain_id, ours.genesis_hash, self.role))
        return write_hello(Hello(ours.chain_id, ours.genesis_hash, ours.signer.public_key, signature))


def binding(handshake_hash: Hash, chain_id: str, genesis_hash: Hash, role: Role) -> Hash:
    """Return what an identity signs to own one side of one channel."""
    return tagged(Tag.HANDSHAKE, codec.encode((handshake_hash, chain_id, genesis_hash, int(role))))


def write_hello(hello: Hello, version: int = VERSION) -> bytes:
    """Return the payload of handshake messages 2 and 3."""
    return version.to_bytes(_VERSION_BYTES, "big") + codec.encode(hello)


def read_hello(payload: bytes) -> Hello:
    """Read the payload of handshake messages 2 and 3.

    Raises: Rejected(UNKNOWN_VERSION) before anything else is read; Rejected(MALFORMED, TOO_LARGE).
    """
    if len(payload) < _VERSION_BYTES:
        raise Rejected(Reason.MALFORMED, f"a payload of {len(payload)} bytes has no version number")
    version = int.from_bytes(payload[:_VERSION_BYTES], "big")
    if version != VERSION:
        raise Rejected(Reason.UNKNOWN_VERSION, f"the peer speaks version {version} of the protocol, we speak {VERSION}")
    return codec.decode(payload[_VERSION_BYTES:], Hello, bytes_max=HANDSHAKE_MESSAGE_BYTES_MAX)
