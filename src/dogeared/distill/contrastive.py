"""In-batch contrastive loss: a question's best passage against the passages of the other questions of its batch.

Distillation orders the few passages that were retrieved for a question; this holds the question off all others. A
passage of the question's own is never its negative, whosever list it also stands in, and a passage that several
questions share counts once. What else was retrieved for a question, the caller knows. Pure functions over tensors; no
model is called.

Source: Karpukhin et al. 2020 (DPR), section 3.2 (in-batch negatives).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["contrastive_loss", "in_batch_negatives"]


def in_batch_negatives(
    passages: Int[Tensor, " rows"], questions: Int[Tensor, " rows"], *, num_questions: int
) -> Bool[Tensor, "batch rows"]:
    """Tell which rows are negatives of which question.

    Args:
        passages: Which passage a row is; equal numbers are the same passage.
        questions: Whose passage it is: the number of the question in the batch.
        num_questions: How many questions there are.

    >>> passages, questions = torch.tensor([7, 8, 8, 9, 9]), torch.tensor([0, 0, 1, 1, 2])
    >>> in_batch_negatives(passages, questions, num_questions=3).int().tolist()
    [[0, 0, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]]
    """
    _, distinct = torch.unique(passages, return_inverse=True)
    rows = torch.arange(len(passages), device=passages.device)
    is_own = torch.zeros(num_questions, len(passages), dtype=torch.bool, device=passages.device)
    is_own[questions, distinct] = True
    first = torch.full_like(rows, len(passages)).scatter_reduce(0, distinct, rows, reduce="amin")
    return ~is_own[:, distinct] & (first[distinct] == rows)


def contrastive_loss(
    score: Float[Tensor, "batch rows"],
    positive: Int[Tensor, " batch"],
    is_negative: Bool[Tensor, "batch rows"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return -log of the positive's share in a softmax over it and its negatives, averaged over questions.

    Args:
        score: Of every question with every passage of the batch.
        positive: The row of each question's positive.
        is_negative: Which rows stand against it; a question without any costs nothing.
        temperature: Divides every score.

    >>> score, nothing = torch.zeros(2, 3), torch.tensor([[False, True, True], [False, False, False]])
    >>> round(contrastive_loss(score, torch.tensor([0, 1]), nothing).item(), 4)  # (log 3 + log 1) / 2
    0.5493
    """
    score = score / temperature
    is_positive = torch.zeros_like(is_negative).scatter(1, positive[:, None], True)
    compared = score.masked_fill(~(is_negative | is_positive), -torch.inf)
    return (torch.logsumexp(compared, dim=1) - score.gather(1, positive[:, None]).squeeze(1)).mean()
