"""The mempool is bounded and fair; the builder fills blocks in turns with half reserved."""

from collections import Counter

import pytest

from node.chain import builder, mempool
from node.chain.mempool import Mempool
from node.chain.records.institution import UNLIMITED_SCOPE, Role
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.rules.institutions import Accredit, Reinstate, Suspend
from node.chain.verification import ParsedTransaction, TransactionCache
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from tests.unit.chain.kit import CONOCER, ITLEON, SDES, SEG, UGTO, TestChain, definition


@pytest.fixture
def chain() -> TestChain:
    """Return a network where two universities have a definition each."""
    chain = TestChain()
    for issuer in (UGTO, ITLEON):
        chain.do("definition.publish", DefinitionPublish(definition(f"{issuer}/curso/1")), signer=issuer)
    return chain


def issue(chain: TestChain, issuer: str, name: str, size: int = 1) -> bytes:
    """Return the issue of some made-up credentials."""
    ids = [sha256(f"{issuer}/{name}/{index}".encode()) for index in range(size)]
    payload = CredentialIssue(f"{issuer}/curso/1", merkle.root(ids), size, b"".join(ids))
    return chain.transaction("credential.issue", payload, signer=issuer)


def parsed(chain: TestChain, issuer: str, name: str) -> ParsedTransaction:
    """Return an issue, taken apart."""
    return TransactionCache(chain.network, 0).parse(issue(chain, issuer, name))


def priority(chain: TestChain, authority: str, name: str) -> ParsedTransaction:
    """Return a priority transaction."""
    data = chain.transaction("institution.suspend", Suspend(ITLEON, name), signer=authority)
    return TransactionCache(chain.network, 0).parse(data)


def small(monkeypatch: pytest.MonkeyPatch, transactions: int) -> Mempool:
    """Return a mempool of so many transactions, a tenth of them reserved."""
    monkeypatch.setattr(mempool, "MEMPOOL_TRANSACTIONS_MAX", transactions)
    return Mempool()


def fill(pool: Mempool, chain: TestChain, issuer: str) -> str:
    """Add an issuer's transactions until one is refused; return why."""
    for number in range(1_000):
        try:
            pool.add(parsed(chain, issuer, f"n{number}"))
        except Rejected as refused:
            return str(refused)
    raise AssertionError("nothing was refused")


