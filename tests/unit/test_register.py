"""The issue register: what is written is found again, nothing readable lies in the file, nobody stands in it twice."""

from pathlib import Path

import pytest

from node.documents.credential import PreparedCredential
from node.errors import Reason, Rejected, StorageError
from node.register import FILE_NAME, BatchState, NewCredential, Register
from tests.unit.documents.small_chain import UGTO, SmallChain, counting_entropy, person

KEY = bytes(range(32))
DEFINITION = f"{UGTO}/primer-empleo/1"


def opened(folder: Path, key: bytes = KEY, name: str = "register") -> Register:
    """Open a register with repeatable randomness."""
    return Register.open(folder, key, entropy=counting_entropy(name))


@pytest.fixture(name="credential", scope="module")
def prepared_credential() -> PreparedCredential:
    """One signed credential."""
    chain = SmallChain()
    return chain.prepare(chain.publish(DEFINITION), person(1), 42)


def test_batch_is_found_again_after_reopening(tmp_path: Path, credential: PreparedCredential) -> None:
    """Every byte of a credential survives: what is submitted later is what was signed before."""
    register = opened(tmp_path)
    who = register.person(("student_number", "nua1"))
    padding = bytes(32)
    batch = register.add_batch(
        DEFINITION, [padding, credential.credential_id()], [NewCredential(credential, who, custodial=True)]
    )
    register.close()
    again = opened(tmp_path)
    assert again.open_batches(DEFINITION) == [batch]
    assert again.open_batches("other/x/1") == []
    found = again.find(DEFINITION, who)
    assert found is not None
    assert found == again.by_credential_id(credential.credential_id())
    assert (found.credential, found.person, found.custodial, found.batch) == (credential, who, True, batch.number)
    again.set_transaction(batch.number, b"tx")
    again.mark_final(batch.number)
    assert (again.open_batches(), again.batch(batch.number).state) == ([], BatchState.FINAL)
    assert again.batch(batch.number).transaction == b"tx"


def test_nobody_stands_in_it_twice(tmp_path: Path, credential: PreparedCredential) -> None:
    """The second batch with the same person is refused whole; released, it is possible."""
    register = opened(tmp_path)
    who = register.person(("email", "a@x.mx"))
    new = NewCredential(credential, who, custodial=False)
    register.add_batch(DEFINITION, [credential.credential_id()], [new])
    with pytest.raises(Rejected) as caught:
        register.add_batch(DEFINITION, [credential.credential_id()], [new])
    assert caught.value.reason is Reason.ALREADY_EXISTS
    assert len(register.open_batches()) == 1
    register.release(credential.credential_id())
    assert register.find(DEFINITION, who) is None
    assert register.by_credential_id(credential.credential_id()) is not None


def test_erasure_leaves_nothing_but_the_list_place(tmp_path: Path, credential: PreparedCredential) -> None:
    """After erasing, no byte of the sealed row is in the file, and its place is not drawn again."""
    register = opened(tmp_path)
    who = register.person(("email", "a@x.mx"))
    register.add_batch(DEFINITION, [credential.credential_id()], [NewCredential(credential, who, custodial=False)])
    (sealed,) = register._db.execute("SELECT sealed FROM credential").fetchone()
    assert register.erase(credential.credential_id())
    assert not register.erase(credential.credential_id())
    register.close()
    data = (tmp_path / FILE_NAME).read_bytes()
    assert sealed[100:200] not in data
    assert opened(tmp_path)._db.execute("SELECT list_number, list_index FROM list_place").fetchall() == [(0, 42)]


def test_nothing_in_the_file_is_readable(tmp_path: Path, credential: PreparedCredential) -> None:
    """Neither names nor ids nor secrets lie in it in the clear."""
    register = opened(tmp_path)
    who = register.person(("email", "m1@x.mx"))
    register.add_batch(DEFINITION, [bytes(32), credential.credential_id()], [NewCredential(credential, who, True)])
    register.close()
    data = (tmp_path / FILE_NAME).read_bytes()
    for secret in ("Núñez".encode(), b"m1@x.mx", credential.status_secret, credential.holder_salt, who):
        assert secret not in data
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


def test_other_keystore_or_damaged_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """Another key does not open it; a file that is no database neither."""
    opened(tmp_path).close()
    with pytest.raises(StorageError, match="of another keystore"):
        opened(tmp_path, bytes(32))
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to look like one" * 10)
    with pytest.raises(StorageError, match="issue register"):
        opened(tmp_path)


def test_places_are_drawn_once(tmp_path: Path, credential: PreparedCredential) -> None:
    """A thousand places are distinct, spread over the list, and never one that was used."""
    register = opened(tmp_path)
    who = register.person(("email", "a@x.mx"))
    register.add_batch(DEFINITION, [credential.credential_id()], [NewCredential(credential, who, custodial=False)])
    places = register.draw_places(1_000)
    assert len(set(places)) == 1_000
    assert credential.entry not in places
    assert max(place.list_index for place in places) > 100_000
    assert {place.list_number for place in places} == {0}


def test_pseudonym_depends_on_the_key(tmp_path: Path) -> None:
    """Who lacks the register key cannot look a person up."""
    one = opened(tmp_path / "a").person(("email", "a@x.mx"))
    assert one == opened(tmp_path / "a").person(("email", "a@x.mx"))
    assert one != opened(tmp_path / "b", bytes(32)).person(("email", "a@x.mx"))
