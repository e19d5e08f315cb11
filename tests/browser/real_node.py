"""A node without peers: the real ledger, the real RPC server with the pages, the real verifier in its own process."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from aiohttp import web

from node.chain.answers import Submission
from node.chain.records.credential import Batch
from node.chain.records.definition import Definition
from node.documents.answer import Answer
from node.primitives import Hash
from node.rpc.catalogue import Catalogue
from node.rpc.jsonrpc import ErrorCode, RpcError
from node.rpc.rate import RateLimiter
from node.rpc.server import RpcServer
from node.rpc.services import ConsensusInfo, PeerInfo, Services
from node.rpc.statistics import Statistics
from node.state import keys
from node.web.network import ServicesPageView
from node.web.pages import add_routes
from node.workers import Overloaded, Worker, verify_bundle
from tests.unit.documents.small_chain import SEG, SmallChain

T = TypeVar("T")


class RealNode:
    """What a page needs of the running node (`NodeView`), for a chain that a test drives by hand."""

    institution = SEG
    node_key = bytes(32)
    version = "0.1.0"
    syncing = False
    is_ready = True

    def __init__(self, chain: SmallChain) -> None:
        self.chain = chain
        self.worker = Worker()

    def now_ms(self) -> int:
        return self.chain.time_ms + 5_000

    def peers(self) -> Sequence[PeerInfo]:
        return ()

    def consensus(self) -> ConsensusInfo | None:
        return None

    def submit(self, data: bytes) -> Submission:
        return self.chain.ledger.submit(data)

    async def settled(self, tx_id: Hash, timeout_ms: int, answer: Callable[[], T]) -> T:
        return answer()

    async def verify(self, bundle: bytes, *, is_file: bool) -> Answer:
        try:
            return await self.worker.run(verify_bundle, bundle, is_file, self.chain.genesis_hash, self.now_ms())
        except Overloaded as overload:
            raise RpcError(ErrorCode.LIMIT_EXCEEDED, str(overload)) from None

    def application(self) -> web.Application:
        """Return the server as `app.py` puts it together."""
        ledger = self.chain.ledger

        def definition(definition_id: str) -> Definition | None:
            return ledger.read(keys.definition(definition_id), Definition)

        services = Services(
            ledger=ledger,
            node=self,
            catalogue=Catalogue(lambda: list(ledger.definitions()), definition),
            statistics=Statistics(ledger, lambda plain_key: ledger.read(plain_key, Batch)),
            lookbacks=RateLimiter(10_000),
        )
        server = RpcServer(services, calls_per_second=0, connections_max=64, observer=_Nobody(), on_fatal=_fail)
        return server.application(lambda app: add_routes(app, ServicesPageView(services)))


class _Nobody:
    def called(self, method: str, code: int, seconds: float) -> None:
        pass


def _fail(fault: Exception) -> None:
    raise AssertionError(fault)
