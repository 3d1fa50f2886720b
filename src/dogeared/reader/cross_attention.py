"""Record what a decoder's cross-attention looks at, without changing what it computes.

The recording goes through the library's attention interface: for the time of a ``with`` block the model's attention
function is one that first notes the product of queries and keys of every cross-attention layer, then calls the very
function that would have run. No model code is touched, and no logit changes. The model's *mask* function must be
registered under the same name: without it the library drops the padding mask and says nothing.

What is recorded keeps all its axes. Making one number a passage out of it is the business of ``distill/relevance.py``.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from dogeared.attention import attend, attending_by
from dogeared.errors import ModelError
from dogeared.reader.absorbed import CROSS_ATTENTION, attend_absorbed, cross_attention_modules, without_keys

__all__ = ["CrossAttentionRecord", "record_cross_attention"]

_NAME = "dogeared_recording_sdpa"

_lock = Lock()
_recorders: dict[int, tuple["CrossAttentionRecord", int, bool]] = {}
"""By the identity of a cross-attention module: who records it, which layer it is, and whether it makes no keys. Empty
outside of recordings."""


@dataclass
class CrossAttentionRecord:
    """What was recorded in one run of the decoder.

    Attributes:
        layers: For each layer of the decoder: queries times keys, scaled as the model scales them, before mask and
            softmax.
        values: For each layer: the value vectors that attention weighs.
    """

    layers: list[Tensor | None] = field(default_factory=list)
    values: list[Tensor | None] = field(default_factory=list)

    def scores(self) -> Float[Tensor, "layers batch heads output length"]:
        """Stack the layers. Padding is not masked: its numbers mean nothing."""
        return torch.stack(_all_of(self.layers))

    def value_norms(self) -> Float[Tensor, "layers batch heads length"]:
        """Stack the layers' lengths of values. Padding is not masked: its numbers mean nothing."""
        return torch.stack([layer.float().norm(dim=-1) for layer in _all_of(self.values)])


@contextmanager
def record_cross_attention(model: PreTrainedModel, *, single_query: bool = False) -> Iterator[CrossAttentionRecord]:
    """Record all cross-attention scores of the one decoder run inside the block.

    Args:
        model: An encoder-decoder. Its attention implementation is switched for the time of the block, so one thread
            at a time may use the model.
        single_query: The decoder will run on one token, and no values are asked of the record: then neither keys nor
            values need be made (``absorbed.py``).

    Raises:
        ModelError: The model has no cross-attention that this module knows.
    """
    modules = _known_modules(model)
    record = CrossAttentionRecord(layers=[None] * len(modules), values=[None] * len(modules))
    with _lock:
        outer = {id(module): _recorders.get(id(module)) for module in modules}
        _recorders.update({id(module): (record, index, single_query) for index, module in enumerate(modules)})
    try:
        absorbing = without_keys(modules) if single_query else nullcontext()
        with absorbing, attending_by(model, _NAME, _recording_attention):
            yield record
    finally:
        with _lock:
            for module, recorder in outer.items():
                if recorder is None:
                    _recorders.pop(module, None)
                else:
                    _recorders[module] = recorder


def _recording_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    position_bias: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Note the scores if this is a recorded module; then attend as SDPA does."""
    recorder = _recorders.get(id(module))
    if recorder is not None:
        record, layer, is_absorbed = recorder
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        if is_absorbed:
            record.layers[layer], attended = attend_absorbed(module, query.detach(), attention_mask, scale)
            return attended.transpose(1, 2), None
        record.layers[layer] = torch.matmul(query.detach(), key.detach().transpose(-1, -2)).float() * scale
        record.values[layer] = value.detach()
        # T5 hands its cross-attention a position bias of zeros; without it SDPA builds no mask of that size.
        position_bias = None
    return attend(module, query, key, value, attention_mask, scaling=scaling, position_bias=position_bias, **kwargs)


def _all_of(layers: list[Tensor | None]) -> list[Tensor]:
    missing = [index for index, layer in enumerate(layers) if layer is None]
    assert not missing, f"the decoder did not run, or not its layers {missing}"
    return [layer for layer in layers if layer is not None]


def _known_modules(model: PreTrainedModel) -> list[nn.Module]:
    modules = cross_attention_modules(model)
    if not modules:
        raise ModelError(
            f"expected a decoder with cross-attention modules named {', '.join(CROSS_ATTENTION)}; "
            f"{type(model).__name__} has none, so its attention cannot teach. Use a T5, mT5 or BART kind of reader."
        )
    return modules
