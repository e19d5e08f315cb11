"""What two statements prove, where they count, and what becomes of them on the chain."""

import contextlib
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import codec
from node.chain.block import evidence_root
from node.chain.certificate import Network
from node.chain.evidence import (
    Evidence,
    Offence,
    OffenceKind,
    contradiction,
    decode_evidence,
    judge,
    make_evidence,
)
from node.chain.evidence_pool import EvidencePool
from node.chain.records.equivocation import Equivocation, Equivocations
from node.chain.rules.framework import Event
from node.chain.statements import Commit, Prepare, ProposalHead, SignedPart, ViewChangeHead, statement_digest
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected
from node.limits import (
    EQUIVOCATIONS_RECORDED_MAX,
    EVIDENCE_AGE_HEIGHTS_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_PER_BLOCK_MAX,
    EVIDENCE_POOL_MAX,
    EVIDENCE_POOL_PER_VALIDATOR_MAX,
)
from node.state import keys
from tests.unit.chain.kit import ITLEON, SDES, SEG, VALIDATORS, Key, Purpose, TestChain, refusal

X, Y = b"x" * 32, b"y" * 32
NONE = bytes(64)
BIG = 2**32 - 1


def vote(
    kind: type[Prepare] | type[Commit] = Prepare, *, view: int = 0, block: bytes = X, **changed: int
) -> SignedPart:
    """Return a vote, not signed."""
    return msgspec.structs.replace(kind(0, 1, view, block, 0, NONE), **changed)


def proposal(*, view: int = 0, block: bytes = X, **changed: int) -> SignedPart:
    """Return a proposal, not signed."""
    return msgspec.structs.replace(ProposalHead(0, 1, view, block, 0, NONE), **changed)


def change(view: int, claim: tuple[int, bytes] | None = None, **changed: int) -> ViewChangeHead:
    """Return a ViewChange, not signed."""
    prepared = (None, None) if claim is None else claim
    return msgspec.structs.replace(ViewChangeHead(0, 1, view, *prepared, 0, NONE), **changed)


CONTRADICTIONS: list[tuple[SignedPart, SignedPart, OffenceKind | None]] = [
    (proposal(), proposal(block=Y), OffenceKind.PROPOSAL),
    (proposal(view=3), proposal(view=3, block=Y), OffenceKind.PROPOSAL),
    (vote(), vote(block=Y), OffenceKind.PREPARE),
    (vote(Commit), vote(Commit, block=Y), OffenceKind.COMMIT),
    (change(2), change(2, (0, X)), OffenceKind.VIEW_CHANGE),
    (change(2, (1, X)), change(2, (1, Y)), OffenceKind.VIEW_CHANGE),
    (vote(Commit, view=1), change(2), OffenceKind.BROKEN_PROMISE),
    (vote(Commit, view=1), change(BIG, (0, X)), OffenceKind.BROKEN_PROMISE),
    (vote(Commit, view=1), change(3, (1, Y)), OffenceKind.BROKEN_PROMISE),
    # What an honest validator may well sign.
    (proposal(), proposal(view=1, block=Y), None),
    (vote(), vote(Commit), None),
    (vote(), vote(Commit, block=Y), None),
    (vote(), proposal(block=Y), None),
    (vote(), vote(view=1, block=Y), None),
    (vote(), change(1), None),
    (change(1), change(2, (0, X)), None),
    (vote(Commit, view=1), change(1), None),
    (vote(Commit, view=2), change(1), None),
    (vote(Commit, view=1), change(2, (1, X)), None),
    (vote(Commit, view=1), change(4, (3, Y)), None),
    # Another validator, height or epoch.
    (vote(), vote(block=Y, validator=1), None),
    (vote(), vote(block=Y, height=2), None),
    (vote(), vote(block=Y, epoch=1), None),
    (vote(Commit, view=1), change(2, validator=1), None),
    (vote(Commit, view=1), change(2, height=2), None),
    (vote(Commit, view=1), change(2, epoch=1), None),
]


