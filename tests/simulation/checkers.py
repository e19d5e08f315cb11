"""What must hold in every run, watched from outside the replicas."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from node.chain.block import Block, Header
from node.chain.certificate import Certificate
from node.chain.evidence import contradiction
from node.chain.statements import Commit, Prepare, SignedPart, ViewChangeHead
from node.consensus.messages import Message, NewView, Proposal, ViewChange, header_of
from node.primitives import Hash
from tests.simulation.oracle import Oracle

if TYPE_CHECKING:
    from tests.simulation.machine import Node

Promise: TypeAlias = Prepare | Commit | ViewChange | Proposal | NewView


class Violation(AssertionError):
    """Something that must never happen has happened."""


@dataclass
class Checkers:
    """One per run."""

    oracle: Oracle
    forks_only: bool = False
    """Judge nothing but agreement: to see what a planted bug does when no other checker stops it."""
    decided: dict[int, Hash] = field(default_factory=dict)
    headers: dict[int, Header] = field(default_factory=dict)
    """The same blocks."""
    views: dict[int, int] = field(default_factory=dict)
    """The lowest view in which a height was decided, as far as certificates tell."""
    roots: dict[int, Hash] = field(default_factory=dict)
    submitted: set[bytes] = field(default_factory=set)
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    """Transaction → height at which some honest node said that it is committed."""
    _said: dict[tuple[int, int, int, str], object] = field(default_factory=dict)
    """(validator, height, view, type) → what an honest validator signed there."""
    _asked: dict[int, int] = field(default_factory=dict)
    """Height → highest view that any honest validator asked for."""
    _left: dict[tuple[int, int], int] = field(default_factory=dict)
    """(validator, height) → highest view that it asked for."""
    _statements: dict[tuple[int, int], list[SignedPart]] = field(default_factory=dict)
    """(validator, height) → everything that an honest validator signed there."""
    _prepared: dict[tuple[int, int], tuple[int, Hash]] = field(default_factory=dict)
    """(validator, height) → highest (view, block) that it committed to."""

    def on_sent(self, node: "Node", message: Message) -> None:
        """Judge a message of an honest validator's own, at every sending, across its restarts."""
        if self.forks_only or not isinstance(message, Prepare | Commit | ViewChange | Proposal | NewView):
            return
        head = header_of(message)
        validator = head.validator
        if validator != self.oracle.sets.at(head.height).index_of(node.name):
            return
        kind = "proposal" if isinstance(message, Proposal | NewView) else type(message).__name__
        key = (validator, head.height, head.view, kind)
        said = self._said.get(key)
        if said is not None:
            if said != head:
                raise Violation(f"double vote: validator {validator} said two things at {key[1:]}")
            return
        self._judge_first(node, message, validator)
        self._said[key] = head

    def _judge_first(self, node: "Node", message: Promise, validator: int) -> None:
        """Judge what was not said before."""
        place = (validator, header_of(message).height)
        self._no_contradiction(validator, header_of(message))
        match message:
            case ViewChange(head):
                self._judge(self.oracle.judge_view_change(message), message)
                self._nobody_alone_moves(node, head)
                self._claim_covers_commits(validator, message)
                self._left[place] = max(head.view, self._left.get(place, 0))
            case Prepare():
                self._no_vote_below(validator, message)
                self._judge_accepted(node, message)
                self._keeps_body(node, message)
            case Commit():
                self._no_vote_below(validator, message)
                self._judge_prepared(node, message)
                earlier = self._prepared.get(place, (-1, b""))
                self._prepared[place] = max(earlier, (message.view, message.block_hash))
            case Proposal() | NewView():
                self._judge(self.oracle.judge_proposal(message), message)

    def _nobody_alone_moves(self, node: "Node", head: ViewChangeHead) -> None:
        """A view is left when its time has run out, or when f+1 ask, one of whom is honest. (UponRoundChange)"""
        asked = self._asked.get(head.height, 0)
        if not node.view_ran_out and not node.is_starting and head.view > asked:
            raise Violation(f"oracle: UponRoundChange: {node.name} asks for view {head.view}, honest ones for {asked}")
        self._asked[head.height] = max(asked, head.view)

    @staticmethod
    def _keeps_body(node: "Node", vote: Prepare) -> None:
        """Who prepares a block has it on disk until its height is decided. [D2]"""
        member = node.replica._member
        if member is None or member.journal.block(vote.height, vote.block_hash) is None:
            raise Violation(f"body: {node.name} prepares a block at height {vote.height} that it has not kept")

    def _judge_prepared(self, node: "Node", vote: Commit) -> None:
        """Who commits holds a quorum of Prepares of just this. (UponPrepare)"""
        prepared = node.replica._core.state.prepared
        if not self.oracle.is_prepared(prepared, vote.height, vote.view, vote.block_hash):
            raise Violation(f"oracle: UponPrepare: {node.name} commits to what no quorum prepared")

    def _judge_accepted(self, node: "Node", vote: Prepare) -> None:
        """Whatever is prepared was accepted before: the oracle has its own opinion of each."""
        accepted = node.replica._core.state.accepted
        if accepted is None and node.incarnation > 1:
            return  # a crash came between the record of the vote and its sending: the restart says it first
        if accepted is None or (vote.height, vote.view) != (accepted.head.height, accepted.head.view):
            raise Violation(f"validator {vote.validator} prepares at {vote.height}/{vote.view} without a proposal")
        if accepted.head.block_hash != vote.block_hash:
            raise Violation(f"validator {vote.validator} prepares another block than was proposed")
        parent = self.headers.get(vote.height - 1)
        parent_ms = node.world.backend.genesis_ms if parent is None else parent.timestamp_ms
        self._judge(self.oracle.judge_proposal(accepted), accepted)
        self._judge(self.oracle.judge_time(accepted, parent_ms, node.now_ms()), accepted)

    def on_committed(self, name: str, block: Block, certificate: Certificate, state_root: Hash) -> None:
        """Judge a block that an honest node has just committed."""
        header = block.header
        height, block_hash = header.height, block.hash()
        known = self.decided.setdefault(height, block_hash)
        if known != block_hash:
            raise Violation(f"agreement: height {height} is {block_hash.hex()} at {name}, elsewhere {known.hex()}")
        self.headers[height] = header
        self.views[height] = min(certificate.view, self.views.get(height, certificate.view))
        if self.forks_only:
            return
        self._judge(self.oracle.sets.on_decided(block), block)
        self.oracle.turns.on_decided(block)
        if self.roots.setdefault(height, state_root) != state_root or state_root != header.state_root:
            raise Violation(f"state root of {name} differs at height {height}")
        if not self.oracle.is_decided(certificate, height, block_hash):
            raise Violation(f"validity: {name} committed height {height} without a quorum")
        for transaction in block.transactions:
            if transaction not in self.submitted:
                raise Violation(f"validity: height {height} holds a transaction that nobody submitted")
            earlier = self.acknowledged.setdefault(transaction, height)
            if earlier != height:
                raise Violation(f"validity: {transaction!r} is in heights {earlier} and {height}")

    def on_stopped(self, node: "Node") -> None:
        """Judge a replica at the end of its life: it never asked its signer for a contradiction."""
        refused = node.replica.counters.signing_refused
        if refused and not self.forks_only:
            raise Violation(f"signer: {node.name} was asked {refused} times to contradict what it had signed")

    def forget_below(self, height: int) -> None:
        """Let go of what was said at heights that nobody will work on again, in a run of many."""
        for held in (self._said, self._left, self._statements, self._prepared):
            for place in [place for place in held if place[1] < height]:
                del held[place]

    def on_finished(self, node: "Node") -> None:
        """Judge what an honest node holds at the end: every acknowledged transaction, once, where it was."""
        included, height = node.chain.included(), node.height
        expected = {transaction: at for transaction, at in self.acknowledged.items() if at <= height}
        if included != expected:
            lost = next(iter(expected.items() - included.items()), None)
            raise Violation(f"durability: {node.name} at height {height} has lost or invented {lost}")

    def _no_contradiction(self, validator: int, head: SignedPart) -> None:
        """Nothing that an honest validator ever signed, before a crash or after it, is evidence against it."""
        said = self._statements.setdefault((validator, head.height), [])
        for earlier in said:
            kind = contradiction(head, earlier)
            if kind is not None:
                raise Violation(f"evidence: validator {validator} can be accused of {kind.name} at {head.height}")
        said.append(head)

    def _no_vote_below(self, validator: int, vote: Prepare | Commit) -> None:
        """After ViewChange → v' nothing new below v'."""
        left = self._left.get((validator, vote.height), 0)
        if vote.view < left:
            raise Violation(f"validator {validator} votes in view {vote.view} after asking for {left}")

    def _claim_covers_commits(self, validator: int, message: ViewChange) -> None:
        """The claim of an honest ViewChange is at least what its signer committed to in lower views."""
        head = message.head
        prepared = self._prepared.get((validator, head.height))
        if prepared is None or prepared[0] >= head.view:
            return
        claim = (-1 if head.prepared_view is None else head.prepared_view, head.prepared_hash or b"")
        if claim < prepared:
            raise Violation(f"oracle: validator {validator} claims {claim}, committed to {prepared}")

    @staticmethod
    def _judge(fault: str | None, message: object) -> None:
        if fault is not None:
            raise Violation(f"oracle: {fault}: {type(message).__name__}")
