"""A chain of many small blocks in a node's own database, and the network it belongs to.

What a restart, a catch-up or a snapshot of a long chain costs is measured on it. Each block issues one credential
and is signed by the test network's own validators, so every node of that network takes it for its own.
Run: `.venv/bin/python -m benchmarks.long_chain --blocks 100000 --output FOLDER`; the folder must not be there yet.
"""

import argparse
import secrets
import shutil
import time
from pathlib import Path
from typing import Final

from benchmarks.start_up import ISSUER, ChainMaker
from node.chain.definition_file import read_definition
from node.chain.ledger import Ledger
from node.chain.records.institution import Purpose
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.config import DATA_FOLDER, NODE_KEYSTORE_FILE
from node.crypto import merkle
from node.state.leveldb import open_leveldb
from tools.commands.catalogue import read_table
from tools.commands.demo import DEMO_FOLDER
from tools.console import open_keystore
from tools.local_network import LocalNetwork

BLOCKS: Final = 100_000
PROGRESS_BLOCKS: Final = 10_000
CACHE_BYTES: Final = 64 * 2**20


def make(folder: Path, blocks: int = BLOCKS) -> LocalNetwork:
    """Write a network of four into an empty folder, its chain into node 0's home; nothing runs."""
    network = LocalNetwork.make(folder)
    data = network.nodes[0].home / DATA_FOLDER
    data.mkdir(exist_ok=True)
    store = open_leveldb(data / "chain", cache_bytes=CACHE_BYTES)
    maker = ChainMaker(
        Ledger.open(store, network.testnet.document),
        open_keystore(network.testnet.keystore(ISSUER)).institution_signers()[0],
        {
            node.institution: open_keystore(node.home / NODE_KEYSTORE_FILE).ed25519(Purpose.CONSENSUS)
            for node in network.nodes
        },
        block_interval_ms=1,
    )
    grow(maker, blocks)
    store.close()
    return network


def grow(maker: ChainMaker, blocks: int) -> None:
    """Commit blocks of one credential each until the head has a height."""
    template = read_table(min((DEMO_FOLDER / "definitions").glob("*.toml")))
    content = read_definition({**template, "id": f"{ISSUER}/bench/1"})
    maker.commit("definition.publish", DefinitionPublish(content))
    began = time.perf_counter()
    for height in range(maker.ledger.head.height + 1, blocks + 1):
        credential_id = secrets.token_bytes(32)
        maker.commit("credential.issue", CredentialIssue(content.id, merkle.root([credential_id]), 1, credential_id))
        if height % PROGRESS_BLOCKS == 0:
            print(f"{height} blocks after {time.perf_counter() - began:.0f} s", flush=True)


def give(network: LocalNetwork, index: int) -> None:
    """Copy node 0's chain to another node, which must not run; what it had is thrown away."""
    source, target = (network.nodes[i].home / DATA_FOLDER / "chain" for i in (0, index))
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    shutil.copytree(source, target)


def main() -> None:
    """Make the chain where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    network = make(options.output, options.blocks)
    print(f"{options.blocks} blocks in {network.nodes[0].home}")


if __name__ == "__main__":
    main()
