"""What strangers send to a live node's RPC port: each is answered with the code of INTERFACE §3, never with HTTP 500.

After every single request the node must still answer a good one; at the end of the module it is the same
process that started, and its log holds no traceback.
"""

import http.client
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.harness import http_call
from tools.local_network import LocalNetwork

PARSE, REQUEST, METHOD, PARAMS, REJECTED, NOT_FOUND, LIMIT = -32700, -32600, -32601, -32602, -32000, -32001, -32005
MEBIBYTE = 1024 * 1024
STATUS = {"jsonrpc": "2.0", "id": 1, "method": "node_status"}


@pytest.fixture(autouse=True)
def _node_still_answers(network: LocalNetwork) -> Iterator[None]:
    pid = network.pid(0)
    yield
    status, body = http_call(network, "POST", "/rpc", json.dumps(STATUS).encode())
    assert status == 200
    assert json.loads(body)["result"]["chain_id"] == "guanajuato"
    assert (network.pid(0), network.is_running(0)) == (pid, True)
    assert "Traceback" not in (network.nodes[0].home / "node.log").read_text(encoding="utf-8")


def ask(network: LocalNetwork, body: bytes, headers: dict[str, str] | None = None) -> Any:  # noqa: ANN401 – JSON
    """Send a body; the answer must be JSON-RPC, whatever was sent."""
    status, answer = http_call(network, "POST", "/rpc", body, headers)
    assert status in (200, 413), (status, answer)
    found = json.loads(answer)
    assert found["jsonrpc"] == "2.0"
    return found


def code_of(network: LocalNetwork, body: bytes) -> int:
    """Return the error code of an answer, which carries a sentence too."""
    found = ask(network, body)
    assert "result" not in found
    assert found["error"]["message"]
    assert found["error"]["data"]["detail"]
    return int(found["error"]["code"])


def call(method: str, **params: object) -> bytes:
    """Return the body of a call."""
    return json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"[",
        b"nonsense",
        b'{"jsonrpc": "2.0", "id": 1, "method": "node_status"',
        b'{"jsonrpc": "2.0", "id": 1, "method": "node_status",}',
        b"{'jsonrpc': '2.0'}",
        b'{"jsonrpc": "2.0", "id": 1, "method": "node_status"} trailing',
        b'{"jsonrpc": "2.0", "id": NaN, "method": "node_status"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "node_\xff\xfe"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "node_status", "extra": "\xc3\x28"}',
        b"\xff\xfe{\x00}\x00",
        b"\x00" * 100,
        b"\x1f\x8b\x08\x00garbage",
    ],
)
def test_what_is_no_json_is_a_parse_error(network: LocalNetwork, body: bytes) -> None:
    """Malformed, cut, not UTF-8, compressed: −32700 with id null."""
    found = ask(network, body)
    assert (found["error"]["code"], found["id"]) == (PARSE, None)


@pytest.mark.parametrize(
    "body",
    [
        b"1",
        b'"text"',
        b"null",
        b"true",
        b"{}",
        b"[]",
        b'{"id": 1, "method": "node_status"}',
        b'{"jsonrpc": "1.0", "id": 1, "method": "node_status"}',
        b'{"jsonrpc": 2.0, "id": 1, "method": "node_status"}',
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "method": 5}',
        b'{"jsonrpc": "2.0", "id": 1, "method": null}',
        b'{"jsonrpc": "2.0", "id": {"a": 1}, "method": "node_status"}',
        b'{"jsonrpc": "2.0", "id": [1], "method": "node_status"}',
        b'{"jsonrpc": "2.0", "id": 99999999999999999999999999, "method": "node_status"}',
    ],
)
def test_what_is_no_request_is_an_invalid_request(network: LocalNetwork, body: bytes) -> None:
    """JSON of another shape: −32600."""
    assert code_of(network, body) == REQUEST


@pytest.mark.parametrize(
    "method", ["", "nope", "node_status ", "NODE_STATUS", "__class__", "rpc.", "../status", "x" * 9_999]
)
def test_an_unknown_method_is_not_found(network: LocalNetwork, method: str) -> None:
    """−32601, and the id comes back."""
    found = ask(network, call(method))
    assert (found["error"]["code"], found["id"]) == (METHOD, 7)
    assert len(found["error"]["data"]["detail"]) < 200


