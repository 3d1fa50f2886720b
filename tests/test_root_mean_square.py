"""T5's norm in few passes: the library's numbers, forward and backward."""

import pytest
import torch
from transformers import MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration
from transformers.models.mt5.modeling_mt5 import MT5LayerNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

from dogeared.root_mean_square import fold_norms, use_fast_norms
from dogeared.rounded import call_rounded, round_between, rounded_weights


def ours_and_the_librarys(kind, states, *, rounded):
    """What a norm makes of states, and their and its weight's gradients; the library's is always in float32."""
    weigh = torch.randn(states.shape)
    results = []
    for fast in (True, False):
        norm = kind(64)
        norm.weight.data = torch.linspace(-1, 2, 64)
        if fast:
            use_fast_norms(norm)
        leaf = states.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast and rounded):
            normed = norm(leaf if fast else leaf.float())
        assert normed.dtype == (torch.bfloat16 if fast and rounded else torch.float32)
        (normed * weigh).sum().backward()
        assert torch.equal(leaf, states), "what came in is left alone"
        results.append((normed.detach().float(), leaf.grad.float(), norm.weight.grad))
    return zip(*results, strict=True)


@pytest.mark.parametrize("kind", [T5LayerNorm, MT5LayerNorm])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_the_librarys_within_rounding(kind, dtype):
    torch.manual_seed(0)
    for ours, library in ours_and_the_librarys(kind, torch.randn(3, 5, 64).to(dtype), rounded=True):
        assert (ours - library).norm() < 0.006 * library.norm()


@pytest.mark.parametrize("kind", [T5LayerNorm, MT5LayerNorm])
def test_in_float32_it_is_the_librarys_but_for_the_last_digit(kind):
    torch.manual_seed(0)
    for ours, library in ours_and_the_librarys(kind, torch.randn(3, 5, 64), rounded=False):
        torch.testing.assert_close(ours, library, rtol=1e-5, atol=1e-6)


def test_in_other_precisions_it_is_the_librarys_to_the_bit():
    ours, library = T5LayerNorm(8).double(), T5LayerNorm(8).double()
    use_fast_norms(ours)
    states = torch.randn(2, 8, dtype=torch.float64)
    assert torch.equal(ours(states), library(states))


def test_all_norms_of_a_model_are_changed_and_it_is_saved_as_before(tmp_path):
    model = T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=9))
    use_fast_norms(model)
    assert not [part for part in model.modules() if type(part) is T5LayerNorm]
    model.save_pretrained(tmp_path)
    again = T5ForConditionalGeneration.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def encoder_of(kind, activation):
    config = {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 99}
    torch.manual_seed(0)
    model = kind(kind.config_class(**config, feed_forward_proj=activation, dropout_rate=0.0)).encoder.eval()
    for name, weight in model.named_parameters():
        if "layer_norm" in name:
            torch.nn.init.normal_(weight, 1.0, 0.5)
    return model


@pytest.mark.parametrize("kind", [T5ForConditionalGeneration, MT5ForConditionalGeneration])
@pytest.mark.parametrize("activation", ["relu", "gated-gelu"])
def test_norms_that_went_into_products_say_the_same(kind, activation):
    model = encoder_of(kind, activation)
    ids = torch.randint(1, 99, (4, 20))
    with torch.inference_mode():
        exact = model(ids).last_hidden_state
    use_fast_norms(model)
    round_between(model)
    errors = {}
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for name, images in (("plain", rounded_weights(model)), ("folded", folded_weights(model))):
            got = call_rounded(model, images, ids).last_hidden_state
            assert got.dtype == torch.bfloat16
            errors[name] = ((got.float() - exact).norm() / exact.norm()).item()
    assert sum(image.ndim == 0 for image in folded_weights(model).values()) == 4
    assert errors["folded"] < max(0.01, 1.2 * errors["plain"])


def folded_weights(model):
    with torch.autocast("cpu", torch.bfloat16):
        images = rounded_weights(model)
    fold_norms(model, images)
    return images


def test_where_a_product_was_replaced_the_norm_keeps_its_weight():
    class Other(torch.nn.Linear):
        """As an adapter puts one in the place of a product."""

    model = encoder_of(T5ForConditionalGeneration, "relu")
    use_fast_norms(model)
    layer = model.block[0].layer[0]
    other = Other(64, 64, bias=False)
    other.load_state_dict(layer.SelfAttention.k.state_dict())
    layer.SelfAttention.k = other
    images = folded_weights(model)
    assert "block.0.layer.0.layer_norm.weight" not in images
    assert torch.equal(
        images["block.0.layer.0.SelfAttention.q.weight"].float(), layer.SelfAttention.q.weight.bfloat16().float()
    )
    assert images["block.1.layer.0.layer_norm.weight"].ndim == 0
