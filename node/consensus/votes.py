"""Is it enough? The tallies of one height: votes by view and block, view changes by view.

Nothing here verifies; only what is genuine is added. Votes of different views are never added up:
each tally is for one (phase, view, block hash).
"""

from collections.abc import Iterator

from node.chain.certificate import Certificate, Phase, VoteSignature
from node.chain.statements import Commit, Prepare, ViewChangeHead
from node.chain.validator_set import ValidatorSet
from node.consensus.messages import ViewChange, Vote
from node.crypto.signing import Algorithm
from node.limits import VIEW_CHANGES_PER_VALIDATOR_MAX, VOTE_VIEWS_PER_VALIDATOR_MAX
from node.primitives import Epoch, Hash, Height, Signature, ValidatorIndex, View


class VoteBook:
    """Prepares and Commits of one height: the first of each validator per phase and view."""

    def __init__(self, validators: ValidatorSet, epoch: Epoch, height: Height) -> None:
        self._validators = validators
        self._epoch = epoch
        self._height = height
        self._held: dict[tuple[Phase, ValidatorIndex], dict[View, Vote]] = {}
        self._tallies: dict[tuple[Phase, View, Hash], dict[ValidatorIndex, Signature]] = {}
        self._voters: set[ValidatorIndex] = set()
        self.decided: tuple[View, Hash] | None = None
        """Where Q Commits of one view have come together; two different ones cannot."""

    def held(self, phase: Phase, validator: ValidatorIndex, view: View) -> Vote | None:
        """Return the vote of a validator in a view, or None."""
        return self._held.get((phase, validator), {}).get(view)

    def add(self, vote: Vote) -> None:
        """Count a genuine vote; a second one for the same phase and view changes nothing.

        Of more than eight views the lowest gives way: a liar fills only its own place.
        """
        phase = phase_of(vote)
        views = self._held.setdefault((phase, vote.validator), {})
        if vote.view in views:
            return
        if len(views) >= VOTE_VIEWS_PER_VALIDATOR_MAX:  # [B2]
            lowest = min(views)
            if vote.view < lowest:
                return
            dropped = views.pop(lowest)
            place = (phase, dropped.view, dropped.block_hash)
            del self._tallies[place][dropped.validator]
            if not self._tallies[place]:
                del self._tallies[place]
        views[vote.view] = vote
        self._voters.add(vote.validator)
        tally = self._tallies.setdefault((phase, vote.view, vote.block_hash), {})
        tally[vote.validator] = vote.signature
        if phase is Phase.COMMIT and len(tally) >= self._validators.quorum and self.decided is None:
            self.decided = (vote.view, vote.block_hash)

    def commits_of(self, validator: ValidatorIndex) -> Iterator[Commit]:
        """Yield the Commits of a validator that are held."""
        for vote in self._held.get((Phase.COMMIT, validator), {}).values():
            if isinstance(vote, Commit):
                yield vote

    @property
    def voter_count(self) -> int:
        """How many distinct members voted at this height at all. [T1]"""
        return len(self._voters)

    def count(self, phase: Phase, view: View, block_hash: Hash) -> int:
        """Return how many distinct validators voted so."""
        return len(self._tallies.get((phase, view, block_hash), ()))

    def certificate(self, phase: Phase, view: View, block_hash: Hash) -> Certificate:
        """Return the certificate of a tally that has reached the quorum."""
        tally = self._tallies[phase, view, block_hash]
        assert len(tally) >= self._validators.quorum
        return Certificate(
            algorithm=Algorithm.ED25519,
            phase=int(phase),
            epoch=self._epoch,
            height=self._height,
            view=view,
            block_hash=block_hash,
            signatures=tuple(VoteSignature(index, tally[index]) for index in sorted(tally)),
        )

    def voters(self, phase: Phase, view: View) -> list[ValidatorIndex]:
        """Return who voted in a view, for whatever block, ascending."""
        return [index for index in range(len(self._validators)) if self.held(phase, index, view) is not None]

    def seen(self, phase: Phase, view: View) -> bytes:
        """Return the voters of a view as a bitmap."""
        bits = sum(1 << index for index in self.voters(phase, view))
        return bits.to_bytes((len(self._validators) + 7) // 8, "little")


class ViewChangeBook:
    """The ViewChanges of one height: of each validator the two with the highest views. [B2]"""

    def __init__(self, validators: ValidatorSet) -> None:
        self._validators = validators
        self._held: dict[ValidatorIndex, dict[View, ViewChange]] = {}
        self._highest: dict[ValidatorIndex, View] = {}
        """The highest view of each in `_held`: asked for after every input."""

    @property
    def is_empty(self) -> bool:
        """Tell whether nobody has asked for another view."""
        return not self._highest

    def held(self, validator: ValidatorIndex, view: View) -> ViewChange | None:
        """Return a validator's ViewChange to a view, or None."""
        return self._held.get(validator, {}).get(view)

    def of(self, validator: ValidatorIndex) -> list[ViewChangeHead]:
        """Return the heads of a validator's ViewChanges that are held."""
        return [message.head for message in self._held.get(validator, {}).values()]

    def wants(self, validator: ValidatorIndex, view: View) -> bool:
        """Tell whether a ViewChange would be kept; asked before its signatures are checked."""
        views = self._held.get(validator, {})
        return view not in views and (len(views) < VIEW_CHANGES_PER_VALIDATOR_MAX or view > min(views))

    def add(self, message: ViewChange) -> None:
        """Keep a genuine ViewChange."""
        head = message.head
        if not self.wants(head.validator, head.view):
            return
        views = self._held.setdefault(head.validator, {})
        views[head.view] = message
        if len(views) > VIEW_CHANGES_PER_VALIDATOR_MAX:  # [B2]
            del views[min(views)]
        self._highest[head.validator] = max(views)

    def at(self, view: View) -> list[ViewChange]:
        """Return the ViewChanges for exactly this view, ascending by validator."""
        return [self._held[i][view] for i in sorted(self._held) if view in self._held[i]]

    def members_at_least(self, view: View) -> int:
        """Return how many distinct members ask for this view or any higher one. [T2]"""
        return sum(1 for highest in self._highest.values() if highest >= view)

    def view_to_join(self, current: View) -> View | None:
        """Return the smallest view that one of at least f+1 members above `current` asks for. [V2]

        One of f+1 is honest, so its view was reached by the rules; the smallest is at most that one.
        """
        above = [highest for highest in self._highest.values() if highest > current]
        return min(above) if len(above) > self._validators.max_faulty else None

    def askers(self, view: View) -> list[ValidatorIndex]:
        """Return who asks for this view or a higher one, ascending."""
        return [i for i in sorted(self._highest) if self._highest[i] >= view]


def phase_of(vote: Vote) -> Phase:
    """Return which certificate a vote belongs to."""
    match vote:
        case Prepare():
            return Phase.PREPARE
        case Commit():
            return Phase.COMMIT


def has_bit(bitmap: bytes, index: int) -> bool:
    """Tell whether bit `index` is set; bits beyond the end are not."""
    return index // 8 < len(bitmap) and bool(bitmap[index // 8] >> index % 8 & 1)
