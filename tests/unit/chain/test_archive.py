"""What is committed, for those who only look: places, lists, headers and proofs."""

import msgspec
import pytest

from node.chain.answers import CredentialPath, LocatedCredential
from node.chain.proof import credential_proof
from node.chain.records.credential import batch_id
from node.chain.records.institution import Institution
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.rules.institutions import Suspend
from node.chain.rules.keys import KeyAdd, KeyCompromise
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason
from node.state import keys
from node.state.proof import ExistenceProof, verify_exist, verify_nonexist
from tests.unit.chain.kit import (
    CONOCER,
    ITLEON,
    SDES,
    SEG,
    UGTO,
    TestChain,
    definition,
    recovery_key,
    refusal,
    transaction_key,
)

DEFINITION = f"{UGTO}/pespunte/1"
IDS = [sha256(bytes([number])) for number in range(5)]
BATCH = CredentialIssue(DEFINITION, merkle.root(IDS), len(IDS), b"".join(IDS))
OTHER = sha256(b"other")


@pytest.fixture
def chain() -> TestChain:
    """Return a network at height 2 with one batch of five credentials."""
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    chain.do("credential.issue", BATCH, signer=UGTO)
    return chain


def test_credential_is_found_with_its_path(chain: TestChain) -> None:
    """Block, batch and the path to the root."""
    the_id = batch_id(UGTO, DEFINITION, BATCH.root, 5)
    for index, credential_id in enumerate(IDS):
        assert chain.ledger.find_credential(credential_id) == LocatedCredential(2, 0, index, the_id, UGTO, DEFINITION)
        found = chain.ledger.credential_path(credential_id)
        assert found == CredentialPath(index, 5, merkle.path(IDS, index), BATCH.root)
        assert merkle.root_from_path(credential_id, index, 5, found.path) == BATCH.root
    assert chain.ledger.find_credential(OTHER) is None
    assert chain.ledger.credential_path(OTHER) is None


def test_credential_id_that_a_second_batch_repeats_stays_where_it_was(chain: TestChain) -> None:
    """The index is never overwritten: nobody takes over another's credential."""
    copied = [IDS[0], OTHER]
    payload = CredentialIssue(DEFINITION, merkle.root(copied), 2, b"".join(copied))
    chain.do("credential.issue", payload, signer=UGTO)
    found = chain.ledger.find_credential(IDS[0])
    assert found is not None
    assert (found.height, found.leaf_index) == (2, 0)


def test_credential_id_that_another_institution_issued_first_is_found_at_its_issuers() -> None:
    """Ids are public before they are in a block: who copies them cannot stand between a learner and the bundle."""
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(f"{ITLEON}/copia/1")), signer=ITLEON)
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    copied = CredentialIssue(f"{ITLEON}/copia/1", merkle.root(IDS[:3]), 3, b"".join(IDS[:3]))
    chain.do("credential.issue", copied, signer=ITLEON)
    chain.do("credential.issue", BATCH, signer=UGTO)
    for issuer, height, count in ((ITLEON, 3, 3), (UGTO, 4, 5), (None, 3, 3)):
        found = chain.ledger.find_credential(IDS[1], issuer)
        assert found is not None
        assert (found.height, found.issuer) == (height, issuer or ITLEON)
        path = chain.ledger.credential_path(IDS[1], issuer)
        assert path is not None
        assert (path.leaf_index, path.count) == (1, count)
    assert chain.ledger.find_credential(IDS[1], SEG) is None
    assert credential_proof(chain.ledger, IDS[1], issuer=UGTO).batch.batch_id == batch_id(
        UGTO, DEFINITION, BATCH.root, 5
    )


def test_credential_issued_anew_after_a_theft_is_found_in_the_good_batch(chain: TestChain) -> None:
    """The first batch is void once its key is declared bad; the same ids in another order make another batch."""
    declared = KeyCompromise(UGTO, transaction_key(UGTO).key_id, 1)
    chain.do("key.compromise", declared, signer=UGTO, by=[recovery_key(UGTO)])
    found = chain.ledger.find_credential(IDS[0])
    assert found is not None
    assert found.height == 2
    new = transaction_key(UGTO, 7)
    chain.do("key.add", KeyAdd(UGTO, new.new), signer=UGTO, by=[recovery_key(UGTO), new])
    anew = IDS[::-1]
    payload = CredentialIssue(DEFINITION, merkle.root(anew), 5, b"".join(anew))
    chain.do("credential.issue", payload, signer=UGTO, by=[transaction_key(UGTO, 7)])
    found = chain.ledger.find_credential(IDS[0])
    assert found is not None
    assert (found.height, found.leaf_index) == (5, 4)


def test_lists_are_in_order_and_can_be_continued(chain: TestChain) -> None:
    """Institutions and definitions by id, from anywhere."""
    everybody = sorted(["coepes.example", CONOCER, ITLEON, SDES, SEG, UGTO])
    assert list(chain.ledger.institutions()) == everybody
    assert list(chain.ledger.institutions(after=ITLEON)) == everybody[everybody.index(ITLEON) + 1 :]
    assert list(chain.ledger.definitions()) == [DEFINITION]
    assert list(chain.ledger.pathways()) == []


def test_headers_blocks_and_validators_are_found(chain: TestChain) -> None:
    """By height and by hash, up to the head; block 0 has no certificate."""
    ledger = chain.ledger
    for height in range(3):
        header = ledger.header_at(height)
        assert header is not None
        assert (header.height, ledger.header_by_hash(header.hash())) == (height, header)
        assert ledger.validators_at(height) == chain.document.validator_set()
    assert ledger.validators_at(3) == chain.document.validator_set()
    assert refusal(lambda: ledger.validators_at(4)) == (Reason.NOT_FOUND, "no block at height 4; the head is 2")
    assert ledger.header_at(3) is None
    assert ledger.header_by_hash(OTHER) is None
    assert ledger.block_at(0) is None
    assert ledger.block_at(3) is None
    found = ledger.block_at(1)
    assert found is not None
    found[1].check(chain.network, ledger.validators_at(1))
    assert found[1].block_hash == found[0].hash()


def test_records_and_their_absence_are_proven_at_head_and_below(chain: TestChain) -> None:
    """Under the root of the header that the answer names."""
    chain.do("institution.suspend", Suspend(CONOCER, "audit"), signer=SEG)
    for height, steps in ((None, 2), (2, 1)):
        proven = chain.ledger.prove(keys.accreditation(CONOCER), height)
        header = chain.ledger.header_at(proven.height)
        assert header is not None
        assert proven.state_root == header.state_root
        assert isinstance(proven.proof, ExistenceProof)
        assert proven.value is not None
        verify_exist(proven.state_root, proven.plain_key, proven.value, proven.proof)
        assert len(msgspec.msgpack.decode(proven.value, type=Institution).history) == steps
    absent = chain.ledger.prove("acc/nobody.example")
    assert absent.value is None
    assert not isinstance(absent.proof, ExistenceProof)
    verify_nonexist(absent.state_root, absent.plain_key, absent.proof)


def test_what_was_committed_is_counted(chain: TestChain) -> None:
    """For metrics and subscribers."""
    twin = TestChain(chain.document)
    committed = []
    for height in (1, 2):
        found = chain.ledger.block_at(height)
        assert found is not None
        committed.append(twin.ledger.commit_block(*found))
    assert [(item.credentials_issued, item.credentials_revoked) for item in committed] == [(0, 0), (5, 0)]
