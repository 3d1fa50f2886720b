"""ReLU where its input lies, in T5's feed-forward layers.

They are four times as wide as the rest of a small T5, and what comes before the ReLU is of no further use, going
forward or back: written anew, it costs a CPU a fifth of the product before it. Results are the same to the bit. Other
models are left alone, because there somebody else may still read what the ReLU was given.
"""

from torch import nn
from transformers.models.mt5.modeling_mt5 import MT5DenseActDense
from transformers.models.t5.modeling_t5 import T5DenseActDense

__all__ = ["use_relu_in_place"]


def use_relu_in_place(model: nn.Module) -> None:
    """Let every feed-forward layer of a T5 or an mT5 overwrite what it rectifies; gated ones have no ReLU."""
    for part in model.modules():
        if isinstance(part, T5DenseActDense | MT5DenseActDense) and isinstance(part.act, nn.ReLU):
            part.act.inplace = True
