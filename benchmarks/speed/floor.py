"""What the machine can do at best, measured; and what a Fusion-in-Decoder reader must do at least, counted.

The rate of matrix products is that of large square ones in the library that everybody uses here, in the wanted
precision, with the threads of the run. The floor of a step is the floating-point operations of the products that the
model defines, on real tokens only, at that rate: no padding, no norm, no softmax, no copy. A pair of multiplication and
addition counts as two operations.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch

from benchmarks.speed.rows import best_seconds

__all__ = ["ReaderShape", "matrix_rate", "read_bandwidth", "scoring_flops", "training_flops"]


@dataclass(frozen=True, kw_only=True)
class ReaderShape:
    """The sizes of a T5: what its operations are counted from."""

    dim: int
    heads: int
    inner: int
    feed_forward: int
    layers: int
    decoder_layers: int
    vocabulary: int


@cache
def matrix_rate(
    dtype: torch.dtype,
    *,
    clock: Callable[[], float] = time.perf_counter,
    size: int = 2048,
    repeats: int = 12,
    device: str = "cpu",
) -> float:
    """Return the operations per second of a large matrix product: the best of three sizes."""
    rates = []
    for rows in (size, 2 * size, 4 * size):
        left, right = (torch.randn(lines, size, device=device).to(dtype) for lines in (rows, size))

        def product(left: torch.Tensor = left, right: torch.Tensor = right) -> None:
            left @ right
            if device != "cpu":
                torch.accelerator.synchronize()

        with torch.inference_mode():
            seconds = best_seconds({"": product}, repeats=repeats, clock=clock)[""]
        rates.append(2 * rows * size * size / seconds)
    return max(rates)


@cache
def read_bandwidth(*, clock: Callable[[], float] = time.perf_counter, size: int = 1 << 30, repeats: int = 5) -> float:
    """Return the bytes per second at which a sum reads memory; ``size`` in bytes should outgrow every cache."""
    values = torch.zeros(size // 4)
    return size / best_seconds({"": values.sum}, repeats=repeats, clock=clock)[""]


def scoring_flops(shape: ReaderShape, lengths: Sequence[int]) -> float:
    """Count the operations of scoring one question: its pairs encoded, and one step of the decoder.

    That step is not counted: with a single query nobody need compute keys and values, and the rest is nothing.
    """
    return _encoder_flops(shape, lengths)


def training_flops(shape: ReaderShape, lengths: Sequence[int], *, output: int) -> float:
    """Count the operations of learning from one question: forward, and twice that backward.

    Of the two ways in which a decoder can attend, with keys and values or without, the one with fewer is counted.

    Args:
        shape: Of the reader.
        lengths: The tokens of each of its pairs.
        output: The tokens of its answer.
    """
    tokens = sum(lengths)
    per_output = 2 * (6 * shape.dim * shape.inner + 2 * shape.dim * shape.feed_forward) + 4 * output * shape.inner
    with_keys = tokens * 4 * shape.dim * shape.inner + output * 4 * tokens * shape.inner
    # Or queries go to the states, and what is summed of these becomes a value (reader/absorbed.py).
    without_keys = output * (4 * shape.dim * shape.inner + 4 * tokens * shape.heads * shape.dim)
    decoder = shape.decoder_layers * (output * per_output + min(with_keys, without_keys))
    head = 2 * output * shape.dim * shape.vocabulary
    return 3 * (_encoder_flops(shape, lengths) + decoder + head)


def _encoder_flops(shape: ReaderShape, lengths: Sequence[int]) -> float:
    linear = 2 * (4 * shape.dim * shape.inner + 2 * shape.dim * shape.feed_forward)
    return shape.layers * sum(length * (linear + 4 * length * shape.inner) for length in lengths)
