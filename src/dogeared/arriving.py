"""What a GPU computed, on its way to the CPU, waited for late and alone.

To ask a GPU's tensor for its numbers is to wait for everything that the GPU was told to do until then: it falls idle,
and stays so until it is told more. Here numbers set out as soon as they are computed, the GPU is told what comes next,
and only then are they waited for.

Not here: what is made ahead of a GPU (``ahead.py``).
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Arriving", "one_behind"]

_Item = TypeVar("_Item")


class Arriving:
    """A copy on the CPU of a tensor that may not be computed yet.

    Args:
        tensor: Of any device; from a GPU with CUDA the copy is made behind whatever the GPU was told to do until now.
    """

    def __init__(self, tensor: Tensor) -> None:
        is_later = tensor.device.type == "cuda"
        self._copy = tensor.detach().to("cpu", non_blocking=is_later)  # into memory that stays where it is
        self._event = torch.cuda.Event() if is_later else None
        if self._event is not None:
            self._event.record(torch.cuda.current_stream(tensor.device))

    def take(self) -> Tensor:
        """Return it once it is there; what the GPU was told to do since is not waited for."""
        if self._event is not None:
            self._event.synchronize()
        return self._copy


def one_behind(items: Iterable[_Item], *, wanted: bool = True) -> Iterator[_Item]:
    """Yield each item once the one after it has been made.

    Args:
        items: Made one by one, as they are asked for.
        wanted: Whether; where not, each is yielded at once.

    >>> def counted():
    ...     for number in range(3):
    ...         print("made", number)
    ...         yield number
    >>> for number in one_behind(counted()):
    ...     print("used", number)
    made 0
    made 1
    used 0
    made 2
    used 1
    used 2
    """
    if not wanted:
        yield from items
        return
    kept: list[_Item] = []
    for item in items:
        kept.append(item)
        if len(kept) > 1:
            yield kept.pop(0)
    yield from kept
