"""The protocol is upgraded at a height: who must be ready, what headers say, and where an old program stops."""

import pytest

from node.chain.ledger import Ledger
from node.chain.records.governance import ProposalState, Upgrade, UpgradeProtocol
from node.chain.records.institution import UNLIMITED_SCOPE, Institution, InstitutionKey, Role, StepKind
from node.chain.rules.governance import VoteKind
from node.chain.rules.institutions import Accredit, Apply, Decision, Review, Withdraw
from node.chain.rules.keys import KeyCompromise
from node.errors import Reason, Rejected
from node.state import keys
from node.state.kv import MemoryStore
from tests.unit.chain.kit import (
    COEPES,
    ITLEON,
    SDES,
    SEG,
    UGTO,
    Key,
    names,
    recovery_key,
    transaction_key,
)
from tests.unit.chain.rules.council import VOTERS, Council, council
from tests.unit.chain.test_ledger import with_header

HEIGHT = 120
NEW = "nueva.example"


@pytest.fixture
def chain() -> Council:
    """Return a network of version 1."""
    return council(protocol_version=1)


def upgrade(chain: Council, *ready: str, height: int = HEIGHT) -> int:
    """Approve version 2 and let some validators be ready."""
    number = chain.approve(UpgradeProtocol(2, height))
    for institution in ready:
        chain.vote(number, institution, VoteKind.READY)
    return number


def test_headers_carry_the_new_version_from_its_height_on(chain: Council) -> None:
    """Certain a hundred blocks before; one block apart in the headers."""
    number = upgrade(chain, SEG, SDES, UGTO)
    chain.skip_to(19)
    assert chain.proposal(number).state is ProposalState.APPROVED
    chain.commit()
    assert chain.proposal(number).state is ProposalState.SCHEDULED
    assert chain.ledger.coming_upgrade == Upgrade(2, HEIGHT, number)
    chain.skip_to(HEIGHT + 1)
    headers = [chain.ledger.header_at(height) for height in (0, HEIGHT - 1, HEIGHT, HEIGHT + 1)]
    assert [header and header.version for header in headers] == [1, 1, 2, 2]
    assert chain.ledger.coming_upgrade is None
    found = chain.proposal(number)
    assert (found.state, found.effective_height) == (ProposalState.EFFECTIVE, HEIGHT)


def test_upgrade_lapses_where_too_few_are_ready(chain: Council) -> None:
    """N - f = 3 of 4 are needed 100 blocks before; readiness that comes later does not count."""
    number = upgrade(chain, SEG, SDES)
    chain.skip_to(20)
    found = chain.proposal(number)
    assert (found.state, found.reason) == (ProposalState.LAPSED, "2 of 4 validators were ready, 3 needed")
    assert chain.refused_vote(number, UGTO, VoteKind.READY) == (Reason.WRONG_STATE, f"proposal {number} is lapsed")
    chain.skip_to(HEIGHT)
    assert chain.ledger.next_version == 1


def test_upgrade_that_is_not_approved_in_time_lapses(chain: Council) -> None:
    """Everybody is ready, and too few agree."""
    chain.propose(UpgradeProtocol(2, HEIGHT))
    for institution in (SEG, SDES, UGTO, ITLEON):
        chain.vote(1, institution, VoteKind.READY)
    chain.skip_to(20)
    found = chain.proposal(1)
    assert (found.state, found.reason) == (ProposalState.LAPSED, "too few agreed in time")


def test_second_upgrade_waits_until_the_first_has_begun(chain: Council) -> None:
    """Once one is certain nothing else is; one approved beside it lapses at its own hundred blocks."""
    upgrade(chain, *VOTERS)
    beside = upgrade(chain, *VOTERS, height=HEIGHT + 5)
    chain.skip_to(20)
    assert chain.refused_proposal(UpgradeProtocol(2, 500), UGTO) == (
        Reason.WRONG_STATE,
        f"version 2 begins at height {HEIGHT}; nothing else until then",
    )
    chain.skip_to(25)
    assert chain.proposal(beside).reason == f"the network has version 2 from {HEIGHT} on"


def test_block_of_another_version_is_refused(chain: Council) -> None:
    """Neither too early nor too late."""
    upgrade(chain, *VOTERS)
    chain.skip_to(HEIGHT - 2)
    with pytest.raises(Rejected) as early:
        chain.ledger.validate_block(with_header(chain.build(), version=2))
    assert (early.value.reason, early.value.detail) == (Reason.UNKNOWN_VERSION, "protocol version 2, not 1")
    chain.skip_to(HEIGHT - 1)
    with pytest.raises(Rejected) as late:
        chain.ledger.validate_block(with_header(chain.build(), version=1))
    assert (late.value.reason, late.value.detail) == (Reason.UNKNOWN_VERSION, "protocol version 1, not 2")


def test_program_that_does_not_know_the_version_stops_before_it_and_says_so(chain: Council) -> None:
    """It has every block below, makes and judges none from there on, and waits for nothing."""
    upgrade(chain, *VOTERS)
    chain.skip_to(HEIGHT - 1)
    old = Ledger.open(chain.store, chain.document, version_max=1)
    sentence = (
        "height 120 is judged by version 2 of the protocol, this node knows versions up to 1: install a newer program "
        "and start again; nothing is lost"
    )
    assert old.ignorance == sentence
    assert not old.has_pending()
    block = chain.build()
    for action in (
        lambda: old.validate_block(block),
        lambda: old.build_block(proposer=SEG, timestamp_ms=chain.next_time_ms),
        lambda: old.submit(chain.transaction("institution.withdraw", Withdraw(UGTO, "x"), signer=SEG)),
    ):
        with pytest.raises(Rejected) as refused:
            action()
        assert (refused.value.reason, refused.value.detail) == (Reason.UNKNOWN_VERSION, sentence)
    assert chain.ledger.ignorance is None


