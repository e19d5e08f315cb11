"""Words of honest validators in the wrong place: later, at another height or view, from another chain or epoch."""

import msgspec

from node.chain.certificate import Network
from node.chain.evidence import make_evidence
from node.chain.statements import Commit, Prepare, statement_digest
from node.consensus.messages import UNSIGNED, EvidenceReport, Message, NewView, Proposal, with_signature
from node.crypto.hashing import sha256
from node.wire import encode_message
from tests.simulation.liars.attack import Attack


class Replay(Attack):
    """Says again what it heard long ago, from whoever."""

    def said(self, message: Message) -> None:
        old = self.liar.knowledge.old
        if old and self.random.random() < 0.2:
            self.liar.send(self.random.choice(self.liar.others), self.random.choice(old))


class Transplant(Attack):
    """Puts the signature of an honest vote under another height, view, phase or block."""

    def heard(self, message: Message) -> None:
        if not isinstance(message, Prepare | Commit) or self.random.random() >= 0.1:
            return
        random, hashes = self.random, self.liar.knowledge.hashes
        kind = random.choice((Prepare, Commit))
        vote = kind(
            message.epoch,
            random.choice((message.height, self.liar.height)),
            random.choice((message.view, message.view + 1, 0)),
            random.choice(hashes) if hashes else message.block_hash,
            message.validator,
            message.signature,
        )
        self.liar.broadcast(vote)


class OtherNetwork(Attack):
    """Honest validators use their keys in another network or epoch too, and voted there for just what suits us."""

    def said(self, message: Message) -> None:
        liar = self.liar
        if not isinstance(message, Proposal | NewView) or message.head.height != liar.height:
            return
        block = liar.other_block()
        head = message.head
        second = liar.signed(
            msgspec.structs.replace(message, head=msgspec.structs.replace(head, block_hash=block.hash()), block=block)
        )
        for receiver in self.random.sample(liar.others, len(liar.others) // 2):
            liar.tell(receiver, second)
        here = liar.chain.network
        network, epoch = self.random.choice(
            (
                (Network(here.chain_id, bytes(32)), head.epoch),
                (Network(here.chain_id + "x", here.genesis_hash), head.epoch),
                (here, head.epoch + 1),
            )
        )
        for kind in (Prepare, Commit):
            for seat in range(len(liar.members)):
                for block_hash in (block.hash(), head.block_hash):
                    vote = kind(epoch, head.height, head.view, block_hash, seat, UNSIGNED)
                    signature = liar.conspiracy.voice(liar.members[seat], statement_digest(network, vote))
                    liar.broadcast(with_signature(vote, signature))


class ForeignEvidence(Attack):
    """Accuses honest validators of what they said, rightly, in two other networks or epochs."""

    def said(self, message: Message) -> None:
        liar = self.liar
        if not isinstance(message, Prepare) or message.height != liar.height or self.random.random() < 0.5:
            return
        here = liar.chain.network
        network, epoch = self.random.choice(
            ((here, message.epoch + 1), (Network(here.chain_id, bytes(32)), message.epoch))
        )
        seat = self.random.choice([seat for seat in range(len(liar.members)) if seat != message.validator])
        votes = []
        for block_hash in (message.block_hash, sha256(message.block_hash)):
            vote = msgspec.structs.replace(message, epoch=epoch, validator=seat, block_hash=block_hash)
            signature = liar.conspiracy.voice(liar.members[seat], statement_digest(network, vote))
            votes.append(with_signature(vote, signature))
        liar.broadcast(EvidenceReport(make_evidence(*votes)))


class OldEpoch(Attack):
    """What honest validators said in another epoch, as it was: every vote heard, signed there."""

    def heard(self, message: Message) -> None:
        liar = self.liar
        if isinstance(message, Prepare | Commit) and message.height == liar.height and self.random.random() < 0.3:
            seat = self.random.randrange(len(liar.members))
            vote = msgspec.structs.replace(message, epoch=message.epoch + 1, validator=seat)
            digest = statement_digest(liar.chain.network, vote)
            signed = with_signature(vote, liar.conspiracy.voice(liar.members[seat], digest))
            payload = encode_message(signed)
            for receiver in liar.others:
                liar.send(receiver, payload)
