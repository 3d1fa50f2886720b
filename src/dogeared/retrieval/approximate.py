"""Nearest neighbours by an index that skips most vectors: faiss proposes, exact products decide.

``ivfpq`` sorts vectors into lists around centroids and keeps a few bytes of each; ``hnsw`` links neighbours in a graph.
What either proposes, some times more than are wanted, is scored again from the stored vectors, so that scores and their
order are those of the exact search; what was not proposed is missed. Scores are dot products.

Below some ten thousand passages nothing is built: the exact search is faster there and misses nothing.

Source: Jegou et al. 2011 (product quantisation), Malkov and Yashunin 2020 (HNSW); Johnson et al. 2021 (faiss).
"""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from dogeared.errors import ArtifactError, ConfigError
from dogeared.retrieval.vectors import VECTORS_FILE, StoredVectors, VectorKind
from dogeared.settings import Settings
from dogeared.storage import told

__all__ = ["APPROXIMATE_FILE", "ApproximateIndex", "IndexSettings", "build_approximate"]

logger = logging.getLogger(__name__)

APPROXIMATE_FILE = "approximate.faiss"


class IndexSettings(Settings):
    """How the vectors of a corpus are kept and searched."""

    kind: Literal["exact", "ivfpq", "hnsw"] = "exact"
    """``exact`` compares with every vector. ``ivfpq`` (small) and ``hnsw`` (fast, and as large as the vectors in
    float16) miss some and want faiss: pip install "dogeared[faiss]"; they pay for single questions and millions of
    passages."""
    vectors: VectorKind = "float32"
    """``float16`` halves the file and ``int8`` quarters it; scores change in the fourth and in the third digit."""
    exact_below: int = Field(default=10_000, ge=1_000)
    """With fewer passages the search is exact whatever ``kind`` says."""
    probes: int = Field(default=32, ge=1)
    """Of ``ivfpq``: how many lists a search looks into; more miss less and take longer."""
    bytes_per_vector: int = Field(default=48, ge=1)
    """Of ``ivfpq``: what is kept of a vector; must divide its length."""
    links: int = Field(default=32, ge=4)
    """Of ``hnsw``: neighbours that a vector is linked with."""
    breadth: int = Field(default=128, ge=1)
    """Of ``hnsw``: how many candidates a search keeps in sight; at least as many as are wanted are kept."""
    proposals: int = Field(default=4, ge=1)
    """How many times more than are wanted are proposed and scored again."""


class ApproximateIndex:
    """A faiss index over stored vectors.

    Args:
        index: Of faiss.
        vectors: The same, in the same order.
        proposals: How many times more than are wanted it is asked for.
    """

    def __init__(self, index: Any, vectors: StoredVectors, *, proposals: int) -> None:
        self.vectors = vectors
        self._index = index
        self._proposals = proposals

    @classmethod
    def open(cls, folder: Path, settings: IndexSettings) -> "ApproximateIndex":
        """Open what ``build_approximate`` wrote.

        Raises:
            ArtifactError: It cannot be read, or is not of these vectors.
            ConfigError: faiss is not installed.
        """
        faiss, vectors = _faiss(), StoredVectors.open(folder)
        try:
            index = faiss.read_index(str(folder / APPROXIMATE_FILE))
        except RuntimeError as error:
            raise ArtifactError(
                f"{folder / APPROXIMATE_FILE}: expected an index of faiss: {error}; delete {folder} to remake it"
            ) from error
        if index.ntotal != len(vectors) or index.d != vectors.dim:
            raise ArtifactError(
                f"{folder}: {index.ntotal} vectors of length {index.d} in the index, {len(vectors)} of {vectors.dim} "
                f"beside it; delete {folder} to remake it"
            )
        if hasattr(index, "nprobe"):
            index.nprobe = settings.probes
        else:
            index.hnsw.efSearch = settings.breadth
        return cls(index, vectors, proposals=settings.proposals)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self.vectors)

    def search(
        self, queries: Float[Tensor, "batch dim"], k: int
    ) -> tuple[Float[Tensor, "batch found"], Int[Tensor, "batch found"]]:
        """Return up to ``k`` scores and rows of each query, best first; where fewer are found, rows end in -1."""
        k = min(k, len(self))
        if not len(queries) or not k:
            return queries.new_empty(len(queries), k), torch.empty(len(queries), k, dtype=torch.long)
        asked = queries.float().cpu().numpy()
        _, proposed = self._index.search(asked, min(k * self._proposals, len(self)))
        scores = np.full((len(asked), k), -np.inf, dtype=np.float32)
        rows = np.full((len(asked), k), -1, dtype=np.int64)
        for line, (query, found) in enumerate(zip(asked, proposed, strict=True)):
            kept = np.unique(found[found >= 0])  # sorted, so that a stable order keeps lower rows first among equals
            exact = self.vectors.take(kept) @ query
            best = np.argsort(-exact, kind="stable")[:k]
            scores[line, : len(best)], rows[line, : len(best)] = exact[best], kept[best]
        return torch.from_numpy(scores), torch.from_numpy(rows)


def build_approximate(folder: Path, settings: IndexSettings, *, seed: int = 0) -> None:
    """Write an index beside the vectors of a folder, if the settings want one.

    Raises:
        ConfigError: faiss is not installed, or the settings do not go with the vectors.
    """
    if settings.kind == "exact":
        return
    if not (folder / VECTORS_FILE).is_file():
        raise ConfigError(
            f'index.kind: expected "exact" for a student whose vectors are sparse or of single tokens, got '
            f"{settings.kind!r}; an approximate index wants one dense vector a passage"
        )
    faiss, vectors = _faiss(), StoredVectors.open(folder)
    if len(vectors) < settings.exact_below:
        logger.warning("%d passages are searched exactly, which is faster than %s", len(vectors), settings.kind)
        return
    if settings.kind == "ivfpq" and vectors.dim % settings.bytes_per_vector:
        raise ConfigError(
            f"index.bytes_per_vector: expected a divisor of {vectors.dim}, the length of a vector, got "
            f"{settings.bytes_per_vector}"
        )
    # Some forty vectors a list are what faiss wants to train on, and four times the root of all is its rule for lists.
    lists = max(1, min(round(4 * len(vectors) ** 0.5), len(vectors) // 40))
    recipe = f"IVF{lists},PQ{settings.bytes_per_vector}" if settings.kind == "ivfpq" else f"HNSW{settings.links},SQfp16"
    index = faiss.index_factory(vectors.dim, recipe, faiss.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(seed).permutation(len(vectors))[: max(40 * lists, 10_000)]
    index.train(vectors.take(np.sort(sample)))
    for start in range(0, len(vectors), 65_536):
        index.add(vectors.block(start, start + 65_536).numpy())
    partial = folder / f"{APPROXIMATE_FILE}.partial"
    with told(folder):
        faiss.write_index(index, str(partial))
    partial.rename(folder / APPROXIMATE_FILE)


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ConfigError(
            'index.kind: "ivfpq" and "hnsw" need faiss, which is not installed: pip install "dogeared[faiss]"; or '
            'take index.kind = "exact"'
        ) from error
    return faiss
