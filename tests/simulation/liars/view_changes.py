"""Lies about views: claims of what was never prepared, denials of what was, and hurry."""

import msgspec

from node.chain.statements import ViewChangeHead
from node.consensus.messages import UNSIGNED, Message, ViewChange
from tests.simulation.liars.attack import Attack

HASTE = 0.03


class FalseClaim(Attack):
    """Denies what was prepared, or claims what was not, with whatever certificate is at hand."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if not isinstance(message, ViewChange):
            return False
        self.liar.tell(receiver, self._false(message))
        return True

    def _false(self, message: ViewChange) -> ViewChange:
        liar, random, head = self.liar, self.random, message.head
        certificates = liar.knowledge.certificates
        kind = random.choice(("deny", "invent", "borrow", "old", "bare"))
        if kind == "deny":
            changed = msgspec.structs.replace(head, prepared_view=None, prepared_hash=None)
            return liar.signed(ViewChange(changed, None))
        if kind == "old" and certificates:
            old = random.choice(certificates)
            changed = msgspec.structs.replace(head, prepared_view=old.view, prepared_hash=old.block_hash)
            return liar.signed(ViewChange(changed, old))
        block_hash = random.choice(liar.knowledge.hashes) if liar.knowledge.hashes else bytes(32)
        changed = msgspec.structs.replace(head, prepared_view=head.view - 1, prepared_hash=block_hash)
        certificate = random.choice(certificates) if certificates and kind != "bare" else None
        if kind == "borrow" and certificate is not None:
            certificate = msgspec.structs.replace(
                certificate, height=head.height, view=head.view - 1, block_hash=block_hash
            )
        return liar.signed(ViewChange(changed, certificate))


class Haste(Attack):
    """Asks for views that are not due, near and far."""

    def said(self, message: Message) -> None:
        liar = self.liar
        seat = liar.seat(liar.height)
        if self.random.random() < HASTE and seat is not None:
            view = self.random.choice((1, 2, 3, 2**32 - 1))
            head = ViewChangeHead(liar.chain.epoch, liar.height, view, None, None, seat, UNSIGNED)
            liar.broadcast(liar.signed(ViewChange(head, None)))
