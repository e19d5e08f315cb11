"""`pila recovery propose | sign | show | apply`: how a network goes on whose quorum is lost for good."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from node import codec
from node.chain.block import Header
from node.chain.certificate import Network
from node.chain.ledger import Ledger
from node.chain.records.institution import Purpose
from node.chain.records.network import Governance
from node.chain.recovery import (
    RECOVERY_VERSION,
    RecoveryDocument,
    check_document,
    check_signatures,
    decode_document,
    with_signature,
)
from node.chain.recovery_json import parse_recovery, recovery_json
from node.chain.recovery_loading import Loaded, Loading
from node.chain.validator_set import Validator, ValidatorSet
from node.config import DATA_FOLDER, GENESIS_FILE, load_config
from node.crypto.signing import key_id
from node.errors import ConfigError, Rejected, StorageError
from node.home import locked
from node.keystore import KeystoreKind
from node.limits import BLOCK_BYTES_MAX, STATE_RECORD_BYTES_MAX
from node.primitives import Epoch, Height, InstitutionId
from node.release import checkpoints_of
from node.snapshots import CHAIN_FOLDER, settle
from node.state import keys
from node.state.leveldb import open_leveldb
from tools.commands.network import read_genesis
from tools.commands.verification import write_atomically
from tools.console import (
    command,
    home_option,
    keystore_option,
    open_keystore,
    passphrase_option,
    read_bytes,
    say,
)
from tools.node_client import NodeClient

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def recovery() -> None:
    """Documents with which a network goes on whose quorum is lost for good."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a node knows of the chain that is to be recovered."""

    network: Network
    header: Header
    """Of the block to keep."""
    epoch: Epoch
    """The epoch that would go on above it."""
    validators: ValidatorSet
    """Who votes above it now."""
    governance: Governance


