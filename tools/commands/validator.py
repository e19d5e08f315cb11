"""`pila validator …`: this node's consensus key, and joining the validators."""

from pathlib import Path

import click

from node.chain.genesis import genesis_hash, parse_genesis
from node.chain.membership import activation_digest
from node.chain.records.institution import Purpose
from node.chain.rules.joining import ValidatorActivate
from node.config import GENESIS_FILE, NODE_KEYSTORE_FILE, load_config
from node.errors import ConfigError
from node.keystore import public_keys, read_keystore_file
from tools.commands.governance import describe
from tools.consensus_keys import consensus_keys, signing_options
from tools.console import EXIT_NO, command, home_option, open_keystore, read_bytes, rpc_option, say, stop
from tools.node_client import VALIDITY_HEIGHTS, NodeClient
from tools.signing import send


@click.group()
def validator() -> None:
    """This node as a validator: its consensus key, and joining."""


@command(validator, "key")
@home_option
@rpc_option
@click.option("--offline", is_flag=True, help="Do not ask the node how the chain sees the keys.")
def key(home: Path, rpc: str, offline: bool) -> None:
    """Show the consensus keys of a home, and which of them votes."""
    config = load_config(home)
    held = public_keys(read_keystore_file(home / NODE_KEYSTORE_FILE), Purpose.CONSENSUS)
    if not held:
        raise ConfigError(f"{home / NODE_KEYSTORE_FILE} holds no consensus key (a token or a signer's home may)")
    voting = ""
    if not offline:
        members = NodeClient(rpc).call("chain_validators")["validators"]
        own = (item["public_key"] for item in members if item["institution"] == config.node.institution)
        voting = next(own, "")
    items = [{"public_key": item.hex(), "votes": item.hex() == voting} for _, item in held]
    lines = [f"{item['public_key']}{'  votes' if item['votes'] else ''}" for item in items]
    say({"institution": config.node.institution, "keys": items}, "\n".join(lines))


@command(validator, "activate")
@click.argument("number", type=click.IntRange(1))
@home_option
@signing_options
def activate(
    number: int, home: Path, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str
) -> None:
    """Join the validators after proposal NUMBER was approved: shows that the key is here and this node in sync.

    Ask the node that is to validate (--rpc): the proof is over its head.
    """
    client = NodeClient(rpc)
    keys, institution = consensus_keys(home, passphrase_file)
    found = client.call("governance_get", number=number)
    wanted = found["action"]["public_key"]
    if found["action"]["kind"] != "add_validator" or found["action"]["institution"] != institution:
        stop(f"Proposal {number} does not make {institution} a validator: {describe(found['action'])}.", EXIT_NO)
    public_key = bytes.fromhex(wanted)
    if public_key not in keys.public_keys:
        raise ConfigError(f"{home} does not hold the consensus key {wanted} of proposal {number}")
    status = client.call("node_status")
    if status["genesis_hash"] != _genesis_hash(home):
        raise ConfigError(f"the node at {rpc} is of another network than {home}")
    network, epoch, height = client.network()
    at, block_hash = int(status["height"]), bytes.fromhex(status["block_hash"])
    until = height + VALIDITY_HEIGHTS
    digest = activation_digest(network, epoch, institution, public_key, number, at, block_hash, until)
    payload = ValidatorActivate(number, at, block_hash, keys.sign_with(public_key, digest))
    own = open_keystore(keystore, passphrase_file)
    result = send(client, "validator.activate", payload, own, cosign, valid_until_height=until)
    after = client.call("governance_get", number=number)
    when = f" from height {after['effective_height']} on" if after["effective_height"] else ", when its turn has come"
    say({**result, "proposal": after}, f"{institution} votes{when} (activated in block {result['height']}).")


def _genesis_hash(home: Path) -> str:
    """Return the genesis hash of a home's network."""
    return genesis_hash(parse_genesis(read_bytes(home / GENESIS_FILE))).hex()
