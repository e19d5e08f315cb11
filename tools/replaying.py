"""A replayed recording for people and for programs: one line or one object for each input."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec

from node.chain.block import Block
from node.consensus.inputs import Input
from node.recording import Outcome, Replayed


def as_object(number: int, step: Replayed) -> dict[str, Any]:
    """Return one input, what came of it, and whether it is what was recorded."""
    return {
        "number": number,
        "input": plain(step.event),
        "effects": [plain(effect) for effect in step.effects],
        "refusal": None if step.refusal is None else {"reason": step.refusal.reason, "detail": step.refusal.detail},
        "failure": step.failure,
        "recorded": None if step.recorded is None else plain(step.recorded),
        "as_recorded": step.is_as_recorded,
    }


def as_line(number: int, step: Replayed) -> str:
    """Return one input and what came of it."""
    if step.failure is not None:
        came = f"THE CORE FAILS: {step.failure}"
    elif step.refusal is not None:
        came = f"refused: {step.refusal}"
    else:
        came = ", ".join(_name(effect) for effect in step.effects) or "nothing"
    line = f"{number:>6}  {_time(step.event)}  {_name(step.event)} → {came}"
    if step.recorded is None:
        return f"{line}  (the node ended here)"
    return line if step.is_as_recorded else f"{line}\n        RECORDED: {_recorded(step.recorded)}"


def plain(value: object) -> Any:  # noqa: ANN401 – JSON
    """Return a value as JSON: bytes in hex, blocks by their hash."""
    match value:
        case Block():
            height, count = value.header.height, len(value.transactions)
            return {"type": "Block", "hash": value.hash().hex(), "height": height, "transactions": count}
        case Enum():
            return value.value if isinstance(value.value, str) else value.name.lower()
        case bytes():
            return value.hex()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case tuple() | list():
            return [plain(item) for item in value]
        case msgspec.Struct():
            content = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            return {"type": type(value).__name__, **content}
        case _ if is_dataclass(value):
            content = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
            return {"type": type(value).__name__, **content}
        case _:
            return value


def _time(event: Input) -> str:
    when = datetime.fromtimestamp(event.now_ms / 1_000, UTC)
    return when.strftime("%H:%M:%S.") + f"{event.now_ms % 1_000:03d}"


def _name(value: object) -> str:
    """Return what an input, an effect or a message is, with whom and where it concerns."""
    words = [type(value).__name__]
    content = [(name, getattr(value, name)) for name in _field_names(value)]
    for name, item in content:
        if name in ("height", "view") and isinstance(item, int):
            words.append(f"{name[0]}{item}")
        elif name in ("sender", "receiver"):
            words.append(f"{'from' if name == 'sender' else 'to'} {item}")
        elif name == "block_hash" and isinstance(item, bytes):
            words.append(item.hex()[:8])
        elif isinstance(item, Block):
            words.append(f"block {item.header.height} {item.hash().hex()[:8]}")
        elif name in ("message", "record", "timer", "head"):
            words.append(f"[{_name(item)}]" if name != "head" else _name(item).partition(" ")[2])
    return " ".join(words)


def _field_names(value: object) -> tuple[str, ...]:
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    return tuple(field.name for field in fields(value)) if is_dataclass(value) else ()


def _recorded(outcome: Outcome) -> str:
    if outcome.refusal is not None:
        return f"refused: {outcome.refusal[0]}: {outcome.refusal[1]}"
    return ", ".join(f"{name} {digest.hex()[:8]}" for name, digest in outcome.effects) or "nothing"
