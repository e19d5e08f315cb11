"""Two or more liars with one plan: each half of the others is shown a world of its own."""

import msgspec

from node.chain.statements import Commit, Prepare
from node.consensus.messages import UNSIGNED, Message, NewView, Proposal, Status, ViewChange
from tests.simulation.liars.attack import Attack


class TwoFaced(Attack):
    """Whoever of them proposes shows each half a block of its own; all of them vote for what each half was shown."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        """Of proposals and votes each half hears only those for the block that it was shown."""
        if isinstance(message, Status) or not isinstance(message, Proposal | NewView | Prepare | Commit):
            return False
        head = message.head if isinstance(message, Proposal | NewView) else message
        shown = self.liar.conspiracy.shown.get((head.height, head.view))
        if shown is None:
            return False
        return shown[self._half(receiver)] != head.block_hash

    def said(self, message: Message) -> None:
        liar = self.liar
        if not isinstance(message, Proposal | NewView) or message.block.header.height != liar.height:
            return
        place = (message.head.height, message.head.view)
        if place in liar.conspiracy.shown:
            return
        block = liar.other_block()
        first, second = message.head.block_hash, block.hash()
        liar.conspiracy.shown[place] = (first, second)
        head = msgspec.structs.replace(message.head, block_hash=second)
        other = liar.signed(msgspec.structs.replace(message, head=head, block=block))
        for receiver in liar.others:
            if self._half(receiver) == 1:
                liar.tell(receiver, other)
        for member in liar.conspiracy.members:
            seat = member.seat(head.height)
            if seat is None:
                continue
            for receiver in liar.others:
                block_hash = (first, second)[self._half(receiver)]
                for kind in (Prepare, Commit):
                    vote = kind(head.epoch, head.height, head.view, block_hash, seat, UNSIGNED)
                    member.tell(receiver, member.signed(vote))

    @staticmethod
    def _half(receiver: int) -> int:
        return receiver % 2


class Chorus(Attack):
    """When one of them asks for a view, all do at once, and deny what they have prepared."""

    def said(self, message: Message) -> None:
        if not isinstance(message, ViewChange):
            return
        for member in self.liar.conspiracy.members:
            seat = member.seat(message.head.height)
            if seat is not None:
                head = msgspec.structs.replace(
                    message.head, prepared_view=None, prepared_hash=None, validator=seat, signature=UNSIGNED
                )
                member.broadcast(member.signed(ViewChange(head, None)))
