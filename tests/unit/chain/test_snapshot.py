"""Snapshots of a chain: made, restored and gone on from; and every way in which one can lie."""

from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from node import codec
from node.chain.block import Header
from node.chain.ledger import Ledger
from node.chain.proof import credential_proof
from node.chain.restoring import Restoration, is_chain
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.rules.institutions import Reinstate, Suspend
from node.chain.snapshot import BatchEntry, BatchesChunk, BlocksChunk, Manifest, verify_manifest
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected, StorageError
from node.limits import SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_MANIFEST_BYTES_MAX, TRANSACTION_VALIDITY_HEIGHTS_MAX
from node.primitives import Hash
from node.state.kv import MemoryStore
from node.state.snapshot import StatePart
from tests.unit.chain.kit import BLOCK_INTERVAL_MS, SDES, SEG, UGTO, TestChain, certify, definition, genesis
from tests.unit.chain.snapshot_kit import Made, restore, snapshot_at_head

LENGTH = 30
"""Blocks below the snapshots of most tests."""


def credential_ids(number: int) -> list[Hash]:
    """Return the ids of a batch."""
    return [sha256(f"{number}/{index}".encode()) for index in range(1 + number % 5)]


def fill(chain: TestChain, blocks: int) -> None:
    """Commit blocks with something of everything in them."""
    chain.do("definition.publish", DefinitionPublish(definition(f"{UGTO}/course/1")), signer=UGTO)
    while chain.ledger.head.height < blocks:
        height = chain.ledger.head.height
        if height % 3 == 0:
            ids = credential_ids(height)
            payload = CredentialIssue(f"{UGTO}/course/1", merkle.root(ids), len(ids), b"".join(ids))
            chain.do("credential.issue", payload, signer=UGTO)
        elif height % 3 == 1:
            chain.do("institution.suspend", Suspend(SDES, "audit"), signer=SEG)
            chain.do("institution.reinstate", Reinstate(SDES, "done"), signer=SEG)
        else:
            chain.commit()


@cache
def _filled() -> tuple[MemoryStore, Made]:
    chain = TestChain()
    fill(chain, LENGTH)
    made = snapshot_at_head(chain)
    assert isinstance(chain.store, MemoryStore)
    return chain.store, made


@pytest.fixture
def chain() -> TestChain:
    """Return a chain whose head is one above the snapshot."""
    return TestChain(store=_filled()[0].copy())


@pytest.fixture
def made() -> Made:
    """Return the snapshot below that chain's head."""
    return _filled()[1]


def refusal(call: Callable[[], object]) -> tuple[Reason, str]:
    """Return reason and detail of a refusal."""
    with pytest.raises(Rejected) as refused:
        call()
    return refused.value.reason, refused.value.detail


# --- what a restored chain is ---


def test_restored_chain_has_the_head_the_state_and_the_lists(chain: TestChain, made: Made) -> None:
    """Head, certificate, root, every record and every list are those of the chain that the snapshot is of."""
    found = restore(chain, made)
    assert found.head == chain.ledger.header_at(made.height)
    assert (found.state.root, found.state.key_count) == (found.head.state_root, chain.ledger.state.key_count)
    assert list(found.institutions()) == list(chain.ledger.institutions())
    assert list(found.definitions()) == list(chain.ledger.definitions())
    assert found.validators_at(1) == found.validators_at(made.height + 1) == chain.ledger.validators_at(1)
    assert found.head_certificate is not None
    found.head_certificate.check(found.network, found.validators_at(made.height))


def test_restored_chain_goes_on(chain: TestChain, made: Made) -> None:
    """The next blocks of the others are committed on it, and it comes to the same roots."""
    for _ in range(3):
        chain.do("institution.suspend", Suspend(SDES, "audit"), signer=SEG)
        chain.do("institution.reinstate", Reinstate(SDES, "done"), signer=SEG)
    found = restore(chain, made)
    for height in range(made.height + 1, chain.ledger.head.height + 1):
        item = chain.ledger.block_at(height)
        assert item is not None
        found.commit_block(*item)
    assert (found.head, found.state.root) == (chain.ledger.head, chain.ledger.state.root)


def test_every_credential_is_proven_as_before(chain: TestChain, made: Made) -> None:
    """The ids of all batches come with the snapshot, so proofs are those of a node that has every block."""
    found = restore(chain, made)
    archive = TestChain(store=_filled()[0].copy()).ledger
    assert archive.head.height == made.height + 1
    checked = 0
    for height in range(made.height):
        for credential_id in credential_ids(height) if height % 3 == 0 else ():
            if archive.find_credential(credential_id) is None:
                continue
            checked += 1
            assert found.find_credential(credential_id) == archive.find_credential(credential_id)
            assert found.credential_path(credential_id) == archive.credential_path(credential_id)
            proof = credential_proof(found, credential_id, issuer=UGTO)
            assert proof.header == found.head
            assert proof.batch == credential_proof(archive, credential_id, issuer=UGTO).batch
    assert checked > 10


