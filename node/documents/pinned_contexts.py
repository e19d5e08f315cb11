"""The JSON-LD contexts that documents may name: shipped, pinned by SHA-256, never fetched.

Source: CREDENTIALS, the profile; node/documents/contexts/README.md.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from node.crypto.hashing import sha256
from node.documents.jcs import Json

CREDENTIALS_V2: Final = "https://www.w3.org/ns/credentials/v2"
OPEN_BADGES_3: Final = "https://purl.imsglobal.org/spec/ob/v3p0/context-3.0.3.json"


@dataclass(frozen=True, slots=True)
class PinnedContext:
    """One context file of this package."""

    file: str
    sha256: str
    """Of the file's bytes, lower-case hex."""


PINNED: Final = {
    CREDENTIALS_V2: PinnedContext(
        "credentials-v2.json", "59955ced6697d61e03f2b2556febe5308ab16842846f5b586d7f1f7adec92734"
    ),
    OPEN_BADGES_3: PinnedContext(
        "open-badges-3.0.3.json", "ef2fa9c7846dce233cc166b43639027278be4ee44f00bb1d45c75de2dd0cd761"
    ),
}


@cache
def pinned_contexts() -> dict[str, Json]:
    """Return the parsed contexts by URL; a changed file is our own corruption and stops the process."""
    contexts: dict[str, Json] = {}
    for url, pinned in PINNED.items():
        data = files("node.documents.contexts").joinpath(pinned.file).read_bytes()
        assert sha256(data).hex() == pinned.sha256, f"{pinned.file} is not the pinned file"
        contexts[url] = json.loads(data)
    return contexts
