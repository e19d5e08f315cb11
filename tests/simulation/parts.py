"""What a simulated machine is made of: a key, a disk that can lose its tail, and a crash."""

import hashlib
from collections.abc import Callable, Iterator

from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm, Ed25519Signer, Signer
from node.primitives import Hash, PublicKey, Signature
from node.state.kv import MemoryStore, WriteBatch


class SimulatedCrash(Exception):
    """The machine stops here: nothing in memory survives."""


class KeyedHashSigner:
    """Signs by a keyed hash: fast, deterministic, and nobody else in the simulation has the secret."""

    algorithm = Algorithm.ED25519

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self.public_key: PublicKey = sha256(b"public" + seed)

    def sign(self, digest: Hash) -> Signature:
        return hashlib.blake2b(digest, key=self._seed, digest_size=64).digest()


class KeyRing:
    """The keys of one simulated network and how their signatures are checked."""

    def __init__(self, count: int, seed: int, *, real: bool) -> None:
        seeds = [sha256(f"{seed}/{index}".encode()) for index in range(count)]
        self.signers: list[Signer] = [Ed25519Signer(s) if real else KeyedHashSigner(s) for s in seeds]
        self._by_public_key = {signer.public_key: signer for signer in self.signers}

    def verify(self, public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
        """A keyed hash is checked by making it again; Ed25519 is deterministic, so it may be too."""
        signer = self._by_public_key.get(public_key)
        return signer is not None and signer.sign(digest) == signature


class SimulatedDisk:
    """A key-value store whose unsynced tail may be lost in a crash, any suffix of it."""

    def __init__(self) -> None:
        self._durable = MemoryStore()
        self._visible = MemoryStore()
        self._unsynced: list[WriteBatch] = []
        self.before_write: Callable[[], None] = lambda: None
        self.after_write: Callable[[], None] = lambda: None

    def get(self, key: bytes) -> bytes | None:
        return self._visible.get(key)

    def iterate(
        self, *, prefix: bytes = b"", start: bytes | None = None, stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self._visible.iterate(prefix=prefix, start=start, stop=stop, reverse=reverse)

    def write(self, batch: WriteBatch, *, sync: bool) -> None:
        self.before_write()
        self._visible.write(batch, sync=sync)
        self._unsynced.append(batch)
        if sync:
            self._flush(len(self._unsynced))
        self.after_write()

    def approximate_bytes(self) -> int:
        return self._visible.approximate_bytes()

    def close(self) -> None:
        pass

    def crash(self, surviving: int) -> None:
        """Lose memory: of the batches not synced only the first `surviving` reached the disk."""
        self._flush(min(surviving, len(self._unsynced)))
        self._unsynced = []
        self._visible = self._durable.copy()

    def _flush(self, count: int) -> None:
        for batch in self._unsynced[:count]:
            self._durable.write(batch, sync=True)
        self._unsynced = self._unsynced[count:]

    @property
    def unsynced(self) -> int:
        return len(self._unsynced)

    def wipe(self) -> None:
        """The operator has lost this disk."""
        self._durable, self._visible, self._unsynced = MemoryStore(), MemoryStore(), []
