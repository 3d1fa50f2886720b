"""Vectors of chunks of texts, one chunk after the other: only those of one are on the device.

Each kind of vector leaves in the form that it is kept in: dense ones as they are, sparse ones as what is not 0, those
of tokens as one matrix a text. Where memory runs out, a chunk is encoded in halves, and so are those that follow.

What chunks are made of is not here (``feature_chunks.py``), nor where vectors are written.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from dogeared.compute import Precision, autocast
from dogeared.errors import ResourceError
from dogeared.memory import explain_exhaustion
from dogeared.retrieval.dual_encoder import DualEncoder, FeatureChunk
from dogeared.retrieval.late_interaction import cat_texts, real_tokens
from dogeared.retrieval.sparse_index import sparse_rows

__all__ = ["embed", "embed_sparse", "token_texts", "vectors_of_chunks"]

logger = logging.getLogger(__name__)

_LESS_MEMORY = "Lower encoding.chunk_tokens or retriever.max_length_tokens"


def _ignored(count: int) -> None:
    """Stand in for whoever counts."""


@torch.inference_mode()
def embed(encoder: DualEncoder, chunks: Sequence[FeatureChunk], precision: Precision) -> Float[Tensor, "rows ..."]:
    """Return the vectors of texts in their order, on the CPU."""
    parts = [vectors.cpu() for _, vectors in vectors_of_chunks(encoder, chunks, precision)]
    nothing = torch.empty(0, 0, encoder.dim) if encoder.is_multi else torch.empty(0, encoder.dim)
    stacked = cat_texts(parts) if parts else nothing
    return torch.empty_like(stacked).index_copy(0, _order([chunk.rows for chunk in chunks]), stacked)


@torch.inference_mode()
def embed_sparse(
    encoder: DualEncoder,
    chunks: Iterable[FeatureChunk],
    precision: Precision,
    on_chunk: Callable[[int], None] = _ignored,
) -> sparse.csr_array:
    """Return what is not 0 of the vectors of texts, in their order."""
    parts: list[sparse.csr_array] = []
    rows_of: list[Tensor] = []
    for rows, vectors in vectors_of_chunks(encoder, chunks, precision, on_chunk):
        parts.append(sparse_rows(vectors))
        rows_of.append(rows)
    if not parts:
        return sparse.csr_array((0, encoder.dim), dtype=np.float32)
    return sparse.csr_array(sparse.vstack(parts, format="csr"))[_order(rows_of).argsort().numpy()]


@torch.inference_mode()
def token_texts(
    encoder: DualEncoder,
    chunks: Iterable[FeatureChunk],
    precision: Precision,
    on_chunk: Callable[[int], None] = _ignored,
) -> list[np.ndarray]:
    """Return the vectors of the tokens of each text, in the order of texts."""
    texts: dict[int, np.ndarray] = {}
    for rows, vectors in vectors_of_chunks(encoder, chunks, precision, on_chunk):
        for row, text, mask in zip(rows.tolist(), vectors, real_tokens(vectors), strict=True):
            texts[row] = text[mask].cpu().numpy()
    return [texts[row] for row in range(len(texts))]


def vectors_of_chunks(
    encoder: DualEncoder,
    chunks: Iterable[FeatureChunk],
    precision: Precision,
    on_chunk: Callable[[int], None] = _ignored,
) -> Iterator[tuple[Int[Tensor, " rows"], Float[Tensor, "rows ..."]]]:
    """Yield which texts each chunk has, and their vectors, on the encoder's device.

    Args:
        encoder: On the device that does the work.
        chunks: Of texts, wherever they are.
        precision: Of matrix products; vectors are in float32.
        on_chunk: Told how many texts are done once their vectors were taken.

    Raises:
        ResourceError: There is not enough memory for a single text.
    """
    encoder.eval()
    with autocast(precision, encoder.device):
        weights = encoder.rounded_weights()
    num_parts = 1
    for chunk in chunks:
        features, num_texts = chunk.to(encoder.device).features, len(chunk.rows)
        most_parts = num_texts if _can_be_cut(features, num_texts) else 1
        vectors = None
        while vectors is None:
            try:
                with (
                    explain_exhaustion("encoding texts", advice=_LESS_MEMORY),
                    torch.inference_mode(),
                    autocast(precision, encoder.device),
                ):
                    parts = [
                        encoder.encode(part, weights).float()
                        for part in _cut(features, num_texts, min(num_parts, most_parts))
                    ]
                    vectors = torch.cat(parts) if len(parts) > 1 else parts[0]
            except ResourceError:
                if num_parts >= most_parts:
                    raise
            if vectors is None:  # not before: an error at hand holds what memory was taken for
                num_parts *= 2
                text = "memory ran out over %d texts at once; chunks are encoded in %d parts from here on. %s"
                logger.warning(text, num_texts, num_parts, _LESS_MEMORY)
        yield chunk.rows, vectors
        on_chunk(len(chunk.rows))


def _can_be_cut(features: Mapping[str, Any], num_texts: int) -> bool:
    """Tell whether each input has a row for each text; what is laid end to end has not."""
    return all(len(value) == num_texts for value in features.values() if isinstance(value, Tensor))


def _cut(features: Mapping[str, Any], num_texts: int, num_parts: int) -> list[Mapping[str, Any]]:
    """Cut the inputs of a chunk into those of some of its texts each; what is the same for all goes with each."""
    if num_parts == 1:
        return [features]
    size = -(-num_texts // num_parts)
    return [
        {name: value[start : start + size] if isinstance(value, Tensor) else value for name, value in features.items()}
        for start in range(0, num_texts, size)
    ]


def _order(rows_of: Sequence[Tensor]) -> Int[Tensor, " rows"]:
    """Return which text each vector of all chunks is of."""
    return torch.cat([*rows_of]) if rows_of else torch.empty(0, dtype=torch.long)
