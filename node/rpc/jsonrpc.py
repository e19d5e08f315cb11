"""JSON-RPC 2.0 as values: bytes in, calls out; results in, bytes out. No socket, no clock.

A method is a plain function whose first parameter is what the server serves from and whose other
parameters are the call's, by name; its annotations are its schema and its docstring its documentation
(`node/rpc/openrpc.py`). Source: https://www.jsonrpc.org/specification; INTERFACE §3.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Concatenate, Final, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from node.errors import Rejected
from node.limits import RPC_BATCH_CALLS_MAX, RPC_BODY_BYTES_MAX
from node.primitives import UINT_MAX

S = TypeVar("S")
T = TypeVar("T")

Handler: TypeAlias = Callable[Concatenate[S, ...], object]
"""Takes what the server serves from and the parameters; returns a result or an awaitable of one."""


class ErrorCode(IntEnum):
    """The codes of INTERFACE §3; the first five are the specification's."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    REJECTED = -32000
    NOT_FOUND = -32001
    NOT_IN_SYNC = -32002
    LIMIT_EXCEEDED = -32005


MESSAGES: Final[Mapping[ErrorCode, str]] = {
    ErrorCode.PARSE_ERROR: "Parse error",
    ErrorCode.INVALID_REQUEST: "Invalid request",
    ErrorCode.METHOD_NOT_FOUND: "Method not found",
    ErrorCode.INVALID_PARAMS: "Invalid params",
    ErrorCode.INTERNAL_ERROR: "Internal error",
    ErrorCode.REJECTED: "Rejected",
    ErrorCode.NOT_FOUND: "Not found",
    ErrorCode.NOT_IN_SYNC: "Not yet in sync",
    ErrorCode.LIMIT_EXCEEDED: "Limit exceeded",
}


class RpcError(Exception):
    """A call that is answered with an error: its code, and one sentence that says what is wrong."""

    def __init__(self, code: ErrorCode, detail: str, reason: str | None = None) -> None:
        super().__init__(code, detail, reason)
        self.code = code
        self.detail = detail
        self.reason = reason
        """From the closed list of `node.errors.Reason`; only with REJECTED."""

    @classmethod
    def rejected(cls, rejection: Rejected) -> "RpcError":
        """Return the error that carries a refusal to the caller."""
        return cls(ErrorCode.REJECTED, rejection.detail, rejection.reason.value)


RequestId: TypeAlias = Annotated[int, Meta(ge=-UINT_MAX, le=UINT_MAX)] | Annotated[str, Meta(max_length=256)] | None


class _Request(msgspec.Struct, frozen=True):
    """One request as it comes; members that the specification does not know are ignored."""

    jsonrpc: str
    method: str
    params: Raw | UnsetType = UNSET
    id: RequestId | UnsetType = UNSET


class _IdOnly(msgspec.Struct, frozen=True):
    """The one member that is still worth reading when the rest of a request is unusable."""

    id: RequestId = None


class ErrorData(msgspec.Struct, frozen=True, omit_defaults=True):
    """Member `data` of an error."""

    detail: str
    """One sentence; for a rejection the two values that disagree."""
    reason: str | UnsetType = UNSET
    """Of a rejection: from the closed list."""


class ErrorObject(msgspec.Struct, frozen=True):
    """Member `error` of a response."""

    code: int
    message: str
    data: ErrorData


