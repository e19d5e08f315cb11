"""A whole network's files on one machine: genesis, keystores, a home for each validator, Prometheus targets.

Everything is test-only: keystores are unsealed and lie side by side.
Source: INTERFACE §2, `pila testnet`.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

from node.chain import genesis
from node.chain.records.institution import Purpose
from node.documents.did import did_key, did_web
from node.errors import ConfigError
from node.keystore import Keystore, KeystoreKind
from node.limits import VALIDATORS_MAX, VALIDATORS_MIN
from tools.commands.keys import make_keystore
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


def ports_of(base_port: int, index: int) -> Ports:
    """Return the ports of node `index`."""
    first = base_port + PORTS_PER_NODE * index
    return Ports(first, first + 1, first + 2)


def read_network_description(path: Path | None) -> dict[str, Any]:
    """Read a network description; the state's own when no path is given. Raises: ConfigError."""
    if path is None:
        text = resources.files("genesis").joinpath(DEFAULT_NETWORK).read_text(encoding="utf-8")
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: {error}") from None
    try:
        found: dict[str, Any] = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
    genesis.parse_network_description(found)
    return found


def with_seeded_institutions(description: dict[str, Any], validators: int) -> dict[str, Any]:
    """Add `testNN.example` institutions until there are enough to validate."""
    institutions = list(description["institutions"])
    missing = validators - len(validator_order(institutions))
    for number in range(1, missing + 1):
        identifier = f"test{number:02d}.example"
        institutions.append(
            {
                "id": identifier,
                "names": {"es": f"Institución de prueba {number}"},
                "roles": ["issuer"],
                "country": "MX",
                "region": "GTO",
                "website": f"https://{identifier}",
            }
        )
    return {**description, "institutions": institutions}


def validator_order(institutions: list[dict[str, Any]]) -> list[str]:
    """Return who may validate: the authorities, then the issuers, in file order."""
    authorities = [item["id"] for item in institutions if "authority" in item["roles"]]
    issuers = [item["id"] for item in institutions if "issuer" in item["roles"] and item["id"] not in authorities]
    return authorities + issuers


def write_testnet(output: Path, *, validators: int, base_port: int, institutions: Path | None = None) -> dict[str, Any]:
    """Write a network's files and return what `pila testnet` prints.

    Raises: ConfigError when the folder is in use or the numbers do not fit.
    """
    if not VALIDATORS_MIN <= validators <= VALIDATORS_MAX:
        raise ConfigError(f"--validators {validators}: between {VALIDATORS_MIN} and {VALIDATORS_MAX}")
    last_port = ports_of(base_port, validators - 1).metrics
    if not 1_024 <= base_port <= last_port <= 65_535:
        raise ConfigError(f"--base-port {base_port}: ports {base_port} to {last_port} must lie within 1024 … 65535")
    check_empty(output)
    description = with_seeded_institutions(read_network_description(institutions), validators)
    chosen = validator_order(description["institutions"])[:validators]
    keystores = {
        item["id"]: _make_keystores(output, item, item["id"] in chosen) for item in description["institutions"]
    }
    document = _genesis_document(description, chosen, keystores)
    text = json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    (output / "genesis.json").write_text(text, encoding="utf-8")
    nodes = [
        _write_home(output, text, chosen, index, base_port, keystores[institution]["node"])
        for index, institution in enumerate(chosen)
    ]
    _write_prometheus(output, base_port, validators)
    return {
        "output": str(output),
        "chain_id": document["chain_id"],
        "genesis_hash": document["genesis_hash"],
        "nodes": nodes,
    }


