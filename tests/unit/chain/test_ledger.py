"""The front desk: what a block must be, one funnel for commits, and the same head after any crash."""

import msgspec
import pytest

from node import codec
from node.chain import block_check
from node.chain import ledger as ledger_module
from node.chain.answers import Committed, Submission
from node.chain.block import Block
from node.chain.certificate import Certificate, Phase
from node.chain.index import INDEX_HEIGHT, Place
from node.chain.ledger import Ledger
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.rules.institutions import Suspend
from node.chain.store import HEAD, BlockStore
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason, StorageError
from node.primitives import NO_HASH
from node.state.keys import Column
from node.state.kv import MemoryStore, WriteBatch
from tests.unit.chain.kit import (
    CONOCER,
    GENESIS_TIME_MS,
    ITLEON,
    SDES,
    SEG,
    UGTO,
    TestChain,
    certify,
    definition,
    refusal,
)

DEFINITION = f"{UGTO}/pespunte/1"
IDS = [sha256(bytes([number])) for number in range(5)]
BATCH = CredentialIssue(DEFINITION, merkle.root(IDS), len(IDS), b"".join(IDS))


@pytest.fixture
def chain() -> TestChain:
    """Return a network at height 2 with one batch of five credentials."""
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    chain.do("credential.issue", BATCH, signer=UGTO)
    return chain


def with_header(block: Block, **changes: object) -> Block:
    """Change fields of a header."""
    return msgspec.structs.replace(block, header=msgspec.structs.replace(block.header, **changes))


# --- what a block must be ---


def test_good_block_is_valid_again_and_again(chain: TestChain) -> None:
    """On its proposer and on another node, before and after it was executed."""
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    block = chain.build()
    twin = TestChain(chain.document, copy_of(chain))
    for ledger in (chain.ledger, twin.ledger, twin.ledger):
        ledger.validate_block(block)


OTHER = sha256(b"other")
WRONG_HEADERS: dict[str, tuple[dict[str, object], Reason, str]] = {
    "chain": ({"chain_id": "other"}, Reason.WRONG_CHAIN, "chain other, this is pila-test"),
    "height_low": ({"height": 2}, Reason.WRONG_HEIGHT, "height 2, 3 is next"),
    "height_high": ({"height": 4}, Reason.WRONG_HEIGHT, "height 4, 3 is next"),
    "parent": ({"parent_hash": OTHER}, Reason.WRONG_PARENT, f"parent {OTHER.hex()}, the head is "),
    "version": ({"version": 3}, Reason.UNKNOWN_VERSION, "protocol version 3, not 2"),
    "epoch": ({"epoch": 1}, Reason.WRONG_EPOCH, "epoch 1, 0 is next"),
    "time": (
        {"timestamp_ms": GENESIS_TIME_MS + 2_000},
        Reason.BAD_TIMESTAMP,
        f"time {GENESIS_TIME_MS + 2_000}, the head has {GENESIS_TIME_MS + 2_000}",
    ),
    "proposer": ({"proposer": None}, Reason.BAD_BLOCK, "proposer: there is none"),
    "evidence_root": ({"evidence_root": OTHER}, Reason.BAD_BLOCK, f"evidence root: {OTHER.hex()} in the header, "),
    "validators": ({"validators_hash": OTHER}, Reason.BAD_BLOCK, f"validators hash: {OTHER.hex()} in the header, "),
    "next_validators": (
        {"next_validators_hash": OTHER},
        Reason.BAD_BLOCK,
        f"next validators hash: {OTHER.hex()} in the header, ",
    ),
    "certificate_hash": (
        {"parent_certificate_hash": OTHER},
        Reason.BAD_BLOCK,
        f"parent certificate hash: {OTHER.hex()} in the header, ",
    ),
    "transactions_root": (
        {"transactions_root": OTHER},
        Reason.BAD_BLOCK,
        f"transactions root: {OTHER.hex()} in the header, ",
    ),
    "receipts_root": ({"receipts_root": OTHER}, Reason.BAD_BLOCK, f"receipts root: {OTHER.hex()} in the header, "),
    "state_root": ({"state_root": OTHER}, Reason.BAD_BLOCK, f"state root: {OTHER.hex()} in the header, "),
}


@pytest.mark.parametrize("case", WRONG_HEADERS)
def test_block_with_one_wrong_field_is_refused(chain: TestChain, case: str) -> None:
    """Each header field is checked, and the two values that disagree are named."""
    changes, reason, detail = WRONG_HEADERS[case]
    found = refusal(lambda: chain.ledger.validate_block(with_header(chain.build(), **changes)))
    assert found[0] is reason
    assert found[1].startswith(detail)


