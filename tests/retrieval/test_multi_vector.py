"""Students with one vector a token: saved, encoded, resumed, searched and trained as the library and plain loops do."""

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from sentence_transformers import MultiVectorEncoder

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.contrastive import contrastive_loss, in_batch_negatives
from dogeared.distill.losses import distillation_loss
from dogeared.errors import ArtifactError, ModelError
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dense import DenseRetriever, EncodingSettings, encode_corpus, open_index
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.late_interaction import max_similarity, max_similarity_to_all
from dogeared.retrieval.token_index import STARTS_FILE, TOKENS_FILE, TokenIndex, write_shard
from dogeared.training.train_retriever import RetrieverTraining, Student, distillation_batch, train_retriever
from interrupted import encode_until_the_disk_is_gone

SETTINGS = EncodingSettings(shard_passages=8, chunk_tokens=256, precision="fp32")
QUESTIONS = [Question(id=str(n), text=text) for n, text in enumerate(["who was she ?", "where is the sea ?", "why"])]
OWN_ROWS = [[0, 5, 11, 7, 20], [1, 6], [2, 7, 13, 0]]
"""Passages of the questions: 0 and 7 stand in two lists."""


def load(model, **changes):
    torch.manual_seed(0)  # for the projection, which is drawn
    settings = {"vectors": "multi", "max_length_tokens": 48, **changes}
    return DualEncoder.load(RetrieverSettings(model=str(model), **settings)).eval()


@pytest.fixture
def encoder(tiny_models):
    return load(tiny_models / "encoder")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that cannot be reached, with a place for what was fetched of ``someone/model`` before."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    of_model = tmp_path / "models--someone--model"
    (of_model / "refs").mkdir(parents=True)
    (of_model / "refs" / "main").write_text("0" * 40)
    return of_model / "snapshots" / ("0" * 40)


