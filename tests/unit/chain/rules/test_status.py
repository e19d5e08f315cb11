"""What becomes of credentials: revoke, suspend, reinstate, supersede, by every refusal and as a random walk."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.chain.reading import CredentialState, CredentialStatus, credential_status
from node.chain.records.credential import (
    FinalMark,
    FinalState,
    Mark,
    ReasonCode,
    Status,
    StatusListBinding,
    StatusListEntry,
)
from node.chain.records.institution import Counters, Purpose, Standing
from node.chain.rules.credentials import CredentialIssue, StatusChange, StatusEntry, reinstate_signers
from node.chain.rules.framework import Event, SignatureGroup
from node.crypto import merkle
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.state import keys
from tests.unit.chain.rules.harness import (
    ITLEON,
    PESPUNTE,
    SDES,
    SEG,
    UGTO,
    World,
    institution_signer,
)

KEYS = [sha256(f"status {number}".encode()) for number in range(6)]
PLACES = [StatusListEntry(0, 100 + number) for number in range(6)]
ACTIONS = ("revoke", "suspend", "reinstate", "supersede")


@pytest.fixture
def world() -> World:
    """Return a world in which ugto.mx has issued four credentials."""
    return issued(4)


def issued(count: int) -> World:
    """Return a world in which ugto.mx has issued so many credentials."""
    found = World()
    found.publish(PESPUNTE)
    ids = [sha256(f"id {number}".encode()) for number in range(count)]
    found.run("credential.issue", CredentialIssue(PESPUNTE, merkle.root(ids), count, b"".join(ids)), UGTO)
    return found


def entry(number: int = 0, *, place: StatusListEntry | None = PLACES[0]) -> StatusEntry:
    """Return an entry about one of the status keys, in its own place unless told otherwise."""
    own = PLACES[number] if place is PLACES[0] else place
    return StatusEntry(KEYS[number], ReasonCode.ISSUED_IN_ERROR, own)


def change(*entries: StatusEntry, issuer: str = UGTO) -> StatusChange:
    """Return a change of credentials of ugto.mx."""
    return StatusChange(issuer, entries or (entry(),))


def status(world: World, number: int = 0) -> Status | None:
    """Return the record of a status key."""
    return world.state.get(keys.status(UGTO, KEYS[number]), Status)


def mark(world: World, institution: str = UGTO) -> Mark:
    """Return the mark that a transaction of this block makes."""
    return Mark(ReasonCode.ISSUED_IN_ERROR, world.act(institution))


# --- what each change records ---


def test_suspension_is_recorded_and_binds_the_index(world: World) -> None:
    """The issuer's suspension stands with reason and act; the list index belongs to the key for ever."""
    events = world.run("credential.suspend", change(), UGTO)
    assert events == (Event("credential", "suspend", keys.status(UGTO, KEYS[0])),)
    assert status(world) == Status(mark(world), None, None, PLACES[0])
    binding = world.state.get(keys.status_list_entry(UGTO, 0, 100), StatusListBinding)
    assert binding == StatusListBinding(KEYS[0], UGTO)
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(4, 1, 1, 1, 0, 0)


def test_many_entries_are_one_event(world: World) -> None:
    """An event counts the entries and names the first."""
    events = world.run("credential.revoke", change(entry(1), entry(0)), UGTO)
    assert events == (Event("credential", "revoke", keys.status(UGTO, KEYS[1]), 2),)
    final = FinalMark(FinalState.REVOKED, ReasonCode.ISSUED_IN_ERROR, world.act(UGTO))
    assert [status(world, number) for number in (0, 1)] == [
        Status(None, None, final, PLACES[0]),
        Status(None, None, final, PLACES[1]),
    ]
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(4, 1, 2, 1, 0, 0)


