"""The `institution.*` rules: every refusal by reason and detail, beside the nearest case that is allowed."""

import msgspec
import pytest

from node.chain.records.common import KeyReference, Translation
from node.chain.records.institution import (
    UNLIMITED_SCOPE,
    Institution,
    InstitutionKey,
    Purpose,
    RequiredSignatures,
    Role,
    Scope,
    Standing,
    StepKind,
)
from node.chain.rules import institutions as module
from node.chain.rules.institutions import (
    Accredit,
    Apply,
    Decision,
    PendingApplications,
    Reinstate,
    Review,
    Suspend,
    Withdraw,
)
from node.chain.rules.keys import KeyCompromise
from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm
from node.errors import Reason
from node.state import keys
from tests.unit.chain.kit import (
    COEPES,
    CONOCER,
    ITLEON,
    PARAMETERS,
    SDES,
    SEG,
    UGTO,
    Key,
    TestChain,
    genesis,
    names,
    recovery_key,
    transaction_key,
)

NEW = "nueva.example"
NEW_KEYS = (transaction_key(NEW), Key(NEW, Purpose.ASSERTION), recovery_key(NEW))
REPORT = sha256(b"report")


@pytest.fixture
def chain() -> TestChain:
    """Return a fresh network."""
    return TestChain()


def application(id_: str = NEW, **changes: object) -> Apply:
    """Return an application that lacks nothing, forwarded by ugto.example."""
    own = (transaction_key(id_), Key(id_, Purpose.ASSERTION), recovery_key(id_))
    payload = Apply(
        id=id_,
        names=names(id_),
        country="MX",
        region="GTO",
        municipality="León",
        website=f"https://{id_}",
        cct="",
        did="",
        roles=(Role.ISSUER,),
        required_signatures=(),
        keys=tuple(key.new for key in own),
        forwarder=UGTO,
    )
    return msgspec.structs.replace(payload, **changes)


def application_signers(id_: str = NEW, forwarder: str = UGTO) -> list[Key]:
    """Return all keys that sign such an application."""
    return [transaction_key(id_), Key(id_, Purpose.ASSERTION), recovery_key(id_), transaction_key(forwarder)]


def apply(chain: TestChain, id_: str = NEW) -> None:
    """Have an application on the chain."""
    chain.do("institution.apply", application(id_), signer=id_, by=application_signers(id_))


def accredited(chain: TestChain, id_: str = NEW) -> None:
    """Have a new institution accredited."""
    apply(chain, id_)
    chain.do("institution.review", Review(id_, Decision.FAVOURABLE, sha256(id_.encode())), signer=COEPES)
    chain.do("institution.accredit", Accredit(id_, (Role.ISSUER,), UNLIMITED_SCOPE, 0), signer=SEG)


def institution(chain: TestChain, id_: str) -> Institution:
    """Return a committed institution."""
    found = chain.ledger.read(keys.accreditation(id_), Institution)
    assert found is not None
    return found


def pending(chain: TestChain) -> tuple[str, ...]:
    """Return who waits for accreditation."""
    found = chain.ledger.read(keys.PENDING_APPLICATIONS, PendingApplications)
    return () if found is None else found.institutions


# --- apply ---


def test_application_is_recorded_with_its_keys(chain: TestChain) -> None:
    """The record, each key and the place among those that wait are written; the forwarder added the keys."""
    apply(chain)
    record = institution(chain, NEW)
    step = record.history[0]
    signed = tuple(
        sorted((KeyReference(key.institution, key.key_id) for key in application_signers()), key=lambda r: r.key_id)
    )
    assert (step.kind, step.standing, step.roles) == (StepKind.APPLY, Standing.APPLIED, (Role.ISSUER,))
    assert (step.act.actor, step.act.keys, step.act.required) == (NEW, signed, 4)
    assert record.keys == tuple(key.key_id for key in NEW_KEYS)
    stored = chain.ledger.read(keys.key(NEW, NEW_KEYS[2].key_id), InstitutionKey)
    assert stored is not None
    assert stored.purpose is Purpose.RECOVERY
    assert stored.added.keys == (KeyReference(UGTO, transaction_key(UGTO).key_id),)
    assert pending(chain) == (NEW,)


