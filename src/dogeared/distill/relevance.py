"""From recorded cross-attention to one number a passage.

The paper's choice, and the default: the attention score *before* the softmax, at the decoder's first output position,
averaged over layers, heads and all input tokens of the passage. It depends on no answer, so questions without answers
are scored too. The other choices are those the paper compares, each by itself, and those of its heirs. Padding never
counts; tokens that belong to no passage never count.

Pure functions over tensors. The softmax over passages is not here: it is the loss's.

Source: Izacard and Grave 2021, section 3.2 (the aggregation G of equation 4) and the ablation of it (Table 6); the
length of values from Izacard et al., "Atlas", 2022 (its attention distillation).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from dogeared.settings import Settings

__all__ = ["PAPER", "Aggregation", "passage_relevance"]

Reduction = Literal["mean", "max", "sum"]


class Aggregation(Settings):
    """How recorded attention becomes one number a passage: over output tokens, then heads, layers, input tokens."""

    quantity: Literal["score", "probability", "probability_times_value_norm"] = "score"
    """What is recorded: the score before the softmax over all input tokens, the probability after it, or that times the
    length of the value it weighs, which is how much of the decoder's sum comes from the token."""
    output_tokens: Literal["first", "generated", "given"] = "first"
    """Where the decoder is watched: where it chooses its first token, which needs no answer and one step; or at every
    token, the end token too, of the answer that it writes, or of the question's first right answer. The last leaves
    questions without answers out."""
    over_output: Reduction = "mean"
    """How the tokens of an answer are put together; bears on nothing where only the first counts."""
    over_tokens: Reduction = "mean"
    """The mean asks the whole passage. The maximum asks its one best token, which suits readers of so few layers that
    only the tokens of the answer come to know that they are relevant. The sum is for probabilities."""
    over_heads: Reduction = "mean"
    """Whether all heads are asked, or the one that says most."""
    over_layers: Reduction = "mean"
    """Whether all layers are asked, or the one that says most."""
    num_last_layers: int = Field(default=0, ge=0)
    """How many of the decoder's layers count, from the last; all where 0."""
    input_tokens: Literal["all", "passage"] = "all"
    """Which tokens of a pair count: all that the encoder reads, question and title too, or the passage's text alone. A
    pair whose question leaves no room for its text counts whole."""


PAPER = Aggregation()


def passage_relevance(
    scores: Float[Tensor, "layers batch heads output length"],
    passage_of_token: Int[Tensor, "batch length"],
    *,
    num_passages: int,
    aggregation: Aggregation = PAPER,
    output_mask: Bool[Tensor, "batch output"] | None = None,
    value_norms: Float[Tensor, "layers batch heads length"] | None = None,
    counted: Bool[Tensor, "batch length"] | None = None,
) -> Float[Tensor, "batch passages"]:
    """Make one number a passage of the decoder's scores.

    Args:
        scores: Queries times keys, before mask and softmax, as the reader's decoder computed them.
        passage_of_token: The passage each input token belongs to; negative where none.
        num_passages: How many columns to return: the most passages of any question of the batch.
        aggregation: What is asked, and how it is put together.
        output_mask: Which output positions belong to the answer; all where None. Bears on nothing where only the first
            is asked.
        value_norms: The lengths of the values; needed where they are asked for.
        counted: Which input tokens count where not all do; None for all. Probabilities are those over all tokens all
            the same. A passage with no token that counts is asked as a whole.

    Returns:
        The relevance of each passage; minus infinity where a question has fewer passages, so that a softmax over a row
        covers just the passages of one question.
    """
    last = slice(-aggregation.num_last_layers, None) if aggregation.num_last_layers else slice(None)
    asked = (scores[last, :, :, :1] if aggregation.output_tokens == "first" else scores[last]).float()
    if aggregation.quantity != "score":
        asked = asked.masked_fill((passage_of_token < 0)[None, :, None, None, :], -torch.inf).softmax(dim=-1)
    if aggregation.quantity == "probability_times_value_norm":
        assert value_norms is not None, "the lengths of values are asked for and were not recorded"
        asked = asked * value_norms[last, :, :, None, :].float()
    if aggregation.output_tokens == "first":
        of_head = asked[:, :, :, 0]
    else:
        of_head = _over_output(asked, aggregation.over_output, output_mask)
    of_token = _reduced(_reduced(of_head, aggregation.over_heads, dim=2), aggregation.over_layers, dim=0)
    # One more column takes the tokens that do not count, and is cut off.
    column = torch.where(passage_of_token < 0, num_passages, passage_of_token)
    if counted is not None:
        column = torch.where(counted | _of_uncounted(column, counted, num_passages), column, num_passages)
    relevance = of_token.new_full((of_token.shape[0], num_passages + 1), -torch.inf)
    how = "amax" if aggregation.over_tokens == "max" else aggregation.over_tokens
    return relevance.scatter_reduce_(1, column, of_token, reduce=how, include_self=False)[:, :num_passages]


def _over_output(
    asked: Float[Tensor, "layers batch heads output length"],
    how: Reduction,
    output_mask: Bool[Tensor, "batch output"] | None,
) -> Float[Tensor, "layers batch heads length"]:
    if output_mask is None:
        return _reduced(asked, how, dim=3)
    real = output_mask[None, :, None, :, None]
    if how == "max":
        return asked.masked_fill(~real, -torch.inf).amax(dim=3)
    summed = asked.masked_fill(~real, 0.0).sum(dim=3)
    return summed if how == "sum" else summed / real.sum(dim=3)


def _reduced(values: Tensor, how: Reduction, *, dim: int) -> Tensor:
    if how == "mean":
        return values.mean(dim=dim)
    return values.sum(dim=dim) if how == "sum" else values.amax(dim=dim)


def _of_uncounted(
    column: Int[Tensor, "batch length"], counted: Bool[Tensor, "batch length"], num_passages: int
) -> Bool[Tensor, "batch length"]:
    """Say of each token whether it belongs to a passage none of whose tokens counts."""
    num_counted = column.new_zeros(column.shape[0], num_passages + 1).scatter_add_(1, column, counted.to(column.dtype))
    return num_counted.gather(1, column) == 0
