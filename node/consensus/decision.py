"""From votes to a decision: counting them, Commit, and the certificate that decides. [C2], [D1], [D3]

What is enough is for votes.py to say.
"""

from collections.abc import Iterator

from node.chain.certificate import Phase
from node.chain.statements import Commit
from node.consensus import body, equivocation
from node.consensus.effects import CommitBlock, Effect, Persist, SignAndBroadcast
from node.consensus.height import HeightState
from node.consensus.messages import UNSIGNED, Decided, Prepared, Step, Vote
from node.consensus.tick_quota import TickQuota
from node.consensus.verification import Verifier
from node.consensus.votes import phase_of
from node.errors import Reason, Rejected
from node.primitives import InstitutionId


def count_vote(state: HeightState, verifier: Verifier, vote: Vote) -> Iterator[Effect]:
    """Count one genuine vote; a repeated one costs nothing. Raises: Rejected."""
    earlier = state.votes.held(phase_of(vote), vote.validator, vote.view)
    if earlier == vote:
        return
    verifier.check_signature(state.context.validators, vote)
    if earlier is not None:
        yield from equivocation.compare(state, vote, [earlier])
        return
    state.votes.add(vote)
    if isinstance(vote, Commit):
        yield from equivocation.compare(state, vote, state.view_changes.of(vote.validator))


def commit(state: HeightState) -> Iterator[Effect]:
    """[C2] Q Prepares of this view for the accepted block: certificate and vote, then Commit."""
    block_hash = state.accepted_hash
    if block_hash is None or state.me is None:
        return
    if state.votes.count(Phase.PREPARE, state.view, block_hash) < state.context.validators.quorum:
        return
    state.step = Step.COMMITTING
    state.prepared = state.votes.certificate(Phase.PREPARE, state.view, block_hash)
    context = state.context
    vote = Commit(context.epoch, context.height, state.view, block_hash, state.me, UNSIGNED)
    yield Persist(Prepared(state.prepared))
    yield Persist(vote)
    yield SignAndBroadcast(vote)


def decide(state: HeightState, now_ms: int) -> Iterator[Effect]:
    """[D1] Q Commits of one and the same view decide, whatever view we are in."""
    if state.decision is None and state.votes.decided is not None:
        view, block_hash = state.votes.decided
        state.decision = state.votes.certificate(Phase.COMMIT, view, block_hash)
    if state.decision is None:
        return
    block = state.blocks.get(state.decision.block_hash)
    if block is None:
        if state.decision.block_hash not in state.validating:
            yield from body.want(state, state.decision)  # [D2]
        return
    state.step = Step.DECIDED
    if state.accepted_hash == state.decision.block_hash and state.accepted_at_ms:
        state.timeouts.observe(now_ms - state.accepted_at_ms)
    yield CommitBlock(block, state.decision)


def take_decided(
    state: HeightState, verifier: Verifier, quota: TickQuota, sender: InstitutionId, message: Decided
) -> Iterator[Effect]:
    """[D3] A certificate decides as well as the votes it is made of. Raises: Rejected."""
    certificate = message.certificate
    block_hash = message.block.hash()
    if certificate.block_hash != block_hash:
        raise Rejected(
            Reason.BAD_CERTIFICATE,
            f"certificate of {certificate.block_hash.hex()} with block {block_hash.hex()}",
        )
    verifier.check_certificate(state.context, certificate, Phase.COMMIT)
    if state.decision is None:
        state.decision = certificate
    if block_hash not in state.blocks and quota.may_judge(sender):
        yield from body.validate(state, block_hash, message.block)
