"""Dropout that costs little on a CPU.

Torch draws a random number of its own for each element, which on a CPU takes longer than the matrix products around
it. Eight random bits decide as well (``random_bits.py``). A probability between two of the 256 that they can say is
taken as now the one and now the other, by a draw for the whole tensor that makes it right on the average: 0.1 lets 25
or 26 of 256 fall; never more than 255. What is kept is scaled by exactly the rate that it was drawn with. For the way
back the bits are kept, a byte an element, and where a ReLU comes before, nothing is but what comes out. On other
devices torch's own dropout does the work.

The numbers follow from torch's generator, so whatever seeds or restores that, seeds and restores this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from dogeared.random_bits import random_bits

__all__ = ["CheapDropout", "Drop", "cheap_dropout", "rectify_and_drop", "use_cheap_dropout"]

_LEVELS = 1 << 8


class CheapDropout(nn.Dropout):
    """Takes the place of ``nn.Dropout``."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Drop elements while training."""
        return cheap_dropout(input, self.p) if self.training else input


def use_cheap_dropout(model: nn.Module) -> None:
    """Replace every ``nn.Dropout`` of a model in place; probabilities stay."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if type(child) is nn.Dropout:
                setattr(part, name, CheapDropout(child.p).train(child.training))


@dataclass(frozen=True)
class Drop:
    """Which elements of a tensor on the CPU fall. Autograd sees nothing of it.

    Attributes:
        bits: A random number for each element.
        level: How many of the 256 let an element fall; at least one is left.
    """

    bits: Int8[Tensor, "*shape"]
    level: int

    @classmethod
    def of(cls, shape: Sequence[int], probability: float) -> "Drop":
        """Draw for a shape; the probability lies between 0 and 1."""
        below, beyond = divmod(probability * _LEVELS, 1)
        level = int(below) + int(torch.rand((), dtype=torch.float64).item() < beyond)
        return cls(random_bits(shape), min(level, _LEVELS - 1))

    @property
    def scale(self) -> float:
        """What is kept grows by it, so that the mean stays."""
        return _LEVELS / (_LEVELS - self.level)

    def kept(self, dtype: torch.dtype) -> Float[Tensor, "*shape"]:
        """Return 1 for what is kept and 0 for what falls; as numbers, by which a product is three times as fast."""
        return torch.ge(self.bits, self.level - _LEVELS // 2, out=torch.empty(self.bits.shape, dtype=dtype))

    def __call__(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Set elements to 0 and scale the others: one pass over the bits, and one over what is dropped."""
        return torch.addcmul(values.new_zeros(()), values, self.kept(values.dtype), value=self.scale)


def cheap_dropout(values: Float[Tensor, "*shape"], probability: float) -> Float[Tensor, "*shape"]:
    """Set elements to 0 with a probability, and scale the others so that the mean stays."""
    if probability == 0:
        return values
    if values.device.type != "cpu":
        return nn.functional.dropout(values, probability)
    dropped = _Dropped.apply(values, probability)
    assert isinstance(dropped, Tensor)
    return dropped


def rectify_and_drop(values: Float[Tensor, "*shape"], probability: float) -> Float[Tensor, "*shape"]:
    """Return ``cheap_dropout(values.relu(), probability)``, keeping nothing but that for the way back."""
    if values.device.type != "cpu":
        return nn.functional.dropout(values.relu(), probability)
    dropped = _RectifiedAndDropped.apply(values, probability)
    assert isinstance(dropped, Tensor)
    return dropped


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        drop = Drop.of(values.shape, probability)
        ctx.save_for_backward(drop.bits)
        ctx.level = drop.level
        return drop(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (bits,) = ctx.saved_tensors
        return Drop(bits, ctx.level)(gradients[0]), None


class _RectifiedAndDropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, probability: float) -> Tensor:
        drop = Drop.of(values.shape, probability)
        dropped = drop(values).relu_()
        ctx.save_for_backward(dropped)
        ctx.scale = drop.scale
        return dropped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # What is above 0 was above 0, and was kept.
        (dropped,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradients[0], dropped, 0).mul_(ctx.scale), None