def test_application_counts_against_its_forwarder(chain: TestChain) -> None:
    """Rates and shares of an application are the forwarder's."""
    tx_id = chain.submit("institution.apply", application(), signer=NEW, by=application_signers())
    waiting = chain.ledger.mempool.get(tx_id)
    assert waiting is not None
    assert waiting.account == UGTO


REFUSED_APPLICATIONS = {
    "names_without_spanish": (
        {"names": (Translation("en", "New"),)},
        (Reason.MISSING_ELEMENT, "names: es"),
    ),
    "names_out_of_order": (
        {"names": (Translation("es", "Nueva"), Translation("en", "New"))},
        (Reason.INVALID_VALUE, "names: not ascending by language, or one is there twice"),
    ),
    "blank_name": (
        {"names": (Translation("es", " "),)},
        (Reason.INVALID_VALUE, "names: one is empty"),
    ),
    "roles_out_of_order": (
        {"roles": (Role.ISSUER, Role.CERTIFIER)},
        (Reason.INVALID_VALUE, "roles: not ascending, or one is there twice"),
    ),
    "plain_http": (
        {"website": "http://nueva.example"},
        (Reason.INVALID_VALUE, "website: http://nueva.example does not begin with https://"),
    ),
    "cct": (
        {"cct": "11dit0001e"},
        (Reason.INVALID_VALUE, "cct: 11dit0001e is no school code such as 11DIT0001E"),
    ),
    "did": (
        {"did": "did:ion:x"},
        (Reason.INVALID_VALUE, "did: did:ion:x is neither did:key nor did:web"),
    ),
    "required_signatures_out_of_order": (
        {"required_signatures": (RequiredSignatures("key.add", 1), RequiredSignatures("key.add", 1))},
        (Reason.INVALID_VALUE, "required_signatures: not ascending by kind, or one is there twice"),
    ),
    "more_signatures_than_transaction_keys": (
        {"required_signatures": (RequiredSignatures("credential.issue", 2),)},
        (Reason.MISSING_ELEMENT, "keys: 1 of purpose transaction, 2 needed"),
    ),
    "more_signatures_than_recovery_keys": (
        {"required_signatures": (RequiredSignatures("key.add", 2),)},
        (Reason.MISSING_ELEMENT, "keys: 1 of purpose recovery, 2 needed"),
    ),
}


@pytest.mark.parametrize("case", REFUSED_APPLICATIONS)
def test_application_with_a_fault_is_refused(chain: TestChain, case: str) -> None:
    """Each fault of the profile is named."""
    changes, expected = REFUSED_APPLICATIONS[case]
    payload = application(**changes)
    assert chain.refusal("institution.apply", payload, signer=NEW, by=application_signers()) == expected


def test_application_at_the_edge_of_each_bound_is_admitted(chain: TestChain) -> None:
    """The nearest values to every fault above are good."""
    payload = application(
        names=(Translation("es", "N"),),
        roles=(Role.CERTIFIER, Role.ISSUER),
        website="",
        cct="11DIT0001E",
        did="did:web:nueva.example",
        required_signatures=(RequiredSignatures("credential.issue", 1), RequiredSignatures("key.add", 1)),
    )
    chain.do("institution.apply", payload, signer=NEW, by=application_signers())


def test_application_in_anothers_did_is_refused() -> None:
    """Where the network has a host, a did:web there names the institution itself; a did:key names a key."""
    parameters = msgspec.structs.replace(PARAMETERS, did_host="pila.example:8443")
    chain = TestChain(genesis(parameters=parameters))
    for foreign in (f"did:web:pila.example%3A8443:did:{UGTO}", "did:web:nueva.example"):
        refused = chain.refusal("institution.apply", application(did=foreign), signer=NEW, by=application_signers())
        own = f"did:web:pila.example%3A8443:did:{NEW}"
        assert refused == (Reason.INVALID_VALUE, f"did: {foreign} is not {own}")
    chain.do("institution.apply", application(did=own), signer=NEW, by=application_signers())


