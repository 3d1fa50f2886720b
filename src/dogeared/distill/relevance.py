"""From recorded cross-attention to one number a passage.

The paper's choice, and the default: the attention score *before* the softmax, at the decoder's first output position,
averaged over layers, heads and all input tokens of the passage. It depends on no answer, so questions without answers
are scored too. The other choices are those the paper compares, each by itself. Padding never counts; tokens that
belong to no passage never count.

Pure functions over tensors. The softmax over passages is not here: it is the loss's.

Source: Izacard and Grave 2021, section 3.2 (the aggregation G of equation 4) and the ablation of it (Table 6).
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from dogeared.settings import Settings

__all__ = ["PAPER", "Aggregation", "passage_relevance"]


class Aggregation(Settings):
    """How recorded attention becomes one number a passage: first over heads, then layers, then input tokens."""

    quantity: Literal["score", "probability"] = "score"
    """What is recorded: the score before the softmax over all input tokens, or the probability after it."""
    over_tokens: Literal["mean", "max", "sum"] = "mean"
    """The mean asks the whole passage. The maximum asks its one best token, which suits readers of so few layers that
    only the tokens of the answer come to know that they are relevant. The sum is for probabilities."""
    over_heads: Literal["mean", "max"] = "mean"
    """Whether all heads are asked, or the one that says most."""
    over_layers: Literal["mean", "max"] = "mean"
    """Whether all layers are asked, or the one that says most."""
    num_last_layers: int = Field(default=0, ge=0)
    """How many of the decoder's layers count, from the last; all where 0."""


PAPER = Aggregation()


def passage_relevance(
    scores: Float[Tensor, "layers batch heads output length"],
    passage_of_token: Int[Tensor, "batch length"],
    *,
    num_passages: int,
    aggregation: Aggregation = PAPER,
) -> Float[Tensor, "batch passages"]:
    """Make one number a passage of the scores of output position 0.

    Args:
        scores: Queries times keys, before mask and softmax, as the reader's decoder computed them.
        passage_of_token: The passage each input token belongs to; negative where none.
        num_passages: How many columns to return: the most passages of any question of the batch.
        aggregation: What is asked, and how it is put together.

    Returns:
        The relevance of each passage; minus infinity where a question has fewer passages, so that a softmax over a row
        covers just the passages of one question.
    """
    first = scores[-aggregation.num_last_layers :, :, :, 0, :].float()
    if aggregation.quantity == "probability":
        first = first.masked_fill((passage_of_token < 0)[None, :, None, :], -torch.inf).softmax(dim=-1)
    of_layer = first.mean(dim=2) if aggregation.over_heads == "mean" else first.amax(dim=2)
    of_token = of_layer.mean(dim=0) if aggregation.over_layers == "mean" else of_layer.amax(dim=0)
    # One more column takes the tokens that belong to no passage, and is cut off.
    column = torch.where(passage_of_token < 0, num_passages, passage_of_token)
    relevance = of_token.new_full((of_token.shape[0], num_passages + 1), -torch.inf)
    how = "amax" if aggregation.over_tokens == "max" else aggregation.over_tokens
    return relevance.scatter_reduce_(1, column, of_token, reduce=how, include_self=False)[:, :num_passages]
