"""Bugs planted on purpose, in tests only, to show that the simulator would see them.

A plant is a small edit of production source, made while it is planted: the function's text with one thing
replaced is compiled, and the function runs that code instead. An edit that no longer fits is an error, so the
plants stay what they say while the code changes. Which bugs there are: planted_rules.py,
planted_records.py, planted_churn.py.
"""

import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from types import FunctionType
from unittest import mock

from tests.simulation.plan import Plan, draw


@dataclass(frozen=True)
class Edit:
    """Replaces text inside one function of the production code."""

    where: str
    """`module:function` or `module:Class.method`."""
    old: str
    new: str

    @contextmanager
    def made(self) -> Iterator[None]:
        """Let the function run the edited code for a while."""
        module_name, _, path = self.where.partition(":")
        found: object = reduce(getattr, path.split("."), importlib.import_module(module_name))
        getter = found.fget if isinstance(found, property) else found
        assert callable(getter), self.where
        function = inspect.unwrap(getter)
        assert isinstance(function, FunctionType), self.where
        forget = getattr(getter, "cache_clear", lambda: None)
        real = function.__code__
        function.__code__ = self._edited(function).__code__
        forget()
        try:
            yield
        finally:
            function.__code__ = real
            forget()

    def _edited(self, function: FunctionType) -> FunctionType:
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self.where} holds {source.count(self.old)} times: {self.old}"
        lines = source.replace(self.old, self.new).splitlines()
        first = next(number for number, line in enumerate(lines) if line.startswith("def "))
        scope = dict(function.__globals__)
        exec(compile("\n".join(lines[first:]), f"<planted in {self.where}>", "exec"), scope)
        edited = scope[function.__name__]
        assert isinstance(edited, FunctionType)
        return edited


@dataclass(frozen=True)
class Setting:
    """Replaces a constant of a module."""

    module: str
    name: str
    value: object

    @contextmanager
    def made(self) -> Iterator[None]:
        """Let the module use another value for a while."""
        with mock.patch.object(importlib.import_module(self.module), self.name, self.value):
            yield


@dataclass(frozen=True)
class Plant:
    """One bug."""

    what: str
    """The bug, in a sentence."""
    changes: tuple[Edit | Setting, ...]
    draw: Callable[[int], Plan] = draw
    """Plans in which it can show itself."""


def plants() -> dict[str, Plant]:
    """Return all plants by name."""
    from tests.simulation.planted_churn import CHURN
    from tests.simulation.planted_records import RECORDS
    from tests.simulation.planted_rules import RULES

    return {**RULES, **RECORDS, **CHURN}


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Break one rule for a while; None breaks nothing."""
    with ExitStack() as stack:
        for change in plants()[name].changes if name is not None else ():
            stack.enter_context(change.made())
        yield
