"""Lies that need no thought: silence, delay, favourites, two tongues, false news, the wrong body."""

from typing import TYPE_CHECKING

import msgspec

from node.chain.statements import Commit, Prepare
from node.consensus.messages import UNSIGNED, BlockReply, Message, NewView, Proposal, Status
from node.primitives import Hash
from tests.simulation.liars.attack import Attack

if TYPE_CHECKING:
    from tests.simulation.liars.attacker import Liar


class Silence(Attack):
    """Says little of anything."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        return self.random.random() < 0.7


class Withholding(Attack):
    """Forgets receivers now and then."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        return self.random.random() < 0.3


class Favouritism(Attack):
    """Talks to some and never to the others: each kind of message has its favourites."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if isinstance(message, Status):
            return False
        return (receiver + len(type(message).__name__)) % 3 == self.liar.index % 3


class Delay(Attack):
    """Sends some things seconds later."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if self.random.random() >= 0.3:
            return False
        self.liar.send(receiver, payload, self.random.randrange(3_000))
        return True


class Equivocation(Attack):
    """Votes for something else towards some."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        hashes = self.liar.knowledge.hashes
        if not isinstance(message, Prepare | Commit) or not hashes or self.random.random() >= 0.4:
            return False
        other = msgspec.structs.replace(message, block_hash=self.random.choice(hashes))
        self.liar.tell(receiver, self.liar.signed(other))
        return self.random.random() < 0.7


class Echo(Attack):
    """Votes twice for whatever goes round, in whatever view."""

    def __init__(self, liar: "Liar") -> None:
        super().__init__(liar)
        self._echoed: set[tuple[int, int, Hash]] = set()

    def heard(self, message: Message) -> None:
        if not isinstance(message, Prepare | Proposal | NewView):
            return
        head = message if isinstance(message, Prepare) else message.head
        place = (head.height, head.view, head.block_hash)
        seat = self.liar.seat(head.height)
        if place in self._echoed or seat is None:
            return
        self._echoed.add(place)
        for kind in (Prepare, Commit):
            self.liar.broadcast(self.liar.signed(kind(head.epoch, *place, seat, UNSIGNED)))


class FalseStatus(Attack):
    """Claims heights and views that it never saw, and knows no head."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if not isinstance(message, Status):
            return False
        random = self.random
        lie = msgspec.structs.replace(
            message,
            height=max(1, message.height + random.choice((-1, 1, 1_000))),
            view=random.choice((0, 1, message.view, 2**32 - 1)),
            prepares=b"\xff",
            head_certificate=None,
        )
        self.liar.tell(receiver, self.liar.signed(lie))
        return True


class BadBody(Attack):
    """Sends the right header with transactions that nobody submitted."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if not isinstance(message, Proposal | NewView | BlockReply):
            return False
        block = msgspec.structs.replace(message.block, transactions=(b"never submitted",))
        self.liar.tell(receiver, msgspec.structs.replace(message, block=block))
        return True
