"""Exact search: NumPy's answer, whatever the blocks; lower rows first among equals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dogeared.errors import ArtifactError
from dogeared.retrieval.index import VECTORS_FILE, ExactIndex


def top(queries, vectors, k):
    """By sorting all of them: score first, then row."""
    scores = queries @ vectors.T
    rows = np.array([np.lexsort((np.arange(len(vectors)), -line))[:k] for line in scores]).reshape(len(queries), -1)
    return np.take_along_axis(scores, rows, axis=1), rows


@settings(max_examples=60, deadline=None)
@given(
    num_vectors=st.integers(1, 40),
    k=st.integers(1, 45),
    block_rows=st.integers(1, 50),
    block_queries=st.integers(1, 4),
    kinds=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float16]),
    seed=st.integers(0, 1000),
)
def test_search_is_numpys_with_ties_in_the_order_of_rows(num_vectors, k, block_rows, block_queries, kinds, dtype, seed):
    # Small whole numbers multiply exactly in any order, and few kinds of vectors make many equal scores.
    draw = np.random.default_rng(seed)
    vectors = draw.integers(-2, 3, size=(kinds, 5))[draw.integers(0, kinds, num_vectors)].astype(np.float32)
    queries = draw.integers(-2, 3, size=(3, 5)).astype(np.float32)
    index = ExactIndex(vectors.astype(dtype))
    scores, rows = index.search(torch.from_numpy(queries), k, block_rows=block_rows, block_queries=block_queries)
    wanted_scores, wanted_rows = top(queries, vectors, k)
    assert scores.shape == rows.shape == (3, min(k, num_vectors))
    assert rows.tolist() == wanted_rows.tolist()
    assert scores.tolist() == wanted_scores.tolist()


@pytest.mark.parametrize("block_rows", [1, 7, 100, 499, 500, 65_536])
def test_search_of_real_vectors_is_numpys(block_rows):
    draw = np.random.default_rng(0)
    vectors, queries = (draw.standard_normal((rows, 16)).astype(np.float32) for rows in (500, 20))
    scores, rows = ExactIndex(vectors).search(torch.from_numpy(queries), 50, block_rows=block_rows)
    wanted_scores, wanted_rows = top(queries, vectors, 50)
    np.testing.assert_allclose(scores.numpy(), wanted_scores, atol=1e-5)
    assert (
        rows.numpy() == wanted_rows
    ).mean() > 0.99  # two scores nearer to each other than rounding may change places


def test_an_index_of_nothing_finds_nothing():
    scores, rows = ExactIndex(np.empty((0, 4), dtype=np.float32)).search(torch.ones(2, 4), 5)
    assert scores.shape == rows.shape == (2, 0)


def test_no_query_finds_nothing():
    index = ExactIndex(np.ones((3, 4), dtype=np.float32))
    scores, rows = index.search(torch.empty(0, 4), 2)
    assert scores.shape == rows.shape == (0, 2)
    assert rows.dtype == torch.long


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_an_index_opens_from_disk(tmp_path, dtype):
    vectors = np.arange(12).reshape(3, 4).astype(dtype)
    np.save(tmp_path / VECTORS_FILE, vectors)
    index = ExactIndex.open(tmp_path)
    assert isinstance(index.vectors.vectors, np.memmap)
    assert len(index) == 3
    scores, rows = index.search(torch.ones(1, 4), 9)
    assert (scores.tolist(), rows.tolist()) == ([[38.0, 22.0, 6.0]], [[2, 1, 0]])


@pytest.mark.parametrize("harm", ["absent", "cut", "other"])
def test_vectors_that_cannot_be_read_are_an_error_that_names_the_file(tmp_path, harm):
    file = tmp_path / VECTORS_FILE
    if harm == "cut":
        np.save(file, np.ones((30, 4), dtype=np.float32))
        file.write_bytes(file.read_bytes()[:200])
    if harm == "other":
        file.write_text("hello")
    with pytest.raises(ArtifactError, match="expected vectors in numpy's format") as raised:
        ExactIndex.open(tmp_path)
    assert str(file) in str(raised.value)


def test_no_questions_find_nothing():
    scores, rows = ExactIndex(np.ones((4, 5), dtype=np.float32)).search(torch.empty(0, 5), 3)
    assert scores.shape == rows.shape == (0, 3)
