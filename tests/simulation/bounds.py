"""What others send can fill only so much of a replica: looked at after floods and at the end."""

from collections.abc import Mapping, Sized
from typing import TYPE_CHECKING, Any

from node.limits import (
    BLOCKS_PER_HEIGHT_MAX,
    EQUIVOCATIONS_PER_VALIDATOR_MAX,
    FUTURE_MESSAGES_PER_PEER_MAX,
    PROPOSALS_JUDGED_PER_PEER_MAX,
    VIEW_CHANGES_PER_VALIDATOR_MAX,
    VOTE_VIEWS_PER_VALIDATOR_MAX,
)
from tests.simulation.checkers import Violation

if TYPE_CHECKING:
    from tests.simulation.machine import Node

BLOCKS_NEEDED_MAX = 4
"""Bodies that are held beyond the bound because they are accepted, prepared or decided, or came just now."""


def judge_bounds(node: "Node") -> None:
    """Compare what a replica holds with what it may hold. Raises: Violation."""
    core = node.replica._core
    state = core.state
    count = len(state.context.validators)
    held = {
        "votes of one validator and phase": _most(state.votes._held, VOTE_VIEWS_PER_VALIDATOR_MAX),
        "view changes of one validator": _most(state.view_changes._held, VIEW_CHANGES_PER_VALIDATOR_MAX),
        "early messages of one peer": _most(core._early, FUTURE_MESSAGES_PER_PEER_MAX),
        "blocks": (len(state.blocks), BLOCKS_PER_HEIGHT_MAX + BLOCKS_NEEDED_MAX),
        "proposals being judged": (len(state.judging), PROPOSALS_JUDGED_PER_PEER_MAX * count),
        "reports": (len(state.accused), EQUIVOCATIONS_PER_VALIDATOR_MAX * count),
    }
    for what, (number, most) in held.items():
        if number > most:
            raise Violation(f"bounds: {node.name} holds {number} {what}, at most {most}")


def _most(held: Mapping[Any, Sized], most: int) -> tuple[int, int]:
    return max((len(items) for items in held.values()), default=0), most
