"""What a transaction did, as every node must agree: the header commits to the receipts of its block.

Source: PROTOCOL §4.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from node import codec
from node.chain.rules.framework import Event
from node.crypto import merkle
from node.limits import EVENTS_PER_TRANSACTION_MAX, STATE_KEY_CHARS_MAX
from node.primitives import Hash, InstitutionId, Uint


class ReceiptEvent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One thing that a transaction did."""

    topic: Annotated[str, Meta(max_length=40)]
    """`institution`, `catalog`, `credential` or `governance`."""
    action: Annotated[str, Meta(max_length=40)]
    """The verb, such as `issue` or `revoke`."""
    subject: Annotated[str, Meta(max_length=STATE_KEY_CHARS_MAX)]
    """Plain key of the record that changed."""
    count: Uint
    """How many things: credentials of a batch, entries of a status change."""


class Receipt(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one transaction did; a block holds no failed ones."""

    transaction_id: Hash
    signer: InstitutionId
    kind: Annotated[str, Meta(max_length=40)]
    events: Annotated[tuple[ReceiptEvent, ...], Meta(max_length=EVENTS_PER_TRANSACTION_MAX)]
    """In the order in which the rule names them."""


def make_receipt(transaction_id: Hash, signer: InstitutionId, kind: str, events: Sequence[Event]) -> Receipt:
    """Return the receipt of a transaction that a rule has executed."""
    assert len(events) <= EVENTS_PER_TRANSACTION_MAX
    return Receipt(
        transaction_id,
        signer,
        kind,
        tuple(ReceiptEvent(event.topic, event.action, event.subject, event.count) for event in events),
    )


def receipts_root(receipts: Sequence[Receipt]) -> Hash:
    """Return the RFC 6962 root over the canonical receipts in block order."""
    return merkle.root([merkle.leaf_hash(codec.encode(receipt)) for receipt in receipts])
