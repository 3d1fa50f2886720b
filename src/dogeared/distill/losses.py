"""What the student minimizes: pure functions from scores and relevance to a scalar.

Every softmax here covers exactly one row, the passages of one question. Passages that are not there carry a relevance
of minus infinity: they get no probability on either side and no gradient.

This module calls no model and does not know where the numbers came from.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Reduction", "kl_divergence"]

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
