"""Which validators each height has, told again from nothing but the decided blocks, and what no hand-over may do."""

from node.chain.block import Block
from node.chain.validator_set import ValidatorSet
from node.primitives import PublicKey
from tests.simulation.membership import changed_by, differences


class Sets:
    """The checkers' own list of sets, by height, up to one above the highest decided block."""

    def __init__(self, first: ValidatorSet) -> None:
        self._by_height = [first, first]
        """Those of heights 0 and 1, …"""
        self._used: set[PublicKey] = {member.public_key for member in first.members}
        self._last_change = 0
        """First height of the newest set, as far as changes are decided."""
        self._coming: ValidatorSet | None = None

    def at(self, height: int) -> ValidatorSet:
        """Return the set of a height; of one that nobody can know yet the newest."""
        return self._by_height[min(height, len(self._by_height) - 1)]

    @property
    def newest(self) -> ValidatorSet:
        """The set of the height above the highest decided one."""
        return self._by_height[-1]

    @property
    def coming(self) -> ValidatorSet:
        """The newest set that is decided, in force or not."""
        return self.newest if self._coming is None else self._coming

    @property
    def is_settled(self) -> bool:
        """No change is under way and the newest set has decided a height."""
        return self._coming is None and len(self._by_height) - 2 >= self._last_change

    def hand_overs(self) -> list[int]:
        """Return the first heights of new sets."""
        heights = range(2, len(self._by_height))
        return [height for height in heights if self._by_height[height] != self._by_height[height - 1]]

    def on_decided(self, block: Block) -> str | None:
        """Take note of the block above the highest known, others were noted before; return what is wrong with it."""
        height = block.header.height
        if height != len(self._by_height) - 1:
            return None
        present = self._by_height[height]
        following = present
        if self._coming is not None:
            if height + 1 == self._last_change:
                following, self._coming = self._coming, None
        elif height > self._last_change:
            self._plan(block, present)
        header = block.header
        if (header.validators_hash, header.next_validators_hash) != (present.hash, following.hash):
            return f"sets: header {height} commits to other validators than its chain gives it"
        if differences(present, following) > max(1, (len(present) - 1) // 3) or not 4 <= len(following) <= 100:
            return f"sets: {len(present)} validators hand over to {len(following)} at height {height + 1}"
        self._by_height.append(following)
        return None

    def _plan(self, block: Block, present: ValidatorSet) -> None:
        wanted = present
        for transaction in block.transactions:
            candidate = changed_by(transaction, wanted, frozenset(self._used))
            if candidate is not None and differences(present, candidate) <= max(1, (len(present) - 1) // 3):
                self._used.update(member.public_key for member in candidate.members)
                wanted = candidate
        if wanted != present:
            self._coming, self._last_change = wanted, block.header.height + 2
