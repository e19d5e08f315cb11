"""A whole network's files on one machine: genesis, keystores, a home for each validator, Prometheus targets.

Everything is test-only: keystores are unsealed and lie side by side.
Source: INTERFACE §2, `pila testnet`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from node.chain import genesis
from node.chain.block import PROTOCOL_VERSION
from node.chain.genesis_document import (
    GenesisDocument,
    GenesisKey,
    InstitutionDescription,
    NetworkDescription,
    make_genesis,
)
from node.chain.records.common import Translation
from node.chain.records.institution import Purpose, Role
from node.chain.records.network import Governance, GovernanceKey
from node.chain.validator_set import Validator
from node.crypto.signing import Algorithm
from node.documents.did import issuer_did
from node.errors import ConfigError
from node.keystore import Keystore, KeystoreKind
from node.limits import VALIDATORS_MAX, VALIDATORS_MIN
from node.primitives import InstitutionId
from tools.commands.keys import make_keystore
from tools.console import read_bytes
from tools.home import check_empty, write_home

DEFAULT_NETWORK: Final = "guanajuato.json"
PORTS_PER_NODE: Final = 10
HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where node i listens: RPC and web, p2p, metrics."""

    rpc: int
    p2p: int
    metrics: int


@dataclass(frozen=True, slots=True)
class TestnetNode:
    """One validator of a network on this machine."""

    home: Path
    institution: InstitutionId
    ports: Ports

    @property
    def rpc(self) -> str:
        """URL of RPC and pages."""
        return f"http://{HOST}:{self.ports.rpc}"

    @property
    def metrics(self) -> str:
        """URL of the metrics."""
        return f"http://{HOST}:{self.ports.metrics}/metrics"


@dataclass(frozen=True, slots=True)
class Keystores:
    """One institution's keys; governance and node keys only where its part in the network needs them."""

    institution: Keystore
    recovery: Keystore
    governance: Keystore | None
    node: Keystore | None


@dataclass(frozen=True, slots=True)
class Testnet:
    """What was written."""

    output: Path
    document: GenesisDocument
    nodes: tuple[TestnetNode, ...]

    def keystore(self, institution: InstitutionId, suffix: str = "") -> Path:
        """Return the path of a keystore; `suffix`: "", ".recovery" or ".governance"."""
        return self.output / "keys" / f"{institution}{suffix}.json"


def ports_of(base_port: int, index: int) -> Ports:
    """Return the ports of node `index`."""
    first = base_port + PORTS_PER_NODE * index
    return Ports(first, first + 1, first + 2)


