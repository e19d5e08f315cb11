"""How things look in JSON-RPC: hex, times, pages, and the views that several methods share.

Bytes are lower-case hex without prefix, heights are numbers, times are RFC 3339 UTC with three
decimals, decimals are numbers. Source: INTERFACE §3.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Annotated, Final, Generic, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from node.chain.records.common import Act, Credits, Level, Translations
from node.crypto.signing import Algorithm
from node.documents.times import to_text
from node.limits import RPC_PAGE_ITEMS_MAX, TRANSACTION_BYTES_MAX
from node.primitives import CATALOGUE_ID_PATTERN, INSTITUTION_ID_PATTERN, UINT_MAX, TimestampMs
from node.rpc.jsonrpc import ErrorCode, RpcError

T = TypeVar("T")

END: Final = r"(?!\n)"
"""Behind `$`, which in Python also matches before a last line break; JSON Schema's dialect reads it alike."""

Hex32: TypeAlias = Annotated[
    str, Meta(pattern="^[0-9a-f]{64}$", min_length=64, max_length=64, description="32 bytes in lower-case hex")
]
Hex: TypeAlias = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$", description="bytes in lower-case hex")]
TransactionHex: TypeAlias = Annotated[
    str,
    Meta(
        pattern="^([0-9a-f]{2})+$" + END,
        max_length=2 * TRANSACTION_BYTES_MAX,
        description="canonical bytes of a signed transaction in lower-case hex",
    ),
]
HeightNumber: TypeAlias = Annotated[int, Meta(ge=0, le=UINT_MAX, description="number of a block")]
Time: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        description="RFC 3339, UTC, three decimals",
    ),
]
Institution: TypeAlias = Annotated[
    str, Meta(pattern=INSTITUTION_ID_PATTERN + END, min_length=3, max_length=63, description="id such as `ugto.mx`")
]
CatalogueId: TypeAlias = Annotated[
    str, Meta(pattern=CATALOGUE_ID_PATTERN + END, max_length=135, description="`<institution>/<slug>/<version>`")
]
ShortText: TypeAlias = Annotated[str, Meta(max_length=200)]
Cursor: TypeAlias = Annotated[str, Meta(max_length=200, description="`next_cursor` of the page before")]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=RPC_PAGE_ITEMS_MAX, description="items of a page")]
Texts: TypeAlias = dict[str, str]
"""One text in several languages, by ISO 639 code."""

LIMIT_DEFAULT: Final = 100


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list."""

    items: list[T]
    next_cursor: str | None
    """Nil on the last page."""


class ActView(msgspec.Struct, frozen=True):
    """That somebody did something: in which block, and with which keys."""

    height: HeightNumber
    time: Time
    actor: Institution
    keys: list[str]
    """`<institution>/<key id>` of every key that signed."""
    required: int
    """How many signatures the rule asked for; 0 for the genesis."""


class CreditsView(msgspec.Struct, frozen=True):
    """Credits in one framework; never converted silently."""

    framework: str
    value: float


class LevelView(msgspec.Struct, frozen=True):
    """A level in a qualifications framework."""

    framework: str
    value: int


class Check(msgspec.Struct, frozen=True):
    """One light of a verification."""

    name: str
    """document, issued, issuer, key, status, dates, components or network."""
    ok: bool
    text: Texts
    """One sentence in Spanish and in English."""
    detail: str


class Verification(msgspec.Struct, frozen=True):
    """What a bundle proves, light by light."""

    verified: bool
    checks: list[Check]


@lru_cache(maxsize=4_096)
def time_text(time_ms: TimestampMs) -> Time:
    """Return a time as `2026-11-23T18:00:00.000Z`; the same block times are asked for again and again."""
    return to_text(time_ms)


def texts(translations: Translations) -> Texts:
    """Return translations by language."""
    return {item.language: item.text for item in translations}


def act_view(act: Act) -> ActView:
    """Return an act as JSON shows it."""
    signers = [f"{key.institution}/{key.key_id.hex()}" for key in act.keys]
    return ActView(act.height, time_text(act.time_ms), act.actor, signers, act.required)


def credits_view(credits_: Credits) -> CreditsView:
    """Return credits as JSON shows them."""
    return CreditsView(credits_.framework, credits_.value_hundredths / 100)


def level_view(level: Level) -> LevelView:
    """Return a level as JSON shows it."""
    return LevelView(level.framework, level.value)


def algorithm_name(algorithm: int) -> str:
    """Return `ed25519`, `p256`, or the number of an algorithm that this version does not know."""
    try:
        return Algorithm(algorithm).name.lower()
    except ValueError:
        return str(algorithm)


def page_of(ids: Iterable[str], limit: int) -> tuple[list[str], str | None]:
    """Return the ids of one page and the next cursor; `ids` ascend from above the cursor on.

    A cursor is the last id shown, so a list that grows between two pages neither repeats nor loses anything.
    """
    chosen = list(islice(ids, limit + 1))
    return chosen[:limit], chosen[limit - 1] if len(chosen) > limit else None


def not_found(what: str) -> RpcError:
    """Return the error of INTERFACE §3 for something that is not there."""
    return RpcError(ErrorCode.NOT_FOUND, what)


def invalid(what: str) -> RpcError:
    """Return the error for parameters that contradict each other."""
    return RpcError(ErrorCode.INVALID_PARAMS, what)