@pytest.mark.parametrize("missing,purpose", [(0, "transaction"), (2, "recovery")])
def test_application_without_a_needed_key_is_refused(chain: TestChain, missing: int, purpose: str) -> None:
    """Nobody may come onto the chain who could not sign or not recover."""
    own = tuple(key for index, key in enumerate(NEW_KEYS) if index != missing)
    payload = application(keys=tuple(key.new for key in own))
    assert chain.refusal("institution.apply", payload, signer=NEW, by=[*own, transaction_key(UGTO)]) == (
        Reason.MISSING_ELEMENT,
        f"keys: 0 of purpose {purpose}, 1 needed",
    )


@pytest.mark.parametrize("purpose", [Purpose.CONSENSUS, Purpose.GOVERNANCE])
def test_application_with_a_governed_key_is_refused(chain: TestChain, purpose: Purpose) -> None:
    """Consensus and governance keys come by governance only."""
    own = [*NEW_KEYS, Key(NEW, purpose)]
    payload = application(keys=tuple(key.new for key in own))
    assert chain.refusal("institution.apply", payload, signer=NEW, by=[*own, transaction_key(UGTO)]) == (
        Reason.NOT_PERMITTED,
        f"{purpose} keys change only by governance",
    )


def test_application_with_a_p256_node_key_is_refused(chain: TestChain) -> None:
    """Handshakes are signed with Ed25519."""
    odd = Key(NEW, Purpose.NODE, 0, Algorithm.P256)
    own = [*NEW_KEYS, odd]
    payload = application(keys=tuple(key.new for key in own))
    assert chain.refusal("institution.apply", payload, signer=NEW, by=[*own, transaction_key(UGTO)]) == (
        Reason.BAD_PUBLIC_KEY,
        "a key of purpose node has algorithm 1, not 2",
    )


def test_application_signed_by_a_key_that_it_does_not_bring_is_refused(chain: TestChain) -> None:
    """Exactly the keys of the application sign for the new institution."""
    other = transaction_key(NEW, 1)
    assert chain.refusal(
        "institution.apply", application(), signer=NEW, by=[NEW_KEYS[0], NEW_KEYS[2], other, transaction_key(UGTO)]
    ) == (Reason.UNKNOWN_KEY, f"nueva.example brings no key {other.key_id.hex()}")


def test_application_of_an_existing_id_is_refused(chain: TestChain) -> None:
    """An id is given once, for ever."""
    payload = application(ITLEON)
    assert chain.refusal("institution.apply", payload, signer=ITLEON, by=application_signers(ITLEON)) == (
        Reason.ALREADY_EXISTS,
        "itleon.example is on the chain",
    )


def test_application_in_another_name_is_refused(chain: TestChain) -> None:
    """The signer is the new institution itself."""
    assert chain.refusal("institution.apply", application(), signer=UGTO, by=application_signers()) == (
        Reason.NOT_PERMITTED,
        "ugto.example may not apply for nueva.example",
    )


def test_application_without_the_forwarder_is_refused(chain: TestChain) -> None:
    """Each of the new keys and the forwarder's sign: four here."""
    assert chain.refusal("institution.apply", application(), signer=NEW, by=list(NEW_KEYS)) == (
        Reason.WRONG_SIGNERS,
        "3 signatures, 4 needed",
    )


def test_application_forwarded_by_a_suspended_institution_is_refused(chain: TestChain) -> None:
    """Who forwards must be accredited now."""
    chain.do("institution.suspend", Suspend(UGTO, "audit"), signer=SEG)
    assert chain.refusal("institution.apply", application(), signer=NEW, by=application_signers()) == (
        Reason.NOT_ACCREDITED,
        "ugto.example is not accredited now",
    )
    chain.do("institution.reinstate", Reinstate(UGTO, "audit_closed"), signer=SEG)
    apply(chain)


