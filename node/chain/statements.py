"""What a validator's signature binds it to: proposals, votes and view changes, without their bodies.

Two of these that contradict each other are evidence; a quorum of Commits is a certificate.
Source: PROTOCOL §5, table of messages.
"""

from typing import TypeAlias

import msgspec

from node import codec
from node.chain.certificate import Network, Phase, vote_digest
from node.crypto.hashing import Tag, tagged
from node.primitives import Epoch, Hash, Height, Signature, ValidatorIndex, View


class ProposalHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The signed part of a Proposal or NewView: two of these for one view are evidence."""

    epoch: Epoch
    height: Height
    view: View
    """0 in a Proposal, above 0 in a NewView."""
    block_hash: Hash
    validator: ValidatorIndex
    """The proposer of (height, view)."""
    signature: Signature


class ViewChangeHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The signed part of a ViewChange: the view asked for and the highest prepared block claimed."""

    epoch: Epoch
    height: Height
    view: View
    """The view v' that the signer enters; it never votes below it again."""
    prepared_view: View | None
    """Highest view in which the signer holds a prepared certificate of this height; nil for none."""
    prepared_hash: Hash | None
    """Block of that certificate; nil exactly when `prepared_view` is."""
    validator: ValidatorIndex
    signature: Signature


class Prepare(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=2):
    """The signer has accepted, executed and stored the block."""

    epoch: Epoch
    height: Height
    view: View
    block_hash: Hash
    validator: ValidatorIndex
    signature: Signature


class Commit(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag=3):
    """The signer holds a prepared certificate; this signature is what light clients check."""

    epoch: Epoch
    height: Height
    view: View
    block_hash: Hash
    validator: ValidatorIndex
    signature: Signature


SignedPart: TypeAlias = ProposalHead | ViewChangeHead | Prepare | Commit
"""What the signature of a promise covers."""


def statement_digest(network: Network, part: SignedPart) -> Hash:
    """Return the 32-byte digest that is signed.

    Prepare and Commit do not name their signer: the same digest stands in everybody's vote, so a
    certificate is one digest and Q signatures; the key says who signed.
    """
    match part:
        case Prepare():
            return vote_digest(network, Phase.PREPARE, part.epoch, part.height, part.view, part.block_hash)
        case Commit():
            return vote_digest(network, Phase.COMMIT, part.epoch, part.height, part.view, part.block_hash)
        case ProposalHead():
            tag = Tag.NEW_VIEW if part.view else Tag.PROPOSAL
            return tagged(tag, bound_to(network, part.epoch, part.height, part.view, part.block_hash))
        case ViewChangeHead():
            claim = (part.prepared_view, part.prepared_hash)
            return tagged(Tag.VIEW_CHANGE, bound_to(network, part.epoch, part.height, part.view, *claim))


def bound_to(network: Network, *fields: object) -> bytes:
    """Return the canonical bytes of fields that hold for one chain only."""
    return codec.encode((network.chain_id, network.genesis_hash, *fields))
