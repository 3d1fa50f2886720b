"""A side of a benchmark in a process of its own.

What the package does to a process, such as keeping the memory that is freed, speeds up whatever else runs there. The
textbook is timed as somebody has it who does not use the package.
"""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Self

import torch

from benchmarks.speed.rows import Seconds

__all__ = ["Apart"]

_made: Any = None


class Apart:
    """An object that lives in another process, which takes as many threads as this one. To be used in a ``with`` block.

    Args:
        make: Makes the object there: a function at the top of a module.
        arguments: Of ``make``.
    """

    def __init__(self, make: Callable[..., Any], *arguments: Any) -> None:
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_make,
            initargs=(torch.get_num_threads(), make, arguments),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the object, and return what it returns."""
        return self._pool.submit(_call, method, arguments).result()

    def seconds(self, clock: Callable[[], float], method: str, *arguments: Any) -> Seconds:
        """Return how long a method takes there."""
        return self._pool.submit(_timed, clock, method, arguments).result()


def _make(threads: int, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _made
    torch.set_num_threads(threads)
    _made = make(*arguments)


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_made, method)(*arguments)


def _timed(clock: Callable[[], float], method: str, arguments: tuple[Any, ...]) -> Seconds:
    began = clock()
    _call(method, arguments)
    return Seconds(clock() - began)
