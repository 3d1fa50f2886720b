"""Texts as a student's inputs: those of the model's own preprocessing, sorted by length, cut into chunks.

Texts of about the same length stand together, so that little is padded. What is encoded from them is not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from dogeared.batching import Movable, sorted_chunks
from dogeared.cuts import count_cuts
from dogeared.retrieval.encoder_models import StudentModel, is_multi, routes, takes_lists
from dogeared.retrieval.plain_inputs import PlainInputs, plain_inputs

__all__ = ["FeatureChunk", "feature_chunks"]

_AS_LISTS: dict[str, Any] = {"processing_kwargs": {"common": {"return_tensors": None}}}


@dataclass(frozen=True, kw_only=True)
class FeatureChunk(Movable):
    """Texts of about the same length, as the model's own preprocessing makes them.

    Attributes:
        features: The model's inputs.
        rows: Which texts of the batch these are.
    """

    features: Mapping[str, Any]
    rows: Int[Tensor, " rows"]


def feature_chunks(
    model: StudentModel,
    texts: list[str],
    *,
    task: Literal["query", "document"],
    max_chunk_tokens: int,
    remembers: bool = False,
) -> tuple[FeatureChunk, ...]:
    """Tokenize texts, and cut them into chunks of about ``max_chunk_tokens`` tokens.

    Args:
        model: Told the task where it has an encoder for each, or a vector a token.
        texts: As the model is given them.
        task: What they are.
        max_chunk_tokens: Of a chunk, with its padding.
        remembers: Whether the tokens of texts are kept, as the same texts will come again.
    """
    route = {"task": task} if routes(model) or is_multi(model) else {}
    told = {"prompt": model.prompts.get(task) or None, **route}
    if texts and takes_lists(model) and (plain := plain_inputs(model, task, told["prompt"])) is not None:
        rows = plain.rows(texts, lambda some: model.preprocess(some, **told, **_AS_LISTS), remembers=remembers)
        if rows is not None:
            return _chunks_of_rows(model, rows, plain, max_chunk_tokens)
    features = _tokenized(model, texts, **told) if texts else {}
    features = {**features, **route} if is_multi(model) else features
    mask = features.get("attention_mask")
    if mask is None or model.tokenizer.padding_side != "right":
        return (FeatureChunk(features=features, rows=torch.arange(len(texts))),) if texts else ()
    if not is_multi(model):  # whose limits are others, for each task its own
        count_cuts("retriever.max_length_tokens", model.max_seq_length, mask.sum(dim=1).tolist())
    # Tokens that a question is filled up with are none of the text's, and count all the same.
    lengths = (mask.bool() | features.get("query_expansion_positions", mask).bool()).sum(dim=1).tolist()
    size = {"most": max(mask.shape[1], model.max_seq_length or 0), "max_chunk_tokens": max_chunk_tokens}
    padding = {"input_ids": model.tokenizer.pad_token_id or 0}
    return tuple(
        FeatureChunk(features=_of_width(features, rows, width, padding), rows=torch.tensor(rows))
        for rows, width in sorted_chunks(lengths, **size)
    )


def _tokenized(model: StudentModel, texts: list[str], **told: Any) -> dict[str, Any]:
    """Let the model's own preprocessing make its inputs, as lists where it can.

    Asked for tensors, the library looks at each token of its lists to see whether there is any, and takes longer for it
    than for tokenizing.
    """
    features = model.preprocess(texts, **told, **(_AS_LISTS if takes_lists(model) else {}))
    return {
        name: torch.from_numpy(np.array(value)) if isinstance(value, list) else value
        for name, value in features.items()
    }


def _chunks_of_rows(
    model: StudentModel, rows: list[np.ndarray], plain: PlainInputs, max_chunk_tokens: int
) -> tuple[FeatureChunk, ...]:
    """Do the same with tokens, of a model whose inputs follow from them."""
    lengths = [len(row) for row in rows]
    count_cuts("retriever.max_length_tokens", model.max_seq_length, lengths)
    size = {"most": max(*lengths, model.max_seq_length or 0), "max_chunk_tokens": max_chunk_tokens}
    return tuple(
        FeatureChunk(features=plain.features([rows[row] for row in chosen], width), rows=torch.tensor(chosen))
        for chosen, width in sorted_chunks(lengths, **size)
    )


def _of_width(features: Mapping[str, Any], rows: list[int], width: int, padding: Mapping[str, int]) -> dict[str, Any]:
    """Take some texts, without the padding that longer ones gave them, or with more of it; what pads is 0 or false."""
    taken = {name: value for name, value in features.items() if isinstance(value, Tensor) and value.ndim == 2}
    for name, value in taken.items():
        missing = max(0, width - value.shape[1])
        # Indexed by a list, so few numbers would be shared among threads, which takes longer than taking them.
        some = value[:, :width].index_select(0, torch.tensor(rows))
        taken[name] = F.pad(some, (0, missing), value=padding.get(name, 0)).contiguous()
    return {**features, **taken}
