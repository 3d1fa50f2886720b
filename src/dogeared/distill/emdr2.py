"""End-to-end training of a retriever through the likelihood of the answer: the loss of EMDR2.

The passage is a latent variable. The student's softmax says how likely each passage is to be picked, the reader says
how likely the answer is given each passage, and the loss is minus the log of their sum over passages. So the student is
not told a distribution to copy: it puts its weight where the answer becomes likely. The sum is taken once for the whole
answer, as in the paper, or anew for each token of it.

Functions over tensors; the likelihoods are written beforehand by ``likelihood.py`` and get no gradient.

Source: Singh et al., "End-to-End Training of Multi-Document Reader and Retriever for Open-Domain Question Answering"
(NeurIPS 2021), equation 2; the token form as in Izacard et al., "Atlas", 2022.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dogeared.records import AnswerLikelihood

__all__ = ["emdr2_of_answers", "emdr2_of_tokens", "likelihood_grid"]


def likelihood_grid(
    judged: Sequence[AnswerLikelihood], *, num_passages: int
) -> tuple[Float[Tensor, "batch passages output"], Bool[Tensor, "batch output"]]:
    """Lay out the likelihoods of several questions as ``emdr2_of_tokens`` takes them.

    Args:
        judged: One a question, of at least one passage and one token.
        num_passages: How many passages of a question are looked at, from the first.

    Returns:
        The log-likelihoods, minus infinity where a question has fewer passages and 0 behind its answer; and which
        tokens belong to the answer.
    """
    counts = [min(len(item.passage_ids), num_passages) for item in judged]
    lengths = [len(item.log_likelihood[0]) for item in judged]
    grid = torch.full((len(judged), max(counts), max(lengths)), -torch.inf)
    for row, (item, count, length) in enumerate(zip(judged, counts, lengths, strict=True)):
        grid[row, :count] = 0.0
        grid[row, :count, :length] = torch.tensor(item.log_likelihood[:count])
    return grid, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def emdr2_of_answers(
    score: Float[Tensor, "batch passages"],
    log_likelihood: Float[Tensor, "batch passages"],
    *,
    student_temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Return minus log of the sum over passages of p(passage) p(answer | passage), averaged over questions.

    Args:
        score: The student's.
        log_likelihood: Of the whole answer given each passage alone, summed over its tokens; minus infinity where a
            question has fewer passages. Each question has at least one.
        student_temperature: The student's score is divided by it.

    >>> even = torch.zeros(1, 2)
    >>> round(emdr2_of_answers(even, torch.tensor([[0.5, 0.25]]).log()).item(), 4)  # minus log of 3/8
    0.9808
    """
    prior = _log_prior(score, torch.isneginf(log_likelihood), student_temperature)
    return -torch.logsumexp(prior + log_likelihood.detach(), dim=-1).mean()


def emdr2_of_tokens(
    score: Float[Tensor, "batch passages"],
    log_likelihood: Float[Tensor, "batch passages output"],
    output_mask: Bool[Tensor, "batch output"],
    *,
    student_temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Sum over passages anew for each token of the answer; average over an answer's tokens, then over questions.

    Args:
        score: The student's.
        log_likelihood: Of each token of the answer given the tokens before it and each passage alone; minus infinity
            at all tokens where a question has fewer passages.
        output_mask: Which tokens belong to the answer; at least one a question.
        student_temperature: The student's score is divided by it.

    >>> both = torch.tensor([[[0.5, 1.0], [0.25, 0.5]]]).log()  # passages by tokens
    >>> mask = torch.tensor([[True, True]])
    >>> round(emdr2_of_tokens(torch.zeros(1, 2), both, mask).item(), 4)  # minus mean of log 3/8 and log 3/4
    0.6343
    """
    absent = torch.isneginf(log_likelihood).all(dim=-1)
    prior = _log_prior(score, absent, student_temperature)
    # Padding must be finite before the sum, or its gradient is not.
    known = log_likelihood.detach().masked_fill(~output_mask[:, None, :] & ~absent[:, :, None], 0.0)
    of_token = torch.logsumexp(prior[:, :, None] + known, dim=1).masked_fill(~output_mask, 0.0)
    return -(of_token.sum(dim=-1) / output_mask.sum(dim=-1)).mean()


def _log_prior(
    score: Float[Tensor, "batch passages"], absent: Bool[Tensor, "batch passages"], temperature: float
) -> Float[Tensor, "batch passages"]:
    """Return the log of the student's softmax over the passages that are there, and 0 for the others."""
    return (score / temperature).masked_fill(absent, -torch.inf).log_softmax(dim=-1).masked_fill(absent, 0.0)
