"""Small mutations of what the replica says, in the manner of ByzzFuzz: any field by one, or to an older value.

Structure stays intact, so a mutant gets past the decoder and reaches the rules. Half of the mutants are
signed anew by the liar, the others carry the signature of what was said.
"""

from typing import TypeVar

import msgspec

from node.chain.statements import Commit, Prepare
from node.consensus.messages import Message, NewView, Proposal, Status, ViewChange
from node.errors import Rejected
from node.wire import decode_message, encode_message
from tests.simulation.liars.attack import Attack

VALUES_KEPT = 12
DEPTH_MAX = 4
S = TypeVar("S", bound=msgspec.Struct)


class Mutation(Attack):
    """Changes one field of a message, at any depth."""

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        if self.random.random() >= 0.15:
            return False
        mutant = self._mutated(message)
        if (
            isinstance(mutant, Proposal | Prepare | Commit | ViewChange | NewView | Status)
            and self.random.random() < 0.5
        ):
            mutant = self.liar.signed(mutant)
        data = encode_message(mutant)
        try:
            decode_message(data)
        except Rejected:
            return False  # out of a field's bounds: the decoder's business, which has tests of its own
        self.liar.send(receiver, data)
        return self.random.random() < 0.5

    def heard(self, message: Message) -> None:
        if self.random.random() < 0.2:
            self._observe(message, 0)

    def said(self, message: Message) -> None:
        self._observe(message, 0)

    def _observe(self, value: msgspec.Struct, depth: int) -> None:
        """Remember values by the field that they stood in."""
        for name in value.__struct_fields__:
            item = getattr(value, name)
            held = self.liar.knowledge.values.setdefault((type(value).__name__, name), [])
            if item not in held:
                held.append(item)
                del held[:-VALUES_KEPT]
            if isinstance(item, msgspec.Struct) and depth < DEPTH_MAX:
                self._observe(item, depth + 1)

    def _mutated(self, value: S) -> S:
        """Return a struct with one field changed, here or further inside."""
        random = self.random
        name = random.choice(value.__struct_fields__)
        item = getattr(value, name)
        if isinstance(item, msgspec.Struct) and random.random() < 0.8:
            changed: object = self._mutated(item)
        elif isinstance(item, int) and not isinstance(item, bool) and random.random() < 0.6:
            changed = max(0, item + random.choice((-1, 1)))
        elif isinstance(item, tuple) and item and random.random() < 0.7:
            changed = self._mutated_items(item)
        else:
            changed = random.choice(self.liar.knowledge.values.get((type(value).__name__, name)) or [item])
        return msgspec.structs.replace(value, **{name: changed})

    def _mutated_items(self, items: tuple[object, ...]) -> tuple[object, ...]:
        """Drop an item, repeat one, turn the order round, or change one."""
        random = self.random
        at = random.randrange(len(items))
        kind = random.choice(("drop", "repeat", "reverse", "change"))
        if kind == "drop":
            return items[:at] + items[at + 1 :]
        if kind == "repeat":
            return (*items[:at], items[at], *items[at:])
        item = items[at]
        if kind == "change" and isinstance(item, msgspec.Struct):
            return (*items[:at], self._mutated(item), *items[at + 1 :])
        return tuple(reversed(items))
