"""Once faults end, honest validators decide: judged in views, and in simulated time as a last resort."""

from typing import TYPE_CHECKING

from tests.simulation.checkers import Violation

if TYPE_CHECKING:
    from tests.simulation.world import World

PROGRESS_HEIGHTS = 3
PROGRESS_LIMIT_MS = 400_000
"""Simulated; a healed network has to add its heights within it, whatever its timers had grown to."""


class Liveness:
    """The judge of progress of one run."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.views_to_resume = 0
        """Views that the height needed which was being agreed on when faults ended, above the highest reached."""
        self.views_of_others = 0
        """The view in which a later height was decided, at most."""

    def await_progress(self) -> None:
        """Play on until every honest node has three more heights. Raises: Violation."""
        world = self._world
        honest = world.honest()
        head = max(node.height for node in honest)
        reached = max(
            (node.replica.view().view for node in honest if node.is_up and node.height == head),
            default=0,
        )
        target = head + PROGRESS_HEIGHTS
        limit_ms = world.time_ms + PROGRESS_LIMIT_MS
        waiting = list(honest)

        def is_over() -> bool:
            while waiting and waiting[-1].is_up and waiting[-1].height >= target:
                waiting.pop()
            return not waiting or world.time_ms > limit_ms

        world.run_until(is_over)
        if world.checkers.forks_only:
            return
        if waiting:
            raise Violation(f"progress: {world.describe()} instead of height {target}")
        self._judge_views(head, reached)

    def _judge_views(self, head: int, reached: int) -> None:
        """At most f proposers in a row lie or listen; one more view may go by while others still catch up."""
        views, most = self._world.checkers.views, self._world.plan.max_faulty
        self.views_to_resume = max(0, views[head + 1] - reached)
        self.views_of_others = max(views[height] for height in range(head + 2, head + PROGRESS_HEIGHTS + 1))
        if max(self.views_to_resume, self.views_of_others) > most + 1:
            raise Violation(
                f"progress: {self.views_to_resume} more views to decide height {head + 1}, "
                f"later heights up to view {self.views_of_others}, with {most} faulty"
            )