def test_each_account_holds_at_most_what_stays_free(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 ordinary places the first flood gets 20, the next 10, the third 5; authorities still find room."""
    pool = small(monkeypatch, 45)
    assert fill(pool, chain, UGTO) == "mempool_full: ugto.example has 20 transactions waiting, 20 are free"
    assert fill(pool, chain, ITLEON) == "mempool_full: itleon.example has 10 transactions waiting, 10 are free"
    assert fill(pool, chain, CONOCER) == "mempool_full: conocer.example has 5 transactions waiting, 5 are free"
    assert len(pool) == 35
    for number in range(5):
        pool.add(priority(chain, SEG, f"n{number}"))
    with pytest.raises(Rejected) as refused:
        pool.add(priority(chain, SEG, "n5"))
    assert refused.value.detail == "seg.example has 5 transactions waiting, 5 are free"
    pool.add(priority(chain, SDES, "n0"))


def test_a_full_mempool_says_so(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """No place at all is another sentence than no place for you."""
    pool = small(monkeypatch, 1)
    with pytest.raises(Rejected) as refused:
        pool.add(parsed(chain, UGTO, "a"))
    assert (refused.value.reason, refused.value.detail) == (
        Reason.MEMPOOL_FULL,
        "0 transactions wait, there is room for 0",
    )


def test_bytes_are_shared_as_transactions_are(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large transactions flood as many small ones do."""
    first = parsed(chain, UGTO, "a")
    size = len(first.data)
    monkeypatch.setattr(mempool, "MEMPOOL_BYTES_MAX", (4 * size + 4) * 10 // 9)
    pool = Mempool()
    pool.add(first)
    pool.add(parsed(chain, UGTO, "b"))
    assert pool.bytes == 2 * size
    with pytest.raises(Rejected) as refused:
        pool.add(parsed(chain, UGTO, "c"))
    assert refused.value.detail.startswith(f"ugto.example has {2 * size} bytes waiting, ")
    pool.remove(first.id)
    pool.add(parsed(chain, UGTO, "c"))


def test_removed_transactions_give_their_room_back(chain: TestChain) -> None:
    """Nothing is left of an account that has nothing waiting."""
    pool = Mempool()
    item = parsed(chain, UGTO, "a")
    pool.add(item)
    assert item.id in pool
    assert pool.get(item.id) is item
    assert pool.remove(item.id) is item
    assert pool.remove(item.id) is None
    assert (len(pool), pool.bytes, list(pool.in_turns(priority=False))) == (0, 0, [])


def test_what_can_no_longer_be_included_is_dropped(chain: TestChain) -> None:
    """Valid until 10: still good above head 9, no more above head 10."""
    payload = Suspend(ITLEON, "audit")
    data = chain.transaction("institution.suspend", payload, signer=SEG, valid_until=10)
    pool = Mempool()
    item = TransactionCache(chain.network, 0).parse(data)
    pool.add(item)
    assert pool.drop_expired(9) == []
    assert pool.drop_expired(10) == [item]
    assert len(pool) == 0


def test_turns_go_by_cost(chain: TestChain) -> None:
    """Equal transactions alternate; an account behind the others' cost comes first."""
    pool = Mempool()
    for number in range(3):
        pool.add(parsed(chain, UGTO, f"n{number}"))
    pool.add(parsed(chain, ITLEON, "n0"))
    big = TransactionCache(chain.network, 0).parse(issue(chain, CONOCER, "big", 4_000))
    pool.add(big)
    pool.add(parsed(chain, CONOCER, "n1"))
    assert [item.account for item in pool.in_turns(priority=False)] == [UGTO, ITLEON, CONOCER, UGTO, UGTO, CONOCER]
    pool.give_turns([UGTO])
    assert [item.account for item in pool.in_turns(priority=False)][:3] == [ITLEON, CONOCER, UGTO]


# --- blocks ---


def test_block_is_shared_between_two_floods(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten places: five each, though one came with all its transactions first."""
    monkeypatch.setattr(builder, "BLOCK_TRANSACTIONS_MAX", 10)
    for issuer in (UGTO, ITLEON):
        for number in range(20):
            chain.ledger.submit(issue(chain, issuer, str(number)))
    committed = chain.commit()
    assert Counter(item.account for item in committed.transactions) == {UGTO: 5, ITLEON: 5}


def test_flood_of_issues_does_not_starve_an_authority(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one to come, an authority's suspension, is in the next block."""
    monkeypatch.setattr(builder, "BLOCK_TRANSACTIONS_MAX", 10)
    for number in range(30):
        chain.ledger.submit(issue(chain, UGTO, str(number)))
    late = chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    committed = chain.commit()
    assert late in [item.id for item in committed.transactions]
    assert len(committed.transactions) == 10


def test_flood_of_priority_kinds_leaves_half_to_the_rest(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reserved is half, not all; what the others leave over is used."""
    monkeypatch.setattr(builder, "BLOCK_TRANSACTIONS_MAX", 4)
    end_ms = chain.next_time_ms + 1_000_000
    for number in range(6):
        accredit = Accredit(CONOCER, (Role.CERTIFIER,), UNLIMITED_SCOPE, end_ms + number)
        chain.submit("institution.accredit", accredit, signer=SEG)
    for number in range(2):
        chain.ledger.submit(issue(chain, ITLEON, str(number)))
    shared = Counter(item.account for item in chain.commit().transactions)
    alone = Counter(item.account for item in chain.commit().transactions)
    assert (shared, alone) == ({SEG: 2, ITLEON: 2}, {SEG: 4})


def test_what_no_longer_executes_leaves_block_and_mempool(chain: TestChain) -> None:
    """Two suspensions of one institution: the second fails beside the first, stays, and goes once it fails alone."""
    first = chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    second = chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SDES)
    committed = chain.commit()
    assert [item.id for item in committed.transactions] == [first]
    assert second in chain.ledger.mempool
    assert chain.commit().transactions == ()
    assert not chain.ledger.has_pending()


def test_what_a_commit_made_impossible_is_not_waited_for(chain: TestChain) -> None:
    """A node that does not propose forgets it too: else it would wait for a proposal that nobody can make."""
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SDES)
    assert chain.ledger.has_pending()
    chain.commit()
    assert len(chain.ledger.mempool) == 1
    assert not chain.ledger.has_pending()
    assert len(chain.ledger.mempool) == 0
    chain.submit("institution.reinstate", Reinstate(CONOCER, "closed"), signer=SEG)
    assert chain.ledger.has_pending()


def test_collision_inside_a_block_is_not_held_against_a_transaction(chain: TestChain) -> None:
    """It waits on: the block it collided in may never be decided."""
    chain.do("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    one = chain.submit("institution.reinstate", Reinstate(CONOCER, "closed"), signer=SEG)
    two = chain.submit("institution.reinstate", Reinstate(CONOCER, "closed"), signer=SDES)
    block = chain.build()
    assert len(block.transactions) == 1
    assert {one, two} <= {item.id for item in chain.ledger.mempool.transactions()}


def test_block_stays_within_its_bytes(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large batches fill a block by bytes before cost."""
    data = [issue(chain, UGTO, str(number), 100) for number in range(5)]
    monkeypatch.setattr(builder, "BLOCK_BYTES_MAX", 3 * len(data[0]) + 2_000)
    for item in data:
        chain.ledger.submit(item)
    assert len(chain.build().transactions) == 3


def test_block_stays_within_its_cost(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower with the real bound takes what a builder with the same bound made."""
    cost = TransactionCache(chain.network, 0).parse(issue(chain, UGTO, "0", 100)).cost
    monkeypatch.setattr(builder, "BLOCK_COST_MAX", 3 * cost)
    for number in range(5):
        chain.ledger.submit(issue(chain, UGTO, str(number), 100))
    assert len(chain.build().transactions) == 3
