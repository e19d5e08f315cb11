"""The `key.*` rules: who may change keys, what a compromise marks, and that nobody loses recovery unnoticed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from node import codec
from node.chain.receipt import ReceiptEvent
from node.chain.records.common import Act, KeyReference
from node.chain.records.institution import (
    Institution,
    InstitutionKey,
    Purpose,
    RequiredSignatures,
)
from node.chain.rules import keys as module
from node.chain.rules.institutions import Suspend, Withdraw
from node.chain.rules.keys import KeyAdd, KeyCompromise, KeyRetire, NewKey
from node.chain.transaction import Transaction
from node.crypto.signing import Algorithm
from node.errors import Reason
from node.primitives import Hash, InstitutionId, KeyId, Signature
from node.state import keys
from tests.unit.chain.kit import (
    COEPES,
    ITLEON,
    SDES,
    SEG,
    UGTO,
    Key,
    TestChain,
    genesis,
    recovery_key,
    transaction_key,
)


@dataclass(frozen=True)
class Pretended:
    """A signature in a key's name that another key made."""

    institution: InstitutionId
    key_id: KeyId
    made_by: Key

    def sign(self, digest: Hash) -> Signature:
        """Sign with the wrong key."""
        return self.made_by.sign(digest)


@dataclass(frozen=True)
class Copied:
    """A signature that the key's holder made, over something else."""

    institution: InstitutionId
    key_id: KeyId
    signature: Signature

    def sign(self, _digest: Hash) -> Signature:
        """Return what was copied."""
        return self.signature


NEXT = transaction_key(UGTO, 7)
RECOVERY = [recovery_key(UGTO)]


@pytest.fixture
def chain() -> TestChain:
    """Return a fresh network."""
    return TestChain()


def stored(chain: TestChain, key: Key) -> InstitutionKey:
    """Return a committed key."""
    found = chain.ledger.read(keys.key(key.institution, key.key_id), InstitutionKey)
    assert found is not None
    return found


def add(chain: TestChain, key: Key, by: Sequence[Key]) -> None:
    """Have a key added: it signs too."""
    chain.do("key.add", KeyAdd(key.institution, key.new), signer=key.institution, by=[*by, key])


# --- who may ---

CHANGES = {
    "key.add": KeyAdd(UGTO, NEXT.new),
    "key.retire": KeyRetire(UGTO, transaction_key(UGTO, 1).key_id),
    "key.compromise": KeyCompromise(UGTO, transaction_key(UGTO, 1).key_id, 1),
}
ITSELF = {"key.add": [NEXT], "key.retire": [], "key.compromise": []}
"""The key that signs besides those who may."""


@pytest.mark.parametrize("kind", CHANGES)
def test_recovery_key_alone_is_enough(chain: TestChain, kind: str) -> None:
    """What the offline key is for."""
    chain.do(kind, CHANGES[kind], signer=UGTO, by=[*RECOVERY, *ITSELF[kind]])


@pytest.mark.parametrize("kind", CHANGES)
def test_transaction_key_needs_an_authority_beside_it(chain: TestChain, kind: str) -> None:
    """A stolen transaction key changes no keys; with an authority's co-signature it may."""
    payload = CHANGES[kind]
    assert chain.refusal(kind, payload, signer=UGTO) == (
        Reason.WRONG_SIGNERS,
        f"an authority must co-sign: {kind} of ugto.example with transaction keys",
    )
    chain.do(kind, payload, signer=UGTO, by=[transaction_key(UGTO), transaction_key(SDES), *ITSELF[kind]])


@pytest.mark.parametrize("kind", CHANGES)
def test_co_signing_authority_signs_with_as_many_keys_as_it_asks_of_itself(kind: str) -> None:
    """One stolen key of an authority that wants two does not change anybody's keys."""
    chain = TestChain(genesis(required={SDES: (RequiredSignatures(kind, 2),)}))
    one = [transaction_key(UGTO), transaction_key(SDES), *ITSELF[kind]]
    assert chain.refusal(kind, CHANGES[kind], signer=UGTO, by=one) == (
        Reason.WRONG_SIGNERS,
        f"{len(one)} signatures, {len(one) + 1} needed",
    )
    chain.do(kind, CHANGES[kind], signer=UGTO, by=[*one, transaction_key(SDES, 1)])


