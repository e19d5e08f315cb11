"""Evidence that waits for a block: little, checked, and lost at a restart – whoever sees it again sends it again."""

from collections.abc import Callable, Iterator

from node.chain.evidence import Offence, Place
from node.errors import Reason, Rejected
from node.limits import EVIDENCE_POOL_MAX, EVIDENCE_POOL_PER_VALIDATOR_MAX
from node.primitives import InstitutionId


class EvidencePool:
    """Good evidence by offence, oldest first."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[InstitutionId, Place], tuple[Offence, bytes]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def holds(self, offence: Offence) -> bool:
        """Tell whether an offence waits, by whatever statements."""
        return (offence.institution, offence.place) in self._waiting

    def add(self, offence: Offence, data: bytes) -> None:
        """Keep evidence that was found good. Raises: Rejected(LIMIT_EXCEEDED)."""
        of_this = sum(1 for institution, _ in self._waiting if institution == offence.institution)
        if of_this >= EVIDENCE_POOL_PER_VALIDATOR_MAX:
            raise Rejected(Reason.LIMIT_EXCEEDED, f"{of_this} pieces of evidence against {offence.institution} wait")
        if len(self._waiting) >= EVIDENCE_POOL_MAX:
            raise Rejected(Reason.LIMIT_EXCEEDED, f"{len(self._waiting)} pieces of evidence wait")
        self._waiting[offence.institution, offence.place] = (offence, data)

    def __iter__(self) -> Iterator[tuple[Offence, bytes]]:
        """Yield offences with their evidence, oldest first."""
        return iter(self._waiting.values())

    def keep(self, is_good: Callable[[Offence], bool]) -> None:
        """Drop what no block can carry any more; called when the head has moved."""
        for key, (offence, _) in list(self._waiting.items()):
            if not is_good(offence):
                del self._waiting[key]
