"""The HTTP edge over real sockets: codes, bounds, and an orderly stop."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from node.errors import ConfigError, StorageError
from node.limits import RPC_BODY_BYTES_MAX, RPC_WAITING_CALLS_MAX
from node.rpc.jsonrpc import ErrorCode, RpcError
from tests.unit.rpc.rpc_kit import Desk

WAIT = {"jsonrpc": "2.0", "id": 1, "method": "tx_wait", "params": {"tx_id": "00" * 32, "timeout_ms": 60_000}}
STATUS = {"jsonrpc": "2.0", "id": 2, "method": "node_status"}


def serving(desk: Desk, use: Callable[[str, aiohttp.ClientSession], Awaitable[None]]) -> None:
    """Serve, use, stop."""

    async def run() -> None:
        ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(desk.server.run(("127.0.0.1", 0), listening=ready.set_result))
        host, port = await asyncio.wait_for(ready, 10)
        async with aiohttp.ClientSession() as session:
            await use(f"http://{host}:{port}", session)
        task.cancel()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 10)

    asyncio.run(run())


def exchange(
    desk: Desk, body: bytes | str, *, chunked: bool = False, headers: dict[str, str] | None = None
) -> tuple[int, object]:
    """Post one body; return status and answer."""
    found: list[tuple[int, object]] = []
    data = body.encode() if isinstance(body, str) else body

    async def pieces() -> object:
        for start in range(0, len(data), 65_536):
            yield data[start : start + 65_536]

    async def use(url: str, session: aiohttp.ClientSession) -> None:
        async with session.post(
            f"{url}/rpc", data=pieces() if chunked else io.BytesIO(data), headers=headers
        ) as response:
            text = await response.text()
            found.append((response.status, json.loads(text) if text else None))

    serving(desk, use)
    return found[0]


def error(code: ErrorCode, message: str, detail: str) -> dict[str, object]:
    """Return the answer to a body that is not worth reading."""
    return {"jsonrpc": "2.0", "id": None, "error": {"code": int(code), "message": message, "data": {"detail": detail}}}


def test_call_and_batch_are_answered() -> None:
    """A batch's answers come in the order of its calls, without those that want none."""
    desk = Desk()
    status, answer = exchange(desk, json.dumps(STATUS))
    assert (status, answer["id"]) == (200, 2)  # type: ignore[index]  # an object, as just sent
    silent = {key: value for key, value in STATUS.items() if key != "id"}
    broken = {**STATUS, "id": 3, "method": "none"}
    status, answers = exchange(desk, json.dumps([STATUS, silent, broken]))
    assert status == 200
    assert [(item["id"], "error" in item) for item in answers] == [(2, False), (3, True)]  # type: ignore[attr-defined]  # a list


@pytest.mark.parametrize(
    "body", ['{"jsonrpc":"2.0","method":"node_status"}', '[{"jsonrpc":"2.0","method":"node_status"}]']
)
def test_notifications_are_answered_by_nothing(body: str) -> None:
    """204, and an empty body."""
    desk = Desk()
    assert exchange(desk, body) == (204, None)
    assert desk.calls == [("node_status", 0)]


def test_malformed_body_is_answered_like_any_other() -> None:
    """HTTP is fine with it; the error is JSON-RPC's."""
    answer = error(ErrorCode.PARSE_ERROR, "Parse error", "not JSON: Input data was truncated")
    assert exchange(Desk(), "{") == (200, answer)


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized_body_is_refused(chunked: bool) -> None:
    """413 whether the length was announced or not; one byte less is read."""
    desk = Desk()
    detail = f"the body has more than {RPC_BODY_BYTES_MAX} bytes"
    big = b" " * (RPC_BODY_BYTES_MAX + 1)
    assert exchange(desk, big, chunked=chunked) == (413, error(ErrorCode.LIMIT_EXCEEDED, "Limit exceeded", detail))
    full = json.dumps(STATUS).encode().ljust(RPC_BODY_BYTES_MAX)
    assert exchange(desk, full, chunked=chunked)[0] == 200


