"""What a credential's status records and its components mean together: derived, never written."""

from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import pytest

from node.chain.reading import (
    ComponentFinding,
    CredentialState,
    CredentialStatus,
    Impairment,
    StackFinding,
    credential_status,
    stack_finding,
)
from node.chain.records.common import Act, KeyReference
from node.chain.records.credential import Batch, FinalMark, FinalState, Mark, Origin, ReasonCode, Status
from node.chain.records.institution import Compromise, InstitutionKey, Purpose
from node.chain.records.pathway import Cascade, Consent, Stack, StackedComponent
from node.crypto.hashing import sha256
from node.state import keys

T = TypeVar("T")
UGTO = "ugto.mx"
KEY_ID = b"k" * 16
ACT = Act(5, 1_000, UGTO, (KeyReference(UGTO, KEY_ID),), 1)
MARK = Mark(ReasonCode.FRAUD, ACT)
OTHER_MARK = Mark(ReasonCode.OTHER, msgspec.structs.replace(ACT, actor="seg.guanajuato.gob.mx"))


@dataclass
class Shelf:
    """Records by plain key, as a bundle would prove them."""

    records: dict[str, msgspec.Struct] = field(default_factory=dict)

    def get(self, plain_key: str, shape: type[T]) -> T | None:
        found = self.records.get(plain_key)
        assert found is None or isinstance(found, shape)
        return found


@pytest.fixture
def shelf() -> Shelf:
    """Return a shelf with one good key."""
    key = InstitutionKey(UGTO, 1, b"p" * 32, Purpose.TRANSACTION, Act(0, 0, UGTO, (), 0), None, None)
    return Shelf({keys.key(UGTO, KEY_ID): key})


def component(shelf: Shelf, name: str, act: Act = ACT) -> StackedComponent:
    """Put a credential's batch on the shelf and return it as a stack names it."""
    credential_id, batch_id, status_key = (sha256(f"{part} {name}".encode()) for part in ("id", "batch", "status"))
    definition = f"{UGTO}/{name}/1"
    shelf.records[keys.batch(batch_id)] = Batch(UGTO, definition, credential_id, 1, Origin.ISSUE, act)
    return StackedComponent(credential_id, batch_id, UGTO, definition, status_key)


def stack_of(cascade: Cascade, *components: StackedComponent) -> Stack:
    """Return a stack record."""
    return Stack(f"{UGTO}/ruta/1", cascade, Consent.ONE_KEY, False, components, ACT)


def mark(shelf: Shelf, item: StackedComponent, status: Status) -> None:
    """Post a status."""
    shelf.records[keys.status(UGTO, item.status_key)] = status


REVOKED = Status(None, None, FinalMark(FinalState.REVOKED, ReasonCode.FRAUD, ACT), None)
SUPERSEDED = Status(None, None, FinalMark(FinalState.SUPERSEDED, ReasonCode.SUPERSEDED, ACT), None)
SUSPENDED = Status(MARK, None, None, None)
SUSPENDED_BY_AUTHORITY = Status(None, OTHER_MARK, None, None)
EMPTY = Status(None, None, None, None)


@pytest.mark.parametrize(
    "status,expected",
    [
        (None, CredentialStatus(CredentialState.ACTIVE, None)),
        (EMPTY, CredentialStatus(CredentialState.ACTIVE, None)),
        (SUSPENDED, CredentialStatus(CredentialState.SUSPENDED, MARK)),
        (SUSPENDED_BY_AUTHORITY, CredentialStatus(CredentialState.SUSPENDED, OTHER_MARK)),
        (Status(MARK, OTHER_MARK, None, None), CredentialStatus(CredentialState.SUSPENDED, MARK)),
        (REVOKED, CredentialStatus(CredentialState.REVOKED, MARK)),
        (
            msgspec.structs.replace(SUPERSEDED, issuer_suspension=MARK),
            CredentialStatus(CredentialState.SUPERSEDED, Mark(ReasonCode.SUPERSEDED, ACT)),
        ),
    ],
)
def test_a_status_is_read_from_its_three_marks(shelf: Shelf, status: Status | None, expected: CredentialStatus) -> None:
    """The end comes first, then the suspensions; no record and an empty one are active."""
    item = component(shelf, "a")
    if status is not None:
        mark(shelf, item, status)
    assert credential_status(shelf, UGTO, item.status_key) == expected


