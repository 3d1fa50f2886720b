"""Encoding a corpus shard by shard, and retrieving with what came of it."""

import threading

import numpy as np
import pytest
import torch
from scipy import sparse

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.records import Question
from dogeared.retrieval import dense
from dogeared.retrieval.dense import DenseRetriever, EncodingSettings, carry_vectors, encode_corpus, index_files
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.index import VECTORS_FILE, ExactIndex

SETTINGS = EncodingSettings(shard_passages=8, chunk_tokens=256, precision="fp32")


@pytest.fixture(scope="module")
def encoder(tiny_models):
    return DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), max_length_tokens=64)).eval()


@pytest.fixture(scope="module")
def corpus(tiny_data, tmp_path_factory):
    return build_corpus(iter_passages(tiny_data / "passages.jsonl"), tmp_path_factory.mktemp("corpus"))


def encoded(encoder, corpus, folder, settings=SETTINGS):
    folder.mkdir(exist_ok=True)
    encode_corpus(encoder, corpus, folder, settings)
    return np.load(folder / VECTORS_FILE)


def test_vectors_stand_in_the_order_of_the_corpus(encoder, corpus, tmp_path):
    vectors = encoded(encoder, corpus, tmp_path / "a")
    assert vectors.shape == (30, 32)
    assert vectors.dtype == np.float32
    with torch.inference_mode():
        one_by_one = [encoder.embed(encoder.passage_chunks([corpus.passage(row)])) for row in range(len(corpus))]
    np.testing.assert_allclose(vectors, torch.cat(one_by_one).numpy(), atol=1e-5)
    assert len({tuple(vector) for vector in vectors.round(3).tolist()}) == 30
    whole = encoded(encoder, corpus, tmp_path / "b", EncodingSettings(precision="fp32"))
    np.testing.assert_allclose(whole, vectors, atol=1e-5)


