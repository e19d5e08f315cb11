"""What others may see of a replica: where it is and whom it waits for, and what it has counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from node.chain.certificate import Phase
from node.consensus.core import Core
from node.consensus.messages import Step
from node.errors import Reason
from node.primitives import Height, InstitutionId, View


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """Where this replica is and whom it waits for; lists are ascending by validator index."""

    height: Height
    view: View
    step: Step
    proposer: InstitutionId
    has_proposal: bool
    is_validator: bool
    may_sign: bool
    """False for an observer and while a validator without journal only listens."""
    signs_from: Height | None
    """While it listens: from which height on it will sign; None while too few have said where they are."""
    prepares: tuple[InstitutionId, ...]
    """Whose Prepare of this view was seen."""
    commits: tuple[InstitutionId, ...]
    view_changes: tuple[InstitutionId, ...]
    """Who asks for this view or a higher one."""
    missing: tuple[InstitutionId, ...]
    """Whose word is missing for the next step: the proposer's, or votes."""
    quorum: int
    view_timeout_ms: int
    signer_problem: str | None = None
    """Why our signer does not answer, so that we only follow; None while it does."""


@dataclass(slots=True)
class ReplicaCounters:
    """Totals since the start, for metrics."""

    rejected: Counter[Reason] = field(default_factory=Counter)
    proposals: Counter[str] = field(default_factory=Counter)
    """`sent`, `accepted`, `invalid`."""
    view_changes: int = 0
    equivocations: int = 0
    votes_late: int = 0
    signing_refused: int = 0
    signer_unreachable: int = 0
    """Times that the signer was asked and did not answer."""
    blocks_committed: int = 0
    missed_proposals: Counter[InstitutionId] = field(default_factory=Counter)
    """By proposer of a view that this replica left without a decision."""


def view_of(core: Core) -> ReplicaView:
    """Describe where a core is."""
    state = core.state
    context = state.context

    def names(indexes: Sequence[int]) -> tuple[InstitutionId, ...]:
        return tuple(context.institution(index) for index in indexes)

    prepares = state.votes.voters(Phase.PREPARE, state.view)
    commits = state.votes.voters(Phase.COMMIT, state.view)
    askers = state.view_changes.askers(max(state.view, 1))
    everybody = range(len(context.validators))
    missing: list[int] = []
    match state.step:
        case Step.WAITING:
            missing = [state.proposer]
        case Step.PREPARING:
            missing = [i for i in everybody if i not in prepares]
        case Step.COMMITTING:
            missing = [i for i in everybody if i not in commits]
        case Step.VIEW_CHANGING if len(askers) < context.validators.quorum:
            missing = [i for i in everybody if i not in askers]
        case Step.VIEW_CHANGING:
            missing = [state.proposer]
        case Step.DECIDED:
            pass
    return ReplicaView(
        height=context.height,
        view=state.view,
        step=state.step,
        proposer=context.institution(state.proposer),
        has_proposal=state.accepted_hash is not None,
        is_validator=state.me is not None,
        may_sign=state.may_sign,
        signs_from=None if state.may_sign else core.signs_from,
        prepares=names(prepares),
        commits=names(commits),
        view_changes=names(askers),
        missing=names(missing),
        quorum=context.validators.quorum,
        view_timeout_ms=state.timeouts.duration_ms(state.view),
    )
