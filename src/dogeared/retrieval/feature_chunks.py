"""Texts as a student's inputs: tokenized by the model's own preprocessing, sorted by length, cut into chunks.

Texts of about the same length stand together, so that little is padded. What is encoded from them is not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Int
from torch import Tensor

from dogeared.batching import Movable
from dogeared.cuts import count_cuts
from dogeared.retrieval.encoder_models import StudentModel, is_multi, routes

__all__ = ["FeatureChunk", "feature_chunks"]


@dataclass(frozen=True, kw_only=True)
class FeatureChunk(Movable):
    """Texts of about the same length, as the model's own preprocessing made them.

    Attributes:
        features: The model's inputs.
        rows: Which texts of the batch these are.
    """

    features: Mapping[str, Any]
    rows: Int[Tensor, " rows"]


def feature_chunks(
    model: StudentModel, texts: list[str], *, task: Literal["query", "document"], max_chunk_tokens: int
) -> tuple[FeatureChunk, ...]:
    """Tokenize texts, and cut them into chunks of about ``max_chunk_tokens`` tokens.

    A model with an encoder for each task, or with a vector a token, is told the task.
    """
    prompt = model.prompts.get(task)
    route = {"task": task} if routes(model) or is_multi(model) else {}
    features = model.preprocess(texts, prompt=prompt or None, **route) if texts else {}
    features = {**features, **route} if is_multi(model) else features
    mask = features.get("attention_mask")
    if mask is None or model.tokenizer.padding_side != "right":
        return (FeatureChunk(features=features, rows=torch.arange(len(texts))),) if texts else ()
    if not is_multi(model):  # whose limits are others, for each task its own
        count_cuts("retriever.max_length_tokens", model.max_seq_length, mask.sum(dim=1).tolist())
    # Tokens that a question is filled up with are none of the text's, and count all the same.
    lengths = (mask.bool() | features.get("query_expansion_positions", mask).bool()).sum(dim=1).tolist()
    order = sorted(range(len(texts)), key=lambda row: lengths[row])
    chunks, start = [], 0
    while start < len(order):
        end = start + 1
        while end < len(order) and lengths[order[end]] * (end + 1 - start) <= max_chunk_tokens:
            end += 1
        rows = torch.tensor(order[start:end])
        chunks.append(FeatureChunk(features=_trimmed(features, rows, lengths[order[end - 1]]), rows=rows))
        start = end
    return tuple(chunks)


def _trimmed(features: Mapping[str, Any], rows: Tensor, length: int) -> dict[str, Any]:
    """Take some texts, without the padding that longer ones gave them."""
    return {
        name: value[rows][:, :length].contiguous() if isinstance(value, Tensor) and value.ndim == 2 else value
        for name, value in features.items()
    }