@pytest.mark.parametrize("kind", CHANGES)
def test_co_signature_by_another_role_is_refused(chain: TestChain, kind: str) -> None:
    """A quality agency is no authority."""
    assert chain.refusal(kind, CHANGES[kind], signer=UGTO, by=[transaction_key(UGTO), transaction_key(COEPES)]) == (
        Reason.NOT_PERMITTED,
        "coepes.example has no role authority",
    )


@pytest.mark.parametrize("kind", CHANGES)
def test_keys_of_another_institution_are_out_of_reach(chain: TestChain, kind: str) -> None:
    """Not even an authority changes somebody else's keys by itself."""
    assert chain.refusal(kind, CHANGES[kind], signer=SEG, by=[recovery_key(SEG)]) == (
        Reason.NOT_PERMITTED,
        "seg.example may not change keys of ugto.example",
    )


@pytest.mark.parametrize("kind", CHANGES)
def test_two_co_signers_and_needless_ones_are_refused(chain: TestChain, kind: str) -> None:
    """Exactly the signatures that are needed, no more."""
    own, seg, sdes = transaction_key(UGTO), transaction_key(SEG), transaction_key(SDES)
    assert chain.refusal(kind, CHANGES[kind], signer=UGTO, by=[own, seg, sdes]) == (
        Reason.WRONG_SIGNERS,
        "2 institutions co-sign, one authority is needed",
    )
    needed = [*RECOVERY, *ITSELF[kind]]
    assert chain.refusal(kind, CHANGES[kind], signer=UGTO, by=[*needed, seg]) == (
        Reason.WRONG_SIGNERS,
        f"{len(needed) + 1} signatures, {len(needed)} needed",
    )


def test_required_signatures_count_recovery_keys() -> None:
    """An institution that asks for two on key.add needs two recovery keys there."""
    chain = TestChain(genesis(required={UGTO: [RequiredSignatures("key.add", 2)]}))
    payload = KeyAdd(UGTO, NEXT.new)
    assert chain.refusal("key.add", payload, signer=UGTO, by=[*RECOVERY, NEXT]) == (
        Reason.WRONG_SIGNERS,
        "2 signatures, 3 needed",
    )
    chain.do("key.add", payload, signer=UGTO, by=[recovery_key(UGTO, 0), recovery_key(UGTO, 1), NEXT])


def test_suspended_institution_may_still_mend_its_keys(chain: TestChain) -> None:
    """A suspension because of a stolen key must not keep the key in force."""
    chain.do("institution.suspend", Suspend(UGTO, "stolen_key"), signer=SEG)
    for kind, payload in CHANGES.items():
        if kind != "key.retire":
            chain.do(kind, payload, signer=UGTO, by=[*RECOVERY, *ITSELF[kind]])


# --- add ---


def test_added_key_signs_from_its_block_on(chain: TestChain) -> None:
    """The record names who added it, not the key itself; the key then signs."""
    assert chain.refusal("institution.suspend", Suspend(ITLEON, "audit"), signer=SEG, by=[transaction_key(SEG, 7)]) == (
        Reason.UNKNOWN_KEY,
        f"seg.example has no key {transaction_key(SEG, 7).key_id.hex()}",
    )
    add(chain, transaction_key(SEG, 7), [recovery_key(SEG)])
    record = stored(chain, transaction_key(SEG, 7))
    added_by = (KeyReference(SEG, recovery_key(SEG).key_id),)
    assert record.added == Act(1, record.added.time_ms, SEG, added_by, 1)
    chain.do("institution.suspend", Suspend(ITLEON, "audit"), signer=SEG, by=[transaction_key(SEG, 7)])


