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
from node.chain.genesis import parse_genesis
from node.chain.ledger import Ledger
from node.chain.records.institution import Purpose
from node.chain.rules.catalogue import DefinitionPublish
from node.chain.rules.credentials import CredentialIssue
from node.config import DATA_FOLDER, FRESH_KEY_FILE, NODE_KEYSTORE_FILE, load_config, split_address
from node.crypto import merkle
from node.snapshot_file import SnapshotWriter
from node.snapshots import CHAIN_FOLDER, SNAPSHOTS_FOLDER
from node.state.leveldb import open_leveldb
from tools.commands.catalogue import read_table
from tools.commands.demo import DEMO_FOLDER
from tools.console import open_keystore
from tools.local_network import LocalNetwork
from tools.testnet import Ports, Testnet, TestnetNode

BLOCKS: Final = 100_000
PROGRESS_BLOCKS: Final = 10_000
SNAPSHOT_INTERVAL: Final = 1_000
CACHE_BYTES: Final = 64 * 2**20


def make(folder: Path, blocks: int = BLOCKS) -> LocalNetwork:
    """Write a network of four into an empty folder, its chain into node 0's home; nothing runs."""
    network = LocalNetwork.make(folder)
    data = network.nodes[0].home / DATA_FOLDER
    data.mkdir(exist_ok=True)
    store = open_leveldb(data / CHAIN_FOLDER, cache_bytes=CACHE_BYTES)
    maker = ChainMaker(
        Ledger.open(store, network.testnet.document),
        open_keystore(network.testnet.keystore(ISSUER)).institution_signers()[0],
        {
            node.institution: open_keystore(node.home / NODE_KEYSTORE_FILE).ed25519(Purpose.CONSENSUS)
            for node in network.nodes
        },
        block_interval_ms=1,
    )
    grow(maker, blocks, data / SNAPSHOTS_FOLDER)
    store.close()
    return network


def grow(maker: ChainMaker, blocks: int, snapshots: Path) -> None:
    """Commit blocks of one credential each until the head has a height, with the last snapshot that a node makes."""
    template = read_table(min((DEMO_FOLDER / "definitions").glob("*.toml")))
    content = read_definition({**template, "id": f"{ISSUER}/bench/1"})
    maker.commit("definition.publish", DefinitionPublish(content))
    began = time.perf_counter()
    writer: SnapshotWriter | None = None
    for height in range(maker.ledger.head.height + 1, blocks + 1):
        credential_id = secrets.token_bytes(32)
        maker.commit("credential.issue", CredentialIssue(content.id, merkle.root([credential_id]), 1, credential_id))
        if writer is not None:
            writer.finish()
            writer = None
        if height == (blocks - 1) // SNAPSHOT_INTERVAL * SNAPSHOT_INTERVAL:
            making = maker.ledger.begin_snapshot()
            assert making is not None
            writer = SnapshotWriter(making, snapshots)
            for _ in writer.steps():
                pass
        if height % PROGRESS_BLOCKS == 0:
            print(f"{height} blocks after {time.perf_counter() - began:.0f} s", flush=True)


def reopen(folder: Path) -> LocalNetwork:
    """Return the network of a folder that `make` has written."""
    genesis = parse_genesis((folder / "genesis.json").read_bytes())
    homes = sorted(folder.glob("node*"))
    configs = [load_config(home) for home in homes]
    nodes = tuple(
        TestnetNode(
            home,
            config.node.institution,
            Ports(
                *(
                    split_address(address or "")[1]
                    for address in (config.rpc.listen, config.p2p.listen, config.metrics.listen)
                )
            ),
        )
        for home, config in zip(homes, configs, strict=True)
    )
    return LocalNetwork(Testnet(folder, genesis, nodes))


def give(network: LocalNetwork, index: int) -> None:
    """Copy node 0's chain and snapshots to another node; neither may run, and what it had is thrown away."""
    for name in (CHAIN_FOLDER, SNAPSHOTS_FOLDER):
        source, target = (network.nodes[i].home / DATA_FOLDER / name for i in (0, index))
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target)


def wipe(network: LocalNetwork, index: int) -> None:
    """Throw away everything that a node knows but its keys and configuration."""
    home = network.nodes[index].home
    shutil.rmtree(home / DATA_FOLDER, ignore_errors=True)
    (home / FRESH_KEY_FILE).unlink(missing_ok=True)


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
