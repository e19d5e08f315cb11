"""Issuing on a real ledger: nobody gets two, a crash at any step is made good by running again, byte for byte."""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from node.chain.certificate import Network
from node.chain.proof import credential_proof
from node.chain.proof_json import to_json
from node.chain.records.credential import Batch
from node.chain.records.institution import Purpose
from node.chain.rules.keys import KeyAdd, KeyRetire, NewKey
from node.crypto.signing import Algorithm, Ed25519Signer, P256Signer, Signer
from node.documents.bundle import read_bundle
from node.documents.credential import Issuer
from node.documents.learners import BadRow, LearnerRow, read_learners
from node.documents.verifier import verify_bundle
from node.errors import Reason, Rejected
from node.issuing import Desk, Outcome, RowResult, issue, load_issuer, report_csv, resume, write_file
from node.keystore import InstitutionSigner, Keystore, KeystoreKind, SecretKey, Secrets
from node.register import Register
from node.state import keys
from tests.unit.documents.small_chain import (
    NOW_MS,
    UGTO,
    SmallChain,
    counting_entropy,
    key_reference,
    recovery_signer,
    seed,
)

DEFINITION = f"{UGTO}/primer-empleo/1"
URL = "http://127.0.0.1:8600/"


class Crash(Exception):
    """The process ends here."""


class LedgerNode:
    """A node whose RPC is a function call; `before` may end the process at any call."""

    def __init__(self, chain: SmallChain, before: Callable[[str], None] = lambda _: None) -> None:
        self.chain = chain
        self.before = before
        self.sent: list[bytes] = []

    def network(self) -> tuple[Network, int, int]:
        self.before("network")
        return self.chain.ledger.network, self.chain.ledger.epoch, self.chain.ledger.head.height

    def call(self, method: str, **params: object) -> object:
        self.before(method)
        if method == "state_proof":
            value = self.chain.ledger.prove(str(params["key"])).value
            return {"value": None if value is None else value.hex()}
        assert method == "credential_proof"
        status_key, issuer = bytes.fromhex(str(params["status_key"])), str(params["issuer"])
        identity = bytes.fromhex(str(params["credential_id"]))
        return to_json(credential_proof(self.chain.ledger, identity, issuer=issuer, status_key=status_key))

    def submit(self, data: bytes) -> str:
        self.before("submit")
        self.sent.append(data)
        return self.chain.ledger.submit(data).tx_id.hex()

    def wait(self, tx_id: str) -> object:
        self.before("wait")
        self.chain.block()
        assert self.chain.ledger.find_transaction(bytes.fromhex(tx_id)) is not None
        return {"status": "committed"}


def keystore() -> Keystore:
    """Return the institution's keys as the small chain's genesis has them."""
    secrets = Secrets(
        (
            SecretKey(Purpose.TRANSACTION, Algorithm.P256.name.lower(), seed(UGTO, Purpose.TRANSACTION).hex()),
            SecretKey(Purpose.ASSERTION, Algorithm.ED25519.name.lower(), seed(UGTO, Purpose.ASSERTION).hex()),
        ),
        bytes(32).hex(),
        bytes(range(32)).hex(),
    )
    return Keystore(KeystoreKind.INSTITUTION, UGTO, secrets)


def learners(count: int, *, first: int = 0) -> tuple[LearnerRow, ...]:
    """Return rows of a file."""
    lines = [f"Ana,López {n},NUA{n},2026-06-30,9.5" for n in range(first, first + count)]
    text = "nombre,apellidos,matricula,fecha,calificacion\n" + "\n".join(lines)
    return read_learners(text.encode()).rows


def desk_at(tmp_path: Path, node: LedgerNode, name: str = "desk") -> Desk:
    """Return a desk with a register in a folder."""
    store = keystore()
    register = Register.open(tmp_path / "register", store.register_key, entropy=counting_entropy(f"{name}/register"))
    return Desk(store, register, node, counting_entropy(name))


def small_chain() -> SmallChain:
    """Return a chain with the definition published."""
    chain = SmallChain()
    chain.publish(DEFINITION)
    return chain


def loaded(desk: Desk) -> Issuer:
    """Return what documents are made from."""
    return load_issuer(desk, DEFINITION, public_url=URL)


def batches(chain: SmallChain) -> int:
    """Return how many batch transactions are on the chain."""
    found = [chain.ledger.receipts_at(height) or () for height in range(1, chain.ledger.head.height + 1)]
    subjects = [event.subject for receipts in found for receipt in receipts for event in receipt.events]
    return len([subject for subject in subjects if subject.startswith("bat/")])


