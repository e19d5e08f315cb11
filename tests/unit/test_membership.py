"""Who may connect follows the chain: keys, standings, validators, configured readers."""

from node.chain.records.governance import AddValidator
from node.chain.records.institution import Purpose
from node.chain.rules.institutions import Suspend
from node.chain.rules.keys import KeyAdd, KeyRetire, NewKey
from node.crypto.signing import Algorithm
from node.errors import Reason
from node.keystore import InstitutionSigner
from node.membership import Membership
from tests.unit.chain.kit import COEPES, CONOCER, SDES, SEG, UGTO, VALIDATORS, Key, TestChain, recovery_key
from tests.unit.chain.rules.council import consensus, council

READER = bytes(range(32))


def node_key(institution: str) -> Key:
    """Return the node key of an institution."""
    return Key(institution, Purpose.NODE)


def test_node_keys_on_the_chain_and_configured_readers_may_connect() -> None:
    """Each under its own name; any other key is a stranger's, one of another purpose too."""
    membership = Membership(TestChain().ledger, {READER: "archive.example"})
    assert membership.authorise(node_key(UGTO).public_key) == UGTO
    assert membership.authorise(node_key(CONOCER).public_key) == CONOCER
    assert membership.authorise(READER) == "archive.example"
    assert membership.authorise(Key(UGTO, Purpose.CONSENSUS).public_key) is None
    assert membership.authorise(bytes(32)) is None


def test_who_is_about_to_join_gets_in_like_a_validator() -> None:
    """From its activation on: it must not find every place taken at the height from which it is counted."""
    chain = council()
    membership = Membership(chain.ledger, {})
    number = chain.approve(AddValidator(CONOCER, consensus(CONOCER).public_key))
    assert not membership.is_privileged(CONOCER)
    chain.activate(number, CONOCER, consensus(CONOCER))
    assert (membership.is_privileged(CONOCER), membership.is_validator(CONOCER)) == (True, False)
    chain.commit()
    assert membership.is_validator(CONOCER)
    assert [membership.is_privileged(name) for name in (SEG, COEPES)] == [True, False]


def test_validators_are_those_of_the_next_height() -> None:
    """They get in even when all places are taken."""
    membership = Membership(TestChain().ledger, {})
    assert [name for name in (SEG, SDES, CONOCER, *VALIDATORS) if membership.is_validator(name)] == [
        SEG,
        SDES,
        *VALIDATORS,
    ]


def test_suspended_institution_loses_its_place_unless_it_validates() -> None:
    """Consensus needs a validator's vote until governance ends that."""
    chain = TestChain()
    membership = Membership(chain.ledger, {})
    chain.do("institution.suspend", Suspend(CONOCER, "other"), signer=SEG)
    chain.do("institution.suspend", Suspend(UGTO, "other"), signer=SEG)
    assert membership.authorise(node_key(CONOCER).public_key) == CONOCER
    membership.refresh()
    assert membership.authorise(node_key(CONOCER).public_key) is None
    assert membership.authorise(node_key(UGTO).public_key) == UGTO


def test_retired_node_key_no_longer_connects() -> None:
    """Unless it is a validator's: that one is always accepted."""
    chain = TestChain()
    for institution in (CONOCER, UGTO):
        retired = KeyRetire(institution, node_key(institution).key_id)
        chain.do("key.retire", retired, signer=institution, by=[recovery_key(institution)])
    membership = Membership(chain.ledger, {})
    assert membership.authorise(node_key(CONOCER).public_key) is None
    assert membership.authorise(node_key(UGTO).public_key) == UGTO


def test_nobody_takes_over_a_node_key_by_adding_it_too() -> None:
    """Without its signature it cannot be added; even who holds a copy of it does not get its name."""
    chain = TestChain()
    for thief, owner in ((CONOCER, UGTO), (CONOCER, SDES), (UGTO, SEG)):
        key = node_key(owner)
        stolen = KeyAdd(thief, NewKey(Algorithm.ED25519, key.public_key, Purpose.NODE))
        assert chain.refusal("key.add", stolen, signer=thief, by=[recovery_key(thief)]) == (
            Reason.WRONG_SIGNERS,
            "1 signatures, 2 needed",
        )
        copy = InstitutionSigner(thief, key.signer)
        chain.do("key.add", stolen, signer=thief, by=[recovery_key(thief), copy])
    membership = Membership(chain.ledger, {})
    for owner in (UGTO, SDES, SEG):
        assert membership.authorise(node_key(owner).public_key) == owner
