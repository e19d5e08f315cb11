"""SHA-256, plain and tagged."""

import hashlib

import pytest

from node.crypto.hashing import Tag, sha256, tagged


def test_plain_hash_is_sha256() -> None:
    """The published digest of "abc" (FIPS 180-4)."""
    assert sha256(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("tag", Tag.__members__.values())
def test_tag_and_its_length_come_first(tag: Tag) -> None:
    """H(tag, x) = SHA-256(u8 length | tag | x)."""
    name = tag.value.encode("ascii")
    assert tag.prefix == bytes([len(name)]) + name
    assert tagged(tag, b"data") == hashlib.sha256(bytes([len(name)]) + name + b"data").digest()


def test_tags_are_ours_and_none_twice() -> None:
    """Two names of one tag would let a digest stand for another."""
    values = [tag.value for tag in Tag.__members__.values()]
    assert len(set(values)) == len(Tag.__members__)
    assert all(value.startswith("pila/") and len(value) < 256 for value in values)


def test_no_tag_is_the_beginning_of_another() -> None:
    """The length byte keeps "pila/key" + "x" apart from a tag "pila/keyx"."""
    prefixes = [tag.prefix for tag in Tag]
    assert not [(a, b) for a in prefixes for b in prefixes if a != b and b.startswith(a)]