@pytest.mark.parametrize("one,other,kind", CONTRADICTIONS)
def test_what_contradicts_what(one: SignedPart, other: SignedPart, kind: OffenceKind | None) -> None:
    """[E1] [E2] In whatever order they are found."""
    assert contradiction(one, other) is kind
    assert contradiction(other, one) is kind


@pytest.mark.parametrize("one", [proposal(), vote(), vote(Commit), change(2, (1, X))])
def test_content_decides_and_not_the_signature(one: SignedPart) -> None:
    """[E1] Two signatures under one statement are one statement: anybody's key may make several for one digest."""
    assert contradiction(one, one) is None
    assert contradiction(one, msgspec.structs.replace(one, signature=b"s" * 64)) is None


PARTS = st.builds(
    lambda kind, view, block, prepared: (
        change(view + 1, None if prepared is None else (prepared, block))
        if kind == "change"
        else {"proposal": proposal, "prepare": vote, "commit": lambda **at: vote(Commit, **at)}[kind](
            view=view, block=block
        )
    ),
    st.sampled_from(["proposal", "prepare", "commit", "change"]),
    st.integers(0, 3),
    st.sampled_from([X, Y]),
    st.none() | st.integers(0, 3),
)


@given(PARTS, PARTS)
def test_two_contents_of_one_place_never_share_a_digest(one: SignedPart, other: SignedPart) -> None:
    """What is told apart by content is told apart by what is signed, and the other way round."""
    network = Network("pila-test", X)
    same_kind = type(one) is type(other)
    assert (statement_digest(network, one) == statement_digest(network, other)) == (same_kind and one == other)


@given(st.permutations(range(len(CONTRADICTIONS))))
def test_evidence_is_the_same_bytes_whoever_finds_it(order: list[int]) -> None:
    """The smaller statement stands first; bytes lead back to the same statements."""
    one, other, _ = CONTRADICTIONS[order[0]]
    data = codec.encode(make_evidence(one, other))
    assert data == codec.encode(make_evidence(other, one))
    assert decode_evidence(data) == make_evidence(one, other)
    assert set(decode_evidence(data).parts) == {one, other}


def test_largest_evidence_fits_its_bound() -> None:
    """Two ViewChanges with claims and the largest numbers."""
    largest = [ViewChangeHead(BIG, 2**63 - 1, BIG, BIG - 1, block, 99, b"\xff" * 64) for block in (X, Y)]
    assert len(codec.encode(make_evidence(*largest))) <= EVIDENCE_BYTES_MAX


@given(st.binary(max_size=400))
def test_any_bytes_are_evidence_or_refused(data: bytes) -> None:
    """Nothing else happens, whatever a peer puts into a block."""
    with contextlib.suppress(Rejected):
        assert codec.encode(decode_evidence(data)) == data


# On a chain


@pytest.fixture
def chain() -> TestChain:
    """Return a network at height 2."""
    chain = TestChain()
    chain.skip_to(2)
    return chain


def signed(chain: TestChain, part: SignedPart, *, by: str | None = None, network: Network | None = None) -> SignedPart:
    """The statement with the signature of the validator it names, or of another."""
    name = by or VALIDATORS[part.validator]
    digest = statement_digest(network or chain.network, part)
    return msgspec.structs.replace(part, signature=Key(name, Purpose.CONSENSUS).sign(digest))


def two_votes(chain: TestChain, *, validator: int = 0, height: int = 3, view: int = 0, number: int = 0) -> bytes:
    """Evidence of two Prepares."""
    blocks = (X, bytes([number]) * 32)
    parts = [signed(chain, Prepare(0, height, view, block, validator, NONE)) for block in blocks]
    return codec.encode(make_evidence(parts[0], parts[1]))


