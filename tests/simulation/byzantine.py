"""Validators that lie: an ordinary replica whose every outgoing word passes through an attacker with its key.

The attacker signs whatever it likes with its own key and with no other: the keyed hash of honest
validators is out of its reach.
"""

from collections.abc import Sequence
from random import Random
from typing import Protocol, TypeVar

import msgspec

from node.chain.block import Block
from node.chain.certificate import Certificate, Network
from node.chain.statements import Commit, Prepare, ViewChangeHead
from node.consensus.messages import (
    BlockReply,
    Message,
    NewView,
    Promise,
    Proposal,
    Signed,
    Status,
    ViewChange,
    header_of,
    signed_part,
    signing_digest,
    with_signature,
)
from node.crypto.signing import Signer
from node.primitives import Hash, Signature
from node.wire import decode_message, encode_message
from tests.simulation.backends import SimulatedChain

REPLAYS_KEPT = 60
S = TypeVar("S", bound=Signed)


class Outlet(Protocol):
    """How the attacker reaches the network."""

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


class Attacker:
    """The will of one Byzantine validator."""

    def __init__(
        self,
        index: int,
        count: int,
        key: Signer,
        chain: SimulatedChain,
        outlet: Outlet,
        attacks: Sequence[str],
        random: Random,
    ) -> None:
        self._index = index
        self._others = [i for i in range(count) if i != index]
        self._key = key
        self._chain = chain
        self._outlet = outlet
        self._attacks = frozenset(attacks)
        self._random = random
        self._old: list[bytes] = []
        self._hashes: list[Hash] = []
        self._certificates: list[Certificate] = []
        self._echoed: set[tuple[int, int, Hash]] = set()

    def on_outgoing(self, receivers: Sequence[int], payload: bytes) -> None:
        """Decide what becomes of a message that the replica inside wants to send."""
        random = self._random
        message = decode_message(payload)
        self._learn(message)
        if "silent" in self._attacks and random.random() < 0.7:
            return
        for receiver in receivers:
            self._pass_on(receiver, message, payload)
        if "replay" in self._attacks and random.random() < 0.2 and self._old:
            self._send(random.choice(self._others), random.choice(self._old))
        if "hasty-view-change" in self._attacks and random.random() < 0.03:
            self._hasty_view_change()
        if "two-proposals" in self._attacks and isinstance(message, Proposal | NewView):
            self._two_proposals(message)

    def on_incoming(self, payload: bytes) -> None:
        """Listen; perhaps vote for whatever is going round."""
        message = decode_message(payload)
        self._learn(message)
        if "echo" in self._attacks and isinstance(message, Prepare | Proposal | NewView):
            head = message if isinstance(message, Prepare) else message.head
            place = (head.height, head.view, head.block_hash)
            if place not in self._echoed:
                self._echoed.add(place)
                for kind in (Prepare, Commit):
                    vote = kind(head.epoch, *place, self._index, bytes(64))
                    self._broadcast(self._signed(vote))

    def _learn(self, message: Message) -> None:
        """Remember what could be of use later."""
        match message:
            case Prepare() | Commit():
                self._hashes = [*self._hashes[-9:], message.block_hash]
            case ViewChange(_, certificate) | NewView(_, _, certificate, _):
                if certificate is not None:
                    self._certificates = [*self._certificates[-4:], certificate]
            case _:
                pass
        if len(self._old) < REPLAYS_KEPT or self._random.random() < 0.1:
            self._old = [*self._old[1 - REPLAYS_KEPT :], encode_message(message)]

    def _pass_on(self, receiver: int, message: Message, payload: bytes) -> None:
        random, attacks = self._random, self._attacks
        if "withhold" in attacks and random.random() < 0.3:
            return
        if "mutate" in attacks and random.random() < 0.15:
            self._send(receiver, encode_message(self._mutated(message)))
            if random.random() < 0.5:
                return
        if "equivocate" in attacks and isinstance(message, Prepare | Commit) and self._hashes and random.random() < 0.4:
            other = msgspec.structs.replace(message, block_hash=random.choice(self._hashes))
            self._send(receiver, encode_message(self._signed(other)))
            if random.random() < 0.7:
                return
        if "lie-in-view-change" in attacks and isinstance(message, ViewChange):
            self._send(receiver, encode_message(self._false_claim(message)))
            return
        if "lie-in-new-view" in attacks and isinstance(message, NewView):
            self._send(receiver, encode_message(self._false_justification(message)))
            if random.random() < 0.7:
                return
        if "false-status" in attacks and isinstance(message, Status):
            lie = msgspec.structs.replace(
                message,
                height=max(1, message.height + random.choice((-1, 1, 1_000))),
                view=random.choice((0, 1, message.view, 2**32 - 1)),
                prepares=b"\xff",
                head_certificate=None,
            )
            self._send(receiver, encode_message(self._signed(lie)))
            return
        if "bad-body" in attacks and isinstance(message, Proposal | NewView | BlockReply):
            block = msgspec.structs.replace(message.block, transactions=(b"never submitted",))
            self._send(receiver, encode_message(msgspec.structs.replace(message, block=block)))
            return
        extra_ms = random.randrange(3_000) if "delay" in attacks and random.random() < 0.3 else 0
        self._send(receiver, payload, extra_ms)

    def _mutated(self, message: Message) -> Message:
        """Move one number of the signed part by one, and sign it again half of the time."""
        if not isinstance(message, Proposal | Prepare | Commit | ViewChange | NewView | Status):
            return message
        part = signed_part(message)
        numbers = [f for f in ("epoch", "height", "view", "prepared_view", "validator") if getattr(part, f, None)]
        if not numbers:
            return message
        name = self._random.choice(numbers)
        value = max(0, getattr(part, name) + self._random.choice((-1, 1)))
        changed = msgspec.structs.replace(part, **{name: value})
        mutated = (
            changed
            if isinstance(message, Prepare | Commit | Status)
            else msgspec.structs.replace(message, head=changed)
        )
        assert isinstance(mutated, Proposal | Prepare | Commit | ViewChange | NewView | Status)
        return self._signed(mutated) if self._random.random() < 0.5 else mutated

    def _false_claim(self, message: ViewChange) -> ViewChange:
        """Deny what was prepared, or claim what was not, with whatever certificate is at hand."""
        random, head = self._random, message.head
        kind = random.choice(("deny", "invent", "borrow", "old"))
        if kind == "deny":
            changed = msgspec.structs.replace(head, prepared_view=None, prepared_hash=None)
            return self._signed(ViewChange(changed, None))
        if kind == "old" and self._certificates:
            old = random.choice(self._certificates)
            changed = msgspec.structs.replace(head, prepared_view=old.view, prepared_hash=old.block_hash)
            return self._signed(ViewChange(changed, old))
        block_hash = random.choice(self._hashes) if self._hashes else bytes(32)
        changed = msgspec.structs.replace(head, prepared_view=head.view - 1, prepared_hash=block_hash)
        certificate = random.choice(self._certificates) if self._certificates else None
        if kind == "borrow" and certificate is not None:
            certificate = msgspec.structs.replace(
                certificate, height=head.height, view=head.view - 1, block_hash=block_hash
            )
        return self._signed(ViewChange(changed, certificate))

    def _false_justification(self, message: NewView) -> NewView:
        """Propose something else than what was prepared, or hide who claimed it."""
        random = self._random
        block = self._other_block()
        head = msgspec.structs.replace(message.head, block_hash=block.hash())
        kind = random.choice(("ignore", "strip", "forge"))
        if kind == "ignore":
            return self._signed(NewView(head, message.view_changes, message.certificate, block))
        if kind == "strip":
            return self._signed(NewView(head, message.view_changes, None, block))
        own = [
            self._signed_head(msgspec.structs.replace(change, prepared_view=None, prepared_hash=None))
            if change.prepared_view is not None and random.random() < 0.7
            else change
            for change in message.view_changes
        ]
        return self._signed(NewView(head, tuple(own), None, block))

    def _two_proposals(self, message: Proposal | NewView) -> None:
        """A second block for the same view to half of the others, with votes for both to everybody."""
        if message.block.header.height != self._chain.head.height + 1:
            return
        block = self._other_block()
        head = msgspec.structs.replace(message.head, block_hash=block.hash())
        second = self._signed(msgspec.structs.replace(message, head=head, block=block))
        for receiver in self._random.sample(self._others, len(self._others) // 2):
            self._send(receiver, encode_message(second))
        for block_hash in (message.head.block_hash, head.block_hash):
            for kind in (Prepare, Commit):
                vote = kind(head.epoch, head.height, head.view, block_hash, self._index, bytes(64))
                self._broadcast(self._signed(vote))

    def _hasty_view_change(self) -> None:
        view = self._random.choice((1, 2, 3, 2**32 - 1))
        height = self._chain.head.height + 1
        head = ViewChangeHead(0, height, view, None, None, self._index, bytes(64))
        self._broadcast(self._signed(ViewChange(head, None)))

    def _other_block(self) -> Block:
        chain = self._chain
        name = chain.validators_at(1).members[self._index].institution
        timestamp_ms = chain.head.timestamp_ms + self._random.randrange(1, 5_000)
        return chain.other_block(proposer=name, timestamp_ms=timestamp_ms)

    def _signed(self, message: S) -> S:
        digest = signing_digest(self._chain.network, signed_part(message))
        return with_signature(message, self._key.sign(digest))

    def _signed_head(self, head: ViewChangeHead) -> ViewChangeHead:
        return msgspec.structs.replace(head, signature=self._key.sign(signing_digest(self._chain.network, head)))

    def _broadcast(self, message: Message) -> None:
        payload = encode_message(message)
        for receiver in self._others:
            self._send(receiver, payload)

    def _send(self, receiver: int, payload: bytes, extra_ms: int = 0) -> None:
        self._outlet.transmit(self._index, receiver, payload, extra_ms)