def test_added_act_names_the_authority_that_co_signed(chain: TestChain) -> None:
    """All who added it, ascending by key id, and as many as were asked for; the new key is not among them."""
    adders = [transaction_key(UGTO), transaction_key(SDES)]
    add(chain, NEXT, adders)
    references = sorted((KeyReference(key.institution, key.key_id) for key in adders), key=lambda item: item.key_id)
    record = stored(chain, NEXT)
    assert record.added == Act(1, record.added.time_ms, UGTO, tuple(references), 2)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_key_is_added_only_with_its_own_signature(chain: TestChain, algorithm: Algorithm) -> None:
    """Neither without, nor with a broken one, nor with another key's in its place; with it, it is."""
    key = Key(UGTO, Purpose.TRANSACTION, 9, algorithm)
    for signers, expected in (
        (RECOVERY, (Reason.WRONG_SIGNERS, "1 signatures, 2 needed")),
        (
            [*RECOVERY, Pretended(UGTO, key.key_id, NEXT)],
            (Reason.BAD_SIGNATURE, f"signature of ugto.example with key {key.key_id.hex()}"),
        ),
        ([*RECOVERY, NEXT], (Reason.UNKNOWN_KEY, f"ugto.example has no key {NEXT.key_id.hex()}")),
        (
            [*RECOVERY, recovery_key(UGTO, 1)],
            (Reason.WRONG_SIGNERS, "more than 1 signatures of ugto.example"),
        ),
        (
            [*RECOVERY, transaction_key(UGTO, 1)],
            (
                Reason.KEY_NOT_VALID,
                f"key {transaction_key(UGTO, 1).key_id.hex()} has purpose transaction, recovery is needed",
            ),
        ),
    ):
        assert chain.refusal("key.add", KeyAdd(UGTO, key.new), signer=UGTO, by=signers) == expected
    add(chain, key, RECOVERY)
    assert stored(chain, key).public_key == key.public_key


def test_new_key_does_not_stand_for_those_who_may_add_it(chain: TestChain) -> None:
    """Its signature proves possession and nothing else, whatever its purpose."""
    for key in (recovery_key(UGTO, 9), NEXT):
        payload = KeyAdd(UGTO, key.new)
        assert chain.refusal("key.add", payload, signer=UGTO, by=[key]) == (
            Reason.WRONG_SIGNERS,
            "an authority must co-sign: key.add of ugto.example with transaction keys",
        )
        co_signed = [key, transaction_key(SEG)]
        assert chain.refusal("key.add", payload, signer=UGTO, by=co_signed) == (
            Reason.WRONG_SIGNERS,
            "2 signatures, 3 needed",
        )
        assert chain.refusal("key.add", payload, signer=UGTO, by=[*co_signed, transaction_key(SEG, 1)]) == (
            Reason.WRONG_SIGNERS,
            "more than 1 signatures of seg.example",
        )


def test_nobody_adds_the_public_key_of_another(chain: TestChain) -> None:
    """Not unsigned, nor with a signature that its holder made for itself, nor in the holder's name."""
    held = transaction_key(UGTO)
    payload, recovery = KeyAdd(ITLEON, held.new), recovery_key(ITLEON)
    bad = (Reason.BAD_SIGNATURE, f"signature of itleon.example with key {held.key_id.hex()}")
    assert chain.refusal("key.add", payload, signer=ITLEON, by=[recovery]) == (
        Reason.WRONG_SIGNERS,
        "1 signatures, 2 needed",
    )
    assert chain.refusal("key.add", payload, signer=ITLEON, by=[recovery, Pretended(ITLEON, held.key_id, NEXT)]) == bad
    seen = codec.decode(
        chain.transaction("institution.suspend", Suspend(SEG, "audit"), signer=UGTO), Transaction, bytes_max=10_000
    )
    (signature,) = seen.signatures
    copied = Copied(ITLEON, held.key_id, signature.signature)
    assert chain.refusal("key.add", payload, signer=ITLEON, by=[recovery, copied]) == bad
    assert chain.refusal("key.add", payload, signer=ITLEON, by=[recovery, held]) == (
        Reason.WRONG_SIGNERS,
        "ugto.example need not sign",
    )


