"""The authenticated state: records on disk under one root (`StateStore`), and drafts over it (`WorldState`).

A record lies flat under SHA-256 of its plain key, its leaf hash beside it (`node.state.flat`). From the
leaf hashes the tree is rebuilt at the start without hashing a record, and must come to the stored
root. Every read is held against the tree in memory: a record that differs from what the root commits
to stops the node, and one that the tree does not know costs no look on disk. Source: PROTOCOL §4.

One block: `prepare` (any number of times, nothing changes) → `stage` into the block's batch → the
ledger writes the batch → `apply`. A failed write leaves everything as it was.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, Self, TypeVar

import msgspec

from node import codec
from node.crypto.hashing import sha256
from node.errors import Reason, Rejected, StorageError
from node.limits import (
    DECODED_RECORDS_MAX,
    PREFIX_PROOF_ENTRIES_MAX,
    STATE_RECORD_BYTES_MAX,
    STATE_VIEWS_MAX,
)
from node.primitives import Hash, Height, Uint
from node.state import flat, keys
from node.state.history import Undo, UndoRing, UndoSpan
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch
from node.state.proof import (
    PREFIX_DIGITS,
    Branch,
    ExistenceProof,
    Neighbour,
    NonExistenceProof,
    PrefixProof,
    StateProof,
    prefix_range,
)
from node.state.tree import PreparedTree, Tree, TreeView
from node.state.trie import key_hash_of, leaf_hash

T = TypeVar("T")

_CHUNK_RECORDS = 8_192
"""Records joined at a time when the tree is built: enough to make the loop's own cost small."""


