"""`pila governance …`: propose, vote, leave, change keys, upgrade.

What is signed is computed here from the proposal's own bytes, never taken from what a node says of them. Consensus
keys are read from a node's home on the machine that holds them; they sign what they say of themselves, nothing else.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from node import codec
from node.chain.membership import leave_digest, rotation_digest
from node.chain.records.governance import (
    Action,
    AddValidator,
    Leave,
    ProposalState,
    RemoveValidator,
    RotateKey,
    SetGovernanceKeys,
    SetParameters,
    UpgradeProtocol,
    action_hash,
)
from node.chain.records.institution import Purpose
from node.chain.records.network import CreditFramework, Governance, GovernanceKey, Parameters
from node.chain.rules.governance import GovernancePropose, GovernanceVote, VoteKind
from node.chain.rules.governance_keys import least_threshold
from node.errors import ConfigError
from node.keystore import public_keys, read_keystore_file
from node.limits import TRANSACTION_BYTES_MAX
from node.primitives import PublicKey
from node.signer.contract import ConsensusKeys
from tools.consensus_keys import consensus_keys, signing_options
from tools.console import (
    command,
    home_option,
    one_of,
    open_keystore,
    rpc_option,
    say,
    table,
)
from tools.node_client import VALIDITY_HEIGHTS, NodeClient
from tools.signing import send


@click.group()
def governance() -> None:
    """What the network decides about itself: validators, parameters, protocol, governance keys."""


@governance.group()
def propose() -> None:
    """Propose a change; counts as the proposer's vote."""


def _propose(
    action: Action,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: Sequence[Path],
    rpc: str,
    *,
    valid_until: int | None = None,
) -> None:
    """Send a proposal and say its number."""
    client = NodeClient(rpc)
    own = open_keystore(keystore, passphrase_file)
    result = send(client, "governance.propose", GovernancePropose(action), own, cosign, valid_until_height=valid_until)
    wanted = action_hash(action).hex()
    found = next(item for item in _all(client, None)[::-1] if item["action_hash"] == wanted)
    say({**result, "proposal": found}, f"Proposal {found['number']} is {found['state']} (block {result['height']}).")


def _all(client: NodeClient, state: str | None) -> list[dict[str, Any]]:
    """Return every proposal, page by page."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {key: value for key, value in (("state", state), ("cursor", cursor)) if value is not None}
        page = client.call("governance_list", **params)
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items


@command(propose, "add-validator")
@click.argument("institution")
@click.option("--key", "key_hex", help="Its consensus key: 64 hex digits, as `pila validator key` prints it.")
@signing_options
def add_validator(
    institution: str,
    key_hex: str,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Let an institution join the validators; it activates itself once this is approved."""
    _propose(AddValidator(institution, _key(key_hex)), keystore, passphrase_file, cosign, rpc)


def _key(key_hex: str) -> PublicKey:
    """Read a consensus key. Raises: ConfigError."""
    try:
        key = bytes.fromhex(key_hex or "")
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError(f"--key {key_hex!r}: 64 hex digits are needed, as `pila validator key` prints them")
    return key


@command(propose, "remove-validator")
@click.argument("institution")
@signing_options
def remove_validator(
    institution: str, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str
) -> None:
    """Remove a validator against its will, or because it is gone."""
    _propose(RemoveValidator(institution), keystore, passphrase_file, cosign, rpc)


@command(propose, "leave")
@home_option
@signing_options
def leave(home: Path, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str) -> None:
    """Leave the validators; nobody votes on it. The node votes until its turn comes, so let it run."""
    client = NodeClient(rpc)
    keys, institution = consensus_keys(home, passphrase_file)
    present = _present_key(client, institution, keys)
    network, epoch, height = client.network()
    until = height + VALIDITY_HEIGHTS
    signature = keys.sign_with(present, leave_digest(network, epoch, institution, present, until))
    _propose(Leave(signature), keystore, passphrase_file, cosign, rpc, valid_until=until)


@command(propose, "rotate-key")
@home_option
@signing_options
def rotate_key(home: Path, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str) -> None:
    """Change this validator's consensus key to the one that `pila key stage` has put beside it.

    Start the node again after staging, so that it holds both: it swaps by itself at the height that the set
    names, and the old key is wiped then.
    """
    client = NodeClient(rpc)
    keys, institution = consensus_keys(home, passphrase_file)
    present = _present_key(client, institution, keys)
    following = [key for key in keys.public_keys if key != present]
    if not following:
        raise ConfigError(f"{home} holds one consensus key only: make the next one by `pila key stage --home {home}`")
    new = following[-1]
    network, epoch, height = client.network()
    until = height + VALIDITY_HEIGHTS
    digest = rotation_digest(network, epoch, institution, present, new, until)
    action = RotateKey(new, keys.sign_with(present, digest), keys.sign_with(new, digest))
    _propose(action, keystore, passphrase_file, cosign, rpc, valid_until=until)