def test_old_program_judges_everything_below_the_upgrade(chain: Council) -> None:
    """Blocks with proposals and votes about a version that it does not know are good for it."""
    upgrade(chain, *VOTERS)
    chain.skip_to(HEIGHT - 1)
    old = Ledger.open(MemoryStore(), chain.document, version_max=1)
    for height in range(1, HEIGHT):
        found = chain.ledger.block_at(height)
        assert found is not None
        assert old.ignorance is None
        old.commit_block(*found)
    assert old.head == chain.ledger.head
    assert old.ignorance is not None


# --- what version 2 changes ---


def application(number: int = 0, *, forwarder: str = SEG) -> tuple[Apply, list[Key]]:
    """Return an application of a new institution with the keys that sign it."""
    own = [transaction_key(NEW, number), recovery_key(NEW, number)]
    payload = Apply(
        NEW, names(NEW), "MX", "GTO", "León", f"https://{NEW}", "", "", (Role.ISSUER,), (),
        tuple(key.new for key in own), forwarder,
    )  # fmt: skip
    return payload, [*own, transaction_key(forwarder)]


def apply(chain: Council, number: int = 0) -> None:
    """Apply."""
    payload, by = application(number)
    chain.do("institution.apply", payload, signer=NEW, by=by)


def test_version_1_keeps_the_id_of_a_withdrawn_application(chain: Council) -> None:
    """History replays as it was made."""
    apply(chain)
    chain.do("institution.withdraw", Withdraw(NEW, "impostor"), signer=SEG)
    payload, by = application(1)
    assert chain.refusal("institution.apply", payload, signer=NEW, by=by) == (
        Reason.ALREADY_EXISTS,
        f"{NEW} is on the chain",
    )


def test_version_2_frees_the_id_of_a_withdrawn_application() -> None:
    """Whoever applies next brings keys of its own; the impostor's sign nothing any more."""
    chain = council()
    apply(chain)
    chain.do("institution.withdraw", Withdraw(NEW, "impostor"), signer=SEG)
    apply(chain, 1)
    found = chain.ledger.read(keys.accreditation(NEW), Institution)
    assert found is not None
    assert [step.kind for step in found.history] == [StepKind.APPLY, StepKind.WITHDRAW, StepKind.APPLY]
    assert found.keys == (transaction_key(NEW, 1).key_id, recovery_key(NEW, 1).key_id)
    for key in (transaction_key(NEW), recovery_key(NEW)):
        record = chain.ledger.read(keys.key(NEW, key.key_id), InstitutionKey)
        assert record is not None
        assert record.retired is not None
        assert record.retired.height == 3


def test_review_of_the_withdrawn_application_does_not_accredit_the_next() -> None:
    """It was about somebody else."""
    chain = council()
    apply(chain)
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, bytes(32)), signer=COEPES)
    chain.do("institution.withdraw", Withdraw(NEW, "impostor"), signer=SEG)
    apply(chain, 1)
    accredit = Accredit(NEW, (Role.ISSUER,), UNLIMITED_SCOPE, 0)
    assert chain.refusal("institution.accredit", accredit, signer=SEG) == (
        Reason.WRONG_STATE,
        f"{NEW} has no review in force",
    )
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, b"\1" * 32), signer=COEPES)
    chain.do("institution.accredit", accredit, signer=SEG)


def test_version_2_keeps_every_other_id() -> None:
    """One that waits, one that is accredited, and one that was accredited once and withdrawn."""
    chain = council()
    apply(chain)
    payload, by = application(1)
    taken = (Reason.ALREADY_EXISTS, f"{NEW} is on the chain")
    assert chain.refusal("institution.apply", payload, signer=NEW, by=by) == taken
    chain.do("institution.review", Review(NEW, Decision.FAVOURABLE, bytes(32)), signer=COEPES)
    chain.do("institution.accredit", Accredit(NEW, (Role.ISSUER,), UNLIMITED_SCOPE, 0), signer=SEG)
    assert chain.refusal("institution.apply", payload, signer=NEW, by=by) == taken
    chain.do("institution.withdraw", Withdraw(NEW, "closed"), signer=SEG)
    assert chain.refusal("institution.apply", payload, signer=NEW, by=by) == taken


def test_next_application_does_not_bring_a_stolen_key() -> None:
    """What is known to be in wrong hands stays so."""
    chain = council()
    apply(chain)
    chain.do(
        "key.compromise",
        KeyCompromise(NEW, transaction_key(NEW).key_id, 1),
        signer=NEW,
        by=[recovery_key(NEW)],
    )
    chain.do("institution.withdraw", Withdraw(NEW, "impostor"), signer=SEG)
    payload, by = application()
    assert chain.refusal("institution.apply", payload, signer=NEW, by=by) == (
        Reason.KEY_NOT_VALID,
        f"key {transaction_key(NEW).key_id.hex()} is compromised",
    )
