"""A second opinion on every proposal, view change, Commit and block: the predicates of QBFT's formal specification.

Re-expressed from Consensys' machine-checked Dafny specification (dafny/spec/L1/node_auxiliary_functions.dfy and
node.dfy, cited below by their names), in our words: a round is a view, a RoundChange our ViewChange head, a
block of a re-proposal stays as it is (ours does not carry its round, so `replaceRoundInBlock` falls away).
Shares no code with `node.consensus.verification`, and counts signatures the slow way.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate, Network
from node.chain.statements import ViewChangeHead
from node.consensus.messages import NewView, Proposal, ViewChange
from node.crypto.hashing import Tag, tagged
from tests.simulation.parts import KeyRing
from tests.simulation.sets import Sets
from tests.simulation.turns import Turns


def quorum_size(n: int) -> int:
    """The least q for which any two sets of q out of n share more than f, f the largest with 3f < n. (quorum, f)"""
    f = max(k for k in range(n) if 3 * k < n)
    return next(q for q in range(1, n + 1) if 2 * q - n > f)


@dataclass(frozen=True)
class Oracle:
    """Judges for one network, each height by its own set. A judgment is what is wrong, or None."""

    network: Network
    sets: Sets
    """Told of every decided block."""
    ring: KeyRing
    turns: Turns
    """Told of every decided block."""
    leaders: tuple[int, ...] = ()
    """Of the first views of height 1, where a scenario scripts them."""

    def proposer(self, height: int, view: int) -> int:
        """Whose turn it is. (proposer; the order and who is passed over are ours)"""
        if height == 1 and view < len(self.leaders):
            return self.leaders[view]
        return self.turns.proposer(height, view)

    def judge_proposal(self, message: Proposal | NewView) -> str | None:
        """Judge a proposal that an honest validator made or accepted. (isValidProposal)"""
        head, block = message.head, message.block
        if head.validator != self.proposer(head.height, head.view):
            return "not signed by the proposer"
        if block.hash() != head.block_hash or block.header.height != head.height:
            return "block is not the signed one"
        if isinstance(message, Proposal):
            return None if head.view == 0 and self._made_by(block, head.validator) else "bad first proposal"
        if head.view == 0:
            return "NewView of view 0"
        return self._judge_justification(message)

    def _judge_justification(self, message: NewView) -> str | None:
        """A quorum of round changes, and the block that they leave possible. (isProposalJustification, round > 0)"""
        head, round_changes = message.head, message.view_changes
        senders = {change.validator for change in round_changes}  # getSetOfRoundChangeSenders
        if len(senders) != len(round_changes) or len(senders) < quorum_size(len(self.sets.at(head.height))):
            return "no quorum of round changes"
        if not all(self.valid_round_change(change, head.height, head.view) for change in round_changes):
            return "a round change is invalid"
        if all(change.prepared_view is None for change in round_changes):  # validateNonPreparedBlock
            return None if self._made_by(message.block, head.validator) else "fresh block of another proposer"
        highest = [change for change in round_changes if is_highest_prepared(change, round_changes)]
        if head.block_hash not in {change.prepared_hash for change in highest}:
            return "block is not the highest prepared one"
        assert highest[0].prepared_view is not None
        if not self.is_prepared(message.certificate, head.height, highest[0].prepared_view, head.block_hash):
            return "highest prepared block without a quorum of prepares"
        views = range(min(head.view, len(self.leaders) + len(self.sets.at(head.height))))
        if not any(self._made_by(message.block, self.proposer(head.height, view)) for view in views):
            return "re-proposal made by no earlier proposer"
        return None

    def judge_time(self, message: Proposal | NewView, parent_ms: int, now_ms: int) -> str | None:
        """Judge the time of a fresh proposal by the clock of who accepts it.

        Ours; in the specification it hides in validateRawEthereumBlock. Two seconds ahead are allowed; an empty
        block of view 0 is a heartbeat, a minute after its parent.
        """
        block = message.block
        time_ms = block.header.timestamp_ms
        if isinstance(message, NewView) and message.certificate is not None:
            return None
        if time_ms > now_ms + 2_000:
            return f"fresh block is {time_ms - now_ms} ms ahead"
        if message.head.view == 0 and not (block.transactions or block.evidence) and time_ms < parent_ms + 60_000:
            return f"empty block {time_ms - parent_ms} ms after its parent"
        return None

    def judge_view_change(self, message: ViewChange) -> str | None:
        """Judge a view change of an honest validator. (createRoundChange, with its RoundChange justification)"""
        head = message.head
        if not self.valid_round_change(head, head.height, head.view):
            return "head is invalid"
        if head.prepared_view is None:
            return None if message.certificate is None else "certificate without claim"
        if head.prepared_hash is None:
            return "claim without block"
        if not self.is_prepared(message.certificate, head.height, head.prepared_view, head.prepared_hash):
            return "claim without a quorum of prepares"
        return None

    def is_prepared(self, certificate: Certificate | None, height: int, view: int, block_hash: bytes) -> bool:
        """Whether a quorum of members prepared just this. (validSignedPrepareForHeightRoundAndDigest, each of them)"""
        if certificate is None:
            return False
        place = (certificate.phase, certificate.height, certificate.view, certificate.block_hash)
        return place == (1, height, view, block_hash) and self._counts(certificate, Tag.PREPARE)

    def is_decided(self, certificate: Certificate, height: int, block_hash: bytes) -> bool:
        """Whether a quorum of members committed to a block in one view. (ValidNewBlock, validateCommit)"""
        place = (certificate.phase, certificate.height, certificate.block_hash)
        return place == (2, height, block_hash) and self._counts(certificate, Tag.COMMIT)

    def valid_round_change(self, head: ViewChangeHead, height: int, view: int) -> bool:
        """Whether a ViewChange head is signed by a member and claims a view below the one it asks for.

        (validRoundChange)
        """
        claim = (head.prepared_view, head.prepared_hash)
        digest = self._digest(Tag.VIEW_CHANGE, head.epoch, head.height, head.view, *claim)
        validators = self.sets.at(height)
        if head.validator >= len(validators):
            return False
        key = validators.members[head.validator].public_key
        return (
            (head.height, head.view) == (height, view)
            and view > 0
            and (head.prepared_view is None) == (head.prepared_hash is None)
            and (head.prepared_view is None or head.prepared_view < view)
            and self.ring.verify(key, digest, head.signature)
        )

    def _counts(self, certificate: Certificate, tag: Tag) -> bool:
        """Count the distinct members whose signature in a certificate is genuine."""
        place = (certificate.epoch, certificate.height, certificate.view, certificate.block_hash)
        digest = self._digest(tag, *place)
        validators = self.sets.at(certificate.height)
        good = {
            vote.validator
            for vote in certificate.signatures
            if vote.validator < len(validators)
            and self.ring.verify(validators.members[vote.validator].public_key, digest, vote.signature)
        }
        return len(good) >= quorum_size(len(validators)) and len(good) == len(certificate.signatures)

    def _made_by(self, block: Block, index: int) -> bool:
        return block.header.proposer == self.sets.at(block.header.height).members[index].institution

    def _digest(self, tag: Tag, *fields: object) -> bytes:
        return tagged(tag, codec.encode((self.network.chain_id, self.network.genesis_hash, *fields)))


def is_highest_prepared(change: ViewChangeHead, round_changes: Iterable[ViewChangeHead]) -> bool:
    """Whether a round change claims a view that no other claims a higher one than. (isHighestPrepared)"""
    claimed = change.prepared_view
    return claimed is not None and all(
        other.prepared_view is None or other.prepared_view <= claimed for other in round_changes
    )