def test_health_ready_and_document() -> None:
    """Alive is not ready; the document is there to be downloaded."""
    desk = Desk()
    desk.node.is_ready = False

    async def use(url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/health") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        async with session.get(f"{url}/ready") as response:
            assert (response.status, await response.json()) == (503, {"ready": False})
        desk.node.is_ready = True
        async with session.get(f"{url}/ready") as response:
            assert (response.status, await response.json()) == (200, {"ready": True})
        async with session.get(f"{url}/openrpc.json") as response:
            assert (await response.json())["openrpc"] == "1.3.2"
        async with session.get(f"{url}/rpc") as response:
            assert response.status == 405

    serving(desk, use)


def test_socket_answers_several_calls_at_a_time() -> None:
    """A call that waits does not hold up the next one on the same WebSocket."""
    desk = Desk()

    async def use(url: str, session: aiohttp.ClientSession) -> None:
        desk.node.gate = asyncio.Event()
        async with session.ws_connect(f"{url}/ws") as socket:
            await socket.send_json(WAIT)
            await socket.send_str("{")
            await socket.send_json(STATUS)
            answers = [await socket.receive_json(timeout=10) for _ in range(2)]
            assert [answer["id"] for answer in answers] == [None, 2]
            desk.node.gate.set()
            assert (await socket.receive_json(timeout=10))["id"] == 1

    serving(desk, use)


def test_batch_waits_for_its_calls_side_by_side() -> None:
    """Two waiting calls end together, and the others' answers keep their places."""
    desk = Desk()

    async def use(url: str, session: aiohttp.ClientSession) -> None:
        desk.node.gate = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, desk.node.gate.set)
        batch = [WAIT, STATUS, {**WAIT, "id": 3}]
        async with session.post(f"{url}/rpc", json=batch) as response:
            assert [answer["id"] for answer in await response.json()] == [1, 2, 3]

    serving(desk, use)


def test_waiting_calls_are_bounded() -> None:
    """One more than may wait is told so instead of waiting."""
    desk = Desk()
    desk.server._waiting_calls = RPC_WAITING_CALLS_MAX
    answer = desk.answer(json.dumps(WAIT).encode())
    assert answer["error"]["code"] == ErrorCode.LIMIT_EXCEEDED
    assert answer["error"]["data"] == {"detail": f"{RPC_WAITING_CALLS_MAX} calls are waiting already"}


def test_calls_a_second_are_bounded_by_address_but_not_on_this_machine() -> None:
    """100 a second with a burst of 200; the loopback address is not counted."""
    desk = Desk()
    desk.server._spend("127.0.0.1", 10_000)
    desk.server._spend("::1", 10_000)
    desk.server._spend("192.0.2.1", 100)
    desk.server._spend("192.0.2.2", 200)
    desk.server._spend("192.0.2.1", 100)
    with pytest.raises(RpcError) as refused:
        desk.server._spend("192.0.2.1", 100)
    assert (refused.value.code, refused.value.detail) == (ErrorCode.LIMIT_EXCEEDED, "more than 100 calls a second")


def test_connections_are_bounded() -> None:
    """The ninth of eight is closed at once; when one goes, the next may come."""
    desk = Desk()

    async def use(url: str, _session: aiohttp.ClientSession) -> None:
        port = int(url.rpartition(":")[2])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        for _, other in held:
            other.close()

    serving(desk, use)


def test_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a head, byte by byte, holds a place for a minute at the most."""
    monkeypatch.setattr("node.rpc.server.RPC_IDLE_SECONDS_MAX", 0.1)
    desk = Desk()

    async def use(url: str, _session: aiohttp.ClientSession) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /rpc HTTP/1.1\r\nHost: x\r\nX-")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

    serving(desk, use)


def test_answers_of_a_batch_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes of calls cannot ask for gigabytes: what comes after the bound is refused by itself."""
    monkeypatch.setattr("node.rpc.server.RPC_ANSWER_BYTES_MAX", 1_000)
    status, answers = exchange(Desk(), json.dumps([{**STATUS, "id": number} for number in range(10)]))
    assert (status, len(answers)) == (200, 10)  # type: ignore[arg-type]  # a list
    codes = [item.get("error", {}).get("code") for item in answers]  # type: ignore[attr-defined]  # as above
    assert codes[:2] == [None, None]
    assert codes[3:] == [ErrorCode.LIMIT_EXCEEDED] * 7


