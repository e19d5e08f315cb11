"""Taking back decided blocks: only on the operator's word, under a recovery document, on a node that is stopped.

Everything goes in one batch; then the store must be opened anew. How far it reaches is how far the state
can be undone, some 1,000 heights. Source: PROTOCOL §5, "Quorum lost for good".
"""

from node.chain.block import Header
from node.chain.hops import HopStore
from node.chain.index import Index
from node.chain.receipt import Receipt
from node.chain.recent_ids import oldest_height
from node.chain.store import BlockStore
from node.errors import StorageError
from node.primitives import Height
from node.state.kv import KeyValueStore, WriteBatch
from node.state.world_state import StateStore


def stage_return(
    store: KeyValueStore,
    blocks: BlockStore,
    state: StateStore,
    hops: HopStore,
    head: Header,
    header: Header,
    batch: WriteBatch,
) -> None:
    """Put into a batch what makes `header`, below the head, the head again.

    Raises: Rejected(NOT_FOUND): too far back; StorageError.
    """
    index = Index(store)
    state.stage_return(header.height, batch)
    for height in range(header.height + 1, head.height + 1):
        receipts = _receipts(blocks, height)
        index.stage_removal(height, receipts, lambda key: state.has_at(key, header.height), batch)
    index.complete(header.height, batch)
    hops.stage_return(header.height, batch)
    # Ids that had fallen out of memory matter again.
    remembered = {
        height: [receipt.transaction_id for receipt in _receipts(blocks, height)]
        for height in range(max(1, oldest_height(header.height)), header.height + 1)
    }
    blocks.stage_return(head.height, header, remembered, batch)


def _receipts(blocks: BlockStore, height: Height) -> tuple[Receipt, ...]:
    found = blocks.receipts(height)
    if found is None:
        raise StorageError(
            f"the receipts of block {height} are not here: move the data away, load the document, start again"
        )
    return found
