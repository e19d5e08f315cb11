"""Floods: more of everything than an honest validator ever says, well formed and signed."""

from typing import TYPE_CHECKING

from node.chain.statements import Commit, Prepare, ProposalHead, ViewChangeHead
from node.consensus.messages import UNSIGNED, BlockReply, BlockRequest, Message, Proposal, Status, ViewChange
from node.crypto.hashing import sha256
from node.limits import CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX
from node.wire import encode_message

if TYPE_CHECKING:
    from tests.simulation.liars.attacker import Liar

KINDS = 7
SPREAD_MS = 900


def flood(liar: "Liar") -> None:
    """Send one receiver more than its quota within a second, and the others a few hundred messages."""
    random = liar.random
    most = random.choice(liar.others)
    for receiver in liar.others:
        count = CONSENSUS_MESSAGES_PER_PEER_PER_SECOND_MAX + 200 if receiver == most else 150
        parcels = [encode_message(_junk(liar, number)) for number in range(min(count, 300))]
        for number in range(count):
            liar.send(receiver, parcels[number % len(parcels)], random.randrange(SPREAD_MS))


def _junk(liar: "Liar", number: int) -> Message:
    """A message that costs its receiver something: no two are alike."""
    random, epoch = liar.random, liar.chain.epoch
    height = liar.height + random.choice((0, 0, 1, 1, 2))
    seat = liar.seat(liar.height) or 0
    view = random.randrange(40)
    block_hash = sha256(number.to_bytes(4, "big"))
    match number % KINDS:
        case 0:
            return liar.signed(Prepare(epoch, height, view, block_hash, seat, UNSIGNED))
        case 1:
            return liar.signed(Commit(epoch, height, view, block_hash, seat, UNSIGNED))
        case 2:
            return liar.signed(ViewChange(ViewChangeHead(epoch, height, view, None, None, seat, UNSIGNED), None))
        case 3:
            return BlockRequest(epoch, max(1, liar.height - 1), block_hash)
        case 4:
            return BlockReply(liar.other_block())
        case 5:
            block = liar.other_block()
            return liar.signed(Proposal(ProposalHead(epoch, liar.height, 0, block.hash(), seat, UNSIGNED), block))
        case _:
            fields = (epoch, height, view, 0, False, b"", b"", sha256(block_hash), b"", None)
            return liar.signed(Status(*fields, seat, UNSIGNED))
