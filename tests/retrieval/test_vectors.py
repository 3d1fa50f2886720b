"""Vectors in three sizes: what comes out is what went in, within what each keeps."""

import errno
import warnings

import numpy as np
import pytest
import torch

from dogeared.errors import ArtifactError, ModelError
from dogeared.few_rows import times_transposed
from dogeared.retrieval.index import ExactIndex
from dogeared.retrieval.vectors import SCALES_FILE, VECTORS_FILE, StoredVectors


def written(folder, vectors, kind):
    folder.mkdir()
    stored = StoredVectors.create(folder, rows=len(vectors), dim=vectors.shape[1], kind=kind)
    half = len(vectors) // 2
    stored.put(range(half), vectors[:half])
    stored.flush()
    del stored
    again = StoredVectors.create(folder, rows=len(vectors), dim=vectors.shape[1], kind=kind, go_on=True)
    again.put(np.arange(half, len(vectors)), vectors[half:])
    again.flush()
    return StoredVectors.open(folder)


@pytest.mark.parametrize(("kind", "error", "size"), [("float32", 0, 1), ("float16", 2**-11, 2), ("int8", 1 / 254, 4)])
def test_what_comes_out_is_what_went_in(tmp_path, kind, error, size):
    vectors = np.random.default_rng(0).standard_normal((301, 64)).astype(np.float32)
    vectors[7] = 0
    stored = written(tmp_path / kind, vectors, kind)
    assert stored.kind == kind
    assert len(stored) == 301
    assert stored.dim == 64
    bound = error * np.abs(vectors).max(axis=1, keepdims=True) + 1e-7
    assert (np.abs(stored.take(range(301)) - vectors) <= bound).all()
    block = stored.block(100, 120)
    assert block.dtype == torch.float32
    np.testing.assert_array_equal(block.numpy(), stored.take(range(100, 120)))
    assert stored.take([5, 3, 5]).tolist() == [stored.take([row])[0].tolist() for row in (5, 3, 5)]
    total = sum(
        (tmp_path / kind / name).stat().st_size
        for name in (VECTORS_FILE, SCALES_FILE)
        if kind == "int8" or name == VECTORS_FILE
    )
    assert total == pytest.approx(301 * 64 * 4 / size, rel=0.1)


def test_float32_is_not_copied(tmp_path):
    stored = written(tmp_path / "a", np.ones((10, 4), dtype=np.float32), "float32")
    assert stored.block(2, 5).data_ptr() == stored.vectors[2:5].ctypes.data


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("rows_at_once", [1, 7, 1000])
def test_products_are_those_of_the_vectors_that_come_out(tmp_path, monkeypatch, kind, rows_at_once):
    monkeypatch.setattr("dogeared.retrieval.vectors._NUMBERS_AT_ONCE", rows_at_once * 64 + 63)
    for module in ("retrieval.vectors", "few_rows"):
        monkeypatch.setattr(f"dogeared.{module}.FEW_ROWS", 4)
    draw = np.random.default_rng(0)
    stored = written(tmp_path / kind, draw.standard_normal((300, 64)).astype(np.float32) * 3, kind)
    queries = draw.standard_normal((5, 64)).astype(np.float32)
    for start, stop in ((0, 300), (40, 41), (290, 1000), (7, 7)):
        expected = queries.astype(np.float64) @ stored.take(range(start, min(stop, 300))).T.astype(np.float64)
        for number in (1, 2, 5):  # one, few, many
            products = stored.products(torch.from_numpy(queries[:number]), start, stop)
            assert products.dtype == torch.float32
            np.testing.assert_allclose(products.numpy(), expected[:number], atol=1e-4)
    assert stored.take([3]).tolist() == StoredVectors.open(tmp_path / kind).take([3]).tolist()  # they stay as they are


def test_products_want_no_gradient_and_are_cut_evenly(tmp_path, monkeypatch):
    cuts = []
    monkeypatch.setattr("dogeared.retrieval.vectors._NUMBERS_AT_ONCE", 64 * 64)
    monkeypatch.setattr(
        "dogeared.retrieval.vectors.times_transposed",
        lambda few, many: cuts.append(len(many)) or times_transposed(few, many),
    )
    stored = written(tmp_path / "a", np.ones((266, 64), dtype=np.float32), "float16")
    products = stored.products(torch.ones(2, 64, requires_grad=True), 0, 266)
    assert not products.requires_grad
    assert cuts == [64, 64, 64, 64, 10]
    cuts.clear()
    stored.products(torch.ones(2, 64), 0, 200)
    assert cuts == [64, 64, 64, 8]


def test_more_than_there_is_memory_for_is_mapped_to_be_read_only(tmp_path, monkeypatch):
    stored = written(tmp_path / "a", np.ones((10, 4), dtype=np.float32), "int8")
    modes, load = [], np.load

    def refusing(file, *, mmap_mode, allow_pickle):
        """As Linux does where a file that could be written to is larger than memory."""
        modes.append(mmap_mode)
        if mmap_mode == "c":
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return load(file, mmap_mode=mmap_mode, allow_pickle=allow_pickle)

    monkeypatch.setattr(np, "load", refusing)
    again = StoredVectors.open(tmp_path / "a")
    assert modes == ["c", "r"] * 2
    assert again.take(range(10)).tolist() == stored.take(range(10)).tolist()
    with warnings.catch_warnings(action="ignore"):
        _, rows = ExactIndex(again).search(torch.ones(1, 4), 3)
    assert rows.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(("kind", "least"), [("float16", 0.99), ("int8", 0.93)])
def test_small_vectors_find_what_large_ones_find(tmp_path, kind, least):
    draw = np.random.default_rng(1)
    vectors, queries = draw.standard_normal((3000, 64)).astype(np.float32), draw.standard_normal((20, 64))
    queries = torch.from_numpy(queries.astype(np.float32))
    _, exact = ExactIndex(vectors).search(queries, 20)
    _, found = ExactIndex(written(tmp_path / kind, vectors, kind)).search(queries, 20)
    shared = [len(set(a) & set(b)) / 20 for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
    assert np.mean(shared) >= least


def test_missing_scales_are_told(tmp_path):
    written(tmp_path / "a", np.ones((10, 4), dtype=np.float32), "int8")
    (tmp_path / "a" / SCALES_FILE).unlink()
    with pytest.raises(ArtifactError, match="expected vectors"):
        StoredVectors.open(tmp_path / "a")


def test_numbers_too_large_for_sixteen_bits_are_refused(tmp_path):
    vectors = np.array([[1.0, 2.0], [3.0, -70_000.0]], dtype=np.float32)
    with pytest.raises(ModelError, match=r"numbers up to 65,504 to keep in float16, got 70,000 from the encoder; set"):
        written(tmp_path / "float16", vectors, "float16")
    assert written(tmp_path / "float32", vectors, "float32").take([1]).tolist() == [[3.0, -70_000.0]]
