"""A block's hash is its header's, and the header commits to every byte of the body."""

import msgspec
import pytest

from node import codec
from node.chain.block import Block, Header, certificate_hash, decode_block, evidence_root, transactions_root
from node.crypto import merkle
from node.crypto.hashing import Tag, sha256, tagged
from node.errors import Reason, Rejected
from node.limits import BLOCK_BYTES_MAX
from node.primitives import NO_HASH
from tests.unit.chain.kit import SEG, TestChain


@pytest.fixture(scope="module")
def block() -> Block:
    """Return a block with a parent certificate."""
    chain = TestChain()
    chain.commit()
    return chain.build()


def test_hash_is_the_tagged_header(block: Block) -> None:
    """Nothing of the body is hashed but through the header."""
    assert block.hash() == block.header.hash() == tagged(Tag.HEADER, codec.encode(block.header))


def test_every_header_field_changes_the_hash(block: Block) -> None:
    """No field is decoration."""
    header = block.header
    hashes = {header.hash()}
    for field in msgspec.structs.fields(Header):
        value = getattr(header, field.name)
        changed = {int: lambda old: old + 1, bytes: sha256, str: lambda old: old + "x"}[type(value)](value)
        hashes.add(msgspec.structs.replace(header, **{field.name: changed}).hash())
    assert len(hashes) == 1 + len(msgspec.structs.fields(Header))


def test_reads_back_what_was_written(block: Block) -> None:
    """Its bytes are its one form."""
    assert decode_block(codec.encode(block)) == block


def test_too_many_bytes_are_refused() -> None:
    """The bound comes first."""
    with pytest.raises(Rejected) as refused:
        decode_block(bytes(BLOCK_BYTES_MAX + 1))
    assert (refused.value.reason, refused.value.detail) == (
        Reason.TOO_LARGE,
        f"{BLOCK_BYTES_MAX + 1} bytes, at most {BLOCK_BYTES_MAX}",
    )


def test_truncated_bytes_are_malformed(block: Block) -> None:
    """No partial block."""
    with pytest.raises(Rejected) as refused:
        decode_block(codec.encode(block)[:-1])
    assert refused.value.reason is Reason.MALFORMED


def test_roots_are_those_of_rfc_6962() -> None:
    """Leaves of transactions hold id and hash of the complete bytes, so signatures are committed to as well."""
    assert transactions_root(()) == evidence_root(()) == merkle.EMPTY_ROOT
    first, second = (sha256(b"1"), b"one"), (sha256(b"2"), b"two")
    leaves = [merkle.leaf_hash(tx_id + sha256(data)) for tx_id, data in (first, second)]
    assert transactions_root([first, second]) == merkle.inner_hash(*leaves)
    assert transactions_root([first, second]) != transactions_root([second, first])
    assert transactions_root([(first[0], b"other signature")]) != transactions_root([first])
    assert evidence_root([b"a"]) == merkle.leaf_hash(b"a")


def test_certificate_hash_of_none_is_zero(block: Block) -> None:
    """32 zero bytes say that there is none."""
    assert certificate_hash(None) == NO_HASH
    assert block.parent_certificate is not None
    assert certificate_hash(block.parent_certificate) == block.parent_certificate.hash()
    assert block.header.proposer == SEG
