"""Rows of a learners' file become credentials on the chain and bundles in a folder; safe to repeat after a crash.

Order of a batch: sign documents → write and sync the register → submit → wait → fetch proofs → write
bundles. Whatever was written to the register before a crash is what is submitted after it, byte for
byte; a person who stands in the register gets nothing twice. Source: INTERFACE §2; DOMAIN §3, §5.
"""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from node import codec
from node.chain.certificate import Network
from node.chain.proof_json import from_json
from node.chain.records.definition import Definition
from node.chain.records.institution import Institution, InstitutionKey, Purpose
from node.chain.records.network import Parameters
from node.chain.rules.credentials import CredentialIssue
from node.chain.transaction import decode_transaction, make_transaction
from node.crypto.signing import Ed25519Signer, key_id
from node.documents.bundle import FILE_SUFFIX, write_bundle
from node.documents.credential import Issuer, PreparedCredential, award_dates, custody_signer, prepare_credential
from node.documents.learners import BadRow, Learner, LearnerRow
from node.errors import Reason, Rejected, StorageError
from node.keystore import InstitutionSigner, Keystore
from node.limits import (
    CREDENTIALS_PER_ISSUING_BATCH_MAX,
    STATE_RECORD_BYTES_MAX,
    TRANSACTION_VALIDITY_HEIGHTS_MAX,
)
from node.primitives import HASH_BYTES, CatalogueId, Hash, KeyId, TimestampMs
from node.register import NewCredential, Register, RegisteredBatch, RegisteredCredential
from node.state import keys

KIND: Final = "credential.issue"
REPORT_NAME: Final = "report.csv"
_VALIDITY_HEIGHTS: Final = TRANSACTION_VALIDITY_HEIGHTS_MAX - 100
"""Below the network's bound, so that an answer from a node that lags is good enough."""
_PROBLEMS_NAMED: Final = 20
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets also take the full-width forms for what they look like."""
_REPORT_COLUMNS: Final = ("row", "name", "student_number", "result", "credential_id", "file", "problem")


class NodeClient(Protocol):
    """What issuing needs of a node; `tools.node_client.NodeClient` is one."""

    def network(self) -> tuple[Network, int, int]:
        """Return the network, its epoch and the node's height."""
        ...

    def call(self, method: str, **params: object) -> object:
        """Call a JSON-RPC method and return its result."""
        ...

    def submit(self, data: bytes) -> str:
        """Submit a transaction's bytes and return its id."""
        ...

    def wait(self, tx_id: str) -> object:
        """Wait until a transaction is in a block."""
        ...


class Outcome(StrEnum):
    """What became of a row."""

    ISSUED = "issued"
    ALREADY = "already issued"
    """Before this run; its bundle is there."""
    BAD = "bad row"


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one row."""

    number: int
    outcome: Outcome
    name: str = ""
    student_number: str = ""
    credential_id: str = ""
    file: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Desk:
    """An institution's desk: its keys, its register and the node it works through."""

    keystore: Keystore
    register: Register
    node: NodeClient
    entropy: Callable[[int], bytes]
    cosigners: tuple[Keystore, ...] = ()
    """Further keystores of the institution: where it asks for more than one of its keys."""

    def signers(self) -> list[InstitutionSigner]:
        """Return every transaction key of the institution that is at hand."""
        stores = (self.keystore, *self.cosigners)
        own = [store for store in stores if store.institution == self.keystore.institution]
        return [signer for store in own for signer in store.institution_signers()]


Progress = Callable[[str, int, int], None]
"""Told (what is being done, how many are done, of how many)."""


def no_progress(_step: str, _done: int, _total: int) -> None:
    """Tell nobody."""


def read_record(node: NodeClient, plain_key: str, shape: type[codec.T]) -> codec.T | None:
    """Return a record of the node's state. Raises: Rejected(MALFORMED)."""
    answer = node.call("state_proof", key=plain_key)
    value = answer.get("value") if isinstance(answer, dict) else None
    if value is None:
        return None
    return codec.decode(bytes.fromhex(str(value)), shape, bytes_max=STATE_RECORD_BYTES_MAX)


