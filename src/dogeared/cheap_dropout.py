"""Dropout whose random numbers cost little on a CPU.

Torch draws a random number of its own for each element, which on a CPU takes longer than the matrix products around
it. Sixteen random bits decide as well: four elements share one draw, and a probability is kept to 1 in 65,536. What is
kept is scaled by exactly the rate that is drawn with. On other devices torch's own dropout does the work.

The numbers come from torch's generator, so whatever seeds or restores that, seeds and restores this.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["CheapDropout", "cheap_dropout", "use_cheap_dropout"]

_LEVELS = 1 << 16


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


def cheap_dropout(values: Float[Tensor, "*shape"], probability: float) -> Float[Tensor, "*shape"]:
    """Set elements to 0 with a probability, and scale the others so that the mean stays."""
    if values.device.type != "cpu":
        return nn.functional.dropout(values, probability)
    level = round(probability * _LEVELS)
    if level == 0:
        return values
    count = values.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[:count].view(values.shape)
    kept = torch.ge(bits, level - _LEVELS // 2, out=torch.empty(values.shape, dtype=values.dtype))
    return values * kept * (_LEVELS / (_LEVELS - level))
