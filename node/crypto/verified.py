"""Each distinct signature is verified once in a process: consensus, certificates and sync share what was found.

The key of an entry is everything that a verification depends on, so an answer never changes. Bad signatures are
remembered apart: who sends forged ones pushes out other forged ones only.
"""

from collections.abc import Callable

from node.limits import REFUSED_SIGNATURES_MAX, VERIFIED_SIGNATURES_MAX
from node.primitives import Hash, PublicKey, Signature


class SignatureCache:
    """Checks a signature, or remembers the answer; the oldest answers are forgotten beyond the bounds."""

    def __init__(self, verify: Callable[[PublicKey, Hash, Signature], bool]) -> None:
        self._verify = verify
        self._good: dict[bytes, None] = {}
        """Key, digest and signature one after the other: 128 bytes; at most VERIFIED_SIGNATURES_MAX, oldest first."""
        self._bad: dict[bytes, None] = {}
        """The same; at most REFUSED_SIGNATURES_MAX."""
        self.verifications = 0
        """How many had to be computed."""

    def __call__(self, public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
        """Tell whether a signature holds."""
        place = public_key + digest + signature
        if place in self._good:  # [B3]
            return True
        if place in self._bad:
            return False
        self.verifications += 1
        if self._verify(public_key, digest, signature):
            _remember(self._good, place, VERIFIED_SIGNATURES_MAX)
            return True
        _remember(self._bad, place, REFUSED_SIGNATURES_MAX)
        return False

    def trust(self, public_key: PublicKey, digest: Hash, signature: Signature) -> None:
        """Take note of a signature that our own signer has just made."""
        _remember(self._good, public_key + digest + signature, VERIFIED_SIGNATURES_MAX)


def _remember(places: dict[bytes, None], place: bytes, places_max: int) -> None:
    if place not in places and len(places) >= places_max:
        del places[next(iter(places))]
    places[place] = None
