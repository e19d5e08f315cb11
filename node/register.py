"""The issue register: what an institution must remember of each credential, written and synced before it is submitted.

SQLite in `<keystore without .json>.register/`. Everything that says something about a person is one
sealed box (secretbox under the keystore's register key); rows are found by keyed hashes, so the file
alone tells nobody who has what. One row per credential: salts, status secret, list place, holder key,
document. Erasing a row leaves only its list place, which stays used. Source: INTERFACE §2; DOMAIN §5.
"""

import hmac
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Self, cast

import msgspec
from msgspec import Meta
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from node import codec
from node.chain.records.credential import Leaf, StatusListEntry, batch_id
from node.crypto import merkle
from node.documents.credential import PreparedCredential
from node.documents.disclosure import Claim
from node.documents.jcs import JsonObject, canonical
from node.errors import Reason, Rejected, StorageError
from node.limits import (
    CREDENTIALS_PER_BATCH_MAX,
    DOCUMENT_BYTES_MAX,
    STATUS_LIST_BITS,
    STATUS_LISTS_PER_INSTITUTION_MAX,
)
from node.primitives import CatalogueId, Hash, InstitutionId, Salt

FILE_NAME: Final = "register.sqlite3"
FORMAT: Final = 1
_STORED_BYTES_MAX: Final = 2 * DOCUMENT_BYTES_MAX
_ENTRIES_PER_LIST: Final = STATUS_LIST_BITS // 2
"""A list is left for the next when half full: drawing stays quick, and who draws next says nothing."""
_NONCE_BYTES: Final = SecretBox.NONCE_SIZE

_SCHEMA: Final = """
CREATE TABLE register (format INTEGER NOT NULL, probe BLOB NOT NULL) STRICT;
CREATE TABLE batch (
    number INTEGER PRIMARY KEY,
    definition TEXT NOT NULL,
    ids BLOB NOT NULL,
    transaction_bytes BLOB,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'final'))
) STRICT;
CREATE TABLE credential (
    credential_tag BLOB PRIMARY KEY,
    person_tag BLOB UNIQUE,
    batch INTEGER NOT NULL REFERENCES batch (number),
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX credential_of_batch ON credential (batch);
CREATE TABLE list_place (
    list_number INTEGER NOT NULL,
    list_index INTEGER NOT NULL,
    PRIMARY KEY (list_number, list_index)
) STRICT, WITHOUT ROWID;
"""


class BatchState(StrEnum):
    """How far a batch has come."""

    PREPARED = "prepared"
    """Written here; perhaps submitted, perhaps on the chain."""
    FINAL = "final"
    """Known to be on the chain."""


@dataclass(frozen=True, slots=True)
class RegisteredCredential:
    """One row, opened."""

    credential: PreparedCredential
    person: bytes
    """32-byte pseudonym of the learner; the custody key derives from it."""
    custodial: bool
    """Whether the institution keeps the holder key."""
    batch: int


@dataclass(frozen=True, slots=True)
class RegisteredBatch:
    """One batch."""

    number: int
    definition: CatalogueId
    ids: tuple[Hash, ...]
    """Every credential id of the batch in its order, padding included."""
    transaction: bytes | None
    """The transaction last made for it, complete canonical bytes."""
    state: BatchState

    @property
    def root(self) -> Hash:
        """RFC 6962 root over the ids."""
        return merkle.root(self.ids)

    def batch_id(self, issuer: InstitutionId) -> Hash:
        """Return the id under which the chain records it."""
        return batch_id(issuer, self.definition, self.root, len(self.ids))


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What is to be registered."""

    credential: PreparedCredential
    person: bytes
    custodial: bool


class _StoredClaim(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    path: str
    salt: Salt
    value: bytes
    """Canonical JSON."""


class _Stored(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a sealed box holds."""

    document: bytes
    """Canonical JSON of the signed document."""
    claims: tuple[_StoredClaim, ...]
    leaf: Leaf
    holder_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    holder_salt: Salt
    status_secret: Annotated[bytes, Meta(min_length=32, max_length=32)]
    entry: StatusListEntry
    person: Annotated[bytes, Meta(min_length=32, max_length=32)]
    custodial: bool


