"""Who may vote on what governs the network, and when enough have: a majority of the authorities and Q validators.

An institution that is both counts in both. A vote counts while the keys that gave it stay good, an authority
while it is accredited, a validator while it is in the set: keys and standings never change the set itself.
Source: PROTOCOL §5, "Membership".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from node.chain.reading import Records, has_role, is_void
from node.chain.records.governance import Authorities, Ballot
from node.chain.records.institution import Role
from node.chain.validator_set import ValidatorSet
from node.primitives import InstitutionId, TimestampMs
from node.state import keys


@dataclass(frozen=True, slots=True)
class Electorate:
    """Who has a vote at a moment."""

    authorities: frozenset[InstitutionId]
    """Accredited now with the role."""
    validators: frozenset[InstitutionId]
    quorum: int
    """Validators needed."""

    @property
    def authorities_needed(self) -> int:
        """k of m = ⌊m/2⌋ + 1: 1 → 1, 2 → 2, 3 → 2; without any authority nothing is ever approved."""
        return len(self.authorities) // 2 + 1

    def __contains__(self, institution: object) -> bool:
        return institution in self.authorities or institution in self.validators


@dataclass(frozen=True, slots=True)
class Tally:
    """How a vote stands."""

    authorities: int
    authorities_needed: int
    validators: int
    validators_needed: int

    @property
    def is_approved(self) -> bool:
        """Both majorities are there."""
        return self.authorities >= self.authorities_needed and self.validators >= self.validators_needed


def electorate(records: Records, time_ms: TimestampMs) -> Electorate:
    """Return who has a vote now."""
    validators = records.get(keys.VALIDATOR_SET, ValidatorSet)
    assert validators is not None
    listed = records.get(keys.AUTHORITIES, Authorities)
    names = () if listed is None else listed.institutions
    authorities = frozenset(name for name in names if has_role(records, name, Role.AUTHORITY, time_ms=time_ms))
    members = frozenset(member.institution for member in validators.members)
    return Electorate(authorities, members, validators.quorum)


def tally(records: Records, ballots: Iterable[Ballot], voters: Electorate) -> Tally:
    """Count the ballots that are good now."""
    names = {ballot.institution for ballot in ballots if not is_void(records, ballot.act)}
    return Tally(
        len(names & voters.authorities), voters.authorities_needed, len(names & voters.validators), voters.quorum
    )


def count_ready(records: Records, ballots: Iterable[Ballot], validators: ValidatorSet) -> int:
    """Return how many members of a set have said, with keys that are still good, that they are ready."""
    return sum(
        validators.index_of(ballot.institution) is not None and not is_void(records, ballot.act) for ballot in ballots
    )
