"""All methods, and `rpc.discover`, which describes them."""

from importlib import metadata
from typing import Final

from node.rpc.jsonrpc import Method, method, table
from node.rpc.methods import (
    catalog,
    chain,
    credential,
    equivocation,
    governance,
    institution,
    node,
    pathway,
    stack,
    state,
    stats,
    tx,
)
from node.rpc.openrpc import document
from node.rpc.services import Services

VERSION: Final = metadata.version("pila-node")

_HANDLERS: Final = (
    node.node_status,
    node.node_peers,
    node.node_whyStalled,
    equivocation.node_equivocations,
    chain.chain_block,
    chain.chain_header,
    chain.chain_certificate,
    chain.chain_validators,
    chain.chain_genesis,
    chain.chain_params,
    state.state_proof,
    tx.tx_submit,
    tx.tx_get,
    tx.tx_wait,
    institution.institution_get,
    institution.institution_list,
    institution.institution_history,
    catalog.catalog_get,
    catalog.catalog_search,
    pathway.pathway_get,
    pathway.pathway_list,
    pathway.pathway_evaluate,
    credential.credential_get,
    credential.credential_status,
    credential.credential_statusPrefix,
    credential.credential_proof,
    credential.credential_verify,
    credential.credential_history,
    stack.stack_get,
    stats.stats_summary,
    governance.governance_list,
    governance.governance_get,
    governance.governance_schedule,
)


def discover(_services: Services) -> dict[str, object]:
    """Return this document: every method with the schemas of its parameters and result (OpenRPC)."""
    return OPENRPC


def _all_methods() -> dict[str, Method[Services]]:
    methods: dict[str, Method[Services]] = table(_HANDLERS)
    return {**methods, "rpc.discover": method(discover, name="rpc.discover")}


METHODS: Final = _all_methods()
OPENRPC: Final = document(METHODS, version=VERSION)
