"""Is it genuine? Signatures, certificates and justifications, judged against one height's context.

Everything raises before any state is touched, so that a refusal changes nothing.
"""

from itertools import pairwise

from node.chain.block import Block
from node.chain.certificate import Certificate, Network, Phase, VerifyDigest
from node.chain.statements import SignedPart, ViewChangeHead
from node.chain.validator_set import ValidatorSet
from node.consensus.height import HeightContext
from node.consensus.messages import AnyProposal, NewView, Proposal, Status, ViewChange, signing_digest
from node.crypto.verified import SignatureCache
from node.errors import Reason, Rejected
from node.limits import CLOCK_AHEAD_MAX_MS, HEARTBEAT_MS
from node.primitives import Hash, PublicKey, Signature, ValidatorIndex


class Verifier:
    """Checks each distinct signature once, for good or bad. [B3]"""

    def __init__(self, network: Network, verify_digest: VerifyDigest) -> None:
        """Take a cache that others share, or anything that verifies, which then gets a cache of its own."""
        self._network = network
        self._signatures = verify_digest if isinstance(verify_digest, SignatureCache) else SignatureCache(verify_digest)

    def is_genuine(self, public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
        """Tell whether a signature holds."""
        return self._signatures(public_key, digest, signature)

    def trust(self, validators: ValidatorSet, part: SignedPart) -> None:
        """Take note of a signature that our own signer has just made."""
        public_key = validators.members[part.validator].public_key
        self._signatures.trust(public_key, signing_digest(self._network, part), part.signature)

    def check_signature(self, validators: ValidatorSet, part: SignedPart | Status) -> None:
        """Check that a member signed this part.

        Raises: Rejected(NOT_A_VALIDATOR), Rejected(BAD_SIGNATURE).
        """
        if part.validator >= len(validators):
            raise Rejected(Reason.NOT_A_VALIDATOR, f"signer {part.validator} of {len(validators)} validators")
        member = validators.members[part.validator]
        if not self.is_genuine(member.public_key, signing_digest(self._network, part), part.signature):
            raise Rejected(
                Reason.BAD_SIGNATURE,
                f"signature of {member.institution} on {type(part).__name__} is bad",
            )

    def check_certificate(self, context: HeightContext, certificate: Certificate, phase: Phase) -> None:
        """Check a quorum's signatures for this height. Raises: Rejected(BAD_CERTIFICATE)."""
        expected = (phase, context.epoch, context.height)
        found = (certificate.phase, certificate.epoch, certificate.height)
        if found != expected:
            raise Rejected(
                Reason.BAD_CERTIFICATE, f"(phase, epoch, height) is {_plain(found)} instead of {_plain(expected)}"
            )
        certificate.check(context.network, context.validators, self.is_genuine)


def check_proposal(verifier: Verifier, context: HeightContext, message: AnyProposal, now_ms: int) -> None:
    """Check all of a Proposal or NewView but the execution of its block.

    Raises: Rejected(WRONG_VIEW | WRONG_PROPOSER | BAD_BLOCK | BAD_TIMESTAMP | BAD_JUSTIFICATION |
    BAD_CERTIFICATE | BAD_SIGNATURE).
    """
    head = message.head
    if isinstance(message, NewView) != (head.view > 0):
        raise Rejected(Reason.WRONG_VIEW, f"{type(message).__name__} in view {head.view}")
    proposer = context.rotation.proposer(head.view)
    if head.validator != proposer:  # [A1]
        raise Rejected(Reason.WRONG_PROPOSER, f"signed by validator {head.validator} instead of {proposer}")
    block_hash = message.block.hash()
    if head.block_hash != block_hash:  # [A1]
        raise Rejected(Reason.BAD_BLOCK, f"block is {block_hash.hex()}, signed is {head.block_hash.hex()}")
    verifier.check_signature(context.validators, head)
    match message:
        case Proposal():
            _check_fresh(context, message.block, proposer, now_ms)
            _check_heartbeat(context, message.block)
        case NewView():
            _check_justification(verifier, context, message, proposer, now_ms)


def _check_fresh(context: HeightContext, block: Block, proposer: ValidatorIndex, now_ms: int) -> None:
    """[A2] A block that no certificate carries over: made by the proposer of the view, not in the future."""
    name = context.institution(proposer)
    if block.header.proposer != name:
        raise Rejected(Reason.WRONG_PROPOSER, f"original proposer is {block.header.proposer} instead of {name}")
    if block.header.timestamp_ms > now_ms + CLOCK_AHEAD_MAX_MS:
        raise Rejected(Reason.BAD_TIMESTAMP, f"{block.header.timestamp_ms} ms is ahead of our {now_ms} ms")


def _check_heartbeat(context: HeightContext, block: Block) -> None:
    """[A3] A block of view 0 without transactions and evidence is a heartbeat: not before 60 s after its parent."""
    earliest = context.head.timestamp_ms + HEARTBEAT_MS
    if not (block.transactions or block.evidence) and block.header.timestamp_ms < earliest:
        raise Rejected(
            Reason.BAD_TIMESTAMP,
            f"empty block at {block.header.timestamp_ms} ms, allowed from {earliest} ms",
        )


def _check_justification(
    verifier: Verifier,
    context: HeightContext,
    message: NewView,
    proposer: ValidatorIndex,
    now_ms: int,
) -> None:
    """[A4] [A5] [A6] Q ViewChanges for this view, and the block that they leave possible."""
    heads = message.view_changes
    indexes = [head.validator for head in heads]
    if any(low >= high for low, high in pairwise(indexes)):
        raise Rejected(Reason.BAD_JUSTIFICATION, "view changes are not ascending by validator")
    if len(heads) < context.validators.quorum:  # [A4]
        raise Rejected(
            Reason.BAD_JUSTIFICATION,
            f"{len(heads)} view changes, {context.validators.quorum} needed",
        )
    for head in heads:
        place = (head.epoch, head.height, head.view)
        wanted = (context.epoch, context.height, message.head.view)
        if place != wanted:
            raise Rejected(
                Reason.BAD_JUSTIFICATION,
                f"view change for (epoch, height, view) {place} instead of {wanted}",
            )
        _check_claim(head)
        verifier.check_signature(context.validators, head)
    claims = [head.prepared_view for head in heads if head.prepared_view is not None]
    certificate = message.certificate
    if not claims:
        if certificate is not None:
            raise Rejected(Reason.BAD_JUSTIFICATION, "a certificate that no view change claims")
        _check_fresh(context, message.block, proposer, now_ms)
        return
    if certificate is None:
        raise Rejected(Reason.BAD_JUSTIFICATION, f"no certificate for the highest claim, view {max(claims)}")
    if certificate.view != max(claims):  # [A5]
        raise Rejected(
            Reason.BAD_JUSTIFICATION,
            f"certificate of view {certificate.view}, highest claim is {max(claims)}",
        )
    claim = (certificate.view, certificate.block_hash)
    if not any((head.prepared_view, head.prepared_hash) == claim for head in heads):
        raise Rejected(Reason.BAD_JUSTIFICATION, "no view change claims the certificate's block")
    if certificate.block_hash != message.head.block_hash:  # [A5]
        raise Rejected(
            Reason.BAD_JUSTIFICATION,
            f"block {message.head.block_hash.hex()} instead of the prepared {certificate.block_hash.hex()}",
        )
    verifier.check_certificate(context, certificate, Phase.PREPARE)
    _check_original_proposer(context, message)


def _check_original_proposer(context: HeightContext, message: NewView) -> None:
    """[A6] A re-proposal names the proposer of some earlier view; its timestamp is not judged again."""
    name = message.block.header.proposer
    index = None if name is None else context.validators.index_of(name)
    if index is None or not context.rotation.proposed_before(index, message.head.view):
        raise Rejected(
            Reason.WRONG_PROPOSER,
            f"original proposer {name} proposed in no view below {message.head.view}",
        )


def check_view_change(verifier: Verifier, context: HeightContext, message: ViewChange) -> None:
    """[V3] A ViewChange counts only with the certificate of what it claims.

    Raises: Rejected(WRONG_VIEW | BAD_JUSTIFICATION | BAD_CERTIFICATE | BAD_SIGNATURE | NOT_A_VALIDATOR).
    """
    head, certificate = message.head, message.certificate
    if head.view == 0:
        raise Rejected(Reason.WRONG_VIEW, "ViewChange to view 0")
    _check_claim(head)
    verifier.check_signature(context.validators, head)
    if head.prepared_view is None:
        if certificate is not None:
            raise Rejected(Reason.BAD_JUSTIFICATION, "a certificate without a claim")
        return
    if certificate is None:
        raise Rejected(Reason.BAD_JUSTIFICATION, f"no certificate for the claimed view {head.prepared_view}")
    if (certificate.view, certificate.block_hash) != (head.prepared_view, head.prepared_hash):
        raise Rejected(
            Reason.BAD_JUSTIFICATION,
            f"certificate of view {certificate.view} for another claim than view {head.prepared_view}",
        )
    verifier.check_certificate(context, certificate, Phase.PREPARE)


def _check_claim(head: ViewChangeHead) -> None:
    """A claim names a view below the one asked for and its block, or neither."""
    if (head.prepared_view is None) != (head.prepared_hash is None):
        raise Rejected(Reason.BAD_JUSTIFICATION, "a claim names view and block, or neither")
    if head.prepared_view is not None and head.prepared_view >= head.view:
        raise Rejected(
            Reason.BAD_JUSTIFICATION,
            f"claims view {head.prepared_view}, asks for view {head.view}",
        )


def _plain(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(number) for number in numbers)
