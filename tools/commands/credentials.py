"""`pila issue | revoke | suspend | reinstate | supersede | stack`: what an institution does with credentials."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from node.chain.records.credential import ReasonCode, StatusListEntry
from node.chain.rules.credentials import StatusChange, StatusEntry
from node.documents.bundle import Bundle
from node.documents.credential import custody_signer
from node.documents.learners import read_learners
from node.errors import ConfigError, Reason, Rejected
from node.issuing import Desk, Outcome, load_issuer
from node.issuing import issue as issue_rows
from node.keystore import Keystore
from node.limits import CREDENTIALS_PER_ISSUING_BATCH_MAX, STATUS_ENTRIES_PER_TRANSACTION_MAX
from node.primitives import PublicKey
from node.register import Register
from node.stacking import KIND as STACK_KIND
from node.stacking import HolderKey, award
from tools.commands.verification import open_bundle
from tools.console import (
    EXIT_UNUSABLE,
    command,
    cosign_option,
    keystore_option,
    one_of,
    open_keystore,
    passphrase_option,
    progress_bar,
    read_bytes,
    rpc_option,
    say,
)
from tools.node_client import NodeClient
from tools.signing import gather, send

_root = click.Group()
SUPERSEDE: Final = "credential.supersede"
ENDS: Final = {"credential.revoke": "revoked", SUPERSEDE: "superseded"}
"""The final states that the kinds bring, after which nothing follows."""
_out = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR", help="Where bundles go."
)


def register_folder(keystore: Path) -> Path:
    """Return where a keystore's issue register lies: beside it."""
    return keystore.with_name(keystore.name.removesuffix(".json") + ".register")


@contextmanager
def open_desk(path: Path, keystore: Keystore, client: NodeClient, cosigners: Sequence[Keystore] = ()) -> Iterator[Desk]:
    """Open an institution's desk: its keystore, its register, its node, and who signs with it."""
    register = Register.open(register_folder(path), keystore.register_key, entropy=os.urandom)
    try:
        yield Desk(keystore, register, client, os.urandom, tuple(cosigners))
    finally:
        register.close()


