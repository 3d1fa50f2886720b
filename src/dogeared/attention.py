"""Attention as the library computes it, in the precision in which a CPU computes it fast.

Under bfloat16 the library's attention (SDPA) takes a kernel on CPUs whose backward pass is many times slower than the
same kernel's in float32: 0.34 s against 0.06 s for 96 texts of 50 tokens and 12 heads. What bfloat16 gains is in the
large matrix products around it. So on CPUs attention alone goes up to float32 and back.

Not here: what is attended to (``reader/cross_attention.py`` records it), and any attention of our own.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["attend", "attending_by", "use_fast_attention"]

_NAME = "dogeared_sdpa"


def use_fast_attention(model: nn.Module) -> None:
    """Let every part of a model that attends by SDPA attend by :func:`attend`; the rest is left as it is."""
    _register(_NAME, attend)
    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part.config._attn_implementation == "sdpa":
            part.set_attn_implementation(_NAME)


@contextmanager
def attending_by(model: PreTrainedModel, name: str, function: Callable[..., tuple[Tensor, None]]) -> Iterator[None]:
    """Let all parts of a model attend by a function of the library's shape for the time of the block.

    Args:
        model: Switched in place, so one thread at a time may use it.
        name: Under which the library shall know the function.
        function: Takes what :func:`attend` takes.
    """
    _register(name, function)
    parts = [part.config for part in model.modules() if isinstance(part, PreTrainedModel)]
    before = [config._attn_implementation for config in parts]
    try:
        model.set_attn_implementation(name)
        yield
    finally:
        # From the whole to its parts: setting the whole's sets all.
        for config, implementation in zip(parts, before, strict=True):
            config._attn_implementation = implementation


def _register(name: str, function: Callable[..., tuple[Tensor, None]]) -> None:
    """Make a function known with SDPA's mask: without one the library drops the padding mask and says nothing."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, sdpa_mask)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as the library's SDPA does, in float32 on a CPU; shapes and the rest are the library's."""
    if query.device.type != "cpu" or query.dtype == torch.float32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, position_bias=position_bias, **kwargs)
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast("cpu", enabled=False):
        attended, _ = sdpa_attention_forward(
            module,
            query.float(),
            key.float(),
            value.float(),
            attention_mask,
            position_bias=None if position_bias is None else position_bias.float(),
            **kwargs,
        )
    return attended.to(query.dtype), None
