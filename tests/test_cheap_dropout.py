"""Dropout by sixteen bits: the right share, the right scale, the same again from the same seed."""

import pytest
import torch
from torch import nn

from dogeared.cheap_dropout import CheapDropout, cheap_dropout, use_cheap_dropout
from dogeared.training.dropout import set_dropout


@pytest.mark.parametrize("probability", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(1_000_003,), (251, 7, 13)])
def test_the_right_share_is_dropped_and_the_rest_is_scaled(probability, shape):
    torch.manual_seed(3)
    dropped = cheap_dropout(torch.ones(shape), probability)
    rate = round(probability * 65_536) / 65_536
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])
    deviation = (probability * (1 - probability) / dropped.numel()) ** 0.5
    assert (dropped == 0).float().mean().item() == pytest.approx(probability, abs=4 * deviation)


def test_neighbours_that_share_a_draw_fall_independently():
    torch.manual_seed(0)
    kept = (cheap_dropout(torch.ones(400_000), 0.5) > 0).float().view(-1, 4)
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.015  # 4 deviations of 1 / sqrt(100,000)


def test_a_seed_gives_the_same_again_and_the_gradient_falls_where_the_values_fell():
    values = torch.randn(5, 33, requires_grad=True)
    torch.manual_seed(1)
    first = cheap_dropout(values, 0.3)
    torch.manual_seed(1)
    torch.testing.assert_close(cheap_dropout(values, 0.3), first, rtol=0, atol=0)
    first.sum().backward()
    torch.testing.assert_close(values.grad * values, first)


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
