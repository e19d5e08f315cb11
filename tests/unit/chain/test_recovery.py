"""A recovery document: for this network, of a possible set, signed by enough governance keys, each once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.chain.certificate import Network
from node.chain.records.institution import Purpose
from node.chain.recovery import (
    RecoveryDocument,
    RecoverySignature,
    check_document,
    check_signatures,
    decode_document,
    sentence_of_other_epoch,
    with_signature,
)
from node.chain.validator_set import Validator, ValidatorSet
from node.errors import Reason, Rejected
from node.limits import RECOVERY_DOCUMENT_BYTES_MAX
from tests.unit.chain.kit import COEPES, CONOCER, ITLEON, SDES, SEG, UGTO, VALIDATORS, Key, TestChain, genesis
from tests.unit.chain.recovery_kit import GOVERNORS, SURVIVORS, draft, governance_key, set_of, signed

CHAIN = TestChain()
CHAIN.skip_to(2)
DRAFT = draft(CHAIN)
GOOD = signed(DRAFT)
GOVERNANCE = genesis().governance
OTHER = bytes([7]) * 32


def change(document: RecoveryDocument, **fields: object) -> RecoveryDocument:
    """Return a document with other fields and the same signatures."""
    return msgspec.structs.replace(document, **fields)


def test_good_document_names_who_signed() -> None:
    """Three of four keys, in the record's order; a fourth may sign too."""
    check_document(GOOD, CHAIN.network)
    assert check_signatures(GOOD, GOVERNANCE) == tuple(sorted(GOVERNORS))
    assert check_signatures(signed(GOOD, VALIDATORS), GOVERNANCE) == tuple(sorted(VALIDATORS))
    assert decode_document(codec.encode(GOOD)) == GOOD


def test_signing_twice_changes_nothing_and_signatures_are_no_part_of_what_is_signed() -> None:
    """Operators sign one after the other, in any order, on copies of the file."""
    assert signed(GOOD) == GOOD
    assert signed(DRAFT, GOVERNORS[::-1]) == GOOD
    assert GOOD.digest() == DRAFT.digest()


@pytest.mark.parametrize(
    "changed,reason,detail",
    [
        (change(GOOD, version=2), Reason.UNKNOWN_VERSION, "recovery document of version 2, known is 1"),
        (change(GOOD, chain_id="other"), Reason.WRONG_CHAIN, "recovery document of other, this is pila-test"),
        (
            change(GOOD, genesis_hash=OTHER),
            Reason.WRONG_CHAIN,
            f"recovery document of the network {OTHER.hex()}, this is {CHAIN.network.genesis_hash.hex()}",
        ),
        (
            change(GOOD, validators=set_of(SDES, SEG, COEPES)),
            Reason.INVALID_VALUE,
            "3 validators, 4 to 100 are possible",
        ),
        (
            change(GOOD, validators=ValidatorSet(SURVIVORS.members * 26)),
            Reason.INVALID_VALUE,
            "104 validators, 4 to 100 are possible",
        ),
        (
            change(GOOD, validators=ValidatorSet(SURVIVORS.members[::-1])),
            Reason.INVALID_VALUE,
            "validators are not ascending by institution, or one stands twice",
        ),
        (
            change(
                GOOD,
                validators=ValidatorSet(
                    tuple(Validator(member.institution, b"k" * 32) for member in SURVIVORS.members),
                ),
            ),
            Reason.INVALID_VALUE,
            "two validators have one consensus key",
        ),
        (
            change(
                GOOD,
                validators=ValidatorSet((*SURVIVORS.members[:3], Validator(SEG, bytes(32)))),
            ),
            Reason.BAD_PUBLIC_KEY,
            f"{bytes(32).hex()} is no usable point",
        ),
    ],
)
def test_document_of_another_network_or_shape_is_refused(
    changed: RecoveryDocument, reason: Reason, detail: str
) -> None:
    """Before anybody's signature is looked at."""
    with pytest.raises(Rejected) as caught:
        check_document(changed, CHAIN.network)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


STRANGER = governance_key(CONOCER)
DAILY = Key(SEG, Purpose.TRANSACTION, 1)