def _present_key(client: NodeClient, institution: str, keys: ConsensusKeys) -> PublicKey:
    """Return the key by which the institution votes now. Raises: ConfigError when it is not in the home."""
    members = client.call("chain_validators")["validators"]
    found = next((member["public_key"] for member in members if member["institution"] == institution), None)
    if found is None:
        raise ConfigError(f"{institution} is no validator now")
    if bytes.fromhex(found) not in keys.public_keys:
        raise ConfigError(f"{institution} votes with {found}, which this home does not hold")
    return bytes.fromhex(found)


@command(propose, "set-parameters")
@click.option("--height", type=click.IntRange(1), required=True, help="First block that is judged by them.")
@click.option("--credentials-per-batch-max", type=int)
@click.option("--pending-applications-max", type=int)
@click.option("--framework", "frameworks", multiple=True, metavar="NAME=HOURS,URL", help="Add or change one.")
@click.option("--drop-framework", "dropped", multiple=True, metavar="NAME")
@signing_options
def set_parameters(
    height: int,
    credentials_per_batch_max: int | None,
    pending_applications_max: int | None,
    frameworks: tuple[str, ...],
    dropped: tuple[str, ...],
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Change parameters of the network from a height on; what is not given stays."""
    present = NodeClient(rpc).call("chain_params")
    listed = {
        item["name"]: CreditFramework(item["name"], round(item["hours_per_credit"] * 100), item["source"])
        for item in present["credit_frameworks"]
    }
    for name in dropped:
        if listed.pop(name, None) is None:
            raise ConfigError(f"--drop-framework {name}: the network has {', '.join(listed)}")
    for text in frameworks:
        made = _framework(text)
        listed[made.name] = made
    wanted = Parameters(
        present["did_host"],
        tuple(listed.values()),
        credentials_per_batch_max or present["credentials_per_batch_max"],
        pending_applications_max or present["pending_applications_max"],
    )
    try:
        wanted = msgspec.convert(msgspec.to_builtins(wanted), Parameters)
    except msgspec.ValidationError as error:
        raise ConfigError(f"parameters: {error}") from None
    _propose(SetParameters(wanted, height), keystore, passphrase_file, cosign, rpc)


def _framework(text: str) -> CreditFramework:
    """Read `NAME=HOURS,URL`. Raises: ConfigError."""
    name, _, rest = text.partition("=")
    hours, _, source = rest.partition(",")
    try:
        hundredths = round(float(hours) * 100)
    except ValueError:
        hundredths = 0
    if not name or hundredths <= 0:
        raise ConfigError(f"--framework {text!r}: expected NAME=HOURS,URL such as ECTS=25,https://example.org")
    return CreditFramework(name, hundredths, source)


@command(propose, "upgrade")
@click.option("--version", "version", type=click.IntRange(2), required=True, help="One above the one in force.")
@click.option("--height", type=click.IntRange(1), required=True, help="First block that is judged by it.")
@signing_options
def upgrade(
    version: int,
    height: int,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Change the protocol's version at a height; lapses unless enough validators are ready 100 blocks before."""
    _propose(UpgradeProtocol(version, height), keystore, passphrase_file, cosign, rpc)


@command(propose, "set-governance-keys")
@click.option(
    "--add",
    "added",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="Governance keystore whose keys come in; its public part is enough.",
)
@click.option("--drop", "dropped", multiple=True, metavar="INSTITUTION", help="All its keys go; before --add.")
@click.option("--threshold", type=click.IntRange(1), help="Default: two thirds of the keys.")
@signing_options
def set_governance_keys(
    added: tuple[Path, ...],
    dropped: tuple[str, ...],
    threshold: int | None,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Change the governance keys, which recover the network when its quorum is lost."""
    present = _governance_keys(NodeClient(rpc))
    keys = [key for key in present if key.institution not in dropped]
    for path in added:
        file = read_keystore_file(path)
        found = public_keys(file, Purpose.GOVERNANCE)
        if not found:
            raise ConfigError(f"{path}: no governance key in it")
        keys += [GovernanceKey(file.institution, int(algorithm), key) for algorithm, key in found]
    keys.sort(key=lambda key: key.institution)
    wanted = Governance(threshold or least_threshold(len(keys)), tuple(keys))
    _propose(SetGovernanceKeys(wanted), keystore, passphrase_file, cosign, rpc)


def _governance_keys(client: NodeClient) -> list[GovernanceKey]:
    """Return the governance keys in force, from the state."""
    from node.limits import STATE_RECORD_BYTES_MAX
    from node.state import keys as plain_keys

    value = client.call("state_proof", key=plain_keys.GOVERNANCE_KEYS)["value"]
    return list(codec.decode(bytes.fromhex(value), Governance, bytes_max=STATE_RECORD_BYTES_MAX).keys)


# --- voting ---


def _vote(
    number: int,
    kind: VoteKind,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: Sequence[Path],
    rpc: str,
) -> None:
    client = NodeClient(rpc)
    found = client.call("governance_get", number=number)
    action = codec.decode(bytes.fromhex(found["raw"]), GovernancePropose, bytes_max=TRANSACTION_BYTES_MAX).action
    if kind is VoteKind.READY:
        _must_know(client, action)
    payload = GovernanceVote(number, action_hash(action), kind)
    result = send(client, "governance.vote", payload, open_keystore(keystore, passphrase_file), cosign)
    after = client.call("governance_get", number=number)
    said = f"{describe(after['action'])} ({kind} in block {result['height']})"
    say({**result, "proposal": after}, f"Proposal {number}, {said}: {_stands(after)}.")


def _must_know(client: NodeClient, action: Action) -> None:
    """Refuse to call a node ready that would stop at the upgrade. Raises: ConfigError."""
    known = int(client.call("node_status")["protocol_version_max"])
    if isinstance(action, UpgradeProtocol) and action.version > known:
        raise ConfigError(
            f"the node at {client.url} knows protocol versions up to {known}, not {action.version}: "
            "install the newer program there first, and give its --rpc"
        )


@command(governance, "vote")
@click.argument("number", type=click.IntRange(1))
@signing_options
def vote(number: int, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str) -> None:
    """Agree with a proposal, exactly as it stands."""
    _vote(number, VoteKind.APPROVE, keystore, passphrase_file, cosign, rpc)


@command(governance, "ready")
@click.argument("number", type=click.IntRange(1))
@signing_options
def ready(number: int, keystore: Path, passphrase_file: Path | None, cosign: tuple[Path, ...], rpc: str) -> None:
    """Say that this validator's node (the one at --rpc) knows the version of an upgrade."""
    _vote(number, VoteKind.READY, keystore, passphrase_file, cosign, rpc)


@command(governance, "list")
@click.option("--state", type=one_of(ProposalState), help="Only those that are so.")
@rpc_option
def list_proposals(state: str | None, rpc: str) -> None:
    """List the proposals."""
    items = _all(NodeClient(rpc), state)
    rows = table("#", "state", "by", "what", "votes")
    for item in items:
        rows.add_row(str(item["number"]), item["state"], item["proposer"], describe(item["action"]), _stands(item))
    say({"items": items}, rows)


@command(governance, "show")
@click.argument("number", type=click.IntRange(1))
@rpc_option
def show(number: int, rpc: str) -> None:
    """Show a proposal with its votes."""
    found = NodeClient(rpc).call("governance_get", number=number)
    lines = [
        f"Proposal {number} by {found['proposer']}: {describe(found['action'])}",
        f"  state      {found['state']}{' – ' + found['reason'] if found['reason'] else ''}",
        f"  votes      {_stands(found)}",
        f"  made       block {found['made']['height']}, {found['made']['time']}",
    ]
    for name, label in (
        ("approved_height", "approved"),
        ("due_height", "due"),
        ("effective_height", "applies"),
        ("ended_height", "ended"),
    ):
        if found[name] is not None:
            lines.append(f"  {label:<10} {'from height' if name == 'effective_height' else 'block'} {found[name]}")
    for kind in ("votes", "ready"):
        lines += [
            f"  {kind:<10} {item['institution']} in block {item['height']}{' (void)' if item['void'] else ''}"
            for item in found[kind]
        ]
    say(found, "\n".join(lines))


def describe(action: dict[str, Any]) -> str:
    """Say in a few words what a proposal wants."""
    match action["kind"]:
        case "add_validator":
            return f"{action['institution']} joins with {action['public_key']}"
        case "remove_validator":
            return f"{action['institution']} is removed"
        case "leave":
            return f"{action['institution']} leaves"
        case "rotate_key":
            return f"{action['institution']} votes with {action['public_key']}"
        case "set_parameters":
            return f"other parameters from height {action['height']} on"
        case "upgrade":
            return f"protocol version {action['version']} from height {action['height']} on"
        case _:
            return f"{len(action['governance_keys'])} governance keys, {action['threshold']} needed"


def _stands(proposal: dict[str, Any]) -> str:
    """Say how the votes stand."""
    if proposal["action"]["kind"] in ("leave", "rotate_key"):
        return f"{proposal['state']}, no votes needed"
    found = proposal["tally"]
    text = (
        f"{proposal['state']}, authorities {found['authorities']} of {found['authorities_needed']} needed, "
        f"validators {found['validators']} of {found['validators_needed']}"
    )
    if found["ready_needed"]:
        text += f", ready {found['ready']} of {found['ready_needed']}"
    return text
