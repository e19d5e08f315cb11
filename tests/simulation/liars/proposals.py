"""Lies of a proposer, or of who would like to be one."""

import msgspec

from node import codec
from node.chain.block import evidence_root
from node.chain.certificate import Certificate, Network, VoteSignature
from node.chain.evidence import make_evidence
from node.chain.statements import Commit, Prepare, ProposalHead, statement_digest
from node.consensus.messages import UNSIGNED, Decided, Message, NewView, Proposal, with_signature
from tests.simulation.liars.attack import Attack

HOUR_MS = 3_600_000


class TwoProposals(Attack):
    """A second block for the same view to half of the others, with votes for both to everybody."""

    def said(self, message: Message) -> None:
        liar = self.liar
        if not isinstance(message, Proposal | NewView) or message.block.header.height != liar.height:
            return
        block = liar.other_block()
        head = msgspec.structs.replace(message.head, block_hash=block.hash())
        second = liar.signed(msgspec.structs.replace(message, head=head, block=block))
        for receiver in self.random.sample(liar.others, len(liar.others) // 2):
            liar.tell(receiver, second)
        for block_hash in (message.head.block_hash, head.block_hash):
            for kind in (Prepare, Commit):
                vote = kind(head.epoch, head.height, head.view, block_hash, head.validator, UNSIGNED)
                liar.broadcast(liar.signed(vote))


class FalseJustification(Attack):
    """Proposes something else than what was prepared, hides who claimed it, or counts the wrong ViewChanges."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if not isinstance(message, NewView):
            return False
        self.liar.tell(receiver, self._false(message))
        return self.random.random() < 0.7

    def _false(self, message: NewView) -> NewView:
        liar, random = self.liar, self.random
        kind = random.choice(
            ("ignore", "strip", "forge", "stale heads", "few heads", "padded heads", "new time", "other certificate")
        )
        block = liar.other_block()
        if kind == "new time":
            later = msgspec.structs.replace(message.block.header, timestamp_ms=message.block.header.timestamp_ms + 1)
            block = msgspec.structs.replace(message.block, header=later)
        head = msgspec.structs.replace(message.head, block_hash=block.hash())
        changes, certificate = message.view_changes, None
        if kind in ("ignore", "new time"):
            certificate = message.certificate
        elif kind == "other certificate":
            certificate = random.choice(liar.knowledge.certificates or [None])
        elif kind == "forge":
            changes = tuple(
                liar.signed_head(msgspec.structs.replace(change, prepared_view=None, prepared_hash=None))
                if change.prepared_view is not None and random.random() < 0.7
                else change
                for change in changes
            )
        elif kind == "stale heads":
            others = {
                change.validator: change
                for change in liar.knowledge.view_changes
                if change.height == head.height and change.view != head.view and change.prepared_view is None
            }
            own = {change.validator: change for change in changes if change.prepared_view is None}
            changes = tuple((others | own)[index] for index in sorted(others | own))
        elif kind == "few heads":
            changes = changes[: len(changes) // 2]
        elif kind == "padded heads":
            changes = (changes[0],) * len(changes)
        return liar.signed(NewView(head, changes, certificate, block))


class FalseEvidence(Attack):
    """Puts evidence into its blocks that proves nothing here: of another epoch, of nobody, of everybody."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        liar = self.liar
        if not isinstance(message, Proposal | NewView) or message.block.header.height != liar.height:
            return False
        seat = self.random.randrange(len(liar.members))
        votes = []
        for block_hash in (message.head.block_hash, message.block.header.parent_hash):
            epoch = message.head.epoch + self.random.choice((0, 1))
            vote = Prepare(epoch, liar.height, message.head.view, block_hash, seat, UNSIGNED)
            digest = statement_digest(Network(liar.chain.network.chain_id, bytes(32)), vote)
            votes.append(with_signature(vote, liar.conspiracy.voice(liar.members[seat], digest)))
        evidence = (codec.encode(make_evidence(*votes)),)
        header = msgspec.structs.replace(message.block.header, evidence_root=evidence_root(evidence))
        block = msgspec.structs.replace(message.block, header=header, evidence=evidence)
        head = msgspec.structs.replace(message.head, block_hash=block.hash())
        liar.tell(receiver, liar.signed(msgspec.structs.replace(message, head=head, block=block)))
        return True


class FalseTime(Attack):
    """Proposes blocks from the future, or empty ones all the time."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if not isinstance(message, Proposal | NewView) or message.block.header.height != self.liar.height:
            return False
        ahead_ms = self.random.choice((-60_000, 2_500, 60_000, HOUR_MS))
        header = message.block.header
        block = self.liar.block_at(max(header.timestamp_ms + ahead_ms, self.liar.chain.head.timestamp_ms + 1))
        head = msgspec.structs.replace(message.head, block_hash=block.hash())
        self.liar.tell(receiver, self.liar.signed(msgspec.structs.replace(message, head=head, block=block)))
        return True


class Usurpation(Attack):
    """Proposes though it is somebody else's turn, in view 0 or with the justification that another has sent."""

    def heard(self, message: Message) -> None:
        liar = self.liar
        if not isinstance(message, Proposal | NewView) or self.random.random() < 0.5:
            return
        seat = liar.seat(message.head.height)
        if message.head.height != liar.height or seat is None:
            return
        block = liar.other_block()
        for view in {message.head.view, 0}:
            head = ProposalHead(message.head.epoch, liar.height, view, block.hash(), seat, UNSIGNED)
            if view == 0:
                liar.broadcast(liar.signed(Proposal(head, block)))
            elif isinstance(message, NewView):
                liar.broadcast(liar.signed(NewView(head, message.view_changes, None, block)))


class FalseDecision(Attack):
    """Announces a block of its own as decided: with its own signature many times over, or with few."""

    def said(self, message: Message) -> None:
        liar = self.liar
        seat = liar.seat(liar.height)
        if not isinstance(message, Commit) or message.height != liar.height or seat is None:
            return
        block = liar.other_block()
        vote = liar.signed(Commit(message.epoch, liar.height, message.view, block.hash(), seat, UNSIGNED))
        own = VoteSignature(seat, vote.signature)
        signatures = self.random.choice(((own,), (own,) * len(liar.members)))
        fields = (1, 2, message.epoch, liar.height, message.view, block.hash())
        liar.broadcast(Decided(block, Certificate(*fields, signatures)))