@pytest.mark.parametrize(
    "cascade,status,expected",
    [
        (Cascade.REVOKE, None, Impairment.NONE),
        (Cascade.REVOKE, SUSPENDED, Impairment.IMPAIRED),
        (Cascade.REVOKE, REVOKED, Impairment.REVOKED),
        (Cascade.REVOKE, SUPERSEDED, Impairment.REVOKED),
        (Cascade.FLAG, None, Impairment.NONE),
        (Cascade.FLAG, SUSPENDED, Impairment.IMPAIRED),
        (Cascade.FLAG, REVOKED, Impairment.IMPAIRED),
        (Cascade.FLAG, SUPERSEDED, Impairment.IMPAIRED),
        (Cascade.NONE, SUSPENDED, Impairment.NONE),
        (Cascade.NONE, REVOKED, Impairment.NONE),
    ],
)
def test_the_cascade_decides_what_a_component_does(
    shelf: Shelf, cascade: Cascade, status: Status | None, expected: Impairment
) -> None:
    """Revoke, flag or nothing; a finding names the component in any case."""
    good, other = component(shelf, "a"), component(shelf, "b")
    findings: tuple[ComponentFinding, ...] = ()
    if status is not None:
        mark(shelf, other, status)
        state = credential_status(shelf, UGTO, other.status_key).state
        findings = (ComponentFinding(other, state, False),)
    found = stack_finding(shelf, stack_of(cascade, good, other))
    assert found == StackFinding(expected, (good, other), findings, True)


@pytest.mark.parametrize("since,void", [(5, True), (6, False)])  # the batch is of height 5
def test_a_void_batch_is_as_bad_as_a_revocation(shelf: Shelf, since: int, *, void: bool) -> None:
    """A key in wrong hands since the batch's height voids it; since the next height it does not."""
    item = component(shelf, "a")
    key = shelf.records[keys.key(UGTO, KEY_ID)]
    shelf.records[keys.key(UGTO, KEY_ID)] = msgspec.structs.replace(key, compromised=Compromise(since, ACT))
    found = stack_finding(shelf, stack_of(Cascade.REVOKE, item))
    findings = (ComponentFinding(item, CredentialState.ACTIVE, True),) if void else ()
    impairment = Impairment.REVOKED if void else Impairment.NONE
    assert found == StackFinding(impairment, (item,), findings, True)


def test_a_component_without_its_batch_is_void(shelf: Shelf) -> None:
    """What no batch record stands behind was not issued."""
    item = component(shelf, "a")
    del shelf.records[keys.batch(item.batch_id)]
    found = stack_finding(shelf, stack_of(Cascade.REVOKE, item))
    assert found.findings == (ComponentFinding(item, CredentialState.ACTIVE, True),)
    assert found.impairment is Impairment.REVOKED


@pytest.mark.parametrize(
    "upper,lower,expected",
    [
        (Cascade.REVOKE, Cascade.REVOKE, Impairment.REVOKED),
        (Cascade.REVOKE, Cascade.FLAG, Impairment.IMPAIRED),
        (Cascade.REVOKE, Cascade.NONE, Impairment.NONE),
        (Cascade.FLAG, Cascade.REVOKE, Impairment.IMPAIRED),
        (Cascade.FLAG, Cascade.FLAG, Impairment.IMPAIRED),
        (Cascade.NONE, Cascade.REVOKE, Impairment.NONE),
    ],
)
def test_a_fall_travels_up_as_far_as_each_floor_lets_it(
    shelf: Shelf, upper: Cascade, lower: Cascade, expected: Impairment
) -> None:
    """A revoked piece under two floors: each floor's own pathway decides what it passes on."""
    piece, award = component(shelf, "piece"), component(shelf, "award")
    shelf.records[keys.stack(award.credential_id)] = stack_of(lower, piece)
    mark(shelf, piece, REVOKED)
    found = stack_finding(shelf, stack_of(upper, award))
    finding = ComponentFinding(piece, CredentialState.REVOKED, False)
    assert found == StackFinding(expected, (award, piece), (finding,), True)


@pytest.mark.parametrize("floors,complete", [(4, True), (5, False)])
def test_four_floors_are_read_and_no_more(shelf: Shelf, floors: int, *, complete: bool) -> None:
    """Beyond four levels nothing may be concluded, and the finding says so."""
    below = component(shelf, "ground")
    for floor in range(floors - 1):
        award = component(shelf, f"floor-{floor}")
        shelf.records[keys.stack(award.credential_id)] = stack_of(Cascade.REVOKE, below)
        below = award
    found = stack_finding(shelf, stack_of(Cascade.REVOKE, below))
    assert found.complete is complete
    assert len(found.leaves) == min(floors, 4)


@pytest.mark.parametrize("extra,complete", [(0, True), (1, False)])
def test_256_components_are_read_and_no_more(shelf: Shelf, extra: int, *, complete: bool) -> None:
    """Four stacks of 63 pieces and themselves are 256 leaves; one more is too many."""
    awards = []
    for tower in range(4):
        award = component(shelf, f"award-{tower}")
        pieces = [component(shelf, f"piece-{tower}-{number}") for number in range(63)]
        if tower == 3:
            pieces += [component(shelf, f"extra-{number}") for number in range(extra)]
        shelf.records[keys.stack(award.credential_id)] = stack_of(Cascade.REVOKE, *pieces)
        awards.append(award)
    found = stack_finding(shelf, stack_of(Cascade.REVOKE, *awards))
    assert found.complete is complete
    assert len(found.leaves) == 256
