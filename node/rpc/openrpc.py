"""The OpenRPC document, made from the methods themselves: types are schemas, docstrings are descriptions.

Source: https://spec.open-rpc.org (1.3.2).
"""

from collections.abc import Iterator, Mapping
from typing import Final, TypeVar

import msgspec

from node.rpc.jsonrpc import MESSAGES, ErrorCode, Method

S = TypeVar("S")

OPENRPC_VERSION: Final = "1.3.2"
_SPECIFICATION_ERRORS: Final = (
    ErrorCode.PARSE_ERROR,
    ErrorCode.INVALID_REQUEST,
    ErrorCode.METHOD_NOT_FOUND,
)
_REFERENCES: Final = "#/components/schemas/{name}"


def document(methods: Mapping[str, Method[S]], *, version: str) -> dict[str, object]:
    """Return the document of all methods, by name."""
    ordered = [methods[name] for name in sorted(methods)]
    types = [type_ for method in ordered for type_ in _types(method)]
    schemas, components = msgspec.json.schema_components(types, schema_hook=_any_json, ref_template=_REFERENCES)
    by_type = iter(schemas)
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "Pila",
            "description": "A node of a network for microcredentials that learners can stack and anybody can verify.",
            "version": version,
            "license": {"name": "Apache-2.0"},
        },
        "methods": [_method(method, by_type) for method in ordered],
        "components": {
            "schemas": components,
            "errors": {code.name: {"code": int(code), "message": MESSAGES[code]} for code in ErrorCode},
        },
    }


def _any_json(type_: type) -> dict[str, object]:
    """Describe what may be any JSON value."""
    assert type_ is object, type_
    return {"description": "any JSON value"}


def _types(method: Method[S]) -> Iterator[object]:
    yield from (parameter.type for parameter in method.parameters)
    yield method.result


def _method(method: Method[S], by_type: Iterator[dict[str, object]]) -> dict[str, object]:
    summary, _, rest = method.documentation.partition("\n")
    params = [
        {"name": parameter.name, "required": parameter.required, "schema": next(by_type)}
        for parameter in method.parameters
    ]
    described: dict[str, object] = {"name": method.name, "summary": summary}
    if rest.strip():
        described["description"] = " ".join(rest.split())
    return {
        **described,
        "paramStructure": "by-name",
        "params": params,
        "result": {"name": "result", "schema": next(by_type)},
        "errors": [
            {"$ref": f"#/components/errors/{code.name}"} for code in ErrorCode if code not in _SPECIFICATION_ERRORS
        ],
    }
