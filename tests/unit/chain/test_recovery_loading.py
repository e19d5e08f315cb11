"""A chain that is recovered: what its node loads, keeps and refuses, and how light clients follow it."""

import msgspec
import pytest

from node import codec
from node.chain.block import Block, evidence_root
from node.chain.certificate import Certificate
from node.chain.frame import Frame
from node.chain.hops import RecoveryHop, Standing, check_header, first_quorum, follow_hops
from node.chain.ledger import Ledger
from node.chain.proof import credential_proof, verify_headers
from node.chain.proof_json import from_json, to_json
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.chain.records.network import Recovered
from node.chain.recovery import RecoveryDocument
from node.chain.recovery_loading import Loaded, Loading
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.rules.institutions import Suspend
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import ConfigError, Reason, Rejected
from node.primitives import NO_HASH
from node.state import keys
from node.state.keys import Column
from node.state.kv import MemoryStore
from tests.unit.chain.kit import (
    COEPES,
    CONOCER,
    ITLEON,
    SDES,
    SEG,
    UGTO,
    Key,
    TestChain,
    certify,
    definition,
    refusal,
)
from tests.unit.chain.recovery_kit import GOVERNORS, SURVIVORS, draft, set_of, signed
from tests.unit.chain.rules.council import consensus, council

DEFINITION = f"{UGTO}/pespunte/1"


def batch(number: int) -> CredentialIssue:
    """Return a batch of three credentials."""
    ids = ids_of(number)
    return CredentialIssue(DEFINITION, merkle.root(ids), len(ids), b"".join(ids))


def ids_of(number: int) -> list[bytes]:
    """Return the ids of its credentials."""
    return [sha256(bytes([number, index])) for index in range(3)]


@pytest.fixture
def chain() -> TestChain:
    """Return a network at height 4 with a batch from height 2."""
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    chain.do("credential.issue", batch(1), signer=UGTO)
    chain.skip_to(4)
    return chain


def twin_of(chain: TestChain) -> TestChain:
    """Return another node of the network with the same data, started again."""
    assert isinstance(chain.store, MemoryStore)
    return TestChain(chain.document, chain.store.copy())


def copy_blocks(source: TestChain, target: Ledger) -> None:
    """Have a node catch up."""
    for height in range(target.head.height + 1, source.ledger.head.height + 1):
        found = source.ledger.block_at(height)
        assert found is not None
        block, certificate = found
        certificate.check(target.network, target.validators_at(height))
        target.commit_block(block, certificate)


# --- going on ---


def test_chain_goes_on_in_the_next_epoch_with_the_documents_validators(chain: TestChain) -> None:
    """The first block has no parent certificate, the document as its only evidence, and the new set votes on it."""
    ledger, document = chain.ledger, signed(draft(chain))
    assert ledger.load_recovery(document) == Loading(Loaded.IN_FORCE, tuple(sorted(GOVERNORS)), 0)
    assert (ledger.epoch, ledger.head.epoch, ledger.recovery) == (1, 0, document)
    assert ledger.validators_at(5) == SURVIVORS
    assert ledger.has_pending()
    first = chain.commit()
    header = first.header
    assert (header.epoch, header.height, header.parent_hash) == (1, 5, document.block_hash)
    assert first.block.evidence == (codec.encode(document),)
    assert header.evidence_root == evidence_root(first.block.evidence)
    assert (first.block.parent_certificate, header.parent_certificate_hash) == (None, NO_HASH)
    assert (header.validators_hash, header.next_validators_hash) == (SURVIVORS.hash, SURVIVORS.hash)
    assert ledger.read(keys.recovered(1), Recovered) == Recovered(
        document.digest(), 5, header.timestamp_ms, tuple(sorted(GOVERNORS))
    )
    assert (ledger.epoch, ledger.recovery) == (1, None)
    second = chain.do("credential.issue", batch(2), signer=UGTO)
    assert (second.header.epoch, second.block.evidence) == (1, ())
    assert second.block.parent_certificate == first.certificate
    assert twin_of(chain).ledger.head == ledger.head


def test_other_nodes_agree_whoever_of_governance_signed_their_copy(chain: TestChain) -> None:
    """Signatures are no part of what is signed: one node's copy may have others."""
    other = twin_of(chain)
    chain.ledger.load_recovery(signed(draft(chain)))
    other.ledger.load_recovery(signed(draft(other), (SEG, UGTO, SDES)))
    block = chain.build()
    other.ledger.validate_block(block)
    other.ledger.commit_block(block, chain.certificate(block))
    assert other.ledger.head == block.header


