"""What the student minimizes: pure functions from scores and relevance to a scalar.

The divergence is the paper's, squared error and margin are what the paper compares it with, and two more look at the
passages that the teacher finds best. Every one is a sum or a mean over the passages of one question, then a mean over
questions. Passages that are not there carry a relevance of minus infinity: they bear on nothing and get no gradient.

This module calls no model and does not know where the numbers came from. Other questions' passages are not here: they
are in ``contrastive.py``.

Source: Izacard and Grave 2021, the losses of Table 5, and what the functions name.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = [
    "LossName",
    "Reduction",
    "cross_entropy",
    "distillation_loss",
    "graded_infonce",
    "kl_divergence",
    "max_margin",
    "squared_error",
]

LossName = Literal["kl", "mse", "max_margin", "cross_entropy", "graded_infonce"]
"""The functions of this module: ``mse`` is ``squared_error``."""

Reduction = Literal["batch_mean", "reference"]
"""``batch_mean`` divides by the number of questions; ``reference`` by the number of passages as well."""


def kl_divergence(
    score: Float[Tensor, "batch passages"],
    relevance: Float[Tensor, "batch passages"],
    *,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    reduction: Reduction = "batch_mean",
) -> Float[Tensor, ""]:
    """Return KL(softmax(relevance / T_teacher) || softmax(score / T_student)), averaged over questions.

    Args:
        score: The student's.
        relevance: The teacher's; minus infinity where there is no passage.
        student_temperature: Lower makes the student's softmax sharper for the same scores.
        teacher_temperature: Higher makes the teacher less sure of itself.
        reduction: ``batch_mean`` is the divergence itself. ``reference`` also divides by the number of passages, as
            the reference implementation does by torch's default; with it a published learning rate or a mix with
            another loss keeps its meaning.

    Returns:
        A scalar, not negative.

    Source: Izacard and Grave 2021, equation 5.

    >>> teacher = torch.tensor([[0.75, 0.25]]).log()
    >>> round(kl_divergence(torch.zeros(1, 2), teacher).item(), 4)  # 3/4 log 3/2 + 1/4 log 1/2
    0.1308
    """
    absent = torch.isneginf(relevance)
    teacher = torch.log_softmax(relevance / teacher_temperature, dim=-1)
    student = torch.log_softmax((score / student_temperature).masked_fill(absent, -torch.inf), dim=-1)
    # p log p is 0 where p is 0, and minus infinity times 0 is not; so absent passages are left out of the sum.
    terms = torch.where(
        absent, 0.0, teacher.exp() * (teacher.masked_fill(absent, 0.0) - student.masked_fill(absent, 0.0))
    )
    divergence = terms.sum(dim=-1)
    if reduction == "reference":
        # Each question by its own passages, so that no other question's number of them matters. Where all have the
        # same number, as in FiD, this is the average over all entries that its KLDivLoss takes.
        divergence = divergence / (~absent).sum(dim=-1).clamp(min=1)
    return divergence.mean()


def squared_error(
    score: Float[Tensor, "batch passages"], relevance: Float[Tensor, "batch passages"]
) -> Float[Tensor, ""]:
    """Return (score - relevance)², averaged over the passages of a question, then over questions.

    Unlike the others it asks the student for the teacher's numbers, not for their order or their differences.

    Source: Izacard and Grave 2021, mean squared error of Table 5.

    >>> squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, 2.0]])).item()
    4.5
    """
    absent = torch.isneginf(relevance)
    difference = (score - relevance.masked_fill(absent, 0.0)).masked_fill(absent, 0.0)
    return (difference.square().sum(dim=-1) / (~absent).sum(dim=-1).clamp(min=1)).mean()


def max_margin(
    score: Float[Tensor, "batch passages"], relevance: Float[Tensor, "batch passages"], *, margin: float
) -> Float[Tensor, ""]:
    """Return max(0, margin - (score of the better - score of the worse)), averaged over pairs, then over questions.

    Which of two passages is the better is all that it takes from the teacher; pairs that the teacher finds equal teach
    nothing and are left out.

    Source: Izacard and Grave 2021, max-margin of Table 5.

    >>> max_margin(torch.tensor([[0.0, 0.5, 3.0]]), torch.tensor([[1.0, 2.0, 2.0]]), margin=1.0).item()  # (½ + 0) / 2
    0.25
    """
    present = ~torch.isneginf(relevance)
    # One side of a pair is the better; minus infinity is better than nothing, so absent passages are worse only.
    is_pair = (relevance[:, :, None] > relevance[:, None, :]) & present[:, None, :]
    costs = (margin - (score[:, :, None] - score[:, None, :])).clamp(min=0.0).masked_fill(~is_pair, 0.0)
    return (costs.sum(dim=(1, 2)) / is_pair.sum(dim=(1, 2)).clamp(min=1)).mean()


def cross_entropy(
    score: Float[Tensor, "batch passages"], relevance: Float[Tensor, "batch passages"]
) -> Float[Tensor, ""]:
    """Return -log softmax(score) of the teacher's best passage, averaged over questions; the first among equals.

    >>> round(cross_entropy(torch.zeros(1, 4), torch.tensor([[0.0, 9.0, 3.0, 1.0]])).item(), 4)  # log 4
    1.3863
    """
    absent = torch.isneginf(relevance)
    student = torch.log_softmax(score.masked_fill(absent, -torch.inf), dim=-1)
    best = student.gather(1, relevance.argmax(dim=1, keepdim=True)).squeeze(1)
    return -best.masked_fill(absent.all(dim=1), 0.0).mean()


def graded_infonce(
    score: Float[Tensor, "batch passages"], relevance: Float[Tensor, "batch passages"]
) -> Float[Tensor, ""]:
    """Return InfoNCE with every passage in turn as the positive, weighted by the teacher's softmax.

    A passage stands against those alone that the teacher finds less relevant, so the second best is pulled up over the
    third without being pushed below the best for it. With all passages as the negatives of each, the gradient would be
    that of the divergence.

    Source: InfoNCE is van den Oord et al. 2018 (arXiv 1807.03748); one positive after the other against what ranks
    below it, Hoffmann et al. 2022 (RINCE, arXiv 2201.11736); the weight of a passage is its utility to the reader, as
    in Sandhu et al. 2026 (arXiv 2604.22722), whose own formula may differ.

    >>> teacher = torch.tensor([[0.75, 0.25]]).log()
    >>> round(graded_infonce(torch.zeros(1, 2), teacher).item(), 4)  # 3/4 log 2 + 1/4 log 1
    0.5199
    """
    absent = torch.isneginf(relevance)
    weight = torch.softmax(relevance, dim=-1).masked_fill(absent, 0.0)
    is_below = (relevance[:, :, None] > relevance[:, None, :]) & ~absent[:, None, :]
    is_compared = is_below | torch.eye(score.shape[1], dtype=torch.bool, device=score.device)
    compared = score[:, None, :].masked_fill(~is_compared, -torch.inf)
    return (weight * (torch.logsumexp(compared, dim=-1) - score)).sum(dim=-1).mean()


def distillation_loss(
    score: Float[Tensor, "batch passages"],
    relevance: Float[Tensor, "batch passages"],
    *,
    loss: LossName,
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    reduction: Reduction = "batch_mean",
    margin: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the loss of a name, with scores and relevance divided by their temperatures first.

    Args:
        score: The student's.
        relevance: The teacher's; minus infinity where there is no passage.
        loss: Which of this module's.
        student_temperature: Divides every score.
        teacher_temperature: Divides all relevance; bears on nothing where only the order counts.
        reduction: Of the divergence.
        margin: Of ``max_margin``, in units of the divided score.
    """
    score, relevance = score / student_temperature, relevance / teacher_temperature
    if loss == "kl":
        return kl_divergence(score, relevance, reduction=reduction)
    if loss == "mse":
        return squared_error(score, relevance)
    if loss == "max_margin":
        return max_margin(score, relevance, margin=margin)
    return cross_entropy(score, relevance) if loss == "cross_entropy" else graded_infonce(score, relevance)
