"""The HTTP edge: POST /rpc, GET /ws, /health, /ready, /openrpc.json; pages come from `node.web`.

One listener of its own, so that a public load of reads can be limited without touching consensus:
bodies, connections, calls a second and waiting calls are bounded, and a batch gives way to the event
loop every few milliseconds. Source: INTERFACE §3; PROTOCOL §7.
"""

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter
from typing import Final, Protocol, TypeAlias

import msgspec
from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from node.clock import monotonic_seconds
from node.errors import ConfigError, Rejected, StorageError
from node.limits import (
    RPC_ANSWER_BYTES_MAX,
    RPC_BODY_BYTES_MAX,
    RPC_IDLE_SECONDS_MAX,
    RPC_SOCKET_CALLS_MAX,
    RPC_TURN_MS_MAX,
    RPC_WAITING_CALLS_MAX,
)
from node.log import get_logger
from node.rpc import jsonrpc
from node.rpc.connections import Gate, caller_of
from node.rpc.jsonrpc import Call, Calls, ErrorCode, RpcError
from node.rpc.methods.registry import METHODS, OPENRPC
from node.rpc.rate import RateLimiter
from node.rpc.services import Services

JSON: Final = "application/json"
READ_SECONDS_MAX: Final = 15.0
"""How long one body may take to arrive."""
STOP_SECONDS_MAX: Final = 2.0
"""How long calls that are being answered may take when the node stops."""
HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Extend: TypeAlias = Callable[[web.Application], None]
"""Adds routes before the application starts."""


def _nothing_more(_application: web.Application) -> None:
    pass


class CallObserver(Protocol):
    """Is told about every call, for metrics."""

    def called(self, method: str, code: int, seconds: float) -> None:
        """A call was answered: 0 or an error code; `method` is "unknown" for a name that is none."""
        ...