def load_issuer(desk: Desk, definition_id: CatalogueId, *, public_url: str) -> Issuer:
    """Return what documents are made from, after checking that this keystore may issue them.

    `public_url` is where the network is seen when it has no did_host of its own.
    Raises: Rejected(NOT_FOUND, NOT_PERMITTED, WRONG_STATE, UNKNOWN_KEY); ConfigError.
    """
    network, _, _ = desk.node.network()
    name = desk.keystore.institution
    definition = read_record(desk.node, keys.definition(definition_id), Definition)
    institution = read_record(desk.node, keys.accreditation(name), Institution)
    parameters = read_record(desk.node, keys.NETWORK_PARAMETERS, Parameters)
    if definition is None:
        raise Rejected(Reason.NOT_FOUND, f"no definition {definition_id} is on the chain")
    if institution is None or parameters is None:
        raise Rejected(Reason.NOT_FOUND, f"{name} is not on the chain")
    if definition.issuer != name:
        raise Rejected(Reason.NOT_PERMITTED, f"{definition_id} is of {definition.issuer}, the keystore of {name}")
    if definition.retired is not None:
        raise Rejected(Reason.WRONG_STATE, f"{definition_id} is retired since height {definition.retired.height}")
    assertion = _assertion_signer(desk)
    url = f"https://{parameters.did_host}" if parameters.did_host else public_url.rstrip("/")
    return Issuer(network, institution, definition.content, assertion, url)


def _assertion_signer(desk: Desk) -> Ed25519Signer:
    """Return the keystore's newest assertion key that is in force: what a retired one signed would not verify."""
    name = desk.keystore.institution
    for signer in reversed(desk.keystore.signers(Purpose.ASSERTION)):
        if isinstance(signer, Ed25519Signer) and _is_in_force(desk, key_id(signer.algorithm, signer.public_key)):
            return signer
    raise Rejected(Reason.UNKNOWN_KEY, f"the keystore of {name} has no assertion key that is in force on the chain")


def _is_in_force(desk: Desk, identity: KeyId) -> bool:
    """Tell whether a key of the desk's institution signs on the chain now."""
    record = read_record(desk.node, keys.key(desk.keystore.institution, identity), InstitutionKey)
    return record is not None and record.is_in_force


def issue(
    desk: Desk,
    issuer: Issuer,
    rows: Sequence[LearnerRow],
    *,
    output: Path,
    now_ms: TimestampMs,
    bad: Sequence[BadRow] = (),
    skip_bad: bool = False,
    pad: int = 0,
    dry_run: bool = False,
    progress: Progress = no_progress,
) -> list[RowResult]:
    """Issue for every row whose person has nothing yet, write all bundles and the report.

    `bad`: rows of the file that were refused already. `pad`: batches get random ids up to at least so
    many. A dry run signs every document; it sends and writes nothing. Raises: Rejected(INVALID_VALUE)
    naming each bad row, before anything is sent, unless `skip_bad`; Rejected(BAD_DOCUMENT, TOO_LARGE);
    StorageError; what the node client raises.
    """
    definition_id = issuer.definition.id
    fresh = [row for row in rows if _registered(desk, definition_id, row) is None]
    problems = [*bad, *_refused(issuer, fresh, now_ms)]
    if problems and not (skip_bad or dry_run):
        raise Rejected(Reason.INVALID_VALUE, _named(problems))
    refused = {row.number for row in problems}
    new = [row for row in fresh if row.number not in refused]
    # The first document stands for all: what could still refuse one is in the definition they share.
    checked = new if dry_run else new[:1]
    for start in range(0, len(checked), CREDENTIALS_PER_ISSUING_BATCH_MAX):
        _prepare(desk, issuer, checked[start : start + CREDENTIALS_PER_ISSUING_BATCH_MAX], now_ms)
    good = [row for row in rows if row.number not in refused]
    if not dry_run:
        resume(desk, definition_id, progress=progress)
        for start in range(0, len(new), CREDENTIALS_PER_ISSUING_BATCH_MAX):
            progress("issuing", start, len(new))
            made = _prepare(desk, issuer, new[start : start + CREDENTIALS_PER_ISSUING_BATCH_MAX], now_ms)
            finish_batch(desk, desk.register.add_batch(definition_id, _padded(made, pad, desk.entropy), made))
        _write_bundles(desk, definition_id, good, output, progress)
    results = _results(desk, definition_id, good, {row.number for row in new}, problems)
    if not dry_run:
        write_file(output / REPORT_NAME, report_csv(results).encode("utf-8-sig"))
    return results