def test_signature_for_one_adding_is_not_good_for_another(chain: TestChain) -> None:
    """Who sees a key being added cannot take it along: the signature covers the whole transaction."""
    seen = codec.decode(
        chain.transaction("key.add", KeyAdd(UGTO, NEXT.new), signer=UGTO, by=[*RECOVERY, NEXT]),
        Transaction,
        bytes_max=10_000,
    )
    (signature,) = (item.signature for item in seen.signatures if item.key_id == NEXT.key_id)
    taken = [recovery_key(ITLEON), Copied(ITLEON, NEXT.key_id, signature)]
    assert chain.refusal("key.add", KeyAdd(ITLEON, NEXT.new), signer=ITLEON, by=taken) == (
        Reason.BAD_SIGNATURE,
        f"signature of itleon.example with key {NEXT.key_id.hex()}",
    )


def test_key_of_the_past_is_not_added_again(chain: TestChain) -> None:
    """A key that is or was there stays what it is."""
    old = transaction_key(UGTO, 1)
    chain.do("key.retire", KeyRetire(UGTO, old.key_id), signer=UGTO, by=RECOVERY)
    for key in (old, recovery_key(UGTO, 1), recovery_key(UGTO, 0)):
        for signers in (RECOVERY, [recovery_key(UGTO, 1), key]):
            assert chain.refusal("key.add", KeyAdd(UGTO, key.new), signer=UGTO, by=signers) == (
                Reason.ALREADY_EXISTS,
                f"ugto.example has or had the key {key.key_id.hex()}",
            )


@pytest.mark.parametrize("purpose", [Purpose.CONSENSUS, Purpose.GOVERNANCE])
def test_governed_keys_are_untouchable(chain: TestChain, purpose: Purpose) -> None:
    """Consensus and governance keys are neither added, retired nor marked here."""
    expected = (Reason.NOT_PERMITTED, f"{purpose} keys change only by governance")
    held = Key(UGTO, purpose)
    for kind, payload in (
        ("key.add", KeyAdd(UGTO, Key(UGTO, purpose, 9).new)),
        ("key.retire", KeyRetire(UGTO, held.key_id)),
        ("key.compromise", KeyCompromise(UGTO, held.key_id, 1)),
    ):
        assert chain.refusal(kind, payload, signer=UGTO, by=RECOVERY) == expected


def test_unusable_keys_are_refused(chain: TestChain) -> None:
    """Small-order points, points off the curve and the wrong algorithm for a purpose."""
    small = bytes([1]) + bytes(31)
    off_curve = bytes([2]) + b"\xff" * 32
    for key, expected in (
        (NewKey(1, small, Purpose.TRANSACTION), f"{small.hex()} is no usable point"),
        (NewKey(2, off_curve, Purpose.TRANSACTION), f"{off_curve.hex()} is no usable point"),
        (NewKey(2, small, Purpose.TRANSACTION), "32 bytes instead of 33"),
        (NewKey(3, small, Purpose.TRANSACTION), "algorithm 3 is not known"),
        (
            Key(UGTO, Purpose.ASSERTION, 9, Algorithm.P256).new,
            "a key of purpose assertion has algorithm 1, not 2",
        ),
    ):
        assert chain.refusal("key.add", KeyAdd(UGTO, key), signer=UGTO, by=RECOVERY) == (
            Reason.BAD_PUBLIC_KEY,
            expected,
        )