@command(recovery, "propose")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Home of a stopped node.")
@click.option("--rpc", metavar="URL", help="A running node instead.")
@click.option(
    "--validators",
    "wanted",
    multiple=True,
    required=True,
    metavar="INSTITUTION[=KEY],…",
    help="Who votes from then on, all of them: an institution alone keeps its consensus key, KEY is a new one in hex. "
    "May be repeated.",
)
@click.option("--reason", required=True, help="Why; for those who read it years later.")
@click.option("--height", type=click.IntRange(1), help="Last block to keep. Default: the node's head.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
def propose(
    home: Path | None, rpc: str | None, wanted: tuple[str, ...], reason: str, height: Height | None, out: Path
) -> None:
    """Write an unsigned recovery document.

    It keeps every block up to a height – the highest head among the nodes that are left, so that nothing
    that was decided is lost – and names who votes above it.
    """
    if (home is None) == (rpc is None):
        raise ConfigError("give either --home DIR of a stopped node or --rpc URL of a running one")
    scene = _scene_at_rest(home, height) if home is not None else _scene_of(NodeClient(str(rpc)), height)
    validators = _validator_set(",".join(wanted).split(","), scene.validators)
    document = RecoveryDocument(
        RECOVERY_VERSION,
        scene.network.chain_id,
        scene.network.genesis_hash,
        scene.epoch + 1,
        scene.header.height,
        scene.header.hash(),
        validators,
        reason,
        (),
    )
    check_document(decode_document(codec.encode(document)), scene.network)
    if out.exists():
        raise ConfigError(f"{out} exists; a recovery document is never overwritten")
    write_atomically(out, recovery_json(document).encode())
    governors = ", ".join(key.institution for key in scene.governance.keys)
    say(
        {"file": str(out), **_result(document), "signatures_needed": scene.governance.threshold},
        f"{_words(document)}\n{out} needs the signatures of {scene.governance.threshold} of these governance keys "
        f"(pila recovery sign {out} --governance KEYSTORE): {governors}.",
    )


def _validator_set(items: Sequence[str], present: ValidatorSet) -> ValidatorSet:
    """Read the new set. Raises: ConfigError naming the item."""
    members: dict[InstitutionId, Validator] = {}
    for item in items:
        name, is_new, text = item.strip().partition("=")
        index = present.index_of(name)
        if is_new:
            try:
                public_key = bytes.fromhex(text)
            except ValueError:
                raise ConfigError(f"--validators {item!r}: the key is no hex") from None
        elif index is not None:
            public_key = present.members[index].public_key
        else:
            raise ConfigError(f"--validators {item!r}: {name} is no validator now; give its key: {name}=KEY")
        if name in members:
            raise ConfigError(f"--validators: {name} stands twice")
        members[name] = Validator(name, public_key)
    return ValidatorSet(tuple(members[name] for name in sorted(members)))


def _scene_at_rest(home: Path, height: Height | None) -> Scene:
    """Look at a stopped node's chain. Raises: ConfigError, StorageError."""
    with _chain_of(home) as ledger:
        at = ledger.head.height if height is None else height
        header = ledger.header_at(at)
        if header is None:
            raise ConfigError(f"{home}: {ledger.absence(at)}")
        try:
            record = ledger.prove(keys.GOVERNANCE_KEYS, at).value
        except Rejected as rejection:
            raise ConfigError(f"{home}: {rejection.detail}") from None
        assert record is not None
        governance = codec.decode(record, Governance, bytes_max=STATE_RECORD_BYTES_MAX)
        above = ledger.epoch if at == ledger.head.height else header.epoch
        return Scene(
            ledger.network, header, above, ledger.validators_at(min(at + 1, ledger.head.height + 1)), governance
        )


def _scene_of(client: NodeClient, height: Height | None) -> Scene:
    """Ask a running node. What it says is checked again by every node that applies the document."""
    network, epoch, head = client.network()
    at = head if height is None else height
    raw = bytes.fromhex(client.call("chain_header", height=at)["raw"])
    header = codec.decode(raw, Header, bytes_max=BLOCK_BYTES_MAX)
    listed = client.call("chain_validators", height=at + 1)["validators"]
    members = tuple(Validator(item["institution"], bytes.fromhex(item["public_key"])) for item in listed)
    record = bytes.fromhex(client.call("state_proof", key=keys.GOVERNANCE_KEYS, height=at)["value"])
    governance = codec.decode(record, Governance, bytes_max=STATE_RECORD_BYTES_MAX)
    return Scene(network, header, epoch if at == head else header.epoch, ValidatorSet(members), governance)


@contextlib.contextmanager
def _chain_of(home: Path) -> Iterator[Ledger]:
    """Open the chain of a stopped node. Raises: ConfigError where it runs or is no home; StorageError."""
    genesis = read_genesis(home / GENESIS_FILE)
    data = home / DATA_FOLDER
    with locked(home), contextlib.ExitStack() as stack:
        try:
            data.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"{data} cannot be made: {error.strerror}") from None
        settle(data)
        store = open_leveldb(data / CHAIN_FOLDER)
        stack.callback(store.close)
        yield Ledger.open(store, genesis, checkpoints=checkpoints_of(home, load_config(home)))


@command(recovery, "sign")
@_file
@keystore_option(name="--governance", help_text="Governance keystore (DIR/keys/<institution>.governance.json).")
@passphrase_option
def sign(file: Path, governance: Path, passphrase_file: Path | None) -> None:
    """Add the signature of a governance key to a document, after showing what it says.

    Read it before: with enough signatures it decides who runs the network.
    """
    document = read_document(file)
    keystore = open_keystore(governance, passphrase_file)
    if keystore.kind is not KeystoreKind.GOVERNANCE:
        raise ConfigError(f"{governance}: {keystore.kind} keystore; a governance keystore is needed")
    signers = keystore.signers(Purpose.GOVERNANCE)
    if not signers:
        raise ConfigError(f"{governance}: no governance key in it")
    for signer in signers:
        document = with_signature(document, signer)
    write_atomically(file, recovery_json(document).encode())
    ids = [key_id(signer.algorithm, signer.public_key).hex() for signer in signers]
    say(
        {"file": str(file), "signed_with": ids, **_result(document)},
        f"{_words(document)}\nSigned with the governance key of {keystore.institution}; "
        f"{len(document.signatures)} signatures in all.",
    )


