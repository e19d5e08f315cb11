"""Giving blocks to peers that catch up."""

from collections.abc import Callable
from typing import TypeAlias

from node import codec
from node.chain.block import Block
from node.chain.certificate import Certificate
from node.limits import SYNC_BYTES_MAX, SYNC_SERVE_PAUSE_MS, SYNC_SERVE_REST
from node.primitives import Height, InstitutionId
from node.sync_messages import BlocksReply, BlocksRequest, CertifiedBlock, encode_sync

BlockAt: TypeAlias = Callable[[Height], tuple[Block, Certificate] | None]
"""Returns a committed block with a certificate of it; None where there is none."""


class BlockServer:
    """Answers requests for blocks: one at a time, in turns, with pauses, so that it never takes the node over."""

    def __init__(
        self,
        *,
        block_at: BlockAt,
        send: Callable[[InstitutionId, bytes], bool],
        call_later: Callable[[int, Callable[[], None]], object],
        now_ms: Callable[[], int],
    ) -> None:
        self._block_at = block_at
        self._send = send
        self._call_later = call_later
        self._now_ms = now_ms
        self._waiting: dict[InstitutionId, BlocksRequest] = {}
        """One request of each peer, the latest; the dict's order is the order of turns."""
        self._is_busy = False

    def take(self, sender: InstitutionId, request: BlocksRequest) -> None:
        """Answer when it is this peer's turn; an honest peer has one request under way."""
        self._waiting[sender] = request
        if not self._is_busy:
            self._is_busy = True
            self._call_later(0, self._serve)

    def forget(self, peer: InstitutionId) -> None:
        """The peer has gone."""
        self._waiting.pop(peer, None)

    def _serve(self) -> None:
        if not self._waiting:
            self._is_busy = False
            return
        started_ms = self._now_ms()
        receiver = next(iter(self._waiting))
        self._send(receiver, encode_sync(self._answer(self._waiting.pop(receiver))))
        took_ms = self._now_ms() - started_ms
        self._call_later(max(SYNC_SERVE_PAUSE_MS, SYNC_SERVE_REST * took_ms), self._serve)

    def _answer(self, request: BlocksRequest) -> BlocksReply:
        items: list[bytes] = []
        size = 0
        for height in range(request.from_height, request.from_height + request.count):
            found = self._block_at(height)
            if found is None:
                break
            data = codec.encode(CertifiedBlock(*found))
            size += len(data)
            if items and size > SYNC_BYTES_MAX:
                break
            items.append(data)
        return BlocksReply(request.from_height, tuple(items))
