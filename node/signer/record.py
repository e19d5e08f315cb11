"""The durable record of what a consensus key has signed: it only grows, and nobody else writes it.

Positions are (epoch, height, view, step). The record holds every statement of the latest height and the
highest position of all. A restored one may hold a position without its statement: what was signed there,
or below, is not known, so it is not signed again.
"""

from typing import Final, TypeAlias

from node.errors import StorageError
from node.primitives import HASH_BYTES, SIGNATURE_BYTES, Hash, Signature
from node.state.keys import Column
from node.state.kv import KeyValueStore, WriteBatch

Position: TypeAlias = tuple[int, int, int, int]
"""(epoch, height, view, step); grows with everything a correct replica signs."""
Statement: TypeAlias = tuple[Hash, Signature]
"""The digest that was signed and the bytes that were handed out."""

_WIDTHS: Final = (4, 8, 4, 1)
UNKNOWN: Final = b""
"""Stored where something was signed of which only the position is known."""


class SigningRecord:
    """The only reader and writer of the signer's column, in a store of its own."""

    def __init__(self, store: KeyValueStore) -> None:
        """Read the record. Raises: StorageError where it is damaged."""
        self._store = store
        self._signed: dict[Position, Statement | None] = {}
        for name, value in store.iterate(prefix=Column.SIGNER.value):
            self._signed[_position(name)] = _statement(name, value)

    @property
    def last(self) -> Position | None:
        """The highest position ever signed; None for a new key."""
        return max(self._signed, default=None)

    def __contains__(self, position: Position) -> bool:
        """Tell whether something was signed at exactly this position of the latest height."""
        return position in self._signed

    def at(self, position: Position) -> Statement | None:
        """Return what was signed at a position; None where nothing was, or nobody knows what."""
        return self._signed.get(position)

    def highest_view(self, epoch: int, height: int, step: int) -> int | None:
        """Return the highest view of a height in which this step was signed; None for none, or of an earlier height."""
        views = (place[2] for place in self._signed if (*place[:2], place[3]) == (epoch, height, step))
        return max(views, default=None)

    def append(self, position: Position, statement: Statement | None) -> None:
        """Write a statement durably before its signature is handed out; earlier heights are forgotten.

        `None`: only the position is known. Raises: StorageError.
        """
        last = self.last
        assert last is None or position > last, f"{position} lies not beyond {last}"
        passed = [place for place in self._signed if place[:2] < position[:2]]
        batch = WriteBatch()
        for place in passed:
            batch.delete(_name(place))
        batch.put(_name(position), UNKNOWN if statement is None else b"".join(statement))
        self._store.write(batch, sync=True)
        for place in passed:
            del self._signed[place]
        self._signed[position] = statement


def _name(position: Position) -> bytes:
    parts = [part.to_bytes(width, "big") for part, width in zip(position, _WIDTHS, strict=True)]
    return Column.SIGNER.key(b"".join(parts))


def _position(name: bytes) -> Position:
    if len(name) != 1 + sum(_WIDTHS):
        raise StorageError(f"the signer's record holds a key that is none of its own: {name.hex()}")
    return (
        int.from_bytes(name[1:5], "big"),
        int.from_bytes(name[5:13], "big"),
        int.from_bytes(name[13:17], "big"),
        name[17],
    )


def _statement(name: bytes, value: bytes) -> Statement | None:
    if value == UNKNOWN:
        return None
    if len(value) != HASH_BYTES + SIGNATURE_BYTES:
        raise StorageError(
            f"the signer's record of {_position(name)} is damaged: {len(value)} bytes instead of "
            f"{HASH_BYTES + SIGNATURE_BYTES}; move the journal and this record away together, "
            "and the node listens before it signs"
        )
    return value[:HASH_BYTES], value[HASH_BYTES:]
