"""Weights rounded once: the vectors and gradients of float32, within what bfloat16 can hold."""

import pytest
import torch
from torch import nn

from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.rounded import _StandIns, call_rounded, round_between, rounded_weights

TEXTS = ["who was born in the north ?", "which house did she build in the year of her birth ? " * 3] * 6


@pytest.fixture
def encoder(tiny_models):
    loaded = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), max_length_tokens=48))
    return loaded.eval()


def run(encoder, *, rounded, encode_twice=False):
    encoder.zero_grad()
    chunks = encoder.query_chunks(TEXTS, max_chunk_tokens=120)
    assert len(chunks) > 2
    with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
        vectors = encoder.embed(chunks, encode_twice=encode_twice)
        (vectors * torch.linspace(-1, 1, vectors.shape[1])).sum().backward()
    return vectors.detach(), {n: p.grad.clone() for n, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("encode_twice", [False, True])
def test_vectors_and_gradients_are_those_of_float32(encoder, encode_twice):
    exact, gradients = run(encoder, rounded=False)
    vectors, rounded = run(encoder, rounded=True, encode_twice=encode_twice)
    assert vectors.dtype == torch.float32
    assert not torch.equal(vectors, exact)
    assert torch.cosine_similarity(vectors, exact).min() > 0.9995
    assert rounded.keys() == gradients.keys()
    for name, gradient in gradients.items():
        if not name.endswith("key.bias"):  # to which a softmax is blind: its gradient is 0 and rounding
            assert (rounded[name] - gradient).norm() < 0.06 * gradient.norm(), name
            assert rounded[name].dtype == torch.float32


def test_encoding_twice_gives_the_same_gradient_to_the_bit(encoder):
    once, twice = run(encoder, rounded=True), run(encoder, rounded=True, encode_twice=True)
    assert torch.equal(once[0], twice[0])
    for name, gradient in once[1].items():
        assert torch.equal(twice[1][name], gradient), name


def test_many_small_gradients_of_a_norm_s_bias_are_not_lost():
    """Adding 4,096 ones to each other in bfloat16 stops at 256."""
    norm = nn.LayerNorm(8)
    round_between(norm)
    with torch.autocast("cpu", torch.bfloat16):
        norm(torch.randn(4096, 8, dtype=torch.bfloat16)).float().sum().backward()
    torch.testing.assert_close(norm.bias.grad, torch.full((8,), 4096.0))


def test_gradients_of_many_calls_are_added_up_in_float32():
    linear = nn.Linear(1, 1, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        images = rounded_weights(linear)
        assert {name: image.dtype for name, image in images.items()} == {"weight": torch.bfloat16}
        total = torch.stack([call_rounded(linear, images, torch.ones(1, 1)) for _ in range(300)]).sum()
    total.backward()
    assert linear.weight.grad.item() == 300  # 256 in bfloat16


def test_without_autocast_there_is_nothing_to_use(encoder):
    assert encoder.rounded_weights() == {}
    linear = nn.Linear(2, 2)
    values = torch.randn(3, 2)
    torch.testing.assert_close(call_rounded(linear, rounded_weights(linear), values), linear(values), rtol=0, atol=0)


def test_a_weight_that_stands_in_two_places_is_replaced_in_both_and_put_back():
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, nn.Tanh(), second)
    weight = first.weight
    with torch.autocast("cpu", torch.bfloat16):
        images = rounded_weights(model)
        assert len(images) == 1
        with pytest.raises(ZeroDivisionError), images.in_place_of_weights():
            assert first.weight is second.weight
            assert first.weight.dtype == torch.bfloat16
            raise ZeroDivisionError
        assert first.weight is second.weight is weight
        call_rounded(model, images, torch.ones(1, 2)).sum().backward()
    assert weight.grad.dtype == torch.float32
    rounded = weight.grad.clone()
    weight.grad = None
    model(torch.ones(1, 2)).sum().backward()
    torch.testing.assert_close(rounded, weight.grad, rtol=2e-2, atol=2e-2)


def test_all_at_once_weights_get_the_gradients_that_each_gets_alone_and_none_where_it_is_not_called_for():
    """As on a GPU, where one step back hands out all."""
    weights = [torch.randn(3, 3, requires_grad=True) for _ in range(3)]
    images = [weight.detach().bfloat16() for weight in weights]
    expected = []
    for at_once in (False, True):
        if at_once:
            standing = _StandIns.apply(*weights, *images)
        else:
            standing = [_StandIns.apply(weight, image)[0] for weight, image in zip(weights, images, strict=True)]
        (standing[0] @ standing[2]).float().square().sum().backward()
        if at_once:
            for weight, gradient in zip(weights, expected, strict=True):
                assert gradient is weight.grad is None or torch.equal(weight.grad, gradient)
        expected = [weight.grad for weight in weights]
        for weight in weights:
            weight.grad = None
    assert [gradient is None for gradient in expected] == [False, True, False]
