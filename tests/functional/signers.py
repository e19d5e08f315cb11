"""Validators whose key is not in their node: a signer's process that can be killed, and a SoftHSM2 token."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from node.chain.genesis import genesis_json
from node.chain.validator_set import Validator
from node.config import GENESIS_FILE
from tests.conftest import require
from tests.functional import harness
from tools.local_network import LocalNetwork
from tools.signer_home import set_options

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN = "pila-test"
PIN = "5678"


class SignerProcess:
    """`pila signer run` as a child process; its log lies in its home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = harness.start_pila("signer", "run", "--home", self.home, log=self.home / "signer.log")
        deadline = time.monotonic() + harness.PATIENCE_S
        while not self._listens():
            assert self._process.poll() is None, (self.home / "signer.log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the signer does not listen"
            time.sleep(0.02)

    def _listens(self) -> bool:
        """Whether it takes a connection; the file of its socket may be left over from before."""
        with socket.socket(socket.AF_UNIX) as caller, contextlib.suppress(OSError):
            caller.connect(str(self.home / "signer.sock"))
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill it with -9: its socket's file stays behind."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> int:
        """Stop it in order and return its exit code."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        return self._process.wait(60)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None


def separate_signer(network: LocalNetwork, index: int) -> SignerProcess:
    """Give a validator that does not run yet a signer's process of its own."""
    home = network.nodes[index].home
    output = home.with_name(f"signer{index}")
    harness.pila("signer", "init", "--home", home, "--output", output)
    return SignerProcess(output)


@contextlib.contextmanager
def soft_token(folder: Path) -> Iterator[None]:
    """Make an empty token; every process started meanwhile finds it."""
    require(MODULE.exists() and shutil.which("softhsm2-util"), "SoftHSM2 (package softhsm2)")
    (folder / "tokens").mkdir(parents=True)
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    words = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--so-pin", "1234", "--pin", PIN]
    try:
        subprocess.run(words, check=True, capture_output=True)
        yield
    finally:
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


def move_into_token(network: LocalNetwork, index: int) -> None:
    """Make a validator's key in the token and write the network's genesis anew with it; before anything runs."""
    home = network.nodes[index].home
    pin_file = home / "keys" / "pin"
    pin_file.write_text(PIN + "\n", encoding="utf-8")
    pin_file.chmod(0o600)
    options = {"kind": "pkcs11", "module": str(MODULE), "token": TOKEN, "pin_file": "keys/pin"}
    set_options(home / "config.toml", "signer", options)
    key = bytes.fromhex(harness.pila("key", "hsm-new", "--home", home).json["public_key"])
    document = network.testnet.document
    institution = network.nodes[index].institution
    validators = tuple(
        Validator(member.institution, key if member.institution == institution else member.public_key)
        for member in document.validators
    )
    text = genesis_json(msgspec.structs.replace(document, validators=validators))
    for folder in (network.testnet.output, *(node.home for node in network.nodes)):
        (folder / GENESIS_FILE).write_text(text, encoding="utf-8")