def test_reinstatement_leaves_an_empty_record(world: World) -> None:
    """A reinstated credential is active; its index stays bound and its status key stays counted."""
    world.run("credential.suspend", change(), UGTO)
    world.run("credential.reinstate", change(), UGTO)
    assert status(world) == Status(None, None, None, PLACES[0])
    assert credential_status(world.state, UGTO, KEYS[0]) == CredentialStatus(CredentialState.ACTIVE, None)
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(4, 1, 1, 1, 0, 0)
    world.run("credential.suspend", change(), UGTO)


@pytest.mark.parametrize("action,state", [("revoke", FinalState.REVOKED), ("supersede", FinalState.SUPERSEDED)])
@pytest.mark.parametrize("suspended", [False, True])
def test_the_end_comes_from_active_and_from_suspended(
    world: World, action: str, state: FinalState, suspended: bool
) -> None:
    """Revoking or superseding is possible from either state, whoever suspended it."""
    suspensions: tuple[Mark | None, Mark | None] = (None, None)
    if suspended:
        world.run("credential.suspend", change(), UGTO)
        world.run("credential.suspend", change(), SEG)
        suspensions = (mark(world), mark(world, SEG))
    world.run(f"credential.{action}", change(), UGTO)
    final = FinalMark(state, ReasonCode.ISSUED_IN_ERROR, world.act(UGTO))
    assert status(world) == Status(*suspensions, final, PLACES[0])
    found = credential_status(world.state, UGTO, KEYS[0])
    assert found == CredentialStatus(CredentialState(state.value), mark(world))


@pytest.mark.parametrize("end", ["revoke", "supersede"])
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_follows_the_end(world: World, end: str, action: str) -> None:
    """A final state refuses every change, its own repetition too, so a retry is safe."""
    world.run(f"credential.{end}", change(), UGTO)
    ended = {"revoke": "revoked", "supersede": "superseded"}[end]
    refused = (Reason.WRONG_STATE, f"{KEYS[0].hex()} is {ended} for good")
    assert world.refusal(f"credential.{action}", change(), UGTO) == refused
    if action in {"suspend", "reinstate"}:
        assert world.refusal(f"credential.{action}", change(), SEG) == refused


def test_a_repeated_suspension_and_reinstatement_are_refused(world: World) -> None:
    """The same change twice is a wrong state, for issuer and authority alike."""
    hexed = KEYS[0].hex()
    assert world.refusal("credential.reinstate", change(), UGTO) == (
        Reason.WRONG_STATE,
        f"{hexed} is not suspended by {UGTO}",
    )
    assert world.refusal("credential.reinstate", change(), SEG) == (
        Reason.WRONG_STATE,
        f"{hexed} is not suspended by an authority",
    )
    world.run("credential.suspend", change(), UGTO)
    world.run("credential.suspend", change(), SEG)
    assert world.refusal("credential.suspend", change(), UGTO) == (
        Reason.WRONG_STATE,
        f"{hexed} is suspended by its issuer already",
    )
    for authority in (SEG, SDES):
        assert world.refusal("credential.suspend", change(), authority) == (
            Reason.WRONG_STATE,
            f"{hexed} is suspended by {SEG} already",
        )


# --- who may ---


@pytest.mark.parametrize("action", ["revoke", "supersede"])
@pytest.mark.parametrize("signer", [SEG, ITLEON])
def test_only_the_issuer_ends_a_credential(world: World, action: str, signer: str) -> None:
    """Not even an authority revokes."""
    assert world.refusal(f"credential.{action}", change(), signer) == (
        Reason.NOT_PERMITTED,
        f"{signer} may not {action} credentials of {UGTO}",
    )


@pytest.mark.parametrize("action", ["suspend", "reinstate"])
def test_another_institution_neither_suspends_nor_reinstates(world: World, action: str) -> None:
    """Of the others only an authority has a say."""
    assert world.refusal(f"credential.{action}", change(), ITLEON) == (
        Reason.NOT_PERMITTED,
        f"{ITLEON} has no role authority",
    )


