"""Exact search over sparse vectors: products of sparse matrices and top-k.

What ``index.py`` is to dense vectors. The vectors of a corpus lie in one ``.npz`` file, one row a passage, in the order
of the corpus; only numbers that are not 0 are stored or multiplied. It is read whole: a passage of a few hundred words
takes about two kilobytes. Equal scores are ordered by row, lower first.
"""

import zipfile
from pathlib import Path

import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from dogeared.errors import ArtifactError
from dogeared.retrieval.index import top_columns

__all__ = ["SPARSE_FILE", "SparseIndex", "sparse_rows"]

SPARSE_FILE = "vectors.npz"


def sparse_rows(vectors: Float[Tensor, "rows dim"]) -> sparse.csr_array:
    """Keep what is not 0."""
    return sparse.csr_array(vectors.float().cpu().numpy())


class SparseIndex:
    """All vectors of a corpus, searched exactly.

    Args:
        vectors: One row a passage.
    """

    def __init__(self, vectors: sparse.csr_array) -> None:
        self.vectors = vectors
        self._by_word = vectors.T.tocsr()

    @classmethod
    def open(cls, folder: Path) -> "SparseIndex":
        """Read the vectors of an artifact.

        Raises:
            ArtifactError: There are none, or the file is cut.
        """
        file = folder / SPARSE_FILE
        try:
            return cls(sparse.csr_array(sparse.load_npz(file)))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ArtifactError(
                f"{file}: expected sparse vectors in scipy's format: {error}; delete {folder} to remake it"
            ) from error

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.vectors.indptr) - 1

    def search(
        self, queries: sparse.csr_array, k: int, *, block_queries: int = 64
    ) -> tuple[Float[Tensor, "batch found"], Int[Tensor, "batch found"]]:
        """Return the ``k`` best scores (dot products) and their rows, best first; fewer where there are fewer vectors.

        Args:
            queries: One row a query.
            k: How many to return. A passage that has no word with the query scores 0 and may be among them.
            block_queries: Queries in one product.
        """
        k = min(k, len(self))
        starts = range(0, len(queries.indptr) - 1, block_queries)
        found = [
            top_columns(torch.from_numpy((queries[at : at + block_queries] @ self._by_word).toarray()), k)
            for at in starts
        ]
        if not found:
            return torch.empty(0, k), torch.empty(0, k, dtype=torch.long)
        return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])
