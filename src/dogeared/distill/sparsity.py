"""What sparse vectors cost to search, as a number to be kept small.

A word that many texts have a number for makes many products at every search. The square of the mean number of a word
grows faster than the mean, so words that stand in every vector are driven out first.

Source: Paria et al. 2020 (arXiv 2004.05665); in the training of a retriever, Formal et al. 2021 (SPLADE).
"""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["search_cost"]


def search_cost(vectors: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """Return the sum over words of the squared mean of their absolute numbers.

    >>> search_cost(torch.tensor([[1.0, 0.0, 4.0], [3.0, 0.0, 0.0]])).item()  # 2² + 0² + 2²
    8.0
    """
    return torch.square(vectors.abs().mean(dim=0)).sum()