def bundles(folder: Path) -> dict[str, bytes]:
    """Return the bundle files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.pila.json"))}


def test_rows_become_bundles_that_verify(tmp_path: Path) -> None:
    """One transaction, one verified bundle for each learner, and a report."""
    chain = small_chain()
    desk = desk_at(tmp_path, LedgerNode(chain))
    results = issue(desk, loaded(desk), learners(3), output=tmp_path / "out", now_ms=NOW_MS)
    assert [result.outcome for result in results] == [Outcome.ISSUED] * 3
    files = bundles(tmp_path / "out")
    assert set(files) == {result.file for result in results}
    assert all(name.startswith("ana-lopez-") for name in files)
    for data in files.values():
        assert verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=NOW_MS).verified
    report = list(csv.DictReader(io.StringIO((tmp_path / "out" / "report.csv").read_text("utf-8-sig"))))
    assert [(row["row"], row["result"], row["student_number"]) for row in report] == [
        (str(number + 2), "issued", f"NUA{number}") for number in range(3)
    ]
    assert batches(chain) == 1


def test_second_run_issues_nothing_twice(tmp_path: Path) -> None:
    """The same file again sends nothing; with one more learner it issues one more."""
    chain = small_chain()
    desk = desk_at(tmp_path, LedgerNode(chain))
    issue(desk, loaded(desk), learners(3), output=tmp_path / "out", now_ms=NOW_MS)
    first = bundles(tmp_path / "out")
    results = issue(desk, loaded(desk), learners(4), output=tmp_path / "out", now_ms=NOW_MS)
    assert [result.outcome for result in results] == [Outcome.ALREADY] * 3 + [Outcome.ISSUED]
    assert first.items() < bundles(tmp_path / "out").items()
    assert batches(chain) == 2
    assert {len(data) > 0 for data in first.values()} == {True}


@pytest.mark.parametrize(
    "call,calls",
    [
        ("submit", 1),
        ("wait", 1),
        ("state_proof", 5),
        ("state_proof", 6),
        ("state_proof", 7),
        ("credential_proof", 1),
        ("credential_proof", 3),
    ],
)
def test_crash_is_made_good_by_running_again(tmp_path: Path, call: str, calls: int) -> None:
    """Wherever the process ends, the second run sends the same ids, and everybody has exactly one."""
    chain = small_chain()
    left = calls

    def crash(method: str) -> None:
        nonlocal left
        left -= method == call
        if method == call and left == 0:
            raise Crash

    node = LedgerNode(chain, crash)
    desk = desk_at(tmp_path, node)
    with pytest.raises(Crash):
        issue(desk, loaded(desk), learners(3), output=tmp_path / "out", now_ms=NOW_MS)
    registered = [item.ids for item in desk.register.open_batches()]
    desk.register.close()

    again = desk_at(tmp_path, LedgerNode(chain), "another process")
    results = issue(again, loaded(again), learners(3), output=tmp_path / "out", now_ms=NOW_MS + 1_000)
    assert len(results) == 3
    assert batches(chain) == 1
    assert again.register.open_batches() == []
    if registered:
        assert again.register.batch(1).ids == registered[0]
    files = bundles(tmp_path / "out")
    assert len(files) == 3
    assert {read_bundle(data).leaf.credential_id() for data in files.values()} == set(again.register.batch(1).ids)
    assert all(verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=NOW_MS).verified for data in files.values())


def test_block_committed_before_the_crash_is_found(tmp_path: Path) -> None:
    """Submitted and committed, but the answer was lost: nothing is sent again."""
    chain = small_chain()

    def crash(method: str) -> None:
        if method == "wait":
            chain.block()
            raise Crash

    desk = desk_at(tmp_path, LedgerNode(chain, crash))
    # The batch is on the chain, so the lost answer does no harm even in this run.
    issue(desk, loaded(desk), learners(2), output=tmp_path / "out", now_ms=NOW_MS)
    assert batches(chain) == 1
    node = LedgerNode(chain)
    again = desk_at(tmp_path, node)
    assert resume(again) == 0
    issue(again, loaded(again), learners(2), output=tmp_path / "out", now_ms=NOW_MS)
    assert node.sent == []


def test_resumed_transaction_is_the_same_bytes_while_it_is_valid(tmp_path: Path) -> None:
    """What was made before the crash is sent after it; when its time is over, a new one with the same ids."""
    chain = small_chain()

    def crash(method: str) -> None:
        if method == "submit":
            raise Crash

    desk = desk_at(tmp_path, LedgerNode(chain, crash))
    with pytest.raises(Crash):
        issue(desk, loaded(desk), learners(2), output=tmp_path / "out", now_ms=NOW_MS)
    made = desk.register.open_batches()[0].transaction
    desk.register.close()
    node = LedgerNode(chain)
    again = desk_at(tmp_path, node)
    assert resume(again) == 1
    assert node.sent == [made]


def test_padding_hides_a_batch_of_one(tmp_path: Path) -> None:
    """`pad` fills the batch with random ids up to so many; ids ascend, so rows leave no order."""
    chain = small_chain()
    desk = desk_at(tmp_path, LedgerNode(chain))
    issue(desk, loaded(desk), learners(1), output=tmp_path / "out", now_ms=NOW_MS, pad=16)
    batch = desk.register.batch(1)
    record = chain.ledger.read(keys.batch(batch.batch_id(UGTO)), Batch)
    assert record is not None
    assert (record.count, len(batch.ids)) == (16, 16)
    assert list(batch.ids) == sorted(batch.ids)
    (data,) = bundles(tmp_path / "out").values()
    assert verify_bundle(data, genesis_hash=chain.genesis_hash, now_ms=NOW_MS).verified


def test_bad_rows_stop_everything_unless_skipped(tmp_path: Path) -> None:
    """Nothing is sent until all rows are good; skipped ones stand in the report with their reason."""
    chain = small_chain()
    node = LedgerNode(chain)
    desk = desk_at(tmp_path, node)
    file = read_learners(b"nombre,apellidos,fecha\nAna,Paz,2026-06-30\n,X,\nEva,Ruiz,2126-01-01\n")
    out = tmp_path / "out"
    with pytest.raises(Rejected) as caught:
        issue(desk, loaded(desk), file.rows, output=out, now_ms=NOW_MS, bad=file.bad)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.INVALID_VALUE,
        "row 3: given_name is empty; row 4: awarded_on 2126-01-01 is in the future",
    )
    assert (node.sent, out.exists(), desk.register.open_batches()) == ([], False, [])
    results = issue(desk, loaded(desk), file.rows, output=out, now_ms=NOW_MS, bad=file.bad, skip_bad=True)
    assert [(result.number, result.outcome) for result in results] == [
        (2, Outcome.ISSUED),
        (3, Outcome.BAD),
        (4, Outcome.BAD),
    ]
    assert len(bundles(out)) == 1


def test_dry_run_sends_and_writes_nothing(tmp_path: Path) -> None:
    """Everything is checked, each document signed, and nothing is left behind."""
    chain = small_chain()
    node = LedgerNode(chain)
    desk = desk_at(tmp_path, node)
    bad = (BadRow(9, "given_name is empty"),)
    results = issue(desk, loaded(desk), learners(2), output=tmp_path / "out", now_ms=NOW_MS, bad=bad, dry_run=True)
    assert [result.outcome for result in results] == [Outcome.ISSUED, Outcome.ISSUED, Outcome.BAD]
    assert (node.sent, (tmp_path / "out").exists(), desk.register.open_batches()) == ([], False, [])


def test_large_file_becomes_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most so many a transaction; here 2 instead of 1,000."""
    monkeypatch.setattr("node.issuing.CREDENTIALS_PER_ISSUING_BATCH_MAX", 2)
    chain = small_chain()
    desk = desk_at(tmp_path, LedgerNode(chain))
    issue(desk, loaded(desk), learners(5), output=tmp_path / "out", now_ms=NOW_MS)
    assert batches(chain) == 3
    assert len(bundles(tmp_path / "out")) == 5