def test_blocks_below_are_absent_and_say_so(chain: TestChain, made: Made) -> None:
    """What lies below begins nowhere: no block, and a sentence that names who has it; headers of late are there."""
    found = restore(chain, made)
    assert found.pruned_below == made.height + 1
    assert [found.block_at(height) for height in (1, made.height)] == [None, None]
    assert found.header_at(made.height - 5) == chain.ledger.header_at(made.height - 5)
    assert found.absence(5) == f"height 5 is pruned below {made.height + 1} on this node; ask an archive node"
    block = chain.ledger.block_at(7)
    assert block is not None
    assert refusal(lambda: found.commit_block(*block))[0] is Reason.WRONG_HEIGHT


def test_no_transaction_of_the_last_blocks_is_included_again(chain: TestChain, made: Made) -> None:
    """Replay protection is complete from the first block that a restored node prepares."""
    found = restore(chain, made)
    blocks = [chain.ledger.block_at(height) for height in range(1, made.height + 1)]
    data = [item[0].transactions for item in blocks if item is not None and item[0].transactions][-1][0]
    bare = found.build_block(proposer=SEG, timestamp_ms=found.head.timestamp_ms + BLOCK_INTERVAL_MS)
    replay = msgspec.structs.replace(bare, transactions=(data,))
    reason, detail = refusal(lambda: found.validate_block(replay))
    assert reason is Reason.BAD_BLOCK
    assert "duplicate" in detail


def test_a_node_that_was_restored_makes_no_snapshot_before_it_can(chain: TestChain, made: Made) -> None:
    """It lacks the blocks whose transactions a snapshot lists."""
    assert restore(chain, made).begin_snapshot() is None


def test_two_nodes_make_the_same_bytes(chain: TestChain, made: Made) -> None:
    """One name, and chunks from whoever has it, although nodes hold different certificates of their heads."""
    other = TestChain()
    for height in range(1, made.height + 1):
        item = chain.ledger.block_at(height)
        assert item is not None
        block, certificate = item
        if height == made.height:
            # This node saw other commits than those that the next proposer took.
            validators = other.ledger.validators_at(height)
            certificate = certify(other.network, validators, block.hash(), height, members=(1, 2, 3))
        other.ledger.commit_block(block, certificate)
    making = other.ledger.begin_snapshot()
    assert making is not None
    chunks = tuple(item for item in making.chunks() if item is not None)
    assert making.manifest() is None  # no block above yet: the canonical certificate is not known
    above = chain.ledger.block_at(made.height + 1)
    assert above is not None
    other.ledger.commit_block(*above)
    assert (making.manifest(), chunks) == (made.manifest, made.chunks)


def test_a_snapshot_is_of_its_own_height_while_the_chain_goes_on(chain: TestChain) -> None:
    """Blocks that are committed while it is made are not in it."""
    making = chain.ledger.begin_snapshot()
    assert making is not None
    root = chain.ledger.head.state_root
    found = []
    for item in making.chunks():
        chain.do("institution.suspend", Suspend(SDES, "audit"), signer=SEG)
        chain.do("institution.reinstate", Reinstate(SDES, "done"), signer=SEG)
        found.append(item)
    manifest = making.manifest()
    assert manifest is not None
    restored = restore(chain, Made(manifest, tuple(item for item in found if item is not None)))
    assert restored.head.state_root == root


# --- interrupted ---


def test_a_crash_in_the_middle_costs_no_chunk(chain: TestChain, made: Made) -> None:
    """What was taken is not asked for again, and until the end the store is no chain."""
    store = MemoryStore()
    restoration = Restoration.begin(store, chain.document, made.manifest_bytes)
    restoration.take(0, made.chunks[0])
    assert not is_chain(store)
    after = store.copy()
    resumed = Restoration.resume(after, chain.document)
    assert resumed is not None
    assert (resumed.name, resumed.taken) == (made.name, 1)
    assert 0 not in resumed.missing(100)
    for number in resumed.missing(100):
        resumed.take(number, made.chunks[number])
    for number in resumed.missing(100):
        resumed.take(number, made.chunks[number])
    resumed.finish()
    assert is_chain(after)
    assert Restoration.resume(after, chain.document) is None
    assert Ledger.open(after, chain.document).head.height == made.height


