"""Spans of the tokens of several passages that compete: their likelihood, the best one, and each passage's share.

A question's passages stand one after the other in one long sequence. p(span) = p(start) · p(end), each a softmax over
all readable tokens of all passages of the question. Training adds up p over the places where an answer stands.
Afterwards only spans that begin and end in one passage, and are short enough, count; the share of a passage is what its
spans have of the sum of all.

Pure functions over tensors; axes as in ``batching.py``, and ``lags``: how many tokens the end lies after the start.

Source: Clark and Gardner, ACL 2018, section 3 (shared normalisation, all occurrences added up).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["best_spans", "marginal_loss", "passage_log_posterior", "span_scores"]


def marginal_loss(
    start: Float[Tensor, "batch length"],
    end: Float[Tensor, "batch length"],
    readable: Bool[Tensor, "batch length"],
    occurrences: Int[Tensor, "occurrences 3"],
) -> Float[Tensor, ""]:
    """Return -log of the sum of p(start) · p(end) over the occurrences of each question, averaged over questions.

    Args:
        start: What the reader thinks of each token as the first of the answer.
        end: And as the last.
        readable: Which tokens compete.
        occurrences: Question, first and last token of each; a question without one adds 0, and counts.
    """
    question, first, last = occurrences.unbind(dim=1)
    log_start, log_end = (_log_softmax(logits, readable) for logits in (start, end))
    each = log_start[question, first] + log_end[question, last]
    own = question == torch.arange(len(start), device=start.device)[:, None]
    has_any = own.any(dim=1)
    # A question without any keeps those of all, because the gradient of an empty sum is not a number.
    likely = each.expand_as(own).masked_fill(~own & has_any[:, None], -torch.inf).logsumexp(dim=1)
    # The sum of nothing must still reach the weights, which wait for a gradient.
    return (start.sum() * 0.0 - torch.where(has_any, likely, 0.0).sum()) / len(start)


def span_scores(
    start: Float[Tensor, "batch length"],
    end: Float[Tensor, "batch length"],
    passage_of_token: Int[Tensor, "batch length"],
    *,
    max_tokens: int,
) -> Float[Tensor, "batch length lags"]:
    """Return start + end of all spans of at most ``max_tokens`` tokens, minus infinity where a span is none.

    Args:
        start: What the reader thinks of each token as the first of the answer.
        end: And as the last.
        passage_of_token: The passage of each; -1 where no answer can stand.
        max_tokens: The longest span.
    """
    length = start.shape[1]
    scores = []
    for lag in range(min(max_tokens, length)):
        kept = length - lag
        within = (passage_of_token[:, :kept] == passage_of_token[:, lag:]) & (passage_of_token[:, :kept] >= 0)
        both = (start[:, :kept] + end[:, lag:]).masked_fill(~within, -torch.inf)
        scores.append(torch.nn.functional.pad(both, (0, lag), value=-torch.inf))
    return torch.stack(scores, dim=-1)


def best_spans(scores: Float[Tensor, "batch length lags"]) -> list[tuple[int, int] | None]:
    """Return the first and last token of each question's best span; None where it has no span."""
    num_lags = scores.shape[-1]
    values, places = scores.flatten(1).max(dim=1)
    spans: list[tuple[int, int] | None] = []
    for value, place in zip(values.tolist(), places.tolist(), strict=True):
        first, lag = divmod(place, num_lags)
        spans.append(None if value == -torch.inf else (first, first + lag))
    return spans


def passage_log_posterior(
    scores: Float[Tensor, "batch length lags"],
    passage_of_token: Int[Tensor, "batch length"],
    *,
    num_passages: Int[Tensor, " batch"],
    width: int,
) -> Float[Tensor, "batch passages"]:
    """Return the logarithm of each passage's share in the likelihood of all spans.

    A passage that was cut so short that nothing of it can be read counts as the worst of the others, or as equal where
    all are: so that it teaches nothing but its place. There is minus infinity where a question has no such passage.

    Args:
        scores: As ``span_scores`` gives them.
        passage_of_token: The passage of each token.
        num_passages: How many passages each question has.
        width: How many passages the longest list has.
    """
    of_start = scores.logsumexp(dim=-1)
    of_passage = [of_start.masked_fill(passage_of_token != one, -torch.inf).logsumexp(dim=1) for one in range(width)]
    total = torch.stack(of_passage, dim=1) if of_passage else scores.new_zeros(len(scores), 0)
    exists = torch.arange(width, device=scores.device) < num_passages[:, None]
    silent = exists & (total == -torch.inf)
    if silent.any():
        worst = total.masked_fill(total == -torch.inf, torch.inf).amin(dim=1, keepdim=True)
        total = torch.where(silent, torch.where(worst.isfinite(), worst, 0.0), total)
    return torch.where(exists, _log_softmax(total, exists), -torch.inf)


def _log_softmax(logits: Float[Tensor, "batch any"], counted: Bool[Tensor, "batch any"]) -> Float[Tensor, "batch any"]:
    # Not minus infinity: a row without anything to count would have no softmax, and no gradient.
    return logits.masked_fill(~counted, torch.finfo(logits.dtype).min).log_softmax(dim=1)