@pytest.mark.parametrize(
    "document,reason,detail",
    [
        (signed(DRAFT, GOVERNORS[:2]), Reason.WRONG_SIGNERS, "2 of 4 governance keys signed, 3 are needed"),
        (DRAFT, Reason.WRONG_SIGNERS, "0 of 4 governance keys signed, 3 are needed"),
        (
            change(GOOD, signatures=(GOOD.signatures[0],) * 3),
            Reason.WRONG_SIGNERS,
            f"key {GOOD.signatures[0].key_id.hex()} is not above {GOOD.signatures[0].key_id.hex()}: each signs once",
        ),
        (
            change(GOOD, signatures=GOOD.signatures[::-1]),
            Reason.WRONG_SIGNERS,
            f"key {GOOD.signatures[1].key_id.hex()} is not above {GOOD.signatures[2].key_id.hex()}: each signs once",
        ),
        (
            with_signature(GOOD, STRANGER.signer),
            Reason.UNKNOWN_KEY,
            f"key {STRANGER.key_id.hex()} is not among the 4 governance keys at height 2",
        ),
        (
            with_signature(GOOD, DAILY.signer),
            Reason.UNKNOWN_KEY,
            f"key {DAILY.key_id.hex()} is not among the 4 governance keys at height 2",
        ),
    ],
)
def test_too_few_or_other_signers_are_refused(document: RecoveryDocument, reason: Reason, detail: str) -> None:
    """Too few, one of them several times, keys that are not in force, an institution's other keys."""
    with pytest.raises(Rejected) as caught:
        check_signatures(document, GOVERNANCE)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


@given(
    chosen=st.lists(st.sampled_from([*VALIDATORS, COEPES, CONOCER]), max_size=8),
    copies=st.booleans(),
)
def test_only_enough_distinct_keys_in_force_are_enough(chosen: list[str], copies: bool) -> None:
    """Whatever is put together: accepted exactly where at least three keys of the record, each once, signed."""
    items = [
        RecoverySignature(governance_key(name).key_id, governance_key(name).sign(DRAFT.digest())) for name in chosen
    ]
    if not copies:
        items = list({item.key_id: item for item in items}.values())
    document = change(DRAFT, signatures=tuple(sorted(items, key=lambda item: item.key_id)))
    is_good = len({item.key_id for item in items}) == len(items) >= 3 and not {COEPES, CONOCER}.intersection(chosen)
    try:
        check_signatures(document, GOVERNANCE)
    except Rejected:
        assert not is_good
    else:
        assert is_good


FIELDS: dict[str, object] = {
    "chain_id": "other",
    "genesis_hash": OTHER,
    "epoch": 2,
    "height": 3,
    "block_hash": OTHER,
    "validators": set_of(SDES, SEG, UGTO, ITLEON),
    "reason": "no reason",
    "version": 2,
}


@pytest.mark.parametrize("field", FIELDS)
def test_signature_binds_every_field(field: str) -> None:
    """A document over another chain, genesis, epoch, height, block, set or reason needs signatures of its own."""
    changed = change(GOOD, **{field: FIELDS[field]})
    first = next(key for key in GOVERNANCE.keys if governance_key(key.institution).key_id == GOOD.signatures[0].key_id)
    with pytest.raises(Rejected) as caught:
        check_signatures(changed, GOVERNANCE)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.BAD_SIGNATURE,
        f"signature of {first.institution} with governance key {GOOD.signatures[0].key_id.hex()}",
    )
    assert set(FIELDS) == set(RecoveryDocument.__struct_fields__) - {"signatures"}


def test_network_is_part_of_what_is_signed() -> None:
    """The same words for a twin of the network are another document."""
    twin = Network(CHAIN.network.chain_id, OTHER)
    with pytest.raises(Rejected) as caught:
        check_document(GOOD, twin)
    assert caught.value.reason is Reason.WRONG_CHAIN


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_or_read_back(data: bytes) -> None:
    """Decoding accepts only what it would write."""
    try:
        document = decode_document(data)
    except Rejected:
        return
    assert codec.encode(document) == data


def test_document_above_its_bound_is_refused() -> None:
    """Its length is looked at first."""
    with pytest.raises(Rejected) as caught:
        decode_document(bytes(RECOVERY_DOCUMENT_BYTES_MAX + 1))
    assert (caught.value.reason, caught.value.detail) == (Reason.TOO_LARGE, "65537 bytes, at most 65536")


def test_sentence_says_who_lacks_which_document() -> None:
    """The node that is behind is told what to do; of others it is told what they lack."""
    assert sentence_of_other_epoch(2, 0) == (
        "the network is in epoch 2, this node in epoch 0: governance has recovered it; stop this node, load the "
        "recovery document of epoch 1 with `pila recovery apply`, and start again"
    )
    assert sentence_of_other_epoch(0, 1) == (
        "they are in epoch 0, this node in epoch 1: they lack the recovery document of epoch 1"
    )
