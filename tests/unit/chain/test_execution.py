"""Execution is a pure function; windows, repeats and signatures are judged the same everywhere."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.chain.block import Block
from node.chain.execution import BlockDraft, execute_block
from node.chain.receipt import Receipt, ReceiptEvent, receipts_root
from node.chain.recent_ids import RecentIds
from node.chain.records.institution import RequiredSignatures
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.rules.institutions import Reinstate, Suspend
from node.chain.rules.keys import KeyRetire
from node.chain.rules.registry import RULES
from node.chain.transaction import TransactionSignature, decode_transaction
from node.chain.verification import TransactionCache
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.limits import BLOCK_COST_MAX, TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.state import keys
from tests.unit.chain.kit import (
    ITLEON,
    SDES,
    SEG,
    UGTO,
    Key,
    TestChain,
    definition,
    genesis,
    recovery_key,
    transaction_key,
)

SUSPEND = Suspend(UGTO, "audit")
DEFINITION = f"{UGTO}/pespunte/1"


@pytest.fixture
def chain() -> TestChain:
    """Return a network with one definition."""
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    return chain


def batch(*names: str) -> CredentialIssue:
    """Return a batch of credentials with made-up ids."""
    ids = [sha256(name.encode()) for name in names]
    return CredentialIssue(DEFINITION, merkle.root(ids), len(ids), b"".join(ids))


def refusal(chain: TestChain, data: bytes) -> tuple[Reason, str]:
    """Submit bytes that must be refused."""
    with pytest.raises(Rejected) as refused:
        chain.ledger.submit(data)
    return refused.value.reason, refused.value.detail


def resigned(data: bytes, **changes: object) -> bytes:
    """Change fields of a transaction without signing it anew."""
    return codec.encode(msgspec.structs.replace(decode_transaction(data), **changes))


# --- the envelope ---


def test_window_is_from_the_block_to_a_thousand_above(chain: TestChain) -> None:
    """0 ≤ valid_until − height ≤ 1,000, both ends included."""
    height = chain.next_height
    latest = height + TRANSACTION_VALIDITY_HEIGHTS_MAX

    def at(valid_until: int) -> bytes:
        return chain.transaction("institution.suspend", SUSPEND, signer=SEG, valid_until=valid_until)

    assert refusal(chain, at(height - 1)) == (Reason.EXPIRED, f"valid until height {height - 1}, this is {height}")
    assert refusal(chain, at(latest + 1)) == (
        Reason.VALIDITY_TOO_LONG,
        f"valid until height {latest + 1}, at most {latest} at {height}",
    )
    chain.ledger.submit(at(height))
    chain.ledger.submit(at(latest))


def test_other_chain_version_and_kind_are_refused(chain: TestChain) -> None:
    """What is not for this network is told so before anything is looked up."""
    good = chain.transaction("institution.suspend", SUSPEND, signer=SEG)
    assert refusal(chain, resigned(good, chain_id="other")) == (Reason.WRONG_CHAIN, "chain other, this is pila-test")
    assert refusal(chain, resigned(good, version=2)) == (Reason.UNKNOWN_VERSION, "transaction version 2, not 1")
    assert refusal(chain, resigned(good, kind="institution.marry")) == (
        Reason.UNKNOWN_KIND,
        "institution.marry is no kind of transaction",
    )
    assert refusal(chain, resigned(good, payload=b"\x90"))[0] is Reason.MALFORMED
    assert refusal(chain, resigned(good, signer="nobody.example")) == (
        Reason.UNKNOWN_INSTITUTION,
        "nobody.example is not on the chain",
    )


def test_signature_over_something_else_is_bad(chain: TestChain) -> None:
    """Any field that is signed over, another network, another epoch."""
    good = chain.transaction("institution.suspend", SUSPEND, signer=SEG)
    key_id = transaction_key(SEG).key_id.hex()
    bad = (Reason.BAD_SIGNATURE, f"signature of seg.example with key {key_id}")
    longer = resigned(good, valid_until_height=decode_transaction(good).valid_until_height + 1)
    assert refusal(chain, longer) == bad
    other = TestChain(genesis(required={ITLEON: [RequiredSignatures("credential.issue", 2)]}))
    foreign = other.transaction("institution.suspend", SUSPEND, signer=SEG)
    assert refusal(chain, foreign) == bad
    chain.ledger.submit(good)


def test_signatures_are_exactly_those_needed_in_order(chain: TestChain) -> None:
    """One more, one less, a stranger's, another purpose, disorder: each is refused."""

    def signed(*by: Key) -> bytes:
        return chain.transaction("institution.suspend", SUSPEND, signer=SEG, by=by)

    first, second = sorted((transaction_key(SEG, 0), transaction_key(SEG, 1)), key=lambda key: key.key_id)
    assert refusal(chain, signed(first, second)) == (Reason.WRONG_SIGNERS, "2 signatures, 1 needed")
    assert refusal(chain, signed(transaction_key(SDES))) == (Reason.WRONG_SIGNERS, "sdes.example need not sign")
    recovery = recovery_key(SEG)
    assert refusal(chain, signed(recovery)) == (
        Reason.KEY_NOT_VALID,
        f"key {recovery.key_id.hex()} has purpose recovery, transaction is needed",
    )
    chain.ledger.submit(signed(first))

    two = TestChain(genesis(required={SEG: [RequiredSignatures("institution.suspend", 2)]}))
    good = two.transaction("institution.suspend", SUSPEND, signer=SEG, by=[first, second])
    low, high = decode_transaction(good).signatures
    assert refusal(two, resigned(good, signatures=(high, low))) == (
        Reason.WRONG_SIGNERS,
        f"key {second.key_id.hex()} is not above {first.key_id.hex()}"
        if low.key_id == second.key_id
        else f"key {first.key_id.hex()} is not above {second.key_id.hex()}",
    )
    assert refusal(two, resigned(good, signatures=(low, low))) == (
        Reason.WRONG_SIGNERS,
        f"key {low.key_id.hex()} is not above {low.key_id.hex()}",
    )
    assert refusal(two, resigned(good, signatures=(low,))) == (Reason.WRONG_SIGNERS, "1 signatures, 2 needed")
    two.ledger.submit(good)


