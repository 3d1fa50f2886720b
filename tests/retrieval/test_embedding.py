"""Vectors of chunks where memory runs out: the same ones, by halves, or an error that says what to do."""

import logging

import pytest
import torch

from dogeared.errors import ResourceError
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.embedding import embed, embed_sparse, token_texts, vectors_of_chunks

TEXTS = ["who was born in the north ?", "where is the sea ?", "why", "which house did she build ?"] * 5


@pytest.fixture(params=["dense", "sparse", "multi"])
def encoder(request, tiny_models, tiny_language_model):
    torch.manual_seed(0)
    model = tiny_language_model if request.param == "sparse" else tiny_models / "encoder"
    return DualEncoder.load(RetrieverSettings(model=str(model), vectors=request.param, max_length_tokens=48)).eval()


def vectors(encoder, chunks):
    if encoder.is_sparse:
        return torch.from_numpy(embed_sparse(encoder, chunks, "fp32").toarray())
    if encoder.is_multi:
        return torch.cat([torch.from_numpy(text) for text in token_texts(encoder, chunks, "fp32")])
    return embed(encoder, chunks, "fp32")


def holding(encoder, monkeypatch, most, error=torch.OutOfMemoryError):
    """Let memory hold a few texts at once, and return how many were tried."""
    tried, run = [], encoder.encode

    def encode(features, weights):
        tried.append(len(features["input_ids"]))
        if tried[-1] > most:
            raise error("CUDA out of memory. Tried to allocate 2 GiB")
        return run(features, weights)

    monkeypatch.setattr(encoder, "encode", encode)
    return tried


def test_chunks_that_memory_does_not_hold_are_encoded_by_halves(encoder, monkeypatch, caplog):
    chunks = encoder.query_chunks(TEXTS, max_chunk_tokens=130)
    sizes = [len(chunk.rows) for chunk in chunks]
    assert len(chunks) > 1
    assert max(sizes) > 6
    expected = vectors(encoder, chunks)
    tried = holding(encoder, monkeypatch, most=3)
    with caplog.at_level(logging.WARNING):
        got = vectors(encoder, chunks)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    assert len(caplog.records) == sum(size > 3 for size in tried) <= 3  # what was learned once is kept to
    assert "Lower encoding.chunk_tokens" in caplog.text


def test_a_text_that_memory_does_not_hold_is_an_error_that_says_what_to_do(encoder, monkeypatch):
    tried = holding(encoder, monkeypatch, most=0)
    with pytest.raises(ResourceError, match=r"ran out of memory \(CUDA out of memory.*max_length_tokens"):
        list(vectors_of_chunks(encoder, encoder.query_chunks(TEXTS), "fp32"))
    assert tried[-1] == 1


def test_other_errors_are_not_taken_for_a_want_of_memory(encoder, monkeypatch):
    tried = holding(encoder, monkeypatch, most=0, error=RuntimeError)
    with pytest.raises(RuntimeError, match="Tried to allocate"):
        list(vectors_of_chunks(encoder, encoder.query_chunks(TEXTS), "fp32"))
    assert len(tried) == 1


def test_inputs_that_are_laid_end_to_end_are_not_cut(encoder, monkeypatch):
    (chunk, *_) = encoder.query_chunks(TEXTS)
    rows = len(chunk.rows)
    odd = {**chunk.features, "offsets": torch.arange(rows + 1)}
    tried = holding(encoder, monkeypatch, most=0)
    with pytest.raises(ResourceError):
        list(vectors_of_chunks(encoder, [type(chunk)(features=odd, rows=chunk.rows)], "fp32"))
    assert tried == [rows]