@pytest.mark.parametrize(
    "method, params",
    [
        ("chain_header", {"height": -1}),
        ("chain_header", {"height": "1"}),
        ("chain_header", {"height": 1.5}),
        ("chain_header", {"height": True}),
        ("chain_header", {"height": None, "hash": None}),
        ("chain_header", {"height": 1, "hash": "00" * 32}),
        ("chain_header", {"height": 2**53}),
        ("chain_header", {"height": 2**64}),
        ("chain_header", {"height": 10**400}),
        ("chain_header", {"height": [1]}),
        ("chain_header", {"hash": "zz"}),
        ("chain_header", {"hash": "AB" * 32}),
        ("chain_header", {"hash": "00" * 31}),
        ("chain_header", {}),
        ("chain_header", {"height": 0, "unknown": 1}),
        ("chain_certificate", {}),
        ("tx_submit", {}),
        ("tx_submit", {"tx": ""}),
        ("tx_submit", {"tx": "abc"}),
        ("tx_submit", {"tx": "0x00"}),
        ("tx_submit", {"tx": 5}),
        ("tx_get", {"tx_id": "00"}),
        ("tx_wait", {"tx_id": "00" * 32, "timeout_ms": -1}),
        ("tx_wait", {"tx_id": "00" * 32, "timeout_ms": 60_001}),
        ("tx_wait", {"tx_id": "00" * 32, "timeout_ms": 1e300}),
        ("state_proof", {"key": ""}),
        ("state_proof", {"key": "x" * 5_000}),
        ("state_proof", {"key": "acc/\u0000"}),
        ("state_proof", {"key": "acc/ñ"}),
        ("institution_get", {"id": "../../etc/passwd"}),
        ("institution_get", {"id": ""}),
        ("institution_list", {"limit": 0}),
        ("institution_list", {"limit": -5}),
        ("institution_list", {"limit": 1_001}),
        ("institution_list", {"cursor": 5}),
        ("catalog_get", {"id": "no such/thing"}),
        ("catalog_search", {"credits_min": "five"}),
        ("catalog_search", {"level": "MNC:five"}),
        ("credential_get", {"credential_id": None}),
        ("credential_status", {"issuer": "ugto.mx"}),
        ("credential_statusPrefix", {"issuer": "ugto.mx", "prefix": "xyz1"}),
        ("credential_statusPrefix", {"issuer": "ugto.mx", "prefix": "00000"}),
        ("credential_proof", {"credential_id": "00" * 32, "height": -7}),
        ("pathway_evaluate", {"pathway": "ugto.mx/x/1", "credentials": "all"}),
        ("credential_verify", {}),
    ],
)
def test_wrong_parameters_are_invalid(network: LocalNetwork, method: str, params: dict[str, object]) -> None:
    """Missing, unknown, of the wrong type, negative, huge: −32602 and the id."""
    found = ask(network, call(method, **params))
    assert (found["error"]["code"], found["id"]) == (PARAMS, 7), found


@pytest.mark.parametrize("params", ["[1, 2]", '"text"', "5", "true"])
def test_parameters_are_given_by_name(network: LocalNetwork, params: str) -> None:
    """A list with something in it, or no structure at all: −32602 or −32600, as the specification has it."""
    body = b'{"jsonrpc": "2.0", "id": 7, "method": "chain_header", "params": ' + params.encode() + b"}"
    assert code_of(network, body) in (PARAMS, REQUEST)


@pytest.mark.parametrize(
    "method, params",
    [
        ("chain_header", {"height": 2**53 - 1}),
        ("chain_header", {"hash": "00" * 32}),
        ("chain_certificate", {"height": 0}),
        ("chain_validators", {"height": 10**9}),
        ("institution_get", {"id": "nobody.example"}),
        ("catalog_get", {"id": "nobody.example/nothing/1"}),
        ("pathway_get", {"id": "nobody.example/nothing/1"}),
        ("credential_get", {"credential_id": "00" * 32}),
        ("credential_proof", {"credential_id": "00" * 32}),
        ("stack_get", {"credential_id": "00" * 32}),
        ("state_proof", {"key": "acc/ugto.mx", "height": 10**9}),
    ],
)
def test_what_is_not_there_is_not_found(network: LocalNetwork, method: str, params: dict[str, object]) -> None:
    """−32001."""
    assert code_of(network, call(method, **params)) == NOT_FOUND


