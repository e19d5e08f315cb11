"""What a node does for its key beside signing: opening it, knowing an old copy, wiping what was replaced."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from node.chain.certificate import Certificate, Network, Phase, VoteSignature
from node.chain.validator_set import Validator, ValidatorSet
from node.config import FRESH_KEY_FILE, RESTORED_FILE, Config, NodeConfig, SignerConfig
from node.consensus.messages import UNSIGNED, Commit
from node.crypto.signing import Algorithm, Ed25519Signer
from node.custody import Custody, KeyPlace, mark_restored, open_member
from node.errors import ConfigError
from node.keystore import Keystore, KeystoreKind
from node.replica import Member
from node.replica_view import ReplicaView
from node.signer.contract import SignerUnreachable
from node.signer.local import HeldKeys, LocalSigner
from node.state.kv import MemoryStore

ME = "v0.example"
NETWORK = Network("chain", bytes(32))
OLD, NEW = Ed25519Signer(b"o" * 32), Ed25519Signer(b"n" * 32)
KEYSTORE = Keystore.new(
    KeystoreKind.NODE,
    ME,
    {"consensus": (Algorithm.ED25519,), "node": (Algorithm.ED25519,)},
    entropy=bytes(range(64)),
)


def place(folder: Path, **options: object) -> KeyPlace:
    """Return a home with an empty data folder."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "keys").mkdir(exist_ok=True)
    config = Config(NodeConfig(ME), signer=SignerConfig(**options))
    return KeyPlace(folder, config, KEYSTORE)


def sets(*keys: Ed25519Signer) -> ValidatorSet:
    """Return a set of two in which we hold the first key."""
    return ValidatorSet((Validator(ME, keys[0].public_key), Validator("v1.example", bytes(32))))


class Chain:
    """What custody asks of a ledger: sets by height and the head's certificate."""

    def __init__(self, *by_height: ValidatorSet) -> None:
        self.by_height = by_height
        self.head_certificate: Certificate | None = None

    def validators_at(self, height: int) -> ValidatorSet:
        return self.by_height[min(height, len(self.by_height) - 1)]


def certificate(height: int, *signers: int, view: int = 0) -> Certificate:
    """Return a commit certificate; nobody looks at its signatures here."""
    votes = tuple(VoteSignature(index, UNSIGNED) for index in signers)
    return Certificate(1, int(Phase.COMMIT), 0, height, view, b"h" * 32, votes)


def committed(height: int, *signers: int, view: int = 0) -> SimpleNamespace:
    """Return what the ledger says of a block."""
    return SimpleNamespace(header=SimpleNamespace(height=height), certificate=certificate(height, *signers, view=view))


def custody(folder: Path, chain: Chain, signer: LocalSigner, *, was_restored: bool = False) -> Custody:
    """Return the custody of a key over a home."""
    (folder / "data").mkdir(exist_ok=True)
    return Custody(folder, ME, chain, Member(signer, SimpleNamespace(), b"", was_restored))


def signer_at(height: int, *keys: Ed25519Signer, signs: Ed25519Signer | None = None) -> LocalSigner:
    """Return a signer whose last word is its Commit of view 0 at a height."""
    made = LocalSigner(HeldKeys(*(keys or (OLD,))), NETWORK, MemoryStore())
    if height:
        made.choose((signs or OLD).public_key)
        made.sign(Commit(0, height, 0, b"h" * 32, 0, UNSIGNED))
    return made


SENTENCE = (
    "block 9 carries a Commit of this validator that its signer's record does not know (it ends at (0, 8, 0, 3)): the "
    "data or the signer's record is an older copy, and signing with it could make a double vote. It is marked as such "
    "(data/restored): start again, and the node listens before it signs"
)


def test_a_block_with_a_commit_of_ours_that_is_not_recorded_shows_an_old_copy(tmp_path: Path) -> None:
    """It stops with a sentence, and the home is marked so that the next start listens."""
    kept = custody(tmp_path, Chain(sets(OLD)), signer_at(8))
    kept.committed(committed(8, 0, 1), is_listening=False)
    kept.committed(committed(9, 1), is_listening=False)  # decided without us
    assert not (tmp_path / RESTORED_FILE).exists()
    with pytest.raises(ConfigError) as error:
        kept.committed(committed(9, 0, 1), is_listening=False)
    assert str(error.value) == SENTENCE
    assert (tmp_path / RESTORED_FILE).exists()


def test_a_later_view_than_the_recorded_one_shows_it_too(tmp_path: Path) -> None:
    """The record ends at view 0 of the height, the certificate is of view 1."""
    kept = custody(tmp_path, Chain(sets(OLD)), signer_at(9))
    with pytest.raises(ConfigError):
        kept.committed(committed(9, 0, 1, view=1), is_listening=False)


def test_a_listener_is_not_surprised(tmp_path: Path) -> None:
    """It knows that it does not know what it signed."""
    kept = custody(tmp_path, Chain(sets(OLD)), signer_at(0))
    kept.committed(committed(9, 0, 1), is_listening=True)
    kept.check_start(is_listening=True)


