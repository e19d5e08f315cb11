"""What records mean together: void acts, standings by height, the status of a credential, the cascade."""

from itertools import pairwise
from typing import TypeVar

import msgspec
import pytest

from node.chain.reading import (
    ComponentFinding,
    CredentialState,
    CredentialStatus,
    Impairment,
    StackFinding,
    accreditation,
    credential_status,
    has_role,
    is_void,
    stack_finding,
    standing_step,
)
from node.chain.records.common import Act, KeyReference
from node.chain.records.credential import Batch, FinalMark, FinalState, Mark, Origin, ReasonCode, Status
from node.chain.records.institution import (
    UNLIMITED_SCOPE,
    Compromise,
    Institution,
    InstitutionKey,
    Purpose,
    Role,
    Standing,
    Step,
    StepKind,
)
from node.chain.records.pathway import Cascade, Consent, Stack, StackedComponent
from node.crypto.hashing import sha256
from node.limits import STACK_DEPTH_MAX, STACK_LEAVES_MAX
from node.state import keys

T = TypeVar("T")
UGTO, SEG = "ugto.example", "seg.example"
KEY_A, KEY_B = KeyReference(SEG, bytes(16)), KeyReference(SEG, bytes([1] * 16))
GENESIS = Act(0, 0, SEG, (), 0)


class Records(dict[str, msgspec.Struct]):
    """Records in a dictionary."""

    def get(self, plain_key: str, shape: type[T]) -> T | None:  # type: ignore[override]  # the protocol's get, not dict's
        found = super().get(plain_key)
        assert found is None or isinstance(found, shape)
        return found

    def put_key(self, reference: KeyReference, *, since: int | None = None, retired: int | None = None) -> None:
        mark = None if since is None else Compromise(since, GENESIS)
        ended = None if retired is None else Act(retired, 0, SEG, (), 0)
        self[keys.key(reference.institution, reference.key_id)] = InstitutionKey(
            reference.institution, 1, bytes(32), Purpose.TRANSACTION, Act(2, 0, SEG, (), 0), ended, mark
        )


def act(height: int, *references: KeyReference, required: int | None = None) -> Act:
    """Return an act of some keys, all required unless told otherwise."""
    return Act(height, height * 1_000, SEG, references, len(references) if required is None else required)


@pytest.mark.parametrize(
    "since,retired,height,void",
    [
        (None, None, 5, False),
        (None, None, 1, True),  # before the key was added at 2
        (6, None, 5, False),
        (5, None, 5, True),  # the height itself is void
        (None, 5, 5, False),  # the block of the retirement still counts
        (None, 4, 5, True),
    ],
)
def test_act_is_void_without_a_good_key(since: int | None, retired: int | None, height: int, *, void: bool) -> None:
    """Good from when it was added until it was retired, below its compromise."""
    records = Records()
    records.put_key(KEY_A, since=since, retired=retired)
    assert is_void(records, act(height, KEY_A)) is void


def test_act_is_void_with_fewer_good_keys_than_required() -> None:
    """Two signed: with one bad, it stands if one was required and falls if two were."""
    records = Records()
    records.put_key(KEY_A)
    records.put_key(KEY_B, since=3)
    assert not is_void(records, act(5, KEY_A, KEY_B, required=1))
    assert is_void(records, act(5, KEY_A, KEY_B, required=2))
    assert is_void(records, act(5, KeyReference(SEG, bytes([9] * 16))))
    assert not is_void(records, GENESIS)


def step(kind: StepKind, standing: Standing, by: Act, until_ms: int = 0) -> Step:
    """Return a step of an issuer."""
    return Step(kind, by, standing, (Role.ISSUER,), UNLIMITED_SCOPE, until_ms, "", None)


def world(*history: Step) -> tuple[Records, Institution]:
    """Return an institution with a history, and two good keys of the authority."""
    records = Records()
    records.put_key(KEY_A)
    records.put_key(KEY_B)
    institution = Institution(UGTO, (), "MX", "", "", "", "", "", (), (), history)
    records[keys.accreditation(UGTO)] = institution
    return records, institution


