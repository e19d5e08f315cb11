"""Opens a credential before the chain: does its leaf lie where it says, and does it stand now?

Source: DOMAIN §4, §5.
"""

from collections.abc import Sequence

from node.chain.catalogue_check import award_fault
from node.chain.credential_finding import awarding_step
from node.chain.reading import CredentialState, accreditation, batch_is_void, credential_status
from node.chain.records.credential import LEAF_VERSION, Batch, Leaf, holder_commitment
from node.chain.records.definition import Definition, DefinitionContent
from node.chain.rules.framework import Context
from node.crypto import merkle
from node.errors import Reason, Rejected
from node.primitives import Hash, PublicKey, Salt
from node.state import keys


def check_leaf(context: Context, leaf: Leaf, where: str) -> None:
    """Refuse a leaf of another version or another chain. Raises: Rejected(BAD_OPENING)."""
    if leaf.version != LEAF_VERSION:
        raise Rejected(Reason.BAD_OPENING, f"{where}: leaf version {leaf.version} instead of {LEAF_VERSION}")
    if leaf.genesis_hash != context.network.genesis_hash:
        raise Rejected(
            Reason.BAD_OPENING,
            f"{where}: genesis {leaf.genesis_hash.hex()} instead of {context.network.genesis_hash.hex()}",
        )


def check_holder(leaf: Leaf, holder_key: PublicKey, salt: Salt, where: str) -> None:
    """Refuse a key that is not the leaf's holder's. Raises: Rejected(BAD_OPENING)."""
    commitment = holder_commitment(holder_key, salt)
    if commitment != leaf.holder_commitment:
        raise Rejected(
            Reason.BAD_OPENING,
            f"{where}: holder commitment {leaf.holder_commitment.hex()}, key and salt give {commitment.hex()}",
        )


def batch_holding(context: Context, leaf: Leaf, batch_id: Hash, index: int, path: Sequence[Hash], where: str) -> Batch:
    """Return the batch in which a leaf lies at an index below its count.

    Issuer, definition and origin of leaf and batch must be equal: whoever issues a batch could
    otherwise put any leaf into it. Raises: Rejected(BAD_OPENING).
    """
    batch = context.state.get(keys.batch(batch_id), Batch)
    if batch is None:
        raise Rejected(Reason.BAD_OPENING, f"{where}: batch {batch_id.hex()} is not on the chain")
    if index >= batch.count:
        raise Rejected(Reason.BAD_OPENING, f"{where}: index {index} in a batch of {batch.count}")
    if (leaf.issuer, leaf.definition, leaf.origin) != (batch.issuer, batch.definition, batch.origin):
        raise Rejected(
            Reason.BAD_OPENING,
            f"{where}: {leaf.issuer} {leaf.definition} {leaf.origin} in a batch of "
            f"{batch.issuer} {batch.definition} {batch.origin}",
        )
    root = merkle.root_from_path(leaf.credential_id(), index, batch.count, path)
    if root is None:
        steps = merkle.path_length(index, batch.count)
        raise Rejected(Reason.BAD_OPENING, f"{where}: a path of {len(path)} steps instead of {steps}")
    if root != batch.root:
        raise Rejected(
            Reason.BAD_OPENING, f"{where}: the path leads to {root.hex()}, the batch's root is {batch.root.hex()}"
        )
    return batch


def issued_content(context: Context, batch: Batch, where: str) -> DefinitionContent:
    """Return the definition of a batch that was issued by good keys and with accreditation for it.

    Accreditation is that of the batch's height as today's records tell it: a step that turned out to be
    void is left out. Raises: Rejected(COMPONENT_NOT_VALID).
    """
    definition = context.state.get(keys.definition(batch.definition), Definition)
    assert definition is not None, "a batch names a definition on the chain"
    if batch_is_void(context.state, batch):
        raise Rejected(Reason.COMPONENT_NOT_VALID, f"{where}: its batch is void, keys that signed it turned bad")
    act = batch.act
    institution = context.institution(batch.issuer)
    if awarding_step(context.state, institution, act, definition.content) is not None:
        return definition.content
    step = accreditation(context.state, batch.issuer, time_ms=act.time_ms, height=act.height)
    fault = None if step is None else award_fault(step, definition.content)
    raise Rejected(
        Reason.COMPONENT_NOT_VALID,
        f"{where}: {batch.issuer} was not accredited"
        + (f" for it at height {act.height}: {fault}" if fault else f" at height {act.height}"),
    )


def check_stands(context: Context, leaf: Leaf, where: str) -> None:
    """Refuse what is suspended, ended, not yet valid or expired. Raises: Rejected(COMPONENT_NOT_VALID)."""
    state = credential_status(context.state, leaf.issuer, leaf.status_key).state
    if state is not CredentialState.ACTIVE:
        raise Rejected(Reason.COMPONENT_NOT_VALID, f"{where}: is {state}")
    if not leaf.valid_from_ms <= context.time_ms < leaf.valid_until_ms:
        raise Rejected(
            Reason.COMPONENT_NOT_VALID,
            f"{where}: valid from {leaf.valid_from_ms} ms until {leaf.valid_until_ms} ms, "
            f"block time is {context.time_ms} ms",
        )
