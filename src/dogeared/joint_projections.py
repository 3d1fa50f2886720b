"""Queries, keys and values of T5's self-attention on a GPU: one product in place of three.

A GPU is told of one product where it was told of three, and going back of two where it was six, and has no gradients of
the three to add up: of a step of T5-base with short answers, which waits for whoever tells the GPU what to do, that is
a tenth of all that is told. A CPU gains nothing by it, and keeps the library's way. So do attention with a cache, and
projections that somebody watches or has put something else in the place of.

How attention is computed is not here (``attention.py``).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.mt5.modeling_mt5 import MT5Attention
from transformers.models.t5.modeling_t5 import T5Attention

from dogeared.attention import attend, attends_fast
from dogeared.few_rows import is_plain_linear

__all__ = ["use_joint_projections"]


def use_joint_projections(model: nn.Module) -> None:
    """Let self-attention of a T5 or an mT5 make queries, keys and values at once, in place."""
    for part in model.modules():
        if type(part) in _JOINT:
            part.__class__ = _JOINT[type(part)]


class _JointT5Attention(T5Attention):
    def forward(self, hidden_states: Tensor, *arguments: Any, **options: Any) -> Any:
        joint = None if arguments else _attended(self, hidden_states, **options)
        return super().forward(hidden_states, *arguments, **options) if joint is None else joint


class _JointMT5Attention(MT5Attention):
    def forward(self, hidden_states: Tensor, *arguments: Any, **options: Any) -> Any:
        joint = None if arguments else _attended(self, hidden_states, **options)
        return super().forward(hidden_states, *arguments, **options) if joint is None else joint


_JOINT: dict[type[nn.Module], type[nn.Module]] = {T5Attention: _JointT5Attention, MT5Attention: _JointMT5Attention}


def _attended(
    module: Any,
    states: Tensor,
    mask: Tensor | None = None,
    key_value_states: Tensor | None = None,
    position_bias: Tensor | None = None,
    past_key_values: Any = None,
    **options: Any,
) -> tuple[Tensor, Tensor, None] | None:
    """Return what the library's module returns; None where that had better be asked."""
    if key_value_states is not None or past_key_values is not None or not _is_wanted(module, states):
        return None
    *batch, length, _ = states.shape
    weight = torch.cat([module.q.weight, module.k.weight, module.v.weight])
    made = F.linear(states, weight).view(*batch, length, 3, module.n_heads, module.key_value_proj_dim)
    query, key, value = (part.transpose(1, 2) for part in made.unbind(2))
    bias = position_bias
    if bias is None and module.has_relative_attention_bias:
        bias = module.compute_bias(length, length, device=states.device)
    elif bias is None:
        bias = query.new_zeros(1, module.n_heads, length, length)
    dropout = module.dropout if module.training else 0.0
    options |= {"scaling": module.scaling, "position_bias": bias, "dropout": dropout}
    attended, _ = attend(module, query, key, value, mask, **options)
    return module.o(attended.reshape(*batch, length, -1)), bias, None


def _is_wanted(module: Any, states: Tensor) -> bool:
    parts = (module.q, module.k, module.v)
    is_plain = all(is_plain_linear(part) and not part._forward_hooks and not part._forward_pre_hooks for part in parts)
    return states.device.type != "cpu" and is_plain and attends_fast(module.config)
