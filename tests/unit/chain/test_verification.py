"""What a node remembers of transactions is bounded, and is never more than that their signatures verify."""

import pytest

from node.chain import verification
from node.chain.rules.institutions import Suspend
from node.chain.verification import TransactionCache, parse_transaction
from node.crypto.hashing import sha256
from node.limits import COST_BASE, COST_BYTES_PER_UNIT, COST_PER_SIGNATURE
from tests.unit.chain.kit import CONOCER, ITLEON, SDES, SEG, UGTO, TestChain, transaction_key

CHAIN = TestChain()
DATA = [
    CHAIN.transaction("institution.suspend", Suspend(subject, "audit"), signer=SEG)
    for subject in (UGTO, ITLEON, CONOCER, SDES)
]
KEYS = ((int(transaction_key(SEG).algorithm), transaction_key(SEG).public_key),)


def test_parts_cost_and_account_follow_from_the_bytes() -> None:
    """A function of bytes, network and epoch; another epoch gives another id."""
    parsed = parse_transaction(DATA[0], CHAIN.network, 0)
    assert (parsed.data, parsed.data_hash, parsed.account) == (DATA[0], sha256(DATA[0]), SEG)
    assert parsed.payload == Suspend(UGTO, "audit")
    own = parsed.rule.cost(parsed.payload)
    assert parsed.cost == COST_BASE + COST_PER_SIGNATURE + len(DATA[0]) // COST_BYTES_PER_UNIT + own
    assert parse_transaction(DATA[0], CHAIN.network, 0) == parsed
    assert parse_transaction(DATA[0], CHAIN.network, 1).id != parsed.id


def test_a_transaction_is_taken_apart_once_while_it_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest out first, by number."""
    monkeypatch.setattr(verification, "TRANSACTION_CACHE_MAX", 2)
    cache = TransactionCache(CHAIN.network, 0)
    first = cache.parse(DATA[0])
    assert cache.parse(DATA[0]) is first
    cache.parse(DATA[1])
    cache.parse(DATA[2])
    assert cache.parse(DATA[0]) is not first


def test_what_is_remembered_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few large transactions do not fill the memory."""
    monkeypatch.setattr(verification, "TRANSACTION_CACHE_BYTES_MAX", sum(map(len, DATA[:3])) - 1)
    cache = TransactionCache(CHAIN.network, 0)
    first, second = cache.parse(DATA[0]), cache.parse(DATA[1])
    assert cache.parse(DATA[0]) is first
    cache.parse(DATA[2])
    assert cache.parse(DATA[1]) is second
    assert cache.parse(DATA[0]) is not first


def test_verified_signatures_are_held_against_the_keys_they_verify_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other keys are other facts; a forgotten one is checked again."""
    monkeypatch.setattr(verification, "TRANSACTION_CACHE_MAX", 2)
    cache = TransactionCache(CHAIN.network, 0)
    parsed = [cache.parse(data) for data in DATA[:3]]
    cache.remember(parsed[0], KEYS)
    assert cache.holds(parsed[0], KEYS)
    assert not cache.holds(parsed[0], ((1, bytes(32)),))
    assert not cache.holds(parsed[1], KEYS)
    cache.remember(parsed[1], KEYS)
    cache.remember(parsed[2], KEYS)
    assert [cache.holds(item, KEYS) for item in parsed] == [False, True, True]
    cache.forget(parsed[1])
    assert not cache.holds(parsed[1], KEYS)
