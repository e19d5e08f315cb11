"""Which node keys may connect: the chain's, those of the validators, and the readers of the configuration.

Source: PROTOCOL §7.
"""

from collections.abc import Mapping

from node.chain.archive import Archive
from node.chain.membership import schedule_of
from node.chain.reading import standing_step
from node.chain.records.institution import Institution, InstitutionKey, Purpose, Standing
from node.primitives import Height, InstitutionId, PublicKey
from node.state import keys
from node.state.world_state import WorldState


class Membership:
    """The node keys in force, read anew when an institution changes."""

    def __init__(self, ledger: Archive, readers: Mapping[PublicKey, str]) -> None:
        """`readers`: names of read-only peers by key."""
        self._ledger = ledger
        self._readers = dict(readers)
        self._names: dict[PublicKey, str] = {}
        self.refresh()

    def authorise(self, public_key: PublicKey) -> str | None:
        """Return whose node key this is; None for a stranger's."""
        return self._names.get(public_key)

    def is_validator(self, institution: InstitutionId) -> bool:
        """Tell whether an institution votes on the next height."""
        ledger = self._ledger
        return ledger.validators_at(ledger.head.height + 1).index_of(institution) is not None

    def is_privileged(self, institution: InstitutionId) -> bool:
        """Tell whether an institution votes, or will: then it gets in even when all places are taken.

        Whoever waits for its turn to join must not find the door shut at the height from which it is counted.
        """
        if self.is_validator(institution):
            return True
        schedule = schedule_of(WorldState(self._ledger.state))
        planned = schedule.scheduled
        if planned is not None and planned.validators.index_of(institution) is not None:
            return True
        return any(change.institution == institution and change.is_join for change in schedule.waiting)

    def refresh(self) -> None:
        """Read the chain's node keys again.

        A validator's key is let in whatever became of it: consensus needs its vote until governance ends that.
        The genesis proves nothing about who holds its keys, and two may hold one; the second to bring it stays
        nameless: a key is a validator's first, then whose record of it is the oldest.
        """
        claims: list[tuple[bool, Height, InstitutionId, PublicKey]] = []
        records = WorldState(self._ledger.state)
        for institution_id in self._ledger.institutions():
            institution = records.get(keys.accreditation(institution_id), Institution)
            assert institution is not None, institution_id
            is_validator = self.is_privileged(institution_id)
            step = standing_step(records, institution)
            is_accredited = step is not None and step.standing is Standing.ACCREDITED
            for key_id in institution.keys:
                key = records.get(keys.key(institution_id, key_id), InstitutionKey)
                if key is None or key.purpose is not Purpose.NODE:
                    continue
                in_force = key.is_in_force
                if (is_accredited and in_force) or is_validator:
                    claims.append((not is_validator, key.added.height, institution_id, key.public_key))
        claims.sort(reverse=True)
        self._names = self._readers | {public_key: institution_id for _, _, institution_id, public_key in claims}
