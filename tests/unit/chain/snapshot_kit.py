"""Snapshots for tests: made in memory, given, and restored into a store."""

from dataclasses import dataclass
from functools import cached_property

from node import codec
from node.chain.ledger import Ledger
from node.chain.restoring import Restoration
from node.chain.snapshot import Manifest, snapshot_hash
from node.primitives import Hash, Height
from node.state.kv import KeyValueStore, MemoryStore
from tests.unit.chain.kit import TestChain


@dataclass(frozen=True)
class Made:
    """A snapshot in memory."""

    manifest: Manifest
    chunks: tuple[bytes, ...]

    @cached_property
    def manifest_bytes(self) -> bytes:
        return codec.encode(self.manifest)

    @cached_property
    def name(self) -> Hash:
        return snapshot_hash(self.manifest_bytes)

    @property
    def height(self) -> Height:
        return self.manifest.height


class Shelf:
    """Snapshots in memory, to be given."""

    def __init__(self, *made: Made) -> None:
        self.made = made

    def all(self) -> tuple[Made, ...]:
        return self.made

    def find(self, name: Hash) -> Made | None:
        return next((item for item in self.made if item.name == name), None)

    def chunk(self, name: Hash, number: int) -> bytes | None:
        found = self.find(name)
        return None if found is None or number >= len(found.chunks) else found.chunks[number]


def snapshot_at_head(chain: TestChain) -> Made:
    """Make a snapshot of the head, and the block above it that fixes its certificate."""
    making = chain.ledger.begin_snapshot()
    assert making is not None
    chunks = tuple(item for item in making.chunks() if item is not None)
    chain.commit()
    manifest = making.manifest()
    assert manifest is not None
    return Made(manifest, chunks)


def restore(chain: TestChain, made: Made, store: KeyValueStore | None = None) -> Ledger:
    """Restore a snapshot into a store and open it."""
    target = store or MemoryStore()
    restoration = Restoration.begin(target, chain.document, made.manifest_bytes)
    while missing := restoration.missing(100):
        for number in missing:
            restoration.take(number, made.chunks[number])
    restoration.finish()
    return Ledger.open(target, chain.document)