def test_transaction_with_garbage_extra_signatures_is_refused(chain: TestChain) -> None:
    """A copy with one more signature has the same id; it is refused and the good one stays good (PROTOCOL §9.6)."""
    good = chain.transaction("institution.suspend", SUSPEND, signer=SEG)
    garbage = TransactionSignature(SEG, b"\xff" * 16, bytes(64))
    padded = resigned(good, signatures=(*decode_transaction(good).signatures, garbage))
    for _ in range(2):
        assert refusal(chain, padded) == (Reason.WRONG_SIGNERS, "2 signatures, 1 needed")
    assert chain.ledger.submit(good).is_new
    assert refusal(chain, padded) == (Reason.WRONG_SIGNERS, "2 signatures, 1 needed")
    assert chain.ledger.mempool.get(chain.ledger.submit(good).tx_id) is not None
    assert len(chain.commit().transactions) == 1


def test_broken_copy_never_burns_the_good_transaction(chain: TestChain) -> None:
    """A refusal is never remembered by id, before or after the good one came."""
    good = chain.transaction("institution.suspend", SUSPEND, signer=SEG)
    only = decode_transaction(good).signatures[0]
    flipped = bytes([only.signature[0] ^ 1]) + only.signature[1:]
    broken = resigned(good, signatures=(msgspec.structs.replace(only, signature=flipped),))
    bad = (Reason.BAD_SIGNATURE, f"signature of seg.example with key {only.key_id.hex()}")
    assert refusal(chain, broken) == bad
    assert chain.ledger.submit(good).is_new
    assert refusal(chain, broken) == bad
    assert not chain.ledger.submit(good).is_new
    assert [parsed.data for parsed in chain.commit().transactions] == [good]


