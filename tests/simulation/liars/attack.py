"""What an attack may do: everything is optional, and by default a liar behaves well."""

from typing import TYPE_CHECKING

from node.consensus.messages import Message

if TYPE_CHECKING:
    from tests.simulation.liars.attacker import Liar


class Attack:
    """One way of lying, of one liar."""

    def __init__(self, liar: "Liar") -> None:
        self.liar = liar
        self.random = liar.random

    def pass_on(self, receiver: int, message: Message, payload: bytes) -> bool:
        """Deal with something that the replica inside wants to tell one receiver; False leaves it to others."""
        return False

    def said(self, message: Message) -> None:
        """The replica inside has said something, to whomever."""

    def heard(self, message: Message) -> None:
        """Something arrived."""