def test_a_store_without_a_restoration_resumes_nothing(chain: TestChain) -> None:
    """An empty store is not gone on with."""
    assert Restoration.resume(MemoryStore(), chain.document) is None


def test_a_changed_disk_is_noticed_at_the_end(chain: TestChain, made: Made) -> None:
    """A record that the disk changed after it was checked never becomes state."""
    store = MemoryStore()
    restoration = Restoration.begin(store, chain.document, made.manifest_bytes)
    while missing := restoration.missing(1):
        restoration.take(missing[0], made.chunks[missing[0]])
    key = next(key for key in store._values if key[:1] == b"s")
    store._values[key] = bytes(32) + store._values[key][32:]
    with pytest.raises(StorageError, match="the state records come to root"):
        restoration.finish()


# --- lies in the manifest ---


def lie(made: Made, **changes: object) -> bytes:
    """Return the manifest with changes."""
    return codec.encode(msgspec.structs.replace(made.manifest, **changes))


def other_header(header: Header, **changes: object) -> Header:
    """Return a header with changes."""
    return msgspec.structs.replace(header, **changes)


def _wrong_header(made: Made) -> bytes:
    last = made.manifest.headers[-1]
    return lie(made, headers=(*made.manifest.headers[:-1], other_header(last, state_root=bytes(32))))


def _wrong_ancestor(made: Made) -> bytes:
    first, *rest = made.manifest.headers
    return lie(made, headers=(other_header(first, transactions_root=bytes(32)), *rest))


def _prepares_for_commits(made: Made) -> bytes:
    return lie(made, certificate=msgspec.structs.replace(made.manifest.certificate, phase=1))


def _few_signatures(made: Made) -> bytes:
    certificate = made.manifest.certificate
    return lie(made, certificate=msgspec.structs.replace(certificate, signatures=certificate.signatures[:2]))


def _forged_signature(made: Made) -> bytes:
    certificate = made.manifest.certificate
    first, *rest = certificate.signatures
    forged = (msgspec.structs.replace(first, signature=bytes(64)), *rest)
    return lie(made, certificate=msgspec.structs.replace(certificate, signatures=forged))


def _raised_height(made: Made) -> bytes:
    """Say that the same state is a thousand blocks higher."""
    last = made.manifest.headers[-1]
    return lie(made, headers=(*made.manifest.headers[:-1], other_header(last, height=last.height + 1_000)))


def _missing_range(made: Made) -> bytes:
    part = made.manifest.state[0]
    return lie(made, state=(msgspec.structs.replace(part, depth=part.depth + 1),))


def _part_of_another_state(made: Made) -> bytes:
    part = made.manifest.state[0]
    return lie(made, state=(msgspec.structs.replace(part, root=bytes([1]) * 32), *made.manifest.state[1:]))


def _blocks_left_out(made: Made) -> bytes:
    part = made.manifest.blocks[0]
    return lie(made, blocks=(msgspec.structs.replace(part, block_count=part.block_count - 1),))


def _headers_left_out(made: Made) -> bytes:
    return lie(made, headers=made.manifest.headers[5:])


def _no_sets(made: Made) -> bytes:
    return lie(made, validator_sets=())


def _newer_version(made: Made) -> bytes:
    return lie(made, version=2)


LIES: list[tuple[Callable[[Made], bytes], Reason, str]] = [
    (_wrong_header, Reason.BAD_CERTIFICATE, "the certificate is not for header"),
    (_wrong_ancestor, Reason.BAD_PROOF, "is not the child of header"),
    (_prepares_for_commits, Reason.BAD_CERTIFICATE, "the certificate is not for header"),
    (_few_signatures, Reason.BAD_CERTIFICATE, "2 signatures, exactly 3 are carried"),
    (_forged_signature, Reason.BAD_CERTIFICATE, "signature of itleon.example is bad"),
    (_raised_height, Reason.BAD_CERTIFICATE, "the certificate is not for header"),
    (_missing_range, Reason.BAD_PROOF, "the parts end at 8000000000000000…"),
    (_part_of_another_state, Reason.BAD_PROOF, "the chunks of the state come to"),
    (_blocks_left_out, Reason.BAD_PROOF, "headers"),
    (_headers_left_out, Reason.BAD_PROOF, "headers from height 6, needed are 1 …"),
    (_no_sets, Reason.BAD_PROOF, "0 validator sets are not the 1 that the headers name"),
    (_newer_version, Reason.UNKNOWN_VERSION, "snapshot version 2, known is 1"),
]