def test_transactions_that_are_none_are_rejected(network: LocalNetwork, rng: random.Random) -> None:
    """Random bytes, nested arrays, the largest size: −32000 with a reason of the closed list."""
    bodies = [rng.randbytes(size) for size in (1, 10, 100, 1_000, 50_000)]
    bodies += [b"\x91" * 5_000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc0"]
    for body in bodies:
        found = ask(network, call("tx_submit", tx=body.hex()))
        assert found["error"]["code"] == REJECTED
        assert found["error"]["data"]["reason"] == "malformed"
    assert code_of(network, call("tx_submit", tx="00" * (512 * 1024 + 1))) in (PARAMS, LIMIT)


def test_an_unknown_bundle_is_not_verified(network: LocalNetwork) -> None:
    """`credential_verify` of anything: an answer with lights that say no, or −32602; never a fault."""
    for bundle in ({}, {"format": "pila-bundle/1"}, [], "text", 5, None, {"a": [[[[]]]]}):
        found = ask(network, call("credential_verify", bundle=bundle))
        if "error" in found:
            assert found["error"]["code"] == PARAMS
        else:
            assert not found["result"]["verified"]
            assert not any(light["ok"] for light in found["result"]["checks"])


@pytest.mark.parametrize(
    "deep",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"jsonrpc":"2.0","id":1,"method":"node_status","params":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"jsonrpc":"2.0","id":1,"method":"credential_verify","params":{"bundle":'
        + b'{"a":' * 20_000
        + b"1"
        + b"}" * 20_001
        + b"}",
        b'{"jsonrpc":"2.0","method":"node_status","id":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
    ids=["open arrays", "arrays", "objects", "parameters", "bundle", "id"],
)
def test_deep_nesting_is_answered(network: LocalNetwork, deep: bytes) -> None:
    """A hundred thousand levels do not end the process: an error code, or lights that say no."""
    found = ask(network, deep)
    if "error" in found:
        assert found["error"]["code"] in (PARSE, REQUEST, PARAMS, LIMIT)
    elif isinstance(found["result"], dict) and "verified" in found["result"]:
        assert not found["result"]["verified"]


def test_a_body_beyond_the_bound_is_refused(network: LocalNetwork) -> None:
    """One mebibyte is read; one byte more is −32005, announced or not, without being read to the end."""
    call_bytes = json.dumps(STATUS).encode()
    exactly = call_bytes + b" " * (MEBIBYTE - len(call_bytes))
    assert ask(network, exactly)["result"]["chain_id"] == "guanajuato"
    status, body = http_call(network, "POST", "/rpc", exactly + b" ")
    assert (status, json.loads(body)["error"]["code"]) == (413, LIMIT)

    connection = http.client.HTTPConnection("127.0.0.1", network.nodes[0].ports.rpc, timeout=60)
    try:
        connection.request(
            "POST", "/rpc", iter([b" " * 65_536] * 20), {"Transfer-Encoding": "chunked"}, encode_chunked=True
        )
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["code"]) == (413, LIMIT)
    except ConnectionError:
        pass  # the node may hang up while we still send
    finally:
        connection.close()


def test_a_body_that_announces_terabytes_is_refused_unread(network: LocalNetwork) -> None:
    """Content-Length alone decides: nothing of the body needs to come."""
    with socket.create_connection(("127.0.0.1", network.nodes[0].ports.rpc), timeout=60) as connection:
        connection.sendall(b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n{")
        assert connection.recv(13) == b"HTTP/1.1 413 "


def test_batches(network: LocalNetwork) -> None:
    """A hundred calls are answered in order, each for itself; 101 are −32005; notifications get no answer."""
    hundred = [{**STATUS, "id": i} for i in range(100)]
    answers = ask_batch(network, hundred)
    assert [answer["id"] for answer in answers] == list(range(100))
    assert code_of(network, json.dumps([*hundred, STATUS]).encode()) == LIMIT
    mixed = ask_batch(network, [STATUS, 5, {"jsonrpc": "2.0", "method": "nope", "id": "b"}, {**STATUS, "id": None}, []])
    assert [(answer["id"], answer.get("error", {}).get("code")) for answer in mixed] == [
        (1, None),
        (None, REQUEST),
        ("b", METHOD),
        (None, None),
        (None, REQUEST),
    ]
    notification = {"jsonrpc": "2.0", "method": "node_status"}
    status, body = http_call(network, "POST", "/rpc", json.dumps([notification] * 100).encode())
    assert (status, body) == (204, b"")


def ask_batch(network: LocalNetwork, calls: list[Any]) -> list[Any]:
    """Send a batch and return its answers."""
    status, body = http_call(network, "POST", "/rpc", json.dumps(calls).encode())
    assert status == 200
    found = json.loads(body)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "a/b; charset=utf-16"],
)
def test_the_content_type_does_not_matter(network: LocalNetwork, content_type: str) -> None:
    """What counts is the body."""
    assert ask(network, json.dumps(STATUS).encode(), {"Content-Type": content_type})["id"] == 1


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/rpc"),
        ("PUT", "/rpc"),
        ("DELETE", "/rpc"),
        ("HEAD", "/rpc"),
        ("OPTIONS", "/rpc"),
        ("POST", "/health"),
        ("POST", "/openrpc.json"),
        ("GET", "/nothing"),
        ("POST", "/nothing"),
        ("GET", "/rpc/"),
        ("GET", "/../../etc/passwd"),
        ("GET", "/static/../../../etc/passwd"),
        ("GET", "/static/..%2f..%2f..%2fetc%2fpasswd"),
        ("GET", "/static/%2e%2e/%2e%2e/config.py"),
        ("GET", "//etc/passwd"),
        ("GET", "/%00"),
        ("GET", "/" + "a" * 7_000),
        ("GET", "/ws"),
    ],
)
def test_other_methods_and_paths_are_refused(network: LocalNetwork, method: str, path: str) -> None:
    """4xx, never 200 with a file of this machine and never 5xx."""
    status, body = http_call(network, method, path)
    assert 400 <= status < 500, (status, body[:200])
    assert b"root:" not in body


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /rpc HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /rpc HTTP/1.1\r\nContent-Length: five\r\n\r\n",
        b"POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /rpc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /rpc HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"\r\n" * 1_000,
    ],
)
def test_what_is_no_http_is_refused(network: LocalNetwork, request_bytes: bytes) -> None:
    """400, or the connection ends; never 5xx."""
    answer = raw(network, request_bytes)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")), answer[:200]


def raw(network: LocalNetwork, request: bytes) -> bytes:
    """Send bytes, say that no more will come, and return what comes back until the node hangs up."""
    with socket.create_connection(("127.0.0.1", network.nodes[0].ports.rpc), timeout=60) as connection:
        answer = b""
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while len(answer) < 65_536 and (part := connection.recv(65_536)):
                answer += part
        except ConnectionError:
            pass
        return answer


def test_random_bytes_never_make_a_fault(network: LocalNetwork, rng: random.Random) -> None:
    """Three hundred mutations of good calls: always JSON-RPC, never an internal error."""
    good = [
        json.dumps(STATUS).encode(),
        call("chain_header", height=0),
        call("state_proof", key="acc/ugto.mx"),
        call("catalog_search", text="a"),
        json.dumps([STATUS, STATUS]).encode(),
    ]
    for _ in range(300):
        body = bytearray(rng.choice(good))
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        status, answer = http_call(network, "POST", "/rpc", bytes(body))
        assert status in (200, 204), (bytes(body), status)
        found = json.loads(answer) if answer else []
        for one in found if isinstance(found, list) else [found]:
            assert one.get("error", {}).get("code") != -32603, (bytes(body), one)
