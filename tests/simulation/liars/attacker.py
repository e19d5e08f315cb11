"""Validators that lie: an ordinary replica whose every outgoing word passes through a liar with its key.

The liar signs whatever it likes with its own key and with no other: the keys of honest validators are out of
its reach, except for what they might have signed in other networks and epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, TypeVar

import msgspec

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate, Network
from node.chain.statements import Commit, Prepare, ViewChangeHead
from node.chain.validator_set import Validator
from node.consensus.messages import (
    Message,
    NewView,
    Promise,
    Signed,
    Status,
    ViewChange,
    header_of,
    signed_part,
    signing_digest,
    with_signature,
)
from node.crypto.signing import Signer
from node.primitives import Hash, InstitutionId, Signature, ValidatorIndex
from node.sync_messages import BlocksReply, CertifiedBlock, Head, decode_sync, encode_sync
from node.wire import encode_message
from tests.simulation.backends import SimulatedChain
from tests.simulation.liars.attack import Attack
from tests.simulation.liars.floods import flood
from tests.simulation.liars.repertoire import REPERTOIRE
from tests.simulation.parts import KeyRing
from tests.simulation.wire import decoded

PARCELS_KEPT = 60
S = TypeVar("S", bound=Signed)


class Outlet(Protocol):
    """How a liar reaches the network."""

    def transmit(self, sender: int, receiver: int, payload: bytes, extra_ms: int = 0) -> None: ...


class UnscrupulousSigner:
    """Signs anything: the record that stops honest validators is missing."""

    def __init__(self, key: Signer, network: Network) -> None:
        self._key = key
        self._network = network

    @property
    def public_keys(self) -> tuple[bytes, ...]:
        return (self._key.public_key,)

    @property
    def last_position(self) -> None:
        return None

    def choose(self, public_key: bytes) -> None:
        assert public_key == self._key.public_key

    def destroy(self, public_key: bytes) -> None:
        raise AssertionError("there is one key")

    def close(self) -> None:
        pass

    def sign(self, message: Promise) -> Signature:
        return self._key.sign(signing_digest(self._network, header_of(message)))

    def sign_status(self, message: Status) -> Signature:
        return self._key.sign(signing_digest(self._network, message))


@dataclass
class Knowledge:
    """What a liar has heard and may use; liars who collude share one."""

    old: list[bytes] = field(default_factory=list)
    hashes: list[Hash] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    view_changes: list[ViewChangeHead] = field(default_factory=list)
    values: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """(struct, field) → what stood there."""

    def learn(self, message: Message, random: Random) -> None:
        """Remember what could be of use later."""
        match message:
            case Prepare() | Commit():
                _keep(self.hashes, message.block_hash, 10)
            case ViewChange(head, certificate):
                _keep(self.view_changes, head, 40)
                if certificate is not None:
                    _keep(self.certificates, certificate, 5)
            case NewView(_, heads, certificate, _):
                for head in heads:
                    _keep(self.view_changes, head, 40)
                if certificate is not None:
                    _keep(self.certificates, certificate, 5)
            case _:
                pass
        if len(self.old) < PARCELS_KEPT or random.random() < 0.1:
            _keep(self.old, encode_message(message), PARCELS_KEPT)


class Conspiracy:
    """What all liars of a run have in common."""

    def __init__(self, attacks: Sequence[str], ring: KeyRing, *, is_shared: bool) -> None:
        self.attacks = attacks
        self.members: list[Liar] = []
        self.shown: dict[tuple[int, int], tuple[Hash, Hash]] = {}
        """(height, view) → the blocks that the two halves of the others were shown."""
        self._ring = ring
        self._knowledge = Knowledge() if is_shared else None

    def join(self, liar: "Liar") -> Knowledge:
        """Return what a new member knows."""
        self.members.append(liar)
        return Knowledge() if self._knowledge is None else self._knowledge

    def voice(self, member: Validator, digest: Hash) -> Signature:
        """Return what a member signed elsewhere; the caller takes care that it is elsewhere."""
        return self._ring.sign_elsewhere(member.public_key, digest)


class Liar:
    """The will of one Byzantine validator."""

    def __init__(
        self,
        index: int,
        name: InstitutionId,
        key: Signer,
        chain: SimulatedChain,
        outlet: Outlet,
        conspiracy: Conspiracy,
        random: Random,
    ) -> None:
        self.index = index
        self.chain = chain
        self.random = random
        self.conspiracy = conspiracy
        self.others = [i for i in range(len(chain.validators_at(1))) if i != index]
        """The machines of the other validators."""
        self.knowledge = conspiracy.join(self)
        self.name = name
        self._key = key
        self._outlet = outlet
        self._lies_in_sync = "false-sync" in conspiracy.attacks
        self._attacks = [attack(self) for name, attack in REPERTOIRE.items() if name in conspiracy.attacks]
        self._dealing = [attack for attack in self._attacks if type(attack).pass_on is not Attack.pass_on]
        self._speaking = [attack for attack in self._attacks if type(attack).said is not Attack.said]
        self._listening = [attack for attack in self._attacks if type(attack).heard is not Attack.heard]

    @property
    def height(self) -> int:
        """The height that is being agreed on, as this liar knows it."""
        return self.chain.head.height + 1

    @property
    def members(self) -> tuple[Validator, ...]:
        """The validators of that height."""
        return self.chain.validators_at(self.height).members

    def seat(self, height: int) -> ValidatorIndex | None:
        """Return its index in the set of a height, as far as it knows that."""
        return self.chain.validators_at(min(height, self.height)).index_of(self.name)

    # What passes through it

    def say(self, receivers: Sequence[int], payload: bytes) -> None:
        """Decide what becomes of a message that the replica inside wants to send."""
        message = decoded(payload)
        self.knowledge.learn(message, self.random)
        for receiver in receivers:
            if not any(attack.pass_on(receiver, message, payload) for attack in self._dealing):
                self.send(receiver, payload)
        for attack in self._speaking:
            attack.said(message)

    def hear(self, sender: InstitutionId, payload: bytes) -> None:
        """Listen, and learn; what another liar says is answered by nobody, or two of them would never end."""
        message = decoded(payload)
        self.knowledge.learn(message, self.random)
        if all(member.name != sender for member in self.conspiracy.members):
            for attack in self._listening:
                attack.heard(message)

    def storm(self) -> None:
        """Flood everybody."""
        flood(self)

    def falsify_sync(self, payload: bytes) -> bytes:
        """Return what becomes of a parcel of sync: heights that nobody has, blocks that nobody decided."""
        if not self._lies_in_sync:
            return payload
        message = decode_sync(payload)
        match message:
            case Head(height):
                return encode_sync(Head(height + self.random.choice((0, 1, 5, 10**6))))
            case BlocksReply(first, items) if items and self.random.random() < 0.7:
                at = self.random.randrange(len(items))
                return encode_sync(BlocksReply(first, (*items[:at], self._false_item(items[at]), *items[at + 1 :])))
            case _:
                return payload

    def _false_item(self, item: bytes) -> bytes:
        """Return a certified block with a bit flipped, or with hardly anybody's signature."""
        if self.random.random() < 0.5:
            flipped = bytearray(item)
            flipped[self.random.randrange(len(flipped))] ^= 1 << self.random.randrange(8)
            return bytes(flipped)
        certified = codec.decode(item, CertifiedBlock, bytes_max=len(item))
        bare = msgspec.structs.replace(certified.certificate, signatures=certified.certificate.signatures[:1])
        return codec.encode(CertifiedBlock(certified.block, bare))

    # What attacks are made of

    def other_block(self) -> Block:
        """A valid block of its own that nobody has seen."""
        return self.block_at(self.chain.head.timestamp_ms + self.random.randrange(1, 5_000))

    def block_at(self, timestamp_ms: int) -> Block:
        """A block of its own with a time of its choice."""
        return self.chain.other_block(proposer=self.name, timestamp_ms=timestamp_ms)

    def signed(self, message: S) -> S:
        digest = signing_digest(self.chain.network, signed_part(message))
        return with_signature(message, self._key.sign(digest))

    def signed_head(self, head: ViewChangeHead) -> ViewChangeHead:
        return msgspec.structs.replace(head, signature=self._key.sign(signing_digest(self.chain.network, head)))

    def broadcast(self, message: Message) -> None:
        payload = encode_message(message)
        for receiver in self.others:
            self.send(receiver, payload)

    def tell(self, receiver: int, message: Message) -> None:
        self.send(receiver, encode_message(message))

    def send(self, receiver: int, payload: bytes, extra_ms: int = 0) -> None:
        self._outlet.transmit(self.index, receiver, payload, extra_ms)


def _keep(held: list[Any], item: object, count: int) -> None:
    held.append(item)
    if len(held) > count:
        del held[0]
