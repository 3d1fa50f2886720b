"""Cross-attention of a single query, without keys and values.

A key is a projection of an encoder's state, and a query is multiplied with it: so the query can be projected instead,
once for all states, and multiplied with the states themselves. The same holds for values: first the states are summed
by weight, then the sum is projected. With one query a head that takes a fortieth of the operations, and keys and values
are never made. Exact but for rounding. With many queries it would cost more, not less.

Not here: what the scores are recorded for (``cross_attention.py``).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["attend_absorbed", "without_keys"]

_PROJECTIONS = (("k", "v"), ("k_proj", "v_proj"), ("key", "value"))
"""How the library names the projections of keys and values: in T5's family, in BART's, in warm-started encoders."""


class _LeftOut(nn.Module):
    """Stands in for a projection: keeps what it was given, and returns zeros that take no memory."""

    def __init__(self, projection: nn.Linear) -> None:
        super().__init__()
        self.projection = projection
        self.states: Tensor | None = None

    def forward(self, states: Tensor) -> Tensor:
        self.states = states
        return states.new_zeros(()).expand(*states.shape[:-1], self.projection.out_features)


@contextmanager
def without_keys(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Let cross-attention modules make no keys and values for the time of the block.

    Args:
        modules: Changed in place, so one thread at a time may use their model. Their attention must be computed by
            :func:`attend_absorbed`.
    """
    kept = [(module, name, getattr(module, name)) for module in modules for name in _names(module)]
    try:
        for module, name, projection in kept:
            setattr(module, name, _LeftOut(projection))
        yield
    finally:
        for module, name, projection in kept:
            setattr(module, name, projection)


def attend_absorbed(
    module: nn.Module,
    query: Float[Tensor, "batch heads 1 head_dim"],
    mask: Bool[Tensor, "batch _ 1 length"] | None,
    scale: float,
) -> tuple[Float[Tensor, "batch heads 1 length"], Float[Tensor, "batch heads 1 head_dim"]]:
    """Return the scores before mask and softmax, in float32, and what is attended to, of a module in such a block."""
    key, value = (getattr(module, name) for name in _names(module))
    assert isinstance(key, _LeftOut)
    assert isinstance(value, _LeftOut)
    assert key.states is not None, "the module is called before it attends"
    states, key.states, value.states = key.states, None, None
    batch, heads, _, head_dim = query.shape
    with torch.autocast(query.device.type, enabled=False):
        asked = query[:, :, 0].to(states.dtype)
        weight = key.projection.weight.to(states.dtype).view(heads, head_dim, -1)
        projected = torch.einsum("bhd,hde->beh", asked, weight)
        scores = (states @ projected).float().transpose(1, 2)
        if key.projection.bias is not None:
            of_bias = asked.float() * key.projection.bias.float().view(heads, head_dim)
            scores = scores + of_bias.sum(dim=-1, keepdim=True)
        scores = scores * scale
        masked = scores if mask is None else scores.masked_fill(~mask[:, :, 0], -torch.inf)
        summed = masked.softmax(dim=-1).to(states.dtype) @ states
        weight = value.projection.weight.to(states.dtype).view(heads, head_dim, -1)
        attended = torch.einsum("bhe,hde->bhd", summed, weight)
        if value.projection.bias is not None:
            attended = attended + value.projection.bias.to(states.dtype).view(heads, head_dim)
    return scores.view(batch, heads, 1, -1), attended.to(query.dtype).view(query.shape)


def _names(module: nn.Module) -> tuple[str, str]:
    return next(names for names in _PROJECTIONS if all(hasattr(module, name) for name in names))
