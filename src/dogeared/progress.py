"""How long work tells what it is doing, without knowing who listens.

A step opens a bar and advances it; the command line shows bars with rates and the time left, a library user sees
nothing unless they ask. This module draws nothing itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["Bar", "Reporter", "bar", "listen", "report_to"]


class Bar(Protocol):
    """One piece of work whose end is known."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Say that ``amount`` more units are done; ``note`` stands beside the bar."""
        ...


class Reporter(Protocol):
    """Whoever listens."""

    def start(self, name: str, total: int, unit: str) -> Bar:
        """Begin a piece of work of ``total`` units."""
        ...

    def stop(self, bar: Bar) -> None:
        """End it, finished or not."""
        ...


class _Silent:
    def start(self, name: str, total: int, unit: str) -> Bar:
        return self

    def stop(self, bar: Bar) -> None:
        pass

    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


_listener: ContextVar[Reporter] = ContextVar("listener", default=_Silent())  # noqa: B039 - it has no state


@contextmanager
def bar(name: str, *, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """Report a piece of work for the time of a ``with`` block.

    Args:
        name: What is done.
        total: How many units it has.
        unit: What a unit is, in the plural.
        done: How many were done before, such as the steps of an interrupted training.
    """
    reporter = _listener.get()
    started = reporter.start(name, total, unit)
    if done:
        started.advance(done)
    try:
        yield started
    finally:
        reporter.stop(started)


def report_to(reporter: Reporter) -> None:
    """Send all reports from now on to ``reporter``, as a program with a terminal wants; ``listen`` is for a block."""
    _listener.set(reporter)


@contextmanager
def listen(reporter: Reporter) -> Iterator[None]:
    """Send all reports of the block to ``reporter``."""
    token = _listener.set(reporter)
    try:
        yield
    finally:
        _listener.reset(token)
