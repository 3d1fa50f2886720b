"""Dropout by eight bits: the right share, the right scale, the same again from the same seed."""

import pytest
import torch
from torch import nn

from dogeared.cheap_dropout import CheapDropout, Drop, cheap_dropout, rectify_and_drop, use_cheap_dropout
from dogeared.training.dropout import set_dropout


@pytest.mark.parametrize(("probability", "levels"), [(0.1, {25, 26}), (0.5, {128})])
@pytest.mark.parametrize("shape", [(1_000_003,), (251, 7, 13)])
def test_the_right_share_is_dropped_and_the_rest_is_scaled(probability, levels, shape):
    torch.manual_seed(3)
    seen = set()
    for _ in range(10):
        dropped = cheap_dropout(torch.ones(shape), probability)
        none, scale = dropped.unique().tolist()
        assert none == 0
        rate = 1 - 1 / scale
        seen.add(round(rate * 256))
        assert rate * 256 == pytest.approx(round(rate * 256), abs=1e-3)
        deviation = (rate * (1 - rate) / dropped.numel()) ** 0.5
        assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=4 * deviation)
    assert seen == levels


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.3, 255 / 256])
def test_on_the_average_a_probability_is_kept_to_that_256_do_not_say(probability):
    torch.manual_seed(0)
    rates = torch.tensor([Drop.of((), probability).level / 256 for _ in range(20_000)], dtype=torch.float64)
    assert rates.mean().item() == pytest.approx(probability, abs=4 * 0.5 / 256 / 20_000**0.5)
    assert rates.max() - rates.min() <= 1 / 256


def test_nothing_is_drawn_where_nothing_falls():
    values = torch.randn(5, requires_grad=True)
    before = torch.get_rng_state()
    assert cheap_dropout(values, 0.0) is values
    assert torch.equal(torch.get_rng_state(), before)


def test_hardly_anything_is_left_of_what_is_all_but_certain_to_fall():
    dropped = cheap_dropout(torch.ones(1_000_000), 1 - 1e-9)
    assert dropped.unique().tolist() == [0.0, 256.0]
    assert (dropped > 0).sum().item() == pytest.approx(1_000_000 / 256, abs=250)  # 4 deviations


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_to_rectify_and_drop_is_one_after_the_other_and_keeps_what_comes_out(precision):
    values, weigh = torch.randn(2, 60, 70).to(precision)
    together, apart = (values.clone().requires_grad_() for _ in range(2))
    kept = []
    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part) or part, lambda part: part):
        one = rectify_and_drop(together, 0.3)
    torch.manual_seed(1)
    two = cheap_dropout(apart.relu(), 0.3)
    assert torch.equal(one, two)
    assert [part.data_ptr() for part in kept] == [one.data_ptr()]
    for dropped in (one, two):
        (dropped * weigh).sum().backward()
    assert torch.equal(together.grad, apart.grad)
    assert 0.3 < (together.grad != 0).float().mean() < 0.4


def test_neighbours_that_share_a_draw_fall_independently():
    torch.manual_seed(0)
    kept = (cheap_dropout(torch.ones(400_000), 0.5) > 0).float().view(-1, 8)
    correlation = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlation.abs().max() < 0.018  # 4 deviations of 1 / sqrt(50,000)


def test_a_seed_gives_the_same_again_and_the_gradient_falls_where_the_values_fell():
    values = torch.randn(5, 33, requires_grad=True)
    torch.manual_seed(1)
    first = cheap_dropout(values, 0.3)
    torch.manual_seed(1)
    torch.testing.assert_close(cheap_dropout(values, 0.3), first, rtol=0, atol=0)
    first.sum().backward()
    torch.testing.assert_close(values.grad * values, first)


def test_a_byte_an_element_is_kept_for_the_way_back():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda part: kept.append(part) or part, lambda part: part):
        cheap_dropout(torch.randn(50, 20, requires_grad=True), 0.3)
    assert sum(part.nbytes for part in kept) == 50 * 20


def test_a_model_drops_cheaply_while_training_only():
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.5)))
    use_cheap_dropout(model)
    inner = model[1][0]
    assert type(inner) is CheapDropout
    values = torch.ones(2, 64)
    assert (inner(values) == 0).any()
    set_dropout(model, 0.0)
    torch.testing.assert_close(inner(values), values)
    set_dropout(model, 0.5)
    torch.testing.assert_close(model.eval()[1][0](values), values)
