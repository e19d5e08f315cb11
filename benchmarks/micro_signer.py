"""What a vote's signature costs, by where the key lies: in the node, in a signer's process, in a token.

    .venv/bin/python -m benchmarks.micro_signer [--votes 500]

Each signature has its record on the disk of the folder given (default: the system's temporary folder) before it is
handed out, as in production. The token is SoftHSM2 where it is installed.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmarks.report import save
from node.chain.certificate import Network
from node.chain.genesis import genesis_hash
from node.config import Config, NodeConfig, SignerConfig, config_text
from node.consensus.messages import UNSIGNED, Commit, Promise, Status
from node.crypto.signing import Ed25519Signer
from node.signer.contract import ConsensusSigner
from node.signer.local import HeldKeys, LocalSigner
from node.signer.opening import PIN_VARIABLE
from node.signer.remote import SocketSigner
from node.signer.token import TokenAddress, TokenKeys, make_token_key
from node.state.kv import KeyValueStore, MemoryStore
from node.state.leveldb import open_leveldb
from tools.testnet import write_testnet

MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN: Final = "5678"


def commit(height: int) -> Promise:
    """Return one vote."""
    return Commit(0, height, 0, bytes(32), 0, UNSIGNED)


def microseconds(action: Callable[[int], object], count: int) -> list[float]:
    """Return how long each of so many calls took, ascending."""
    times = []
    for number in range(1, count + 1):
        started = time.perf_counter()
        action(number)
        times.append((time.perf_counter() - started) * 1e6)
    return sorted(times)


def measure(name: str, signer: ConsensusSigner, count: int, figures: dict[str, object]) -> None:
    """Sign votes, then what needs no record; p10 is what it takes where nobody else wants the machine."""
    status = Status(0, 1, 0, 0, False, b"", b"", b"", b"", None, 0, UNSIGNED)
    votes = microseconds(lambda height: signer.sign(commit(height)), count)
    states = microseconds(lambda _: signer.sign_status(status), count)
    figures[f"vote, {name}, p10 us"] = round(votes[len(votes) // 10])
    figures[f"vote, {name}, median us"] = round(votes[len(votes) // 2])
    figures[f"vote, {name}, p99 us"] = round(votes[len(votes) * 99 // 100])
    figures[f"without record, {name}, p10 us"] = round(states[len(states) // 10])


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--votes", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        testnet = write_testnet(folder / "net", validators=4, base_port=8_600)
        network = Network(testnet.document.chain_id, genesis_hash(testnet.document))
        in_process(folder, network, options.votes, figures)
        in_other_process(testnet.nodes[0].home, network, options.votes, figures)
        in_token(folder, network, options.votes, figures)
    save("micro_signer", "python -m benchmarks.micro_signer", figures)


def in_process(folder: Path, network: Network, votes: int, figures: dict[str, object]) -> None:
    """The key in the node."""
    keys = HeldKeys(Ed25519Signer(bytes(32)))
    stores: dict[str, KeyValueStore] = {"no disk": MemoryStore(), "local": open_leveldb(folder / "local")}
    for name, store in stores.items():
        measure(name, LocalSigner(keys, network, store), votes, figures)
        store.close()


def in_other_process(home: Path, network: Network, votes: int, figures: dict[str, object]) -> None:
    """The key behind a socket."""
    with signer_of(home, network) as signer:
        measure("socket", signer, votes, figures)


@contextlib.contextmanager
def signer_of(home: Path, network: Network) -> Iterator[SocketSigner]:
    """Start a home's signer and connect with it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.pila", "signer", "run", "--home", str(home)], stderr=subprocess.DEVNULL
    )
    try:
        while not (home / "signer.sock").exists():
            if process.poll() is not None:
                raise RuntimeError("the signer has ended")
            time.sleep(0.05)
        signer = SocketSigner.open(home / "signer.sock", network)
        yield signer
        signer.close()
    finally:
        process.terminate()
        process.wait()


def in_token(folder: Path, network: Network, votes: int, figures: dict[str, object]) -> None:
    """The key in SoftHSM2, in the node and behind a socket."""
    if not MODULE.exists() or shutil.which("softhsm2-util") is None:
        figures["token"] = "SoftHSM2 is not installed"
        return
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    words = ["softhsm2-util", "--init-token", "--free", "--label", "pila", "--so-pin", "1234", "--pin", PIN]
    subprocess.run(words, check=True, capture_output=True)
    address = TokenAddress(str(MODULE), "pila", "pila-consensus")
    make_token_key(address, PIN)
    keys = TokenKeys(address, PIN)
    with open_leveldb(folder / "token") as store:
        measure("PKCS#11", LocalSigner(keys, network, store), votes, figures)
    keys.close()
    home = write_testnet(folder / "net2", validators=4, base_port=8_600).nodes[0].home
    shutil.copyfile(folder / "net" / "genesis.json", home / "genesis.json")
    token = SignerConfig(kind="pkcs11", module=str(MODULE), token="pila")
    (home / "config.toml").write_text(config_text(Config(NodeConfig("seg.guanajuato.gob.mx"), signer=token)))
    os.environ[PIN_VARIABLE] = PIN
    with signer_of(home, network) as signer:
        measure("PKCS#11 behind a socket", signer, votes, figures)


if __name__ == "__main__":
    main()
