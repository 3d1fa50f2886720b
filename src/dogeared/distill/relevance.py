"""From recorded cross-attention to one number a passage.

The paper's choice: the attention score *before* the softmax, at the decoder's first output position, averaged over
layers, heads and all real input tokens of the passage. It depends on no answer, so questions without answers are
scored too. Padding never counts; tokens that belong to no passage never count.

Pure functions over tensors. The softmax over passages is not here: it is the loss's.

Source: Izacard and Grave 2021, section 3.2 (the aggregation G of equation 4).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["passage_relevance"]


def passage_relevance(
    scores: Float[Tensor, "layers batch heads output length"],
    passage_of_token: Int[Tensor, "batch length"],
    *,
    num_passages: int,
) -> Float[Tensor, "batch passages"]:
    """Average the scores of output position 0 over layers, heads and the tokens of each passage.

    Args:
        scores: Queries times keys, before mask and softmax, as the reader's decoder computed them.
        passage_of_token: The passage each input token belongs to; negative where none.
        num_passages: How many columns to return: the most passages of any question of the batch.

    Returns:
        The relevance of each passage; minus infinity where a question has fewer passages, so that a softmax over a row
        covers just the passages of one question.
    """
    of_token = scores[:, :, :, 0, :].float().mean(dim=(0, 2))
    # One more column takes the tokens that belong to no passage, and is cut off.
    column = torch.where(passage_of_token < 0, num_passages, passage_of_token)
    shape = (of_token.shape[0], num_passages + 1)
    total = of_token.new_zeros(shape).scatter_add_(1, column, of_token)
    count = of_token.new_zeros(shape).scatter_add_(1, column, torch.ones_like(of_token))
    mean = total / count.clamp(min=1.0)
    return mean.masked_fill(count == 0, -torch.inf)[:, :num_passages]
