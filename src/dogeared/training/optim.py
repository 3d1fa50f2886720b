"""The optimizer and its learning rate, as a function of the step.

AdamW with the usual exceptions from weight decay. The learning rate is computed from the step alone: there is no
schedule object with a state that could be forgotten on resume.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

__all__ = ["Schedule", "adamw", "learning_rate_factor"]

Schedule = Literal["constant", "linear", "cosine"]


def learning_rate_factor(step: int, *, num_steps: int, num_warmup_steps: int, schedule: Schedule) -> float:
    """Return what the learning rate is multiplied with at a step, counted from 0.

    It rises linearly over the warm-up, then stays, or falls towards 0 as the schedule says: along a line or along half
    a cosine. The warm-up holds for every schedule.

    >>> [learning_rate_factor(s, num_steps=6, num_warmup_steps=2, schedule="linear") for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    done = (step - num_warmup_steps) / max(1, num_steps - num_warmup_steps)
    if schedule == "linear":
        return max(0.0, 1.0 - done)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
    return 1.0


def adamw(
    model: nn.Module, *, learning_rate: float, weight_decay: float, paces: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Return an optimizer over all parameters that want a gradient; biases and norms (one axis) do not decay.

    Args:
        model: What is trained.
        learning_rate: Of the first step; whoever changes it later multiplies it with the ``pace`` of each group.
        weight_decay: Of parameters with two axes and more.
        paces: By the beginning of their names, how many times faster than the others some parameters learn.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            pace = next((pace for start, pace in (paces or {}).items() if name.startswith(start)), 1.0)
            groups.setdefault((pace, weight_decay if parameter.ndim >= 2 else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": pace * learning_rate, "pace": pace, "weight_decay": decay}
            for (pace, decay), parameters in groups.items()
        ],
        lr=learning_rate,
        fused=all(p.device.type in ("cpu", "cuda") for parameters in groups.values() for p in parameters),
    )
