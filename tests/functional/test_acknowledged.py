"""The judge of recorded histories is tried on histories that never happened: it must see each kind of breach."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.functional.acknowledged import FINDINGS_MAX, BlockSeen, NodeSeen, Place, Told, judge

Nodes = dict[int, NodeSeen]


def chain(*blocks: tuple[str, ...]) -> NodeSeen:
    """Return a node with these transactions in its blocks from height 1 on."""
    made = [BlockSeen("h0", "genesis", "s0", ())]
    for height, tx_ids in enumerate(blocks, 1):
        made.append(BlockSeen(f"h{height}", f"h{height - 1}", f"s{height}", tx_ids))
    return NodeSeen(tuple(made))


NODES = {i: chain(("a", "b"), ("c",), ("u",)) for i in range(4)}
TOLD = [
    Told("a", 0, 1.0, 2.0, Place(1, 0)),
    Told("b", 1, 1.5, 2.5, Place(1, 1)),
    Told("c", 2, 3.0, 4.0, Place(2, 0)),
    Told("u", 3, 4.5),
    Told("lost before it arrived", 3, 4.6),
]


def with_block(nodes: Nodes, index: int, height: int, **changes: object) -> Nodes:
    """Return the nodes with one block of one node changed."""
    blocks = list(nodes[index].blocks)
    blocks[height] = replace(blocks[height], **changes)  # type: ignore[arg-type] # the caller names fields of a block
    return {**nodes, index: replace(nodes[index], blocks=tuple(blocks))}


def everywhere(nodes: Nodes, height: int, **changes: object) -> Nodes:
    """Return the nodes with one block changed in the same way on each."""
    for index in nodes:
        nodes = with_block(nodes, index, height, **changes)
    return nodes


def test_a_kept_history_has_no_findings() -> None:
    """Acknowledged ones are in place, an unknown one is nowhere, another everywhere: nothing is wrong."""
    assert judge(TOLD, NODES) == []


def test_a_node_that_is_a_block_ahead_is_no_finding() -> None:
    """Blocks above the lowest head are not compared, nor is what lies in them."""
    ahead = {**NODES, 2: chain(("a", "b"), ("c",), ("u",), ("lost before it arrived",))}
    assert judge(TOLD, ahead) == []


BREACHES: dict[str, tuple[Callable[[Nodes], Nodes], str]] = {
    "acknowledged and nowhere": (lambda nodes: everywhere(nodes, 2, tx_ids=()), "c, acknowledged at"),
    "acknowledged and lost on one node": (lambda nodes: with_block(nodes, 3, 2, tx_ids=()), "c, acknowledged at"),
    "acknowledged at another place": (
        lambda nodes: everywhere(nodes, 1, tx_ids=("b", "a")),
        "a, acknowledged at Place(height=1, index=0), is elsewhere or lost",
    ),
    "twice on every node": (lambda nodes: everywhere(nodes, 3, tx_ids=("u", "a")), "node 0 has a 2 times"),
    "unknown, and on some nodes only": (
        lambda nodes: with_block(nodes, 1, 3, tx_ids=()),
        "u, unknown to its client, is at different places",
    ),
    "unknown, and twice": (lambda nodes: everywhere(nodes, 3, tx_ids=("u", "u")), "node 0 has u 2 times"),
    "another hash": (lambda nodes: with_block(nodes, 2, 3, hash="fork"), "height 3: different hash"),
    "another state": (lambda nodes: with_block(nodes, 2, 3, state_root="other"), "height 3: different state_root"),
    "a parent that is not there": (
        lambda nodes: everywhere(nodes, 2, parent_hash="h0"),
        "node 0: block 2 does not stand on block 1",
    ),
    "an equivocation": (
        lambda nodes: {**nodes, 1: replace(nodes[1], equivocations=1)},
        "node 1 heard 1 equivocations",
    ),
    "an acknowledged block taken back": (
        lambda nodes: {i: replace(node, blocks=node.blocks[:2]) for i, node in nodes.items()},
        "c, acknowledged at",
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_doctored_history_is_seen(name: str) -> None:
    """Each breach makes a finding that says which."""
    doctor, says = BREACHES[name]
    findings = judge(TOLD, doctor(dict(NODES)))
    assert any(says in finding for finding in findings), findings


def test_a_transaction_before_what_was_known_is_seen() -> None:
    """Submitted after block 2 was acknowledged, and found in block 1: the chain has changed its past."""
    told = [*TOLD, Told("late", 0, 5.0, 6.0, Place(1, 2))]
    nodes = everywhere(dict(NODES), 1, tx_ids=("a", "b", "late"))
    assert judge(told, nodes) == ["late is in block 1, but block 2 was known before it was submitted"]


def test_findings_are_bounded() -> None:
    """A history that is wrong everywhere is told by its first findings."""
    told = [Told(f"gone {number}", 0, 1.0, 2.0, Place(1, 0)) for number in range(100)]
    assert len(judge(told, NODES)) == FINDINGS_MAX
