"""What the pages show, as values, and the protocol that answers them.

`node/web/network.py` fills it from a running node; tests fill it with what they want to see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Light:
    """The answer to one question about a credential."""

    name: str
    """document, issued, issuer, key, status, dates, components or network (DOMAIN §6)."""
    ok: bool | None
    """None where the question does not arise or could not be answered; the text says which."""
    text: Mapping[str, str]
    """One sentence by ISO 639 code, Spanish and English."""
    detail: str
    """For specialists; may be empty."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the verifier says of a bundle."""

    verified: bool
    lights: tuple[Light, ...]


class PageView(Protocol):
    """All that the pages ask of a node."""

    def network_state(self) -> NetworkState:
        """Return the network as it is now."""
        ...

    async def verify_bundle(self, bundle: bytes) -> Answer:
        """Verify a bundle, byte for byte as it came, as `credential_verify` does.

        Raises: Rejected for what is no bundle; RpcError(LIMIT_EXCEEDED) when there is no room or time for it.
        """
        ...