def _make_keystores(output: Path, item: dict[str, Any], validates: bool) -> dict[str, Keystore]:
    """Make and save an institution's keystores: daily, recovery, and what its roles need beyond."""
    identifier = item["id"]
    transaction_keys = max([1, *item.get("required_signatures", {}).values()])
    folder = output / "keys"
    made = {
        "institution": make_keystore(KeystoreKind.INSTITUTION, identifier, transaction_keys=transaction_keys),
        "recovery": make_keystore(KeystoreKind.RECOVERY, identifier),
    }
    made["institution"].save(folder / f"{identifier}.json")
    made["recovery"].save(folder / f"{identifier}.recovery.json")
    if validates or "authority" in item["roles"]:
        made["governance"] = make_keystore(KeystoreKind.GOVERNANCE, identifier)
        made["governance"].save(folder / f"{identifier}.governance.json")
    if validates:
        made["node"] = make_keystore(KeystoreKind.NODE, identifier)
    return made


def _genesis_document(
    description: dict[str, Any], validators: list[str], keystores: dict[str, dict[str, Keystore]]
) -> dict[str, Any]:
    """Put keys, validators, governance and time to a network description."""
    did_host = description["parameters"]["did_host"]
    institutions = []
    for item in description["institutions"]:
        stores = keystores[item["id"]]
        assertion = stores["institution"].ed25519(Purpose.ASSERTION)
        did = did_web(did_host, item["id"]) if did_host else did_key(assertion.public_key)
        keys = [
            {"algorithm": part.algorithm, "purpose": part.purpose, "public_key": part.public_key}
            for name in ("institution", "recovery", "governance", "node")
            if name in stores
            for part in stores[name].public_parts()
        ]
        institutions.append({**item, "did": did, "keys": keys})
    governance = sorted(identifier for identifier, stores in keystores.items() if "governance" in stores)
    document = {
        "format": "pila-genesis/1",
        **{key: value for key, value in description.items() if key not in ("format", "institutions")},
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "institutions": institutions,
        "validators": [
            {"institution": name, "public_key": _public(keystores[name]["node"], Purpose.CONSENSUS)}
            for name in sorted(validators)
        ],
        "governance": {
            "threshold": -(-2 * len(governance) // 3),
            "keys": [
                {
                    "institution": name,
                    "algorithm": "ed25519",
                    "public_key": _public(keystores[name]["governance"], Purpose.GOVERNANCE),
                }
                for name in governance
            ],
        },
    }
    return {**document, "genesis_hash": genesis.genesis_hash(genesis.parse_genesis(document)).hex()}


def _public(keystore: Keystore, purpose: Purpose) -> str:
    return keystore.ed25519(purpose).public_key.hex()


def _write_home(
    output: Path, genesis_text: str, validators: list[str], index: int, base_port: int, node: Keystore
) -> dict[str, Any]:
    """Write `node<index>`: config.toml, genesis.json, keys/node.json."""
    home = output / f"node{index}"
    own = ports_of(base_port, index)
    write_home(
        home,
        institution=validators[index],
        genesis_text=genesis_text,
        node=node,
        rpc_listen=f"{HOST}:{own.rpc}",
        p2p_listen=f"{HOST}:{own.p2p}",
        metrics_listen=f"{HOST}:{own.metrics}",
        peers={
            institution: f"{HOST}:{ports_of(base_port, other).p2p}"
            for other, institution in enumerate(validators)
            if other != index
        },
    )
    return {
        "home": str(home),
        "institution": validators[index],
        "rpc": f"http://{HOST}:{own.rpc}",
        "p2p": f"{HOST}:{own.p2p}",
        "metrics": f"http://{HOST}:{own.metrics}/metrics",
    }


def _write_prometheus(output: Path, base_port: int, validators: int) -> None:
    """Write a Prometheus configuration that scrapes every node."""
    targets = "".join(f"          - {HOST}:{ports_of(base_port, index).metrics}\n" for index in range(validators))
    folder = output / "prometheus"
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(
        "global:\n  scrape_interval: 5s\nscrape_configs:\n  - job_name: pila\n"
        f"    static_configs:\n      - targets:\n{targets}",
        encoding="utf-8",
    )