def test_at_the_start_the_head_is_compared_with_the_record(tmp_path: Path) -> None:
    """An empty record is let go: operators of a network of listeners begin theirs anew at the same head."""
    chain = Chain(sets(OLD))
    custody(tmp_path, chain, signer_at(8)).check_start(is_listening=False)  # at height 0 there is none
    chain.head_certificate = certificate(9, 0, 1)
    custody(tmp_path, chain, signer_at(0)).check_start(is_listening=False)
    custody(tmp_path, chain, signer_at(9)).check_start(is_listening=False)
    with pytest.raises(ConfigError) as error:
        custody(tmp_path, chain, signer_at(8)).check_start(is_listening=False)
    assert str(error.value) == SENTENCE


def test_a_replaced_key_is_destroyed_when_the_new_one_has_decided_and_signed(tmp_path: Path) -> None:
    """Not while the set still names the old one, not in the last block under it, not before the new one signed."""
    chain = Chain(sets(OLD), sets(OLD), sets(OLD), sets(NEW), sets(NEW))
    signer = signer_at(2, OLD, NEW)
    kept = custody(tmp_path, chain, signer)
    for height in (1, 2, 3):  # 2 is the last under the old one; at 3 the record's last word is still the old one's
        kept.committed(committed(height, 1), is_listening=False)
        assert signer.public_keys == (OLD.public_key, NEW.public_key)
    signer.choose(NEW.public_key)
    signer.sign(Commit(0, 3, 0, b"h" * 32, 0, UNSIGNED))
    kept.committed(committed(3, 0, 1), is_listening=False)
    assert signer.public_keys == (NEW.public_key,)


def test_a_staged_key_stays_while_the_old_one_is_in_force(tmp_path: Path) -> None:
    """Only what is older than the key in force goes."""
    signer = signer_at(2, OLD, NEW)
    custody(tmp_path, Chain(sets(OLD)), signer).committed(committed(2, 0), is_listening=False)
    assert signer.public_keys == (OLD.public_key, NEW.public_key)


@pytest.mark.parametrize("error", [ConfigError("read-only"), SignerUnreachable("away")])
def test_a_key_that_cannot_be_wiped_neither_stops_nor_slows_the_validator(tmp_path: Path, error: Exception) -> None:
    """A keystore on a read-only disk: it goes on, says so, and tries again a hundred blocks later."""
    tries: list[bytes] = []

    def wipe(public_key: bytes) -> None:
        tries.append(public_key)
        raise error

    signer = LocalSigner(HeldKeys(OLD, NEW, wipe=wipe), NETWORK, MemoryStore())
    signer.choose(NEW.public_key)
    signer.sign(Commit(0, 999, 0, b"h" * 32, 0, UNSIGNED))
    kept = custody(tmp_path, Chain(sets(NEW)), signer)
    for height in range(3, 104):
        kept.committed(committed(height, 1), is_listening=False)
    assert tries == [OLD.public_key] * 2
    assert signer.public_keys == (OLD.public_key, NEW.public_key)


def test_the_mark_goes_when_the_validator_signs(tmp_path: Path) -> None:
    """And not while it listens."""
    kept = custody(tmp_path, Chain(sets(OLD)), signer_at(0), was_restored=True)
    mark_restored(tmp_path)
    view = ReplicaView(1, 0, 0, ME, False, True, False, None, (), (), (), (), 3, 1_000)
    kept.tick(view)
    assert (tmp_path / RESTORED_FILE).exists()
    kept.tick(dataclasses.replace(view, may_sign=True))
    assert not (tmp_path / RESTORED_FILE).exists()
    kept.tick(dataclasses.replace(view, may_sign=True, signer_problem="away"))


def test_fresh_keys_begin_their_journal_at_once(tmp_path: Path) -> None:
    """The statement is used up; a restored home's is not believed."""
    home = place(tmp_path)
    (tmp_path / FRESH_KEY_FILE).touch()
    member = open_member(home, NETWORK, MemoryStore(), MemoryStore())
    assert member is not None
    assert (member.journal.is_begun, member.was_restored) == (True, False)
    assert not (tmp_path / FRESH_KEY_FILE).exists()
    (tmp_path / FRESH_KEY_FILE).touch()
    mark_restored(tmp_path)
    member = open_member(home, NETWORK, MemoryStore(), MemoryStore())
    assert member is not None
    assert (member.journal.is_begun, member.was_restored) == (False, True)
    assert not (tmp_path / FRESH_KEY_FILE).exists()


def test_who_only_follows_holds_no_key(tmp_path: Path) -> None:
    """No consensus key in the keystore, or told not to validate."""
    home = place(tmp_path)
    silent = dataclasses.replace(home, config=msgspec.structs.replace(home.config, node=NodeConfig(ME, validate=False)))
    assert open_member(silent, NETWORK, MemoryStore(), MemoryStore()) is None
    without = dataclasses.replace(home, keystore=KEYSTORE.only("node"))
    assert open_member(without, NETWORK, MemoryStore(), MemoryStore()) is None


def test_a_socket_without_a_process_is_said(tmp_path: Path) -> None:
    """The path is relative to the home."""
    with pytest.raises(ConfigError) as error:
        open_member(place(tmp_path, kind="socket"), NETWORK, MemoryStore(), None)
    assert str(error.value).startswith(f"the signer at {tmp_path / 'signer.sock'} does not answer (")
