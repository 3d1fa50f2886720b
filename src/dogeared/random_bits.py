"""Random bits for a CPU, drawn by several threads, from one number of torch's generator.

Torch draws one number after the other, in one thread, with a generator (Mersenne Twister) that takes twice as long as
numpy's SFC64. Here pieces of fixed size are drawn side by side, each by a generator of its own, seeded by the number
and by its place: so the bits depend on torch's seed alone, and not on how many threads there are.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from jaxtyping import Int8
from torch import Tensor

__all__ = ["random_bits"]

_WORDS = 1 << 16
"""Of 64 bits, in a piece: 120 microseconds of drawing, of which the seed is a tenth."""
_NUMBERS_A_WORD = 8


def random_bits(shape: Sequence[int]) -> Int8[Tensor, "*shape"]:
    """Draw numbers of eight bits, of which each of the 256 is as likely.

    Args:
        shape: Of the tensor, which lies on the CPU.
    """
    seed = int(torch.empty((), dtype=torch.int64).random_())
    count = int(np.prod(shape, dtype=np.int64))
    words = np.empty(-(-count // _NUMBERS_A_WORD), dtype=np.uint64)
    pieces = range(-(-len(words) // _WORDS))
    threads = min(torch.get_num_threads(), len(pieces))

    def draw(first: int) -> None:
        for piece in pieces[first::threads]:
            part = words[piece * _WORDS : (piece + 1) * _WORDS]
            part[:] = np.random.SFC64([seed, piece]).random_raw(len(part))

    others = [_pool().submit(draw, first) for first in range(1, threads)]
    if pieces:
        draw(0)
    for other in others:
        other.result()
    return torch.from_numpy(words.view(np.int8)[:count]).view(tuple(shape))


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="random-bits")


# A process that was forked has the pool and none of its threads, and would wait for them for ever.
os.register_at_fork(after_in_child=_pool.cache_clear)
