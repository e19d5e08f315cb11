"""`credential.issue`: a batch is taken whole or refused whole, and for ever only once."""

import msgspec
import pytest

from node.chain.records.common import Act, KeyReference
from node.chain.records.credential import Batch, Origin, batch_id
from node.chain.records.institution import Counters, Purpose, Scope, Standing
from node.chain.rules.catalogue import DefinitionRetire
from node.chain.rules.credentials import CredentialIssue, split_ids
from node.chain.rules.framework import Event, SignatureGroup, signer_group
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason
from node.state import keys
from tests.unit.chain.rules.harness import (
    EMPLEO,
    ITLEON,
    PARAMETERS,
    PESPUNTE,
    RULES,
    UGTO,
    World,
    institution_signer,
)


@pytest.fixture
def world() -> World:
    """Return a world with one definition in the catalogue."""
    found = World()
    found.publish(PESPUNTE)
    return found


def batch(count: int, *, definition: str = PESPUNTE, seed: str = "") -> CredentialIssue:
    """Return a batch of so many made-up ids."""
    ids = [sha256(f"{seed} {number}".encode()) for number in range(count)]
    return CredentialIssue(definition, merkle.root(ids), count, b"".join(ids))


@pytest.mark.parametrize("count", [1, 2, 3, 1_000])  # 1,000 is the parameter's maximum here
def test_a_batch_is_one_record(world: World, count: int) -> None:
    """However many credentials, the state gains one record, and the counters say how many."""
    payload = batch(count)
    plain_key = keys.batch(batch_id(UGTO, PESPUNTE, payload.root, count))
    assert world.run("credential.issue", payload, UGTO) == (Event("credential", "issue", plain_key, count),)
    assert world.state.get(plain_key, Batch) == Batch(
        UGTO, PESPUNTE, payload.root, count, Origin.ISSUE, world.act(UGTO)
    )
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(count, 1, 0, 1, 0, 0)


def test_batches_add_up(world: World) -> None:
    """Counters grow with each batch."""
    world.run("credential.issue", batch(2), UGTO)
    world.run("credential.issue", batch(3, seed="b"), UGTO)
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(5, 2, 0, 1, 0, 0)


def test_a_batch_lists_all_keys_that_signed(world: World) -> None:
    """Where an institution asks for two of its keys, both stand in the act and both are required."""
    world.require_signatures(UGTO, "credential.issue", 2)
    signers = sorted((institution_signer(UGTO, 0), institution_signer(UGTO, 1)), key=lambda one: one.key_id)
    payload = batch(2)
    world.run("credential.issue", payload, UGTO, signers)
    found = world.state.get(keys.batch(batch_id(UGTO, PESPUNTE, payload.root, 2)), Batch)
    assert found is not None
    references = tuple(KeyReference(UGTO, one.key_id) for one in signers)
    assert found.act == Act(world.height, world.time_ms, UGTO, references, 2)


def test_the_issuers_transaction_keys_sign(world: World) -> None:
    """The rule asks for as many of the signer's transaction keys as the institution wants."""
    world.require_signatures(UGTO, "credential.issue", 2)
    payload = batch(1)
    transaction = world.transaction("credential.issue", payload, UGTO)
    assert RULES["credential.issue"].signers is signer_group
    assert signer_group(world.context(), transaction, payload) == (
        SignatureGroup(UGTO, frozenset({Purpose.TRANSACTION}), 2),
    )


def test_one_more_than_the_parameter_is_refused(world: World) -> None:
    """The network's own maximum holds below the format's 4,096."""
    assert world.refusal("credential.issue", batch(1_001), UGTO) == (
        Reason.LIMIT_EXCEEDED,
        "1001 credentials in a batch, at most 1000",
    )


def test_the_largest_batch_of_the_format_is_taken(world: World) -> None:
    """4,096 leaves are fine where the parameters allow them."""
    world.parameters = msgspec.structs.replace(PARAMETERS, credentials_per_batch_max=4_096)
    world.run("credential.issue", batch(4_096), UGTO)