@pytest.mark.parametrize("change, reason, part", LIES, ids=[change.__name__[1:] for change, _, _ in LIES])
def test_a_false_manifest_is_refused_before_anything_is_fetched(
    made: Made, change: Callable[[Made], bytes], reason: Reason, part: str
) -> None:
    """The header must be proven from the genesis, and everything else must follow from it."""
    found = refusal(lambda: verify_manifest(change(made), genesis()))
    assert found[0] is reason
    assert part in found[1]


def test_a_retired_validator_set_certifies_nothing(made: Made) -> None:
    """CometBFT ASA-2024-009, a validator set that nobody checked: ours must be reached by hand-overs."""
    chain = TestChain()
    manifest = made.manifest
    members = tuple(reversed([m.public_key for m in manifest.validator_sets[0].members]))
    strangers = msgspec.structs.replace(
        manifest.validator_sets[0],
        members=tuple(
            msgspec.structs.replace(member, public_key=key)
            for member, key in zip(manifest.validator_sets[0].members, members, strict=True)
        ),
    )
    header = other_header(
        manifest.headers[-1], validators_hash=strangers.hash, next_validators_hash=strangers.hash, state_root=bytes(32)
    )
    certificate = certify(chain.network, chain.ledger.validators_at(1), header.hash(), header.height)
    data = lie(
        made,
        headers=(*manifest.headers[:-1], header),
        certificate=certificate,
        validator_sets=tuple(sorted((*manifest.validator_sets, strangers), key=lambda found: found.hash)),
    )
    assert refusal(lambda: verify_manifest(data, genesis())) == (
        Reason.BAD_PROOF,
        f"header {header.height} is of another validator set",
    )


def test_a_snapshot_of_another_network_is_refused(made: Made) -> None:
    """The trust anchor is our own genesis document."""
    other = msgspec.structs.replace(genesis(), chain_id="pila-other")
    reason, detail = refusal(lambda: verify_manifest(made.manifest_bytes, other))
    assert reason is Reason.UNKNOWN_NETWORK
    assert detail.startswith("a snapshot of pila-test ")


