"""Reading parcels once for all who get them: what is decoded is immutable, so machines may share it.

The same for the digest that a signature is checked against, a function of what was decoded. In a share of the
seeds, those with real signatures, every machine does all of it for itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from unittest import mock

from node.consensus.messages import signing_digest
from node.wire import decode_message

PARCELS_REMEMBERED_MAX = 8_192
decoded = lru_cache(maxsize=PARCELS_REMEMBERED_MAX)(decode_message)
"""As `node.wire.decode_message`, remembered; what is refused is refused anew each time."""
_digest = lru_cache(maxsize=PARCELS_REMEMBERED_MAX)(signing_digest)


@contextmanager
def sharing(*, each_for_itself: bool) -> Iterator[None]:
    """Let machines share what was decoded and digested, or not."""
    if each_for_itself:
        yield
        return
    with (
        mock.patch("node.replica.decode_message", decoded),
        mock.patch("node.consensus.verification.signing_digest", _digest),
    ):
        yield
