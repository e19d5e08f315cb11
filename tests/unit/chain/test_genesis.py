"""Network files: what is read, what each wrong field is told, and that the same document makes the same block."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node import codec
from node.chain.certificate import Network
from node.chain.genesis import (
    genesis_block,
    genesis_changes,
    genesis_hash,
    genesis_json,
    genesis_records,
    parse_genesis,
    parse_network_description,
)
from node.chain.genesis_document import check_genesis
from node.chain.genesis_json import file_format
from node.chain.ledger import Ledger
from node.chain.records.common import Act
from node.chain.records.institution import (
    UNLIMITED_SCOPE,
    Institution,
    InstitutionKey,
    Purpose,
    RequiredSignatures,
    Role,
    Standing,
    Step,
    StepKind,
)
from node.chain.validator_set import Validator
from node.crypto.hashing import Tag, tagged
from node.errors import ConfigError
from node.primitives import INSTITUTION_ID_PATTERN
from node.state import keys
from node.state.kv import MemoryStore
from tests.unit.chain.kit import COEPES, GENESIS_TIME_MS, ITLEON, SEG, UGTO, VALIDATORS, Key, genesis, genesis_keys

DOCUMENT = genesis()
TEXT = genesis_json(DOCUMENT)


def test_block_zero_commits_to_document_and_state() -> None:
    """Parent hash = H(document); no transactions, proposer or certificate; genesis hash = hash of the header."""
    block = genesis_block(DOCUMENT)
    header = block.header
    assert header.parent_hash == tagged(Tag.GENESIS, codec.encode(DOCUMENT))
    assert (header.height, header.epoch, header.proposer, header.timestamp_ms) == (0, 0, None, GENESIS_TIME_MS)
    assert header.validators_hash == header.next_validators_hash == DOCUMENT.validator_set().hash
    assert (block.transactions, block.evidence, block.parent_certificate) == ((), (), None)
    assert genesis_hash(DOCUMENT) == header.hash() == genesis_block(genesis()).hash()
    later = msgspec.structs.replace(DOCUMENT, time_ms=GENESIS_TIME_MS + 1)
    assert genesis_hash(later) != genesis_hash(DOCUMENT)


def test_state_of_block_zero_accredits_everybody_without_signatures() -> None:
    """Institutions, all their keys, parameters, validators and governance."""
    records = genesis_records(DOCUMENT)
    act = Act(0, GENESIS_TIME_MS, UGTO, (), 0)
    institution = records[keys.accreditation(UGTO)]
    assert isinstance(institution, Institution)
    assert institution.history == (
        Step(StepKind.GENESIS, act, Standing.ACCREDITED, (Role.ISSUER,), UNLIMITED_SCOPE, 0, "", None),
    )
    owned = (*genesis_keys(UGTO), Key(UGTO, Purpose.CONSENSUS), Key(UGTO, Purpose.GOVERNANCE))
    assert institution.keys == tuple(key.key_id for key in owned)
    for key in owned:
        assert records[keys.key(UGTO, key.key_id)] == InstitutionKey(
            UGTO, key.algorithm, key.public_key, key.purpose, act, None, None
        )
    assert records[keys.VALIDATOR_SET] == DOCUMENT.validator_set()
    assert records[keys.NETWORK_PARAMETERS] == DOCUMENT.parameters
    assert records[keys.GOVERNANCE_KEYS] == DOCUMENT.governance
    assert list(genesis_changes(DOCUMENT)) == sorted(records)


def test_document_reads_back_what_was_written() -> None:
    """JSON at the edge, the same struct inside; the genesis hash stands beside it."""
    assert parse_genesis(TEXT.encode()) == DOCUMENT
    assert json.loads(TEXT)["genesis_hash"] == genesis_hash(DOCUMENT).hex()
    assert file_format(TEXT.encode()) == "pila-genesis/1"


def test_shipped_networks_are_readable(repository: Path) -> None:
    """Institutions in file order: authorities first; the ids of the data file."""
    guanajuato = parse_network_description((repository / "genesis" / "guanajuato.json").read_bytes())
    assert [item.roles for item in guanajuato.institutions[:4]] == [
        (Role.AUTHORITY,),
        (Role.AUTHORITY,),
        (Role.QUALITY_AGENCY,),
        (Role.CERTIFIER,),
    ]
    assert {item.roles for item in guanajuato.institutions[4:]} == {(Role.ISSUER,)}
    assert guanajuato.institutions[0].id == "seg.guanajuato.gob.mx"
    assert len(guanajuato.institutions) == 22
    hours = {item.name: item.hours_per_credit_hundredths for item in guanajuato.parameters.credit_frameworks}
    assert hours == {"SATCA": 1_600, "ECTS": 2_500}
    devnet = parse_network_description((repository / "genesis" / "devnet.json").read_bytes())
    assert len(devnet.institutions) == 6


Edit = Callable[[dict[str, Any]], object]

WRONG_DOCUMENTS: dict[str, tuple[Edit, str]] = {
    "missing": (lambda top: top.pop("time"), "time: missing"),
    "unknown": (lambda top: top.update(colour="red"), "colour: not known"),
    "format": (lambda top: top.update(format="pila-network/1"), "format: pila-network/1 instead of pila-genesis/1"),
    "time": (lambda top: top.update(time="2026-01-01"), "time: not a time such as 2026-01-31T18:00:00.000Z"),
    "no_such_day": (
        lambda top: top.update(time="2026-02-30T00:00:00.000Z"),
        "time: 2026-02-30T00:00:00.000Z is no moment of the calendar",
    ),
    "hash": (
        lambda top: top.update(genesis_hash="00" * 32),
        f"genesis_hash: {'00' * 32} in the file, {genesis_hash(DOCUMENT).hex()} computed from it",
    ),
    "short_hash": (lambda top: top.update(genesis_hash="00"), "genesis_hash: 1 bytes instead of 32"),
    "institutions": (lambda top: top.update(institutions={}), "institutions: not a list"),
    "institution_member": (
        lambda top: top["institutions"][3].pop("names"),
        "institutions[3].names: missing",
    ),
    "role": (
        lambda top: top["institutions"][3].update(roles=["issuer", "king"]),
        "institutions[3].roles[1]: king is none of authority, quality_agency, issuer, certifier, endorser",
    ),
    "role_twice": (
        lambda top: top["institutions"][3].update(roles=["issuer", "issuer"]),
        "institutions[3].roles: a role is listed twice",
    ),
    "no_role": (
        lambda top: top["institutions"][3].update(roles=[]),
        "institutions[3].roles: Expected `array` of length >= 1",
    ),
    "id": (
        lambda top: top["institutions"][0].update(id="SEG"),
        f"institutions[0].id: Expected `str` matching regex {INSTITUTION_ID_PATTERN!r}",
    ),
    "id_twice": (
        lambda top: top["institutions"][1].update(id=SEG),
        "institutions[1].id: seg.example is listed twice",
    ),
    "no_spanish": (
        lambda top: top["institutions"][0].update(names={"en": "x"}),
        "institutions[0].names: es is missing",
    ),
    "control_character": (
        lambda top: top["institutions"][0].update(municipality="Le\nón"),
        "institutions[0].municipality: text is not NFC or holds control characters",
    ),
    "country": (
        lambda top: top["institutions"][0].update(country="mx"),
        "institutions[0].country: Expected `str` matching regex '^[A-Z]{2}$'",
    ),
    "required_count": (
        lambda top: top["institutions"][0].update(required_signatures={"key.add": 0}),
        "institutions[0].required_signatures.key.add.count: Expected `int` >= 1",
    ),
    "too_few_keys_for_required": (
        lambda top: top["institutions"][0].update(required_signatures={"key.add": 3}),
        "institutions[0].keys: seg.example has 2 recovery keys, 3 needed",
    ),
    "key_purpose": (
        lambda top: top["institutions"][0]["keys"][0].update(purpose="king"),
        f"institutions[0].keys[0].purpose: king is none of {', '.join(Purpose)}",
    ),
    "consensus_among_keys": (
        lambda top: top["institutions"][0]["keys"][3].update(purpose="consensus"),
        "institutions[0].keys[3].purpose: consensus keys are listed apart",
    ),
    "key_algorithm": (
        lambda top: top["institutions"][0]["keys"][0].update(algorithm="rsa"),
        "institutions[0].keys[0].algorithm: rsa is none of ed25519, p256",
    ),
    "p256_for_documents": (
        lambda top: top["institutions"][0]["keys"][0].update(purpose="assertion"),
        "institutions[0].keys[0].algorithm: a key of purpose assertion is ed25519",
    ),
    "key_hex": (
        lambda top: top["institutions"][0]["keys"][1].update(public_key="XY"),
        "institutions[0].keys[1].public_key: not lower-case hex",
    ),
    "key_point": (
        lambda top: top["institutions"][0]["keys"][1].update(public_key="01" + "00" * 31),
        f"institutions[0].keys[1].public_key: {'01' + '00' * 31} is no usable point",
    ),
    "key_twice": (
        lambda top: top["institutions"][1]["keys"][1].update(
            public_key=top["institutions"][0]["keys"][1]["public_key"]
        ),
        "institutions[1].keys[1].public_key: the same key as institutions[0].keys[1]",
    ),
    "no_recovery": (
        lambda top: top["institutions"][2].update(keys=top["institutions"][2]["keys"][:4]),
        "institutions[2].keys: coepes.example has 0 recovery keys, 1 needed",
    ),
    "validator_without_node_key": (
        lambda top: top["institutions"][0]["keys"].pop(3),
        "institutions[0].keys: seg.example has 0 node keys, 1 needed",
    ),
    "three_validators": (
        lambda top: top["validators"].pop(),
        "validators: Expected `array` of length >= 4",
    ),
    "validators_disordered": (
        lambda top: top["validators"].reverse(),
        "validators: not ascending by institution, or one is listed twice",
    ),
    "validator_unknown": (
        lambda top: top["validators"][3].update(institution="zz.example"),
        "validators[3].institution: zz.example is not among the institutions",
    ),
    "threshold_low": (
        lambda top: top["governance"].update(threshold=2),
        "governance.threshold: 2, from 3 to 4 are possible with 4 keys",
    ),
    "threshold_high": (
        lambda top: top["governance"].update(threshold=5),
        "governance.threshold: 5, from 3 to 4 are possible with 4 keys",
    ),
    "no_governors": (lambda top: top["governance"].update(keys=[]), "governance.keys: there are none"),
    "hours_text": (
        lambda top: top["parameters"]["credit_frameworks"][0].update(hours_per_credit="16"),
        "parameters.credit_frameworks[0].hours_per_credit: not a number",
    ),
    "hours_too_fine": (
        lambda top: top["parameters"]["credit_frameworks"][0].update(hours_per_credit=16.125),
        "parameters.credit_frameworks[0].hours_per_credit: 16.125 is not a positive number of hundredths",
    ),
    "framework_twice": (
        lambda top: top["parameters"]["credit_frameworks"][0].update(name="ECTS"),
        "parameters.credit_frameworks: a framework is listed twice",
    ),
    "batch_bound": (
        lambda top: top["parameters"].update(credentials_per_batch_max=4_097),
        "parameters.credentials_per_batch_max: Expected `int` <= 4096",
    ),
}


@pytest.mark.parametrize("case", WRONG_DOCUMENTS)
def test_wrong_document_is_refused_by_field(case: str) -> None:
    """The sentence begins with the path of the field."""
    edit, expected = WRONG_DOCUMENTS[case]
    top = copy.deepcopy(json.loads(TEXT))
    edit(top)
    with pytest.raises(ConfigError) as refused:
        parse_genesis(json.dumps(top).encode())
    assert str(refused.value) == expected


WRONG_FILES = {
    b"\xff": "byte 0 is not UTF-8",
    b'{\n "format": }': "line 2, column 12: Expecting value",
    b"[]": "the file: not an object",
    b'{"format": "x", "format": "x"}': "format: is there twice in one object",
    b'{"time": NaN}': "NaN is no JSON value",
    b"": "line 1, column 1: Expecting value",
}


@pytest.mark.parametrize("data", WRONG_FILES, ids=range(len(WRONG_FILES)))
def test_unreadable_file_is_refused_by_line(data: bytes) -> None:
    """No traceback for what is no JSON."""
    with pytest.raises(ConfigError) as refused:
        parse_genesis(data)
    assert str(refused.value) == WRONG_FILES[data]


def test_deep_nesting_is_refused() -> None:
    """A file made to exhaust the stack is a file that cannot be read."""
    with pytest.raises(ConfigError):
        parse_genesis(b"[" * 200_000)


def test_description_without_an_authority_is_refused() -> None:
    """Nobody could ever be accredited."""
    described = {
        "format": "pila-network/1",
        "chain_id": "x",
        "parameters": json.loads(TEXT)["parameters"],
        "institutions": [{"id": "uno.example", "names": {"es": "Uno"}, "roles": ["issuer"], "country": "MX"}],
    }
    with pytest.raises(ConfigError) as refused:
        parse_network_description(json.dumps(described).encode())
    assert str(refused.value) == "institutions: none has the role authority, so nobody could ever be accredited"
    described["institutions"][0]["roles"] = ["authority"]  # type: ignore[index]  # a list of objects
    assert parse_network_description(json.dumps(described).encode()).institutions[0].id == "uno.example"


def test_decimal_hours_are_exact() -> None:
    """29.3 hours are 2,930 hundredths, and read back as written."""
    top = json.loads(TEXT)
    del top["genesis_hash"]
    top["parameters"]["credit_frameworks"][0]["hours_per_credit"] = 29.3
    document = parse_genesis(json.dumps(top).encode())
    assert document.parameters.credit_frameworks[0].hours_per_credit_hundredths == 2_930
    assert parse_genesis(genesis_json(document).encode()) == document


def test_store_of_another_genesis_is_refused() -> None:
    """A database is opened with the genesis that made it, or not at all."""
    store = MemoryStore()
    ledger = Ledger.open(store, DOCUMENT)
    assert ledger.network == Network("pila-test", genesis_hash(DOCUMENT))
    other = genesis(required={ITLEON: [RequiredSignatures("credential.issue", 2)]})
    with pytest.raises(ConfigError) as refused:
        Ledger.open(store, other)
    assert str(refused.value) == (
        f"the database belongs to the network {genesis_hash(DOCUMENT).hex()}, "
        f"the genesis document makes {genesis_hash(other).hex()}"
    )


def test_validators_and_agency_are_those_of_the_kit() -> None:
    """A document made in code is checked as one that was read."""
    assert tuple(member.institution for member in DOCUMENT.validators) == VALIDATORS
    stranger = (*DOCUMENT.validators[:3], Validator(COEPES + "x", bytes(32)))
    with pytest.raises(ConfigError):
        check_genesis(msgspec.structs.replace(DOCUMENT, validators=stranger))
