"""[D2] Finding the body of a block that a certificate proves to exist.

f+1 honest signers of any certificate stored the body before they signed, so asking the signers in
turn ends at one that has it.
"""

from collections.abc import Iterator

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.consensus.effects import Effect, LoadBlock, Send, SetTimer, ValidateBlock
from node.consensus.height import Fetch, HeightState
from node.consensus.inputs import Timer, TimerKind
from node.consensus.messages import BlockRequest
from node.limits import BLOCK_FETCH_INTERVAL_MS
from node.primitives import Hash


def want(state: HeightState, certificate: Certificate) -> Iterator[Effect]:
    """Look for the certified body: in our own journal, else from the signers in turn."""
    block_hash = certificate.block_hash
    if block_hash in state.fetches:
        return
    context = state.context
    peers = tuple(context.institution(vote.validator) for vote in certificate.signatures if vote.validator != state.me)
    state.fetches[block_hash] = Fetch(peers)
    if block_hash in state.kept:
        yield LoadBlock(context.height, block_hash)
        return
    yield from ask_next(state)


def ask_next(state: HeightState) -> Iterator[Effect]:
    """Ask the next signer for each body still missing, and come back in a quarter of a second."""
    context = state.context
    for block_hash in list(state.fetches):
        if block_hash in state.blocks:
            del state.fetches[block_hash]
    for block_hash, fetch in state.fetches.items():
        peer = fetch.peers[fetch.turn % len(fetch.peers)]
        fetch.turn += 1
        fetch.asked.add(peer)
        yield Send(peer, BlockRequest(context.epoch, context.height, block_hash))
    if state.fetches:
        timer = Timer(TimerKind.FETCH, context.height, 0)
        yield SetTimer(timer, BLOCK_FETCH_INTERVAL_MS)


def validate(state: HeightState, block_hash: Hash, block: Block) -> Iterator[Effect]:
    """Have a body judged by the ledger."""
    state.validating.add(block_hash)
    yield ValidateBlock(block)


def is_wanted(state: HeightState, block_hash: Hash, sender: str) -> bool:
    """Tell whether a reply was asked for; each request buys one validation."""
    fetch = state.fetches.get(block_hash)
    if fetch is None or sender not in fetch.asked:
        return False
    fetch.asked.discard(sender)
    return True
