"""Block 0: the state that a genesis document makes, and the hash that names the network for ever.

Genesis hash = hash of header 0. Source: PROTOCOL §4.
"""

import json
from collections.abc import Sequence

import msgspec

from node import codec
from node.chain.block import Block, Header, certificate_hash, evidence_root, transactions_root
from node.chain.genesis_document import GenesisDocument, GenesisInstitution, GenesisKey, NetworkDescription
from node.chain.genesis_json import document_json, parse_document
from node.chain.genesis_json import parse_network_description as parse_network_description_json
from node.chain.receipt import receipts_root
from node.chain.records.common import Act
from node.chain.records.governance import Authorities
from node.chain.records.institution import (
    UNLIMITED_SCOPE,
    Institution,
    InstitutionKey,
    Purpose,
    Role,
    Standing,
    Step,
    StepKind,
)
from node.crypto.hashing import Tag, tagged
from node.crypto.signing import Algorithm, key_id
from node.errors import ConfigError
from node.primitives import Hash, InstitutionId
from node.state import keys
from node.state.kv import MemoryStore
from node.state.world_state import StateStore


def parse_network_description(data: bytes) -> NetworkDescription:
    """Read a network description. Raises: ConfigError naming line or field."""
    return parse_network_description_json(data)


def parse_genesis(data: bytes) -> GenesisDocument:
    """Read a genesis document; a wrong member `genesis_hash` is refused, a missing one is not.

    Raises: ConfigError naming line or field.
    """
    document, claimed = parse_document(data)
    if claimed is not None and claimed != (computed := genesis_hash(document)):
        raise ConfigError(f"genesis_hash: {claimed.hex()} in the file, {computed.hex()} computed from it")
    return document


def genesis_json(document: GenesisDocument) -> str:
    """Return the file that `parse_genesis` reads, with its `genesis_hash`."""
    return json.dumps(document_json(document, genesis_hash(document)), ensure_ascii=False, indent=2) + "\n"


def genesis_records(document: GenesisDocument) -> dict[str, msgspec.Struct]:
    """Return the state after block 0: the record under each plain key."""
    described = [item.description for item in document.institutions]
    act_of = {item.id: _genesis_act(document, item.id) for item in described}
    records: dict[str, msgspec.Struct] = {
        keys.NETWORK_PARAMETERS: document.parameters,
        keys.VALIDATOR_SET: document.validator_set(),
        keys.GOVERNANCE_KEYS: document.governance,
        keys.AUTHORITIES: Authorities(
            tuple(sorted(item.id for item in described if Role.AUTHORITY in item.roles)),
        ),
    }
    for institution in document.institutions:
        id_ = institution.description.id
        owned = institution_keys(document, institution)
        for key in owned:
            plain_key = keys.key(id_, key_id(key.algorithm, key.public_key))
            records[plain_key] = InstitutionKey(
                id_, key.algorithm, key.public_key, key.purpose, act_of[id_], None, None
            )
        records[keys.accreditation(id_)] = _institution(institution, owned, act_of[id_])
    return records


def institution_keys(document: GenesisDocument, institution: GenesisInstitution) -> tuple[GenesisKey, ...]:
    """Return all keys of an institution: its own list, its consensus key, its governance keys."""
    id_ = institution.description.id
    consensus = (
        GenesisKey(Algorithm.ED25519, Purpose.CONSENSUS, member.public_key)
        for member in document.validators
        if member.institution == id_
    )
    governance = (
        GenesisKey(key.algorithm, Purpose.GOVERNANCE, key.public_key)
        for key in document.governance.keys
        if key.institution == id_
    )
    return (*institution.keys, *consensus, *governance)


def _genesis_act(document: GenesisDocument, institution: InstitutionId) -> Act:
    return Act(0, document.time_ms, institution, (), 0)


def _institution(institution: GenesisInstitution, owned: Sequence[GenesisKey], act: Act) -> Institution:
    item = institution.description
    step = Step(StepKind.GENESIS, act, Standing.ACCREDITED, item.roles, UNLIMITED_SCOPE, 0, "", None)
    return Institution(
        item.id,
        item.names,
        item.country,
        item.region,
        item.municipality,
        item.website,
        item.cct,
        institution.did,
        item.required_signatures,
        tuple(key_id(key.algorithm, key.public_key) for key in owned),
        (step,),
    )


def genesis_changes(document: GenesisDocument) -> dict[str, bytes]:
    """Return the state after block 0 as canonical bytes, ascending by plain key."""
    records = genesis_records(document)
    return {plain_key: codec.encode(records[plain_key]) for plain_key in sorted(records)}


def genesis_block(document: GenesisDocument) -> Block:
    """Return block 0."""
    state_root = StateStore.open(MemoryStore()).prepare(genesis_changes(document)).root
    validators_hash = document.validator_set().hash
    header = Header(
        document.protocol_version,
        document.chain_id,
        0,
        0,
        tagged(Tag.GENESIS, codec.encode(document)),
        document.time_ms,
        transactions_root(()),
        evidence_root(()),
        state_root,
        receipts_root(()),
        validators_hash,
        validators_hash,
        certificate_hash(None),
        None,
    )
    return Block(header, (), (), None)


def genesis_hash(document: GenesisDocument) -> Hash:
    """Return the hash of header 0, which names the network for ever."""
    return genesis_block(document).hash()
