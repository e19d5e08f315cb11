"""`pila testnet | init | start | genesis check | config check | status | validators | why-stalled`."""

from collections import Counter
from pathlib import Path

import click

from node.chain import genesis as genesis_document
from node.chain.block import PROTOCOL_VERSION
from node.chain.genesis_document import NETWORK_FORMAT, GenesisDocument
from node.chain.genesis_json import file_format
from node.chain.records.institution import Purpose
from node.config import NODE_KEYSTORE_FILE, load_config
from node.errors import ConfigError
from node.keystore import KeystoreKind, public_keys, read_keystore_file
from tools.commands.keys import make_keystore
from tools.console import (
    EXIT_NO,
    command,
    home_option,
    passphrase_option,
    read_bytes,
    read_passphrase,
    read_text,
    rpc_option,
    say,
    table,
)
from tools.home import check_empty, write_home
from tools.node_client import NodeClient

_root = click.Group()


@click.group()
def genesis() -> None:
    """Genesis documents and network descriptions."""


@click.group()
def config() -> None:
    """A node's config.toml."""


@command(_root, "testnet")
@click.option("--validators", type=int, default=4, show_default=True, help="How many validators: 4 to 100.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@click.option("--base-port", type=int, default=8600, show_default=True, help="Node i listens on base+10i, +1, +2.")
@click.option(
    "--institutions",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Network description. Default: the state of Guanajuato.",
)
@click.option(
    "--protocol-version",
    type=click.IntRange(1, PROTOCOL_VERSION),
    default=PROTOCOL_VERSION,
    show_default=True,
    help="Version of the protocol that it starts with.",
)
def testnet(validators: int, output: Path, base_port: int, institutions: Path | None, protocol_version: int) -> None:
    """Write a whole test network: genesis, keystores, a home for each validator, Prometheus targets."""
    from tools.testnet import write_testnet

    made = write_testnet(
        output,
        validators=validators,
        base_port=base_port,
        institutions=institutions,
        protocol_version=protocol_version,
    )
    digest = genesis_document.genesis_hash(made.document).hex()
    rows = table("home", "institution", "rpc and web", "metrics", title=f"{made.document.chain_id}  {digest}")
    for node in made.nodes:
        rows.add_row(str(node.home), node.institution, node.rpc, node.metrics)
    result = {
        "output": str(output),
        "chain_id": made.document.chain_id,
        "genesis_hash": digest,
        "nodes": [
            {"home": str(node.home), "institution": node.institution, "rpc": node.rpc, "metrics": node.metrics}
            for node in made.nodes
        ],
    }
    say(result, rows)


@command(_root, "init")
@home_option
@click.option(
    "--genesis", "genesis_file", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE"
)
@click.option("--institution", required=True, help="Who runs the node.")
@click.option("--peer", "peers", multiple=True, metavar="INSTITUTION=HOST:PORT", help="Another node. May be repeated.")
@click.option("--listen-rpc", default="127.0.0.1:8600", show_default=True)
@click.option("--listen-p2p", default="127.0.0.1:8601", show_default=True)
@click.option("--listen-metrics", default="127.0.0.1:8602", show_default=True)
@click.option(
    "--node-keystore", type=click.Path(path_type=Path, dir_okay=False), help="Existing node keys. Default: new ones."
)
@click.option(
    "--unused-keys",
    is_flag=True,
    help="State that the existing keys have signed nothing yet: for the first start of a new network only.",
)
def init(
    home: Path,
    genesis_file: Path,
    institution: str,
    peers: tuple[str, ...],
    listen_rpc: str,
    listen_p2p: str,
    listen_metrics: str,
    node_keystore: Path | None,
    unused_keys: bool,
) -> None:
    """Make a node's home from a genesis document.

    Existing keys may have voted elsewhere, so a validator with them listens before it votes.
    """
    check_empty(home)
    document = read_genesis(genesis_file)
    addresses = {}
    for peer in peers:
        name, _, address = peer.partition("=")
        if not address:
            raise ConfigError(f"--peer {peer!r}: expected INSTITUTION=HOST:PORT")
        addresses[name] = address
    if node_keystore is None:
        node_text = make_keystore(KeystoreKind.NODE, institution).to_text()
    else:
        # As it is: a sealed keystore stays sealed, and `pila start` asks for its passphrase.
        node_text = read_text(node_keystore)
        _check_node_keystore(node_keystore, institution)
    write_home(
        home,
        institution=institution,
        genesis_text=read_text(genesis_file),
        node_keystore=node_text,
        rpc_listen=listen_rpc,
        p2p_listen=listen_p2p,
        metrics_listen=listen_metrics,
        peers=addresses,
        are_keys_unused=node_keystore is None or unused_keys,
    )
    _, node_key = public_keys(read_keystore_file(home / NODE_KEYSTORE_FILE), Purpose.NODE)[0]
    result = {
        "home": str(home),
        "genesis_hash": genesis_document.genesis_hash(document).hex(),
        "node_public_key": node_key.hex(),
    }
    say(result, f"{home} is ready: pila start --home {home}\nNode key for the others: {node_key.hex()}")


def _check_node_keystore(path: Path, institution: str) -> None:
    """Refuse a keystore that is no node's, or another institution's. Raises: ConfigError."""
    found = read_keystore_file(path)
    if found.kind is not KeystoreKind.NODE or found.institution != institution:
        raise ConfigError(
            f"{path}: {found.kind} keystore of {found.institution}; needed is {institution}'s node keystore"
        )


def read_genesis(path: Path) -> GenesisDocument:
    """Read a genesis document. Raises: ConfigError naming file, line or field."""
    try:
        return genesis_document.parse_genesis(read_bytes(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


@command(_root, "start")
@home_option
@passphrase_option
def start(home: Path, passphrase_file: Path | None) -> None:
    """Run a node until SIGINT or SIGTERM."""
    from node.app import run

    path = home / NODE_KEYSTORE_FILE
    sealed = path.exists() and read_keystore_file(path).kdf is not None
    run(home, read_passphrase(path, passphrase_file) if sealed else None)


@command(genesis, "check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def genesis_check(file: Path) -> None:
    """Check a genesis document or a network description, and say which it is."""
    data = read_bytes(file)
    try:
        if file_format(data) == NETWORK_FORMAT:
            described = genesis_document.parse_network_description(data)
            count = len(described.institutions)
            say(
                {"file": str(file), "kind": "network description", "institutions": count},
                f"{file}: a network description with {count} institutions and no keys; testnet makes a genesis of it.",
            )
            return
        document = genesis_document.parse_genesis(data)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    result = {
        "file": str(file),
        "kind": "genesis document",
        "chain_id": document.chain_id,
        "genesis_hash": genesis_document.genesis_hash(document).hex(),
        "institutions": len(document.institutions),
        "validators": len(document.validators),
    }
    say(
        result,
        f"{file}: a genesis document of {document.chain_id} with {result['institutions']} institutions and "
        f"{result['validators']} validators.\ngenesis hash {result['genesis_hash']}",
    )


@command(config, "check")
@home_option
def config_check(home: Path) -> None:
    """Check a home's config.toml; names line and field of what is wrong."""
    found = load_config(home)
    say({"home": str(home), "ok": True}, f"{home}/config.toml: good; node of {found.node.institution}.")


@command(_root, "status")
@rpc_option
def status(rpc: str) -> None:
    """Show how a node and its network are."""
    client = NodeClient(rpc)
    found = client.call("node_status")
    lines = [f"{name:<17} {value}" for name, value in found.items()]
    caught = _caught(client)
    if caught:
        lines.append(f"{'equivocations':<17} {', '.join(f'{name} ({count})' for name, count in caught.items())}")
    say({**found, "equivocations": caught}, "\n".join(lines))


def _caught(client: NodeClient) -> dict[str, int]:
    """Return how often each institution is on record for having signed two things; the first thousand proofs count."""
    items = client.call("node_equivocations", limit=1_000)["items"]
    return dict(sorted(Counter(item["institution"] for item in items).items()))


@command(_root, "validators")
@click.option("--height", type=click.IntRange(0), help="Default: the next block's.")
@rpc_option
def validators(height: int | None, rpc: str) -> None:
    """List the validators."""
    params = {} if height is None else {"height": height}
    client = NodeClient(rpc)
    found = client.call("chain_validators", **params)
    coming = client.call("governance_schedule") if height is None else {"scheduled": None, "waiting": []}
    caught = _caught(client)
    columns = ["#", "institution", "consensus key", *(["signed two things"] if caught else [])]
    rows = table(*columns, title=f"quorum {found['quorum']} of {len(found['validators'])}")
    for index, member in enumerate(found["validators"]):
        times = caught.get(member["institution"], 0)
        mark = [f"{times} on record" if times else ""] if caught else []
        rows.add_row(str(index), member["institution"], member["public_key"], *mark)
    planned = coming["scheduled"]
    if planned is not None:
        rows.caption = f"from height {planned['effective_height']} on: {', '.join(planned['validators'])}"
    for item in coming["waiting"]:
        rows.add_row("", item["institution"], f"waits to {item['change']} (proposal {item['proposal']})")
    say({**found, "scheduled": planned, "waiting": coming["waiting"], "equivocations": caught}, rows)


@command(_root, "why-stalled")
@rpc_option
def why_stalled(rpc: str) -> None:
    """Say why no block comes, and who is missing."""
    found = NodeClient(rpc).call("node_whyStalled")
    lines = [found["explanation"]["en"], *(f"  {one['text']['en']}" for one in found["missing"])]
    say(found, "\n".join(lines))
    if found["stalled"]:
        raise SystemExit(EXIT_NO)