def test_applications_wait_within_a_bound_and_a_refused_one_makes_room(chain: TestChain) -> None:
    """Two may wait in this network; withdrawing one lets the third in."""
    apply(chain, "una.example")
    apply(chain, "dos.example")
    third = application("tres.example")
    signers = application_signers("tres.example")
    assert chain.refusal("institution.apply", third, signer="tres.example", by=signers) == (
        Reason.LIMIT_EXCEEDED,
        "2 applications wait, at most 2 may",
    )
    chain.do("institution.withdraw", Withdraw("una.example", "incomplete"), signer=SEG)
    chain.do("institution.apply", third, signer="tres.example", by=signers)
    assert pending(chain) == ("dos.example", "tres.example")


# --- review ---


def test_review_is_recorded_and_changes_no_standing(chain: TestChain) -> None:
    """Decision and report hash stand in the history."""
    apply(chain)
    chain.do("institution.review", Review(NEW, Decision.UNFAVOURABLE, REPORT), signer=COEPES)
    step = institution(chain, NEW).history[-1]
    assert (step.kind, step.standing, step.decision, step.report_hash, step.act.actor) == (
        StepKind.REVIEW,
        Standing.APPLIED,
        "unfavourable",
        REPORT,
        COEPES,
    )


def test_review_by_another_role_is_refused(chain: TestChain) -> None:
    """Only a quality agency reviews."""
    apply(chain)
    assert chain.refusal("institution.review", Review(NEW, Decision.FAVOURABLE, REPORT), signer=SEG) == (
        Reason.NOT_PERMITTED,
        "seg.example has no role quality_agency",
    )


def test_repeated_report_is_refused(chain: TestChain) -> None:
    """One report is one review; a retry changes nothing."""
    apply(chain)
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, REPORT), signer=COEPES)
    assert chain.refusal("institution.review", Review(NEW, Decision.UNFAVOURABLE, REPORT), signer=COEPES) == (
        Reason.ALREADY_EXISTS,
        f"report {REPORT.hex()} was recorded before",
    )
    chain.do("institution.review", Review(NEW, Decision.UNFAVOURABLE, sha256(b"second")), signer=COEPES)


