"""Attention as the library computes it, in the precision in which a CPU computes it fast; GPUs need less care.

Of the kernel that the library's attention (SDPA) takes on CPUs, the forward pass is twice as fast in bfloat16 as in
float32, and the backward pass twice as slow: for 21 texts of 192 tokens and 12 heads, 12 against 24 ms and 86 against
42 ms. So attention goes forward in bfloat16, and back in float32, from what the kernel kept in bfloat16. A bias that
learns (T5's) keeps the kernel's backward pass away: there it is written out in five matrix products, of scores that are
computed anew; and so it is where heads are wide enough for that to be faster. A mask and a bias are put together once
for all layers. With dropout there is no kernel at all: attention goes forward by products too, in bfloat16 where the
library would take float32, with cheaper random numbers, and keeps half of what autograd would.

On other devices the library's kernels do the work, and what is done here is to put mask and bias together once, and to
keep cuDNN's attention out: it makes a plan for every shape that it has not met (7 ms and more on an H100, where the
attention itself takes 0.03), and texts of all lengths have ever other shapes. Once planned it is no faster than others.

Not here: what is attended to (``reader/cross_attention.py`` records it).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary, ref

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from dogeared.cheap_dropout import Drop

__all__ = ["attend", "attending_by", "attends_fast", "use_fast_attention"]

_OURS = "dogeared_"
_NAME = f"{_OURS}sdpa"
_WIDE_HEAD = 64
"""From so many numbers a head on, matrix products go back faster than the kernel: 32 against 50 ms for 21 texts of 128
tokens and 12 heads; with 32 numbers a head and 192 tokens they are as fast, and less exact."""

_FEW_QUERIES = 128  # as many tokens as an answer may have
_ON_GPU = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def use_fast_attention(model: nn.Module) -> None:
    """Let every part of a model that attends by SDPA attend by :func:`attend`; the rest is left as it is."""
    _register(_NAME, attend)
    for part in model.modules():
        if isinstance(part, PreTrainedModel) and part.config._attn_implementation == "sdpa":
            part.set_attn_implementation(_NAME)
    # The layers of a model that was put together of two keep the configuration that their half had before.
    for layer in model.modules():
        config = getattr(layer, "config", None)
        if isinstance(config, PreTrainedConfig) and config._attn_implementation == "sdpa":
            config._attn_implementation = _NAME


def attends_fast(config: PreTrainedConfig) -> bool:
    """Tell whether what has this configuration attends by :func:`attend`, or by something that comes down to it."""
    return str(config._attn_implementation).startswith(_OURS)


@contextmanager
def attending_by(model: PreTrainedModel, name: str, function: Callable[..., tuple[Tensor, None]]) -> Iterator[None]:
    """Let all parts of a model attend by a function of the library's shape for the time of the block.

    Args:
        model: Switched in place, so one thread at a time may use it.
        name: Under which the library shall know the function; begins as the package is called.
        function: Takes what :func:`attend` takes.
    """
    _register(name, function)
    if model not in _configs:
        of_parts = (part.config for part in model.modules() if isinstance(part, PreTrainedModel))
        _configs[model] = [*{id(config): config for config in of_parts}.values()]
    configs = _configs[model]
    before = [config._attn_implementation for config in configs]
    try:
        for config in configs:
            config._attn_implementation = name
        yield
    finally:
        # From the whole to its parts: setting the whole's sets all.
        for config, implementation in zip(configs, before, strict=True):
            config._attn_implementation = implementation


_configs: WeakKeyDictionary[PreTrainedModel, list[PreTrainedConfig]] = WeakKeyDictionary()
"""Of a model and its parts; to walk through all modules takes as long as a layer of a GPU."""


def _register(name: str, function: Callable[..., tuple[Tensor, None]]) -> None:
    """Make a function known with SDPA's mask: without one the library drops the padding mask and says nothing."""
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, _mask)


