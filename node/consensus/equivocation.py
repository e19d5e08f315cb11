"""Finding validators that say two things. [E1] [E2]

Here genuine statements are held against each other; which of them contradict is for `node/chain/evidence.py` to say.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from node.chain.evidence import contradiction
from node.chain.statements import SignedPart, ViewChangeHead
from node.consensus.effects import Effect, ReportEquivocation
from node.consensus.height import HeightState
from node.limits import EQUIVOCATIONS_PER_VALIDATOR_MAX


def compare(state: HeightState, said: SignedPart, others: Iterable[SignedPart]) -> Iterator[Effect]:
    """[E1] [E2] Report a genuine statement that contradicts another one; once each, a few of one validator."""
    for other in others:
        kind = contradiction(said, other)
        if kind is None:
            continue
        key = (said.validator, min(said.view, other.view), int(kind))
        reports = sum(1 for validator, _, _ in state.accused if validator == said.validator)
        if key in state.accused or reports >= EQUIVOCATIONS_PER_VALIDATOR_MAX:
            continue
        state.accused.add(key)
        yield ReportEquivocation(state.context.institution(said.validator), (other, said))


def compare_view_change(state: HeightState, change: ViewChangeHead) -> Iterator[Effect]:
    """Hold a ViewChange against what its signer has said, as far as we have it, that it must agree with."""
    signer = change.validator
    yield from compare(state, change, chain(state.view_changes.of(signer), state.votes.commits_of(signer)))