@pytest.mark.parametrize("length", [32, 63, 65, 96])  # 64 is right
def test_the_bytes_of_the_ids_fit_the_count(world: World, length: int) -> None:
    """Two credentials are 64 bytes of ids, no more and no less."""
    payload = msgspec.structs.replace(batch(2), credential_ids=bytes(range(96))[:length])
    assert world.refusal("credential.issue", payload, UGTO) == (
        Reason.INVALID_VALUE,
        f"{length} bytes of ids instead of 64 for 2",
    )


def test_no_id_stands_twice(world: World) -> None:
    """A batch whose root counts one id twice is refused."""
    one, other = sha256(b"1"), sha256(b"2")
    ids = [one, other, one]
    payload = CredentialIssue(PESPUNTE, merkle.root(ids), 3, b"".join(ids))
    assert world.refusal("credential.issue", payload, UGTO) == (
        Reason.INVALID_VALUE,
        "3 ids, only 2 of them distinct",
    )


def test_the_root_is_that_of_the_ids_in_their_order(world: World) -> None:
    """Another order of the same ids has another root."""
    payload = batch(3)
    ids = split_ids(payload.credential_ids)
    changed = msgspec.structs.replace(payload, credential_ids=b"".join(reversed(ids)))
    wrong = merkle.root(list(reversed(ids)))
    assert world.refusal("credential.issue", changed, UGTO) == (
        Reason.WRONG_ROOT,
        f"root {payload.root.hex()}, the ids give {wrong.hex()}",
    )


def test_a_batch_is_issued_once_for_ever(world: World) -> None:
    """The same batch in a later block is refused, so a retry is safe; other ids are another batch."""
    payload = batch(2)
    world.run("credential.issue", payload, UGTO)
    world.height += 5_000
    the_id = batch_id(UGTO, PESPUNTE, payload.root, 2)
    assert world.refusal("credential.issue", payload, UGTO) == (
        Reason.ALREADY_EXISTS,
        f"batch {the_id.hex()} was issued before",
    )
    world.run("credential.issue", batch(2, seed="other"), UGTO)


def test_a_definition_is_there_and_the_signers(world: World) -> None:
    """Nobody issues what is not in the catalogue, nor another institution's definition."""
    assert world.refusal("credential.issue", batch(1, definition=EMPLEO), UGTO) == (
        Reason.NOT_FOUND,
        f"definition {EMPLEO} is not on the chain",
    )
    assert world.refusal("credential.issue", batch(1), ITLEON) == (
        Reason.NOT_PERMITTED,
        f"{PESPUNTE} is of {UGTO}, not of {ITLEON}",
    )


def test_a_retired_definition_issues_no_more(world: World) -> None:
    """Retirement ends issuing at once."""
    world.run("credential.issue", batch(1), UGTO)
    world.run("definition.retire", DefinitionRetire(PESPUNTE), UGTO)
    assert world.refusal("credential.issue", batch(1, seed="late"), UGTO) == (
        Reason.WRONG_STATE,
        f"definition {PESPUNTE} is retired",
    )


def test_an_issuer_is_accredited_in_its_scope_now(world: World) -> None:
    """A scope that has shrunk below the definition, or a suspension, ends issuing; accreditation resumes it."""
    world.add_step(UGTO, scope=Scope((), 0, 249, (), (), ""))
    assert world.refusal("credential.issue", batch(1), UGTO) == (
        Reason.OUT_OF_SCOPE,
        f"{UGTO}: 2.5 credits, at most 2.49",
    )
    world.add_step(UGTO, scope=Scope((), 0, 250, (), (), ""), standing=Standing.SUSPENDED)
    assert world.refusal("credential.issue", batch(1), UGTO) == (
        Reason.NOT_ACCREDITED,
        f"{UGTO} is not accredited now",
    )
    world.add_step(UGTO, standing=Standing.ACCREDITED)
    world.run("credential.issue", batch(1), UGTO)


def test_a_suspension_by_a_bad_key_stops_nobody(world: World) -> None:
    """A void step counts for nothing."""
    world.add_step(UGTO, standing=Standing.SUSPENDED)
    assert world.refusal("credential.issue", batch(1), UGTO)[0] is Reason.NOT_ACCREDITED
    world.compromise("seg.guanajuato.gob.mx", world.height)
    world.run("credential.issue", batch(1), UGTO)