@pytest.mark.parametrize("num_finished", [0, 1, 3])
def test_an_interrupted_encoding_goes_on_at_the_first_shard_not_finished(
    encoder, corpus, tmp_path, monkeypatch, num_finished
):
    whole = encoded(encoder, corpus, tmp_path / "whole")
    make, asked = encoder.passage_chunks, []

    def failing(passages, **rest):
        if len(asked) == num_finished:
            raise OSError("the disk is gone")
        asked.append([passage.id for passage in passages])
        return make(passages, **rest)

    monkeypatch.setattr(encoder, "passage_chunks", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        encoded(encoder, corpus, tmp_path / "part")

    def noted(passages, **rest):
        asked.append([passage.id for passage in passages])
        return make(passages, **rest)

    monkeypatch.setattr(encoder, "passage_chunks", noted)
    np.testing.assert_array_equal(encoded(encoder, corpus, tmp_path / "part"), whole)
    assert [len(shard) for shard in asked] == [8, 8, 8, 6], "no shard is encoded twice"
    assert [passage_id for shard in asked for passage_id in shard] == corpus.ids(range(30))
    assert [path.name for path in (tmp_path / "part").iterdir()] == [VECTORS_FILE]


def test_memory_that_encoding_frees_is_kept(encoder, corpus, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr("dogeared.retrieval.dense.keep_freed_memory", lambda: kept.append(True))
    encoded(encoder, corpus, tmp_path / "a")
    (tmp_path / "b").mkdir()
    carry_vectors(encoder, corpus, tmp_path / "a", tmp_path / "b", SETTINGS, kept=range(30))
    assert kept == [True, True]


def test_a_shard_that_was_written_but_not_noted_is_encoded_again(encoder, corpus, tmp_path, monkeypatch):
    whole = encoded(encoder, corpus, tmp_path / "whole")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("dogeared.retrieval.dense.write_atomically", killed)
        encoded(encoder, corpus, tmp_path / "part")
    np.testing.assert_array_equal(encoded(encoder, corpus, tmp_path / "part"), whole)


@pytest.mark.parametrize("kind", ["dense", "sparse", "multi"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_the_next_passages_become_tokens_while_those_before_them_are_encoded(
    kind, on_gpu, tiny_models, tiny_language_model, corpus, tmp_path, monkeypatch
):
    torch.manual_seed(0)
    model = tiny_language_model if kind == "sparse" else tiny_models / "encoder"
    encoder = DualEncoder.load(RetrieverSettings(model=str(model), vectors=kind, max_length_tokens=48)).eval()
    (tmp_path / "plain").mkdir()
    encode_corpus(encoder, corpus, tmp_path / "plain", SETTINGS)
    asked, in_time = [], []
    make, run, next_begun = encoder.passage_chunks, encoder.encode, threading.Event()

    def noted(passages, **rest):
        asked.append(len(passages))
        if len(asked) > 1:
            next_begun.set()
        return make(passages, **rest)

    def waiting(features, weights):
        in_time.append(next_begun.wait(10))
        return run(features, weights)

    monkeypatch.setattr(encoder, "passage_chunks", noted)
    monkeypatch.setattr(encoder, "encode", waiting)
    settings = SETTINGS
    if on_gpu:  # a piece of a shard is enough there
        monkeypatch.setattr(dense, "_most_at_once", lambda device, settings: 5)
        settings = SETTINGS.model_copy(update={"shard_passages": 12})
    (tmp_path / "made").mkdir()
    encode_corpus(encoder, corpus, tmp_path / "made", settings)
    assert asked == ([5, 5, 2, 5, 5, 2, 5, 1] if on_gpu else [8, 8, 8, 6])
    assert in_time[0], "nobody began with the next"
    of_float16 = {"rtol": 0, "atol": 1e-3} if kind == "multi" else {"rtol": 0, "atol": 1e-5}
    for before, after in zip(index_files(tmp_path / "plain"), index_files(tmp_path / "made"), strict=True):
        one, other = (sparse.load_npz(f).toarray() if kind == "sparse" else np.load(f) for f in (before, after))
        np.testing.assert_allclose(other.astype(np.float32), one.astype(np.float32), **of_float16)


@pytest.mark.parametrize(("device", "most"), [("cpu", 5_000), ("cuda", 2_048)])
def test_a_gpu_need_not_wait_for_a_whole_shard(device, most):
    settings = EncodingSettings(shard_passages=5_000)
    assert dense._most_at_once(torch.device(device), settings) == most


@pytest.mark.parametrize(
    ("kind", "device", "times"), [("dense", "cpu", 1), ("dense", "meta", 8), ("sparse", "meta", 1)]
)
def test_a_gpu_is_given_larger_chunks_but_for_sparse_vectors(
    kind, device, times, tiny_models, tiny_language_model, corpus, monkeypatch
):
    model = tiny_language_model if kind == "sparse" else tiny_models / "encoder"
    encoder = DualEncoder.load(RetrieverSettings(model=str(model), vectors=kind, max_length_tokens=48)).to(device)
    asked = []
    make = encoder.passage_chunks
    monkeypatch.setattr(
        encoder,
        "passage_chunks",
        lambda passages, max_chunk_tokens: asked.append(max_chunk_tokens) or make(passages, max_chunk_tokens=64),
    )
    settings = EncodingSettings(chunk_tokens=1_000)
    for rows, chunks in dense._tokenized_shards(encoder, corpus, [range(len(corpus))], settings):
        made = [*chunks]
        assert sorted(row for chunk in made for row in chunk.rows.tolist()) == list(rows)
        assert {chunk.features["input_ids"].device.type for chunk in made} == {device}
    assert asked == [1_000 * times]


def test_retrieval_is_numpys(encoder, corpus, tmp_path):
    vectors = encoded(encoder, corpus, tmp_path / "a")
    retriever = DenseRetriever(encoder, ExactIndex(vectors), corpus, name="student", precision="fp32")
    questions = [
        Question(id=str(n), text=text) for n, text in enumerate(["who was she ?", "where is the sea ?", "why"])
    ]
    rankings = retriever.retrieve(questions, 7)
    with torch.inference_mode():
        queries = encoder.embed(encoder.query_chunks([question.text for question in questions])).numpy()
    scores = queries @ vectors.T
    assert [ranking.question_id for ranking in rankings] == ["0", "1", "2"]
    for line, ranking in zip(scores, rankings, strict=True):
        order = np.argsort(-line, kind="stable")[:7]
        assert list(ranking.passage_ids) == corpus.ids(order.tolist())
        np.testing.assert_allclose(ranking.scores, line[order], atol=1e-5)
        assert all(isinstance(score, float) for score in ranking.scores)
    assert [len(ranking.passage_ids) for ranking in retriever.retrieve(questions, 99)] == [30, 30, 30]
    assert retriever.retrieve([], 7) == []
    assert retriever.retrieve(questions[1:2], 7)[0].passage_ids == rankings[1].passage_ids


def test_vectors_of_another_corpus_are_not_taken(encoder, corpus):
    with pytest.raises(AssertionError, match="must be of this corpus"):
        DenseRetriever(encoder, ExactIndex(np.zeros((29, 32), dtype=np.float32)), corpus, name="student")


def test_a_student_that_gives_every_passage_one_score_is_said_to_have_collapsed(encoder, corpus, caplog):
    questions = [Question(id="q1", text="Who was born?"), Question(id="q2", text="Where?")]
    apart = np.random.default_rng(0).normal(size=(len(corpus), 32)).astype(np.float32)
    DenseRetriever(encoder, ExactIndex(apart), corpus, name="student").retrieve(questions, 5)
    assert "collapsed" not in caplog.text
    same = np.repeat(apart[:1], len(corpus), axis=0)
    DenseRetriever(encoder, ExactIndex(same), corpus, name="student").retrieve(questions, 5)
    assert "student has collapsed: it gives all passages it finds the same score for 2 of 2 questions" in caplog.text
