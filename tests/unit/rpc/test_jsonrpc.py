"""Calls are read strictly: whatever comes, the right code goes back, and nothing raises."""

import json
from collections.abc import Awaitable
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from node.limits import RPC_BATCH_CALLS_MAX, RPC_BODY_BYTES_MAX
from node.primitives import UINT_MAX
from node.rpc.jsonrpc import (
    Call,
    Calls,
    ErrorCode,
    RpcError,
    batch_response,
    error_response,
    method,
    parse,
    result_response,
    table,
)


class Served:
    """What the methods of these tests answer from."""


class Sum(msgspec.Struct, frozen=True):
    """A result."""

    total: int


Small = Annotated[int, Meta(ge=0, le=UINT_MAX)]


def add(_served: Served, one: Small, other: Small = 1) -> Sum:
    """Add two numbers."""
    return Sum(one + other)


def later(_served: Served, text: str) -> Awaitable[str]:
    """Answer later."""
    raise AssertionError(text)


METHODS = table((add, later))


def read(body: bytes) -> Calls[Served]:
    """Parse with the methods of these tests."""
    return parse(body, METHODS)


def outcome(body: bytes) -> object:
    """Return what a body leads to: error code and detail, or method and parameters, of the whole or of each call."""
    try:
        calls = read(body)
    except RpcError as error:
        return (error.code, error.detail)
    found: list[object] = []
    for call in calls.calls:
        if call.error is not None:
            found.append((call.id, call.error.code, call.error.detail))
        else:
            assert call.method is not None
            assert call.params is not None
            found.append((call.id, call.method.name, msgspec.structs.asdict(call.params)))
    return found if calls.is_batch else found[0]


def request(**members: object) -> bytes:
    """Return a request."""
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "add", "params": {"one": 2}, **members}).encode()


@pytest.mark.parametrize(
    "body,expected",
    [
        (request(), (1, "add", {"one": 2, "other": 1})),
        (request(id="a"), ("a", "add", {"one": 2, "other": 1})),
        (request(id=None), (None, "add", {"one": 2, "other": 1})),
        (request(extra={"deep": [1]}), (1, "add", {"one": 2, "other": 1})),
        (b" \r\n\t" + request(), (1, "add", {"one": 2, "other": 1})),
        (
            b"[" + request() + b"," + request(id=2) + b"]",
            [(1, "add", {"one": 2, "other": 1}), (2, "add", {"one": 2, "other": 1})],
        ),
    ],
)
def test_call_is_read(body: bytes, expected: object) -> None:
    """Ids come back as they were; members that the specification does not know do not matter."""
    assert outcome(body) == expected


@pytest.mark.parametrize(
    "body,code,detail",
    [
        (b"", ErrorCode.PARSE_ERROR, "not JSON: Input data was truncated"),
        (b"{", ErrorCode.PARSE_ERROR, "not JSON: Input data was truncated"),
        (b"word", ErrorCode.PARSE_ERROR, "not JSON: JSON is malformed: invalid character (byte 0)"),
        (b"\xff\xfe{", ErrorCode.PARSE_ERROR, "not UTF-8: invalid start byte at byte 0"),
        (b'{"jsonrpc":"2.0","x":"\xff"}', ErrorCode.PARSE_ERROR, "not UTF-8: invalid start byte at byte 22"),
        (request()[:-1] + b',"x":' + b"[" * 100_000, ErrorCode.PARSE_ERROR, "nested too deeply"),
        (b"[" * 100_000, ErrorCode.PARSE_ERROR, "nested too deeply"),
        (b"[]", ErrorCode.INVALID_REQUEST, "the batch is empty"),
        (
            b"[" + b",".join([request()] * (RPC_BATCH_CALLS_MAX + 1)) + b"]",
            ErrorCode.LIMIT_EXCEEDED,
            "101 calls in a batch, at most 100",
        ),
        (
            b" " * (RPC_BODY_BYTES_MAX + 1),
            ErrorCode.LIMIT_EXCEEDED,
            f"{RPC_BODY_BYTES_MAX + 1} bytes, at most {RPC_BODY_BYTES_MAX}",
        ),
    ],
)
def test_unusable_body_is_answered_with_one_error(body: bytes, code: ErrorCode, detail: str) -> None:
    """What is no JSON, no batch or too much has one answer with the id null."""
    assert outcome(body) == (code, detail)


