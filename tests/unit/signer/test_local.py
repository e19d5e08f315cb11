"""The signer's own rule: forwards only, and never two things at one place."""

import msgspec
import pytest

from node.chain.certificate import Phase
from node.chain.statements import Prepare
from node.consensus.messages import UNSIGNED, Status, signing_digest
from node.crypto.signing import Algorithm, Ed25519Signer, verify
from node.errors import StorageError
from node.signer.contract import SigningRefused
from node.signer.local import STEP_OF_COMMIT, HeldKeys, LocalSigner
from node.signer.record import SigningRecord
from node.state.kv import MemoryStore, WriteBatch
from tests.unit.consensus.desk import Desk

DESK = Desk()
KEY = Ed25519Signer(b"k" * 32)
BLOCK = DESK.block()


def signer(store: MemoryStore) -> LocalSigner:
    """Return the signer of the test key over a store."""
    return LocalSigner(HeldKeys(KEY), DESK.network, store)


def in_order() -> list:
    """Everything one validator may sign at height 1, in the order of the protocol."""
    h = BLOCK.hash()
    return [
        DESK.proposal(BLOCK),
        DESK.prepare(0, 0, h),
        DESK.commit(0, 0, h),
        DESK.view_change(0, 1, DESK.certificate(Phase.PREPARE, 0, h)),
        DESK.new_view(1, BLOCK, []),
        DESK.prepare(0, 1, h),
        DESK.commit(0, 1, h),
        DESK.view_change(0, 4, DESK.certificate(Phase.PREPARE, 1, h)),
    ]


def test_signs_in_the_order_of_the_protocol_and_verifies() -> None:
    """Proposal, Prepare, Commit, ViewChange → 1, NewView, …: each is accepted by the network's rule."""
    used = signer(MemoryStore())
    for message in in_order():
        signature = used.sign(message)
        part = message if isinstance(message, Prepare) or not hasattr(message, "head") else message.head
        assert verify(Algorithm.ED25519, KEY.public_key, signing_digest(DESK.network, part), signature)


def test_repeats_byte_for_byte_after_a_restart() -> None:
    """The record of the latest height outlives the process."""
    store = MemoryStore()
    first = [signer(store).sign(message) for message in in_order()]
    assert [signer(store.copy()).sign(message) for message in in_order()] == first


@pytest.mark.parametrize("place", range(8))
def test_refuses_another_thing_at_the_same_place(place: int) -> None:
    """Also after a restart, for each kind of message."""
    store = MemoryStore()
    message = in_order()[place]
    signer(store).sign(message)
    other = Desk(head_age_ms=5_000)
    h = other.block(0, b"other").hash()
    contradiction = [
        other.proposal(other.block(0, b"other")),
        other.prepare(0, 0, h),
        other.commit(0, 0, h),
        DESK.view_change(0, 1),
        other.new_view(1, other.block(0, b"other"), []),
        other.prepare(0, 1, h),
        other.commit(0, 1, h),
        DESK.view_change(0, 4),
    ][place]
    with pytest.raises(SigningRefused):
        signer(store).sign(contradiction)
    assert signer(store).sign(message) == signer(MemoryStore()).sign(message)


@pytest.mark.parametrize("claimed", ["nothing", "a_lower_view", "another_block"])
def test_refuses_a_view_change_that_denies_its_commit(claimed: str) -> None:
    """[E2] A journal that lost its end does not make the key break a promise: the record remembers it."""
    store = MemoryStore()
    h, other = BLOCK.hash(), DESK.block(0, b"other").hash()
    used = signer(store)
    used.sign(DESK.commit(0, 0, h))
    used.sign(DESK.commit(0, 1, h))
    claim = {
        "nothing": None,
        "a_lower_view": DESK.certificate(Phase.PREPARE, 0, h),
        "another_block": DESK.certificate(Phase.PREPARE, 1, other),
    }[claimed]
    with pytest.raises(SigningRefused) as refusal:
        signer(store).sign(DESK.view_change(0, 2, claim))
    assert str(refusal.value) == "(0, 1, 2, 0) denies the Commit that was signed in view 1"
    for kept in ((1, h), (2, other)):
        honest = DESK.view_change(0, 3, DESK.certificate(Phase.PREPARE, *kept))
        assert signer(store.copy()).sign(honest)


def test_refuses_a_view_change_that_denies_a_commit_of_which_only_the_place_is_known() -> None:
    """A restored record knows no statement, but in which view it was made."""
    store = MemoryStore()
    SigningRecord(store).append((0, 1, 1, STEP_OF_COMMIT), None)
    with pytest.raises(SigningRefused) as refusal:
        signer(store).sign(DESK.view_change(0, 2))
    assert str(refusal.value) == "(0, 1, 2, 0) denies the Commit that was signed in view 1"
    assert signer(store).sign(DESK.view_change(0, 2, DESK.certificate(Phase.PREPARE, 1, BLOCK.hash())))


def test_refuses_to_go_back() -> None:
    """After ViewChange → 1 nothing of view 0 that was not signed before; after height 2 nothing of height 1."""
    used = signer(MemoryStore())
    used.sign(DESK.view_change(0, 1))
    with pytest.raises(SigningRefused) as refusal:
        used.sign(DESK.commit(0, 0, BLOCK.hash()))
    assert str(refusal.value) == "(0, 1, 0, 3) lies before (0, 1, 1, 0), which was signed"
    used.sign(msgspec.structs.replace(DESK.prepare(0, 0, BLOCK.hash()), height=2))
    with pytest.raises(SigningRefused):
        used.sign(DESK.view_change(0, 1))
    assert used.last_position == (0, 2, 0, 2)


def test_writes_before_it_hands_out_the_signature() -> None:
    """When the disk fails there is no signature."""

    class FullDisk(MemoryStore):
        def write(self, batch: WriteBatch, *, sync: bool) -> None:
            assert sync
            raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        signer(FullDisk()).sign(DESK.prepare(0, 0, BLOCK.hash()))


def test_status_is_signed_without_a_record() -> None:
    """It binds nobody."""
    used = signer(MemoryStore())
    status = Status(0, 1, 0, 0, False, b"", b"", b"", b"", None, 0, UNSIGNED)
    assert verify(Algorithm.ED25519, KEY.public_key, signing_digest(DESK.network, status), used.sign_status(status))
    assert used.last_position is None


def test_damaged_record_stops_the_validator() -> None:
    """Better no validator than one that forgets."""
    store = MemoryStore()
    signer(store).sign(DESK.prepare(0, 0, BLOCK.hash()))
    ((key, _),) = store.iterate()
    batch = WriteBatch()
    batch.put(key, b"short")
    store.write(batch, sync=True)
    with pytest.raises(StorageError) as error:
        signer(store)
    assert "is damaged: 5 bytes instead of 96" in str(error.value)
