"""How a record lies on disk: leaf hash (32) | length of the plain key (2, big endian) | plain key | record."""

from node.crypto.hashing import sha256
from node.errors import StorageError
from node.primitives import HASH_BYTES, Hash
from node.state.trie import leaf_hash

_NAME_START = HASH_BYTES + 2


def pack(leaf: Hash, plain_key: str, record: bytes) -> bytes:
    """Return the flat record of a plain key of at most 65,535 characters."""
    name = plain_key.encode("ascii")
    return leaf + len(name).to_bytes(2, "big") + name + record


def leaf_of(flat: bytes) -> Hash:
    """Return the leaf hash that was stored with a record."""
    return flat[:HASH_BYTES]


def unpack(key_hash: Hash, leaf: Hash, flat: bytes) -> tuple[str, bytes]:
    """Return plain key and record. Raises: StorageError unless they hash to what the tree says."""
    end = _NAME_START + int.from_bytes(flat[HASH_BYTES:_NAME_START], "big")
    name, record = flat[_NAME_START:end], flat[end:]
    if sha256(name) != key_hash or leaf_hash(key_hash, sha256(record)) != leaf:
        raise StorageError(f"the state record {key_hash.hex()} is not what the state root commits to")
    return name.decode("ascii"), record


def split(flat: bytes) -> tuple[str, bytes]:
    """Return plain key and record without checking them."""
    end = _NAME_START + int.from_bytes(flat[HASH_BYTES:_NAME_START], "big")
    return flat[_NAME_START:end].decode("ascii"), flat[end:]