class Register:
    """One institution's register, open. One process writes at a time; SQLite sees to that."""

    def __init__(self, connection: sqlite3.Connection, key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._db = connection
        self._box = SecretBox(key)
        self._key = key
        self._entropy = entropy

    @classmethod
    def open(cls, folder: Path, key: bytes, *, entropy: Callable[[int], bytes]) -> Self:
        """Open or create a register; `key`: the keystore's 32-byte register key.

        Raises: StorageError: not readable, not a register, or of another keystore.
        """
        assert len(key) == SecretBox.KEY_SIZE
        path = folder / FILE_NAME
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600, exist_ok=True)
            connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"the issue register {path} cannot be opened: {error}") from None
        register = cls(connection, key, entropy)
        try:
            with _stored(path):
                # EXTRA: the rollback journal's directory entry is synced too, so a commit that returned survives.
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("PRAGMA foreign_keys = ON")
                register._create_or_check(path)
        except StorageError:
            connection.close()
            raise
        return register

    def _create_or_check(self, path: Path) -> None:
        with self._writing():
            tables = self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'register'").fetchone()
            if tables == (0,):
                for statement in filter(str.strip, _SCHEMA.split(";")):
                    self._db.execute(statement)
                self._db.execute("INSERT INTO register VALUES (?, ?)", (FORMAT, self._seal(b"register")))
        row = self._db.execute("SELECT format, probe FROM register").fetchone()
        if row is None or row[0] != FORMAT:
            raise StorageError(f"the issue register {path} has another format: {row and row[0]}, known is {FORMAT}")
        self._open(row[1])

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- people ---

    def person(self, identity: tuple[str, ...]) -> bytes:
        """Return the 32-byte pseudonym of who a row is about; only the register key can make it."""
        return self._tag("person", json.dumps(identity, ensure_ascii=True).encode())

    def find(self, definition: CatalogueId, person: bytes) -> RegisteredCredential | None:
        """Return the credential of a definition that a person has or is about to get."""
        return self._one("person_tag", self._person_tag(definition, person))

    def by_credential_id(self, credential_id: Hash) -> RegisteredCredential | None:
        """Return a credential's row: its secrets, for revoking, stacking and erasing."""
        return self._one("credential_tag", self._tag("credential", credential_id))

    def erase(self, credential_id: Hash) -> bool:
        """Delete a credential's row for ever; tell whether there was one.

        Document, salts and secrets go; what the chain holds then opens to nothing.
        """
        with self._writing():
            found = self._db.execute(
                "DELETE FROM credential WHERE credential_tag = ?", (self._tag("credential", credential_id),)
            )
        return found.rowcount == 1

    def release(self, credential_id: Hash) -> None:
        """Let the same person be issued the same definition again: what supersedes needs a successor."""
        with self._writing():
            self._db.execute(
                "UPDATE credential SET person_tag = NULL WHERE credential_tag = ?",
                (self._tag("credential", credential_id),),
            )

    # --- batches ---

    def draw_places(self, count: int) -> list[StatusListEntry]:
        """Return so many places of the status lists, at random among those that were never used.

        They are used once `add_batch` has written them. Raises: Rejected(LIMIT_EXCEEDED).
        """
        drawn: set[tuple[int, int]] = set()
        with _stored(FILE_NAME):
            (used,) = self._db.execute("SELECT count(*) FROM list_place").fetchone()
            while len(drawn) < count:
                list_number = (used + len(drawn)) // _ENTRIES_PER_LIST
                if list_number >= STATUS_LISTS_PER_INSTITUTION_MAX:
                    raise Rejected(Reason.LIMIT_EXCEEDED, f"all {list_number} status lists are used up")
                place = (list_number, int.from_bytes(self._entropy(8)) % STATUS_LIST_BITS)
                taken = self._db.execute(
                    "SELECT 1 FROM list_place WHERE list_number = ? AND list_index = ?", place
                ).fetchone()
                if taken is None:
                    drawn.add(place)
        return [StatusListEntry(*place) for place in sorted(drawn, key=lambda place: (place[0], self._entropy(8)))]

    def add_batch(
        self,
        definition: CatalogueId,
        ids: Sequence[Hash],
        credentials: Sequence[NewCredential],
        *,
        transaction: bytes | None = None,
    ) -> RegisteredBatch:
        """Write a batch, all of it or nothing, synced when this returns.

        `ids`: the batch's order, padding included. `transaction`: a stack's, which is made together with
        its result; a batch that is issued gets its own when it is submitted.
        Raises: Rejected(ALREADY_EXISTS): one of the people has this definition, or a list place is taken;
        StorageError.
        """
        assert 0 < len(ids) <= CREDENTIALS_PER_BATCH_MAX
        assert {item.credential.credential_id() for item in credentials} <= set(ids)
        try:
            with self._writing():
                cursor = self._db.execute(
                    "INSERT INTO batch (definition, ids, transaction_bytes, state) VALUES (?, ?, ?, ?)",
                    (definition, b"".join(ids), transaction, BatchState.PREPARED.value),
                )
                number = cast(int, cursor.lastrowid)
                for item in credentials:
                    self._insert(definition, number, item)
        except sqlite3.IntegrityError as error:
            raise Rejected(Reason.ALREADY_EXISTS, f"somebody in this batch has {definition} already: {error}") from None
        return RegisteredBatch(number, definition, tuple(ids), transaction, BatchState.PREPARED)

    def _insert(self, definition: CatalogueId, batch: int, item: NewCredential) -> None:
        credential = item.credential
        stored = _Stored(
            canonical(credential.document),
            tuple(_StoredClaim(claim.path, claim.salt, canonical(claim.value)) for claim in credential.claims),
            credential.leaf,
            credential.holder_key,
            credential.holder_salt,
            credential.status_secret,
            credential.entry,
            item.person,
            item.custodial,
        )
        self._db.execute(
            "INSERT INTO credential VALUES (?, ?, ?, ?)",
            (
                self._tag("credential", credential.credential_id()),
                self._person_tag(definition, item.person),
                batch,
                self._seal(codec.encode(stored)),
            ),
        )
        self._db.execute(
            "INSERT INTO list_place VALUES (?, ?)", (credential.entry.list_number, credential.entry.list_index)
        )

    def open_batches(self, definition: CatalogueId | None = None) -> list[RegisteredBatch]:
        """Return the batches that are not known to be on the chain, oldest first."""
        with _stored(FILE_NAME):
            rows = self._db.execute(
                "SELECT number, definition, ids, transaction_bytes, state FROM batch "
                "WHERE state = 'prepared' AND (?1 IS NULL OR definition = ?1) ORDER BY number",
                (definition,),
            ).fetchall()
        return [_batch(row) for row in rows]

    def batch(self, number: int) -> RegisteredBatch:
        """Return a batch."""
        with _stored(FILE_NAME):
            row = self._db.execute(
                "SELECT number, definition, ids, transaction_bytes, state FROM batch WHERE number = ?", (number,)
            ).fetchone()
        return _batch(row)

    def credentials_of(self, number: int) -> list[RegisteredCredential]:
        """Return the credentials of a batch that were not erased."""
        with _stored(FILE_NAME):
            rows = self._db.execute("SELECT batch, sealed FROM credential WHERE batch = ?", (number,)).fetchall()
        return [self._row(batch, sealed) for batch, sealed in rows]

    def set_transaction(self, number: int, transaction: bytes) -> None:
        """Remember the transaction made for a batch, before it is submitted."""
        with self._writing():
            self._db.execute("UPDATE batch SET transaction_bytes = ? WHERE number = ?", (transaction, number))

    def mark_final(self, number: int) -> None:
        """Remember that a batch is on the chain."""
        with self._writing():
            self._db.execute("UPDATE batch SET state = 'final' WHERE number = ?", (number,))

    # --- inside ---

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Run statements as one synced transaction. Raises: StorageError; sqlite3.IntegrityError passes."""
        with _stored(FILE_NAME):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _one(self, column: str, tag: bytes) -> RegisteredCredential | None:
        query = {
            "person_tag": "SELECT batch, sealed FROM credential WHERE person_tag = ?",
            "credential_tag": "SELECT batch, sealed FROM credential WHERE credential_tag = ?",
        }[column]
        with _stored(FILE_NAME):
            row = self._db.execute(query, (tag,)).fetchone()
        return None if row is None else self._row(*row)

    def _row(self, batch: int, sealed: bytes) -> RegisteredCredential:
        stored = codec.decode(self._open(sealed), _Stored, bytes_max=_STORED_BYTES_MAX)
        document: JsonObject = msgspec.json.decode(stored.document)
        credential = PreparedCredential(
            document,
            tuple(Claim(claim.path, claim.salt, msgspec.json.decode(claim.value)) for claim in stored.claims),
            stored.leaf,
            stored.holder_key,
            stored.holder_salt,
            stored.status_secret,
            stored.entry,
        )
        return RegisteredCredential(credential, stored.person, stored.custodial, batch)

    def _person_tag(self, definition: CatalogueId, person: bytes) -> bytes:
        return self._tag("holding", person + definition.encode())

    def _tag(self, purpose: str, data: bytes) -> bytes:
        """Return a keyed hash, one kind per purpose."""
        key = hmac.digest(self._key, f"pila/register/{purpose}".encode(), "sha256")
        return hmac.digest(key, data, "sha256")

    def _seal(self, data: bytes) -> bytes:
        return bytes(self._box.encrypt(data, self._entropy(_NONCE_BYTES)))

    def _open(self, sealed: bytes) -> bytes:
        try:
            return self._box.decrypt(sealed)
        except (CryptoError, ValueError, TypeError):
            raise StorageError("the issue register is damaged, or of another keystore") from None


def _batch(row: tuple[int, str, bytes, bytes | None, str]) -> RegisteredBatch:
    number, definition, ids, transaction, state = row
    split = tuple(ids[offset : offset + 32] for offset in range(0, len(ids), 32))
    return RegisteredBatch(number, definition, split, transaction, BatchState(state))


@contextmanager
def _stored(name: object) -> Iterator[None]:
    """Turn SQLite's own faults into the sentence that stops the command."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise
    except sqlite3.Error as error:
        raise StorageError(f"the issue register ({name}) failed: {error}") from None
