"""What must hold in every run, watched from outside the replicas."""

from dataclasses import dataclass, field

from node.chain.block import Block
from node.chain.certificate import Certificate
from node.chain.evidence import contradiction
from node.chain.statements import Commit, Prepare, SignedPart
from node.consensus.messages import Message, NewView, Proposal, ViewChange, header_of
from node.crypto.hashing import Tag, sha256
from node.primitives import Hash
from tests.simulation.oracle import Oracle


class Violation(AssertionError):
    """Something that must never happen has happened."""


@dataclass
class Checkers:
    """One per run."""

    oracle: Oracle
    forks_only: bool = False
    """Judge nothing but agreement: to see what a planted bug does when no other checker stops it."""
    decided: dict[int, Hash] = field(default_factory=dict)
    roots: dict[int, Hash] = field(default_factory=dict)
    submitted: set[bytes] = field(default_factory=set)
    acknowledged: dict[bytes, int] = field(default_factory=dict)
    """Transaction → height at which some honest node said that it is committed."""
    _said: dict[tuple[int, int, int, str], Hash] = field(default_factory=dict)
    """(validator, height, view, type) → digest of what an honest validator said there."""
    _left: dict[tuple[int, int], int] = field(default_factory=dict)
    """(validator, height) → highest view that it asked for."""
    _statements: dict[tuple[int, int], list[SignedPart]] = field(default_factory=dict)
    """(validator, height) → everything that an honest validator signed there."""
    _prepared: dict[tuple[int, int], tuple[int, Hash]] = field(default_factory=dict)
    """(validator, height) → highest (view, block) that it committed to."""

    def on_sent(self, validator: int, message: Message, accepted: Proposal | NewView | None) -> None:
        """Judge a message of an honest validator's own, at every sending, across its restarts."""
        if self.forks_only or not isinstance(message, Prepare | Commit | ViewChange | Proposal | NewView):
            return
        head = header_of(message)
        if head.validator != validator:
            return
        self._no_contradiction(validator, head)
        self._no_vote_below(validator, message)
        self._no_double_vote(validator, message)
        place = (validator, head.height)
        match message:
            case ViewChange():
                self._judge(self.oracle.judge_view_change(message), message)
                self._claim_covers_commits(validator, message)
                self._left[place] = max(head.view, self._left.get(place, 0))
            case Prepare() | Commit():
                if isinstance(message, Prepare) and accepted is not None and _is_for(message, accepted):
                    self._judge(self.oracle.judge_proposal(accepted), accepted)
                if isinstance(message, Commit):
                    earlier = self._prepared.get(place, (-1, b""))
                    self._prepared[place] = max(earlier, (message.view, message.block_hash))
            case Proposal() | NewView():
                self._judge(self.oracle.judge_proposal(message), message)

    def on_committed(self, name: str, block: Block, certificate: Certificate, state_root: Hash) -> None:
        """Judge a block that an honest node has just committed."""
        height, block_hash = block.header.height, block.hash()
        known = self.decided.setdefault(height, block_hash)
        if known != block_hash:
            raise Violation(f"agreement: {name} has {block_hash.hex()} at height {height}, not {known.hex()}")
        if self.forks_only:
            return
        self.oracle.turns.on_decided(block)
        if self.roots.setdefault(height, state_root) != state_root or state_root != block.header.state_root:
            raise Violation(f"state root of {name} differs at height {height}")
        if certificate.block_hash != block_hash or certificate.height != height:
            raise Violation(f"validity: {name} has a certificate of another block at height {height}")
        if certificate.phase != 2 or not self.oracle.counts(certificate, Tag.COMMIT):
            raise Violation(f"validity: {name} committed height {height} without a quorum")
        for transaction in block.transactions:
            if transaction not in self.submitted:
                raise Violation(f"validity: height {height} holds a transaction that nobody submitted")
            earlier = self.acknowledged.setdefault(transaction, height)
            if earlier != height:
                raise Violation(f"validity: {transaction!r} is in heights {earlier} and {height}")

    def on_finished(self, name: str, state: dict[bytes, int], height: int) -> None:
        """Judge what an honest node holds at the end."""
        for transaction, included in self.acknowledged.items():
            if included <= height and state.get(transaction) != included:
                raise Violation(f"durability: {name} has lost {transaction!r} of height {included}")

    def _no_contradiction(self, validator: int, head: SignedPart) -> None:
        """Nothing that an honest validator ever signed, before a crash or after it, is evidence against it."""
        said = self._statements.setdefault((validator, head.height), [])
        if head in said:
            return
        for earlier in said:
            kind = contradiction(head, earlier)
            if kind is not None:
                raise Violation(f"evidence: validator {validator} can be accused of {kind.name} at {head.height}")
        said.append(head)

    def _no_double_vote(self, validator: int, message: Prepare | Commit | ViewChange | Proposal | NewView) -> None:
        head = header_of(message)
        kind = "proposal" if isinstance(message, Proposal | NewView) else type(message).__name__
        key = (validator, head.height, head.view, kind)
        said = sha256(repr(head).encode())
        if self._said.setdefault(key, said) != said:
            raise Violation(f"double vote: validator {validator} said two things at {key[1:]}")

    def _no_vote_below(self, validator: int, message: Message) -> None:
        """After ViewChange → v' nothing new below v'."""
        if not isinstance(message, Prepare | Commit):
            return
        left = self._left.get((validator, message.height), 0)
        key = (validator, message.height, message.view, type(message).__name__)
        if key not in self._said and message.view < left:
            raise Violation(f"validator {validator} votes in view {message.view} after asking for {left}")

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


def _is_for(vote: Prepare, proposal: Proposal | NewView) -> bool:
    """Tell whether a Prepare answers this proposal; a repeated one may come later."""
    return (vote.height, vote.view) == (proposal.head.height, proposal.head.view)