def test_a_suspended_authority_has_no_say(world: World) -> None:
    """An authority acts while it is accredited."""
    world.add_step(SEG, standing=Standing.SUSPENDED)
    assert world.refusal("credential.suspend", change(), SEG) == (
        Reason.NOT_ACCREDITED,
        f"{SEG} is not accredited now",
    )


@pytest.mark.parametrize("standing", [Standing.SUSPENDED, Standing.WITHDRAWN])
def test_an_issuer_that_lost_its_accreditation_still_revokes(world: World, standing: Standing) -> None:
    """Withdrawing what one issued needs no accreditation."""
    world.add_step(UGTO, standing=standing)
    world.run("credential.revoke", change(), UGTO)


def test_an_unknown_issuer_is_named(world: World) -> None:
    """There is nothing to change where there is no institution."""
    assert world.refusal("credential.suspend", change(issuer="nadie.mx"), SEG) == (
        Reason.UNKNOWN_INSTITUTION,
        "nadie.mx is not on the chain",
    )


def test_each_suspension_is_lifted_only_by_who_set_it(world: World) -> None:
    """Issuer and authority do not undo each other, nor does one authority undo the other."""
    world.run("credential.suspend", change(), SEG)
    hexed = KEYS[0].hex()
    assert world.refusal("credential.reinstate", change(), UGTO) == (
        Reason.WRONG_STATE,
        f"{hexed} is not suspended by {UGTO}",
    )
    assert world.refusal("credential.reinstate", change(), SDES) == (
        Reason.NOT_PERMITTED,
        f"{hexed} was suspended by {SEG}, not by {SDES}",
    )
    world.run("credential.suspend", change(), UGTO)
    world.run("credential.reinstate", change(), UGTO)
    assert status(world) == Status(None, mark(world, SEG), None, PLACES[0])
    assert credential_status(world.state, UGTO, KEYS[0]).state is CredentialState.SUSPENDED
    world.run("credential.reinstate", change(), SEG)
    assert credential_status(world.state, UGTO, KEYS[0]).state is CredentialState.ACTIVE


# --- lists and bounds ---


def test_an_authority_may_leave_the_index_open(world: World) -> None:
    """An authority does not know the index; the issuer's first change binds it."""
    world.run("credential.suspend", change(entry(place=None)), SEG)
    assert status(world) == Status(None, mark(world, SEG), None, None)
    assert world.state.get(keys.status_list_entry(UGTO, 0, 100), StatusListBinding) is None
    world.run("credential.revoke", change(), UGTO)
    assert world.state.get(keys.status_list_entry(UGTO, 0, 100), StatusListBinding) == StatusListBinding(KEYS[0], UGTO)


def test_an_issuer_names_the_index(world: World) -> None:
    """An issuer knows where it put the credential, so it says so."""
    assert world.refusal("credential.suspend", change(entry(place=None)), UGTO) == (
        Reason.MISSING_ELEMENT,
        f"{KEYS[0].hex()}: its issuer names its place in the status lists",
    )


def test_an_index_belongs_to_one_key(world: World) -> None:
    """A second key on a bound index is refused, across transactions and inside one."""
    world.run("credential.suspend", change(), UGTO)
    taken = (Reason.ALREADY_USED, f"index 100 of list 0 is bound to {KEYS[0].hex()}, not to {KEYS[1].hex()}")
    clash = StatusEntry(KEYS[1], ReasonCode.OTHER, PLACES[0])
    assert world.refusal("credential.suspend", change(clash), UGTO) == taken
    world.run("credential.suspend", change(entry(1)), UGTO)
    fresh = issued(4)
    assert fresh.refusal("credential.suspend", change(entry(0), clash), UGTO) == taken


