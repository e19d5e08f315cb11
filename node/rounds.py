"""Who did what at the height in progress, view by view: for the log of a height that was slow.

Looked at from outside, between two inputs; only what was verified is counted.
"""

from dataclasses import dataclass

from node.chain.certificate import Phase
from node.consensus.core import Core
from node.limits import ROUND_VIEWS_MAX
from node.primitives import Height, InstitutionId, View


@dataclass(frozen=True, slots=True)
class ViewRound:
    """One view; names are in set order."""

    view: View
    proposer: InstitutionId
    prepared: tuple[InstitutionId, ...]
    """Whose Prepare is held. A proposal that nobody prepared was not seen, or was bad."""
    committed: tuple[InstitutionId, ...]
    left: tuple[InstitutionId, ...]
    """Who asks for a higher view."""


@dataclass(frozen=True, slots=True)
class Round:
    """A height so far."""

    height: Height
    quorum: int
    views: tuple[ViewRound, ...]
    """The last ROUND_VIEWS_MAX, ascending."""
    silent: tuple[InstitutionId, ...]
    """Other validators of whom nothing that counts was heard in these views."""


def round_of(core: Core) -> Round:
    """Describe the height that a core is at."""
    state = core.state
    context, votes = state.context, state.votes
    last = max(state.view, state.decision.view if state.decision is not None else 0)
    views: list[ViewRound] = []
    heard: set[int] = set()
    for view in range(max(0, last - ROUND_VIEWS_MAX + 1), last + 1):
        found = (
            votes.voters(Phase.PREPARE, view),
            votes.voters(Phase.COMMIT, view),
            state.view_changes.askers(view + 1),
        )
        heard.update(*found)
        prepared, committed, left = (tuple(map(context.institution, indexes)) for indexes in found)
        views.append(ViewRound(view, context.institution(context.rotation.proposer(view)), prepared, committed, left))
    everybody = range(len(context.validators))
    silent = tuple(context.institution(index) for index in everybody if index not in heard and index != state.me)
    return Round(context.height, context.validators.quorum, tuple(views), silent)
