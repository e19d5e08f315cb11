"""The light client: from genesis over hand-overs to a header, and what breaks the way."""

from dataclasses import replace

import msgspec
import pytest

from node.chain.block import PROTOCOL_VERSION, Header
from node.chain.certificate import Certificate, Network, Phase, VoteSignature, vote_digest
from node.chain.hops import HandOver, first_quorum
from node.chain.proof import (
    BatchPath,
    ChainProof,
    ProvenRecords,
    verify_headers,
    verify_records,
)
from node.chain.proof_json import from_json, to_json
from node.chain.records.credential import Batch
from node.chain.validator_set import Validator, ValidatorSet
from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm, Ed25519Signer
from node.errors import Reason, Rejected
from node.primitives import NO_HASH
from tests.unit.documents.small_chain import UGTO, SmallChain, person

NAMES = ("aaa", "bbb", "ccc", "ddd", "eee", "fff")


def key(name: str) -> Ed25519Signer:
    """Return a validator's consensus key."""
    return Ed25519Signer(sha256(name.encode()))


def validator_set(*names: str) -> ValidatorSet:
    """Return a set of these validators."""
    return ValidatorSet(tuple(Validator(name, key(name).public_key) for name in names))


OLD, NEW, NEWEST = validator_set(*NAMES[:4]), validator_set(*NAMES[:5]), validator_set(*NAMES[1:])


def header(height: int, validators: ValidatorSet, following: ValidatorSet, **changes: object) -> Header:
    """Return a header of a height."""
    made = Header(
        version=1,
        chain_id="pila-test",
        epoch=0,
        height=height,
        parent_hash=sha256(bytes([height])),
        timestamp_ms=1_000 * height,
        transactions_root=NO_HASH,
        evidence_root=NO_HASH,
        state_root=NO_HASH,
        receipts_root=NO_HASH,
        validators_hash=validators.hash,
        next_validators_hash=following.hash,
        parent_certificate_hash=NO_HASH,
        proposer="aaa" if height else None,
    )
    return msgspec.structs.replace(made, **changes)


GENESIS = header(0, OLD, OLD)
NETWORK = Network("pila-test", GENESIS.hash())


def certificate(of: Header, validators: ValidatorSet, *, phase: Phase = Phase.COMMIT, signers: int = 0) -> Certificate:
    """Return a certificate by the first Q members (or so many)."""
    digest = vote_digest(NETWORK, phase, of.epoch, of.height, 3, of.hash())
    members = validators.members[: signers or validators.quorum]
    votes = tuple(VoteSignature(index, key(member.institution).sign(digest)) for index, member in enumerate(members))
    return Certificate(Algorithm.ED25519, phase, of.epoch, of.height, 3, of.hash(), votes)


def hand_over(height: int, old: ValidatorSet, new: ValidatorSet) -> HandOver:
    """Return the hand-over from one set to the next."""
    last = header(height, old, new)
    return HandOver(last, certificate(last, old), new)


RECENT = header(40, NEWEST, NEWEST)
PROOF = ChainProof(
    genesis_header=GENESIS,
    validators=OLD,
    hops=(hand_over(10, OLD, NEW), hand_over(20, NEW, NEWEST)),
    header=RECENT,
    certificate=certificate(RECENT, NEWEST),
    batch=BatchPath(NO_HASH, 0, ()),
    records=(),
)


def test_two_hand_overs_lead_to_the_recent_header() -> None:
    """From 4 validators over 5 to another 5: each set is committed by the one before."""
    trusted = verify_headers(PROOF, GENESIS.hash())
    assert (trusted.network, trusted.header, trusted.validators) == (NETWORK, RECENT, NEWEST)
    assert from_json(to_json(PROOF)) == PROOF