def read_document(file: Path) -> RecoveryDocument:
    """Read a document's file. Raises: ConfigError naming it."""
    try:
        return parse_recovery(read_bytes(file))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


@command(recovery, "show")
@_file
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Home of a stopped node.")
@click.option("--rpc", metavar="URL", help="A running node instead; with either it is said whether enough keys signed.")
def show(file: Path, home: Path | None, rpc: str | None) -> None:
    """Say what a document says, and, as a node sees it, who has signed it."""
    document = read_document(file)
    if home is None and rpc is None:
        say(_result(document), f"{_words(document)}\n{len(document.signatures)} signatures, not checked.")
        return
    scene = (
        _scene_at_rest(home, document.height) if home is not None else _scene_of(NodeClient(str(rpc)), document.height)
    )
    check_document(document, scene.network)
    signers = check_signatures(document, scene.governance)
    found = scene.header.hash() == document.block_hash
    note = "" if found else f"\nThis node has another block at that height: {scene.header.hash().hex()}."
    say(
        {**_result(document), "signers": signers, "threshold": scene.governance.threshold, "block_found": found},
        f"{_words(document)}\nSigned by {', '.join(signers)}; {scene.governance.threshold} are enough.{note}",
    )


@command(recovery, "apply")
@_file
@home_option
@click.option("--discard-above", is_flag=True, help="Take back the blocks above the document's height.")
def apply(file: Path, home: Path, discard_above: bool) -> None:
    """Have a stopped node follow a document.

    A node that is not there yet – new, or fetching the chain anew – keeps the document and judges it when it
    reaches the height. What was not decided yet has to be submitted again.
    """
    document = read_document(file)
    with _chain_of(home) as ledger:
        try:
            loading = ledger.load_recovery(document, discard_above=discard_above)
        except Rejected as rejection:
            raise Rejected(rejection.reason, f"{home}: {rejection.detail}") from None
    if loading.discarded:
        with _chain_of(home) as ledger:  # what is on disk now is what the node will start with
            assert (ledger.head.height, ledger.epoch) == (document.height, document.epoch)
    say(
        {
            "home": str(home),
            "outcome": loading.outcome.value,
            "signers": loading.signers,
            "discarded_blocks": loading.discarded,
            **_result(document),
        },
        f"{_words(document)}\n{_outcome(loading, document)}",
    )


def _outcome(loading: Loading, document: RecoveryDocument) -> str:
    match loading.outcome:
        case Loaded.IN_FORCE:
            back = f"{loading.discarded} blocks were taken back. " if loading.discarded else ""
            return f"{back}Signed by {', '.join(loading.signers)}: in force. Start the node."
        case Loaded.KEPT:
            return (
                f"Kept: this node is below height {document.height} and judges the document when it is there. "
                "Start the node."
            )
        case Loaded.KNOWN:
            return "This node follows the document already; nothing changed."


def _words(document: RecoveryDocument) -> str:
    """Say what a document decides."""
    members = "\n".join(f"  {member.institution}  {member.public_key.hex()}" for member in document.validators.members)
    return (
        f"Recovery of {document.chain_id} (genesis {document.genesis_hash.hex()}), document "
        f"{document.digest().hex()}:\nblock {document.height} ({document.block_hash.hex()}) is the last that counts; "
        f"epoch {document.epoch} begins above it with these {len(document.validators)} validators:\n{members}\n"
        f"Reason: {document.reason}"
    )


def _result(document: RecoveryDocument) -> dict[str, Any]:
    return {
        "document": document.digest().hex(),
        "epoch": document.epoch,
        "height": document.height,
        "block_hash": document.block_hash.hex(),
        "validators": [member.institution for member in document.validators.members],
        "reason": document.reason,
        "signatures": len(document.signatures),
    }
