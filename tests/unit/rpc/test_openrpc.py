"""The OpenRPC document is valid and complete, so that clients can be made from it."""

import json
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from node.rpc.methods.registry import METHODS, OPENRPC
from tests.unit.rpc.rpc_kit import Desk

VECTORS = Path(__file__).parents[2] / "vectors" / "openrpc"
PROMISED = {
    *("node_status", "node_peers", "node_whyStalled", "node_equivocations"),
    *("chain_block", "chain_header", "chain_certificate", "chain_validators", "chain_genesis", "chain_params"),
    *("state_proof", "tx_submit", "tx_get", "tx_wait"),
    *("institution_get", "institution_list", "institution_history", "catalog_get", "catalog_search"),
    *("pathway_get", "pathway_list", "pathway_evaluate", "credential_get", "credential_status"),
    *("credential_statusPrefix", "credential_proof", "credential_verify", "credential_history"),
    *("stack_get", "stats_summary", "rpc.discover"),
    *("governance_list", "governance_get", "governance_schedule"),
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft7Validator:
    """The published meta-schema and the one that it refers to."""
    openrpc = json.loads((VECTORS / "openrpc-meta-schema.json").read_text(encoding="utf-8"))
    schemas = json.loads((VECTORS / "json-schema-meta-schema.json").read_text(encoding="utf-8"))
    resource = Resource(contents=schemas, specification=DRAFT7)
    known = [("https://meta.json-schema.tools/", resource), ("https://meta.json-schema.tools", resource)]
    own = Resource(contents=openrpc, specification=DRAFT7)
    registry = Registry().with_resources([*known, ("https://meta.open-rpc.org/", own)])
    return jsonschema.Draft7Validator(openrpc, registry=registry)


def test_document_is_valid(validator: jsonschema.Draft7Validator) -> None:
    """It keeps the published meta-schema."""
    assert list(validator.iter_errors(OPENRPC)) == []


def test_invalid_document_is_refused(validator: jsonschema.Draft7Validator) -> None:
    """The meta-schema that is used here can tell."""
    errors = validator.iter_errors({**OPENRPC, "methods": [{"name": "x"}]})
    assert [error.json_path for error in errors] == ["$.methods[0]"]


def test_every_promised_method_is_described() -> None:
    """Names are a promise; the document and the table of methods have the same ones."""
    methods = OPENRPC["methods"]
    assert isinstance(methods, list)
    assert {item["name"] for item in methods} == set(METHODS) == PROMISED


def test_discover_answers_the_document() -> None:
    """What a client is told is the document, as JSON."""
    assert Desk().call("rpc.discover") == json.loads(json.dumps(OPENRPC))


def test_every_reference_leads_somewhere() -> None:
    """No schema refers to a component that is not there."""
    text = json.dumps(OPENRPC)
    components = OPENRPC["components"]
    assert isinstance(components, dict)
    names = {f"#/components/{kind}/{name}" for kind, items in components.items() for name in items}
    referred = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    assert referred <= names


def test_every_summary_is_one_sentence() -> None:
    """The first line of a docstring is what people read in a list."""
    methods = OPENRPC["methods"]
    assert isinstance(methods, list)
    assert [item["name"] for item in methods if not item["summary"].endswith((".", ":"))] == []
