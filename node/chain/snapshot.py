"""What a snapshot of the chain at a height is, and how every part of it is checked.

A snapshot is a manifest and chunks. The manifest proves a header by hand-overs from the genesis, brings the headers
below it (each the parent of the next) with the validator sets they name, and lists the chunks:

- the state, cut so that each chunk is checked alone against the header's state root (`node.state.snapshot`);
- the transactions of the last 1,000 blocks as (id, SHA-256 of the complete bytes), which hash to those headers'
  transactions roots: what may not be included again is then known completely;
- the credential ids of every batch, which hash to the root in the batch's record: so a node whose blocks begin above
  can still prove every credential.

Nodes make the same bytes of the same height, so the manifest's hash names a snapshot and its chunks can come from
whoever has it. Source: PROTOCOL §3, §4, §6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from node import codec
from node.chain.block import Header
from node.chain.certificate import Certificate, Network, VerifyDigest
from node.chain.genesis import genesis_block
from node.chain.genesis_document import GenesisDocument
from node.chain.hops import Hop, check_header, follow_hops
from node.chain.recent_ids import oldest_height
from node.chain.records.credential import Batch
from node.chain.validator_set import ValidatorSet
from node.crypto import merkle
from node.crypto.hashing import Tag, tagged
from node.errors import Reason, Rejected
from node.limits import (
    BLOCK_TRANSACTIONS_MAX,
    CREDENTIALS_PER_BATCH_MAX,
    HAND_OVERS_PER_PROOF_MAX,
    SNAPSHOT_BATCHES_PER_CHUNK_MAX,
    SNAPSHOT_CHUNK_BYTES_MAX,
    SNAPSHOT_CHUNKS_MAX,
    SNAPSHOT_MANIFEST_BYTES_MAX,
    SNAPSHOT_RECENT_BLOCKS_MAX,
)
from node.primitives import HASH_BYTES, Hash, Height
from node.state.snapshot import StatePart, fold

SNAPSHOT_VERSION: Final = 1
_PAIR_BYTES: Final = 2 * HASH_BYTES


class BlocksPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A chunk with the transactions of some blocks in a row."""

    block_count: Annotated[int, Meta(ge=1, le=SNAPSHOT_RECENT_BLOCKS_MAX)]
    byte_count: Annotated[int, Meta(ge=1, le=SNAPSHOT_CHUNK_BYTES_MAX)]


class BatchesPart(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A chunk with the credential ids of some batches."""

    batch_count: Annotated[int, Meta(ge=1, le=SNAPSHOT_BATCHES_PER_CHUNK_MAX)]
    byte_count: Annotated[int, Meta(ge=1, le=SNAPSHOT_CHUNK_BYTES_MAX)]


class Manifest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What proves a snapshot and lists its chunks."""

    version: Annotated[int, Meta(ge=1, le=255)]
    network: Network
    hops: Annotated[tuple[Hop, ...], Meta(max_length=HAND_OVERS_PER_PROOF_MAX)]
    """What leads from the genesis to the last header's validators, ascending by height."""
    certificate: Certificate
    """Of the last header, by exactly Q members of its set: the canonical one, cut to the first Q."""
    headers: Annotated[tuple[Header, ...], Meta(min_length=1, max_length=SNAPSHOT_RECENT_BLOCKS_MAX)]
    """Of the last blocks, ascending; the last one is the snapshot's."""
    validator_sets: Annotated[tuple[ValidatorSet, ...], Meta(max_length=2 * SNAPSHOT_RECENT_BLOCKS_MAX)]
    """Those that the headers name, ascending by hash."""
    state: Annotated[tuple[StatePart, ...], Meta(min_length=1, max_length=SNAPSHOT_CHUNKS_MAX)]
    blocks: Annotated[tuple[BlocksPart, ...], Meta(min_length=1, max_length=SNAPSHOT_RECENT_BLOCKS_MAX)]
    """Ascending by height; together all of `headers`."""
    batches: Annotated[tuple[BatchesPart, ...], Meta(max_length=SNAPSHOT_CHUNKS_MAX)]
    """Ascending by batch id; together every batch in the state."""

    @property
    def header(self) -> Header:
        """The header whose state this is."""
        return self.headers[-1]

    @property
    def height(self) -> Height:
        """The snapshot's height."""
        return self.headers[-1].height

    @property
    def chunk_count(self) -> int:
        """How many chunks there are; they are numbered in the order state, blocks, batches."""
        return len(self.state) + len(self.blocks) + len(self.batches)

    def chunk_sizes(self) -> list[int]:
        """Return the length of each chunk in bytes."""
        parts: Sequence[StatePart | BlocksPart | BatchesPart] = (*self.state, *self.blocks, *self.batches)
        return [part.byte_count for part in parts]


class BlocksChunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The transactions of some blocks in a row."""

    blocks: Annotated[
        tuple[Annotated[bytes, Meta(max_length=BLOCK_TRANSACTIONS_MAX * _PAIR_BYTES)], ...],
        Meta(max_length=SNAPSHOT_RECENT_BLOCKS_MAX),
    ]
    """Of each block: (transaction id, SHA-256 of the complete bytes) of each transaction in order, joined."""


class BatchEntry(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The credential ids of one batch."""

    batch_id: Hash
    transaction_index: Annotated[int, Meta(ge=0, lt=BLOCK_TRANSACTIONS_MAX)]
    """In its block; not proven, and decides nothing but the order of batches of one block."""
    ids: Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=CREDENTIALS_PER_BATCH_MAX * HASH_BYTES)]
    """Credential ids in order, joined."""


class BatchesChunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Some batches, ascending by id."""

    batches: Annotated[tuple[BatchEntry, ...], Meta(max_length=SNAPSHOT_BATCHES_PER_CHUNK_MAX)]


@dataclass(frozen=True, slots=True)
class RecentBlock:
    """What a snapshot brings of a recent block's transactions."""

    height: Height
    ids: tuple[Hash, ...]


def snapshot_hash(manifest: bytes) -> Hash:
    """Return what names a snapshot: H("pila/snapshot", canonical manifest)."""
    return tagged(Tag.SNAPSHOT, manifest)


def verify_manifest(data: bytes, genesis: GenesisDocument, verify_digest: VerifyDigest | None = None) -> Manifest:
    """Read a manifest and check everything that can be checked without the chunks.

    Raises: Rejected(TOO_LARGE), Rejected(MALFORMED), Rejected(UNKNOWN_VERSION), Rejected(UNKNOWN_NETWORK),
    Rejected(BAD_PROOF), Rejected(BAD_CERTIFICATE).
    """
    manifest = codec.decode(data, Manifest, bytes_max=SNAPSHOT_MANIFEST_BYTES_MAX)
    if manifest.version != SNAPSHOT_VERSION:
        raise Rejected(Reason.UNKNOWN_VERSION, f"snapshot version {manifest.version}, known is {SNAPSHOT_VERSION}")
    if manifest.chunk_count > SNAPSHOT_CHUNKS_MAX:
        raise Rejected(Reason.TOO_LARGE, f"{manifest.chunk_count} chunks, at most {SNAPSHOT_CHUNKS_MAX}")
    _check_path(manifest, genesis, verify_digest)
    _check_headers(manifest.headers)
    _check_sets(manifest)
    root = fold(manifest.state)
    if root != manifest.header.state_root:
        raise Rejected(
            Reason.BAD_PROOF,
            f"the chunks of the state come to {root.hex()}, the header commits to {manifest.header.state_root.hex()}",
        )
    listed = sum(part.block_count for part in manifest.blocks)
    if listed != len(manifest.headers):
        raise Rejected(Reason.BAD_PROOF, f"transactions of {listed} blocks, there are {len(manifest.headers)} headers")
    return manifest


def block_heights(manifest: Manifest) -> list[Height]:
    """Return the first height of each chunk of recent blocks."""
    counts = [part.block_count for part in manifest.blocks]
    return [manifest.headers[0].height + before for before in accumulate(counts[:-1], initial=0)]


