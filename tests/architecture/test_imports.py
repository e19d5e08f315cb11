"""The import contracts of pyproject.toml hold, and each of them refuses what it is there to refuse."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.architecture.source_tree import REPOSITORY, source_files

CONSENSUS_MAY_IMPORT = {
    "node.primitives",
    "node.limits",
    "node.errors",
    "node.codec",
    "node.crypto.hashing",
    "node.crypto.signing",
    "node.crypto.merkle",
    "node.crypto.verified",
    "node.chain.block",
    "node.chain.validator_set",
    "node.chain.certificate",
    "node.chain.demerits",
    "node.chain.evidence",
    "node.chain.rotation",
    "node.chain.statements",
}
# `block` may know the envelope of a transaction, which knows no rules.
CONSENSUS_MAY_REACH = CONSENSUS_MAY_IMPORT | {"node.chain.transaction"}
# What a verifier on somebody else's machine must do without: a running node and its data.
VERIFIER_MUST_NOT_REACH = {
    "node.app",
    "node.replica",
    "node.sync",
    "node.journal",
    "node.signer",
    "node.consensus",
    "node.p2p",
    "node.rpc",
    "node.web",
    "node.state.leveldb",
    "node.chain.admission",
    "node.chain.builder",
    "node.chain.execution",
    "node.chain.index",
    "node.chain.ledger",
    "node.chain.mempool",
    "node.chain.rules",
    "node.chain.store",
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts on a tree that has a pyproject.toml."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=120, check=False)


def test_contracts_hold() -> None:
    """The tree as it is keeps every contract."""
    result = lint(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


def strangers_in_consensus(graph: grimp.ImportGraph) -> set[str]:
    """Return the modules that consensus imports, or reaches through others, and must not."""
    room = {"node.consensus"} | graph.find_descendants("node.consensus")
    own = room | {"node", "node.crypto", "node.chain"}
    direct = set().union(*(graph.find_modules_directly_imported_by(module) for module in room))
    reached = graph.find_upstream_modules("node.consensus", as_package=True)
    return (direct - own - CONSENSUS_MAY_IMPORT) | (reached - own - CONSENSUS_MAY_REACH)


def test_consensus_imports_only_what_it_agrees_on() -> None:
    """Consensus imports foundations and what it agrees on, and through them reaches only the envelope."""
    assert strangers_in_consensus(grimp.build_graph("node", cache_dir=None)) == set()


@pytest.mark.parametrize(
    "importer,imported",
    [
        ("node.consensus", "node.chain.transaction"),  # allowed only through block
        ("node.consensus", "node.chain.ledger"),
        ("node.consensus", "node.clock"),
        ("node.chain.certificate", "node.chain.mempool"),
    ],
)
def test_planted_stranger_in_consensus_is_found(importer: str, imported: str) -> None:
    """The check sees what consensus imports itself and what comes in through a module that it may import."""
    graph = grimp.build_graph("node", cache_dir=None)
    graph.add_import(importer="node.consensus", imported="node.chain.certificate")
    graph.add_import(importer=importer, imported=imported)
    assert imported in strangers_in_consensus(graph)


def strangers_in_verifier(graph: grimp.ImportGraph) -> set[str]:
    """Return what `tools/verify` reaches although a verifier needs only documents, chain.proof and below."""
    verifier = {module for module in graph.modules if f"{module}.".startswith("tools.verify.")}
    reached = set().union(*(graph.find_upstream_modules(module) for module in verifier)) if verifier else set()
    return {
        module for module in reached if any(f"{module}.".startswith(f"{name}.") for name in VERIFIER_MUST_NOT_REACH)
    }


def test_verifier_needs_no_node() -> None:
    """Whoever verifies needs no database, no peers and no rules of execution."""
    assert strangers_in_verifier(grimp.build_graph("node", "tools", cache_dir=None)) == set()


def test_planted_stranger_in_verifier_is_found() -> None:
    """The check sees a verifier that gets at the ledger through a document module."""
    graph = grimp.build_graph("node", "tools", cache_dir=None)
    graph.add_import(importer="tools.verify", imported="node.documents.bundle")
    graph.add_import(importer="node.documents.bundle", imported="node.chain.ledger")
    assert "node.chain.ledger" in strangers_in_verifier(graph)


@pytest.mark.parametrize(
    "importer,imported,contract",
    [
        ("node.state.tree", "node.chain.block", "Imports go down the stairs"),
        ("node.chain.builder", "node.documents.bundle", "Imports go down the stairs"),
        ("node.documents.bundle", "node.rpc.server", "Imports go down the stairs"),
        ("node.rpc.server", "node.consensus.core", "Imports go down the stairs"),
        ("node.rpc.server", "node.p2p.network", "Imports go down the stairs"),
        ("node.web.pages", "node.replica", "Imports go down the stairs"),
        ("node.config", "node.keystore", "Imports go down the stairs"),
        ("node.journal", "node.signer.local", "Imports go down the stairs"),
        ("node.codec", "node.crypto.hashing", "Imports go down the stairs"),
        ("node.app", "tools.pila", "Imports go down the stairs"),
        ("node.metrics", "node.state.kv", "Imports go down the stairs"),
        ("node.consensus.core", "node.state.tree", "consensus knows neither"),
        ("node.chain.block", "node.chain.rules.institutions", "consensus knows neither"),
        ("node.p2p.network", "node.chain.block", "p2p carries bytes"),
        ("node.state.kv", "plyvel", "plyvel only in"),
        ("tools.pila", "fastecdsa", "fastecdsa only in"),
    ],
)
def test_planted_import_is_refused(tmp_path: Path, importer: str, imported: str, contract: str) -> None:
    """In a tree of empty modules, one wrong import breaks the contract that forbids it."""
    modules = [*source_files("node", "tools"), _path(importer)]
    if imported.startswith(("node", "tools")):
        modules.append(_path(imported))
    # `consensus` reaches the rules only through what it may import.
    contents = {_path("node.consensus.core"): "import node.chain.block\n"}
    contents[_path(importer)] = contents.get(_path(importer), "") + f"import {imported}\n"
    for path in {*modules, *contents}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(contents.get(path, ""), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    result = lint(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    broken = " ".join(result.stdout.split("Broken contracts")[-1].split())
    assert contract in broken


def _path(module: str) -> Path:
    return Path(*module.split(".")).with_suffix(".py")