GENESIS_STEP = step(StepKind.GENESIS, Standing.ACCREDITED, GENESIS)
SUSPENDED = step(StepKind.SUSPEND, Standing.SUSPENDED, act(5, KEY_A))
REVIEW = step(StepKind.REVIEW, Standing.SUSPENDED, act(6, KEY_A))
REINSTATED = step(StepKind.REINSTATE, Standing.ACCREDITED, act(8, KEY_B))


def test_standing_is_the_last_step_in_force_at_a_height() -> None:
    """A review sets none; steps of the height itself count."""
    records, institution = world(GENESIS_STEP, SUSPENDED, REVIEW, REINSTATED)
    found = [standing_step(records, institution, height) for height in (0, 4, 5, 7, 8)]
    assert found == [GENESIS_STEP, GENESIS_STEP, SUSPENDED, SUSPENDED, REINSTATED]
    assert standing_step(records, institution) == REINSTATED


def test_void_step_is_as_if_never_taken() -> None:
    """A suspension by a stolen key suspends nobody; a reinstatement by one lifts nothing."""
    records, institution = world(GENESIS_STEP, SUSPENDED, REINSTATED)
    records.put_key(KEY_B, since=8)
    assert standing_step(records, institution) == SUSPENDED
    records.put_key(KEY_A, since=5)
    assert standing_step(records, institution) == GENESIS_STEP


def test_accreditation_ends_at_its_time() -> None:
    """The last millisecond before the end is good, the end is not."""
    limited = step(StepKind.ACCREDIT, Standing.ACCREDITED, act(5, KEY_A), until_ms=10_000)
    records, _ = world(GENESIS_STEP, limited)
    assert accreditation(records, UGTO, time_ms=9_999) == limited
    assert accreditation(records, UGTO, time_ms=10_000) is None
    assert accreditation(records, UGTO, time_ms=10_000, height=4) == GENESIS_STEP
    assert accreditation(records, "nobody.example", time_ms=0) is None
    assert has_role(records, UGTO, Role.ISSUER, time_ms=0)
    assert not has_role(records, UGTO, Role.AUTHORITY, time_ms=0)


def test_suspended_institution_is_not_accredited() -> None:
    """Now; at an earlier height it was."""
    records, _ = world(GENESIS_STEP, SUSPENDED)
    assert accreditation(records, UGTO, time_ms=0) is None
    assert accreditation(records, UGTO, time_ms=0, height=4) == GENESIS_STEP


MARK = Mark(ReasonCode.OTHER, GENESIS)
STATUS_KEY = sha256(b"status")


@pytest.mark.parametrize(
    "status,expected",
    [
        (None, CredentialStatus(CredentialState.ACTIVE, None)),
        (Status(None, None, None, None), CredentialStatus(CredentialState.ACTIVE, None)),
        (Status(MARK, None, None, None), CredentialStatus(CredentialState.SUSPENDED, MARK)),
        (Status(None, MARK, None, None), CredentialStatus(CredentialState.SUSPENDED, MARK)),
        (
            Status(MARK, MARK, FinalMark(FinalState.REVOKED, ReasonCode.FRAUD, GENESIS), None),
            CredentialStatus(CredentialState.REVOKED, Mark(ReasonCode.FRAUD, GENESIS)),
        ),
        (
            Status(None, None, FinalMark(FinalState.SUPERSEDED, ReasonCode.SUPERSEDED, GENESIS), None),
            CredentialStatus(CredentialState.SUPERSEDED, Mark(ReasonCode.SUPERSEDED, GENESIS)),
        ),
    ],
)
def test_status_is_read_from_its_three_marks(status: Status | None, expected: CredentialStatus) -> None:
    """No record means active; what is final comes before what is suspended."""
    records = Records()
    if status is not None:
        records[keys.status(UGTO, STATUS_KEY)] = status
    assert credential_status(records, UGTO, STATUS_KEY) == expected