def test_custody_key_is_one_per_person(tmp_path: Path) -> None:
    """Two definitions, one learner, one holder key: one consent stacks them."""
    chain = small_chain()
    other = chain.publish(f"{UGTO}/pespunte/1", "Pespunte")
    desk = desk_at(tmp_path, LedgerNode(chain))
    issue(desk, loaded(desk), learners(1), output=tmp_path / "out", now_ms=NOW_MS)
    second = load_issuer(desk, other.id, public_url=URL)
    issue(desk, second, learners(1), output=tmp_path / "out2", now_ms=NOW_MS)
    holders = {read_bundle(data).holder for folder in ("out", "out2") for data in bundles(tmp_path / folder).values()}
    assert len({holder.public_key for holder in holders if holder is not None}) == 1
    assert len(holders) == 2


def rotated(chain: SmallChain, purpose: Purpose, new: Signer) -> Keystore:
    """Add a key and retire the one from the genesis, as `pila key rotate` does; return the keystore with both."""
    recovery, itself = recovery_signer(UGTO), InstitutionSigner(UGTO, new)
    chain.run(UGTO, "key.add", KeyAdd(UGTO, NewKey(int(new.algorithm), new.public_key, purpose)), recovery, itself)
    chain.run(UGTO, "key.retire", KeyRetire(UGTO, key_reference(UGTO, purpose)[1]), recovery)
    return keystore().with_key(purpose, new.algorithm, seed("new", purpose))