@pytest.mark.parametrize(
    "changed,reason,detail",
    [
        (replace(PROOF, hops=PROOF.hops[1:]), Reason.BAD_PROOF, "header 20 is of another validator set"),
        (replace(PROOF, hops=PROOF.hops[:1]), Reason.BAD_PROOF, "header 40 is of another validator set"),
        (replace(PROOF, hops=PROOF.hops[::-1]), Reason.BAD_PROOF, "header 20 is of another validator set"),
        (
            replace(PROOF, hops=(hand_over(9, OLD, OLD), *PROOF.hops)),
            Reason.BAD_PROOF,
            "the hand-over at height 9 changes nothing",
        ),
        (
            replace(PROOF, certificate=certificate(RECENT, NEWEST, signers=5)),
            Reason.BAD_CERTIFICATE,
            "5 signatures, exactly 4 are carried",
        ),
        (
            replace(PROOF, certificate=certificate(RECENT, NEWEST, signers=3)),
            Reason.BAD_CERTIFICATE,
            "3 signatures, exactly 4 are carried",
        ),
        (
            replace(PROOF, certificate=certificate(RECENT, NEWEST, phase=Phase.PREPARE)),
            Reason.BAD_CERTIFICATE,
            "the certificate is not for header 40",
        ),
        (
            replace(PROOF, certificate=certificate(header(41, NEWEST, NEWEST), NEWEST)),
            Reason.BAD_CERTIFICATE,
            "the certificate is not for header 40",
        ),
        (
            replace(PROOF, header=msgspec.structs.replace(RECENT, version=PROTOCOL_VERSION + 1)),
            Reason.UNKNOWN_VERSION,
            f"protocol version {PROTOCOL_VERSION + 1}, known is {PROTOCOL_VERSION}",
        ),
        (
            replace(PROOF, header=msgspec.structs.replace(RECENT, epoch=1)),
            Reason.BAD_PROOF,
            "header of pila-test, epoch 1, height 40; expected pila-test, epoch 0, above 20",
        ),
        (
            replace(PROOF, header=msgspec.structs.replace(RECENT, height=20)),
            Reason.BAD_PROOF,
            "header of pila-test, epoch 0, height 20; expected pila-test, epoch 0, above 20",
        ),
        (
            replace(PROOF, validators=validator_set(*NAMES[:3])),
            Reason.BAD_PROOF,
            "3 validators, 4 to 100 are possible",
        ),
        (
            replace(PROOF, validators=validator_set("bbb", "aaa", "ccc", "ddd")),
            Reason.BAD_PROOF,
            "validators are not ascending by institution, or one stands twice",
        ),
        (
            replace(PROOF, validators=NEW),
            Reason.BAD_PROOF,
            f"validator set {NEW.hash.hex()}, committed is {OLD.hash.hex()}",
        ),
    ],
)
def test_broken_way_is_refused(changed: ChainProof, reason: Reason, detail: str) -> None:
    """A set that nobody handed over to, a certificate of too few, too many or other votes, another epoch."""
    with pytest.raises(Rejected) as caught:
        verify_headers(changed, GENESIS.hash())
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_signature_of_another_network_is_refused() -> None:
    """The same header signed for another genesis hash proves nothing here."""
    genesis = msgspec.structs.replace(GENESIS, timestamp_ms=7)
    with pytest.raises(Rejected) as caught:
        verify_headers(replace(PROOF, genesis_header=genesis), genesis.hash())
    assert (caught.value.reason, caught.value.detail) == (Reason.BAD_CERTIFICATE, "signature of aaa is bad")


def test_other_genesis_is_an_unknown_network() -> None:
    """The anchor is the verifier's; a later header cannot stand in for header 0."""
    with pytest.raises(Rejected) as caught:
        verify_headers(PROOF, bytes(32))
    assert (caught.value.reason, caught.value.detail) == (
        Reason.UNKNOWN_NETWORK,
        f"genesis hash {GENESIS.hash().hex()}, trusted is {'00' * 32}",
    )
    with pytest.raises(Rejected) as caught:
        verify_headers(replace(PROOF, genesis_header=RECENT), RECENT.hash())
    assert caught.value.detail == "header of height 40 in the place of header 0"


def test_only_the_first_quorum_is_carried() -> None:
    """The maker of a bundle keeps the first Q in set order."""
    assert first_quorum(certificate(RECENT, NEWEST, signers=5), NEWEST) == certificate(RECENT, NEWEST)


def test_unproven_record_is_an_error_never_absent() -> None:
    """Asking for what is not among the proven records raises."""
    with pytest.raises(Rejected) as caught:
        ProvenRecords(()).get("bat/00", Batch)
    assert (caught.value.reason, caught.value.detail) == (Reason.BAD_PROOF, "the proof of bat/00 is missing")


def test_records_of_a_ledger_verify_under_its_root_only() -> None:
    """What the ledger proves verifies under its header's state root, in order, and under no other."""
    chain = SmallChain()
    credential = chain.issue(chain.publish(f"{UGTO}/primer-empleo/1"), [person(0)])[0]
    proof = chain.proof(credential)
    verify_records(proof, proof.header.state_root)
    for changed, root in (
        (proof, bytes(32)),
        (replace(proof, records=proof.records[::-1]), proof.header.state_root),
        (replace(proof, records=(proof.records[0], *proof.records)), proof.header.state_root),
        (replace(proof, records=(replace(proof.records[0], value=b"\x90"),)), proof.header.state_root),
        (replace(proof, records=(replace(proof.records[0], value=None),)), proof.header.state_root),
    ):
        with pytest.raises(Rejected) as caught:
            verify_records(changed, root)
        assert caught.value.reason is Reason.BAD_PROOF
    assert from_json(to_json(proof)) == proof


@pytest.mark.parametrize(
    "member,value,detail",
    [
        ("header", "00\n", "Expected `str` matching regex '^(?:[0-9a-f]{2})+\\\\Z'"),
        ("header", "00" * 65_537, "Expected `str` of length <= 131072"),
    ],
)
def test_hex_in_json_is_hex_and_of_bounded_length(member: str, value: str, detail: str) -> None:
    """A line's end is no digit, and the length is judged before anything else is."""
    with pytest.raises(Rejected) as refused:
        from_json(to_json(PROOF) | {member: value})
    assert (refused.value.reason, refused.value.detail) == (
        Reason.MALFORMED,
        f"chain part: {detail} - at `$.{member}`",
    )
