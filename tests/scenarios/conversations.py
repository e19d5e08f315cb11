"""Conversations of four replicas, written down in *.txt beside this file.

    python -m tests.scenarios.conversations        writes them again; commit the change only with its reason

Height/view stand as 1/0. A proposes in view 0 of height 1, B in view 1, and so on.
"""

from collections.abc import Callable
from pathlib import Path

from node.chain.statements import Commit, Prepare
from node.consensus.inputs import TimerKind
from node.consensus.messages import Decided, NewView, Proposal, Status, ViewChange
from tests.scenarios.table import Table, between, either, of_type

FOLDER = Path(__file__).resolve().parent


def normal_case() -> Table:
    """A transaction becomes a block in three phases."""
    table = Table()
    table.submit(b"t1")
    table.deliver()
    return table


def silent_proposer() -> Table:
    """A says nothing: the others leave view 0, and B proposes a block of its own."""
    table = Table()
    table.submit(b"t1", "BCD")
    table.fire("BCD", TimerKind.VIEW)
    table.deliver()
    return table


def idle_one_is_taken_along() -> Table:
    """A is down, and D has nothing to include, so no timer of its runs: B and C take it along, or nothing ever ends."""
    table = Table()
    table.power_off("A")
    table.submit(b"t1", "BC")
    table.fire("BC", TimerKind.VIEW)
    table.deliver()
    return table


def prepared_block_survives() -> Table:
    """Everybody has prepared, all Commits are lost: the next view decides the same block."""
    table = Table()
    table.submit(b"t1")
    table.deliver(of_type(Proposal, Prepare))
    table.say("all Commits are lost")
    table.drop(of_type(Commit))
    table.fire("ABCD", TimerKind.VIEW)
    table.deliver()
    return table


def decided_by_one_alone() -> Table:
    """D alone sees the Commits of view 0; A is cut off: B proposes the same block again, and all have it."""
    table = Table()
    table.submit(b"t1")
    table.deliver(of_type(Proposal, Prepare))
    table.say("only D hears Commits")
    table.deliver(between(table, "ABC", "D", Commit))
    table.drop(of_type(Commit))
    table.fire("BC", TimerKind.VIEW)
    table.say("A hears nothing")
    table.drop(between(table, "BC", "A"))
    table.deliver(between(table, "BCD", "BCD"))
    table.fire("A", TimerKind.VIEW)
    table.deliver()
    return table


def restart_repeats() -> Table:
    """B loses power after its Commit, which nobody heard: it says the same again, byte for byte."""
    table = Table()
    table.submit(b"t1")
    table.deliver(of_type(Proposal, Prepare))
    table.drop(between(table, "B", "ACD"))
    table.drop(between(table, "ACD", "B"))
    table.crash("B")
    table.deliver()
    return table


def laggard_is_told() -> Table:
    """D hears nothing of height 1; its Status brings it Decided."""
    table = Table()
    table.submit(b"t1", "ABC")
    table.drop(between(table, "A", "D"))
    table.deliver(between(table, "ABC", "ABC"))
    table.drop()
    for _ in range(4):
        table.pass_time(1_000)
        table.fire("D", TimerKind.TICK)
        table.deliver(either(of_type(Status, Decided)))
    return table


def commits_of_mixed_views() -> Table:
    """PROTOCOL §9.6. A and D in view 0, D and B in view 1: three voters for one block are no decision of any view."""
    table = Table()
    table.submit(b"t1")
    table.deliver(of_type(Proposal, Prepare))
    table.say("of view 0, D hears the Commit of A besides its own; the others are lost")
    table.deliver(between(table, "A", "D", Commit))
    table.drop(of_type(Commit))
    table.fire("ABCD", TimerKind.VIEW)
    table.deliver(of_type(ViewChange, NewView, Prepare))
    table.say("of view 1, D hears the Commit of B besides its own: nothing happens")
    table.deliver(between(table, "B", "D", Commit))
    assert table.heights()["D"] == 0
    table.say("and that of C")
    table.deliver(between(table, "C", "D", Commit))
    return table


def one_faulty_freezes_nobody() -> Table:
    """PROTOCOL §9.6. A helps B alone into view 2; C and D count it as "1 or higher", or they would wait for ever."""
    table = Table()
    table.power_off("A")
    table.submit(b"t1", "BC")
    table.fire("B", TimerKind.VIEW)
    table.say("this is lost on its way to C and D; the faulty A asks for view 1 too, but tells only B")
    table.drop()
    table.forge("A", table.view_change("A", 1), "B")
    table.fire("C", TimerKind.VIEW)
    table.deliver(between(table, "AC", "B"))
    table.say("C and D never hear of B in view 1")
    table.drop(between(table, "B", "CD"))
    table.fire("B", TimerKind.VIEW)
    table.deliver(between(table, "BCD", "BCD"))
    table.fire("CD", TimerKind.VIEW)
    table.deliver(between(table, "BCD", "BCD"))
    return table


def body_that_nobody_kept() -> Table:
    """PROTOCOL §9.6. The proposer of view 1 never saw the prepared block; a signer that stored it has it."""
    table = Table()
    table.submit(b"t1")
    table.say("B does not get the Proposal; A, C and D prepare it; then A is gone, and all lose power")
    table.drop(between(table, "A", "B"))
    table.deliver(between(table, "ACD", "ACD", Proposal, Prepare))
    table.drop()
    table.power_off("A")
    table.crash("C")
    table.crash("D")
    table.drop()
    table.fire("CD", TimerKind.VIEW)
    table.deliver(between(table, "BCD", "BCD"))
    return table


def false_certificate() -> Table:
    """PROTOCOL §9.6. A liar's claim with a certificate of its own making is dropped and moves nobody."""
    table = Table()
    table.submit(b"t1")
    table.deliver(of_type(Proposal, Prepare))
    table.drop()
    prepared = table.node("B").replica._core.state.prepared
    assert prepared is not None
    table.say("D claims another block with the signatures of the real certificate")
    false = type(prepared)(
        prepared.algorithm,
        prepared.phase,
        prepared.epoch,
        prepared.height,
        prepared.view,
        b"\xdd" * 32,
        prepared.signatures,
    )
    table.forge("D", table.view_change("D", 1, false), "ABC")
    table.deliver()
    table.fire("ABC", TimerKind.VIEW)
    table.deliver(between(table, "ABC", "ABC"))
    return table


CONVERSATIONS: tuple[Callable[[], Table], ...] = (
    normal_case,
    silent_proposer,
    idle_one_is_taken_along,
    prepared_block_survives,
    decided_by_one_alone,
    restart_repeats,
    laggard_is_told,
    commits_of_mixed_views,
    one_faulty_freezes_nobody,
    body_that_nobody_kept,
    false_certificate,
)


def written(conversation: Callable[[], Table]) -> str:
    """Return the transcript under its first line."""
    return f"{conversation.__doc__}\n\n{conversation().transcript()}"


def path_of(conversation: Callable[[], Table]) -> Path:
    """Return where a conversation is written down."""
    return FOLDER / f"{conversation.__name__}.txt"


if __name__ == "__main__":
    for each in CONVERSATIONS:
        path_of(each).write_text(written(each), encoding="utf-8")
