"""Proposing in view 0, and accepting one proposal of each view. [P1] [P2], [A1]–[A7], [C1]

What is proposed in higher views is for view_change.py to say; whether a proposal is genuine, for verification.py.
"""

from collections.abc import Iterator

import msgspec

from node.chain.block import Block
from node.chain.statements import Prepare, ProposalHead
from node.consensus import body, equivocation, view_change
from node.consensus.effects import BuildBlock, Effect, Persist, SignAndBroadcast
from node.consensus.height import HeightState
from node.consensus.messages import UNSIGNED, AnyProposal, KeptBlock, NewView, PromisedProposal, Proposal, Step
from node.consensus.tick_quota import TickQuota
from node.consensus.verification import Verifier, check_proposal
from node.limits import HEARTBEAT_MS
from node.primitives import InstitutionId


def propose(state: HeightState, now_ms: int) -> Iterator[Effect]:
    """[P1] [P2] In view 0: as soon as there is something to include, or the heartbeat is due."""
    head = state.context.head
    is_due = now_ms >= head.timestamp_ms + HEARTBEAT_MS
    if (
        state.step is Step.WAITING
        and state.proposer == state.me
        and state.proposed is None
        and not state.building
        and (state.has_pending or is_due)
    ):
        state.building = True
        yield BuildBlock(max(now_ms, head.timestamp_ms + 1))


def propose_built(state: HeightState, block: Block) -> Iterator[Effect]:
    """Propose the block, unless the view has moved on or it is empty before its time."""
    header = block.header
    if not state.building or header.parent_hash != state.context.head.hash():
        return
    block_hash = block.hash()
    if state.view > 0:
        state.remember_block(block_hash, block)
        yield from view_change.propose_built(state, block)  # [P3]
        return
    is_heartbeat = header.timestamp_ms >= state.context.head.timestamp_ms + HEARTBEAT_MS
    if state.step is not Step.WAITING or not (block.transactions or block.evidence or is_heartbeat):  # [P2]
        return
    assert state.me is not None
    state.proposed = 0
    state.remember_block(block_hash, block)
    state.kept.add(block_hash)
    context = state.context
    head = ProposalHead(context.epoch, context.height, 0, block_hash, state.me, UNSIGNED)
    yield Persist(KeptBlock(block))
    yield Persist(PromisedProposal(head, (), None))
    yield SignAndBroadcast(Proposal(head, block))


def judge(
    state: HeightState,
    verifier: Verifier,
    quota: TickQuota,
    sender: InstitutionId,
    message: AnyProposal,
    now_ms: int,
) -> Iterator[Effect]:
    """[A1]–[A7] Accept the first valid proposal of a view that is not below ours. Raises: Rejected."""
    head = message.head
    assert state.me is not None
    if head.view < state.view:  # [V4]
        return
    if head.view == state.view and state.accepted_hash is not None:  # [A7]
        if head.block_hash != state.accepted_hash and state.accepted is not None:
            verifier.check_signature(state.context.validators, head)
            yield from equivocation.compare(state, head, [state.accepted.head])
        return
    if message in state.judging:
        return
    quota.judge(sender, is_own=sender == state.context.institution(state.me))
    check_proposal(verifier, state.context, message, now_ms)
    yield from equivocation.compare(state, head, [waiting.head for waiting in state.judging])
    if isinstance(message, NewView):
        for change in message.view_changes:
            yield from equivocation.compare_view_change(state, change)
    if head.block_hash in state.blocks:
        yield from _accept(state, quota, message, now_ms)
    else:
        state.judging.append(message)
        yield from body.validate(state, head.block_hash, message.block)


def _accept(state: HeightState, quota: TickQuota, message: AnyProposal, now_ms: int) -> Iterator[Effect]:
    """[C1] Body and vote durable, then Prepare. A NewView may carry us up to its view. [A7]"""
    head = message.head
    assert state.me is not None
    if head.view > state.view:
        view_change.enter(state, head.view)
    state.step, state.active = Step.PREPARING, True
    judged = state.blocks[head.block_hash]  # a header may have come with another body than this
    state.accepted_hash, state.accepted = head.block_hash, msgspec.structs.replace(message, block=judged)
    state.accepted_at_ms = now_ms
    quota.accepted(state.context.institution(head.validator))
    if head.view > 0:
        yield from view_change.start_timer(state)  # [T2]: it proves Q ViewChanges
    if head.block_hash not in state.kept:
        state.kept.add(head.block_hash)
        yield Persist(KeptBlock(judged))
    vote = Prepare(head.epoch, head.height, head.view, head.block_hash, state.me, UNSIGNED)
    yield Persist(vote)
    yield SignAndBroadcast(vote)


def take_verdict(state: HeightState, quota: TickQuota, block: Block, now_ms: int, *, valid: bool) -> Iterator[Effect]:
    """A body is known to be good or bad; of proposals that waited for it one is accepted."""
    if block.header.height != state.context.height:
        return
    block_hash = block.hash()
    state.validating.discard(block_hash)
    waiting = [message for message in state.judging if message.head.block_hash == block_hash]
    if not valid:
        state.judging = [message for message in state.judging if message.block is not block]
        return
    state.remember_block(block_hash, block)
    state.fetches.pop(block_hash, None)
    state.judging = [message for message in state.judging if message not in waiting]
    if state.is_decided or not state.may_sign:
        return
    for message in sorted(waiting, key=lambda message: message.head.view, reverse=True):
        if _is_acceptable(state, message):
            yield from _accept(state, quota, message, now_ms)


def _is_acceptable(state: HeightState, message: AnyProposal) -> bool:
    """[A7] Tell whether a genuine proposal is the first of a view that is not below ours."""
    view = message.head.view
    return view > state.view or (view == state.view and state.accepted_hash is None)