def test_equivocation_is_in_one_block_and_on_record_once(chain: TestChain) -> None:
    """[E4] [E5] Taken, included, recorded with its proof; the record and every other node refuse it from then on."""
    other = TestChain()
    other.skip_to(2)
    data = two_votes(chain)
    assert not chain.ledger.has_pending()
    assert chain.ledger.submit_evidence(data)
    assert chain.ledger.has_pending()
    assert not chain.ledger.submit_evidence(data)
    block = chain.build()
    assert block.evidence == (data,)
    assert block.header.evidence_root == evidence_root([data])
    for one in (chain, other):
        one.ledger.commit_block(block, chain.certificate(block) if one is chain else one.certificate(block))
        assert one.ledger.read(keys.equivocations(ITLEON), Equivocations) == Equivocations(
            (Equivocation(0, 3, 0, int(OffenceKind.PREPARE), sha256(data), 3),)
        )
        assert not one.ledger.submit_evidence(data)
        assert not one.ledger.has_pending()
        assert one.build().evidence == ()
    assert chain.ledger.validators_at(4) == chain.ledger.validators_at(3)


def test_other_proof_of_a_recorded_offence_is_not_new(chain: TestChain) -> None:
    """[E5] A third Prepare of the same view proves nothing more."""
    assert chain.ledger.submit_evidence(two_votes(chain, number=1))
    assert not chain.ledger.submit_evidence(two_votes(chain, number=2))
    chain.commit()
    assert not chain.ledger.submit_evidence(two_votes(chain, number=2))
    assert chain.ledger.submit_evidence(two_votes(chain, number=2, view=1))


def test_evidence_of_a_block_leaves_the_pool_of_who_had_it_too(chain: TestChain) -> None:
    """[E4] Whoever's proof was first."""
    other = TestChain()
    other.skip_to(2)
    assert other.ledger.submit_evidence(two_votes(chain, number=2))
    chain.ledger.submit_evidence(two_votes(chain, number=1))
    block = chain.build()
    other.ledger.commit_block(block, chain.certificate(block))
    assert len(other.ledger.evidence) == 0


def test_pool_is_lost_at_a_restart_and_evidence_seen_again_is_taken_again(chain: TestChain) -> None:
    """[E4] What is recorded stays recorded."""
    waiting, recorded = two_votes(chain, validator=1), two_votes(chain)
    chain.ledger.submit_evidence(recorded)
    chain.commit()
    chain.ledger.submit_evidence(waiting)
    again = TestChain(chain.document, chain.store)
    assert not again.ledger.has_pending()
    assert not again.ledger.submit_evidence(recorded)
    assert again.ledger.submit_evidence(waiting)


def test_event_names_the_record(chain: TestChain) -> None:
    """Whoever watches governance hears of it."""
    chain.ledger.submit_evidence(two_votes(chain))
    block = chain.build()
    _, execution = chain.ledger._executed[block.hash()]
    assert Event("governance", "equivocation", keys.equivocations(ITLEON)) in execution.events


def test_broken_promise_is_recorded_at_the_view_of_the_commit(chain: TestChain) -> None:
    """[E2] Commit in view 1, then a ViewChange to 3 that claims view 0."""
    parts = [signed(chain, vote(Commit, view=1, height=3)), signed(chain, change(3, (0, X), height=3))]
    data = codec.encode(make_evidence(parts[0], parts[1]))
    assert chain.ledger.submit_evidence(data)
    chain.commit()
    assert chain.ledger.read(keys.equivocations(ITLEON), Equivocations) == Equivocations(
        (Equivocation(0, 3, 1, int(OffenceKind.BROKEN_PROMISE), sha256(data), 3),)
    )


# Refusals


