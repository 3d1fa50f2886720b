"""Late interaction: texts with one vector a token, compared token by token (MaxSim). Pure functions over tensors.

Each token of the question looks for the most similar token of the passage; the similarities found are summed. Texts of
different lengths stand in one tensor, filled up with vectors of zeros, which no token has: so there is no mask to carry
beside it. How texts become vectors is not here.

Source: Khattab and Zaharia 2020 (ColBERT, arXiv 2004.12832), section 3.3.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["cat_texts", "max_similarity", "max_similarity_to_all", "real_tokens"]


def real_tokens(vectors: Float[Tensor, "*texts tokens dim"]) -> Bool[Tensor, "*texts tokens"]:
    """Tell which vectors are of tokens, and not there to fill up."""
    return (vectors != 0).any(dim=-1)


def cat_texts(parts: Sequence[Tensor]) -> Tensor:
    """Put the vectors of several lots of texts one after the other, all filled up to the longest text."""
    if not parts or parts[0].dim() < 3:
        return torch.cat(list(parts))
    longest = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])


def max_similarity(
    queries: Float[Tensor, "batch asked dim"], passages: Float[Tensor, "batch passages tokens dim"]
) -> Float[Tensor, "batch passages"]:
    """Sum over a question's tokens the product with the most similar token of each of its own passages.

    A passage without any token scores 0, and a question without any finds everything alike.

    >>> query = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])  # two tokens, and one to fill up
    >>> passages = torch.tensor([[[[0.6, 0.8], [1.0, 0.0]], [[-1.0, 0.0], [0.0, 0.0]]]])
    >>> [round(score, 4) for score in max_similarity(query, passages)[0].tolist()]  # 1 + 0.8, and -1 + 0
    [1.8, -1.0]
    """
    return _best_of_each(torch.einsum("bqd,bptd->bpqt", queries, passages), queries[:, None], passages)


def max_similarity_to_all(
    queries: Float[Tensor, "batch asked dim"], passages: Float[Tensor, "rows tokens dim"]
) -> Float[Tensor, "batch rows"]:
    """Compare each question with every passage, as ``max_similarity`` does.

    Question after question, and again where a gradient comes, so that the products of one question are in memory.
    """

    def of_one(query: Tensor, passages: Tensor) -> Tensor:
        return _best_of_each(torch.einsum("qd,rtd->rqt", query, passages), query, passages)

    return torch.stack([checkpoint(of_one, query, passages, use_reentrant=False) for query in queries])


def _best_of_each(
    products: Float[Tensor, "*texts asked tokens"],
    queries: Float[Tensor, "*any asked dim"],
    passages: Float[Tensor, "*texts tokens dim"],
) -> Float[Tensor, "*texts"]:
    is_token = real_tokens(passages)
    lowest = torch.finfo(products.dtype).min
    best = products.masked_fill(~is_token[..., None, :], lowest).max(dim=-1).values
    counted = real_tokens(queries) & is_token.any(dim=-1, keepdim=True)
    return best.masked_fill(~counted, 0.0).sum(dim=-1)