def test_a_key_keeps_its_index(world: World) -> None:
    """Naming another place later is refused, even a free one; the same index of another list is another place."""
    world.run("credential.suspend", change(), UGTO)
    moved = StatusEntry(KEYS[0], ReasonCode.OTHER, StatusListEntry(1, 100))
    assert world.refusal("credential.revoke", change(moved), UGTO) == (
        Reason.INVALID_VALUE,
        f"{KEYS[0].hex()} has index 100 of list 0, not index 100 of list 1",
    )
    world.run("credential.suspend", change(StatusEntry(KEYS[1], ReasonCode.OTHER, StatusListEntry(1, 100))), UGTO)


def test_a_status_key_stands_once_in_a_transaction(world: World) -> None:
    """Two entries of one key could contradict each other."""
    assert world.refusal("credential.suspend", change(entry(), entry(1), entry()), UGTO) == (
        Reason.INVALID_VALUE,
        f"status key {KEYS[0].hex()} stands twice",
    )


def test_one_bad_entry_refuses_all(world: World) -> None:
    """A change of many is all or nothing."""
    world.run("credential.revoke", change(entry(2)), UGTO)
    assert world.refusal("credential.revoke", change(entry(0), entry(1), entry(2)), UGTO) == (
        Reason.WRONG_STATE,
        f"{KEYS[2].hex()} is revoked for good",
    )
    assert status(world, 0) is None


def test_never_more_status_keys_than_credentials(world: World) -> None:
    """Four credentials have four status keys; a fifth is refused."""
    world.run("credential.suspend", change(entry(0), entry(1), entry(2)), UGTO)
    full = (Reason.LIMIT_EXCEEDED, f"{UGTO} has 3 status keys and 4 credentials, no room for 2")
    assert world.refusal("credential.suspend", change(entry(3), entry(4)), UGTO) == full
    world.run("credential.suspend", change(entry(3)), UGTO)
    world.run("credential.revoke", change(entry(3), entry(0)), UGTO)  # no new keys
    assert world.refusal("credential.suspend", change(entry(4)), UGTO) == (
        Reason.LIMIT_EXCEEDED,
        f"{UGTO} has 4 status keys and 4 credentials, no room for 1",
    )


def test_authorities_use_up_none_of_the_issuers_room(world: World) -> None:
    """An authority that invents status keys stops itself, never the issuer's revocations."""
    invented = [StatusEntry(sha256(b"none %d" % number), ReasonCode.OTHER, None) for number in range(5)]
    assert world.refusal("credential.suspend", change(*invented), SEG) == (
        Reason.LIMIT_EXCEEDED,
        f"{UGTO} has 0 status keys of authorities and 4 credentials, no room for 5",
    )
    world.run("credential.suspend", change(*invented[:3], entry(0, place=None)), SEG)
    assert world.refusal("credential.suspend", change(entry(1, place=None)), SDES) == (
        Reason.LIMIT_EXCEEDED,
        f"{UGTO} has 4 status keys of authorities and 4 credentials, no room for 1",
    )
    world.run("credential.revoke", change(entry(0), entry(1), entry(2), entry(3)), UGTO)
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(4, 1, 4, 1, 0, 4)


def test_an_authoritys_wrong_index_does_not_stop_the_issuer(world: World) -> None:
    """Only the issuer knows where it put a credential: its first word overrules an authority's, its second not."""
    wrong = StatusEntry(KEYS[0], ReasonCode.OTHER, PLACES[1])
    squat = StatusEntry(KEYS[5], ReasonCode.OTHER, PLACES[2])
    world.run("credential.suspend", change(wrong, squat), SEG)
    world.run("credential.revoke", change(entry(0), entry(1), entry(2)), UGTO)
    assert [status(world, number).entry for number in range(3)] == PLACES[:3]  # type: ignore[union-attr]  # written above
    for number in range(3):
        binding = world.state.get(keys.status_list_entry(UGTO, 0, 100 + number), StatusListBinding)
        assert binding == StatusListBinding(KEYS[number], UGTO)
    assert world.refusal("credential.suspend", change(StatusEntry(KEYS[4], ReasonCode.OTHER, PLACES[2])), SEG) == (
        Reason.ALREADY_USED,
        f"index 102 of list 0 is bound to {KEYS[2].hex()}, not to {KEYS[4].hex()}",
    )