@pytest.mark.parametrize(
    "body,expected",
    [
        (b"1", (None, ErrorCode.INVALID_REQUEST, "Expected `object`, got `int`")),
        (b"[1]", [(None, ErrorCode.INVALID_REQUEST, "Expected `object`, got `int`")]),
        (b"{}", (None, ErrorCode.INVALID_REQUEST, "Object missing required field `jsonrpc`")),
        (request(jsonrpc="1.0"), (1, ErrorCode.INVALID_REQUEST, 'member "jsonrpc" must be "2.0"')),
        (request(method=5), (1, ErrorCode.INVALID_REQUEST, "Expected `str`, got `int` - at `$.method`")),
        (request(id=[1]), (None, ErrorCode.INVALID_REQUEST, "Expected `int | str | null`, got `array` - at `$.id`")),
        (request(id=1.5), (None, ErrorCode.INVALID_REQUEST, "Expected `int | str | null`, got `float` - at `$.id`")),
        (request(id=True), (None, ErrorCode.INVALID_REQUEST, "Expected `int | str | null`, got `bool` - at `$.id`")),
        (
            request(id=UINT_MAX + 1),
            (None, ErrorCode.INVALID_REQUEST, f"Expected `int` <= {UINT_MAX} - at `$.id`"),
        ),
        (request(method="subtract"), (1, ErrorCode.METHOD_NOT_FOUND, "no method 'subtract'")),
        (request(method="x" * 1_000), (1, ErrorCode.METHOD_NOT_FOUND, f"no method {'x' * 64!r}")),
        (request(params={}), (1, ErrorCode.INVALID_PARAMS, "Object missing required field `one`")),
        (request(params=[]), (1, ErrorCode.INVALID_PARAMS, "Object missing required field `one`")),
        (request(params=[2]), (1, ErrorCode.INVALID_PARAMS, "Expected `object`, got `array`")),
        (request(params=5), (1, ErrorCode.INVALID_PARAMS, "Expected `object`, got `int`")),
        (
            request(params={"one": 1, "three": 3}),
            (1, ErrorCode.INVALID_PARAMS, "Object contains unknown field `three`"),
        ),
        (request(params={"one": "1"}), (1, ErrorCode.INVALID_PARAMS, "Expected `int`, got `str` - at `$.one`")),
        (request(params={"one": True}), (1, ErrorCode.INVALID_PARAMS, "Expected `int`, got `bool` - at `$.one`")),
        (request(params={"one": 1.5}), (1, ErrorCode.INVALID_PARAMS, "Expected `int`, got `float` - at `$.one`")),
        (request(params={"one": -1}), (1, ErrorCode.INVALID_PARAMS, "Expected `int` >= 0 - at `$.one`")),
        (
            request(params={"one": UINT_MAX + 1}),  # 2^53: the first that a JSON reader may hold wrongly
            (1, ErrorCode.INVALID_PARAMS, f"Expected `int` <= {UINT_MAX} - at `$.one`"),
        ),
        (
            request(params={"one": 10**100}),
            (1, ErrorCode.INVALID_PARAMS, f"Expected `int` <= {UINT_MAX} - at `$.one`"),
        ),
    ],
)
def test_unusable_call_is_answered_under_its_id(body: bytes, expected: object) -> None:
    """Shape, name and parameters are judged in that order; the id comes back where it could be read."""
    assert outcome(body) == expected


def test_call_without_id_is_a_notification() -> None:
    """A request without an id wants no answer; one with the id null does."""
    silent = json.dumps({"jsonrpc": "2.0", "method": "add", "params": {"one": 1}}).encode()
    assert [call.is_notification for call in read(silent).calls] == [True]
    assert [call.is_notification for call in read(request(id=None)).calls] == [False]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Garbage leads to an error of the closed list and nothing else."""
    try:
        calls = read(body).calls
    except RpcError as error:
        calls = (Call(None, False, None, None, error),)
    assert all((call.error is None) == (call.params is not None) for call in calls)
    assert all(call.error is None or call.error.code in tuple(ErrorCode) for call in calls)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        st.lists,
        max_leaves=8,
    )
)
def test_any_json_as_parameters_is_taken_or_refused(value: object) -> None:
    """Whatever stands for a parameter, the call has parameters or an error that says they are invalid."""
    (call,) = read(request(params={"one": value})).calls
    assert call.error is None or call.error.code == ErrorCode.INVALID_PARAMS


def test_method_is_made_of_its_function() -> None:
    """Name, parameters, result and documentation come from the function; an awaitable result is a result that waits."""
    made = method(later, name="rpc.later")
    assert (made.name, made.result, made.waits, made.documentation) == ("rpc.later", str, True, "Answer later.")
    assert [(item.name, item.required) for item in method(add).parameters] == [("one", True), ("other", False)]


def test_call_is_run_with_its_parameters() -> None:
    """Parameters reach the function in its order, whatever theirs was."""
    (call,) = read(request(params={"other": 5, "one": 2})).calls
    assert call.method is not None
    assert call.params is not None
    assert call.method.invoke(Served(), call.params) == Sum(7)


def test_answers_have_the_form_of_the_specification() -> None:
    """A success carries its result, a failure code, message and detail; a batch is a list in its order."""
    good = result_response(1, Sum(3))
    bad = error_response("x", RpcError(ErrorCode.REJECTED, "batch abc exists", "already_exists"))
    assert json.loads(batch_response([good, bad])) == [
        {"jsonrpc": "2.0", "id": 1, "result": {"total": 3}},
        {
            "jsonrpc": "2.0",
            "id": "x",
            "error": {
                "code": -32000,
                "message": "Rejected",
                "data": {"detail": "batch abc exists", "reason": "already_exists"},
            },
        },
    ]