def read_network_description(path: Path | None) -> NetworkDescription:
    """Read a network description; the state's own when no path is given. Raises: ConfigError."""
    if path is None:
        return genesis.parse_network_description(resources.files("genesis").joinpath(DEFAULT_NETWORK).read_bytes())
    try:
        return genesis.parse_network_description(read_bytes(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def with_seeded_institutions(description: NetworkDescription, validators: int) -> NetworkDescription:
    """Add `testNN.example` institutions until there are enough to validate."""
    missing = validators - len(validator_order(description.institutions))
    added = tuple(
        InstitutionDescription(
            id=f"test{number:02d}.example",
            names=(Translation("es", f"Institución de prueba {number}"),),
            roles=(Role.ISSUER,),
            country="MX",
            region="GTO",
            municipality="",
            website=f"https://test{number:02d}.example",
            cct="",
            required_signatures=(),
        )
        for number in range(1, missing + 1)
    )
    return msgspec.structs.replace(description, institutions=description.institutions + added)


def validator_order(institutions: Sequence[InstitutionDescription]) -> list[InstitutionId]:
    """Return who may validate: the authorities, then the issuers, in file order."""
    authorities = [item.id for item in institutions if Role.AUTHORITY in item.roles]
    issuers = [item.id for item in institutions if Role.ISSUER in item.roles and item.id not in authorities]
    return authorities + issuers


def write_testnet(
    output: Path,
    *,
    validators: int,
    base_port: int,
    institutions: Path | None = None,
    protocol_version: int = PROTOCOL_VERSION,
) -> Testnet:
    """Write a network's files. Raises: ConfigError when the folder is in use or the numbers do not fit."""
    if not VALIDATORS_MIN <= validators <= VALIDATORS_MAX:
        raise ConfigError(f"--validators {validators}: between {VALIDATORS_MIN} and {VALIDATORS_MAX}")
    last_port = ports_of(base_port, validators - 1).metrics
    if not 1_024 <= base_port <= last_port <= 65_535:
        raise ConfigError(f"--base-port {base_port}: ports {base_port} to {last_port} must lie within 1024 … 65535")
    check_empty(output)
    description = with_seeded_institutions(read_network_description(institutions), validators)
    chosen = validator_order(description.institutions)[:validators]
    keystores = {
        item.id: _make_keystores(output / "keys", item, item.id in chosen) for item in description.institutions
    }
    document = _make_document(description, keystores, protocol_version)
    text = genesis.genesis_json(document)
    (output / "genesis.json").write_text(text, encoding="utf-8")
    nodes = tuple(
        TestnetNode(output / f"node{index}", institution, ports_of(base_port, index))
        for index, institution in enumerate(chosen)
    )
    for node in nodes:
        keystore = keystores[node.institution].node
        assert keystore is not None
        write_home(
            node.home,
            institution=node.institution,
            genesis_text=text,
            node_keystore=keystore.to_text(),
            rpc_listen=f"{HOST}:{node.ports.rpc}",
            p2p_listen=f"{HOST}:{node.ports.p2p}",
            metrics_listen=f"{HOST}:{node.ports.metrics}",
            peers={other.institution: f"{HOST}:{other.ports.p2p}" for other in nodes if other is not node},
            are_keys_unused=True,
        )
    _write_prometheus(output / "prometheus", nodes)
    return Testnet(output, document, nodes)


def _make_keystores(folder: Path, item: InstitutionDescription, validates: bool) -> Keystores:
    """Make and save an institution's keystores: daily, recovery, and what its roles need beyond."""
    transaction_keys = max([1, *(required.count for required in item.required_signatures)])
    made = Keystores(
        institution=make_keystore(KeystoreKind.INSTITUTION, item.id, transaction_keys=transaction_keys),
        recovery=make_keystore(KeystoreKind.RECOVERY, item.id),
        governance=make_keystore(KeystoreKind.GOVERNANCE, item.id)
        if validates or Role.AUTHORITY in item.roles
        else None,
        node=make_keystore(KeystoreKind.NODE, item.id) if validates else None,
    )
    made.institution.save(folder / f"{item.id}.json")
    made.recovery.save(folder / f"{item.id}.recovery.json")
    if made.governance is not None:
        made.governance.save(folder / f"{item.id}.governance.json")
    return made


def _make_document(
    description: NetworkDescription, keystores: Mapping[InstitutionId, Keystores], protocol_version: int
) -> GenesisDocument:
    """Put keys, validators, governance and time to a network description."""
    host = description.parameters.did_host
    governance = tuple(
        GovernanceKey(name, int(Algorithm.ED25519), stores.governance.ed25519(Purpose.GOVERNANCE).public_key)
        for name, stores in sorted(keystores.items())
        if stores.governance is not None
    )
    return make_genesis(
        description,
        time_ms=int(time.time() * 1000),
        dids={
            name: issuer_did(host, name, stores.institution.ed25519(Purpose.ASSERTION).public_key)
            for name, stores in keystores.items()
        },
        institution_keys={name: _genesis_keys(stores) for name, stores in keystores.items()},
        validators=[
            Validator(name, stores.node.ed25519(Purpose.CONSENSUS).public_key)
            for name, stores in keystores.items()
            if stores.node is not None
        ],
        governance=Governance(-(-2 * len(governance) // 3), governance),
        protocol_version=protocol_version,
    )


def _genesis_keys(stores: Keystores) -> tuple[GenesisKey, ...]:
    """Return the keys that the institution's own record lists; consensus and governance keys are listed apart."""
    return tuple(
        GenesisKey(int(signer.algorithm), purpose, signer.public_key)
        for store, purposes in (
            (stores.institution, (Purpose.TRANSACTION, Purpose.ASSERTION)),
            (stores.recovery, (Purpose.RECOVERY,)),
            (stores.node, (Purpose.NODE,)),
        )
        if store is not None
        for purpose in purposes
        for signer in store.signers(purpose)
    )


def _write_prometheus(folder: Path, nodes: Sequence[TestnetNode]) -> None:
    """Write a Prometheus configuration that scrapes every node."""
    targets = "".join(f"          - {HOST}:{node.ports.metrics}\n" for node in nodes)
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(
        "global:\n  scrape_interval: 5s\nscrape_configs:\n  - job_name: pila\n"
        f"    static_configs:\n      - targets:\n{targets}",
        encoding="utf-8",
    )
