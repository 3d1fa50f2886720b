"""T5's norm under bfloat16, in few passes over memory.

The library's norm (a root mean square) goes up to float32 and makes five intermediate results of the size of its
input, each kept for the backward pass. In a small reader that takes as long as half of the matrix products. Here the
sum of squares is read off in one pass, in float32, and the backward pass is written out; what is kept is the input and
one number a token. On a GPU torch's own kernel does all that at once. Outside of autocast to bfloat16 the library's own
norm runs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.mt5.modeling_mt5 import MT5LayerNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

__all__ = ["use_fast_norms"]


def use_fast_norms(model: nn.Module) -> None:
    """Let every norm of a T5 or an mT5 be computed by this module, in place."""
    for part in model.modules():
        if type(part) in _FAST:
            part.__class__ = _FAST[type(part)]


class _FastT5LayerNorm(T5LayerNorm):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return _norm(hidden_states, self) if _is_wanted(hidden_states) else super().forward(hidden_states)


class _FastMT5LayerNorm(MT5LayerNorm):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return _norm(hidden_states, self) if _is_wanted(hidden_states) else super().forward(hidden_states)


_FAST: dict[type[nn.Module], type[nn.Module]] = {T5LayerNorm: _FastT5LayerNorm, MT5LayerNorm: _FastMT5LayerNorm}


def _is_wanted(states: Tensor) -> bool:
    kind = states.device.type
    is_rounded = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.bfloat16
    return is_rounded and (kind == "cpu" or states.dtype == torch.bfloat16)


def _norm(states: Tensor, norm: Any) -> Tensor:
    if states.device.type != "cpu":
        return _in_one_kernel(states, norm)
    normed = _RootMeanSquare.apply(states, norm.weight, norm.variance_epsilon)
    assert isinstance(normed, Tensor)
    return normed


def _in_one_kernel(states: Tensor, norm: Any) -> Tensor:
    with torch.autocast(states.device.type, enabled=False):
        return F.rms_norm(states, norm.weight.shape, norm.weight.to(states.dtype), norm.variance_epsilon)


class _RootMeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        exact = states.float()
        length = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
        scale = (length.square_() / states.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(states, scale, weight)
        return _times(exact, scale, given=states).mul_(weight).to(torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        states, scale, weight = ctx.saved_tensors
        # Both in float32 first: products of two precisions would turn each of them anew.
        gradient, normed = gradients[0].float(), _times(states.float(), scale, given=states)
        of_weight = gradient * normed
        # What the states have in common with their own gradient goes into their length, which the norm takes away.
        common = (of_weight @ weight)[..., None].div_(states.shape[-1])
        of_states = _times(gradient, weight, given=gradients[0]).sub_(normed.mul_(common)).mul_(scale)
        return of_states.to(states.dtype), of_weight.flatten(0, -2).sum(dim=0), None


def _times(exact: Tensor, factor: Tensor, *, given: Tensor) -> Tensor:
    """Multiply in place what was made here, and not what was given."""
    return exact * factor if exact is given else exact.mul_(factor)