def test_time_one_above_the_parent_is_enough(chain: TestChain) -> None:
    """The nearest allowed time; a proposer whose clock is behind still makes one."""
    block = chain.ledger.build_block(proposer=SEG, timestamp_ms=0)
    assert block.header.timestamp_ms == chain.ledger.head.timestamp_ms + 1
    TestChain(chain.document, copy_of(chain)).ledger.validate_block(block)


def test_block_with_another_body_is_refused_even_when_its_header_is_known(chain: TestChain) -> None:
    """The execution kept under a hash is never lent to other transactions, evidence or certificates."""
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    block = chain.build()
    chain.ledger.validate_block(block)
    for forged, name in (
        (msgspec.structs.replace(block, transactions=()), "transactions root"),
        (msgspec.structs.replace(block, evidence=(b"x",)), "evidence root"),
        (msgspec.structs.replace(block, parent_certificate=None), "parent certificate hash"),
    ):
        reason, detail = refusal(lambda forged=forged: chain.ledger.validate_block(forged))  # type: ignore[misc]  # bound now
        assert reason is Reason.BAD_BLOCK
        assert detail.startswith(f"{name}: ")


def test_block_larger_than_the_store_reads_is_refused(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly the bound is enough; one byte less is too little."""
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    block = chain.build()
    size = len(codec.encode(block))
    twin = TestChain(chain.document, copy_of(chain))
    monkeypatch.setattr(block_check, "BLOCK_BYTES_MAX", size - 1)
    assert refusal(lambda: twin.ledger.validate_block(block)) == (
        Reason.TOO_LARGE,
        f"{size} bytes, a block has at most {size - 1}",
    )
    monkeypatch.setattr(block_check, "BLOCK_BYTES_MAX", size)
    twin.ledger.validate_block(block)


# --- parent certificates ---


def carrying(chain: TestChain, certificate: Certificate | None) -> Block:
    """Return the next block with another parent certificate, its hash in the header."""
    block = with_header(chain.build(), parent_certificate_hash=NO_HASH if certificate is None else certificate.hash())
    return msgspec.structs.replace(block, parent_certificate=certificate)


def parent_certificate(chain: TestChain, **options: object) -> Certificate:
    """Return a certificate of the head with some options."""
    ledger = chain.ledger
    height = ledger.head.height
    return certify(
        chain.network,
        ledger.validators_at(height),
        ledger.head_hash,
        height,
        **options,  # type: ignore[arg-type]  # test options
    )


def test_any_good_certificate_of_the_parent_is_taken(chain: TestChain) -> None:
    """Other signers, another view: nodes may hold different valid certificates of one block."""
    for options in ({"members": (1, 2, 3)}, {"view": 3}, {"members": (0, 1, 2, 3)}):
        other = parent_certificate(chain, **options)
        maker = TestChain()
        for height in (1, 2):
            block, certificate = chain.ledger.block_at(height) or pytest.fail("is committed")
            maker.ledger.commit_block(block, other if height == 2 else certificate)
        chain.ledger.validate_block(maker.build())


def test_other_certificates_are_refused(chain: TestChain) -> None:
    """For exactly the parent's hash, height and epoch, of commits, and good."""
    head = chain.ledger.head_hash.hex()
    good = parent_certificate(chain)
    below = chain.ledger.header_at(1)
    assert below is not None
    older = certify(chain.network, chain.ledger.validators_at(1), below.hash(), 1)
    for certificate, detail in (
        (None, "block 3 carries none of its parent"),
        (older, "height 1, the block has 2"),
        (msgspec.structs.replace(good, block_hash=OTHER), f"block {OTHER.hex()}, this block is {head}"),
        (msgspec.structs.replace(good, epoch=1), "epoch 1, the block has 0"),
        (parent_certificate(chain, phase=Phase.PREPARE), "phase 1, commit is 2"),
        (parent_certificate(chain, members=(0, 1)), "2 signatures, 3 needed"),
        (msgspec.structs.replace(good, view=1), f"signature of {ITLEON} is bad"),
    ):
        block = carrying(chain, certificate)
        assert refusal(lambda block=block: chain.ledger.validate_block(block)) == (Reason.BAD_CERTIFICATE, detail)  # type: ignore[misc]  # bound now


def test_block_one_carries_no_certificate() -> None:
    """Nil and 32 zero bytes: block 0 was never voted on."""
    chain = TestChain()
    block = chain.build()
    assert (block.parent_certificate, block.header.parent_certificate_hash) == (None, NO_HASH)
    chain.ledger.validate_block(block)
    forged = carrying(chain, parent_certificate(chain))
    assert refusal(lambda: chain.ledger.validate_block(forged)) == (
        Reason.BAD_CERTIFICATE,
        "block 1 carries none: block 0 was never voted on",
    )


def test_the_certificate_inside_the_next_block_becomes_the_canonical_one(chain: TestChain) -> None:
    """At the head a node answers with its own, below it with the chain's."""
    own = chain.ledger.head_certificate
    other = parent_certificate(chain, members=(1, 2, 3))
    assert chain.ledger.certificate_at(2) == own != other
    block = carrying(chain, other)
    chain.ledger.commit_block(block, chain.certificate(block))
    assert chain.ledger.certificate_at(2) == other
    assert TestChain(chain.document, chain.store).ledger.certificate_at(2) == other


# --- commits ---


def test_commit_is_idempotent_by_height(chain: TestChain) -> None:
    """A late repetition is answered from the store and told to nobody."""
    told: list[Committed] = []
    chain.ledger.on_commit(told.append)
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    block = chain.build()
    certificate = chain.certificate(block)
    first = chain.ledger.commit_block(block, certificate)
    assert chain.ledger.commit_block(block, certificate) == first
    assert told == [first]
    assert (first.block, first.certificate, first.header) == (block, certificate, block.header)


def test_another_block_at_a_decided_height_is_refused(chain: TestChain) -> None:
    """One height, one block."""
    block = chain.build()
    later = chain.ledger.build_block(proposer=SDES, timestamp_ms=chain.next_time_ms + 1)
    chain.ledger.commit_block(block, chain.certificate(block))
    assert refusal(lambda: chain.ledger.commit_block(later, chain.certificate(block))) == (
        Reason.BAD_BLOCK,
        f"height 3 is decided with {block.hash().hex()}, not {later.hash().hex()}",
    )


def test_commit_needs_a_certificate_for_this_block_and_the_next_height(chain: TestChain) -> None:
    """A certificate of something else decides nothing; no height is skipped."""
    block = chain.build()
    wrong = msgspec.structs.replace(chain.certificate(block), block_hash=OTHER)
    assert refusal(lambda: chain.ledger.commit_block(block, wrong)) == (
        Reason.BAD_CERTIFICATE,
        f"block {OTHER.hex()}, this block is {block.hash().hex()}",
    )
    far = with_header(block, height=5)
    certificate = certify(chain.network, chain.document.validator_set(), far.hash(), 5)
    assert refusal(lambda: chain.ledger.commit_block(far, certificate)) == (
        Reason.WRONG_HEIGHT,
        "height 5, 3 is next",
    )
    assert chain.ledger.head.height == 2


def test_block_of_another_node_is_executed_before_it_is_committed(chain: TestChain) -> None:
    """A follower that never saw the transactions comes to the same head."""
    twin = TestChain(chain.document, copy_of(chain))
    chain.submit("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    committed = chain.commit()
    twin.ledger.commit_block(committed.block, committed.certificate)
    assert twin.ledger.head == chain.ledger.head
    assert twin.ledger.state.root == committed.header.state_root


# --- submissions ---


def test_submission_is_idempotent_waiting_and_committed(chain: TestChain) -> None:
    """A retry is always safe, also after a restart."""
    data = chain.transaction("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    tx_id = chain.ledger.submit(data).tx_id
    assert chain.ledger.submit(data) == Submission(tx_id, is_new=False)
    assert chain.ledger.pending_transaction(tx_id) == data
    chain.commit()
    assert chain.ledger.pending_transaction(tx_id) is None
    assert chain.ledger.find_transaction(tx_id) == Place(3, 0)
    for ledger in (chain.ledger, TestChain(chain.document, chain.store).ledger):
        assert ledger.submit(data) == Submission(tx_id, is_new=False)
        assert not ledger.has_pending()


def test_what_became_impossible_is_cleared_out_a_little_at_a_time(
    chain: TestChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By cost, not by number: a thousand large stacks that all fail would hold the node up for seconds."""
    twin = TestChain(chain.document, copy_of(chain))
    for reason in ("a", "b", "c"):
        chain.submit("institution.suspend", Suspend(CONOCER, reason), signer=SEG)
    twin.submit("institution.suspend", Suspend(CONOCER, "other"), signer=SDES)
    committed = twin.commit()
    chain.ledger.commit_block(committed.block, committed.certificate)
    monkeypatch.setattr(ledger_module, "PENDING_RECHECK_COST_MAX", 1)
    left = [(chain.ledger.has_pending(), len(chain.ledger.mempool)) for _ in range(3)]
    assert left == [(True, 2), (True, 1), (False, 0)]


def test_replayed_transaction_is_refused_in_a_block_also_after_a_restart(chain: TestChain) -> None:
    """The ids of the last 1,000 blocks come back from the store."""
    found = chain.ledger.block_at(2)
    assert found is not None
    reopened = TestChain(chain.document, copy_of(chain)).ledger
    block = msgspec.structs.replace(chain.build(), transactions=found[0].transactions)
    for ledger in (chain.ledger, reopened):
        reason, detail = refusal(lambda ledger=ledger: ledger.validate_block(block))  # type: ignore[misc]  # bound now
        assert reason is Reason.BAD_BLOCK
        assert detail.startswith("transaction 0: duplicate: ")


# --- crashes ---


def copy_of(chain: TestChain) -> MemoryStore:
    """Return what the disk would hold after a crash now."""
    assert isinstance(chain.store, MemoryStore)
    return chain.store.copy()


class CrashingStore(MemoryStore):
    """A store that loses power at the n-th write, before or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes_left = -1
        self.survives = False

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        if self.writes_left == 0:
            if self.survives:
                super().write(batch, sync=sync)
            raise StorageError("power cut")
        self.writes_left -= 1
        super().write(batch, sync=sync)


@pytest.mark.parametrize("survives", [False, True])
@pytest.mark.parametrize("write", [0, 1])
def test_crash_at_any_write_of_a_commit_leaves_one_head_or_the_other(write: int, survives: bool) -> None:
    """Before the synced batch: the old head. After it: the new one, with the index made again."""
    store = CrashingStore()
    chain = TestChain(store=store)
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    data = chain.transaction("credential.issue", BATCH, signer=UGTO)
    chain.ledger.submit(data)
    block = chain.build()
    certificate = chain.certificate(block)
    store.writes_left, store.survives = write, survives
    with pytest.raises(StorageError):
        chain.ledger.commit_block(block, certificate)
    store.writes_left = -1
    reopened = Ledger.open(store, chain.document)
    durable = survives or write == 1
    assert reopened.head.height == (2 if durable else 1)
    again = reopened.commit_block(block, certificate)
    assert (reopened.head, again.block) == (block.header, block)
    assert reopened.state.root == block.header.state_root
    assert reopened.find_credential(IDS[4]) is not None
    assert not reopened.submit(data).is_new


def test_reopened_chain_goes_on_where_it_was(chain: TestChain) -> None:
    """Same head, same certificate, and the next block of one is valid on the other."""
    twin = TestChain(chain.document, copy_of(chain))
    assert (twin.ledger.head, twin.ledger.head_certificate) == (chain.ledger.head, chain.ledger.head_certificate)
    chain.ledger.validate_block(twin.build())


def test_index_behind_the_head_is_made_again(chain: TestChain) -> None:
    """It may be lost whole: blocks and receipts are enough."""
    store = copy_of(chain)
    batch = WriteBatch()
    for column in (Column.TRANSACTION, Column.CREDENTIAL, Column.SUBJECT):
        for key, _ in store.iterate(prefix=column.value):
            batch.delete(key)
    batch.delete(INDEX_HEIGHT)
    store.write(batch, sync=True)
    ledger = Ledger.open(store, chain.document)
    assert ledger.find_credential(IDS[3]) == chain.ledger.find_credential(IDS[3])
    assert list(ledger.institutions()) == list(chain.ledger.institutions())
    assert dict(store.iterate()) == dict(copy_of(chain).iterate())


def test_store_whose_parts_disagree_is_not_opened(chain: TestChain) -> None:
    """A head without its header, a header that is another, a block that is missing: a sentence, no traceback."""
    stored = BlockStore(chain.store).head()
    assert stored is not None
    for key, value, sentence in (
        (Column.HEADER.at(2), None, "the header of the head, height 2, is missing or another one"),
        (
            Column.HEADER.at(2),
            copy_of(chain).get(Column.HEADER.at(1)),
            "the header of the head, height 2, is missing or another one",
        ),
        (INDEX_HEIGHT, bytes(8), None),
        (HEAD, b"\x90", "the chain record "),
    ):
        store = copy_of(chain)
        batch = WriteBatch()
        if value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
        store.write(batch, sync=True)
        if sentence is None:
            assert Ledger.open(store, chain.document).head == chain.ledger.head
            continue
        with pytest.raises(StorageError) as failed:
            Ledger.open(store, chain.document)
        assert str(failed.value).startswith(sentence)


def test_head_that_is_not_the_states_is_not_opened(chain: TestChain) -> None:
    """Chain and state are written together; apart they are corrupt."""
    store = copy_of(chain)
    one = chain.ledger.header_at(1)
    assert one is not None
    stored = BlockStore(store).head()
    assert stored is not None
    batch = WriteBatch()
    batch.put(HEAD, msgspec.msgpack.encode(msgspec.structs.replace(stored, height=1, hash=one.hash())))
    store.write(batch, sync=True)
    with pytest.raises(StorageError) as failed:
        Ledger.open(store, chain.document)
    assert str(failed.value) == (
        f"the state is at height 2 with root {chain.ledger.state.root.hex()}, the head at 1 with {one.state_root.hex()}"
    )