def component(name: str) -> StackedComponent:
    """Return a component in a batch of its own."""
    return StackedComponent(
        sha256(name.encode()),
        sha256(b"batch" + name.encode()),
        UGTO,
        f"{UGTO}/{name}/1",
        sha256(b"status" + name.encode()),
    )


def issued(records: Records, *components: StackedComponent) -> None:
    """Put each component's batch on the chain."""
    for item in components:
        records[keys.batch(item.batch_id)] = Batch(UGTO, item.definition, item.credential_id, 1, Origin.ISSUE, GENESIS)


def stacked(cascade: Cascade, *components: StackedComponent) -> Stack:
    """Return a stack of components."""
    return Stack(f"{UGTO}/ruta/1", cascade, Consent.ONE_KEY, False, components, GENESIS)


REVOKED = Status(None, None, FinalMark(FinalState.REVOKED, ReasonCode.FRAUD, GENESIS), None)
A, B = component("a"), component("b")


@pytest.mark.parametrize(
    "cascade,status,impairment",
    [
        (Cascade.REVOKE, None, Impairment.NONE),
        (Cascade.REVOKE, REVOKED, Impairment.REVOKED),
        (Cascade.FLAG, REVOKED, Impairment.IMPAIRED),
        (Cascade.NONE, REVOKED, Impairment.NONE),
        (Cascade.REVOKE, Status(MARK, None, None, None), Impairment.IMPAIRED),
        (Cascade.FLAG, Status(None, MARK, None, None), Impairment.IMPAIRED),
        (Cascade.NONE, Status(MARK, None, None, None), Impairment.NONE),
    ],
)
def test_cascade_is_derived_from_the_components(
    cascade: Cascade, status: Status | None, impairment: Impairment
) -> None:
    """Revoke, flag or nothing: as the pathway said, from today's status."""
    records = Records()
    issued(records, A, B)
    findings: tuple[ComponentFinding, ...] = ()
    if status is not None:
        records[keys.status(UGTO, A.status_key)] = status
        findings = (ComponentFinding(A, credential_status(records, UGTO, A.status_key).state, batch_void=False),)
    assert stack_finding(records, stacked(cascade, A, B)) == StackFinding(impairment, (A, B), findings, complete=True)


def test_void_or_missing_batch_counts_as_revoked() -> None:
    """What was never validly issued cannot be stacked on."""
    records = Records()
    issued(records, B)
    found = stack_finding(records, stacked(Cascade.REVOKE, A, B))
    assert (found.impairment, found.findings) == (
        Impairment.REVOKED,
        (ComponentFinding(A, CredentialState.ACTIVE, batch_void=True),),
    )


def test_revocation_climbs_through_stacks_of_stacks() -> None:
    """A leaf's revocation revokes what stands on it, and what stands on that."""
    records = Records()
    middle = component("middle")
    issued(records, A, middle)
    records[keys.stack(middle.credential_id)] = stacked(Cascade.REVOKE, A)
    top = stacked(Cascade.REVOKE, middle)
    assert stack_finding(records, top).impairment is Impairment.NONE
    records[keys.status(UGTO, A.status_key)] = REVOKED
    found = stack_finding(records, top)
    assert (found.impairment, found.leaves) == (Impairment.REVOKED, (middle, A))


def test_nothing_is_concluded_beyond_the_bounds() -> None:
    """Four levels and 256 components are seen through; one more is incomplete."""
    records = Records()
    chain = [component(f"level{number}") for number in range(STACK_DEPTH_MAX + 1)]
    issued(records, *chain)
    for upper, lower in pairwise(chain):
        records[keys.stack(upper.credential_id)] = stacked(Cascade.REVOKE, lower)
    assert stack_finding(records, stacked(Cascade.REVOKE, chain[1])).complete
    assert not stack_finding(records, stacked(Cascade.REVOKE, chain[0])).complete
    many = [component(f"c{number}") for number in range(STACK_LEAVES_MAX + 1)]
    issued(records, *many)
    assert stack_finding(records, stacked(Cascade.REVOKE, *many[:-1])).complete
    assert not stack_finding(records, stacked(Cascade.REVOKE, *many)).complete