def _mask(*, q_length: int, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """Return SDPA's mask. The library looks whether it could go without, and there a GPU would be waited for.

    A long text that is read by a decoder is worth it: without a mask the kernel leaves half of the products out.
    """
    if attention_mask is not None and attention_mask.device.type != "cpu":
        options["allow_is_bidirectional_skip"] = False
        if q_length <= _FEW_QUERIES:
            options["allow_is_causal_skip"] = False
    return sdpa_mask(q_length=q_length, attention_mask=attention_mask, **options)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as the library's SDPA does; shapes and the rest are the library's."""
    rest = {"position_bias": position_bias, **kwargs}
    if query.device.type == "cuda":
        return _attend_on_gpu(module, query, key, value, attention_mask, position_bias, **kwargs)
    if query.device.type != "cpu" or _looks_back(module, query, attention_mask, kwargs) or _is_special(module, kwargs):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
    scaling = query.shape[-1] ** -0.5 if kwargs.get("scaling") is None else kwargs["scaling"]
    with torch.autocast("cpu", enabled=False):
        dropout = kwargs.get("dropout", 0.0)
        if dropout or (torch.is_grad_enabled() and (position_bias is not None or query.dtype == torch.bfloat16)):
            added = (
                _additive(attention_mask, query) if position_bias is None else _together(attention_mask, position_bias)
            )
            if dropout or position_bias is not None or query.shape[-1] >= _WIDE_HEAD:
                attended = _BackByProducts.apply(query, key, value, added, position_bias, scaling, dropout)
            else:
                attended = _BackInFloat32.apply(query, key, value, added, scaling)
        else:
            mask = _together(attention_mask, position_bias)
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    assert isinstance(attended, Tensor)
    return attended.transpose(1, 2).contiguous(), None


def _attend_on_gpu(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, **rest: Any
) -> tuple[Tensor, None]:
    if bias is not None and not _is_special(module, rest):
        mask = _together(mask, bias, for_gpu=query.dtype, looks_back=_looks_back(module, query, mask, rest))
        bias = None
    with sdpa_kernel(_ON_GPU):
        return sdpa_attention_forward(module, query, key, value, mask, position_bias=bias, **rest)


def _looks_back(module: nn.Module, query: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
    """Tell whether a missing mask means not to look ahead."""
    is_causal = options.get("is_causal")
    is_causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    return bool(is_causal and mask is None and query.shape[2] > 1)


def _is_special(module: nn.Module, options: dict[str, Any]) -> bool:
    """Tell whether there is more to it than a mask and a bias."""
    return getattr(module, "num_key_value_groups", 1) > 1 or options.get("cache") is not None


def _additive(mask: Tensor | None, query: Tensor) -> Tensor | None:
    """Return what is added to scores: minus infinity where a boolean mask is false."""
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.to(query.dtype)
    return query.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)


class _BackInFloat32(torch.autograd.Function):
    """Torch's own CPU kernel, called forward in bfloat16 and backward in float32."""

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


class _BackByProducts(torch.autograd.Function):
    """SDPA going forward, matrix products going back: for a bias that learns, and for heads of many numbers.

    With dropout, which no kernel on a CPU has, products go forward too, and their shares are kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        added: Tensor | None,
        position_bias: Tensor | None,
        scaling: float,
        dropout: float,
    ) -> Tensor:
        ctx.scaling, ctx.level = scaling, None
        ctx.bias = None if position_bias is None else (position_bias.shape, position_bias.dtype)
        if not dropout:
            ctx.save_for_backward(query, key, value, added)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=added, scale=scaling)
        shares = _shares(query, key, added, scaling)
        drop = Drop.of(shares.shape, dropout)
        ctx.save_for_backward(query, key, value, shares, drop.bits)
        ctx.level = drop.level
        # What is kept is scaled within the products, here and going back, which costs no pass of its own.
        attended = _product(shares * drop.kept(shares.dtype), _in_one_piece(value), drop.scale)
        return attended.unflatten(0, query.shape[:2])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *rest = ctx.saved_tensors
        scaling, batch_and_heads = ctx.scaling, query.shape[:2]
        drop = None if ctx.level is None else Drop(rest[1], ctx.level)
        shares = _shares(query, key, rest[0], scaling) if drop is None else rest[0]
        query, key, value, gradient = (_in_one_piece(part) for part in (query, key, value, gradients[0]))
        if drop is None:
            of_value, of_shares = shares.mT @ gradient, gradient @ value.mT
        else:
            kept = drop.kept(shares.dtype)
            of_value = _product((shares * kept).mT, gradient, drop.scale)
            of_shares = _product(gradient, value.mT, drop.scale).mul_(kept)
        of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, shares.dtype)
        of_query = _product(of_scores, key, scaling)
        of_key = _product(of_scores.mT, query, scaling)
        of_query, of_key, of_value, of_scores = (
            part.unflatten(0, batch_and_heads) for part in (of_query, of_key, of_value, of_scores)
        )
        of_bias = of_scores.sum_to_size(ctx.bias[0]).to(ctx.bias[1]) if ctx.needs_input_grad[4] else None
        return of_query, of_key, of_value, None, of_bias, None, None


def _shares(query: Tensor, key: Tensor, added: Tensor | None, scaling: float) -> Tensor:
    """Return which share of each query's attention a key gets, head after head."""
    of_scores = *query.shape[:3], key.shape[2]
    added = (
        query.new_zeros(()) if added is None else added.to(query.dtype).expand(of_scores).reshape(-1, *of_scores[2:])
    )
    query, key = _in_one_piece(query), _in_one_piece(key)
    return torch.baddbmm(added, query, key.mT, alpha=scaling).softmax(dim=-1)


def _product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    return torch.baddbmm(left.new_zeros(()), left, right, beta=0, alpha=scale)


def _in_one_piece(part: Tensor) -> Tensor:
    """Products of matrices that lie in one piece take half the time, whichever way they are read."""
    return part.contiguous().flatten(0, 1)


class _Together(NamedTuple):
    """A mask and a bias that were put together, and what came of it."""

    mask: "ref[Tensor] | None"
    bias: "ref[Tensor]"
    looks_back: bool
    made: Tensor


_last: _Together | None = None
"""Gone when the bias is."""


def _together(
    attention_mask: Tensor | None,
    position_bias: Tensor | None,
    *,
    for_gpu: torch.dtype | None = None,
    looks_back: bool = False,
) -> Tensor | None:
    """Return one mask that says both; the layers of a model ask for the same one after the other.

    Args:
        attention_mask: Where to attend, or what to add to scores.
        position_bias: To add to scores.
        for_gpu: The precision of what attends on a GPU, whose kernels give a bias its gradient themselves.
        looks_back: Whether nobody attends to what comes later, though no mask says so; on a GPU only.
    """
    global _last
    if position_bias is None:
        return attention_mask
    if attention_mask is None and for_gpu is None:
        return position_bias.detach()
    if (last := _last) is not None and last.bias() is position_bias and last.looks_back == looks_back:
        of_mask = None if last.mask is None else last.mask()
        if of_mask is attention_mask and (last.mask is None) == (attention_mask is None):  # and not gone
            return last.made
    # The kernel would lay a bias whose heads lie innermost (T5's) out anew in every layer.
    made = bias = position_bias.detach().contiguous() if for_gpu is None else position_bias.to(for_gpu)
    if looks_back:
        made = torch.where(torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).tril(), bias, _least(bias))
    elif attention_mask is not None and attention_mask.dtype == torch.bool:
        made = torch.where(attention_mask, bias, _least(bias))
    elif attention_mask is not None:
        made = bias + attention_mask.to(bias.dtype)
    if for_gpu is not None:
        made = _in_steps_of_eight(made)
    if made is not position_bias:  # or it would keep itself
        of_mask = None if attention_mask is None else ref(attention_mask)
        _last = _Together(of_mask, ref(position_bias, _forget), looks_back, made)
    return made


def _least(bias: Tensor) -> float:
    return torch.finfo(bias.dtype).min


def _in_steps_of_eight(mask: Tensor) -> Tensor:
    """Lay a mask out as the kernel of a GPU wants it, or it would do so itself in every layer."""
    width = mask.shape[-1]
    return F.pad(mask, (0, -width % 8))[..., :width] if width % 8 else mask.contiguous()


def _forget(bias: "ref[Tensor]") -> None:
    global _last
    if _last is not None and _last.bias is bias:
        _last = None
