"""What the pages show, as values, and the protocol that answers them.

`node/web/network.py` fills it from a running node; tests fill it with what they want to see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from node.documents.answer import Answer
from node.primitives import Hash, Height, InstitutionId, TimestampMs


@dataclass(frozen=True, slots=True)
class ValidatorState:
    """One validator of the present set."""

    institution: InstitutionId
    names: Mapping[str, str]
    """Display name by ISO 639 code."""
    took_part: bool | None
    """Whether its commit is in the certificate of the last block; None where there is no certificate."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is on the chain."""

    institutions: int
    definitions: int
    pathways: int
    transactions: int
    credentials_issued: int
    credentials_revoked: int


@dataclass(frozen=True, slots=True)
class NetworkState:
    """The network as this node sees it."""

    chain_id: str
    genesis_hash: Hash
    height: Height
    block_hash: Hash
    block_time_ms: TimestampMs
    now_ms: TimestampMs
    """This machine's time, for the age of the last block."""
    institution: InstitutionId
    """Who runs this node."""
    version: str
    syncing: bool
    validators: tuple[ValidatorState, ...]
    """In set order."""
    quorum: int
    """How many validators must agree on a block."""
    peers: int
    """Connections that stand."""
    counts: Counts


class PageView(Protocol):
    """All that the pages ask of a node."""

    def network_state(self) -> NetworkState:
        """Return the network as it is now."""
        ...

    def institution_names(self, institution: InstitutionId) -> Mapping[str, str]:
        """Return the display name by ISO 639 code; empty where the chain does not know the institution."""
        ...

    async def verify_bundle(self, bundle: bytes, *, is_file: bool) -> Answer:
        """Verify a bundle as `credential_verify` does.

        `is_file`: these are a file's exact bytes; else any JSON of it, as people paste it.
        Raises: RpcError(LIMIT_EXCEEDED) when there is no room or time for it.
        """
        ...
