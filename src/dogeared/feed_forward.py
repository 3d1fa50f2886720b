"""T5's feed-forward layers in few passes over memory.

They are four times as wide as the rest of a small T5, and a pass over what is so wide takes a CPU a fifth to a half of
the product before it. Everywhere the ReLU is written where its input lies, which is of no further use going forward or
back. In bfloat16 it becomes a part of the product itself, and so does the addition to what goes around the layer where
no gradient is wanted: oneDNN's products do both before they write (torch's ``mkldnn`` operators, which its compiler
emits too). In float32 those products are slower than the plain ones, so they are left alone. On a GPU the
ReLU is a part of the product too (cuBLASLt's). Dropout behind the ReLU is one step with it, for which nothing wide is
kept but what the next product keeps anyway (``cheap_dropout.py``).

Results with the ReLU are the library's to the bit; the fused addition rounds once where the library rounds twice. Other
models are left alone, because there somebody else may still read what the ReLU was given.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.models.mt5.modeling_mt5 import MT5DenseActDense, MT5LayerFF
from transformers.models.t5.modeling_t5 import T5DenseActDense, T5LayerFF

from dogeared.cheap_dropout import CheapDropout, Drop, rectify_and_drop
from dogeared.compute import multiplies_bfloat16
from dogeared.few_rows import is_plain_linear

__all__ = ["use_fast_feed_forward"]


def use_fast_feed_forward(model: nn.Module) -> None:
    """Let every feed-forward layer of a T5 or an mT5 be computed by this module, in place; not gated ones."""
    for part in model.modules():
        if type(part) not in _FAST:
            continue
        dense = part.DenseReluDense
        if isinstance(dense, T5DenseActDense | MT5DenseActDense) and isinstance(dense.act, nn.ReLU):
            dense.act.inplace = True
            layers: tuple[Any, ...] = (part, dense)
            for layer in layers:
                layer.__class__ = _FAST[type(layer)]


class _FastT5LayerFF(T5LayerFF):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return _layer(self, hidden_states) if _is_wanted(self, hidden_states) else super().forward(hidden_states)


class _FastMT5LayerFF(MT5LayerFF):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return _layer(self, hidden_states) if _is_wanted(self, hidden_states) else super().forward(hidden_states)


class _FastT5DenseActDense(T5DenseActDense):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return _rectify_drop_project(self, hidden_states) if _drops(self) else super().forward(hidden_states)


class _FastMT5DenseActDense(MT5DenseActDense):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return _rectify_drop_project(self, hidden_states) if _drops(self) else super().forward(hidden_states)


_FAST: dict[type[nn.Module], type[nn.Module]] = {
    T5LayerFF: _FastT5LayerFF,
    MT5LayerFF: _FastMT5LayerFF,
    T5DenseActDense: _FastT5DenseActDense,
    MT5DenseActDense: _FastMT5DenseActDense,
}


def _drops(dense: Any) -> bool:
    """Say whether some of what is wide falls, and cheaply."""
    return type(dense.dropout) is CheapDropout and dense.dropout.training and dense.dropout.p > 0


def _rectify_drop_project(dense: Any, states: Tensor) -> Tensor:
    wide = rectify_and_drop(dense.wi(states), dense.dropout.p)
    weight = dense.wo.weight
    # As the library does, for models whose last product is kept in a precision of its own.
    is_other = isinstance(weight, Tensor) and weight.is_floating_point() and weight.dtype != wide.dtype
    return dense.wo(wide.to(weight.dtype) if is_other else wide)


def _is_wanted(layer: Any, states: Tensor) -> bool:
    """Say whether all that meets here is in bfloat16 already, and nobody else wants to see the parts."""
    dense = layer.DenseReluDense
    tensors = (states, dense.wi.weight, dense.wo.weight)
    is_rounded = all(tensor.dtype == torch.bfloat16 for tensor in tensors)
    is_plain = is_plain_linear(dense.wi) and is_plain_linear(dense.wo)
    if not (is_rounded and is_plain and multiplies_bfloat16(states.device)):
        return False
    return states.device.type == "cuda" or (states.device.type == "cpu" and torch.backends.mkldnn.is_available())


def _layer(layer: Any, states: Float[Tensor, "rows length dim"]) -> Float[Tensor, "rows length dim"]:
    dense = layer.DenseReluDense
    drops_within = states.device.type == "cpu" and _drops(dense)
    wide = _RectifiedProduct.apply(layer.layer_norm(states), dense.wi.weight, dense.dropout.p if drops_within else 0.0)
    assert isinstance(wide, Tensor)
    # What trains may drop some of it, with or without gradients.
    if torch.is_grad_enabled() or layer.training or states.device.type != "cpu":
        return states + layer.dropout(dense.wo(wide if drops_within else dense.dropout(wide)))
    return torch.ops.mkldnn._linear_pointwise(wide, states, dense.wo.weight, None, "add")


def _rectified_on_cpu(states: Tensor, weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(states, weight, None, "relu", [], "")


def _rectified_on_gpu(states: Tensor, weight: Tensor) -> Tensor:
    no_bias = states.new_zeros(len(weight))
    wide = torch.ops.aten._addmm_activation(no_bias, states.flatten(0, -2), weight.t())
    return wide.view(*states.shape[:-1], len(weight))


class _RectifiedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, dropout: float) -> Tensor:
        on_cpu = states.device.type == "cpu"
        wide = _rectified_on_cpu(states, weight) if on_cpu else _rectified_on_gpu(states, weight)
        ctx.scale = 1.0
        if dropout:
            drop = Drop.of(wide.shape, dropout)
            wide, ctx.scale = drop(wide), drop.scale
        ctx.save_for_backward(states, weight, wide)
        return wide

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, wide = ctx.saved_tensors
        of_products = torch.ops.aten.threshold_backward(gradients[0], wide, 0).flatten(0, -2)
        of_states = _product(of_products, weight, ctx.scale).view(states.shape)
        return of_states, _product(of_products.t(), states.flatten(0, -2), ctx.scale), None


def _product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """Scale within the product, which costs no pass of its own."""
    return left @ right if scale == 1 else torch.addmm(left.new_zeros(()), left, right, beta=0, alpha=scale)
