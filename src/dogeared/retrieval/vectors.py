"""Vectors on disk, one row a passage, memory-mapped: in float32, in half of that, or in a quarter.

``float16`` keeps 11 bits of each number. ``int8`` keeps each vector as whole numbers from -127 to 127 and one scale, in
a second file. Whatever is kept, what comes out is float32; float32 itself comes out as it lies in the file, uncopied.

This module knows rows and numbers, no texts and no search.
"""

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dogeared.errors import ArtifactError, ModelError
from dogeared.few_rows import FEW_ROWS, times_transposed
from dogeared.storage import reserve

__all__ = ["SCALES_FILE", "VECTORS_FILE", "StoredVectors", "VectorKind"]

VECTORS_FILE = "vectors.npy"
SCALES_FILE = "scales.npy"

_NUMBERS_AT_ONCE = 1 << 20  # 4 MB: written and read within a CPU's cache
_STEP = 64
"""Pieces are a multiple of so many rows long."""

VectorKind = Literal["float32", "float16", "int8"]


class StoredVectors:
    """Vectors in an array, which may be memory-mapped.

    Args:
        vectors: In float32, float16, or int8.
        scales: What each row of int8 is to be multiplied with.
    """

    def __init__(self, vectors: Float[np.ndarray, "rows dim"] | np.ndarray, scales: np.ndarray | None = None) -> None:
        assert (scales is None) == (vectors.dtype != np.int8), "whole numbers have scales, nothing else has"
        self.vectors = vectors
        self.scales = scales

    @classmethod
    def open(cls, folder: Path) -> "StoredVectors":
        """Open the vectors of an artifact without reading them.

        Raises:
            ArtifactError: There are none, or a file is cut.
        """
        try:
            vectors = _mapped(folder / VECTORS_FILE)
            return cls(vectors, _mapped(folder / SCALES_FILE) if vectors.dtype == np.int8 else None)
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{folder / VECTORS_FILE}: expected vectors in numpy's format: {error}; delete {folder} to remake it"
            ) from error

    @classmethod
    def create(cls, folder: Path, *, rows: int, dim: int, kind: VectorKind, go_on: bool = False) -> "StoredVectors":
        """Make the files for so many vectors, or open them to go on; what is not put in is 0."""
        mode = "r+" if go_on else "w+"
        scales = None
        if kind == "int8":
            scales = np.lib.format.open_memmap(folder / SCALES_FILE, mode=mode, dtype=np.float32, shape=(rows,))
        file = folder / VECTORS_FILE
        vectors = np.lib.format.open_memmap(file, mode=mode, dtype=np.dtype(kind), shape=(rows, dim))
        # It is written through memory: a disk that fills up under it would end the process without a word.
        reserve(file, file.stat().st_size)
        return cls(vectors, scales)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self.vectors.shape[0]

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return self.vectors.shape[1]

    @property
    def kind(self) -> VectorKind:
        """How numbers are kept."""
        return cast(VectorKind, self.vectors.dtype.name)

    def put(self, rows: Sequence[int] | np.ndarray, vectors: Float[np.ndarray, "some dim"]) -> None:
        """Write vectors into rows.

        Raises:
            ModelError: They hold numbers too large for 16 bits, and that is how they are kept.
        """
        if self.kind == "float16" and (largest := np.abs(vectors).max(initial=0)) > np.finfo(np.float16).max:
            raise ModelError(
                f"index.vectors: expected numbers up to {np.finfo(np.float16).max:,.0f} to keep in float16, got "
                f'{largest:,.0f} from the encoder; set index.vectors = "float32", or see what is wrong with the encoder'
            )
        if self.scales is not None:
            scales = np.maximum(np.abs(vectors).max(axis=1, initial=0), np.finfo(np.float32).tiny) / 127
            self.scales[rows] = scales
            vectors = np.rint(vectors / scales[:, None])
        self.vectors[rows] = vectors

    def flush(self) -> None:
        """Make sure that what was put is in the files."""
        for part in (self.vectors, self.scales):
            if isinstance(part, np.memmap):
                part.flush()

    def block(self, start: int, stop: int) -> Float[Tensor, "some dim"]:
        """Return the vectors of neighbouring rows; of float32 the file's own memory, to be read only."""
        part = torch.from_numpy(self.vectors[start:stop])
        if self.scales is None:
            return part.float()
        return part.float().mul_(torch.from_numpy(self.scales[start:stop])[:, None])

    @torch.no_grad()
    def products(self, queries: Float[Tensor, "batch dim"], start: int, stop: int) -> Float[Tensor, "batch some"]:
        """Return the dot products of queries with the vectors of neighbouring rows, on the queries' device.

        On a CPU small numbers are unfolded a few rows at a time, into memory that stays in its cache; elsewhere all at
        once, after they were moved as they are. The scale of a row is multiplied with its products, not its numbers.
        """
        part = torch.from_numpy(self.vectors[start:stop])
        if queries.device.type != "cpu":
            products = queries @ part.to(queries.device).to(queries.dtype).T
        elif len(queries) > FEW_ROWS and part.dtype == queries.dtype:
            products = queries @ part.T
        else:
            products = queries.new_empty(len(queries), len(part))
            some = _rows_at_once(len(part), self.dim)
            is_folded = part.dtype != queries.dtype
            unfolded = queries.new_empty(min(some, len(part)) if is_folded else 0, self.dim)
            for rows, columns in zip(part.split(some), products.split(some, dim=1), strict=True):
                block = unfolded[: len(rows)].copy_(rows) if is_folded else rows
                columns.copy_(times_transposed(queries, block))
        if self.scales is None:
            return products
        return products.mul_(torch.from_numpy(self.scales[start:stop]).to(queries.device))

    def take(self, rows: Sequence[int] | np.ndarray) -> Float[np.ndarray, "some dim"]:
        """Return a copy of the vectors of some rows, in the order asked for."""
        part = np.asarray(self.vectors[rows], dtype=np.float32)
        return part if self.scales is None else part * self.scales[rows][:, None]


def _rows_at_once(rows: int, dim: int) -> int:
    """Cut evenly: what is left over would be multiplied by another kernel, and rounded otherwise."""
    pieces = max(1, -(-rows * dim // _NUMBERS_AT_ONCE))
    return max(_STEP, -(-rows // (pieces * _STEP)) * _STEP)


def _mapped(file: Path) -> np.ndarray:
    try:
        # Copy-on-write: torch takes it without a copy and without a warning that it cannot be written.
        return np.load(file, mmap_mode="c", allow_pickle=False)
    except OSError as error:
        # Linux counts what could be written as if it were, and refuses more than there is memory.
        if error.errno != errno.ENOMEM:
            raise
        return np.load(file, mmap_mode="r", allow_pickle=False)
