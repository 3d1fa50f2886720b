"""Attention as the library computes it, in the precision in which a CPU computes it fast.

Of the kernel that the library's attention (SDPA) takes on CPUs, the forward pass is twice as fast in bfloat16 as in
float32, and the backward pass twice as slow: for 21 texts of 192 tokens and 12 heads, 12 against 24 ms and 86 against
42 ms. So without a gradient attention stays in bfloat16; with one it goes back in float32, from what the kernel kept in
bfloat16; and with a bias that learns, all of it goes up to float32 and back. With dropout there is no kernel at all:
what the library would lay out in float32 is laid out in bfloat16, with cheaper random numbers.

Not here: what is attended to (``reader/cross_attention.py`` records it).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dogeared.cheap_dropout import cheap_dropout

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
    rest = {"position_bias": position_bias, **kwargs}
    if query.device.type != "cpu":
        return sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
    is_plain = position_bias is None and _attends_to_itself(module, query, key, value, attention_mask, kwargs)
    if is_plain and kwargs.get("dropout"):
        return _attend_with_dropout(query, key, value, attention_mask, kwargs["dropout"], kwargs.get("scaling")), None
    if query.dtype == torch.float32 or (position_bias is None and not torch.is_grad_enabled()):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
    if is_plain and query.dtype == torch.bfloat16:
        return _BackInFloat32.attend(query, key, value, attention_mask, kwargs.get("scaling")), None
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


def _attends_to_itself(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> bool:
    """Tell whether every text attends to itself, and whether what it must not see is in the mask, if anything is."""
    is_causal = options.get("is_causal")
    is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    return query.shape == key.shape == value.shape and (mask is not None or not is_causal)


def _attend_with_dropout(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float, scaling: float | None
) -> Float[Tensor, "batch length heads dim"]:
    """Lay out what is attended to, for no kernel drops any of it on a CPU."""
    score = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if mask is not None:
        score = score + _additive(mask, query)
    attended = cheap_dropout(score.softmax(-1), dropout) @ value
    return attended.transpose(1, 2).contiguous()


def _additive(mask: Tensor, query: Tensor) -> Tensor:
    """Return what is added to scores: minus infinity where a boolean mask is false."""
    if mask.dtype != torch.bool:
        return mask.to(query.dtype)
    return query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)


class _BackInFloat32(torch.autograd.Function):
    """Torch's own CPU kernel, called forward in bfloat16 and backward in float32."""

    @classmethod
    def attend(
        cls, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
    ) -> Float[Tensor, "batch length heads dim"]:
        attended = cls.apply(query, key, value, None if mask is None else _additive(mask, query), scaling)
        assert isinstance(attended, Tensor)
        return attended.transpose(1, 2).contiguous()

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> Tensor:
        attended, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, False, attn_mask=mask, scale=scaling
        )
        ctx.save_for_backward(query, key, value, attended, logsumexp, mask)
        ctx.scaling = scaling
        return attended

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, attended, logsumexp, mask = ctx.saved_tensors
        back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            *(part.float() for part in (gradients[0], query, key, value, attended)),
            logsumexp,
            0.0,
            False,
            attn_mask=None if mask is None else mask.float(),
            scale=ctx.scaling,
        )
        return *(part.to(query.dtype) for part in back), None, None
