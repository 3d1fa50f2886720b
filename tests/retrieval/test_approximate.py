"""Approximate search: most of what the exact search finds, with the exact search's scores and order."""

import builtins

import numpy as np
import pytest
import torch

from dogeared.errors import ArtifactError, ConfigError
from dogeared.retrieval.approximate import APPROXIMATE_FILE, ApproximateIndex, IndexSettings, build_approximate
from dogeared.retrieval.dense import open_index, reuse_vectors
from dogeared.retrieval.index import ExactIndex
from dogeared.retrieval.vectors import StoredVectors

NUM, DIM = 4_000, 8  # few numbers a vector: training takes a time for each


def settings(kind, **changes):
    return IndexSettings(kind=kind, exact_below=1_000, bytes_per_vector=4, **changes)


@pytest.fixture(scope="module")
def vectors():
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((50, DIM))
    made = centres[draw.integers(0, 50, NUM)] + 0.7 * draw.standard_normal((NUM, DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def stored(folder, vectors, kind="float32"):
    made = StoredVectors.create(folder, rows=len(vectors), dim=vectors.shape[1], kind=kind)
    made.put(range(len(vectors)), vectors)
    made.flush()


@pytest.mark.parametrize("vector_kind", ["float32", "int8"])
@pytest.mark.parametrize("kind", ["ivfpq", "hnsw"])
def test_most_is_found_and_scored_exactly(tmp_path, vectors, kind, vector_kind):
    pytest.importorskip("faiss")
    stored(tmp_path, vectors, vector_kind)
    build_approximate(tmp_path, settings(kind))
    index = open_index(tmp_path, settings(kind))
    assert isinstance(index, ApproximateIndex)
    assert len(index) == NUM
    queries = torch.from_numpy(vectors[:40] + 0.01)
    scores, rows = index.search(queries, 10)
    exact_scores, exact = ExactIndex.open(tmp_path).search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), exact.tolist(), strict=True)])
    assert recall > 0.95
    by_row = [dict(zip(*line, strict=True)) for line in zip(exact.tolist(), exact_scores.tolist(), strict=True)]
    for line, (found, values) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True)):
        assert values == sorted(values, reverse=True)
        for row, value in zip(found, values, strict=True):
            if row in by_row[line]:
                assert value == pytest.approx(by_row[line][row], abs=1e-5)


@pytest.mark.parametrize("kind", ["ivfpq", "hnsw"])
def test_where_fewer_are_found_rows_end_in_minus_one_and_no_row_comes_twice(tmp_path, vectors, kind):
    pytest.importorskip("faiss")
    stored(tmp_path, vectors[:1_100])
    build_approximate(tmp_path, settings(kind))
    index = ApproximateIndex.open(tmp_path, settings(kind, probes=2))
    scores, rows = index.search(torch.from_numpy(vectors[:3]), 5_000)
    assert rows.shape == (3, 1_100)
    for line, values in zip(rows.tolist(), scores.tolist(), strict=True):
        found = [row for row in line if row >= 0]
        assert len(set(found)) == len(found) > 0
        assert line[len(found) :] == [-1] * (1_100 - len(found))
        assert values[len(found) :] == [-np.inf] * (1_100 - len(found))
    assert kind == "hnsw" or -1 in rows
    assert index.search(torch.empty(0, DIM), 5)[0].shape == (0, 5)


def test_few_passages_are_searched_exactly(tmp_path, vectors, caplog):
    pytest.importorskip("faiss")
    stored(tmp_path, vectors[:999])
    build_approximate(tmp_path, settings("hnsw"))
    assert "searched exactly" in caplog.text
    assert isinstance(open_index(tmp_path, settings("hnsw")), ExactIndex)


def test_an_index_goes_where_its_vectors_go(tmp_path, vectors):
    pytest.importorskip("faiss")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    stored(tmp_path / "a", vectors[:1_100], "int8")
    build_approximate(tmp_path / "a", settings("hnsw"))
    reuse_vectors(tmp_path / "a", tmp_path / "b")
    assert isinstance(open_index(tmp_path / "b"), ApproximateIndex)


def test_faults_are_told(tmp_path, vectors, monkeypatch):
    pytest.importorskip("faiss")
    stored(tmp_path, vectors[:1_100])
    with pytest.raises(ConfigError, match="expected a divisor of 8"):
        build_approximate(tmp_path, IndexSettings(kind="ivfpq", exact_below=1_000))
    build_approximate(tmp_path, settings("hnsw"))
    whole = (tmp_path / APPROXIMATE_FILE).read_bytes()
    (tmp_path / APPROXIMATE_FILE).write_bytes(whole[:1_000])
    with pytest.raises(ArtifactError, match="expected an index of faiss"):
        ApproximateIndex.open(tmp_path, settings("hnsw"))
    (tmp_path / APPROXIMATE_FILE).write_bytes(whole)
    stored(tmp_path, vectors[:1_099])
    with pytest.raises(ArtifactError, match="1100 vectors of length 8 in the index, 1099 of 8"):
        ApproximateIndex.open(tmp_path, settings("hnsw"))
    real = builtins.__import__

    def without(name, *rest):
        if name == "faiss":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"dogeared\[faiss\]"):
        build_approximate(tmp_path, settings("hnsw"))
