"""What a training says when it cannot begin or cannot go on: with the step, the batch and the last good checkpoint.

The loop calls these; how a step is done is not known here.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dogeared.errors import TrainingError
from dogeared.memory import require_mb
from dogeared.training.checkpoint import newest_checkpoint

__all__ = ["LESS_MEMORY", "bad_loss", "check_memory"]

LESS_MEMORY = "Lower questions_per_batch, the number of passages or max_length_tokens, or take a smaller model"
_NUM_NAMED = 64


def check_memory(model: nn.Module, device: torch.device, name: str) -> None:
    """Refuse a training whose gradients and optimizer, three numbers a weight, cannot fit.

    Raises:
        ResourceError: They cannot; the message says how much they take and how much there is.
    """
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    needed = 3 * 4 * weights / 2**20
    require_mb(f"{name}: the optimizer of {weights:,} weights", needed, device, advice=LESS_MEMORY)


def bad_loss(
    name: str,
    loss: float,
    *,
    step: int,
    batch: int | None,
    ids: Sequence[str],
    batch_size: int,
    learning_rate: float,
    folder: Path,
) -> TrainingError:
    """Make the error of a loss, or of a gradient, that is no finite number.

    Args:
        name: Of the training.
        loss: What it is.
        step: In which step, counted from 0.
        batch: In which batch of the step, where that is known.
        ids: The questions of the step, in the order of its batches; empty where they have no ids.
        batch_size: Questions in a batch.
        learning_rate: At the end of the warm-up.
        folder: Where the checkpoints are.
    """
    where = "" if batch is None else f" It is the loss of batch {batch + 1} of the step."
    named = ids if batch is None else ids[batch * batch_size : (batch + 1) * batch_size]
    if named:
        more = f" and {len(named) - _NUM_NAMED} more" if len(named) > _NUM_NAMED else ""
        where += f" Its questions: {', '.join(map(repr, named[:_NUM_NAMED]))}{more}."
    last = newest_checkpoint(folder) or "not there: none was made"
    return TrainingError(
        f"{name}: the loss of step {step + 1}, or its gradient, is {loss} and would destroy the weights.{where} The "
        f"last good checkpoint is {last} before step {step + 1}. Look at these questions and their passages; or lower "
        f"the learning rate ({learning_rate:g}) or lengthen the warm-up, and start anew: what {folder} holds was made "
        "with the old settings."
    )
