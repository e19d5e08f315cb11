"""The verifier's own trust anchor: which genesis hash it takes, and from where."""

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Final

from node.chain import genesis
from node.errors import ConfigError
from node.primitives import HASH_BYTES, Hash
from tools.console import read_bytes

GENESIS_VARIABLE: Final = "PILA_GENESIS"
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def trust_anchor(given: str | None) -> Hash | None:
    """Return the genesis hash to trust: from the option, PILA_GENESIS or the user's own file, else None.

    Raises: ConfigError when what is named is neither 64 hex digits nor a genesis document.
    """
    if given is not None:
        return _read_anchor(given)
    if GENESIS_VARIABLE in os.environ:
        return _read_anchor(os.environ[GENESIS_VARIABLE])
    own = Path.home() / ".config" / "pila" / "genesis"
    return _read_anchor(str(own)) if own.exists() else None


def _read_anchor(given: str) -> Hash:
    """Read a hash, a genesis document's member `genesis_hash`, or a file that holds just the hash."""
    if re.fullmatch(r"[0-9a-f]{64}", given):
        return bytes.fromhex(given)
    data = read_bytes(Path(given))
    if len(data) <= 2 * HASH_BYTES + 2 and re.fullmatch(rb"[0-9a-f]{64}\s*", data):
        return bytes.fromhex(data.decode().strip())
    try:
        return genesis.genesis_hash(genesis.parse_genesis(data))
    except ConfigError as error:
        raise ConfigError(f"{given}: neither 64 hex digits nor a genesis document: {error}") from None


def parse_age(text: str | None) -> int | None:
    """Read a maximum age such as `24h` in milliseconds. Raises: ConfigError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise ConfigError(f"--max-age {text!r}: expected a number with a unit, such as 30m, 24h or 7d")
    return int(timedelta(**{_UNITS[match[2]]: int(match[1])}).total_seconds() * 1000)