@command(_root, "issue")
@click.option("--definition", required=True, metavar="ID", help="What is issued.")
@click.option(
    "--learners",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="CSV or XLSX, one learner a row.",
)
@_out
@click.option("--dry-run", is_flag=True, help="Check and sign everything, send nothing; exit 2 where rows are bad.")
@click.option("--skip-bad", is_flag=True, help="Issue the good rows although there are bad ones.")
@click.option(
    "--pad",
    type=click.IntRange(0, CREDENTIALS_PER_ISSUING_BATCH_MAX),
    default=0,
    help="Fill a small batch up with random ids: a batch of one at a known minute points to a person.",
)
@keystore_option()
@passphrase_option
@cosign_option
@rpc_option
def issue(
    definition: str,
    learners: Path,
    out: Path,
    dry_run: bool,
    skip_bad: bool,
    pad: int,
    keystore: Path,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Issue one credential a learner and write a bundle each and report.csv.

    Safe to repeat after a crash: nobody gets two. Bad rows are named by number; nothing is sent until all
    are good or --skip-bad is given.
    """
    try:
        file = read_learners(read_bytes(learners))
    except Rejected as refusal:
        raise ConfigError(f"{learners}: {refusal.detail}") from None
    opened = open_keystore(keystore, passphrase_file)
    cosigners = [open_keystore(path) for path in cosign]
    with open_desk(keystore, opened, NodeClient(rpc), cosigners) as desk, progress_bar() as bar:
        task = bar.add_task("Issuing", total=len(file.rows))
        try:
            results = issue_rows(
                desk,
                load_issuer(desk, definition, public_url=rpc),
                file.rows,
                output=out,
                now_ms=int(time.time() * 1000),
                bad=file.bad,
                skip_bad=skip_bad,
                pad=pad,
                dry_run=dry_run,
                progress=lambda step, done, total: bar.update(
                    task, description=step.capitalize(), completed=done, total=total
                ),
            )
        except Rejected as refusal:
            if refusal.reason is Reason.INVALID_VALUE:
                raise ConfigError(f"{learners}: {refusal.detail} (--skip-bad leaves bad rows out)") from None
            raise
    counts = {outcome.value: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    problems = [
        {"row": result.number, "problem": result.problem} for result in results if result.outcome is Outcome.BAD
    ]
    done = f"{counts[Outcome.ISSUED]} {'would be issued' if dry_run else 'issued'}"
    summary = f"{done}, {counts[Outcome.ALREADY]} had it already, {counts[Outcome.BAD]} bad rows."
    lines = [summary, *(f"  row {item['row']}: {item['problem']}" for item in problems)]
    say(
        {
            "definition": definition,
            "issued": counts[Outcome.ISSUED],
            "already_issued": counts[Outcome.ALREADY],
            "bad_rows": problems,
            "dry_run": dry_run,
            "out": str(out),
        },
        "\n".join(lines if dry_run else [*lines, f"Bundles and report.csv are in {out}."]),
    )
    if dry_run and problems:
        raise SystemExit(EXIT_UNUSABLE)


def change_status(
    kind: str,
    files: Sequence[Path],
    reason: str,
    keystore_path: Path,
    passphrase_file: Path | None,
    cosign: Sequence[Path],
    rpc: str,
) -> None:
    """Change the status of the credentials of some bundles, in as few transactions as the chain allows."""
    keystore, client = open_keystore(keystore_path, passphrase_file), NodeClient(rpc)
    bundles = [open_bundle(file) for file in files]
    issuers = {bundle.leaf.issuer for bundle in bundles}
    if len(issuers) != 1:
        raise ConfigError(f"the bundles are of several issuers: {', '.join(sorted(issuers))}; one at a time")
    with open_desk(keystore_path, keystore, client) as desk:
        # What an earlier run brought to its end before it was interrupted is not sent again.
        due = [bundle for bundle in bundles if not _is_ended(client, bundle, kind)]
        entries = [StatusEntry(bundle.leaf.status_key, ReasonCode(reason), _place(desk, bundle)) for bundle in due]
        sent: dict[str, Any] = {"height": client.network()[2]}
        for start in range(0, len(entries), STATUS_ENTRIES_PER_TRANSACTION_MAX):
            group = sorted(
                entries[start : start + STATUS_ENTRIES_PER_TRANSACTION_MAX], key=lambda entry: entry.status_key
            )
            sent = send(client, kind, StatusChange(issuers.copy().pop(), tuple(group)), keystore, cosign)
        if kind == SUPERSEDE:
            for bundle in bundles:
                desk.register.release(bundle.leaf.credential_id())
    action, before = kind.partition(".")[2], len(bundles) - len(due)
    say(
        {**sent, "action": action, "credentials": len(files), "changed": len(due)},
        f"{action}: {len(due)} (block {sent['height']})" + (f", {before} were so before." if before else "."),
    )


def _is_ended(client: NodeClient, bundle: Bundle, kind: str) -> bool:
    """Tell whether a credential has already come to the end that a kind brings; suspensions are none."""
    if kind not in ENDS:
        return False
    answer = client.call("credential_status", issuer=bundle.leaf.issuer, status_key=bundle.leaf.status_key.hex())
    return bool(answer["status"] == ENDS[kind])


def _place(desk: Desk, bundle: Bundle) -> StatusListEntry | None:
    """Return a credential's place in the status lists; None where an authority acts on another's credential.

    Raises: ConfigError when the institution's own register does not know it.
    """
    leaf = bundle.leaf
    if leaf.issuer != desk.keystore.institution:
        return None
    found = desk.register.by_credential_id(leaf.credential_id())
    if found is None:
        raise ConfigError(
            f"the issue register beside the keystore of {leaf.issuer} has no credential {leaf.credential_id().hex()}"
        )
    return found.credential.entry


def _status_command(name: str, help_text: str) -> click.Command:
    def change(
        files: tuple[Path, ...],
        reason: str,
        keystore: Path,
        passphrase_file: Path | None,
        cosign: tuple[Path, ...],
        rpc: str,
    ) -> None:
        change_status(f"credential.{name}", files, reason, keystore, passphrase_file, cosign, rpc)

    change.__doc__ = help_text
    options = (
        click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False)),
        click.option("--reason", type=one_of(ReasonCode), required=True, help="Reason code; never free text."),
        keystore_option(),
        passphrase_option,
        cosign_option,
        rpc_option,
    )
    decorated = change
    for option in reversed(options):
        decorated = option(decorated)
    return command(_root, name)(decorated)


revoke = _status_command("revoke", "Revoke the credentials of some bundles, for ever.")
suspend = _status_command("suspend", "Suspend the credentials of some bundles; also an authority may.")
reinstate = _status_command("reinstate", "Lift the suspension that this institution set.")
supersede = _status_command("supersede", "End credentials that corrected ones replace; issue those afterwards.")


@command(_root, "stack")
@click.option("--pathway", "pathway_id", required=True, metavar="ID")
@click.option(
    "--credentials",
    "first",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILES…",
    help="Bundles to stack.",
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@_out
@keystore_option(help_text="Keystore of the awarding institution.")
@click.option(
    "--custody",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keystore of an institution that keeps a holder key of the learner. May be repeated.",
)
@click.option(
    "--holder",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The learner's own key. May be repeated.",
)
@click.option("--attest", is_flag=True, help="State that several holder keys are one person's.")
@passphrase_option
@cosign_option
@rpc_option
def stack(
    pathway_id: str,
    first: tuple[Path, ...],
    more: tuple[Path, ...],
    out: Path,
    keystore: Path,
    custody: tuple[Path, ...],
    holder: tuple[Path, ...],
    attest: bool,
    passphrase_file: Path | None,
    cosign: tuple[Path, ...],
    rpc: str,
) -> None:
    """Make one larger credential of several, by a pathway, with the holder's consent."""
    client, awarding = NodeClient(rpc), open_keystore(keystore, passphrase_file)
    bundles = [open_bundle(file) for file in (*first, *more)]
    signers = gather(client, STACK_KIND, awarding, [open_keystore(path) for path in cosign])
    with open_desk(keystore, awarding, client) as desk:
        holders = _holders(desk, bundles, keystore, custody, holder, client)
        path = award(
            desk,
            pathway_id,
            bundles,
            holders,
            signers=signers,
            attest=attest,
            output=out,
            public_url=rpc,
            now_ms=int(time.time() * 1000),
        )
    result = open_bundle(path).leaf
    say(
        {"file": str(path), "credential_id": result.credential_id().hex(), "definition": result.definition},
        f"{len(bundles)} credentials stacked into {result.definition}: {path}",
    )


def _holders(
    desk: Desk,
    bundles: Sequence[Bundle],
    keystore: Path,
    custody: Sequence[Path],
    holder: Sequence[Path],
    client: NodeClient,
) -> dict[PublicKey, HolderKey]:
    """Return the keys that can consent: the learner's own files, and those that registers say are kept."""
    found: dict[PublicKey, HolderKey] = {}
    for path in holder:
        signer = open_keystore(path).ed25519("holder")
        found[signer.public_key] = HolderKey(signer, custodial=False)
    _add_kept(found, desk, bundles)
    for path in custody:
        if path != keystore:
            with open_desk(path, open_keystore(path), client) as other:
                _add_kept(found, other, bundles)
    return found


def _add_kept(found: dict[PublicKey, HolderKey], desk: Desk, bundles: Sequence[Bundle]) -> None:
    """Add the holder keys of bundles that a desk's institution keeps."""
    for bundle in bundles:
        registered = desk.register.by_credential_id(bundle.leaf.credential_id())
        if registered is not None and registered.custodial:
            signer = custody_signer(desk.keystore.custody_root, registered.person)
            found.setdefault(signer.public_key, HolderKey(signer, custodial=True))