class RpcServer:
    """Answers calls from one ledger."""

    def __init__(
        self,
        services: Services,
        *,
        calls_per_second: int,
        connections_max: int,
        observer: CallObserver,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        """Take what to answer from; `on_fatal` is told of a fault that must stop the node."""
        self._services = services
        self._gate = Gate(connections_max)
        self._observer = observer
        self._on_fatal = on_fatal
        self._limiter = RateLimiter(calls_per_second)
        self._waiting_calls = 0
        self._log = get_logger("rpc")
        self._openrpc = msgspec.json.encode(OPENRPC)
        self._sockets: set[web.WebSocketResponse] = set()

    # --- life ---

    def application(self, extend: Extend = _nothing_more) -> web.Application:
        """Return the routes of this room and what `extend` adds, such as pages."""
        application = web.Application(client_max_size=RPC_BODY_BYTES_MAX, middlewares=[self._watch_disk])
        application.router.add_post("/rpc", self._post)
        application.router.add_get("/ws", self._socket)
        application.router.add_get("/health", self._health)
        application.router.add_get("/ready", self._ready)
        application.router.add_get("/openrpc.json", self._document)
        extend(application)
        return application

    async def run(
        self,
        address: tuple[str, int],
        extend: Extend = _nothing_more,
        listening: Callable[[tuple[str, int]], None] = lambda _: None,
    ) -> None:
        """Serve until cancelled, then let calls that are being answered end. Raises: ConfigError."""
        runner = web.AppRunner(
            self.application(extend),
            access_log=None,
            logger=_http_logger(),
            handle_signals=False,
            keepalive_timeout=RPC_IDLE_SECONDS_MAX,
            shutdown_timeout=STOP_SECONDS_MAX,
        )
        await runner.setup()
        server: asyncio.Server | None = None
        try:
            server = await self._listen(runner, address)
            host, port = server.sockets[0].getsockname()[:2]
            listening((str(host), int(port)))
            while True:
                await asyncio.sleep(1)
                self._gate.check(monotonic_seconds())
        finally:
            if server is not None:
                server.close()
            await self._close_sockets()
            await runner.cleanup()

    async def _close_sockets(self) -> None:
        """Say goodbye to every WebSocket, in bounded time: some do not read, some do not answer."""
        farewells = [socket.close(code=1001, message=b"the node is being stopped") for socket in self._sockets]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.gather(*farewells, return_exceptions=True)

    async def _listen(self, runner: web.AppRunner, address: tuple[str, int]) -> asyncio.Server:
        protocols = runner.server
        assert protocols is not None

        def accept() -> asyncio.Protocol:
            return self._gate.visitor(protocols)

        host, port = address
        try:
            return await asyncio.get_running_loop().create_server(accept, host, port, backlog=1_024)
        except OSError as error:
            raise ConfigError(f"rpc: cannot listen on {host}:{port}: {error.strerror or error}") from None

    # --- calls ---

    async def _post(self, request: web.Request) -> web.Response:
        """Answer one body."""
        try:
            body = await self._read(request)
        except RpcError as error:
            self._observer.called("unknown", error.code, 0.0)
            return _json(jsonrpc.error_response(None, error), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            calls = jsonrpc.parse(body, METHODS)
            self._spend(request.remote, len(calls.calls))
        except RpcError as error:
            self._observer.called("unknown", error.code, 0.0)
            return _json(jsonrpc.error_response(None, error))
        answer = await self._answer(calls)
        if answer is None:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=HEADERS)
        return _json(answer)

    async def _read(self, request: web.Request) -> bytes:
        """Return a body of bounded size, in bounded time. Raises: RpcError(LIMIT_EXCEEDED)."""
        announced = request.content_length
        if announced is None or announced <= RPC_BODY_BYTES_MAX:
            with contextlib.suppress(web.HTTPRequestEntityTooLarge):
                if request.content.is_eof():
                    return await request.read()  # a small body came with its head: nothing to wait for
                async with asyncio.timeout(READ_SECONDS_MAX):
                    return await request.read()
        raise RpcError(ErrorCode.LIMIT_EXCEEDED, f"the body has more than {RPC_BODY_BYTES_MAX} bytes")

    def _spend(self, remote: str | None, calls: int) -> None:
        """Count calls against who makes them. Raises: RpcError(LIMIT_EXCEEDED)."""
        caller = None if remote is None else _caller_of(remote)
        if caller is None:
            return
        if not self._limiter.allows(caller, calls, monotonic_seconds()):
            raise RpcError(ErrorCode.LIMIT_EXCEEDED, f"more than {self._limiter.per_second} calls a second")

    async def _answer(self, calls: Calls[Services]) -> bytes | None:
        """Answer all calls; None where nobody asked for an answer.

        What waits (`tx_wait`) waits beside the others, so a batch takes as long as its longest call.
        """
        if not calls.is_batch:
            answered = self._invoke(calls.calls[0])
            return answered if not inspect.isawaitable(answered) else await answered
        answers: list[bytes | None] = []
        waiting: dict[int, asyncio.Task[bytes | None]] = {}
        size = 0
        turn = perf_counter()
        for index, call in enumerate(calls.calls):
            answered = self._invoke(call) if size <= RPC_ANSWER_BYTES_MAX else self._refuse_rest(call)
            if inspect.isawaitable(answered):
                waiting[index] = asyncio.ensure_future(answered)
                answers.append(None)
            else:
                size += len(answered or b"")
                answers.append(answered)
            if (perf_counter() - turn) * 1_000 > RPC_TURN_MS_MAX:
                await asyncio.sleep(0)
                turn = perf_counter()
        try:
            for index, task in waiting.items():
                answers[index] = await task
        finally:
            for task in waiting.values():
                task.cancel()
        wanted = [answer for answer in answers if answer is not None]
        return jsonrpc.batch_response(wanted) if wanted else None

    def _invoke(self, call: Call[Services]) -> bytes | Awaitable[bytes | None] | None:
        """Run one call and say how it ended, now or later."""
        started = perf_counter()
        if call.error is not None or call.method is None or call.params is None:
            assert call.error is not None
            return self._finish(call, started, call.error)
        if call.method.waits and self._waiting_calls >= RPC_WAITING_CALLS_MAX:
            full = RpcError(ErrorCode.LIMIT_EXCEEDED, f"{self._waiting_calls} calls are waiting already")
            return self._finish(call, started, full)
        try:
            result = call.method.invoke(self._services, call.params)
        except Exception as error:  # noqa: BLE001 – whatever it is, it is this call's, and is sorted below
            return self._finish(call, started, self._sorted(call, error))
        if inspect.isawaitable(result):
            return self._await(call, started, result)
        return self._finish(call, started, None, result)

    def _refuse_rest(self, call: Call[Services]) -> bytes | None:
        detail = f"the answers of this batch have more than {RPC_ANSWER_BYTES_MAX} bytes; ask for less at once"
        return self._finish(call, perf_counter(), RpcError(ErrorCode.LIMIT_EXCEEDED, detail))

    async def _await(self, call: Call[Services], started: float, result: Awaitable[object]) -> bytes | None:
        self._waiting_calls += 1
        try:
            value = await result
        except Exception as error:  # noqa: BLE001 – as in _invoke
            return self._finish(call, started, self._sorted(call, error))
        finally:
            self._waiting_calls -= 1
        return self._finish(call, started, None, value)

    def _finish(
        self, call: Call[Services], started: float, error: RpcError | None, result: object = None
    ) -> bytes | None:
        name = "unknown" if call.method is None else call.method.name
        self._observer.called(name, 0 if error is None else error.code, perf_counter() - started)
        if call.is_notification:
            return None
        if error is not None:
            return jsonrpc.error_response(call.id, error)
        return jsonrpc.result_response(call.id, result)

    def _sorted(self, call: Call[Services], error: Exception) -> RpcError:
        """Say whose fault it is: theirs is told, the disk's stops the node, ours is logged."""
        if isinstance(error, RpcError):
            return error
        if isinstance(error, Rejected):
            return RpcError.rejected(error)
        if isinstance(error, StorageError):
            self._on_fatal(error)
        else:
            name = "unknown" if call.method is None else call.method.name
            self._log.error("call failed", method=name, exc_info=error)
        return RpcError(ErrorCode.INTERNAL_ERROR, "the fault is the node's; its log says more")

    # --- the other routes ---

    @web.middleware
    async def _watch_disk(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Stop the node for a fault of the disk whatever route meets it."""
        try:
            return await handler(request)
        except StorageError as error:
            self._on_fatal(error)
            raise

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """Answer the same methods over a WebSocket, several at a time."""
        socket = web.WebSocketResponse(max_msg_size=RPC_BODY_BYTES_MAX, heartbeat=30.0, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        room = asyncio.Semaphore(RPC_SOCKET_CALLS_MAX)
        try:
            async with asyncio.TaskGroup() as group:
                async for message in socket:
                    if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                        break
                    body = message.data if isinstance(message.data, bytes) else message.data.encode("utf-8")
                    await room.acquire()
                    group.create_task(self._answer_message(socket, room, request.remote, body))
        finally:
            self._sockets.discard(socket)
        return socket

    async def _answer_message(
        self, socket: web.WebSocketResponse, room: asyncio.Semaphore, remote: str | None, body: bytes
    ) -> None:
        try:
            try:
                calls = jsonrpc.parse(body, METHODS)
                self._spend(remote, len(calls.calls))
                answer = await self._answer(calls)
            except RpcError as error:
                self._observer.called("unknown", error.code, 0.0)
                answer = jsonrpc.error_response(None, error)
            if answer is not None:
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(answer.decode("utf-8"))
        finally:
            room.release()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers=HEADERS)

    async def _ready(self, _request: web.Request) -> web.Response:
        ready = self._services.node.is_ready
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return _json(msgspec.json.encode({"ready": ready}), status)

    async def _document(self, _request: web.Request) -> web.Response:
        return _json(self._openrpc)


class _NotTheirFault(logging.Filter):
    """Leaves out what a client did: it has its 400, and a stranger must not fill our log with tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is worth writing."""
        return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _http_logger() -> logging.Logger:
    """Return what aiohttp writes to."""
    logger = logging.getLogger("aiohttp.server")
    if not logger.filters:
        logger.addFilter(_NotTheirFault())
    return logger


def _json(body: bytes, status: HTTPStatus = HTTPStatus.OK) -> web.Response:
    return web.Response(body=body, status=status, content_type=JSON, headers=HEADERS)


def _caller_of(remote: str) -> str | None:
    return None if remote == "127.0.0.1" else caller_of(remote)
