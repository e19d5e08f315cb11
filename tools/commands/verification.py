"""`pila verify | disclose | refresh`: what a holder and a verifier do with a bundle. No network unless `--rpc`."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from node import codec
from node.chain import proof_json
from node.chain.block import Header
from node.chain.checkpoint import checkpoint_of, checkpoints_json, merged, parse_checkpoints
from node.chain.proof import ChainProof, verify_headers
from node.documents.answer import Answer
from node.documents.bundle import Bundle, present, read_bundle, refreshed, write_bundle
from node.documents.disclosure import opened
from node.documents.verifier import verify_bundle
from node.errors import ConfigError, Rejected
from node.limits import BLOCK_BYTES_MAX, BUNDLE_BYTES_MAX
from node.release import known_checkpoints
from tools.console import (
    EXIT_NO,
    EXIT_UNUSABLE,
    command,
    is_json,
    print_table,
    progress_bar,
    read_bytes,
    rpc_option,
    say,
    table,
)
from tools.node_client import CallFailed, NodeClient
from tools.trust import parse_age, trust_anchor

_root = click.Group()
_files = click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))


@command(_root, "verify")
@_files
@click.option(
    "--genesis",
    "genesis_text",
    metavar="FILE|HASH",
    help="Whom to trust. Else PILA_GENESIS, else ~/.config/pila/genesis.",
)
@click.option(
    "--max-age", metavar="AGE", help="How old the proof may be, such as 24h. Default: any; the answer says as of when."
)
@click.option("--rpc", metavar="URL", help="Ask this node for a fresh proof first. Without it no network is used.")
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Blocks known to be the network's, besides those that this program brings: what contradicts one is red.",
)
def verify(
    files: tuple[Path, ...], genesis_text: str | None, max_age: str | None, rpc: str | None, checkpoints: Path | None
) -> None:
    """Verify bundles and say it in separate lights; exit 0 only when every one is verified.

    A node that is asked for a fresh proof is not trusted: its proof is checked like the one in the file.
    """
    anchor, age_ms, known = trust_anchor(genesis_text), parse_age(max_age), known_checkpoints(checkpoints)
    client = None if rpc is None else NodeClient(rpc)
    answers = []
    with progress_bar() as bar:
        for file in bar.track(files, description="Verifying") if len(files) > 1 else files:
            data = read_bundle_file(file)
            if client is not None:
                data = _with_fresh_proof(file, data, client)
            now_ms = int(time.time() * 1000)
            answers.append(
                verify_bundle(data, genesis_hash=anchor, now_ms=now_ms, max_age_ms=age_ms, checkpoints=known)
            )
    _show(files, answers)
    if not all(answer.readable for answer in answers):
        raise SystemExit(EXIT_UNUSABLE)
    if not all(answer.verified for answer in answers):
        raise SystemExit(EXIT_NO)


def read_bundle_file(file: Path) -> bytes:
    """Read a bundle's bytes, never more than a bundle can have. Raises: ConfigError."""
    try:
        size = file.stat().st_size
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    if size > BUNDLE_BYTES_MAX:
        raise ConfigError(f"{file}: {size} bytes; a bundle has at most {BUNDLE_BYTES_MAX}")
    return read_bytes(file)


def open_bundle(file: Path) -> Bundle:
    """Read a bundle. Raises: ConfigError naming the file."""
    try:
        return read_bundle(read_bundle_file(file))
    except Rejected as refusal:
        raise ConfigError(f"{file}: no Pila bundle, or damaged: {refusal.detail}") from None


def credential_id_of(file: Path) -> str:
    """Return the id of a bundle's credential. Raises: ConfigError."""
    return open_bundle(file).leaf.credential_id().hex()


def fetch_proof(bundle: Bundle, client: NodeClient) -> ChainProof:
    """Ask a node for a fresh chain part of a credential.

    Raises: CallFailed; Rejected for a proof that does not lead from the credential's own network.
    """
    leaf = bundle.leaf
    answer = client.call(
        "credential_proof",
        credential_id=leaf.credential_id().hex(),
        issuer=leaf.issuer,
        status_key=leaf.status_key.hex(),
    )
    proof = proof_json.from_json(answer)
    verify_headers(proof, leaf.genesis_hash)
    return proof