class StateHead(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the flat records must add up to; stored under `keys.STATE_HEAD`."""

    root: Hash
    height: Height
    """Of the last block whose changes are in."""
    key_count: Uint


@dataclass(frozen=True, slots=True)
class PreparedState:
    """The state as a block would leave it; good until another block is applied."""

    root: Hash
    tree: PreparedTree
    flat_records: dict[Hash, bytes]
    """Changed flat records by key hash, in the order of the changes."""
    plain_keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """The state at a height: its tree, and where overwritten records are found."""

    tree: TreeView
    changed_at: dict[Hash, Height]
    """First height above the view's at which a key changed: that block's undo holds the record."""


@dataclass(frozen=True, slots=True)
class _Staged:
    prepared: PreparedState
    head: StateHead
    undo: UndoSpan | None


class StateStore:
    """The committed state over a key-value store. One writer: the ledger."""

    def __init__(self, store: KeyValueStore, head: StateHead | None, tree: Tree) -> None:
        self._store = store
        self._head = head
        self._tree = tree
        self._undo = UndoRing(store)
        self._staged: _Staged | None = None
        self._views: dict[Height, _View] = {}
        """At most STATE_VIEWS_MAX, oldest question first; emptied by `apply`."""
        self._decoded: dict[str, object] = {}
        """Records by plain key, at most DECODED_RECORDS_MAX, first decoded first."""

    @classmethod
    def open(cls, store: KeyValueStore) -> Self:
        """Rebuild the tree from the flat records: about 4 µs a key.

        Raises: StorageError where they do not come to the stored root.
        """
        data = store.get(keys.STATE_HEAD)
        head = None if data is None else _decode_own(keys.STATE_HEAD, data, StateHead)
        tree = Tree.from_sorted(_stored_pairs(store), 0 if head is None else head.key_count)
        if head is None and tree.key_count:
            raise StorageError(f"{tree.key_count} state records but no stored root")
        if head is not None and tree.root != head.root:
            raise StorageError(
                f"the state records come to root {tree.root.hex()} with {tree.key_count} keys, "
                f"but root {head.root.hex()} with {head.key_count} keys is stored for height {head.height}"
            )
        return cls(store, head, tree)

    @property
    def root(self) -> Hash:
        """The committed state root."""
        return self._tree.root

    @property
    def height(self) -> Height:
        """Height of the last block applied; 0 also before the genesis is."""
        return 0 if self._head is None else self._head.height

    @property
    def key_count(self) -> int:
        """How many records the committed state has."""
        return self._tree.key_count

    @property
    def provable_heights(self) -> range:
        """Heights whose root `prove` can work against, up to the head."""
        undoable = self._undo.heights
        return range(undoable.start - 1 if undoable else self.height, self.height + 1)

    def changes_above(self, height: Height) -> int:
        """Return how many overwritten records must be put back to prove against a height: none where that was done."""
        return 0 if height in self._views else self._undo.changes_above(height)

    def get(self, plain_key: str) -> bytes | None:
        """Return a committed record's bytes. Raises: StorageError where they are not what the root says."""
        key_hash = key_hash_of(plain_key)
        leaf = self._tree.leaf(key_hash)
        if leaf is None:
            return None
        return flat.unpack(key_hash, leaf, self._flat(key_hash))[1]

    def read(self, plain_key: str, shape: type[T]) -> T | None:
        """Return a committed record, decoded once while it is in use. Raises: StorageError."""
        found = self._decoded.get(plain_key)
        if found is not None:
            assert isinstance(found, shape)
            return found
        data = self.get(plain_key)
        if data is None:
            return None
        record = _decode_own(plain_key.encode("ascii"), data, shape)
        if len(self._decoded) >= DECODED_RECORDS_MAX:
            del self._decoded[next(iter(self._decoded))]
        self._decoded[plain_key] = record
        return record

    def prepare(self, changes: Mapping[str, bytes]) -> PreparedState:
        """Return the state as it would be with some records written. Changes nothing."""
        flat_records: dict[Hash, bytes] = {}
        leaves: dict[Hash, Hash | None] = {}
        for plain_key, record in changes.items():
            assert keys.is_plain_key(plain_key)
            assert len(record) <= STATE_RECORD_BYTES_MAX
            key_hash = key_hash_of(plain_key)
            leaf = leaf_hash(key_hash, sha256(record))
            leaves[key_hash] = leaf
            flat_records[key_hash] = flat.pack(leaf, plain_key, record)
        tree = self._tree.prepare(leaves)
        return PreparedState(tree.root, tree, flat_records, tuple(changes))

    def stage(self, prepared: PreparedState, height: Height, batch: WriteBatch) -> None:
        """Put a block's records, their undo and the new head into its batch. Raises: StorageError.

        The first block staged may have any height: 0 for the genesis, or that of a snapshot.
        """
        assert prepared.tree.version == self._tree.version
        assert self._head is None or height == self._head.height + 1
        head = StateHead(prepared.root, height, prepared.tree.key_count)
        span = None
        if self._head is not None:
            span = self._undo.stage(height, self._undo_of(prepared), batch)
        for key_hash, packed in prepared.flat_records.items():
            batch.put(Column.STATE.key(key_hash), packed)
        batch.put(keys.STATE_HEAD, codec.encode(head))
        self._staged = _Staged(prepared, head, span)

    def apply(self, prepared: PreparedState, height: Height) -> None:
        """Make what was staged last the committed state, after its batch was written."""
        staged = self._staged
        assert staged is not None
        assert staged.prepared is prepared
        assert staged.head.height == height
        self._staged = None
        self._tree.install(prepared.tree)
        if staged.undo is not None:
            self._undo.apply(staged.undo)
        self._head = staged.head
        self._views.clear()
        for plain_key in prepared.plain_keys:
            self._decoded.pop(plain_key, None)

    def has_at(self, plain_key: str, height: Height) -> bool:
        """Tell whether a record is there at a recent height. Raises: Rejected(NOT_FOUND) as `prove`."""
        return self._view(height).tree.leaf(key_hash_of(plain_key)) is not None

    def stage_return(self, height: Height, batch: WriteBatch) -> None:
        """Put into a batch what takes the state back to a recent height; then the store must be opened anew.

        Raises: Rejected(NOT_FOUND) for a height outside `provable_heights`; StorageError.
        """
        self._view(height)  # leads back to the root that was, or says that it cannot
        first = self._undo.read(height + 1)
        restored: dict[Hash, bytes | None] = {}
        for above in range(height + 1, self.height + 1):
            for key_hash, before in self._undo.read(above).overwritten:
                restored.setdefault(key_hash, before)
        for key_hash, before in restored.items():
            if before is None:
                batch.delete(Column.STATE.key(key_hash))
            else:
                batch.put(Column.STATE.key(key_hash), before)
        self._undo.stage_return(height, batch)
        batch.put(keys.STATE_HEAD, codec.encode(StateHead(first.root, height, first.key_count)))

    def prove(self, plain_key: str, height: Height | None = None) -> StateProof:
        """Return the proof of a record, or of its absence, at the head or a recent height.

        Raises: Rejected(INVALID_VALUE) for what cannot be a plain key; Rejected(NOT_FOUND) for a height
        outside `provable_heights`; StorageError.
        """
        if not keys.is_plain_key(plain_key):
            raise Rejected(Reason.INVALID_VALUE, "not a plain key: printable ASCII without spaces")
        view = self._view(height)
        key_hash = key_hash_of(plain_key)
        if view.tree.leaf(key_hash) is not None:
            return self._existence(view, key_hash)
        left, right = view.tree.neighbours(key_hash)
        return NonExistenceProof(
            key_hash,
            None if left is None else self._existence(view, left),
            None if right is None else self._existence(view, right),
        )

    def prove_prefix(self, prefix: str, height: Height | None = None) -> PrefixProof:
        """Return every record whose key hash begins with four hex digits, with the proof that these are all.

        Raises: Rejected(INVALID_VALUE) for another prefix; Rejected(NOT_FOUND) as `prove`;
        Rejected(LIMIT_EXCEEDED) where there are more than PREFIX_PROOF_ENTRIES_MAX; StorageError.
        """
        if len(prefix) != PREFIX_DIGITS or prefix.strip("0123456789abcdef"):
            raise Rejected(Reason.INVALID_VALUE, f"a prefix has {PREFIX_DIGITS} lower-case hex digits")
        view = self._view(height)
        low, high = prefix_range(prefix)
        entries: list[tuple[str, bytes]] = []
        for key_hash in view.tree.between(low, high):
            if len(entries) == PREFIX_PROOF_ENTRIES_MAX:
                raise Rejected(Reason.LIMIT_EXCEEDED, f"more than {PREFIX_PROOF_ENTRIES_MAX} records there")
            entries.append(self._record_at(view, key_hash))
        return PrefixProof(
            prefix,
            tuple(entries),
            self._neighbour(view, view.tree.below(low)),
            self._neighbour(view, view.tree.above(high)),
        )

    def _undo_of(self, prepared: PreparedState) -> Undo:
        overwritten: list[tuple[Hash, bytes | None]] = []
        for key_hash in prepared.flat_records:
            leaf = self._tree.leaf(key_hash)
            if leaf is None:
                overwritten.append((key_hash, None))
                continue
            before = self._flat(key_hash)
            # Checksums guard the rest here; whoever is given the old record checks all of it.
            if flat.leaf_of(before) != leaf:
                raise StorageError(f"the state record {key_hash.hex()} is not what the state root commits to")
            overwritten.append((key_hash, before))
        return Undo(self.root, self.key_count, tuple(overwritten))

    def _flat(self, key_hash: Hash) -> bytes:
        """Return a committed flat record that must be there."""
        found = self._store.get(Column.STATE.key(key_hash))
        if found is None:
            raise StorageError(f"the state record {key_hash.hex()} is missing")
        return found

    def _record_at(self, view: _View, key_hash: Hash) -> tuple[str, bytes]:
        """Return plain key and record as they were at a view's height. Raises: StorageError."""
        leaf = view.tree.leaf(key_hash)
        assert leaf is not None
        changed_at = view.changed_at.get(key_hash)
        if changed_at is None:
            return flat.unpack(key_hash, leaf, self._flat(key_hash))
        overwritten = self._undo.read(changed_at).overwritten
        before = next(old for key, old in overwritten if key == key_hash)
        assert before is not None
        return flat.unpack(key_hash, leaf, before)

    def _existence(self, view: _View, key_hash: Hash) -> ExistenceProof:
        _, record = self._record_at(view, key_hash)
        return ExistenceProof(key_hash, record, _branch(view, key_hash))

    def _neighbour(self, view: _View, key_hash: Hash | None) -> Neighbour | None:
        if key_hash is None:
            return None
        _, record = self._record_at(view, key_hash)
        return Neighbour(key_hash, sha256(record), _branch(view, key_hash))

    def _view(self, height: Height | None) -> _View:
        """Return the state at a height; costs what changed since, once while the head stays."""
        if height is None or height == self.height:
            return _View(self._tree, {})
        if height not in self.provable_heights:
            oldest = self.provable_heights.start
            raise Rejected(Reason.NOT_FOUND, f"height {height} is not provable here, only {oldest} … {self.height}")
        view = self._views.get(height)
        if view is None:
            view = self._look_back(height)
            if len(self._views) >= STATE_VIEWS_MAX:
                del self._views[next(iter(self._views))]
            self._views[height] = view
        return view

    def _look_back(self, height: Height) -> _View:
        """Put back what every block above a height overwrote."""
        leaves: dict[Hash, Hash | None] = {}
        changed_at: dict[Hash, Height] = {}
        oldest = self._undo.read(height + 1)
        for above in range(height + 1, self.height + 1):
            undo = oldest if above == height + 1 else self._undo.read(above)
            for key_hash, before in undo.overwritten:
                if key_hash not in leaves:
                    leaves[key_hash] = None if before is None else flat.leaf_of(before)
                    changed_at[key_hash] = above
        tree = self._tree.prepare(leaves)
        if tree.root != oldest.root:
            raise StorageError(
                f"the undo records lead back to root {tree.root.hex()} at height {height}, "
                f"but it was {oldest.root.hex()}"
            )
        return _View(tree, changed_at)


class Reader(Protocol):
    """What a draft of the state is laid over: the committed state, or another draft."""

    def read(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the record under a plain key, or None."""
        ...


class WorldState:
    """A draft: typed records written over a base that stays as it is. Thrown away or taken over whole."""

    def __init__(self, base: Reader) -> None:
        self._base = base
        self._written: dict[str, msgspec.Struct] = {}

    def get(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the record under a plain key as this draft has it, or None."""
        found = self._written.get(plain_key)
        if found is None:
            return self._base.read(plain_key, shape)
        assert isinstance(found, shape)
        return found

    def read(self, plain_key: str, shape: type[T]) -> T | None:
        """Return the same as `get`: a draft can be the base of another."""
        return self.get(plain_key, shape)

    def put(self, plain_key: str, record: msgspec.Struct) -> None:
        """Write a record into the draft."""
        assert keys.is_plain_key(plain_key)
        self._written[plain_key] = record

    def absorb(self, inner: "WorldState") -> None:
        """Take over everything that a draft over this one wrote."""
        self._written.update(inner.written)

    @property
    def written(self) -> Mapping[str, msgspec.Struct]:
        """What was written, by plain key, in the order first written."""
        return self._written

    def changes(self) -> dict[str, bytes]:
        """Return the canonical bytes of what was written, by plain key, in the order first written."""
        return {plain_key: codec.encode(record) for plain_key, record in self._written.items()}


def _stored_pairs(store: KeyValueStore) -> Iterator[bytes]:
    """Yield (key hash | leaf hash) of every flat record, ascending, many at a time."""
    records = store.iterate(prefix=Column.STATE.value)
    while chunk := b"".join([key[1:] + packed[:32] for key, packed in islice(records, _CHUNK_RECORDS)]):
        yield chunk


def _branch(view: _View, key_hash: Hash) -> Branch:
    steps = view.tree.branch(key_hash)
    return Branch("".join(str(side) for side, _ in steps), tuple(sibling for _, sibling in steps))


def _decode_own(name: bytes, data: bytes, shape: type[T]) -> T:
    """Decode what this node wrote itself."""
    try:
        return codec.decode(data, shape, bytes_max=STATE_RECORD_BYTES_MAX)
    except Rejected as error:
        raise StorageError(f"the record {name.decode('ascii')} cannot be read: {error}") from error
