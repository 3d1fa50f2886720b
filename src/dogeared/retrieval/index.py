"""Exact nearest neighbours over memory-mapped vectors: blocked matrix products and top-k.

Vectors stand one row a passage, in the order of the corpus (``vectors.py``). A search reads them block by block,
multiplies on whatever device there is, and keeps the best of each block. Nothing is trained or built, which is
what makes it cheap inside the loop of rounds.

Equal scores are ordered by row, lower first, so results do not depend on the size of blocks; scores of equal vectors
are equal but for rounding, which may differ at the edge of a block. This module knows vectors and rows; it does not
know texts, ids, encoders or questions.
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dogeared.retrieval.vectors import VECTORS_FILE, StoredVectors

__all__ = ["VECTORS_FILE", "ExactIndex", "top_columns"]


class ExactIndex:
    """All vectors of a corpus, searched exactly.

    Args:
        vectors: One row a passage; an array in float32 or float16 may be memory-mapped.
    """

    def __init__(self, vectors: Float[np.ndarray, "rows dim"] | StoredVectors) -> None:
        self.vectors = vectors if isinstance(vectors, StoredVectors) else StoredVectors(vectors)

    @classmethod
    def open(cls, folder: Path) -> "ExactIndex":
        """Open the vectors of an artifact without reading them.

        Raises:
            ArtifactError: There are none, or the file is cut.
        """
        return cls(StoredVectors.open(folder))

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.vectors)

    def search(
        self, queries: Float[Tensor, "batch dim"], k: int, *, block_rows: int = 65_536, block_queries: int = 1024
    ) -> tuple[Float[Tensor, "batch found"], Int[Tensor, "batch found"]]:
        """Return the ``k`` best scores (dot products) and their rows, best first; fewer where there are fewer vectors.

        Args:
            queries: On the device that shall do the work.
            k: How many to return.
            block_rows: Vectors in memory at once.
            block_queries: Queries in one product.
        """
        k = min(k, len(self))
        found = [self._search(part, k, block_rows) for part in queries.split(block_queries)]
        if not found:
            return queries.new_empty(0, k), torch.empty(0, k, dtype=torch.long)
        return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])

    def _search(self, queries: Tensor, k: int, block_rows: int) -> tuple[Tensor, Tensor]:
        best = queries.new_full((len(queries), 0), -torch.inf)
        rows = torch.empty((len(queries), 0), dtype=torch.long, device=queries.device)
        for start in range(0, len(self), block_rows):
            scores, places = top_columns(self.vectors.products(queries, start, start + block_rows), k)
            # Rows of earlier blocks come first, so a stable order keeps lower rows before equal higher ones.
            best, kept = top_columns(torch.cat([best, scores], dim=1), k)
            rows = torch.cat([rows, places + start], dim=1).gather(1, kept)
        return best, rows


def top_columns(scores: Float[Tensor, "batch rows"], k: int) -> tuple[Tensor, Tensor]:
    """Return the top k of each row with lower columns first among equals, which torch.topk does not promise."""
    k = min(k, scores.shape[1])
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    if values.shape[1] > k:
        tied = values[:, k - 1] == values[:, k]
        values, columns = values[:, :k], columns[:, :k]
        # Only where equals straddle the border can topk have left out a lower column; these rows are sorted whole.
        for row in tied.nonzero().squeeze(1).tolist():
            columns[row] = scores[row].sort(descending=True, stable=True).indices[:k]
            values[row] = scores[row, columns[row]]
    columns = columns.sort(dim=1).values
    values = scores.gather(1, columns)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)
