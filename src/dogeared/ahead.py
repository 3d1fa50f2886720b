"""Make what comes next in a thread of its own, while what came before is in use.

Text becomes tokens on the CPU. Whoever encodes a corpus, or computes on a GPU, would wait for that: so the next texts
are made ready while these are computed.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Ahead", "ahead"]

_Item = TypeVar("_Item")
_Made = TypeVar("_Made")


class Ahead(Generic[_Item, _Made]):
    """Make things one by one, the next one ahead; as a context, so that its thread ends with the block.

    Args:
        work: Makes a thing; depends on nothing but the item, and may be called in another thread.
        in_thread: Whether it is; where not, everything is made when it is asked for.
    """

    def __init__(self, work: Callable[[_Item], _Made], *, in_thread: bool = True) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(1) if in_thread else None
        self._coming: dict[_Item, Future[_Made]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def take(self, item: _Item, *, then: _Item | None = None) -> _Made:
        """Return what is made of an item, and begin with the one that will be asked for next, if one is named."""
        coming = self._coming.pop(item, None)
        made = self._work(item) if coming is None else coming.result()
        if then is not None and self._pool is not None:
            self._coming[then] = self._pool.submit(self._work, then)
        return made

    def settle(self) -> None:
        """Wait until nothing is being made: a tokenizer serves one thread at a time."""
        wait(self._coming.values())


def ahead(work: Callable[[_Item], _Made], items: Iterable[_Item], *, in_thread: bool = True) -> Iterator[_Made]:
    """Yield what is made of each item, one item ahead; items may not repeat.

    >>> list(ahead(str, range(3)))
    ['0', '1', '2']
    """
    left = iter(items)
    item = next(left, None)
    with Ahead(work, in_thread=in_thread) as making:
        while item is not None:
            following = next(left, None)
            yield making.take(item, then=following)
            item = following
