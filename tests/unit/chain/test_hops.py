"""The hops of a real chain: kept when a set has changed, carried by proofs, followed from genesis alone."""

from collections.abc import Mapping

import pytest

from node import codec
from node.chain import execution
from node.chain.frame import Frame
from node.chain.hops import FIRST_EPOCH, HandOver, HopStore, Standing, check_header, first_quorum, follow_hops
from node.chain.ledger import Ledger
from node.chain.proof import credential_proof, verify_headers
from node.chain.proof_json import from_json, to_json
from node.chain.records.institution import Purpose
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected, StorageError
from node.limits import HAND_OVERS_PER_PROOF_MAX
from node.primitives import Height
from node.state import keys
from node.state.keys import Column
from node.state.kv import MemoryStore, WriteBatch
from node.state.world_state import WorldState
from tests.unit.chain.kit import COEPES, ITLEON, SDES, SEG, UGTO, Key, TestChain, definition

DEFINITION = f"{UGTO}/pespunte/1"
IDS = [sha256(bytes([number])) for number in range(5)]
BATCH = CredentialIssue(DEFINITION, merkle.root(IDS), len(IDS), b"".join(IDS))


def set_of(*institutions: str) -> ValidatorSet:
    """Return the set of these institutions, ascending."""
    return ValidatorSet(tuple(Validator(id_, Key(id_, Purpose.CONSENSUS).public_key) for id_ in sorted(institutions)))


FIVE = set_of(ITLEON, SDES, SEG, UGTO, COEPES)
OTHERS = set_of(SDES, SEG, UGTO, COEPES)
CHANGES: Mapping[Height, ValidatorSet] = {3: FIVE, 5: OTHERS}


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> TestChain:
    """Return a chain at height 7 whose set changes behind heights 3 and 5, with a credential from height 2."""
    settled = execution.end_block

    def end_block(state: WorldState, frame: Frame) -> tuple[execution.Event, ...]:
        events = settled(state, frame)
        if frame.height in CHANGES:
            state.put(keys.VALIDATOR_SET, CHANGES[frame.height])
        return events

    monkeypatch.setattr(execution, "end_block", end_block)
    chain = TestChain()
    chain.do("definition.publish", DefinitionPublish(definition(DEFINITION)), signer=UGTO)
    chain.do("credential.issue", BATCH, signer=UGTO)
    chain.skip_to(7)
    return chain


def standing_at(ledger: Ledger, height: Height) -> Standing:
    """Follow a ledger's hops from genesis."""
    genesis = ledger.header_at(0)
    assert genesis is not None
    return follow_hops(genesis, ledger.validators_at(1), ledger.hops_to(height), ledger.network.genesis_hash)


def test_chain_keeps_a_hop_for_each_change_of_the_set(chain: TestChain) -> None:
    """The header that commits to the new set, a quorum of the old one, the new set; each in the block above it."""
    ledger = chain.ledger
    expected = []
    for height, following in CHANGES.items():
        header, certificate = ledger.header_at(height), ledger.certificate_at(height)
        assert header is not None
        assert certificate is not None
        expected.append(HandOver(header, first_quorum(certificate, ledger.validators_at(height)), following))
    assert ledger.hops_to(7) == tuple(expected)
    assert ledger.hops_to(6) == tuple(expected)
    assert ledger.hops_to(5) == ledger.hops_to(4) == tuple(expected[:1])
    assert ledger.hops_to(3) == ()


def test_hops_lead_to_every_header(chain: TestChain) -> None:
    """From the genesis hash alone: who votes on each height, and each header under its certificate."""
    for height in range(1, 8):
        standing = standing_at(chain.ledger, height)
        assert standing.validators == chain.ledger.validators_at(height)
        assert standing.epoch == FIRST_EPOCH
        header, certificate = chain.ledger.header_at(height), chain.ledger.certificate_at(height)
        assert header is not None
        assert certificate is not None
        check_header(standing, header, first_quorum(certificate, standing.validators))


@pytest.mark.parametrize("height,hops", [(2, 0), (3, 0), (4, 1), (5, 1), (6, 2), (7, 2)])
def test_bundle_of_any_height_carries_its_hops(chain: TestChain, height: Height, hops: int) -> None:
    """The chain part that a node answers leads from genesis to its header, in JSON too."""
    proof = credential_proof(chain.ledger, IDS[2], height=height)
    assert len(proof.hops) == hops
    trusted = verify_headers(proof, chain.network.genesis_hash)
    assert (trusted.header.height, trusted.validators) == (height, chain.ledger.validators_at(height))
    assert from_json(to_json(proof)) == proof


def test_hops_are_there_again_after_a_restart(chain: TestChain) -> None:
    """They are written in the block's own batch."""
    assert isinstance(chain.store, MemoryStore)
    assert Ledger.open(chain.store.copy(), chain.document).hops_to(7) == chain.ledger.hops_to(7)


def test_more_hops_than_a_proof_has_are_refused(chain: TestChain) -> None:
    """By the verifier before it checks one of them, and by the node that would make such a proof."""
    genesis = chain.ledger.header_at(0)
    assert genesis is not None
    hops = chain.ledger.hops_to(4) * (HAND_OVERS_PER_PROOF_MAX + 1)
    with pytest.raises(Rejected) as caught:
        follow_hops(genesis, chain.ledger.validators_at(1), hops, None)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.LIMIT_EXCEEDED,
        "1025 hops, at most 1024 are followed",
    )
    batch = WriteBatch()
    for height in range(HAND_OVERS_PER_PROOF_MAX):
        batch.put(Column.HOP.at(height + 8), chain.store.get(Column.HOP.at(3, bytes(4))) or b"")
    chain.store.write(batch, sync=True)
    with pytest.raises(Rejected) as caught:
        chain.ledger.hops_to(2_000)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.LIMIT_EXCEEDED,
        "more than 1024 changes of the validator set",
    )


def test_damaged_hop_is_the_disks_fault(chain: TestChain) -> None:
    """Own bytes that cannot be read stop the node."""
    batch = WriteBatch()
    batch.put(Column.HOP.at(5, bytes(4)), codec.encode((1, 2)))
    chain.store.write(batch, sync=True)
    with pytest.raises(StorageError, match="the hop at height 5 cannot be read: malformed: StoredHop: "):
        tuple(HopStore(chain.store).below(7))