def test_no_agency_fills_anothers_history_with_reviews(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full history cannot be renewed, so each agency has a share of it."""
    monkeypatch.setattr(module, "REVIEWS_PER_AGENCY_MAX", 2)
    for number in range(2):
        review = Review(UGTO, Decision.FAVOURABLE, sha256(b"%d" % number))
        chain.do("institution.review", review, signer=COEPES)
    assert chain.refusal("institution.review", Review(UGTO, Decision.FAVOURABLE, REPORT), signer=COEPES) == (
        Reason.LIMIT_EXCEEDED,
        "coepes.example has reviewed ugto.example 2 times, at most 2",
    )
    chain.do("institution.review", Review(ITLEON, Decision.FAVOURABLE, REPORT), signer=COEPES)


def test_review_of_itself_of_nobody_and_of_the_withdrawn_is_refused(chain: TestChain) -> None:
    """There must be somebody else to review."""
    assert chain.refusal("institution.review", Review(COEPES, Decision.FAVOURABLE, REPORT), signer=COEPES) == (
        Reason.NOT_PERMITTED,
        "coepes.example may not decide about itself",
    )
    assert chain.refusal("institution.review", Review(NEW, Decision.FAVOURABLE, REPORT), signer=COEPES) == (
        Reason.UNKNOWN_INSTITUTION,
        "nueva.example is not on the chain",
    )
    chain.do("institution.withdraw", Withdraw(ITLEON, "closed"), signer=SEG)
    assert chain.refusal("institution.review", Review(ITLEON, Decision.FAVOURABLE, REPORT), signer=COEPES) == (
        Reason.WRONG_STATE,
        "itleon.example is withdrawn",
    )


# --- accredit ---


def test_reviewed_applicant_is_accredited_and_no_longer_waits(chain: TestChain) -> None:
    """Apply, review, accredit: three steps in the history, each with its actor."""
    accredited(chain)
    record = institution(chain, NEW)
    assert [(step.kind, step.act.actor) for step in record.history] == [
        (StepKind.APPLY, NEW),
        (StepKind.REVIEW, COEPES),
        (StepKind.ACCREDIT, SEG),
    ]
    assert record.history[-1].standing is Standing.ACCREDITED
    assert pending(chain) == ()


def test_applicant_without_a_favourable_latest_review_is_not_accredited(chain: TestChain) -> None:
    """None is not enough, and a later unfavourable one counts more than an earlier favourable one."""
    accredit = Accredit(NEW, (Role.ISSUER,), UNLIMITED_SCOPE, 0)
    apply(chain)
    assert chain.refusal("institution.accredit", accredit, signer=SEG) == (
        Reason.WRONG_STATE,
        "nueva.example has no review in force",
    )
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, sha256(b"1")), signer=COEPES)
    chain.do("institution.review", Review(NEW, Decision.UNFAVOURABLE, sha256(b"2")), signer=COEPES)
    assert chain.refusal("institution.accredit", accredit, signer=SEG) == (
        Reason.WRONG_STATE,
        "the latest review of nueva.example is unfavourable",
    )
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, sha256(b"3")), signer=COEPES)
    chain.do("institution.accredit", accredit, signer=SEG)


def test_review_by_a_key_that_turned_bad_accredits_nobody(chain: TestChain) -> None:
    """A void review counts for nothing."""
    apply(chain)
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, REPORT), signer=COEPES)
    stolen = transaction_key(COEPES)
    since = chain.ledger.head.height
    chain.do("key.compromise", KeyCompromise(COEPES, stolen.key_id, since), signer=COEPES, by=[recovery_key(COEPES)])
    accredit = Accredit(NEW, (Role.ISSUER,), UNLIMITED_SCOPE, 0)
    assert chain.refusal("institution.accredit", accredit, signer=SEG) == (
        Reason.WRONG_STATE,
        "nueva.example has no review in force",
    )


def test_accreditation_is_changed_without_a_new_review_but_not_repeated(chain: TestChain) -> None:
    """A renewal needs no review; exactly the same accreditation is a repeat."""
    scope = Scope((), 100, 400, ("SATCA",), ("industria",), "GTO")
    accredit = Accredit(UGTO, (Role.ENDORSER, Role.ISSUER), scope, chain.next_time_ms + 60_000)
    chain.do("institution.accredit", accredit, signer=SEG)
    assert institution(chain, UGTO).history[-1].scope == scope
    assert chain.refusal("institution.accredit", accredit, signer=SDES) == (
        Reason.ALREADY_EXISTS,
        "ugto.example is accredited in exactly this way",
    )


def test_accreditation_that_ends_before_it_begins_is_refused(chain: TestChain) -> None:
    """Valid until must lie above the block's time; one millisecond is enough."""
    at = chain.ledger.head.timestamp_ms + 1
    roles = (Role.ISSUER,)
    assert chain.refusal("institution.accredit", Accredit(UGTO, roles, UNLIMITED_SCOPE, at), signer=SEG) == (
        Reason.INVALID_VALUE,
        f"valid until {at} is not after block time {at}",
    )
    chain.submit("institution.accredit", Accredit(UGTO, roles, UNLIMITED_SCOPE, at + 1), signer=SEG)


def test_accreditation_with_a_crossed_scope_or_disordered_roles_is_refused(chain: TestChain) -> None:
    """Credits from 5 to 4 and roles out of order are faults; equal bounds are none."""
    crossed = msgspec.structs.replace(UNLIMITED_SCOPE, credits_min_hundredths=500, credits_max_hundredths=499)
    assert chain.refusal("institution.accredit", Accredit(UGTO, (Role.ISSUER,), crossed, 0), signer=SEG) == (
        Reason.INVALID_VALUE,
        "scope: at least 500 hundredths of credits, at most 499",
    )
    twice = (Role.ISSUER, Role.ISSUER)
    assert chain.refusal("institution.accredit", Accredit(UGTO, twice, UNLIMITED_SCOPE, 0), signer=SEG) == (
        Reason.INVALID_VALUE,
        "roles: not ascending, or one is there twice",
    )
    equal = msgspec.structs.replace(UNLIMITED_SCOPE, credits_min_hundredths=500, credits_max_hundredths=500)
    chain.do("institution.accredit", Accredit(UGTO, (Role.ISSUER,), equal, 0), signer=SEG)


# --- suspend, reinstate, withdraw ---

DECISIONS = {
    "institution.accredit": Accredit(UGTO, (Role.ENDORSER,), UNLIMITED_SCOPE, 0),
    "institution.suspend": Suspend(UGTO, "audit"),
    "institution.reinstate": Reinstate(UGTO, "audit_closed"),
    "institution.withdraw": Withdraw(UGTO, "closed"),
}


@pytest.mark.parametrize("kind", DECISIONS)
def test_decision_by_another_role_is_refused(chain: TestChain, kind: str) -> None:
    """Only an authority accredits, suspends, reinstates and withdraws."""
    assert chain.refusal(kind, DECISIONS[kind], signer=CONOCER) == (
        Reason.NOT_PERMITTED,
        "conocer.example has no role authority",
    )


@pytest.mark.parametrize("kind", DECISIONS)
def test_authority_decides_nothing_about_itself(chain: TestChain, kind: str) -> None:
    """An authority neither extends nor ends its own standing."""
    payload = msgspec.structs.replace(DECISIONS[kind], institution=SEG)
    assert chain.refusal(kind, payload, signer=SEG) == (
        Reason.NOT_PERMITTED,
        "seg.example may not decide about itself",
    )


def test_suspended_authority_decides_nothing(chain: TestChain) -> None:
    """A suspension takes the role with it, until it is lifted."""
    chain.do("institution.suspend", Suspend(SDES, "audit"), signer=SEG)
    assert chain.refusal("institution.suspend", Suspend(UGTO, "audit"), signer=SDES) == (
        Reason.NOT_ACCREDITED,
        "sdes.example is not accredited now",
    )
    chain.do("institution.reinstate", Reinstate(SDES, "audit_closed"), signer=SEG)
    chain.do("institution.suspend", Suspend(UGTO, "audit"), signer=SDES)


def test_each_decision_needs_its_standing(chain: TestChain) -> None:
    """The life of an institution: what may follow what; withdrawn is the end."""
    accredit = DECISIONS["institution.accredit"]

    def refused(kind: str) -> tuple[Reason, str]:
        return chain.refusal(kind, DECISIONS[kind], signer=SEG)

    assert refused("institution.reinstate") == (Reason.WRONG_STATE, "ugto.example is accredited")
    chain.do("institution.suspend", Suspend(UGTO, "audit"), signer=SEG)
    assert refused("institution.suspend") == (Reason.WRONG_STATE, "ugto.example is suspended")
    assert refused("institution.accredit") == (Reason.WRONG_STATE, "ugto.example is suspended")
    chain.do("institution.reinstate", Reinstate(UGTO, "audit_closed"), signer=SEG)
    before = institution(chain, UGTO).history[0]
    after = institution(chain, UGTO).history[-1]
    assert (after.roles, after.scope, after.valid_until_ms) == (before.roles, before.scope, before.valid_until_ms)
    chain.do("institution.accredit", accredit, signer=SEG)
    chain.do("institution.withdraw", Withdraw(UGTO, "closed"), signer=SEG)
    for kind in DECISIONS:
        assert refused(kind) == (Reason.WRONG_STATE, "ugto.example is withdrawn")


def test_applicant_is_neither_suspended_nor_reinstated(chain: TestChain) -> None:
    """Who is not accredited yet can only be accredited or refused."""
    apply(chain)
    for kind, payload in (("suspend", Suspend(NEW, "audit")), ("reinstate", Reinstate(NEW, "audit"))):
        assert chain.refusal(f"institution.{kind}", payload, signer=SEG) == (
            Reason.WRONG_STATE,
            "nueva.example is applied",
        )


@pytest.mark.parametrize("reason", ["", "Audit", "audit of Juan", "1audit"])
def test_reason_that_is_no_code_is_refused(chain: TestChain, reason: str) -> None:
    """Free text could name a person."""
    assert chain.refusal("institution.suspend", Suspend(UGTO, reason), signer=SEG) == (
        Reason.INVALID_VALUE,
        f"reason {reason!r} is no code of a-z, 0-9 and _",
    )


def test_decision_by_a_stolen_key_is_as_if_never_made(chain: TestChain) -> None:
    """A withdrawal signed by a key that was in wrong hands is void: the institution stands as before."""
    chain.do("institution.withdraw", Withdraw(UGTO, "closed"), signer=SEG)
    since = chain.ledger.head.height
    stolen = transaction_key(SEG)
    chain.do("key.compromise", KeyCompromise(SEG, stolen.key_id, since), signer=SEG, by=[recovery_key(SEG)])
    chain.do("institution.suspend", Suspend(UGTO, "audit"), signer=SDES)
    assert institution(chain, UGTO).history[-1].standing is Standing.SUSPENDED


def test_authority_with_two_required_signatures_needs_both() -> None:
    """`required_signatures` binds an authority's decisions as everything else."""
    chain = TestChain(genesis(required={SEG: [RequiredSignatures("institution.suspend", 2)]}))
    suspend = Suspend(UGTO, "audit")
    assert chain.refusal("institution.suspend", suspend, signer=SEG) == (
        Reason.WRONG_SIGNERS,
        "1 signatures, 2 needed",
    )
    both = [transaction_key(SEG, 0), transaction_key(SEG, 1)]
    chain.do("institution.suspend", suspend, signer=SEG, by=both)
    assert institution(chain, UGTO).history[-1].act.required == 2


def test_full_history_leaves_room_to_stop_an_institution(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reviews fill a history up to the last two places, which only suspension and withdrawal may use."""
    monkeypatch.setattr(module, "HISTORY_STEPS_PER_INSTITUTION_MAX", 4)
    chain.do("institution.review", Review(UGTO, Decision.FAVOURABLE, sha256(b"1")), signer=COEPES)
    assert chain.refusal("institution.review", Review(UGTO, Decision.FAVOURABLE, sha256(b"2")), signer=COEPES) == (
        Reason.LIMIT_EXCEEDED,
        "ugto.example has 2 steps of 2",
    )
    chain.do("institution.suspend", Suspend(UGTO, "flood"), signer=SEG)
    chain.do("institution.withdraw", Withdraw(UGTO, "flood"), signer=SEG)


def test_record_that_grows_too_large_is_refused(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record has a bound in bytes too, and room for an authority below it."""
    size = len(chain.ledger.prove(keys.accreditation(UGTO)).value or b"")
    monkeypatch.setattr(module, "STATE_RECORD_BYTES_MAX", size + 500)
    monkeypatch.setattr(module, "HISTORY_BYTES_RESERVED", 499)
    reason, detail = chain.refusal("institution.review", Review(UGTO, Decision.FAVOURABLE, sha256(b"1")), signer=COEPES)
    assert reason is Reason.LIMIT_EXCEEDED
    assert detail.startswith("ugto.example would take ")
    assert detail.endswith(f" bytes of {size + 1}")
    chain.do("institution.suspend", Suspend(UGTO, "flood"), signer=SEG)