def _with_fresh_proof(file: Path, data: bytes, client: NodeClient) -> bytes:
    """Return a bundle with a fresh chain part.

    One that cannot be read is left to the verifier as it is; so, with a warning, is one that the node has no
    proof for: what it says holds for its own date.
    """
    try:
        bundle = read_bundle(data)
    except Rejected:
        return data
    try:
        return write_bundle(refreshed(bundle, fetch_proof(bundle, client)))
    except (Rejected, CallFailed) as refusal:
        click.echo(f"{file}: no fresh proof from {client.url} ({refusal}); verifying the one in the file", err=True)
        return data


def _show(files: Sequence[Path], answers: Sequence[Answer]) -> None:
    results: list[dict[str, Any]] = [
        {"file": str(file), **answer.to_json()} for file, answer in zip(files, answers, strict=True)
    ]
    if is_json():
        verified = all(answer.verified for answer in answers)
        say(results[0] if len(results) == 1 else {"verified": verified, "files": results}, "")
        return
    for file, answer in zip(files, answers, strict=True):
        title = "verified" if answer.verified else "NOT verified"
        rows = table("", "light", "es", "en", title=f"{file}: {title}")
        for light in answer.checks:
            rows.add_row("✓" if light.ok else "✗", light.name.value, light.text.es, light.text.en)
        print_table(rows)
        for light in answer.checks:
            if not light.ok and light.detail:
                click.echo(f"  {light.name.value}: {light.detail}")


@command(_root, "disclose")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--fields", required=True, help="Claims to show, with commas; `--fields ?` lists them.")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Where to write the presentation."
)
def disclose(file: Path, fields: str, out: Path | None) -> None:
    """Write a presentation that shows only some claims; status and dates always stay."""
    bundle = open_bundle(file)
    paths = sorted(opened(bundle.claims))
    if fields == "?":
        say({"fields": paths}, "\n".join(paths))
        return
    if out is None:
        raise ConfigError("--out FILE is needed")
    wanted = frozenset(_full_path(name.strip(), paths) for name in fields.split(","))
    write_atomically(out, write_bundle(present(bundle, wanted)))
    say({"file": str(out), "fields": sorted(wanted)}, f"{out} shows {', '.join(sorted(wanted))}.")


def _full_path(name: str, paths: Sequence[str]) -> str:
    """Return the claim that a name stands for: its whole path, or its last part where only one has it.

    Raises: ConfigError listing the claims there are.
    """
    if name in paths:
        return name
    found = [path for path in paths if path.rpartition("/")[2] == name]
    if len(found) != 1:
        raise ConfigError(f"--fields {name!r}: no such claim, or several; there are {', '.join(paths)}")
    return found[0]


@command(_root, "refresh")
@_files
@rpc_option
def refresh(files: tuple[Path, ...], rpc: str) -> None:
    """Bring bundles up to date: the same credential, proven under a younger block."""
    client, changed = NodeClient(rpc), 0
    with progress_bar() as bar:
        for file in bar.track(files, description="Refreshing"):
            bundle = open_bundle(file)
            proof = fetch_proof(bundle, client)
            if proof.header.height > bundle.chain.header.height:
                write_atomically(file, write_bundle(refreshed(bundle, proof)))
                changed += 1
    say({"files": len(files), "changed": changed}, f"{changed} of {len(files)} bundles brought up to date.")


@command(_root, "checkpoint")
@click.option("--height", type=click.IntRange(1), help="Default: the node's head.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Add it to this file of checkpoints, which may be new; default: print it.",
)
@rpc_option
def checkpoint(height: int | None, out: Path | None, rpc: str) -> None:
    """Make a checkpoint of a node's chain, to be shipped and published elsewhere.

    Only of a node that you run: whoever has the checkpoint refuses every other history from that height on.
    """
    client = NodeClient(rpc)
    network, _, head = client.network()
    raw = bytes.fromhex(client.call("chain_header", height=head if height is None else height)["raw"])
    made = checkpoint_of(codec.decode(raw, Header, bytes_max=BLOCK_BYTES_MAX), network.genesis_hash)
    if out is None:
        text = checkpoints_json((made,))
        say(json.loads(text), text.rstrip())
        return
    earlier = parse_checkpoints(read_bytes(out)) if out.exists() else ()
    write_atomically(out, checkpoints_json(merged((*earlier, made))).encode())
    say(
        {"file": str(out), "height": made.height, "block_hash": made.block_hash.hex()},
        f"{out}: checkpoint of height {made.height}, block {made.block_hash.hex()}.",
    )


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises: ConfigError naming it."""
    temporary = path.with_name(path.name + ".new")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
