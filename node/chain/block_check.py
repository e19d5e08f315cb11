"""Whether a block fits on the head: header, parent certificate, and what its execution must come to.

Who proposes and whether the clock agrees is asked elsewhere. Source: PROTOCOL §4.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node import codec
from node.chain.block import Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.certificate import Certificate, Network, Phase, VerifyDigest
from node.chain.execution import Execution
from node.chain.receipt import receipts_root
from node.chain.validator_set import ValidatorSet
from node.errors import Reason, Rejected
from node.limits import BLOCK_BYTES_MAX
from node.primitives import Epoch, Hash

BLOCK_OVERHEAD_BYTES_MAX: Final = 128 * 1024
"""Header, certificate, evidence and the length prefixes of 4,096 transactions take less."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of the block above a head before it is seen."""

    version: int
    """Of the protocol, the one that judges it."""
    epoch: Epoch
    validators_hash: Hash
    """Hash of the set that votes on it."""


def check_before_execution(block: Block, head: Header, head_hash: Hash, network: Network, expected: Expected) -> None:
    """Check what costs nothing.

    Raises: Rejected(WRONG_CHAIN, WRONG_HEIGHT, WRONG_PARENT, UNKNOWN_VERSION, WRONG_EPOCH,
    BAD_TIMESTAMP, TOO_LARGE, BAD_BLOCK).
    """
    header = block.header
    if header.chain_id != network.chain_id:
        raise Rejected(Reason.WRONG_CHAIN, f"chain {header.chain_id}, this is {network.chain_id}")
    if header.height != head.height + 1:
        raise Rejected(Reason.WRONG_HEIGHT, f"height {header.height}, {head.height + 1} is next")
    if header.parent_hash != head_hash:
        raise Rejected(Reason.WRONG_PARENT, f"parent {header.parent_hash.hex()}, the head is {head_hash.hex()}")
    if header.version != expected.version:
        raise Rejected(Reason.UNKNOWN_VERSION, f"protocol version {header.version}, not {expected.version}")
    if header.epoch != expected.epoch:
        raise Rejected(Reason.WRONG_EPOCH, f"epoch {header.epoch}, {expected.epoch} is next")
    if header.timestamp_ms <= head.timestamp_ms:
        raise Rejected(Reason.BAD_TIMESTAMP, f"time {header.timestamp_ms}, the head has {head.timestamp_ms}")
    if header.proposer is None:
        raise Rejected(Reason.BAD_BLOCK, "proposer: there is none")
    _check_size(block)
    _check_hash("evidence root", header.evidence_root, evidence_root(block.evidence))
    _check_hash("validators hash", header.validators_hash, expected.validators_hash)


def check_parent_certificate(
    block: Block,
    head: Header,
    network: Network,
    known: Certificate | None,
    validators: Callable[[], ValidatorSet],
    verify_digest: VerifyDigest,
) -> None:
    """Check the certificate of the parent inside a block: one for exactly the head, except on block 0 and a recovery.

    `known` is a certificate of the head that was checked before; `validators` gives the head's set.
    Raises: Rejected(BAD_CERTIFICATE), Rejected(BAD_BLOCK).
    """
    certificate = block.parent_certificate
    _check_hash("parent certificate hash", block.header.parent_certificate_hash, certificate_hash(certificate))
    if head.height == 0:
        if certificate is not None:
            raise Rejected(Reason.BAD_CERTIFICATE, "block 1 carries none: block 0 was never voted on")
        return
    if block.header.epoch != head.epoch:
        if certificate is not None:
            raise Rejected(Reason.BAD_CERTIFICATE, "the first block of an epoch carries none")
        return
    if certificate is None:
        raise Rejected(Reason.BAD_CERTIFICATE, f"block {head.height + 1} carries none of its parent")
    check_names(certificate, head, block.header.parent_hash)
    if certificate != known:
        certificate.check(network, validators(), verify_digest)


def check_after_execution(header: Header, execution: Execution) -> None:
    """Check that the header commits to what the execution gave. Raises: Rejected(BAD_BLOCK)."""
    identified = [(parsed.id, parsed.data) for parsed in execution.transactions]
    _check_hash("transactions root", header.transactions_root, transactions_root(identified))
    _check_hash("receipts root", header.receipts_root, receipts_root(execution.receipts))
    _check_hash("state root", header.state_root, execution.state_root)
    _check_hash("next validators hash", header.next_validators_hash, execution.next_validators.hash)


def check_names(certificate: Certificate, header: Header, block_hash: Hash) -> None:
    """Refuse a certificate that is no commit certificate of this block. Raises: Rejected(BAD_CERTIFICATE)."""
    if certificate.phase != Phase.COMMIT:
        raise Rejected(Reason.BAD_CERTIFICATE, f"phase {int(certificate.phase)}, commit is {int(Phase.COMMIT)}")
    if certificate.epoch != header.epoch:
        raise Rejected(Reason.BAD_CERTIFICATE, f"epoch {certificate.epoch}, the block has {header.epoch}")
    if certificate.height != header.height:
        raise Rejected(Reason.BAD_CERTIFICATE, f"height {certificate.height}, the block has {header.height}")
    if certificate.block_hash != block_hash:
        raise Rejected(
            Reason.BAD_CERTIFICATE, f"block {certificate.block_hash.hex()}, this block is {block_hash.hex()}"
        )


def _check_size(block: Block) -> None:
    """Refuse a block that could not be read back; inside a message there is more room than in the store."""
    size = sum(map(len, block.transactions))
    if size + BLOCK_OVERHEAD_BYTES_MAX > BLOCK_BYTES_MAX:
        size = len(codec.encode(block))
    if size > BLOCK_BYTES_MAX:
        raise Rejected(Reason.TOO_LARGE, f"{size} bytes, a block has at most {BLOCK_BYTES_MAX}")


def _check_hash(name: str, stated: Hash, found: Hash) -> None:
    if stated != found:
        raise Rejected(Reason.BAD_BLOCK, f"{name}: {stated.hex()} in the header, {found.hex()} found")