def test_an_issuer_confirms_an_authoritys_index(world: World) -> None:
    """A right index becomes the issuer's own; from then on nobody moves it."""
    world.run("credential.suspend", change(), SEG)
    plain_key = keys.status_list_entry(UGTO, 0, 100)
    assert world.state.get(plain_key, StatusListBinding) == StatusListBinding(KEYS[0], SEG)
    world.run("credential.suspend", change(), UGTO)
    assert world.state.get(plain_key, StatusListBinding) == StatusListBinding(KEYS[0], UGTO)
    moved = StatusEntry(KEYS[0], ReasonCode.OTHER, PLACES[1])
    assert world.refusal("credential.revoke", change(moved), UGTO) == (
        Reason.INVALID_VALUE,
        f"{KEYS[0].hex()} has index 100 of list 0, not index 101 of list 0",
    )
    assert world.state.get(keys.counters(UGTO), Counters) == Counters(4, 1, 1, 1, 0, 1)


def test_who_issued_nothing_has_no_status_keys(world: World) -> None:
    """An institution without credentials cannot be flooded with statuses."""
    assert world.refusal("credential.suspend", change(entry(place=None), issuer=ITLEON), SEG) == (
        Reason.LIMIT_EXCEEDED,
        f"{ITLEON} has 0 status keys of authorities and 0 credentials, no room for 1",
    )


# --- keys that turned bad ---

TWO = [institution_signer(UGTO, 1), institution_signer(SEG)]
"""A good key of the issuer beside an authority's."""


@pytest.mark.parametrize("action,state", [("revoke", "revoked"), ("supersede", "superseded"), ("suspend", "suspended")])
def test_a_mark_by_a_bad_key_stays_until_an_authority_co_signs(world: World, action: str, state: str) -> None:
    """It stays in force; the issuer alone cannot lift it; with an authority it can, even `revoked`."""
    world.run(f"credential.{action}", change(), UGTO)
    world.compromise(UGTO, world.height)
    assert credential_status(world.state, UGTO, KEYS[0]).state == state
    assert world.refusal("credential.reinstate", change(), UGTO, TWO[:1]) == (
        Reason.WRONG_SIGNERS,
        f"{KEYS[0].hex()} was {state} by keys that turned bad: an authority must co-sign",
    )
    world.run("credential.reinstate", change(), UGTO, TWO)
    assert status(world) == Status(None, None, None, PLACES[0])


def test_a_key_that_turned_bad_later_ended_it_for_good(world: World) -> None:
    """A compromise since the block after the revocation leaves the revocation good: nobody lifts it."""
    world.run("credential.revoke", change(), UGTO)
    world.compromise(UGTO, world.height + 1)
    assert world.refusal("credential.reinstate", change(), UGTO, TWO) == (
        Reason.WRONG_STATE,
        f"{KEYS[0].hex()} is revoked for good",
    )


def test_lifting_a_void_end_brings_back_what_stood_before(world: World) -> None:
    """One transaction lifts one mark: a good suspension survives the void revocation."""
    good = [institution_signer(UGTO, 1)]
    world.run("credential.suspend", change(), UGTO, good)
    suspension = status(world)
    world.run("credential.revoke", change(), UGTO)
    world.compromise(UGTO, world.height)
    world.run("credential.reinstate", change(), UGTO, TWO)
    assert status(world) == suspension
    assert world.refusal("credential.reinstate", change(), UGTO, TWO) == (
        Reason.WRONG_SIGNERS,
        "nothing here needs an authority's co-signature",
    )
    world.run("credential.reinstate", change(), UGTO, good)