def _refused(issuer: Issuer, rows: Sequence[LearnerRow], now_ms: TimestampMs) -> list[BadRow]:
    """Return the rows that their file's reader could not see to be bad."""
    refused = []
    for row in rows:
        try:
            award_dates(issuer, row.learner, now_ms)
        except Rejected as refusal:
            refused.append(BadRow(row.number, refusal.detail))
    return refused


def _named(problems: Sequence[BadRow]) -> str:
    """Name the first bad rows with their reasons."""
    named = "; ".join(f"row {row.number}: {row.problem}" for row in problems[:_PROBLEMS_NAMED])
    rest = len(problems) - _PROBLEMS_NAMED
    return named + (f"; and {rest} more" if rest > 0 else "")


def resume(desk: Desk, definition_id: CatalogueId | None = None, *, progress: Progress = no_progress) -> int:
    """Finish what an earlier run of issuing began; return how many batches that were.

    A stack is finished by stacking again: its consents are for one transaction only.
    """
    waiting = [batch for batch in desk.register.open_batches(definition_id) if not _is_stack(batch)]
    for done, batch in enumerate(waiting):
        progress("resuming", done, len(waiting))
        finish_batch(desk, batch)
    return len(waiting)


def _is_stack(batch: RegisteredBatch) -> bool:
    return batch.transaction is not None and decode_transaction(batch.transaction).kind != KIND


def finish_batch(desk: Desk, batch: RegisteredBatch) -> None:
    """Bring a registered batch onto the chain, unless it is there; repeating it changes nothing."""
    if not is_issued(desk, batch):
        try:
            desk.node.wait(desk.node.submit(_transaction(desk, batch)))
        except Exception:
            # Whoever else sent the same batch (an earlier run that crashed) may have been first.
            if not is_issued(desk, batch):
                raise
    desk.register.mark_final(batch.number)


def is_issued(desk: Desk, batch: RegisteredBatch) -> bool:
    """Tell whether the chain has a batch."""
    answer = desk.node.call("state_proof", key=keys.batch(batch.batch_id(desk.keystore.institution)))
    return isinstance(answer, dict) and answer.get("value") is not None


def _transaction(desk: Desk, batch: RegisteredBatch) -> bytes:
    """Return the batch's transaction: the one sent before while it may still be included, else a new one.

    However many there are, the chain takes a batch once.
    """
    network, epoch, height = desk.node.network()
    if batch.transaction is not None:
        sent = decode_transaction(batch.transaction)
        signed_by = [signature.key_id for signature in sent.signatures]
        if sent.valid_until_height > height and all(_is_in_force(desk, identity) for identity in signed_by):
            return batch.transaction
    name = desk.keystore.institution
    institution = read_record(desk.node, keys.accreditation(name), Institution)
    needed = 1 if institution is None else institution.signatures_for(KIND)
    signers = [signer for signer in desk.signers() if _is_in_force(desk, signer.key_id)]
    if len(signers) < needed:
        raise Rejected(
            Reason.WRONG_SIGNERS,
            f"{name} signs {KIND} with {needed} keys, the keystores given hold {len(signers)} that are in force",
        )
    transaction = make_transaction(
        network,
        epoch,
        signer=name,
        kind=KIND,
        valid_until_height=height + _VALIDITY_HEIGHTS,
        payload=CredentialIssue(batch.definition, batch.root, len(batch.ids), b"".join(batch.ids)),
        signers=signers[:needed],
    )
    data = codec.encode(transaction)
    desk.register.set_transaction(batch.number, data)
    return data


