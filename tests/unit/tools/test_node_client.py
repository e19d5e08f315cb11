"""The blocking client against a small HTTP server that answers what a node, or something else, might answer."""

import http.server
import json
import socket
import threading
from collections.abc import Iterator

import pytest

from tools.node_client import CallFailed, NodeClient, NodeUnreachable


class Answers:
    """A server that gives the next prepared answer to each call."""

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.prepared: list[tuple[int, bytes]] = []
        answers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                """Answer one call."""
                answers.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, body = answers.prepared.pop(0)
                if status == 0:  # hang up instead
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 – the base class names it so
                """Stay silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def result(self, value: object) -> None:
        """Prepare a result."""
        self.prepared.append((200, json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()))

    def error(self, code: int, **data: str) -> None:
        """Prepare an error."""
        error = {"code": code, "message": "No", "data": data}
        self.prepared.append((200, json.dumps({"jsonrpc": "2.0", "id": 1, "error": error}).encode()))


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Return a running server."""
    made = Answers()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_calls_go_by_name_and_are_numbered(answers: Answers) -> None:
    """Two calls over one connection."""
    client = NodeClient(answers.url)
    answers.result({"height": 5})
    answers.result([])
    assert client.call("node_status") == {"height": 5}
    assert client.call("x", a=1, b="ñ") == []
    assert answers.asked == [
        {"jsonrpc": "2.0", "id": 1, "method": "node_status", "params": {}},
        {"jsonrpc": "2.0", "id": 2, "method": "x", "params": {"a": 1, "b": "ñ"}},
    ]


@pytest.mark.parametrize(
    "code, exit_code",
    [(-32700, 2), (-32600, 2), (-32601, 2), (-32602, 2), (-32603, 2), (-32002, 2), (-32000, 1), (-32001, 1)],
)
def test_an_error_says_why_and_how_to_exit(answers: Answers, code: int, exit_code: int) -> None:
    """1 where the answer is no, 2 where the request or the node was unusable."""
    answers.error(code, reason="not_permitted", detail="5, not 6")
    with pytest.raises(CallFailed) as failed:
        NodeClient(answers.url).call("x")
    assert (failed.value.exit_code, failed.value.reason, failed.value.detail) == (
        exit_code,
        "not_permitted",
        "5, not 6",
    )
    assert str(failed.value) == "5, not 6 (not_permitted)"


def test_an_error_without_data_still_has_a_sentence(answers: Answers) -> None:
    """The message stands for the detail."""
    answers.prepared.append((200, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Not found"}}'))
    with pytest.raises(CallFailed) as failed:
        NodeClient(answers.url).call("x")
    assert str(failed.value) == "Not found: Not found"


@pytest.mark.parametrize(
    "status, body, says",
    [
        (200, b"<html>", "{} answered HTTP 200, not JSON-RPC"),
        (502, b"Bad gateway", "{} answered HTTP 502, not JSON-RPC"),
        (200, b"[1]", "{} answered something that is not JSON-RPC"),
        (200, b"\xff", "{} answered HTTP 200, not JSON-RPC"),
    ],
)
def test_what_is_no_node_is_said_so(answers: Answers, status: int, body: bytes, says: str) -> None:
    """Some other server at the address."""
    answers.prepared.append((status, body))
    with pytest.raises(NodeUnreachable) as unreachable:
        NodeClient(answers.url).call("x")
    assert str(unreachable.value) == says.format(answers.url)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(answers: Answers) -> None:
    """Once; a node that hangs up twice is unreachable."""
    client = NodeClient(answers.url)
    answers.prepared.append((0, b""))
    answers.result(7)
    assert client.call("x") == 7
    answers.prepared += [(0, b""), (0, b"")]
    with pytest.raises(NodeUnreachable) as unreachable:
        client.call("x")
    assert str(unreachable.value).startswith(f"No node answers at {answers.url} (")


def test_nobody_at_the_address() -> None:
    """The sentence says what to try."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NodeUnreachable) as unreachable:
            NodeClient(url).call("x")
    assert str(unreachable.value).endswith("is it running? (pila start --home DIR, or another --rpc URL)")


@pytest.mark.parametrize("url", ["ftp://x", "", "http://", "file:///etc/passwd"])
def test_what_is_no_address(url: str) -> None:
    """Refused before anything is sent."""
    with pytest.raises(NodeUnreachable) as unreachable:
        NodeClient(url)
    assert str(unreachable.value) == f"{url} is no address of a node; expected something like http://127.0.0.1:8600"


def test_waiting_asks_until_the_transaction_is_in_a_block(answers: Answers) -> None:
    """`pending` is asked again; when the time is over the call has failed."""
    client = NodeClient(answers.url)
    answers.result({"status": "pending"})
    answers.result({"status": "committed", "height": 3, "index": 0})
    assert client.wait("ab" * 32)["height"] == 3
    answers.result({"status": "unknown"})
    with pytest.raises(CallFailed) as failed:
        client.wait("ab" * 32, timeout_ms=0)
    assert (failed.value.code, failed.value.detail) == (-32005, f"{'ab' * 32} is unknown")


def test_required_signatures_default_to_one(answers: Answers) -> None:
    """Kinds that an institution does not list need one key."""
    client = NodeClient(answers.url)
    for _ in range(2):
        answers.result({"required_signatures": {"credential.issue": 2}})
    assert client.required_signatures("ugto.mx", "credential.issue") == 2
    assert client.required_signatures("ugto.mx", "credential.revoke") == 1
