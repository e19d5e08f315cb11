"""What each validator was last heard to say, for whoever asks why no block comes. Hints for people, never facts.

Owned by the observer of consensus; times are milliseconds of the clock that inputs carry.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from node.consensus.inputs import Input, MessageReceived
from node.consensus.messages import Decided, Proposal, Status
from node.errors import Reason, Rejected
from node.limits import CLOCK_AHEAD_MAX_MS, PEERS_MAX
from node.primitives import Height, InstitutionId, View

CLOCK_WITNESSES_MIN = 2
"""Proposals of so many others must agree before our own clock is called wrong."""


@dataclass(slots=True)
class Heard:
    """The last words of one validator; None: nothing of the kind yet."""

    status_ms: int | None = None
    height: Height | None = None
    """Height it is agreeing on, by its Status, as `view`."""
    view: View | None = None
    listens: bool = False
    """It asked where others are because it has lost its journal, and has promised nothing since."""
    refused_ms: int | None = None
    refusal: Rejected | None = None
    """The last of its messages that could not be taken."""
    skew_ms: int | None = None
    """Timestamp of its last fresh proposal against our clock."""


class Witness:
    """Remembers what was heard, of at most PEERS_MAX senders; who was heard first is forgotten first."""

    def __init__(self) -> None:
        self._heard: dict[InstitutionId, Heard] = {}

    def heard(self, institution: InstitutionId) -> Heard:
        """Return what is known of a validator."""
        return self._heard.get(institution, Heard())

    def stepped(self, event: Input) -> None:
        """An input was taken."""
        if not isinstance(event, MessageReceived):
            return
        heard, message = self._of(event.sender), event.message
        match message:
            case Status():
                heard.status_ms, heard.height, heard.view = event.now_ms, message.height, message.view
                heard.listens = heard.listens or bool(message.probe)
            case Decided():
                pass
            case Proposal(block=block):
                heard.listens = False
                if block.header.proposer == event.sender:
                    heard.skew_ms = block.header.timestamp_ms - event.now_ms
            case _:
                heard.listens = False

    def rejected(self, sender: InstitutionId, rejection: Rejected, now_ms: int) -> None:
        """A message of a peer could not be taken."""
        heard = self._of(sender)
        if rejection.reason is not Reason.QUOTA_EXCEEDED:
            heard.refused_ms, heard.refusal = now_ms, rejection

    def own_skew_ms(self, institutions: Sequence[InstitutionId]) -> int | None:
        """Return by how much our own clock seems to be ahead (negative: behind); None where it seems right.

        A fresh proposal is on its way for less than a second, so the middle of several says something about us.
        """
        skews = (self.heard(name).skew_ms for name in institutions)
        found = [skew for skew in skews if skew is not None]
        if len(found) < CLOCK_WITNESSES_MIN:
            return None
        middle = int(median(found))
        return -middle if abs(middle) > CLOCK_AHEAD_MAX_MS else None

    def _of(self, sender: InstitutionId) -> Heard:
        found = self._heard.get(sender)
        if found is None:
            if len(self._heard) >= PEERS_MAX:
                del self._heard[next(iter(self._heard))]
            found = self._heard[sender] = Heard()
        return found
