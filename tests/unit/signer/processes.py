"""A signer's process for unit tests: the real one, in a thread of this process, at a real socket."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from node.chain.certificate import Network
from node.signer.local import LocalSigner
from node.signer.process import SignerProcess


@contextlib.contextmanager
def serving(signer: LocalSigner, network: Network, path: Path) -> Iterator[SignerProcess]:
    """Let a signer answer at a path until the block ends."""
    process = SignerProcess(signer, network, path)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=process.serve, args=(theirs,))
    thread.start()
    try:
        yield process
    finally:
        ours.send(b"x")
        thread.join()
        ours.close()
        theirs.close()