def _prepare(desk: Desk, issuer: Issuer, rows: Sequence[LearnerRow], now_ms: TimestampMs) -> list[NewCredential]:
    """Make and sign the documents of one batch."""
    prepared = []
    for row, place in zip(rows, desk.register.draw_places(len(rows)), strict=True):
        person = desk.register.person(row.learner.identity)
        brought = row.learner.holder_key
        holder_key = brought or custody_signer(desk.keystore.custody_root, person).public_key
        credential = prepare_credential(
            issuer, row.learner, holder_key=holder_key, entry=place, now_ms=now_ms, entropy=desk.entropy
        )
        prepared.append(NewCredential(credential, person, brought is None))
    return prepared


def _padded(credentials: Sequence[NewCredential], pad: int, entropy: Callable[[int], bytes]) -> list[Hash]:
    """Return the batch's ids with random ones up to `pad`, in ascending order: it tells nothing of the rows'."""
    ids = [item.credential.credential_id() for item in credentials]
    ids += [entropy(HASH_BYTES) for _ in range(max(0, min(pad, CREDENTIALS_PER_ISSUING_BATCH_MAX) - len(ids)))]
    return sorted(ids)


def _registered(desk: Desk, definition_id: CatalogueId, row: LearnerRow) -> RegisteredCredential | None:
    return desk.register.find(definition_id, desk.register.person(row.learner.identity))


def _write_bundles(
    desk: Desk, definition_id: CatalogueId, rows: Sequence[LearnerRow], output: Path, progress: Progress
) -> None:
    """Write the bundle of every row that lacks one."""
    output.mkdir(parents=True, exist_ok=True)
    for done, row in enumerate(rows):
        progress("writing", done, len(rows))
        found = _registered(desk, definition_id, row)
        assert found is not None
        path = output / bundle_name(row.learner, found.credential)
        if not path.exists():
            write_file(path, fetch_bundle(desk.node, found.credential))
    progress("writing", len(rows), len(rows))


def fetch_bundle(node: NodeClient, credential: PreparedCredential) -> bytes:
    """Return a credential's bundle under the node's present state root."""
    answer = node.call(
        "credential_proof",
        credential_id=credential.credential_id().hex(),
        issuer=credential.leaf.issuer,
        status_key=credential.leaf.status_key.hex(),
    )
    return write_bundle(credential.bundle(from_json(answer)))


def bundle_name(learner: Learner, credential: PreparedCredential) -> str:
    """Return a file name that people recognise and that is the same in every run."""
    decomposed = unicodedata.normalize("NFD", learner.full_name.lower())
    slug = re.sub(r"[^a-z0-9]+", "-", "".join(c for c in decomposed if not unicodedata.combining(c))).strip("-")
    return f"{slug[:60] or 'credencial'}-{credential.credential_id().hex()[:8]}{FILE_SUFFIX}"


def _results(
    desk: Desk,
    definition_id: CatalogueId,
    rows: Sequence[LearnerRow],
    new: set[int],
    problems: Sequence[BadRow],
) -> list[RowResult]:
    results = [RowResult(row.number, Outcome.BAD, problem=row.problem) for row in problems]
    for row in rows:
        found = _registered(desk, definition_id, row)
        outcome = Outcome.ISSUED if row.number in new else Outcome.ALREADY
        name, student_number = row.learner.full_name, row.learner.student_number
        if found is None:
            results.append(RowResult(row.number, outcome, name, student_number))
            continue
        identity = found.credential.credential_id().hex()
        file = bundle_name(row.learner, found.credential)
        results.append(RowResult(row.number, outcome, name, student_number, identity, file))
    return sorted(results, key=lambda result: result.number)


def report_csv(results: Sequence[RowResult]) -> str:
    """Return the report as CSV; no cell of it can act as a formula in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_REPORT_COLUMNS)
    for result in results:
        cells = (
            str(result.number),
            result.name,
            result.student_number,
            result.outcome.value,
            result.credential_id,
            result.file,
            result.problem,
        )
        writer.writerow([f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell for cell in cells])
    return text.getvalue()


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, readable by its owner only. Raises: StorageError."""
    # Two commands at once must not rename each other's half.
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        draft.unlink(missing_ok=True)
        # A file of its own, not one that somebody else has laid there, nor where a link leads.
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from None