@pytest.fixture(scope="module")
def corpus(tiny_data, tmp_path_factory):
    return build_corpus(iter_passages(tiny_data / "passages.jsonl"), tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def relevance(corpus):
    draw = np.random.default_rng(0)
    return {
        str(n): PassageRelevance(
            question_id=str(n), passage_ids=tuple(corpus.ids(rows)), relevance=tuple(draw.normal(size=len(rows)) * 2)
        )
        for n, rows in enumerate(OWN_ROWS)
    }


def of_the_library(encoder, corpus):
    """What the library itself makes of questions and passages, and how it scores them."""
    passages = [f"{passage.title} {passage.text}" for passage in corpus.passages(range(len(corpus)))]
    queries = encoder.model.encode_query([question.text for question in QUESTIONS])
    made = encoder.model.encode_document(passages)
    return queries, made, encoder.model.similarity(queries, made).numpy()


def by_loops(queries, passages):
    return np.array([[np.asarray(a @ b.T).max(axis=1).sum() for b in passages] for a in queries])


def embedded(encoder, corpus):
    with torch.no_grad():
        queries = encoder.embed(encoder.query_chunks([question.text for question in QUESTIONS]))
        return queries, encoder.embed(encoder.passage_chunks(corpus.passages(range(30))))


def test_scores_are_the_library_s_and_a_loop_s(encoder, corpus):
    assert encoder.is_multi
    assert not encoder.is_sparse
    assert not encoder.is_cosine
    assert encoder.dim == 128
    queries, passages = embedded(encoder, corpus)
    own_queries, own_passages, expected = of_the_library(encoder, corpus)
    for text, made in zip([*queries, *passages], [*own_queries, *own_passages], strict=True):
        np.testing.assert_allclose(text[: len(made)], made, atol=1e-5)
        assert not text[len(made) :].any(), "the rest fills up"
    by_hand = np.array([[sum(max(q @ p for p in b) for q in a) for b in own_passages] for a in own_queries])
    np.testing.assert_allclose(expected, by_hand, atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(encoder.score_all(queries, passages), expected, atol=1e-5)
    found = encoder.score(queries, passages[None].expand(3, -1, -1, -1))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=1).min() > 0.1


def test_a_mean_over_tokens_is_taken_where_the_model_says_so(encoder, corpus):
    _, _, summed = of_the_library(encoder, corpus)
    encoder.model.similarity_fn_name = "meanmaxsim"
    assert encoder.is_cosine, "so it is sharpened as cosines are"
    _, _, expected = of_the_library(encoder, corpus)
    np.testing.assert_allclose(encoder.score_all(*embedded(encoder, corpus)), expected, atol=1e-5)
    assert not np.allclose(summed, expected)


def test_texts_without_tokens_score_nothing_and_get_no_gradient():
    torch.manual_seed(0)
    queries, passages = torch.randn(2, 3, 4), torch.randn(2, 3, 5, 4)
    queries[1, 1:] = 0
    passages[0, 1] = 0
    passages[1, :, 2:] = 0
    queries.requires_grad_()
    passages.requires_grad_()
    score = max_similarity(queries, passages)
    assert score[0, 1] == 0
    by_hand = (queries[1, 0] @ passages[1, 2, :2].T).max()
    torch.testing.assert_close(score[1, 2], by_hand)
    score.sum().backward()
    assert passages.grad is not None
    assert not passages.grad[0, 1].any()
    assert not passages.grad[1, :, 2:].any()
    assert torch.isfinite(passages.grad).all()


def test_both_forms_have_the_gradient_of_finite_differences():
    torch.manual_seed(1)
    queries = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    passages = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    both = (queries, passages)
    assert torch.autograd.gradcheck(max_similarity_to_all, both)
    assert torch.autograd.gradcheck(lambda q, p: max_similarity(q, p[None].expand(2, -1, -1, -1)), both)
    torch.testing.assert_close(
        max_similarity_to_all(*both), max_similarity(queries, passages[None].expand(2, -1, -1, -1))
    )


def test_a_saved_student_needs_no_flags(encoder, corpus, tmp_path):
    encoder.save(tmp_path / "saved")
    again = load(tmp_path / "saved", vectors="dense")  # the default
    assert again.is_multi
    for found, expected in zip(embedded(again, corpus), embedded(encoder, corpus), strict=True):
        np.testing.assert_array_equal(found, expected)
    other = MultiVectorEncoder(str(tmp_path / "saved"), device="cpu")
    assert other.max_seq_length == 48
    texts = [question.text for question in QUESTIONS]
    for found, expected in zip(other.encode_query(texts), encoder.model.encode_query(texts), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_student_on_the_hub_needs_no_flags_either(encoder, hub):
    encoder.save(hub)
    assert load("someone/model", vectors="dense").is_multi


@pytest.mark.parametrize("expansion", [None, {"strategy": "fixed", "length": 12, "token": "[UNK]"}])
def test_a_model_that_fills_questions_up_with_tokens_of_its_own_is_scored_so(encoder, corpus, expansion, tmp_path):
    encoder.model[0].query_expansion = expansion
    queries, passages = embedded(encoder, corpus)
    assert queries.shape[1] == (12 if expansion else 7)
    np.testing.assert_allclose(encoder.score_all(queries, passages), of_the_library(encoder, corpus)[2], atol=1e-5)


def test_a_corpus_is_encoded_shard_by_shard_and_goes_on_where_it_stopped(encoder, corpus, tmp_path, monkeypatch):
    _, expected, _ = of_the_library(encoder, corpus)
    asked = encode_until_the_disk_is_gone(encoder, corpus, tmp_path, SETTINGS, monkeypatch)
    encode_corpus(encoder, corpus, tmp_path, SETTINGS)
    assert asked == [8, 8, 8, 6], "no shard is encoded twice"
    assert sorted(path.name for path in tmp_path.iterdir()) == [STARTS_FILE, TOKENS_FILE]
    index = open_index(tmp_path)
    assert isinstance(index, TokenIndex)
    assert isinstance(index.tokens, np.memmap)
    assert index.tokens.dtype == np.float16
    assert np.diff(index.starts).tolist() == [len(text) for text in expected]
    np.testing.assert_allclose(index.tokens, np.concatenate(expected), atol=1e-3)


def test_a_corpus_may_go_on_in_shards_of_another_size(encoder, corpus, tmp_path):
    _, expected, _ = of_the_library(encoder, corpus)
    write_shard(tmp_path / "shard-0000000000-0000000016.npy", [np.zeros((1, 8), dtype=np.float16)] * 16)
    encode_corpus(encoder, corpus, tmp_path, SETTINGS)
    index = open_index(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [STARTS_FILE, TOKENS_FILE]
    assert isinstance(index, TokenIndex)
    np.testing.assert_allclose(index.tokens, np.concatenate(expected), atol=1e-3)


@pytest.mark.parametrize("k", [1, 7, 99])
def test_retrieval_is_a_loop_s(encoder, corpus, tmp_path, k):
    encode_corpus(encoder, corpus, tmp_path, SETTINGS)
    index = open_index(tmp_path)
    assert isinstance(index, TokenIndex)
    retriever = DenseRetriever(encoder, index, corpus, name="student", precision="fp32")
    queries, _, exact = of_the_library(encoder, corpus)
    queries = [query.numpy() for query in queries]
    texts = [np.asarray(part, np.float32) for part in np.split(index.tokens, index.starts[1:-1])]
    scores = by_loops(queries, texts)
    np.testing.assert_allclose(scores, exact, atol=5e-3)  # what float16 rounds away
    rankings = retriever.retrieve(QUESTIONS, k)
    assert [ranking.question_id for ranking in rankings] == ["0", "1", "2"]
    for line, ranking in zip(scores, rankings, strict=True):
        order = np.argsort(-line, kind="stable")[:k]
        np.testing.assert_allclose(ranking.scores, line[order], rtol=1e-5)
        assert list(ranking.passage_ids) == corpus.ids(order.tolist())
    assert retriever.retrieve([], k) == []


@pytest.mark.parametrize("block_tokens", [1, 3, 5, 100])
def test_equal_scores_are_ordered_by_row_whatever_the_blocks(block_tokens):
    tokens = np.array([[0, 1], [1, 0], [0, 1], [0.5, 0.5], [0, 1]], np.float16)
    index = TokenIndex(tokens, np.array([0, 2, 2, 3, 4, 5]))  # the second passage has no token
    queries = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, -1.0], [0.0, 0.0]]])
    for block_queries in (1, 2):
        scores, rows = index.search(queries, 4, block_tokens=block_tokens, block_queries=block_queries)
        assert rows.tolist() == [[0, 2, 3, 4], [0, 1, 3, 2]]
        assert scores.tolist() == [[2, 1, 1, 1], [0, 0, -0.5, -1]]


