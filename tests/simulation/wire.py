"""Reading parcels once for all who get them: what is decoded is immutable, so machines may share it.

The replica's own decoding stays as it is in a share of the seeds, see `sharing`.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from unittest import mock

from node.wire import decode_message

PARCELS_REMEMBERED_MAX = 8_192
decoded = lru_cache(maxsize=PARCELS_REMEMBERED_MAX)(decode_message)
"""As `node.wire.decode_message`, remembered; what is refused is refused anew each time."""


def sharing(*, each_for_itself: bool) -> AbstractContextManager[object]:
    """Let replicas share what was decoded, or not."""
    if each_for_itself:
        return nullcontext()
    return mock.patch("node.replica.decode_message", decoded)