def test_known_signature_does_not_outlive_its_key(chain: TestChain) -> None:
    """What is remembered is that it verifies; whether the key is in force is asked every time."""
    key = transaction_key(SEG, 1)
    data = chain.transaction("institution.suspend", SUSPEND, signer=SEG, by=[key])
    chain.ledger.submit(data)
    chain.ledger.mempool.remove(chain.ledger.submit(data).tx_id)
    chain.do("key.retire", KeyRetire(SEG, key.key_id), signer=SEG, by=[recovery_key(SEG)])
    assert refusal(chain, data) == (Reason.KEY_NOT_VALID, f"key {key.key_id.hex()} is retired")


# --- blocks ---


def execute(chain: TestChain, *transactions: bytes, cache: TransactionCache | None = None) -> tuple[bytes, bytes]:
    """Execute transactions as the next block; return state root and receipts root."""
    frame = chain.next_frame
    found = execute_block(
        chain.ledger.state, frame, transactions, RecentIds(), cache or TransactionCache(chain.network, 0)
    )
    return found.state_root, receipts_root(found.receipts)


def test_same_inputs_give_the_same_roots_whatever_is_cached(chain: TestChain) -> None:
    """Fresh, with a warm cache, and on another store that holds the same chain."""
    data = [
        chain.transaction("credential.issue", batch("a", "b"), signer=UGTO),
        chain.transaction("institution.suspend", Suspend(ITLEON, "audit"), signer=SEG),
    ]
    cache = TransactionCache(chain.network, 0)
    first = execute(chain, *data, cache=cache)
    assert execute(chain, *data, cache=cache) == first
    assert execute(chain, *data) == first
    twin = TestChain(chain.document)
    for height in range(1, chain.next_height):
        found = chain.ledger.block_at(height)
        assert found is not None
        twin.ledger.commit_block(*found)
    assert execute(twin, *data) == first
    assert execute(chain, *data[::-1])[0] == first[0]
    assert execute(chain, data[0])[0] != first[0]


def test_execution_changes_nothing(chain: TestChain) -> None:
    """The committed state is the same before and after."""
    before = chain.ledger.state.root
    execute(chain, chain.transaction("credential.issue", batch("a"), signer=UGTO))
    assert chain.ledger.state.root == before


def test_receipts_say_what_happened(chain: TestChain) -> None:
    """One receipt a transaction, in block order."""
    data = chain.transaction("institution.suspend", Suspend(ITLEON, "audit"), signer=SEG)
    tx_id = chain.ledger.submit(data).tx_id
    committed = chain.commit()
    assert committed.receipts == (
        Receipt(
            tx_id,
            SEG,
            "institution.suspend",
            (ReceiptEvent("institution", "suspend", keys.accreditation(ITLEON), 1),),
        ),
    )
    assert chain.ledger.receipts_at(committed.header.height) == committed.receipts


def test_invalid_transaction_makes_the_block_invalid_by_index_and_reason(chain: TestChain) -> None:
    """There are no failed transactions in blocks."""
    good = chain.transaction("institution.suspend", SUSPEND, signer=SEG)
    again = chain.transaction("institution.suspend", SUSPEND, signer=SDES)
    with pytest.raises(Rejected) as refused:
        execute(chain, good, again)
    assert (refused.value.reason, refused.value.detail) == (
        Reason.BAD_BLOCK,
        "transaction 1: wrong_state: ugto.example is suspended",
    )


def test_later_transactions_see_what_earlier_ones_did(chain: TestChain) -> None:
    """Suspend and reinstate in one block."""
    one = chain.transaction("institution.suspend", SUSPEND, signer=SEG)
    two = chain.transaction("institution.reinstate", Reinstate(UGTO, "audit_closed"), signer=SDES)
    execute(chain, one, two)