def test_the_disks_fault_stops_the_node_whatever_route_meets_it() -> None:
    """Also where no call is made."""
    desk = Desk()
    failure = StorageError("the database is corrupt")

    class Broken(type(desk.node)):  # type: ignore[misc]  # the twin, with one part that fails
        @property
        def is_ready(self) -> bool:
            raise failure

    desk.node.__class__ = Broken

    async def use(url: str, session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/ready") as response:
            assert response.status == 500

    serving(desk, use)
    assert desk.fatal == [failure]


def test_our_own_fault_is_answered_and_does_not_stop_the_server(capsys: pytest.CaptureFixture[str]) -> None:
    """An error without its traceback, which is in the log."""
    desk = Desk()
    desk.node.peers = lambda: 1 // 0  # type: ignore[method-assign, assignment, return-value]  # a fault that cannot be
    answer = desk.answer(json.dumps(STATUS).encode())
    assert answer["error"] == {
        "code": -32603,
        "message": "Internal error",
        "data": {"detail": "the fault is the node's; its log says more"},
    }
    assert (desk.calls, desk.fatal) == ([("node_status", -32603)], [])


def test_the_disks_fault_stops_the_node() -> None:
    """Whoever meets it first tells the node."""
    desk = Desk()
    failure = StorageError("the disk is full")

    def fail(_data: bytes) -> None:
        raise failure

    desk.node.submit = fail  # type: ignore[method-assign, assignment]  # as the ledger does when the disk is full
    body = {"jsonrpc": "2.0", "id": 1, "method": "tx_submit", "params": {"tx": "00"}}
    assert desk.answer(json.dumps(body).encode())["error"]["code"] == ErrorCode.INTERNAL_ERROR
    assert desk.fatal == [failure]


def test_address_in_use_is_said_in_a_sentence() -> None:
    """The operator reads which address it is."""
    desk, other = Desk(), Desk()

    async def use(url: str, _session: aiohttp.ClientSession) -> None:
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError) as refused:
            await other.server.run(("127.0.0.1", port))
        assert str(refused.value).startswith(f"rpc: cannot listen on 127.0.0.1:{port}: ")

    serving(desk, use)


def test_stop_waits_for_nobody_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several WebSockets whose calls fill their room and who never say goodbye: the stop takes its time once."""
    monkeypatch.setattr("node.rpc.server.STOP_SECONDS_MAX", 0.2)
    monkeypatch.setattr("node.rpc.server.RPC_SOCKET_CALLS_MAX", 1)
    desk = Desk()
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    body = json.dumps(WAIT).encode()
    call = b"\x81" + bytes([0x80 | 126]) + len(body).to_bytes(2, "big") + bytes(4) + body

    async def run() -> None:
        desk.node.gate = asyncio.Event()
        ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(desk.server.run(("127.0.0.1", 0), listening=ready.set_result))
        host, port = await ready
        held = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(upgrade + call + call)
            await reader.readuntil(b"\r\n\r\n")
            held.append(writer)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 5)
        for writer in held:
            writer.close()

    asyncio.run(run())


def test_stop_lets_open_sockets_know() -> None:
    """A WebSocket is closed as going away, and the server ends although a call still waits."""
    desk = Desk()
    closed: list[int | None] = []

    async def run() -> None:
        desk.node.gate = asyncio.Event()
        ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(desk.server.run(("127.0.0.1", 0), listening=ready.set_result))
        host, port = await ready
        async with aiohttp.ClientSession() as session, session.ws_connect(f"http://{host}:{port}/ws") as socket:
            await socket.send_json(WAIT)
            await socket.send_json(STATUS)
            await socket.receive_json(timeout=10)
            task.cancel()
            await socket.receive(timeout=10)
            closed.append(socket.close_code)
            await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 10)

    asyncio.run(run())
    assert closed == [1001]