def test_a_co_signature_that_nothing_needs_is_refused(world: World) -> None:
    """More signatures than the rule needs are invalid."""
    world.run("credential.suspend", change(), UGTO)
    assert world.refusal("credential.reinstate", change(), UGTO, TWO) == (
        Reason.WRONG_SIGNERS,
        "nothing here needs an authority's co-signature",
    )
    world.run("credential.suspend", change(), SEG)
    both = [institution_signer(SEG), institution_signer(SDES)]
    assert world.refusal("credential.reinstate", change(), SEG, both) == (
        Reason.WRONG_SIGNERS,
        "nothing here needs an authority's co-signature",
    )


def test_only_an_authority_co_signs_and_only_one(world: World) -> None:
    """Another university's co-signature lifts nothing, and two authorities are one too many."""
    world.run("credential.revoke", change(), UGTO)
    world.compromise(UGTO, world.height)
    good = institution_signer(UGTO, 1)
    assert world.refusal("credential.reinstate", change(), UGTO, [good, institution_signer(ITLEON)]) == (
        Reason.NOT_PERMITTED,
        f"{ITLEON} has no role authority",
    )
    three = [good, institution_signer(SEG), institution_signer(SDES)]
    assert world.refusal("credential.reinstate", change(), UGTO, three) == (
        Reason.WRONG_SIGNERS,
        f"{SDES}, {SEG} co-sign, at most one may",
    )


def test_reinstatement_asks_for_the_co_signers_keys_too(world: World) -> None:
    """Whoever signs beside the issuer does so with as many keys as it wants for this kind."""
    world.require_signatures(UGTO, "credential.reinstate", 2)
    group = SignatureGroup(UGTO, frozenset({Purpose.TRANSACTION}), 2)
    own = [institution_signer(UGTO, 0), institution_signer(UGTO, 1)]
    alone = world.transaction("credential.reinstate", change(), UGTO, own)
    assert reinstate_signers(world.context(), alone, change()) == (group,)
    together = world.transaction("credential.reinstate", change(), UGTO, [*own, institution_signer(SEG)])
    assert reinstate_signers(world.context(), together, change()) == (
        group,
        SignatureGroup(SEG, frozenset({Purpose.TRANSACTION}), 1),
    )


def test_a_suspension_by_an_authoritys_bad_key_is_lifted_by_any_authority(world: World) -> None:
    """The authority itself, with a good key, or the other one."""
    world.run("credential.suspend", change(entry(0), entry(1)), SEG)
    world.compromise(SEG, world.height)
    assert credential_status(world.state, UGTO, KEYS[0]).state is CredentialState.SUSPENDED
    world.run("credential.reinstate", change(entry(0)), SDES)
    world.run("credential.reinstate", change(entry(1)), SEG, [institution_signer(SEG, 1)])
    assert [status(world, number) for number in (0, 1)] == [
        Status(None, None, None, PLACES[number]) for number in (0, 1)
    ]


# --- a random walk against a plain model ---


