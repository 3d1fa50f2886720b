"""Vectors carried over to a corpus that was edited are those of encoding it anew, of whatever kind they are."""

import numpy as np
import pytest
import torch
from scipy import sparse

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.retrieval.dense import EncodingSettings, carry_vectors, encode_corpus
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.sparse_index import SparseIndex
from dogeared.retrieval.token_index import TokenIndex
from dogeared.retrieval.vectors import StoredVectors

SETTINGS = EncodingSettings(shard_passages=4, chunk_tokens=256, precision="fp32")
KEPT = [0, 1, 3, 7, 8, 9, 12, 19]


def numbers(kind, folder) -> list[np.ndarray]:
    """One array a passage."""
    if kind == "sparse":
        return list(sparse.csr_array(SparseIndex.open(folder).vectors).toarray())
    if kind == "multi":
        index = TokenIndex.open(folder)
        return [np.array(index.tokens[a:b]) for a, b in zip(index.starts[:-1], index.starts[1:], strict=True)]
    return list(np.array(StoredVectors.open(folder).vectors))


@pytest.mark.parametrize("num_new", [0, 10])
@pytest.mark.parametrize("kind", ["dense", "sparse", "multi"])
def test_carried_vectors_are_those_of_encoding_anew(
    kind, num_new, tiny_models, tiny_language_model, tiny_data, tmp_path, monkeypatch
):
    torch.manual_seed(0)
    model = tiny_language_model if kind == "sparse" else tiny_models / "encoder"
    encoder = DualEncoder.load(RetrieverSettings(model=str(model), vectors=kind, max_length_tokens=48)).eval()
    passages = list(iter_passages(tiny_data / "passages.jsonl"))
    before = build_corpus(passages[:20], tmp_path / "before")
    after = build_corpus([*(passages[row] for row in KEPT), *passages[20 : 20 + num_new]], tmp_path / "after")
    for name in ("old", "carried", "anew"):
        (tmp_path / name).mkdir()
    encode_corpus(encoder, before, tmp_path / "old", SETTINGS)
    encode_corpus(encoder, after, tmp_path / "anew", SETTINGS)
    make, encoded = DualEncoder.passage_chunks, []
    monkeypatch.setattr(
        DualEncoder, "passage_chunks", lambda self, given, **rest: (encoded.extend(given), make(self, given, **rest))[1]
    )
    carry_vectors(encoder, after, tmp_path / "old", tmp_path / "carried", SETTINGS, kept=KEPT)
    assert sorted(passage.id for passage in encoded) == sorted(passage.id for passage in passages[20 : 20 + num_new])
    found, wanted = numbers(kind, tmp_path / "carried"), numbers(kind, tmp_path / "anew")
    assert len(found) == len(wanted) == 8 + num_new
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.astype(np.float32), other.astype(np.float32), rtol=0, atol=2e-3)