def test_loading_again_changes_nothing(chain: TestChain) -> None:
    """Before and after the epoch has begun."""
    document = signed(draft(chain))
    chain.ledger.load_recovery(document)
    known = Loading(Loaded.KNOWN, (), 0)
    assert chain.ledger.load_recovery(document) == known
    chain.skip_to(6)
    assert chain.ledger.load_recovery(document) == known
    assert [item.epoch for item in chain.ledger.recoveries()] == [1]


def test_what_waited_for_the_old_epoch_is_gone(chain: TestChain) -> None:
    """A transaction's id and signatures name the epoch: it has to be signed again."""
    waiting = chain.transaction("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    chain.ledger.submit(waiting)
    chain.ledger.load_recovery(signed(draft(chain)))
    assert len(chain.ledger.mempool) == 0
    assert refusal(lambda: chain.ledger.submit(waiting))[0] is Reason.BAD_SIGNATURE
    chain.do("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)


def test_replaced_keys_are_retired_and_new_ones_are_shown(chain: TestChain) -> None:
    """Institutions list the consensus keys in force, as after any other change of the set."""
    chain.ledger.load_recovery(signed(draft(chain)))
    chain.commit()

    def listed(institution: str) -> bool:
        record = chain.ledger.read(keys.accreditation(institution), Institution)
        assert record is not None
        return Key(institution, Purpose.CONSENSUS).key_id in record.keys

    assert [listed(name) for name in (SEG, SDES, COEPES, CONOCER)] == [True] * 4
    assert [listed(name) for name in (UGTO, ITLEON)] == [False] * 2


def test_second_recovery_above_the_same_block_follows_an_epoch_without_blocks(chain: TestChain) -> None:
    """The first document named machines that never came: another one, of the epoch after, takes its place."""
    ledger = chain.ledger
    ledger.load_recovery(signed(draft(chain)))
    others = set_of(SDES, SEG, UGTO, COEPES)
    ledger.load_recovery(signed(draft(chain, validators=others)))
    assert (ledger.epoch, ledger.validators_at(5)) == (2, others)
    assert chain.commit().header.epoch == 2
    chain.skip_to(6)
    standing = follow(ledger, 6)
    assert [item.epoch for item in standing.recoveries] == [1, 2]
    assert standing.validators == others
    assert twin_of(chain).ledger.epoch == 2


# --- light clients ---


def follow(ledger: Ledger, height: int) -> Standing:
    """Follow a ledger's hops from genesis."""
    genesis = ledger.header_at(0)
    assert genesis is not None
    return follow_hops(genesis, ledger.validators_at(1), ledger.hops_to(height), ledger.network.genesis_hash)


def test_bundles_from_before_and_after_lead_from_genesis(chain: TestChain) -> None:
    """A recovery is a hop: last header of the old epoch, the document, the governance keys proven under it."""
    ledger = chain.ledger
    before = credential_proof(ledger, ids_of(1)[0])
    document = signed(draft(chain))
    ledger.load_recovery(document)
    chain.skip_to(6)
    after = credential_proof(ledger, ids_of(1)[0])
    for proof in (before, after):
        verify_headers(proof, chain.network.genesis_hash)
        assert from_json(to_json(proof)) == proof
    assert before.hops == ()
    (hop,) = after.hops
    assert isinstance(hop, RecoveryHop)
    assert (hop.document, hop.header.height) == (document, 4)
    (passed,) = follow(ledger, 6).recoveries
    assert (passed.epoch, passed.height, passed.signers) == (1, 4, tuple(sorted(GOVERNORS)))
    for height in range(1, 7):
        header, certificate = ledger.header_at(height), ledger.certificate_at(height)
        assert header is not None
        assert certificate is not None
        check_header(follow(ledger, height), header, first_quorum(certificate, ledger.validators_at(height)))


def test_forged_recovery_hop_is_refused(chain: TestChain) -> None:
    """Too few signers, another set, another block, a later epoch, other governance keys, an uncertified header."""
    ledger = chain.ledger
    document = signed(draft(chain))
    ledger.load_recovery(document)
    chain.skip_to(6)
    genesis, (hop,) = ledger.header_at(0), ledger.hops_to(6)
    assert genesis is not None
    assert isinstance(hop, RecoveryHop)

    def refused(**changes: object) -> tuple[Reason, str]:
        forged = msgspec.structs.replace(hop, **changes)
        return refusal(lambda: follow_hops(genesis, ledger.validators_at(1), (forged,), chain.network.genesis_hash))

    def with_document(**changes: object) -> RecoveryDocument:
        return signed(msgspec.structs.replace(document, signatures=(), **changes))

    few = signed(draft(chain, epoch=1, height=4), GOVERNORS[:2])
    assert refused(document=few) == (Reason.WRONG_SIGNERS, "2 of 4 governance keys signed, 3 are needed")
    own, other = document.block_hash.hex(), sha256(b"x")
    assert refused(document=with_document(epoch=2)) == (
        Reason.BAD_PROOF,
        f"recovery document for epoch 2 above height 4, block {own}; expected epoch 1 above height 4, block {own}",
    )
    assert refused(document=with_document(block_hash=other)) == (
        Reason.BAD_PROOF,
        (
            f"recovery document for epoch 1 above height 4, block {other.hex()}; "
            f"expected epoch 1 above height 4, block {own}"
        ),
    )
    governance = codec.encode(msgspec.structs.replace(chain.document.governance, threshold=1))
    assert refused(governance=governance)[0] is Reason.BAD_PROOF
    assert refused(certificate=certify(chain.network, SURVIVORS, document.block_hash, 4)) == (
        Reason.BAD_CERTIFICATE,
        f"signature of {ledger.validators_at(4).members[0].institution} is bad",
    )
    earlier = ledger.header_at(3)
    assert refused(header=earlier)[0] is Reason.BAD_CERTIFICATE


def test_old_epoch_header_above_a_recovery_is_refused_by_light_clients(chain: TestChain) -> None:
    """Retired keys may still sign what they like: after the hop only the new set and the new epoch count."""
    ledger = chain.ledger
    twin = twin_of(chain)
    ledger.load_recovery(signed(draft(chain)))
    chain.skip_to(6)
    twin.skip_to(6)
    header, certificate = twin.ledger.head, twin.ledger.head_certificate
    assert certificate is not None
    assert refusal(lambda: check_header(follow(ledger, 6), header, certificate)) == (
        Reason.BAD_PROOF,
        "header of pila-test, epoch 0, height 6; expected pila-test, epoch 1, above 4",
    )


def test_document_may_name_the_key_of_a_change_that_was_under_way() -> None:
    """A key that waited for its turn has never voted; the one that it was to follow may be destroyed already."""
    chain = council()
    new = consensus(UGTO, 1)
    chain.propose(chain.rotation(UGTO, consensus(UGTO), new), UGTO)
    kept = chain.ledger.head.height
    validators = ValidatorSet((*set_of(COEPES, SDES, SEG).members, Validator(UGTO, new.public_key)))
    document = signed(draft(chain, validators=validators))
    stolen = ValidatorSet((Validator(COEPES, new.public_key), *set_of(SDES, SEG, UGTO).members))
    assert refusal(lambda: chain.ledger.load_recovery(signed(draft(chain, validators=stolen)))) == (
        Reason.ALREADY_USED,
        f"{new.public_key.hex()} is or was the consensus key of {UGTO}",
    )
    chain.ledger.load_recovery(document)
    chain.commit()
    assert (chain.ledger.epoch, chain.ledger.head.height) == (1, kept + 1)
    record = chain.ledger.read(keys.key(UGTO, new.key_id), InstitutionKey)
    assert record is not None
    assert (record.purpose, record.retired) == (Purpose.CONSENSUS, None)


# --- refusals ---


def test_documents_for_another_place_are_refused(chain: TestChain) -> None:
    """Another epoch, another block, too few signers, unknown members, used keys; and nothing has changed."""
    ledger = chain.ledger
    ours = ledger.head_hash.hex()
    other = sha256(b"x")
    cases = {
        (Reason.WRONG_EPOCH, "recovery document for epoch 2, epoch 1 is next above height 4"): signed(
            draft(chain, epoch=2)
        ),
        (
            Reason.WRONG_PARENT,
            (
                f"height 4 is {ours} on this node, the document keeps {other.hex()}: move the data away, load the "
                "document, start again"
            ),
        ): signed(msgspec.structs.replace(draft(chain), block_hash=other)),
        (Reason.WRONG_SIGNERS, "2 of 4 governance keys signed, 3 are needed"): signed(draft(chain), GOVERNORS[:2]),
        (Reason.UNKNOWN_INSTITUTION, "the chain does not know zzz.example"): signed(
            draft(chain, validators=set_of(SEG, SDES, UGTO, "zzz.example"))
        ),
        (
            Reason.ALREADY_USED,
            f"{Key(ITLEON, Purpose.CONSENSUS).public_key.hex()} is or was the consensus key of {ITLEON}",
        ): signed(
            draft(
                chain,
                validators=ValidatorSet(
                    (
                        Validator(COEPES, Key(ITLEON, Purpose.CONSENSUS).public_key),
                        *set_of(SDES, SEG, UGTO).members,
                    )
                ),
            )
        ),
    }
    for expected, document in cases.items():
        assert refusal(lambda document=document: ledger.load_recovery(document)) == expected  # type: ignore[misc]
    assert (ledger.epoch, list(ledger.recoveries())) == (0, [])


def test_block_of_the_new_epoch_is_refused_without_its_document(chain: TestChain) -> None:
    """Nodes load the document explicitly: a block alone moves nobody into another epoch."""
    twin = twin_of(chain)
    chain.ledger.load_recovery(signed(draft(chain)))
    assert refusal(lambda: twin.ledger.validate_block(chain.build())) == (Reason.WRONG_EPOCH, "epoch 1, 0 is next")


def test_block_of_the_old_epoch_is_refused_once_the_document_is_loaded(chain: TestChain) -> None:
    """Whatever the old quorum still signs is void."""
    twin = twin_of(chain)
    chain.ledger.load_recovery(signed(draft(chain)))
    assert refusal(lambda: chain.ledger.validate_block(twin.build())) == (Reason.WRONG_EPOCH, "epoch 0, 1 is next")


def with_evidence(block: Block, *evidence: bytes) -> Block:
    """Return a block with other evidence, its root adjusted."""
    header = msgspec.structs.replace(block.header, evidence_root=evidence_root(evidence))
    return msgspec.structs.replace(block, header=header, evidence=evidence)


def test_first_block_carries_exactly_the_document(chain: TestChain) -> None:
    """Not none, not two, no other one, no parent certificate."""
    ledger = chain.ledger
    document = signed(draft(chain))
    parent_certificate = ledger.head_certificate
    ledger.load_recovery(document)
    block = chain.build()
    data = codec.encode(document)
    detail = "evidence: {} items, the first block of an epoch has its recovery document alone"
    assert refusal(lambda: ledger.validate_block(with_evidence(block))) == (Reason.BAD_BLOCK, detail.format(0))
    assert refusal(lambda: ledger.validate_block(with_evidence(block, data, data))) == (
        Reason.BAD_BLOCK,
        detail.format(2),
    )
    assert refusal(lambda: ledger.validate_block(with_evidence(block, b"x")))[0] is Reason.MALFORMED
    few = signed(draft(chain, epoch=1), GOVERNORS[:2])
    assert refusal(lambda: ledger.validate_block(with_evidence(block, codec.encode(few)))) == (
        Reason.WRONG_SIGNERS,
        "2 of 4 governance keys signed, 3 are needed",
    )
    unsigned = draft(chain, epoch=1, reason="another one")
    assert refusal(lambda: ledger.validate_block(with_evidence(block, codec.encode(unsigned)))) == (
        Reason.BAD_BLOCK,
        f"recovery document {unsigned.digest().hex()}, this node follows {document.digest().hex()}",
    )
    assert parent_certificate is not None
    header = msgspec.structs.replace(block.header, parent_certificate_hash=parent_certificate.hash())
    carrying = msgspec.structs.replace(block, header=header, parent_certificate=parent_certificate)
    assert refusal(lambda: ledger.validate_block(carrying)) == (
        Reason.BAD_CERTIFICATE,
        "the first block of an epoch carries none",
    )


def test_two_documents_of_one_epoch_are_fatal(chain: TestChain) -> None:
    """Both signed by governance: the store cannot be opened until people have sorted it out."""
    first, second = signed(draft(chain)), signed(draft(chain, epoch=1, reason="another one"))
    sentence = (
        f"there are two recovery documents of epoch 1: {first.digest().hex()} above height 4 and "
        f"{second.digest().hex()} above height 4; governance must say which one counts, then move the data away, "
        "load that one with `pila recovery apply` and start again"
    )
    chain.ledger.load_recovery(first)
    assert refusal(lambda: chain.ledger.load_recovery(signed(draft(chain, epoch=1, reason="x"), ())))[0] is (
        Reason.WRONG_SIGNERS
    )
    twin_of(chain)
    with pytest.raises(ConfigError) as caught:
        chain.ledger.load_recovery(second)
    assert str(caught.value) == sentence
    with pytest.raises(ConfigError) as caught:
        twin_of(chain)
    assert str(caught.value) == sentence


def test_block_with_a_second_signed_document_is_fatal(chain: TestChain) -> None:
    """A node that follows one of two meets a proposal with the other."""
    other = twin_of(chain)
    chain.ledger.load_recovery(signed(draft(chain)))
    other.ledger.load_recovery(signed(draft(chain, epoch=1, reason="another one")))
    with pytest.raises(ConfigError, match="there are two recovery documents of epoch 1"):
        chain.ledger.validate_block(other.build())
    with pytest.raises(ConfigError, match="there are two recovery documents of epoch 1"):
        twin_of(chain)


# --- kept for later ---


def recovered(chain: TestChain) -> RecoveryDocument:
    """Recover a chain at its head and go on for two blocks."""
    document = signed(draft(chain))
    chain.ledger.load_recovery(document)
    chain.skip_to(document.height + 2)
    return document


def test_new_node_with_the_document_catches_up_across_the_recovery(chain: TestChain) -> None:
    """Loaded at height 0 before the start, judged and in force when its height is reached."""
    document = recovered(chain)
    node = TestChain(chain.document)
    assert node.ledger.load_recovery(document) == Loading(Loaded.KEPT, (), 0)
    node = twin_of(node)
    copy_blocks(chain, node.ledger)
    assert (node.ledger.head, node.ledger.epoch) == (chain.ledger.head, 1)
    assert node.ledger.hops_to(6) == chain.ledger.hops_to(6)
    assert twin_of(node).ledger.find_transaction(first_id(chain)) == chain.ledger.find_transaction(first_id(chain))


def first_id(chain: TestChain) -> bytes:
    """Return the id of the transaction in block 1."""
    receipts = chain.ledger.receipts_at(1)
    assert receipts is not None
    return receipts[0].transaction_id


def test_new_node_without_the_document_stops_below_the_recovery(chain: TestChain) -> None:
    """Up to the last block of the old epoch; the next one is none of its epoch."""
    recovered(chain)
    node = TestChain(chain.document)
    with pytest.raises(Rejected):
        copy_blocks(chain, node.ledger)
    assert node.ledger.head.height == 4


def test_kept_document_pins_its_block(chain: TestChain) -> None:
    """A history that does not lead to the document's block is refused at that height."""
    document = signed(msgspec.structs.replace(draft(chain), block_hash=sha256(b"x")))
    node = TestChain(chain.document)
    node.ledger.load_recovery(document)
    found = chain.ledger.block_at(4)
    assert found is not None
    assert refusal(lambda: copy_blocks(chain, node.ledger)) == (
        Reason.CONTRADICTS_CHECKPOINT,
        f"block 4 is {found[0].hash().hex()}, a checkpoint or recovery document of this node says {sha256(b'x').hex()}",
    )


def test_kept_document_that_is_not_signed_well_stops_the_node_at_its_height(chain: TestChain) -> None:
    """It could not be judged before; from then on the node cannot be started with it."""
    document = signed(draft(chain), GOVERNORS[:2])
    node = TestChain(chain.document)
    node.ledger.load_recovery(document)
    with pytest.raises(ConfigError) as caught:
        copy_blocks(chain, node.ledger)
    sentence = (
        "the recovery document of epoch 1 in this node's store is refused now that its height 4 is reached "
        "(wrong_signers: 2 of 4 governance keys signed, 3 are needed); get the right one, move the data away, load it "
        "with `pila recovery apply` and start again"
    )
    assert str(caught.value) == sentence
    with pytest.raises(ConfigError) as caught:
        twin_of(node)
    assert str(caught.value) == sentence


def test_second_document_kept_for_one_epoch_and_one_of_a_past_epoch_are_refused(chain: TestChain) -> None:
    """Which of two is the right one cannot be told below their height."""
    document = recovered(chain)
    node = TestChain(chain.document)
    node.ledger.load_recovery(document)
    second = signed(msgspec.structs.replace(document, reason="another one", signatures=()))
    reason, detail = refusal(lambda: node.ledger.load_recovery(second))
    assert (reason, detail.partition(":")[0]) == (
        Reason.ALREADY_EXISTS,
        "there are two recovery documents of epoch 1",
    )
    late = signed(msgspec.structs.replace(draft(chain, epoch=1), height=9))
    twin = TestChain(chain.document)
    twin.ledger.load_recovery(document)
    copy_blocks(chain, twin.ledger)
    assert refusal(lambda: twin.ledger.load_recovery(late))[0] is Reason.ALREADY_EXISTS


# --- taking back ---


def test_blocks_above_are_taken_back_only_when_that_is_said(chain: TestChain) -> None:
    """The head, the state, the indexes and what was issued since are as they were; then the epoch begins."""
    document = signed(draft(chain))
    as_it_was = twin_of(chain)
    chain.do("credential.issue", batch(2), signer=UGTO)
    chain.do("definition.publish", DefinitionPublish(definition(f"{UGTO}/otra/1")), signer=UGTO)
    chain.skip_to(8)
    ledger = chain.ledger
    assert refusal(lambda: ledger.load_recovery(document)) == (
        Reason.WRONG_HEIGHT,
        (
            "this node's head is at height 8, the document keeps height 4: 4 blocks that were decided would be taken "
            "back; say --discard-above if that is agreed"
        ),
    )
    assert ledger.load_recovery(document, discard_above=True) == Loading(Loaded.IN_FORCE, tuple(sorted(GOVERNORS)), 4)
    back = twin_of(chain)
    assert (back.ledger.head, back.ledger.epoch) == (as_it_was.ledger.head, 1)
    assert back.ledger.state.root == as_it_was.ledger.state.root
    assert list(back.ledger.definitions()) == [DEFINITION]
    assert back.ledger.find_credential(ids_of(2)[0]) is None
    assert back.ledger.find_credential(ids_of(1)[0]) == as_it_was.ledger.find_credential(ids_of(1)[0])
    as_it_was.ledger.load_recovery(document)
    assert contents(twin_of(as_it_was)) == contents(back)
    issued = back.do("credential.issue", batch(2), signer=UGTO)
    assert (issued.header.epoch, issued.header.height) == (1, 5)
    assert back.ledger.hops_to(6) == (*as_it_was.ledger.hops_to(5),)


def contents(chain: TestChain) -> dict[bytes, bytes]:
    """Return everything in a store but the certificate of the head, of which each node has its own."""
    skipped = (Column.CERTIFICATE.at(chain.ledger.head.height),)
    return {key: value for key, value in chain.store.iterate() if key not in skipped}


def test_nothing_is_taken_back_below_what_can_be_undone(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old state cannot be made again: the data have to be fetched anew."""
    monkeypatch.setattr("node.state.history.UNDO_HEIGHTS_MAX", 3)
    document = signed(draft(chain))
    chain.skip_to(9)
    before = contents(chain)
    reason, detail = refusal(lambda: chain.ledger.load_recovery(document, discard_above=True))
    assert reason is Reason.NOT_FOUND
    assert detail.startswith("height 4 lies too far below the head to go back to it (")
    assert detail.endswith("): move the data away, load the document, start again")
    assert contents(chain) == before


def test_certificate_of_the_old_epoch_commits_nothing_in_the_new_one(chain: TestChain) -> None:
    """Evidence with an unbound context: the old set's quorum over the very block of the new epoch."""
    chain.ledger.load_recovery(signed(draft(chain, validators=set_of(SDES, SEG, UGTO, ITLEON))))
    block = chain.build()
    old: Certificate = chain.certificate(block, epoch=0)
    assert refusal(lambda: chain.ledger.commit_block(block, old)) == (
        Reason.BAD_CERTIFICATE,
        "epoch 0, the block has 1",
    )
    relabelled = msgspec.structs.replace(old, epoch=1)
    with pytest.raises(Rejected) as caught:
        relabelled.check(chain.network, chain.ledger.validators_at(5))
    assert (caught.value.reason, caught.value.detail) == (
        Reason.BAD_CERTIFICATE,
        f"signature of {ITLEON} is bad",
    )


def test_changes_that_were_planned_are_dropped(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Governance's plans were about the set that is gone."""
    cleared: list[int] = []

    def clear_changes(_state: object, height: int) -> tuple[()]:
        cleared.append(height)
        return ()

    monkeypatch.setattr("node.chain.epoch.clear_changes", clear_changes)
    chain.ledger.load_recovery(signed(draft(chain)))
    chain.build()
    assert cleared == [5]


def test_frame_of_the_first_block_has_no_parent_certificate(chain: TestChain) -> None:
    """So nobody is blamed for the view in which the old set decided."""
    chain.ledger.load_recovery(signed(draft(chain)))
    frame: Frame = chain.ledger._frame_to_build(chain.next_time_ms)
    assert (frame.parent_certificate, frame.offences, frame.epoch) == (None, (), 1)
