"""Leaving a view that does not decide, and proposing in the next one. [V1]–[V5], [T2], [P3], [P4]

The justification is QBFT's: Q ViewChanges for exactly the new view; the highest prepared block among
them, proven by its certificate, must be proposed again; with no claim any valid block may be.
"""

from collections.abc import Iterator

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.statements import ProposalHead, ViewChangeHead
from node.consensus import body, equivocation
from node.consensus.effects import BuildBlock, Effect, Persist, SetTimer, SignAndBroadcast
from node.consensus.height import HeightState
from node.consensus.inputs import Timer, TimerKind
from node.consensus.messages import UNSIGNED, KeptBlock, NewView, PromisedProposal, Step, ViewChange
from node.consensus.verification import Verifier, check_view_change
from node.primitives import View


def start(state: HeightState, view: View) -> Iterator[Effect]:
    """[V1] [V4] Enter `view`: from here on nothing below it is prepared or committed."""
    assert view > state.view
    assert state.may_sign
    assert state.me is not None
    context, prepared = state.context, state.prepared
    enter(state, view)
    head = ViewChangeHead(
        epoch=context.epoch,
        height=context.height,
        view=view,
        prepared_view=None if prepared is None else prepared.view,
        prepared_hash=None if prepared is None else prepared.block_hash,
        validator=state.me,
        signature=UNSIGNED,
    )
    message = ViewChange(head, prepared)
    yield Persist(message)
    yield SignAndBroadcast(message)


def enter(state: HeightState, view: View) -> None:
    """Forget what belonged to the view before; its votes and certificate stay."""
    state.view = view
    state.step = Step.VIEW_CHANGING
    state.accepted_hash = None
    state.accepted = None
    state.building = False


def take(state: HeightState, verifier: Verifier, message: ViewChange) -> Iterator[Effect]:
    """[V3] Keep a ViewChange that proves its claim; others count for nothing. Raises: Rejected."""
    head = message.head
    if head.view < state.view:
        return
    earlier = state.view_changes.held(head.validator, head.view)
    if earlier is None:
        if head.view and not state.view_changes.wants(head.validator, head.view):
            return
        check_view_change(verifier, state.context, message)
        state.view_changes.add(message)
    elif earlier.head != head:
        verifier.check_signature(state.context.validators, head)
    yield from equivocation.compare_view_change(state, head)


def progress(state: HeightState, now_ms: int) -> Iterator[Effect]:
    """Do what the ViewChanges held now allow."""
    to_join = state.view_changes.view_to_join(state.view)
    if to_join is not None:  # [V2]
        yield from start(state, to_join)
        return
    if state.view == 0:
        return
    members = state.view_changes.members_at_least(state.view)
    if members >= state.context.validators.quorum:  # [T2]
        yield from start_timer(state)
    if state.step is Step.VIEW_CHANGING and state.proposer == state.me:
        yield from _propose(state, now_ms)


def start_timer(state: HeightState) -> Iterator[Effect]:
    """Start the timer of the present view, once."""
    if state.timer_view == state.view:
        return
    state.timer_view = state.view
    timer = Timer(TimerKind.VIEW, state.context.height, state.view)
    yield SetTimer(timer, state.timeouts.duration_ms(state.view))


def _propose(state: HeightState, now_ms: int) -> Iterator[Effect]:
    """As the proposer of this view: propose what Q ViewChanges leave possible."""
    if state.proposed is not None and state.proposed >= state.view:
        return
    chosen = _justification(state)
    if chosen is None:
        return
    _, certificate = chosen
    if certificate is None:  # [P3]
        if not state.building:
            state.building = True
            yield BuildBlock(max(now_ms, state.context.head.timestamp_ms + 1))
        return
    block = state.blocks.get(certificate.block_hash)
    if block is None:  # [P4]
        yield from body.want(state, certificate)
        return
    yield from _send(state, block)


def propose_built(state: HeightState, block: Block) -> Iterator[Effect]:
    """[P3] A fresh block is ready: propose it if still nothing prepared has to be proposed instead."""
    if state.proposed is not None and state.proposed >= state.view:
        return
    chosen = _justification(state)
    if chosen is not None and chosen[1] is None:
        yield from _send(state, block)
    else:
        state.building = False


def _justification(
    state: HeightState,
) -> tuple[tuple[ViewChangeHead, ...], Certificate | None] | None:
    """Return Q heads for exactly this view and the certificate of their highest claim; None if too few."""
    held = state.view_changes.at(state.view)
    quorum = state.context.validators.quorum
    if len(held) < quorum:
        return None
    chosen = held[:quorum]
    certificates = [message.certificate for message in chosen if message.certificate is not None]
    highest = max(certificates, key=lambda certificate: certificate.view, default=None)
    return tuple(message.head for message in chosen), highest


def _send(state: HeightState, block: Block) -> Iterator[Effect]:
    """Persist, then send the NewView."""
    chosen = _justification(state)
    assert chosen is not None
    assert state.me is not None
    heads, certificate = chosen
    block_hash = block.hash()
    context = state.context
    state.proposed = state.view
    head = ProposalHead(context.epoch, context.height, state.view, block_hash, state.me, UNSIGNED)
    if block_hash not in state.kept:
        state.kept.add(block_hash)
        yield Persist(KeptBlock(block))
    yield Persist(PromisedProposal(head, heads, certificate))
    yield SignAndBroadcast(NewView(head, heads, certificate, block))
