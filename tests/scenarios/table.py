"""Four replicas around a table: nothing moves unless the scenario says so, and everything is written down.

The replicas, disks and keys are the simulator's; messages wait in an outbox until the scenario delivers or
drops them, timers run out when it says so. The transcript is what a reader checks and a test compares.
"""

from collections.abc import Callable

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.statements import Commit, Prepare, ViewChangeHead
from node.consensus.inputs import Timer, TimerKind
from node.consensus.messages import (
    BlockReply,
    BlockRequest,
    Decided,
    Message,
    NewView,
    Proposal,
    Signed,
    Status,
    ViewChange,
    signed_part,
    signing_digest,
    with_signature,
)
from node.errors import Rejected
from node.wire import decode_message, encode_message
from tests.simulation.machine import Node
from tests.simulation.plan import quiet
from tests.simulation.world import World

Filter = Callable[[int, int, Message], bool]


def everything(sender: int, receiver: int, message: Message) -> bool:
    """Choose every message."""
    return True


class Table(World):
    """A network whose every move is scripted. Validators are named A, B, C, … in order of proposing from view 0."""

    def __init__(self, validators: int = 4) -> None:
        super().__init__(quiet(validators))
        self.lines: list[str] = []
        self.outbox: list[tuple[int, int, bytes]] = []
        order = [self.checkers.oracle.proposer(1, view) for view in range(validators)]
        self.letters = {index: "ABCDEFGHIJ"[place] for place, index in enumerate(order)}
        self._indexes = {letter: index for index, letter in self.letters.items()}
        for node in self.nodes:
            node.start()

    # What the scenario does

    def node(self, letter: str) -> Node:
        return self.nodes[self._indexes[letter]]

    def say(self, line: str) -> None:
        """Write a heading into the transcript."""
        self.lines.append(f"# {line}")

    def submit(self, transaction: bytes, letters: str = "") -> None:
        """Give a transaction to some mempools, by default to all."""
        self.checkers.submitted.add(transaction)
        self.lines.append(f"{transaction.decode()} arrives at {letters or 'all'}")
        for letter in letters or self._indexes:
            node = self.node(letter)
            node.chain.submit(transaction)
            node.replica.on_transactions_pending()

    def deliver(self, chosen: Filter = everything) -> None:
        """Deliver what is chosen in the order sent, and what follows from it, until nothing chosen is left."""
        kept = []
        while self.outbox:
            sender, receiver, payload = self.outbox.pop(0)
            if chosen(sender, receiver, decode_message(payload)):
                if self.nodes[receiver].is_up:
                    self.nodes[receiver].replica.receive(self.names[sender], payload)
            else:
                kept.append((sender, receiver, payload))
        self.outbox = kept

    def drop(self, chosen: Filter = everything) -> None:
        """Lose what is chosen."""
        self.outbox = [entry for entry in self.outbox if not chosen(entry[0], entry[1], decode_message(entry[2]))]

    def fire(self, letters: str, kind: TimerKind) -> None:
        """Let a timer run out at some, for the view that each is in."""
        for letter in letters:
            self.lines.append(f"{letter}: {kind} timer")
            replica = self.node(letter).replica
            view = replica.view()
            is_running = replica._core.state.timer_view == view.view
            assert kind is not TimerKind.VIEW or is_running, f"the timer of {letter} does not run"
            self.node(letter).fire(Timer(kind, view.height, view.view))

    def pass_time(self, milliseconds: int) -> None:
        self.time_ms += milliseconds

    def crash(self, letter: str) -> None:
        """Power off and on again, at once."""
        self.lines.append(f"{letter} crashes and restarts")
        node = self.node(letter)
        node.stop()
        self.outbox = [entry for entry in self.outbox if entry[0] != node.index]
        node.start()

    def power_off(self, letter: str) -> None:
        """Power off for good; what it says from now on is forged."""
        self.lines.append(f"{letter} goes down")
        self.node(letter).stop()

    def forge(self, letter: str, message: Signed, receivers: str) -> None:
        """A liar says something with its own key."""
        index = self._indexes[letter]
        part = signed_part(message)
        assert part.validator == index
        signed = with_signature(
            message, self.ring.signers[index].sign(signing_digest(self.checkers.oracle.network, part))
        )
        for receiver in receivers:
            self.transmit(index, self._indexes[receiver], encode_message(signed))

    def view_change(self, letter: str, view: int, certificate: Certificate | None = None) -> ViewChange:
        """An unsigned ViewChange of height 1."""
        head = ViewChangeHead(
            0,
            1,
            view,
            None if certificate is None else certificate.view,
            None if certificate is None else certificate.block_hash,
            self._indexes[letter],
            bytes(64),
        )
        return ViewChange(head, certificate)

    def heights(self) -> dict[str, int]:
        return {letter: self.node(letter).chain.head.height for letter in self._indexes}

    def views(self) -> dict[str, int]:
        return {letter: self.node(letter).replica.view().view for letter in self._indexes}

    def index(self, letter: str) -> int:
        return self._indexes[letter]

    def transcript(self) -> str:
        return "\n".join(self.lines) + "\n"

    # What the world hears

    def schedule(self, delay_ms: int, node: Node | None, action: Callable[..., object], *arguments: object) -> None:
        """Nothing happens by itself."""

    def transmit(self, sender: int, receiver: int, payload: bytes, extra_ms: int = 0) -> None:
        self.outbox.append((sender, receiver, payload))
        message = decode_message(payload)
        if isinstance(message, Status):
            return
        line = f"{self.letters[sender]} → {{}}: {self.describe_message(message)}"
        last = self.lines[-1] if self.lines else ""
        prefix, _, rest = line.partition("{}")
        if last.startswith(prefix) and last.endswith(rest) and last[len(prefix) : -len(rest)].isalpha():
            self.lines[-1] = last[: -len(rest)] + self.letters[receiver] + rest
        else:
            self.lines.append(line.format(self.letters[receiver]))

    def on_decided(self, node: Node, block: Block, certificate: Certificate) -> None:
        transactions = ", ".join(transaction.decode() for transaction in block.transactions) or "nothing"
        self.lines.append(
            f"{self.letters[node.index]} commits height {block.header.height} by view {certificate.view}: "
            f"{self._block(block.hash())} with {transactions}"
        )

    def on_refused(self, node: Node, rejection: Rejected) -> None:
        self.lines.append(f"{self.letters[node.index]} refuses: {rejection.reason}")

    def describe_message(self, message: Message) -> str:
        """One line a reader understands."""
        match message:
            case Proposal(head, _):
                return f"Proposal {head.height}/{head.view} {self._block(head.block_hash)}"
            case NewView(head, changes, certificate, _):
                by = "".join(sorted(self.letters[change.validator] for change in changes))
                proof = "" if certificate is None else f", prepared in view {certificate.view}"
                return f"NewView {head.height}/{head.view} {self._block(head.block_hash)} (asked by {by}{proof})"
            case Prepare() | Commit():
                name = type(message).__name__
                return f"{name} {message.height}/{message.view} {self._block(message.block_hash)}"
            case ViewChange(head, _):
                claim = "nothing" if head.prepared_hash is None else self._block(head.prepared_hash)
                return f"ViewChange {head.height}/{head.view} prepared {claim}"
            case BlockRequest():
                return f"BlockRequest {self._block(message.block_hash)}"
            case BlockReply(block):
                return f"BlockReply {self._block(block.hash())}"
            case Decided(block, _):
                return f"Decided {block.header.height} {self._block(block.hash())}"
            case Status():
                return "Status"

    @staticmethod
    def _block(block_hash: bytes) -> str:
        return f"#{block_hash.hex()[:6]}"


def of_type(*types: type) -> Filter:
    """Choose messages of these types."""
    return lambda *entry: isinstance(entry[2], types)


def either(*filters: Filter) -> Filter:
    """Choose what any of these chooses."""
    return lambda *entry: any(chosen(*entry) for chosen in filters)


def between(table: Table, senders: str, receivers: str, *types: type) -> Filter:
    """Choose by sender, receiver and type."""
    from_, to = ({table.index(letter) for letter in letters} for letters in (senders, receivers))

    def chosen(sender: int, receiver: int, message: Message) -> bool:
        return sender in from_ and receiver in to and (not types or isinstance(message, types))

    return chosen