def test_evidence_with_unbound_context_is_refused(chain: TestChain) -> None:
    """Named after the advisories: what was said on another chain, genesis, epoch, height or in another set is no proof.

    Each pair is genuine where it was signed; carried over here, its digest is another one.
    """
    good = [Prepare(0, 3, 0, block, 0, NONE) for block in (X, Y)]

    def evidence(parts: list[SignedPart]) -> bytes:
        return codec.encode(make_evidence(parts[0], parts[1]))

    bad_signature = (Reason.BAD_EVIDENCE, f"signature of {ITLEON} on Prepare is bad")
    for network in (Network("another-chain", chain.network.genesis_hash), Network(chain.network.chain_id, X)):
        foreign = evidence([signed(chain, part, network=network) for part in good])
        assert refusal(lambda data=foreign: chain.ledger.submit_evidence(data)) == bad_signature
    for name in ("height", "epoch", "view"):
        elsewhere = [signed(chain, msgspec.structs.replace(part, **{name: 2})) for part in good]
        moved = evidence([msgspec.structs.replace(part, **{name: getattr(good[0], name)}) for part in elsewhere])
        assert refusal(lambda data=moved: chain.ledger.submit_evidence(data)) == bad_signature
    of_another_epoch = evidence([signed(chain, msgspec.structs.replace(part, epoch=1)) for part in good])
    assert refusal(lambda: chain.ledger.submit_evidence(of_another_epoch)) == (
        Reason.WRONG_EPOCH,
        "evidence of epoch 1, this is 0",
    )
    of_another_member = evidence([signed(chain, part, by=SDES) for part in good])
    assert refusal(lambda: chain.ledger.submit_evidence(of_another_member)) == bad_signature
    beyond_the_set = evidence([signed(chain, msgspec.structs.replace(part, validator=4), by=SEG) for part in good])
    assert refusal(lambda: chain.ledger.submit_evidence(beyond_the_set)) == (
        Reason.NOT_A_VALIDATOR,
        "signer 4 of 4 validators",
    )


def test_evidence_is_judged_by_the_set_of_its_height(chain: TestChain) -> None:
    """The member that had the index then, with the key it had then."""
    data = two_votes(chain, height=2)
    sets = {height: chain.ledger.validators_at(height) for height in (1, 2, 3)}
    members = sets[2].members
    swapped = ValidatorSet((Validator("aaa.example", b"k" * 32), *members[1:]))

    def judged(set_of_2: ValidatorSet, set_of_3: ValidatorSet) -> Offence:
        found = {2: set_of_2, 3: set_of_3}
        return judge(data, chain.network, 0, 3, found.__getitem__, chain.ledger._verify_digest)

    assert judged(sets[2], swapped) == Offence(ITLEON, 0, 2, 0, OffenceKind.PREPARE, sha256(data))
    assert refusal(lambda: judged(swapped, sets[3])) == (
        Reason.BAD_EVIDENCE,
        "signature of aaa.example on Prepare is bad",
    )


def test_statements_that_prove_nothing_are_refused(chain: TestChain) -> None:
    """The same twice, without contradiction, in the wrong order, with one bad signature, of a height to come."""
    one, other = (signed(chain, Prepare(0, 3, 0, block, 0, NONE)) for block in (X, Y))
    evidence = make_evidence(one, other)
    forged = make_evidence(one, msgspec.structs.replace(other, signature=NONE))
    commit = signed(chain, Commit(0, 3, 0, Y, 0, NONE))
    for wrong, expected in (
        (Evidence(evidence.second, evidence.first), (Reason.BAD_EVIDENCE, "the statements are not in their order")),
        (Evidence(one, one), (Reason.BAD_EVIDENCE, "the statements are not in their order")),
        (make_evidence(one, commit), (Reason.BAD_EVIDENCE, "the statements do not contradict each other")),
        (forged, (Reason.BAD_EVIDENCE, f"signature of {ITLEON} on Prepare is bad")),
    ):
        data = codec.encode(wrong)
        assert refusal(lambda data=data: chain.ledger.submit_evidence(data)) == expected
    early = two_votes(chain, height=4)
    assert refusal(lambda: chain.ledger.submit_evidence(early)) == (
        Reason.WRONG_HEIGHT,
        "evidence of height 4, 3 is being decided",
    )
    assert not chain.ledger.has_pending()


@pytest.mark.parametrize("height,counts", [(1_000 - EVIDENCE_AGE_HEIGHTS_MAX + 1, True), (100, False)])
def test_evidence_counts_up_to_899_heights_later(chain: TestChain, height: int, counts: bool) -> None:
    """[E5] At height 1,000 that of 101 … 1,000."""
    data = two_votes(chain, height=height)
    validators = chain.ledger.validators_at(1)

    def judged() -> Offence:
        return judge(data, chain.network, 0, 1_000, lambda _: validators, chain.ledger._verify_digest)

    if counts:
        assert judged().height == height
    else:
        assert refusal(judged) == (Reason.EXPIRED, "evidence of height 100, at 1000 the last 900 count")