def check_blocks(manifest: Manifest, number: int, data: bytes) -> list[RecentBlock]:
    """Read the `number`-th chunk of recent blocks. Raises: Rejected unless its lists hash to the headers' roots."""
    part, first = manifest.blocks[number], block_heights(manifest)[number]
    _check_length(part.byte_count, data)
    chunk = codec.decode(data, BlocksChunk, bytes_max=SNAPSHOT_CHUNK_BYTES_MAX)
    if len(chunk.blocks) != part.block_count:
        raise Rejected(Reason.BAD_PROOF, f"{len(chunk.blocks)} blocks, announced are {part.block_count}")
    found = []
    for height, joined in enumerate(chunk.blocks, first):
        header = manifest.headers[height - manifest.headers[0].height]
        if len(joined) % _PAIR_BYTES:
            raise Rejected(Reason.BAD_PROOF, f"the transactions of block {height} are {len(joined)} bytes")
        pairs = [joined[at : at + _PAIR_BYTES] for at in range(0, len(joined), _PAIR_BYTES)]
        root = merkle.root([merkle.leaf_hash(pair) for pair in pairs])
        if root != header.transactions_root:
            raise Rejected(
                Reason.BAD_PROOF,
                f"the transactions of block {height} hash to {root.hex()}, "
                f"its header commits to {header.transactions_root.hex()}",
            )
        found.append(RecentBlock(height, tuple(pair[:HASH_BYTES] for pair in pairs)))
    return found


def read_batches(part: BatchesPart, data: bytes) -> tuple[BatchEntry, ...]:
    """Read a chunk of batches; `check_batch` holds each against the state. Raises: Rejected."""
    _check_length(part.byte_count, data)
    chunk = codec.decode(data, BatchesChunk, bytes_max=SNAPSHOT_CHUNK_BYTES_MAX)
    if len(chunk.batches) != part.batch_count:
        raise Rejected(Reason.BAD_PROOF, f"{len(chunk.batches)} batches, announced are {part.batch_count}")
    ids = [entry.batch_id for entry in chunk.batches]
    if ids != sorted(set(ids)):
        raise Rejected(Reason.BAD_PROOF, "batches are not ascending by id, or one stands twice")
    return chunk.batches


def check_batch(entry: BatchEntry, batch: Batch | None) -> Batch:
    """Return the state's record of a batch whose ids these are. Raises: Rejected(BAD_PROOF)."""
    if batch is None:
        raise Rejected(Reason.BAD_PROOF, f"the state has no batch {entry.batch_id.hex()}")
    ids = [entry.ids[at : at + HASH_BYTES] for at in range(0, len(entry.ids), HASH_BYTES)]
    if len(entry.ids) % HASH_BYTES or len(ids) != batch.count or merkle.root(ids) != batch.root:
        raise Rejected(Reason.BAD_PROOF, f"the ids of batch {entry.batch_id.hex()} do not hash to its root")
    return batch


def _check_path(manifest: Manifest, genesis: GenesisDocument, verify_digest: VerifyDigest | None) -> None:
    """Follow the validator sets from the genesis to the snapshot's header."""
    block_zero = genesis_block(genesis)
    network = Network(genesis.chain_id, block_zero.hash())
    if manifest.network != network:
        raise Rejected(
            Reason.UNKNOWN_NETWORK,
            f"a snapshot of {manifest.network.chain_id} {manifest.network.genesis_hash.hex()}, "
            f"this is {network.chain_id} {network.genesis_hash.hex()}",
        )
    standing = follow_hops(
        block_zero.header, genesis.validator_set(), manifest.hops, network.genesis_hash, verify_digest
    )
    check_header(standing, manifest.header, manifest.certificate, verify_digest)


def _check_headers(headers: Sequence[Header]) -> None:
    """Refuse headers that are not the last one's own ancestors, as many as matter."""
    last = headers[-1]
    first = max(1, oldest_height(last.height))
    if headers[0].height != first or len(headers) != last.height + 1 - first:
        raise Rejected(
            Reason.BAD_PROOF,
            f"{len(headers)} headers from height {headers[0].height}, needed are {first} … {last.height}",
        )
    for below, above in pairwise(headers):
        if (above.height, above.parent_hash) != (below.height + 1, below.hash()):
            raise Rejected(Reason.BAD_PROOF, f"header {above.height} is not the child of header {below.height}")


def _check_sets(manifest: Manifest) -> None:
    """Refuse validator sets that are not exactly those that the headers name."""
    named = {name for header in manifest.headers for name in (header.validators_hash, header.next_validators_hash)}
    brought = [validators.hash for validators in manifest.validator_sets]
    if brought != sorted(named):
        raise Rejected(
            Reason.BAD_PROOF, f"{len(brought)} validator sets are not the {len(named)} that the headers name"
        )


def _check_length(announced: int, data: bytes) -> None:
    if len(data) != announced:
        raise Rejected(Reason.BAD_PROOF, f"the chunk has {len(data)} bytes, announced are {announced}")
