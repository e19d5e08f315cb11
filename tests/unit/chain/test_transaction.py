"""The envelope: what its id covers, the order of signatures, and that it reads only its one form."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.chain.certificate import Network
from node.chain.rules.institutions import Suspend
from node.chain.transaction import (
    Transaction,
    TransactionSignature,
    decode_transaction,
    make_transaction,
    transaction_id,
)
from node.crypto.hashing import Tag, sha256, tagged
from node.crypto.signing import verify
from node.errors import Reason, Rejected
from node.limits import SIGNATURES_PER_TRANSACTION_MAX, TRANSACTION_BYTES_MAX
from tests.unit.chain.kit import SDES, SEG, UGTO, transaction_key

NETWORK = Network("pila-test", sha256(b"genesis"))
MADE = make_transaction(
    NETWORK,
    0,
    signer=SEG,
    kind="institution.suspend",
    valid_until_height=100,
    payload=Suspend(UGTO, "audit"),
    signers=[transaction_key(SEG), transaction_key(SDES, 1), transaction_key(SEG, 1)],
)


def test_signatures_are_ascending_and_over_the_id() -> None:
    """Every key signs the same digest."""
    ids = [signature.key_id for signature in MADE.signatures]
    assert ids == sorted(ids)
    digest = transaction_id(MADE, NETWORK, 0)
    by_id = {key.key_id: key for key in (transaction_key(SEG), transaction_key(SDES, 1), transaction_key(SEG, 1))}
    for signature in MADE.signatures:
        key = by_id[signature.key_id]
        assert verify(key.algorithm, key.public_key, digest, signature.signature)


def test_id_covers_everything_but_the_signatures() -> None:
    """Network, epoch and each field change it; signatures do not."""
    body = ("version", "chain_id", "signer", "kind", "valid_until_height", "payload")
    canonical = codec.encode((NETWORK.chain_id, NETWORK.genesis_hash, 0, tuple(getattr(MADE, name) for name in body)))
    expected = tagged(Tag.TRANSACTION, canonical)
    assert transaction_id(MADE, NETWORK, 0) == expected
    assert transaction_id(msgspec.structs.replace(MADE, signatures=()), NETWORK, 0) == expected
    others = [
        transaction_id(MADE, NETWORK, 1),
        transaction_id(MADE, Network("pila-test", sha256(b"other")), 0),
        *(
            transaction_id(msgspec.structs.replace(MADE, **{name: changed}), NETWORK, 0)
            for name, changed in zip(body, (2, "other", SDES, "institution.withdraw", 101, b""), strict=True)
        ),
    ]
    assert len({expected, *others}) == 1 + len(others)


def test_reads_back_what_was_written() -> None:
    """Its bytes are its one form."""
    assert decode_transaction(codec.encode(MADE)) == MADE


def _changed(**changes: object) -> bytes:
    return codec.encode(msgspec.structs.replace(MADE, **changes))


ONE = TransactionSignature(SEG, bytes(16), bytes(64))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        codec.encode(MADE)[:-1],
        codec.encode(MADE) + b"\x00",
        _changed(version=0),
        _changed(kind="Institution.suspend"),
        _changed(kind="institution"),
        _changed(signer="SEG.example"),
        _changed(chain_id=""),
        _changed(valid_until_height=2**53),
        _changed(signatures=()),
        _changed(signatures=(ONE,) * (SIGNATURES_PER_TRANSACTION_MAX + 1)),
        _changed(signatures=(TransactionSignature(SEG, bytes(15), bytes(64)),)),
        _changed(signatures=(TransactionSignature(SEG, bytes(16), bytes(63)),)),
    ],
)
def test_other_shapes_are_malformed(data: bytes) -> None:
    """Each field has its bounds."""
    with pytest.raises(Rejected) as refused:
        decode_transaction(data)
    assert refused.value.reason is Reason.MALFORMED


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    """The bound comes first."""
    with pytest.raises(Rejected) as refused:
        decode_transaction(bytes(TRANSACTION_BYTES_MAX + 1))
    assert (refused.value.reason, refused.value.detail) == (
        Reason.TOO_LARGE,
        f"{TRANSACTION_BYTES_MAX + 1} bytes, at most {TRANSACTION_BYTES_MAX}",
    )


def _flipped(at: int) -> bytes:
    data = bytearray(codec.encode(MADE))
    data[at] ^= 1
    return bytes(data)


@given(st.binary(max_size=300) | st.integers(0, len(codec.encode(MADE)) - 1).map(_flipped))
def test_any_bytes_are_refused_or_read_back_the_same(data: bytes) -> None:
    """The fuzz rule."""
    try:
        found = decode_transaction(data)
    except Rejected:
        return
    assert isinstance(found, Transaction)
    assert codec.encode(found) == data