def with_evidence(chain: TestChain, *evidence: bytes) -> Callable[[], None]:
    """Validate the next block with other evidence, its header fitting."""
    block = chain.build()
    header = msgspec.structs.replace(block.header, evidence_root=evidence_root(evidence))
    forged = msgspec.structs.replace(block, header=header, evidence=tuple(evidence))
    return lambda: chain.ledger.validate_block(forged)


def test_block_with_bad_evidence_is_refused(chain: TestChain) -> None:
    """[E5] Garbage, a pair that proves nothing, the same offence twice, one that is on record."""
    assert refusal(with_evidence(chain, b"x"))[0] is Reason.MALFORMED
    honest = make_evidence(*(signed(chain, Prepare(0, 3, view, X, 0, NONE)) for view in (0, 1)))
    assert refusal(with_evidence(chain, codec.encode(honest)))[0] is Reason.BAD_EVIDENCE
    twice = (two_votes(chain, number=1), two_votes(chain, number=2))
    recorded = (Reason.ALREADY_EXISTS, f"prepare of {ITLEON} at height 3, view 0, epoch 0 is recorded")
    assert refusal(with_evidence(chain, *twice)) == recorded
    chain.ledger.submit_evidence(twice[0])
    chain.commit()
    assert refusal(with_evidence(chain, twice[1])) == recorded


def test_block_must_record_what_its_evidence_proves(chain: TestChain) -> None:
    """A proposer cannot carry evidence and leave the record out: the state root would be another."""
    reason, detail = refusal(with_evidence(chain, two_votes(chain)))
    assert (reason, detail.partition(":")[0]) == (Reason.BAD_BLOCK, "state root")


# Bounds


def test_pool_holds_sixteen_of_a_validator_and_a_block_sixteen_in_all(chain: TestChain) -> None:
    """[E4] A liar fills its own place; the rest waits for the next block."""
    taken = [chain.ledger.submit_evidence(two_votes(chain, view=view)) for view in range(20)]
    assert taken == [True] * EVIDENCE_POOL_PER_VALIDATOR_MAX + [False] * 4
    assert chain.ledger.submit_evidence(two_votes(chain, validator=1))
    assert len(chain.commit().block.evidence) == EVIDENCE_PER_BLOCK_MAX
    assert len(chain.commit().block.evidence) == 1


def test_pool_is_bounded_in_all() -> None:
    """However many validators lie."""
    pool = EvidencePool()
    offences = [Offence(f"v{i}.example", 0, 1, 0, OffenceKind.PREPARE, X) for i in range(EVIDENCE_POOL_MAX + 1)]
    for offence in offences[:-1]:
        pool.add(offence, b"e")
    assert refusal(lambda: pool.add(offences[-1], b"e")) == (
        Reason.LIMIT_EXCEEDED,
        f"{EVIDENCE_POOL_MAX} pieces of evidence wait",
    )


def test_sixty_four_offences_of_an_institution_are_recorded(chain: TestChain) -> None:
    """[E5] A liar must not fill the state: what is beyond is refused, in the pool and in a block."""
    for view in range(EQUIVOCATIONS_RECORDED_MAX - 1):
        assert chain.ledger.submit_evidence(two_votes(chain, view=view))
        if view % EVIDENCE_PER_BLOCK_MAX == EVIDENCE_PER_BLOCK_MAX - 1:
            chain.commit()
    chain.commit()
    assert chain.ledger.submit_evidence(two_votes(chain, view=100))
    assert chain.ledger.submit_evidence(two_votes(chain, view=101))
    assert len(chain.commit().block.evidence) == 1
    recorded = chain.ledger.read(keys.equivocations(ITLEON), Equivocations)
    assert recorded is not None and len(recorded.items) == EQUIVOCATIONS_RECORDED_MAX
    assert not chain.ledger.has_pending()
    assert not chain.ledger.submit_evidence(two_votes(chain, view=102))
    assert refusal(with_evidence(chain, two_votes(chain, view=102))) == (
        Reason.LIMIT_EXCEEDED,
        f"64 equivocations of {ITLEON}",
    )
