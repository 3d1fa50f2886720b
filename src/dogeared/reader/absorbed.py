"""Cross-attention of few queries, without keys and values.

A key is a projection of an encoder's state, and a query is multiplied with it: so the query can be projected instead,
once for all states, and multiplied with the states themselves. The same holds for values: first the states are summed
by weight, then the sum is projected. With one query a head that takes a fortieth of the operations, with the tokens of
an answer a tenth, and keys and values are never made nor kept for the backward pass. Exact but for rounding. With as
many queries as a head has numbers it would cost more, not less. Where attention is all that is asked for, the logits
can be left out the same way.

Not here: what the scores are recorded for (``cross_attention.py``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from dogeared.attention import attend, attending_by
from dogeared.cheap_dropout import cheap_dropout

__all__ = [
    "CROSS_ATTENTION",
    "attend_absorbed",
    "cross_attention_modules",
    "making_few_keys",
    "without_keys",
    "without_logits",
]

_NAME = "dogeared_absorbing_sdpa"
CROSS_ATTENTION = ("EncDecAttention", "encoder_attn", "crossattention.self")
"""How the library names the modules: in T5's family, in BART's, and in warm-started encoders."""
_PROJECTIONS = (("k", "v"), ("k_proj", "v_proj"), ("key", "value"))
"""And, in the same order, their projections of keys and values."""


class _LeftOut(nn.Module):
    """Stands in for a projection: keeps what it was given, and returns zeros that take no memory."""

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.projection = projection
        self.states: Tensor | None = None

    def forward(self, states: Tensor) -> Tensor:
        self.states = states
        return states.new_zeros(()).expand(*states.shape[:-1], self.projection.out_features)

    def take(self) -> Tensor:
        """Return what came in last, and let go of it."""
        assert self.states is not None, "the module is called before it attends"
        states, self.states = self.states, None
        return states


def cross_attention_modules(model: nn.Module) -> list[nn.Module]:
    """Find them by name, in the order of the layers; none in a model without a decoder that this package knows.

    They are looked for once, and again where one is gone.
    """
    known = [one() for one in _modules.get(model, ())]
    modules = [module for module in known if module is not None]
    if not modules or len(modules) < len(known):
        modules = [module for name, module in model.named_modules() if name.endswith(CROSS_ATTENTION)]
        _modules[model] = [*map(ref, modules)]
    return modules


_modules: WeakKeyDictionary[nn.Module, list["ref[nn.Module]"]] = WeakKeyDictionary()


@contextmanager
def without_keys(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let cross-attention modules make no keys and values for the time of the block.

    Args:
        modules: Changed in place, so one thread at a time may use their model. Their attention must be computed by
            :func:`attend_absorbed`.
    """
    with _leaving_out([(module, name) for module in modules for name in _names(module)]) as standing:
        yield
        assert all(one.states is None for one in standing), "attention went by other ways, over keys of zeros"


@contextmanager
def without_logits(model: PreTrainedModel) -> Iterator[None]:
    """Let a model compute no logits for the time of the block, but zeros of their shape.

    Args:
        model: Changed in place, so one thread at a time may use it.
    """
    head = model.get_output_embeddings()
    heads = [(part, name) for part in model.modules() for name, child in part.named_children() if child is head]
    with _leaving_out(heads if isinstance(head, nn.Linear) else []):
        yield


@contextmanager
def _leaving_out(places: Sequence[tuple[nn.Module, str]]) -> Iterator[list[_LeftOut]]:
    """Put something that computes nothing in the place of projections, by their owners and names."""
    kept = [(module._modules, name, getattr(module, name)) for module, name in places]
    standing = [_LeftOut(projection) for _, _, projection in kept]
    try:
        for (modules, name, _), one in zip(kept, standing, strict=True):
            modules[name] = one
        yield standing
    finally:
        for modules, name, projection in kept:
            modules[name] = projection


@contextmanager
def making_few_keys(model: PreTrainedModel) -> Iterator[None]:
    """Let a decoder attend to its encoder without keys and values where that is less work; gradients flow as ever.

    Args:
        model: Switched in place for the time of the block, so one thread at a time may use it.
    """
    with without_keys(cross_attention_modules(model)), attending_by(model, _NAME, _attend):
        yield


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend as :func:`dogeared.attention.attend` does, from states alone where this is a module without keys."""
    if left_out := _left_out(module):
        if 2 * query.shape[2] <= query.shape[3]:
            scale = query.shape[-1] ** -0.5 if scaling is None else scaling
            _, attended = attend_absorbed(module, query, attention_mask, scale, dropout=dropout)
            return attended.transpose(1, 2).contiguous(), None
        key, value = (
            one.projection(one.take()).unflatten(-1, (query.shape[1], -1)).transpose(1, 2) for one in left_out
        )
    return attend(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)


def attend_absorbed(
    module: nn.Module,
    query: Float[Tensor, "batch heads output head_dim"],
    mask: Bool[Tensor, "batch _ _ length"] | None,
    scale: float,
    *,
    dropout: float = 0.0,
) -> tuple[Float[Tensor, "batch heads output length"], Float[Tensor, "batch heads output head_dim"]]:
    """Return the scores before mask and softmax, in float32, and what is attended to, of a module without keys.

    Args:
        module: In a block of :func:`without_keys`, and just called.
        query: Its queries.
        mask: Where states are real, the same for every query of a question.
        scale: Of the scores.
        dropout: The share of attention that is dropped.
    """
    key, value = _left_out(module)
    states, _ = key.take(), value.take()
    _, heads, output, head_dim = query.shape
    with torch.autocast(query.device.type, enabled=False):
        asked = query.to(states.dtype)
        weight = key.projection.weight.to(states.dtype).view(heads, head_dim, -1)
        projected = torch.einsum("bhod,hde->bhoe", asked, weight).flatten(1, 2)
        if states.device.type == "cpu":
            # The long matrix on the left, and in one piece for the softmax: the other way round takes twice the time.
            scores = (states @ projected.transpose(1, 2).contiguous()).transpose(1, 2).contiguous().float()
        else:
            scores = (projected @ states.transpose(1, 2)).float()
        scores = scores.unflatten(1, (heads, output))
        if key.projection.bias is not None:
            of_bias = asked.float() * key.projection.bias.float().view(heads, 1, head_dim)
            scores = scores + of_bias.sum(dim=-1, keepdim=True)
        scores = scores if scale == 1 else scores * scale
        masked = scores if mask is None else scores.masked_fill(~mask[:, :, :1], -torch.inf)
        share = masked.softmax(dim=-1).to(states.dtype)
        if dropout:
            share = cheap_dropout(share, dropout)
        summed = (share.flatten(1, 2) @ states).unflatten(1, (heads, output))
        weight = value.projection.weight.to(states.dtype).view(heads, head_dim, -1)
        attended = torch.einsum("bhoe,hde->bhod", summed, weight)
        if value.projection.bias is not None:
            of_all = 1 if not dropout else share.sum(dim=-1, keepdim=True)
            attended = attended + of_all * value.projection.bias.to(states.dtype).view(heads, 1, head_dim)
    return scores, attended.to(query.dtype)


def _left_out(module: nn.Module) -> list[_LeftOut]:
    """Return what stands in for the projections of keys and of values; nothing where keys are made."""
    parts = [getattr(module, name, None) for names in _PROJECTIONS for name in names]
    return [part for part in parts if isinstance(part, _LeftOut)]


def _names(module: nn.Module) -> tuple[str, str]:
    return next(names for names in _PROJECTIONS if all(hasattr(module, name) for name in names))