def test_retired_transaction_key_is_passed_over(tmp_path: Path) -> None:
    """After a rotation the keystore holds both; the one in force signs."""
    chain = small_chain()
    desk = desk_at(tmp_path, LedgerNode(chain))
    desk = replace(desk, keystore=rotated(chain, Purpose.TRANSACTION, P256Signer(seed("new", Purpose.TRANSACTION))))
    issue(desk, loaded(desk), learners(2), output=tmp_path / "out", now_ms=NOW_MS)
    assert batches(chain) == 1


def test_batch_whose_key_was_retired_meanwhile_is_signed_anew(tmp_path: Path) -> None:
    """Sent nowhere before the crash; its first transaction would be refused for as long as it is valid."""
    chain = small_chain()

    def crash(method: str) -> None:
        if method == "submit":
            raise Crash

    desk = desk_at(tmp_path, LedgerNode(chain, crash))
    with pytest.raises(Crash):
        issue(desk, loaded(desk), learners(2), output=tmp_path / "out", now_ms=NOW_MS)
    store = rotated(chain, Purpose.TRANSACTION, P256Signer(seed("new", Purpose.TRANSACTION)))
    assert resume(replace(desk, keystore=store, node=LedgerNode(chain))) == 1
    assert batches(chain) == 1


def test_newest_assertion_key_in_force_signs_documents(tmp_path: Path) -> None:
    """A key that the chain does not know yet, or no more, would make credentials that never verify."""
    chain = small_chain()
    desk = desk_at(tmp_path, LedgerNode(chain))
    unknown = replace(desk, keystore=keystore().with_key(Purpose.ASSERTION, Algorithm.ED25519, seed("unknown")))
    assert loaded(unknown).assertion.public_key == Ed25519Signer(seed(UGTO, Purpose.ASSERTION)).public_key
    new = Ed25519Signer(seed("new", Purpose.ASSERTION))
    both = replace(desk, keystore=rotated(chain, Purpose.ASSERTION, new))
    assert loaded(both).assertion.public_key == new.public_key
    with pytest.raises(Rejected) as caught:
        loaded(desk)
    assert (caught.value.reason, caught.value.detail) == (
        Reason.UNKNOWN_KEY,
        "the keystore of ugto.mx has no assertion key that is in force on the chain",
    )


def test_file_is_not_written_where_a_link_leads(tmp_path: Path) -> None:
    """Somebody who may write to the folder cannot have another file overwritten."""
    other = tmp_path / "other"
    other.write_text("precious")
    (tmp_path / f".report.csv.{os.getpid()}.part").symlink_to(other)
    write_file(tmp_path / "report.csv", b"new")
    assert (other.read_text(), (tmp_path / "report.csv").read_bytes()) == ("precious", b"new")


@pytest.mark.parametrize(
    "definition,reason,detail",
    [
        ("ugto.mx/none/1", Reason.NOT_FOUND, "no definition ugto.mx/none/1 is on the chain"),
        (
            "itleon.edu.mx/corte/1",
            Reason.NOT_PERMITTED,
            "itleon.edu.mx/corte/1 is of itleon.edu.mx, the keystore of ugto.mx",
        ),
    ],
)
def test_wrong_definition_is_refused_before_anything(
    tmp_path: Path, definition: str, reason: Reason, detail: str
) -> None:
    """A definition that does not exist, or of somebody else, is named."""
    chain = small_chain()
    chain.publish("itleon.edu.mx/corte/1")
    desk = desk_at(tmp_path, LedgerNode(chain))
    with pytest.raises(Rejected) as caught:
        load_issuer(desk, definition, public_url=URL)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_report_cells_are_no_formulas() -> None:
    """A name that begins like a formula is shown, not calculated."""
    text = report_csv([RowResult(2, Outcome.ISSUED, '=HYPERLINK("http://x")', "@1", "aa", "f", "+1")])
    assert text.splitlines()[1] == '2,"\'=HYPERLINK(""http://x"")",\'@1,issued,aa,f,\'+1'
