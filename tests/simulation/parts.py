"""What simulated machines are made of: keys that only their owners can use, and a crash."""

import hashlib

from node.crypto.hashing import sha256
from node.crypto.signing import Algorithm, Ed25519Signer, Signer
from node.crypto.verified import SignatureCache
from node.primitives import Hash, PublicKey, Signature

VERIFIED_MAX = 100_000


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


class SharedSignatures(SignatureCache):
    """What all machines together have verified; what one believes of its own signature is nothing to the others."""

    def trust(self, public_key: PublicKey, digest: Hash, signature: Signature) -> None:
        """Remember nothing that nobody has verified."""


class KeyRing:
    """The keys of one simulated network and how their signatures are checked."""

    def __init__(self, count: int, seed: int, *, real: bool) -> None:
        self._is_real = real
        self._by_public_key: dict[PublicKey, Signer] = {}
        self._verified: dict[bytes, bool] = {}
        """What was found before: each machine asks for itself, and the answer is always the same."""
        self.signers: list[Signer] = [self.make(f"{seed}/{index}") for index in range(count)]

    def make(self, name: str) -> Signer:
        """Return the key of a name, for those who join later or swap theirs."""
        seed = sha256(name.encode())
        signer: Signer = Ed25519Signer(seed) if self._is_real else KeyedHashSigner(seed)
        self._by_public_key[signer.public_key] = signer
        return signer

    def sign_elsewhere(self, public_key: PublicKey, digest: Hash) -> Signature:
        """Sign as the owner of a key may have done in another network or epoch; `digest` must be from there."""
        return self._by_public_key[public_key].sign(digest)

    def verify(self, public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
        """A keyed hash is checked by making it again; Ed25519 is deterministic, so it may be too."""
        place = public_key + digest + signature
        found = self._verified.get(place)
        if found is None:
            signer = self._by_public_key.get(public_key)
            found = signer is not None and signer.sign(digest) == signature
            if len(self._verified) >= VERIFIED_MAX:
                self._verified.clear()
            self._verified[place] = found
        return found