@dataclass
class Model:
    """One institution's credentials as a person would keep them in a notebook."""

    credentials: int
    state: dict[int, dict[str, str]] = field(default_factory=dict)
    place: dict[int, int] = field(default_factory=dict)
    """What was said last about each key's place."""
    bound: dict[int, tuple[int, bool]] = field(default_factory=dict)
    """Key by place, and whether the issuer said so."""
    written: dict[bool, set[int]] = field(default_factory=lambda: {True: set(), False: set()})
    """Keys by whether the issuer wrote them, or an authority wrote them first."""

    def step(self, action: str, signer: str, number: int, place: int | None) -> Reason | None:
        """Return the reason for a refusal, or take the change over and return None."""
        issuer = signer == UGTO
        if not issuer and action in {"revoke", "supersede"}:
            return Reason.NOT_PERMITTED
        if signer == ITLEON:
            return Reason.NOT_PERMITTED
        now = dict(self.state.get(number, {}))
        if "final" in now:
            return Reason.WRONG_STATE
        who = "issuer" if issuer else "authority"
        if action in {"revoke", "supersede"}:
            now["final"] = action
        elif action == "suspend":
            if who in now:
                return Reason.WRONG_STATE
            now[who] = signer
        else:
            if who not in now:
                return Reason.WRONG_STATE
            if now.pop(who) != signer:
                return Reason.NOT_PERMITTED
        return self._take(number, place, now, issuer)

    def _take(self, number: int, place: int | None, now: dict[str, str], issuer: bool) -> Reason | None:
        if place is None and issuer:
            return Reason.MISSING_ELEMENT
        theirs = {where: key for where, (key, own) in self.bound.items() if own or not issuer}
        if place is not None:
            known = self.place.get(number, place)
            if known != place and (not issuer or theirs.get(known) == number):
                return Reason.INVALID_VALUE
            if theirs.get(place, number) != number:
                return Reason.ALREADY_USED
        is_first = number not in self.written[True] if issuer else number not in self.state
        if is_first and len(self.written[issuer]) + 1 > self.credentials:
            return Reason.LIMIT_EXCEEDED
        if is_first:
            self.written[issuer].add(number)
        if place is not None:
            if theirs.get(place) is None:
                self.bound[place] = (number, issuer)
            self.place[number] = place
        self.state[number] = now
        return None

    def shown(self, number: int) -> str:
        """Return the status that people see."""
        now = self.state.get(number, {})
        if "final" in now:
            return {"revoke": "revoked", "supersede": "superseded"}[now["final"]]
        return "suspended" if now else "active"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(ACTIONS),
        st.sampled_from((UGTO, UGTO, UGTO, SEG, SDES, ITLEON)),
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(0, 3)),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_any_sequence_of_changes_agrees_with_the_model(steps: list[tuple[str, str, int, int | None, bool]]) -> None:
    """Rule and notebook agree after every step: in what is refused and why, and in what stands."""
    world, model = issued(3), Model(credentials=3)
    for action, signer, number, other_place, own_place in steps:
        place = number if own_place else other_place
        listed = None if place is None else PLACES[place]
        payload = StatusChange(UGTO, (StatusEntry(KEYS[number], ReasonCode.OTHER, listed),))
        found: Reason | None = None
        try:
            world.run(f"credential.{action}", payload, signer)
        except Rejected as refused:
            found = refused.reason
        assert found == model.step(action, signer, number, place)
        for each in range(4):
            assert credential_status(world.state, UGTO, KEYS[each]).state == model.shown(each)
    used = world.state.get(keys.counters(UGTO), Counters)
    assert used is not None
    assert used.status_keys == len(model.written[True]) <= used.credentials
    assert used.authority_status_keys == len(model.written[False]) <= used.credentials
    for place, (number, own) in model.bound.items():
        binding = world.state.get(keys.status_list_entry(UGTO, 0, PLACES[place].list_index), StatusListBinding)
        assert binding is not None
        assert (binding.status_key, binding.actor == UGTO) == (KEYS[number], own)


def test_a_thousand_entries_are_taken_at_once() -> None:
    """The largest change of the format goes through whole."""
    world = issued(1_000)
    entries = tuple(
        StatusEntry(sha256(f"many {number}".encode()), ReasonCode.FRAUD, StatusListEntry(3, number))
        for number in range(1_000)
    )
    events = world.run("credential.revoke", StatusChange(UGTO, entries), UGTO)
    assert events[0].count == 1_000
    one_more = msgspec.structs.replace(entries[0], status_key=sha256(b"one more"), entry=StatusListEntry(4, 0))
    assert world.refusal("credential.revoke", StatusChange(UGTO, (one_more,)), UGTO) == (
        Reason.LIMIT_EXCEEDED,
        f"{UGTO} has 1000 status keys and 1000 credentials, no room for 1",
    )