class _ErrorResponse(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: RequestId
    error: ErrorObject


class _ResultResponse(msgspec.Struct, frozen=True):
    jsonrpc: str
    id: RequestId
    result: object


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named parameter of a method."""

    name: str
    type: object
    """Annotation, with its bounds."""
    required: bool


@dataclass(frozen=True, slots=True)
class Method(Generic[S]):
    """One method: its name, what it takes, what it gives."""

    name: str
    handler: Handler[S]
    parameters: tuple[Parameter, ...]
    decoder: msgspec.json.Decoder[msgspec.Struct]
    """Reads the named parameters; refuses unknown ones."""
    result: object
    """Type of the result."""
    waits: bool
    """The handler returns an awaitable of the result."""
    documentation: str

    def invoke(self, served: S, params: msgspec.Struct) -> object:
        """Run the handler. Raises: RpcError, Rejected."""
        return self.handler(served, *msgspec.structs.astuple(params))


@dataclass(frozen=True, slots=True)
class Call(Generic[S]):
    """One request, checked as far as can be without running it."""

    id: RequestId
    is_notification: bool
    """Asks for no answer."""
    method: Method[S] | None
    """None where `error` says why."""
    params: msgspec.Struct | None
    error: RpcError | None


@dataclass(frozen=True, slots=True)
class Calls(Generic[S]):
    """What one body asks for."""

    is_batch: bool
    calls: tuple[Call[S], ...]
    """At most 100."""


def method(handler: Handler[S], name: str | None = None) -> Method[S]:
    """Make a method of a function: `def credential_status(services, issuer: …, status_key: …) -> …`.

    `name`: for a method that is not called as its function.
    """
    name = name or handler.__name__
    hints = get_type_hints(handler, include_extras=True)
    parameters = []
    fields: list[tuple[str, object] | tuple[str, object, object]] = []
    for parameter in list(inspect.signature(handler).parameters.values())[1:]:
        annotation = hints[parameter.name]
        required = parameter.default is inspect.Parameter.empty
        parameters.append(Parameter(parameter.name, annotation, required))
        fields.append((parameter.name, annotation) if required else (parameter.name, annotation, parameter.default))
    struct = msgspec.defstruct(f"{handler.__name__}_params", fields, frozen=True, forbid_unknown_fields=True)
    result = hints["return"]
    waits = get_origin(result) is Awaitable
    if waits:
        (result,) = get_args(result)
    documentation = inspect.getdoc(handler)
    assert documentation, f"{name} has no docstring"
    return Method(name, handler, tuple(parameters), msgspec.json.Decoder(struct), result, waits, documentation)


def table(handlers: Iterable[Handler[S]]) -> dict[str, Method[S]]:
    """Return the methods by name."""
    methods: dict[str, Method[S]] = {}
    for handler in handlers:
        made = method(handler)
        assert made.name not in methods, f"{made.name} twice"
        methods[made.name] = made
    return methods


_request_decoder: Final = msgspec.json.Decoder(_Request)
_id_decoder: Final = msgspec.json.Decoder(_IdOnly)
_batch_decoder: Final = msgspec.json.Decoder(list[Raw])
_encoder: Final = msgspec.json.Encoder()
_WHITESPACE: Final = b" \t\r\n"


def parse(body: bytes, methods: Mapping[str, Method[S]]) -> Calls[S]:
    """Read a request or a batch.

    Raises: RpcError(PARSE_ERROR), RpcError(INVALID_REQUEST) or RpcError(LIMIT_EXCEEDED) where the whole
    body is answered with one error; what is wrong with one request of a batch stands in its call.
    """
    if len(body) > RPC_BODY_BYTES_MAX:
        raise RpcError(ErrorCode.LIMIT_EXCEEDED, f"{len(body)} bytes, at most {RPC_BODY_BYTES_MAX}")
    if not body.lstrip(_WHITESPACE).startswith(b"["):
        _check_json(body)
        return Calls(is_batch=False, calls=(_read_call(body, methods),))
    items = _decode(_batch_decoder, body)
    if not items:
        raise RpcError(ErrorCode.INVALID_REQUEST, "the batch is empty")
    if len(items) > RPC_BATCH_CALLS_MAX:
        raise RpcError(ErrorCode.LIMIT_EXCEEDED, f"{len(items)} calls in a batch, at most {RPC_BATCH_CALLS_MAX}")
    _check_json(body)
    return Calls(is_batch=True, calls=tuple(_read_call(bytes(item), methods) for item in items))


def _decode(decoder: msgspec.json.Decoder[T], data: bytes) -> T:
    """Read JSON. Raises: RpcError(PARSE_ERROR) for what is no JSON; msgspec.ValidationError for another shape."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RpcError(ErrorCode.PARSE_ERROR, f"not JSON: {error}") from None
    except RecursionError:
        raise RpcError(ErrorCode.PARSE_ERROR, "nested too deeply") from None


def _check_json(body: bytes) -> None:
    """Refuse what is not UTF-8: the decoder skips over members that it was not asked for.

    Raises: RpcError(PARSE_ERROR).
    """
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RpcError(ErrorCode.PARSE_ERROR, f"not UTF-8: {error.reason} at byte {error.start}") from None


def _read_call(data: bytes, methods: Mapping[str, Method[S]]) -> Call[S]:
    """Check one request. Raises: RpcError(PARSE_ERROR) only."""
    try:
        request = _decode(_request_decoder, data)
    except msgspec.ValidationError as error:
        return Call(_id_of(data), False, None, None, RpcError(ErrorCode.INVALID_REQUEST, str(error)))
    is_notification = request.id is UNSET
    request_id = None if isinstance(request.id, UnsetType) else request.id
    if request.jsonrpc != "2.0":
        wrong = RpcError(ErrorCode.INVALID_REQUEST, 'member "jsonrpc" must be "2.0"')
        return Call(request_id, False, None, None, wrong)
    found = methods.get(request.method)
    if found is None:
        unknown = RpcError(ErrorCode.METHOD_NOT_FOUND, f"no method {request.method[:64]!r}")
        return Call(request_id, is_notification, None, None, unknown)
    try:
        params = _decode(found.decoder, _named(request.params))
    except msgspec.ValidationError as error:
        return Call(request_id, is_notification, found, None, RpcError(ErrorCode.INVALID_PARAMS, str(error)))
    return Call(request_id, is_notification, found, params, None)


def _named(params: Raw | UnsetType) -> bytes:
    """Return the named parameters; an empty list is what many clients send for none."""
    if isinstance(params, UnsetType):
        return b"{}"
    data = bytes(params)
    return b"{}" if data in (b"[]", b"null") else data


def _id_of(data: bytes) -> RequestId:
    """Return the id of an otherwise unusable request, or None."""
    try:
        return _id_decoder.decode(data).id
    except (msgspec.DecodeError, RecursionError):
        return None


def result_response(request_id: RequestId, result: object) -> bytes:
    """Return the bytes of a success."""
    return _encoder.encode(_ResultResponse("2.0", request_id, result))


def error_response(request_id: RequestId, error: RpcError) -> bytes:
    """Return the bytes of a failure."""
    data = ErrorData(error.detail, UNSET if error.reason is None else error.reason)
    return _encoder.encode(_ErrorResponse("2.0", request_id, ErrorObject(error.code, MESSAGES[error.code], data)))


def batch_response(responses: Iterable[bytes]) -> bytes:
    """Join the answers of a batch, in the order of its requests."""
    return b"[" + b",".join(responses) + b"]"
