"""T5's norm in few passes: the library's numbers, forward and backward."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration
from transformers.models.mt5.modeling_mt5 import MT5LayerNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from dogeared.root_mean_square import use_fast_norms


@pytest.mark.parametrize("kind", [T5LayerNorm, MT5LayerNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_librarys_within_rounding(kind, dtype):
    torch.manual_seed(0)
    states, weigh = torch.randn(3, 5, 64).to(dtype), torch.randn(3, 5, 64)
    results = []
    for fast in (True, False):
        norm = kind(64)
        norm.weight.data = torch.linspace(-1, 2, 64)
        if fast:
            use_fast_norms(norm)
        leaf = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            normed = norm(leaf if fast else leaf.float())
        assert normed.dtype == (torch.bfloat16 if fast else torch.float32)
        (normed * weigh).sum().backward()
        results.append((normed.detach().float(), leaf.grad.float(), norm.weight.grad))
    for ours, library in zip(*results, strict=True):
        assert (ours - library).norm() < 0.006 * library.norm()


def test_outside_of_autocast_it_is_the_librarys_to_the_bit():
    ours, library = T5LayerNorm(8), T5LayerNorm(8)
    use_fast_norms(ours)
    states = torch.randn(2, 8)
    assert torch.equal(ours(states), library(states))
    assert ours(states).dtype == torch.float32


def test_all_norms_of_a_model_are_changed_and_it_is_saved_as_before(tmp_path):
    model = T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9))
    use_fast_norms(model)
    assert not [part for part in model.modules() if type(part) is T5LayerNorm]
    model.save_pretrained(tmp_path)
    again = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
