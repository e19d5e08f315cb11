"""The hashes of the state tree, by hand."""

import hashlib

import pytest

from node.state.trie import (
    bit_at,
    key_hash_from_tree_key,
    key_hash_of,
    leaf_hash,
    split_position,
    subtree_root,
    tree_key,
)


def test_tree_key_is_one_byte_a_nibble() -> None:
    """Each nibble, high one first, becomes 0x40 | nibble, so that no byte is below 64."""
    key_hash = bytes.fromhex("0f" + "a5" * 31)
    assert tree_key(key_hash) == bytes.fromhex("404f" + "4a45" * 31)
    assert key_hash_from_tree_key(tree_key(key_hash)) == key_hash


@pytest.mark.parametrize(
    "key", [b"", b"\x40" * 63, b"\x40" * 65, b"\x40" * 63 + b"\x3f", b"\x40" * 63 + b"\x50", b"0" * 64]
)
def test_other_bytes_are_no_tree_key(key: bytes) -> None:
    """Sixty-four bytes from 0x40 to 0x4f, or none."""
    assert key_hash_from_tree_key(key) is None


def test_leaf_is_written_out_as_protobuf_lengths_say() -> None:
    """Leaf: 00, 64 as a varint, tree key, 32 as a varint, hash of the record."""
    key_hash = hashlib.sha256(b"acc/ugto.mx").digest()
    record_hash = hashlib.sha256(b"record").digest()
    preimage = b"\x00\x40" + bytes(0x40 | int(digit, 16) for digit in key_hash.hex()) + b"\x20" + record_hash
    assert key_hash_of("acc/ugto.mx") == key_hash
    assert leaf_hash(key_hash, record_hash) == hashlib.sha256(preimage).digest()


def test_three_leaves_by_hand() -> None:
    """Keys 00…, 01… and 10…: the first two meet below, whatever lies between is no node."""
    keys = [b"\x00" + bytes(31), b"\x40" + bytes(31), b"\x80" + bytes(31)]
    leaves = [b"a" * 32, b"b" * 32, b"c" * 32]
    pair = hashlib.sha256(b"\x01" + leaves[0] + leaves[1]).digest()
    assert subtree_root(keys, leaves) == hashlib.sha256(b"\x01" + pair + leaves[2]).digest()
    assert subtree_root(keys[:1], leaves[:1]) == leaves[0]


def test_bits_count_from_the_most_significant() -> None:
    """Bit 0 is 0x80 of the first byte, bit 255 is 0x01 of the last."""
    key = b"\x80" + bytes(30) + b"\x01"
    assert [position for position in range(256) if bit_at(key, position)] == [0, 255]
    assert split_position(bytes(32), key) == 0
    assert split_position(bytes(32), bytes(31) + b"\x01") == 255