def test_keys_are_bounded(chain: TestChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """An institution has at most so many keys, retired ones counted."""
    count = len(chain.ledger.read(keys.accreditation(UGTO), Institution).keys)  # type: ignore[union-attr]  # is there
    monkeypatch.setattr(module, "KEYS_PER_INSTITUTION_MAX", count + 1)
    add(chain, NEXT, RECOVERY)
    more = transaction_key(UGTO, 8)
    assert chain.refusal("key.add", KeyAdd(UGTO, more.new), signer=UGTO, by=[*RECOVERY, more]) == (
        Reason.LIMIT_EXCEEDED,
        f"ugto.example has {count + 1} keys of {count + 1}",
    )


def test_withdrawn_institution_adds_no_key_but_may_end_one(chain: TestChain) -> None:
    """Nothing new; yet what was stolen can be declared."""
    chain.do("institution.withdraw", Withdraw(UGTO, "closed"), signer=SEG)
    assert chain.refusal("key.add", CHANGES["key.add"], signer=UGTO, by=[*RECOVERY, NEXT]) == (
        Reason.WRONG_STATE,
        "ugto.example is withdrawn",
    )
    chain.do("key.compromise", CHANGES["key.compromise"], signer=UGTO, by=RECOVERY)


# --- retire ---


def test_retired_key_signs_no_more_and_what_it_signed_stays_good(chain: TestChain) -> None:
    """Good up to the height of its retirement."""
    key = transaction_key(SEG)
    chain.do("institution.suspend", Suspend(UGTO, "audit"), signer=SEG)
    committed = chain.do("key.retire", KeyRetire(SEG, key.key_id), signer=SEG, by=[recovery_key(SEG)])
    height = committed.header.height
    assert [stored(chain, key).is_good_at(at) for at in (height - 1, height, height + 1)] == [True, True, False]
    assert chain.refusal("institution.suspend", Suspend(ITLEON, "audit"), signer=SEG) == (
        Reason.KEY_NOT_VALID,
        f"key {key.key_id.hex()} is retired",
    )


def test_unknown_and_ended_keys_are_not_retired(chain: TestChain) -> None:
    """There must be a key in force."""
    assert chain.refusal("key.retire", KeyRetire(UGTO, NEXT.key_id), signer=UGTO, by=RECOVERY) == (
        Reason.UNKNOWN_KEY,
        f"ugto.example has no key {NEXT.key_id.hex()}",
    )
    key = transaction_key(UGTO, 1)
    chain.do("key.retire", KeyRetire(UGTO, key.key_id), signer=UGTO, by=RECOVERY)
    assert chain.refusal("key.retire", KeyRetire(UGTO, key.key_id), signer=UGTO, by=RECOVERY) == (
        Reason.WRONG_STATE,
        f"key {key.key_id.hex()} is retired already",
    )


def test_last_recovery_key_is_not_retired(chain: TestChain) -> None:
    """Two: one may go. One: another must come first."""
    first, second = recovery_key(UGTO, 0), recovery_key(UGTO, 1)
    chain.do("key.retire", KeyRetire(UGTO, second.key_id), signer=UGTO, by=[first])
    assert chain.refusal("key.retire", KeyRetire(UGTO, first.key_id), signer=UGTO, by=[first]) == (
        Reason.NOT_PERMITTED,
        "0 recovery keys of ugto.example would be left, 1 needed: add one",
    )
    add(chain, recovery_key(UGTO, 2), [first])
    chain.do("key.retire", KeyRetire(UGTO, first.key_id), signer=UGTO, by=[first])


def test_recovery_keys_stay_as_many_as_key_changes_need() -> None:
    """Who asks for two recovery signatures keeps two recovery keys."""
    chain = TestChain(genesis(required={UGTO: [RequiredSignatures("key.add", 2)]}))
    assert chain.refusal("key.retire", KeyRetire(UGTO, recovery_key(UGTO, 1).key_id), signer=UGTO, by=RECOVERY) == (
        Reason.NOT_PERMITTED,
        "1 recovery keys of ugto.example would be left, 2 needed: add one",
    )


# --- compromise ---


def test_compromised_key_is_good_below_the_height_only(chain: TestChain) -> None:
    """What was included below h stays good, what came later is void."""
    key = transaction_key(SEG)
    chain.skip_to(5)
    chain.do("key.compromise", KeyCompromise(SEG, key.key_id, 3), signer=SEG, by=[recovery_key(SEG)])
    assert [stored(chain, key).is_good_at(height) for height in (2, 3)] == [True, False]
    assert chain.refusal("institution.suspend", Suspend(UGTO, "audit"), signer=SEG) == (
        Reason.KEY_NOT_VALID,
        f"key {key.key_id.hex()} is compromised",
    )


def test_keys_added_by_a_compromised_key_are_marked_with_it(chain: TestChain) -> None:
    """Transitively, from the height on, and not what came before or from others."""
    bad, other = recovery_key(UGTO, 0), recovery_key(UGTO, 1)
    before, child, grandchild = recovery_key(UGTO, 10), recovery_key(UGTO, 11), transaction_key(UGTO, 12)
    elsewhere = transaction_key(UGTO, 13)
    add(chain, before, [bad])  # height 1
    add(chain, child, [bad])  # height 2
    add(chain, grandchild, [child])  # height 3
    add(chain, elsewhere, [other])  # height 4
    committed = chain.do("key.compromise", KeyCompromise(UGTO, bad.key_id, 2), signer=UGTO, by=[other])
    marked = {key.key_id: stored(chain, key).compromised for key in (bad, before, child, grandchild, other, elsewhere)}
    assert {id_ for id_, mark in marked.items() if mark is not None} == {bad.key_id, child.key_id, grandchild.key_id}
    assert all(mark is None or mark.since_height == 2 for mark in marked.values())
    assert committed.events == tuple(
        ReceiptEvent("institution", "key_compromise", keys.key(UGTO, key.key_id), 1) for key in (bad, child, grandchild)
    )


def test_compromise_is_moved_back_but_never_forward(chain: TestChain) -> None:
    """A theft found to be older is declared again; a younger one would make void things good."""
    key = transaction_key(UGTO, 1)
    chain.skip_to(4)
    chain.do("key.compromise", KeyCompromise(UGTO, key.key_id, 3), signer=UGTO, by=RECOVERY)
    for since in (3, 4):
        assert chain.refusal("key.compromise", KeyCompromise(UGTO, key.key_id, since), signer=UGTO, by=RECOVERY) == (
            Reason.WRONG_STATE,
            f"key {key.key_id.hex()} is compromised since 3 already",
        )
    chain.do("key.compromise", KeyCompromise(UGTO, key.key_id, 2), signer=UGTO, by=RECOVERY)
    mark = stored(chain, key).compromised
    assert mark is not None
    assert mark.since_height == 2


def test_compromise_in_the_future_is_refused(chain: TestChain) -> None:
    """The block that declares it is the latest height there is."""
    key = transaction_key(UGTO, 1)
    height = chain.next_height
    assert chain.refusal("key.compromise", KeyCompromise(UGTO, key.key_id, height + 1), signer=UGTO, by=RECOVERY) == (
        Reason.INVALID_VALUE,
        f"since height {height + 1} in block {height}",
    )
    chain.do("key.compromise", KeyCompromise(UGTO, key.key_id, height), signer=UGTO, by=RECOVERY)


def test_compromise_further_back_than_the_bound_needs_an_authority(
    chain: TestChain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly the bound back is the institution's own affair, one more is not (bound: 1,000, here 5)."""
    monkeypatch.setattr(module, "COMPROMISE_LOOKBACK_HEIGHTS_MAX", 5)
    chain.skip_to(9)
    key = transaction_key(UGTO, 1)
    far = KeyCompromise(UGTO, key.key_id, chain.next_height - 6)
    assert chain.refusal("key.compromise", far, signer=UGTO, by=RECOVERY) == (
        Reason.WRONG_SIGNERS,
        "an authority must co-sign: key.compromise of ugto.example with recovery keys reaches more than 5 heights back",
    )
    chain.submit("key.compromise", far, signer=UGTO, by=[*RECOVERY, transaction_key(SEG)])
    chain.submit("key.compromise", KeyCompromise(UGTO, key.key_id, chain.next_height - 5), signer=UGTO, by=RECOVERY)


def test_loss_of_the_last_recovery_key_is_told(chain: TestChain) -> None:
    """A stolen last recovery key is marked, and an event says that none is left."""
    chain.do("key.compromise", KeyCompromise(UGTO, recovery_key(UGTO, 1).key_id, 1), signer=UGTO, by=RECOVERY)
    last = recovery_key(UGTO, 0)
    committed = chain.do("key.compromise", KeyCompromise(UGTO, last.key_id, 1), signer=UGTO, by=[last])
    assert committed.events == (
        ReceiptEvent("institution", "key_compromise", keys.key(UGTO, last.key_id), 1),
        ReceiptEvent("institution", "recovery_lost", keys.accreditation(UGTO), 1),
    )
    add(chain, recovery_key(UGTO, 5), [transaction_key(UGTO), transaction_key(SEG)])
