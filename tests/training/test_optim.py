"""The optimizer and its learning rate: the schedule by hand, and who decays."""

import math

import pytest
import torch
from torch import nn

from dogeared.training.optim import adamw, learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "after_warmup"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("cosine", [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0.0]),
    ],
)
@pytest.mark.parametrize("num_warmup_steps", [0, 3])
def test_learning_rate_rises_over_the_warmup_and_then_follows_its_schedule(schedule, after_warmup, num_warmup_steps):
    num_steps = num_warmup_steps + 4
    warmup = [1 / 3, 2 / 3, 1.0] if num_warmup_steps else []
    factors = [
        learning_rate_factor(step, num_steps=num_steps, num_warmup_steps=num_warmup_steps, schedule=schedule)
        for step in range(num_steps + 1)
    ]
    assert factors == pytest.approx([*warmup, *after_warmup], abs=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_learning_rate_stays_at_zero_behind_the_end(schedule):
    assert learning_rate_factor(9, num_steps=4, num_warmup_steps=0, schedule=schedule) == 0.0


def test_only_matrices_decay_and_frozen_parameters_stay():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2, bias=False))
    model[2].weight.requires_grad_(False)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = adamw(model, learning_rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # With a gradient of zero AdamW does nothing but decay: by learning rate times decay.
    after = dict(model.named_parameters())
    torch.testing.assert_close(after["0.weight"], before["0.weight"] * (1 - 0.1 * 0.5))
    for name in ("0.bias", "1.weight", "1.bias", "2.weight"):
        assert torch.equal(after[name], before[name])