def test_files_that_are_cut_or_do_not_fit_are_told(tmp_path):
    np.save(tmp_path / TOKENS_FILE, np.zeros((3, 2), np.float16))
    with pytest.raises(ArtifactError, match="expected vectors in numpy's format"):
        open_index(tmp_path)
    np.save(tmp_path / STARTS_FILE, np.array([0, 2]))
    with pytest.raises(ArtifactError, match="expected the 2 vectors"):
        open_index(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"similarity": "cosine"}, r"retriever\.similarity: expected auto for token vectors"),
        ({"encoders": "separate"}, r"retriever\.encoders: expected shared for a model with token vectors"),
    ],
)
def test_what_token_vectors_cannot_do_is_refused(tiny_models, changes, message):
    with pytest.raises(ModelError, match=message):
        load(tiny_models / "encoder", **changes)


@pytest.mark.parametrize("loss", ["kl", "mse", "max_margin", "cross_entropy", "graded_infonce"])
@pytest.mark.parametrize("chunk_tokens", [0, 60])
def test_every_loss_is_that_of_the_library_s_scores(encoder, corpus, relevance, loss, chunk_tokens):
    settings = RetrieverTraining(loss=loss, contrastive_weight=0.25, chunk_tokens=chunk_tokens, num_passages=6)
    batch = distillation_batch(encoder, QUESTIONS, relevance, corpus, settings)
    queries, passages, _ = of_the_library(encoder, corpus)
    flat = [row for rows in OWN_ROWS for row in rows]
    scores = encoder.model.similarity(queries, [passages[row] for row in flat])
    own, start = torch.zeros(3, 5), 0
    for n, rows in enumerate(OWN_ROWS):
        own[n, : len(rows)] = scores[n, start : start + len(rows)]
        start += len(rows)
    owner = torch.tensor([n for n, rows in enumerate(OWN_ROWS) for _ in rows])
    best = torch.tensor([0, 5, 7]) + torch.tensor([max(relevance[n].relevance) for n in "012"]).new_tensor(
        [int(np.argmax(relevance[n].relevance)) for n in "012"]
    )
    negatives = in_batch_negatives(torch.tensor(flat), owner, num_questions=3)
    expected = 0.25 * contrastive_loss(scores, best.long(), negatives)
    expected = expected + 0.75 * distillation_loss(own, batch.relevance, loss=loss)
    assert Student(encoder, settings).eval()(batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_cached_gradients_are_those_of_the_plain_loss(encoder, corpus, relevance):
    found = []
    for chunk_tokens in (0, 60):
        settings = RetrieverTraining(contrastive_weight=0.5, chunk_tokens=chunk_tokens, num_passages=6)
        batch = distillation_batch(encoder, QUESTIONS, relevance, corpus, settings)
        encoder.zero_grad()
        Student(encoder, settings).eval()(batch).backward()
        found.append({name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert max(value.abs().max() for value in found[0].values()) > 0.01
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value, atol=1e-6, rtol=0, msg=lambda text, name=name: name + text)


def test_it_learns_its_teacher_s_order(tiny_models, corpus, relevance, tmp_path):
    encoder = load(tiny_models / "encoder")
    settings = RetrieverTraining(steps=30, questions_per_step=3, learning_rate=3e-3, precision="fp32", dropout=0.0)
    before = [parameter.clone() for parameter in encoder.parameters()]
    state = train_retriever(encoder, QUESTIONS, relevance, corpus, settings, seed=0, folder=tmp_path)
    assert state.losses[-1] < state.losses[0] / 4
    assert any(not torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))
    batch = distillation_batch(encoder, QUESTIONS, relevance, corpus, settings)
    assert Student(encoder, settings).score(batch)[0].argmax() == batch.relevance[0].argmax()