def test_an_unbounded_length_is_refused_before_allocation(made: Made) -> None:
    """Lengths of another's choosing are compared with their bounds before anything is read into memory."""
    too_long = bytes(SNAPSHOT_MANIFEST_BYTES_MAX + 1)
    assert refusal(lambda: verify_manifest(too_long, genesis()))[0] is Reason.TOO_LARGE
    claims = [
        {"state": (StatePart(0, 1, bytes([1]) * 32, SNAPSHOT_CHUNK_BYTES_MAX + 1),)},
        {"headers": made.manifest.headers * (TRANSACTION_VALIDITY_HEIGHTS_MAX // LENGTH + 2)},
        {"blocks": made.manifest.blocks * (TRANSACTION_VALIDITY_HEIGHTS_MAX + 1)},
    ]
    for claim in claims:
        assert refusal(lambda claim=claim: verify_manifest(lie(made, **claim), genesis()))[0] is Reason.MALFORMED  # type: ignore[misc]  # bound now


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_garbage_is_no_manifest(data: bytes) -> None:
    """Any bytes are a manifest or refused; a huge announced length allocates nothing."""
    assert refusal(lambda: verify_manifest(data, genesis()))[0] is Reason.MALFORMED


# --- lies in the chunks of blocks and batches ---


def begun(chain: TestChain, made: Made, manifest: Manifest | None = None) -> Restoration:
    """Return a restoration that has taken the whole state."""
    data = made.manifest_bytes if manifest is None else codec.encode(manifest)
    restoration = Restoration.begin(MemoryStore(), chain.document, data)
    for number in range(len(made.manifest.state)):
        restoration.take(number, made.chunks[number])
    return restoration


def test_ids_that_do_not_hash_to_the_header_are_refused(chain: TestChain, made: Made) -> None:
    """A list with an id less, or another one, would let a transaction be included again."""
    number = len(made.manifest.state)
    chunk = codec.decode(made.chunks[number], BlocksChunk, bytes_max=SNAPSHOT_CHUNK_BYTES_MAX)
    index = next(at for at, joined in enumerate(chunk.blocks) if joined)
    for false in (b"", bytes(64), chunk.blocks[index][:-1] + b"\x00"):
        blocks = (*chunk.blocks[:index], false, *chunk.blocks[index + 1 :])
        data = codec.encode(BlocksChunk(blocks))
        part = msgspec.structs.replace(made.manifest.blocks[0], byte_count=len(data))
        manifest = msgspec.structs.replace(made.manifest, blocks=(part,))
        reason, detail = refusal(lambda m=manifest, d=data: begun(chain, made, m).take(number, d))  # type: ignore[misc]  # bound now
        assert reason is Reason.BAD_PROOF
        assert detail.startswith(f"the transactions of block {index + 1} hash to ")


def false_batches(made: Made, change: Callable[[list[BatchEntry]], list[BatchEntry]]) -> tuple[Manifest, bytes]:
    """Return manifest and chunk of batches that were changed."""
    number = len(made.manifest.state) + len(made.manifest.blocks)
    chunk = codec.decode(made.chunks[number], BatchesChunk, bytes_max=SNAPSHOT_CHUNK_BYTES_MAX)
    entries = change(list(chunk.batches))
    data = codec.encode(BatchesChunk(tuple(entries)))
    part = msgspec.structs.replace(made.manifest.batches[0], batch_count=len(entries), byte_count=len(data))
    return msgspec.structs.replace(made.manifest, batches=(part,)), data


def _other_ids(entries: list[BatchEntry]) -> list[BatchEntry]:
    return [msgspec.structs.replace(entries[0], ids=bytes(len(entries[0].ids))), *entries[1:]]


def _unknown_batch(entries: list[BatchEntry]) -> list[BatchEntry]:
    return [msgspec.structs.replace(entries[0], batch_id=bytes(32)), *entries[1:]]


def _batch_twice(entries: list[BatchEntry]) -> list[BatchEntry]:
    return [entries[0], *entries]


BATCH_LIES = [
    (_other_ids, "do not hash to its root"),
    (_unknown_batch, f"the state has no batch {bytes(32).hex()}"),
    (_batch_twice, "batches are not ascending by id, or one stands twice"),
]


@pytest.mark.parametrize("change, part", BATCH_LIES, ids=[change.__name__[1:] for change, _ in BATCH_LIES])
def test_false_ids_of_a_batch_are_refused(
    chain: TestChain, made: Made, change: Callable[[list[BatchEntry]], list[BatchEntry]], part: str
) -> None:
    """Whose credential it is must hash to the root in the state."""
    manifest, data = false_batches(made, change)
    restoration = begun(chain, made, manifest)
    number = len(made.manifest.state)
    restoration.take(number, made.chunks[number])
    reason, detail = refusal(lambda: restoration.take(number + 1, data))
    assert reason is Reason.BAD_PROOF
    assert part in detail


def test_a_batch_left_out_is_noticed_at_the_end(chain: TestChain, made: Made) -> None:
    """No credential is silently unknown to a restored node."""
    manifest, data = false_batches(made, lambda entries: entries[1:])
    restoration = begun(chain, made, manifest)
    number = len(made.manifest.state)
    restoration.take(number, made.chunks[number])
    restoration.take(number + 1, data)
    count = made.manifest.batches[0].batch_count
    assert refusal(restoration.finish) == (
        Reason.BAD_PROOF,
        f"the ids of {count - 1} batches, the state has {count}",
    )


# --- pruning ---


def test_pruning_keeps_the_last_blocks_and_every_proof() -> None:
    """Old blocks go in slices, never any of the last 2,000; credentials of pruned blocks are proven as before."""
    chain = TestChain()
    fill(chain, 12)
    before = {
        credential_id: chain.ledger.credential_path(credential_id)
        for height in range(12)
        for credential_id in (credential_ids(height) if height % 3 == 0 else ())
    }
    tx_id = next(chain.ledger.receipts_at(height) for height in range(1, 12) if chain.ledger.receipts_at(height))[0]  # type: ignore[index]  # found
    assert chain.ledger.prune(10, 100) == 0
    chain.skip_to(2_020)
    assert [chain.ledger.prune(2_000, 15) for _ in range(3)] == [15, 5, 0]
    assert chain.ledger.pruned_below == 21
    assert (chain.ledger.block_at(20), chain.ledger.header_at(19), chain.ledger.receipts_at(20)) == (None, None, None)
    assert chain.ledger.block_at(21) is not None
    parent = chain.ledger.header_at(20)
    assert parent is not None
    assert chain.ledger.header_by_hash(parent.hash()) == parent
    assert chain.ledger.find_transaction(tx_id.transaction_id) is None
    again = TestChain(store=chain.store)
    assert again.ledger.pruned_below == 21
    assert {name: again.ledger.credential_path(name) for name in before} == before
    again.commit()
    assert refusal(lambda: again.ledger.validators_at(5)) == (
        Reason.NOT_FOUND,
        "height 5 is pruned below 21 on this node; ask an archive node",
    )
    assert again.ledger.validators_at(1) == again.ledger.validators_at(21)