def test_repeat_inside_a_block_and_of_the_last_blocks_is_refused(chain: TestChain) -> None:
    """The same id is included once."""
    data = chain.transaction("credential.issue", batch("a"), signer=UGTO)
    tx_id = chain.ledger.submit(data).tx_id
    with pytest.raises(Rejected) as refused:
        execute(chain, data, data)
    assert (
        refused.value.detail == f"transaction 1: duplicate: {tx_id.hex()} is in one of the last blocks or in this one"
    )
    frame = chain.next_frame
    recent = RecentIds()
    recent.add(1, [tx_id])
    with pytest.raises(Rejected) as refused:
        execute_block(chain.ledger.state, frame, [data], recent, TransactionCache(chain.network, 0))
    assert (
        refused.value.detail == f"transaction 0: duplicate: {tx_id.hex()} is in one of the last blocks or in this one"
    )


def test_block_above_its_cost_is_refused(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cost is summed over the block; exactly the bound is enough."""
    cache = TransactionCache(chain.network, 0)
    data = [chain.transaction("credential.issue", batch(name), signer=UGTO) for name in "ab"]
    cost = cache.parse(data[0]).cost
    assert 0 < cost < BLOCK_COST_MAX
    monkeypatch.setattr("node.chain.execution.BLOCK_COST_MAX", 2 * cost)
    execute(chain, *data)
    monkeypatch.setattr("node.chain.execution.BLOCK_COST_MAX", 2 * cost - 1)
    with pytest.raises(Rejected) as refused:
        execute(chain, *data)
    assert refused.value.detail == f"transaction 1: too_large: cost {cost} + {cost}, a block has {2 * cost - 1}"


def test_refused_transaction_leaves_the_draft_as_it_was(chain: TestChain) -> None:
    """The builder tries and goes on."""
    cache = TransactionCache(chain.network, 0)
    frame = chain.next_frame
    draft = BlockDraft(chain.ledger.state, frame, RecentIds(), cache)
    with pytest.raises(Rejected):
        draft.add(cache.parse(chain.transaction("institution.reinstate", Reinstate(UGTO, "x"), signer=SEG)))
    found = draft.finish()
    assert (found.state_root, found.transactions, found.receipts, found.cost) == (chain.ledger.state.root, (), (), 0)


def test_every_kind_that_changes_something_has_a_cost() -> None:
    """A kind without cost would be free to flood with."""
    assert set(RULES) >= {
        "institution.apply",
        "institution.review",
        "institution.accredit",
        "institution.suspend",
        "institution.reinstate",
        "institution.withdraw",
        "key.add",
        "key.retire",
        "key.compromise",
        "definition.publish",
        "definition.authorise",
        "definition.retire",
        "pathway.publish",
        "pathway.retire",
        "credential.issue",
        "credential.revoke",
        "credential.suspend",
        "credential.reinstate",
        "credential.supersede",
        "credential.stack",
    }
    assert all(kind == rule.kind for kind, rule in RULES.items())


FUZZED = TestChain()
GOOD = FUZZED.transaction("institution.suspend", SUSPEND, signer=SEG)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a good transaction with a few bytes changed, cut or doubled."""
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 2)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
                data = data or bytearray(b"\x00")
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 8))]
    return bytes(data)


@given(st.binary(max_size=200) | mutated())
def test_any_submitted_bytes_are_refused_or_accepted(data: bytes) -> None:
    """Nothing but `Rejected` comes out, and what is accepted is the good transaction."""
    try:
        FUZZED.ledger.submit(data)
    except Rejected:
        return
    assert data == GOOD


@given(st.lists(st.binary(max_size=100) | mutated(), max_size=3))
def test_any_block_body_is_refused_or_executed(transactions: list[bytes]) -> None:
    """The same for what a proposer sends."""
    block = FUZZED.ledger.build_block(proposer=SEG, timestamp_ms=FUZZED.next_time_ms)
    forged = Block(block.header, tuple(transactions), (), None)
    try:
        FUZZED.ledger.validate_block(forged)
    except Rejected:
        return
    assert forged.transactions == block.transactions
