"""Students whose vectors have one number a word: saved, encoded, resumed and searched as NumPy does it."""

import numpy as np
import pytest
import torch
from scipy import sparse
from sentence_transformers import SparseEncoder
from transformers import AutoModelForMaskedLM, AutoTokenizer

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.losses import kl_divergence
from dogeared.errors import ArtifactError, ModelError
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dense import DenseRetriever, EncodingSettings, encode_corpus, open_index
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.sparse_index import SPARSE_FILE, SparseIndex, sparse_rows
from dogeared.training.train_retriever import RetrieverTraining, Student, distillation_batch, train_retriever
from interrupted import encode_until_the_disk_is_gone

SETTINGS = EncodingSettings(shard_passages=8, chunk_tokens=256, precision="fp32")
QUESTIONS = [Question(id=str(n), text=text) for n, text in enumerate(["who was she ?", "where is the sea ?", "why"])]


def load(model, **changes):
    settings = {"vectors": "sparse", "max_length_tokens": 48, **changes}
    return DualEncoder.load(RetrieverSettings(model=str(model), **settings)).eval()


@pytest.fixture
def encoder(tiny_language_model):
    return load(tiny_language_model)


@pytest.fixture(scope="module")
def corpus(tiny_data, tmp_path_factory):
    return build_corpus(iter_passages(tiny_data / "passages.jsonl"), tmp_path_factory.mktemp("corpus"))


def by_hand(folder, text):
    """The largest log(1 + relu) of what each token's place predicts, word by word."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder).eval()
    with torch.inference_mode():
        predicted = model(**tokenizer(text, truncation=True, max_length=48, return_tensors="pt")).logits[0]
    return predicted.relu().log1p().max(dim=0).values.numpy()


def embedded(encoder, corpus):
    with torch.inference_mode():
        queries = encoder.embed(encoder.query_chunks([question.text for question in QUESTIONS])).numpy()
        return queries, encoder.embed(encoder.passage_chunks(corpus.passages(range(30)))).numpy()


def test_vectors_are_splade_s(encoder, tiny_language_model, corpus):
    queries, passages = embedded(encoder, corpus)
    assert encoder.is_sparse
    assert not encoder.is_cosine
    assert (
        queries.shape[1] == passages.shape[1] == encoder.dim == len(AutoTokenizer.from_pretrained(tiny_language_model))
    )
    np.testing.assert_allclose(queries[0], by_hand(tiny_language_model, QUESTIONS[0].text), atol=1e-5)
    for row in (0, 17):
        passage = corpus.passage(row)
        np.testing.assert_allclose(
            passages[row], by_hand(tiny_language_model, f"{passage.title} {passage.text}"), atol=1e-5
        )
    assert 0.0 < (passages == 0).mean() < 1.0
    with torch.inference_mode():
        scores = encoder.score(torch.from_numpy(queries[:1]), torch.from_numpy(passages[None]))
        everything = encoder.score_all(torch.from_numpy(queries), torch.from_numpy(passages))
    np.testing.assert_allclose(scores[0], passages @ queries[0], atol=1e-4)
    np.testing.assert_allclose(everything, queries @ passages.T, atol=1e-4)


def test_the_dimension_is_known_before_the_first_vector(encoder):
    assert encoder.dim > 32


def test_a_saved_student_needs_no_flags(encoder, corpus, tmp_path):
    encoder.save(tmp_path / "saved")
    queries, passages = embedded(encoder, corpus)
    again = load(tmp_path / "saved", vectors="dense")  # the default
    assert again.is_sparse
    np.testing.assert_array_equal(embedded(again, corpus)[0], queries)
    np.testing.assert_array_equal(embedded(again, corpus)[1], passages)
    other = SparseEncoder(str(tmp_path / "saved"), device="cpu")
    assert other.max_seq_length == 48
    found = other.encode_query([question.text for question in QUESTIONS]).to_dense().numpy()
    np.testing.assert_allclose(found, queries, atol=1e-5)


def test_a_corpus_is_encoded_shard_by_shard_and_goes_on_where_it_stopped(encoder, corpus, tmp_path, monkeypatch):
    _, expected = embedded(encoder, corpus)
    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
    file = encode_corpus(encoder, corpus, tmp_path / "whole", EncodingSettings(precision="fp32"))
    np.testing.assert_allclose(sparse.load_npz(file).toarray(), expected, atol=1e-5)

    asked = encode_until_the_disk_is_gone(encoder, corpus, tmp_path / "part", SETTINGS, monkeypatch)
    file = encode_corpus(encoder, corpus, tmp_path / "part", SETTINGS)
    assert asked == [8, 8, 8, 6], "no shard is encoded twice"
    assert [path.name for path in (tmp_path / "part").iterdir()] == [SPARSE_FILE]
    found = sparse.load_npz(file)
    np.testing.assert_allclose(found.toarray(), expected, atol=1e-5)
    assert found.nnz == (expected != 0).sum()


@pytest.mark.parametrize("size", [4, 12, 16])
def test_a_corpus_may_go_on_in_shards_of_another_size(encoder, corpus, tmp_path, monkeypatch, size):
    _, expected = embedded(encoder, corpus)
    encode_until_the_disk_is_gone(encoder, corpus, tmp_path, SETTINGS, monkeypatch)
    other = SETTINGS.model_copy(update={"shard_passages": size})
    file = encode_corpus(encoder, corpus, tmp_path, other)
    assert [path.name for path in tmp_path.iterdir()] == [SPARSE_FILE]
    np.testing.assert_allclose(sparse.load_npz(file).toarray(), expected, atol=1e-5)


@pytest.mark.parametrize("k", [1, 7, 99])
def test_retrieval_is_numpys(encoder, corpus, tmp_path, k):
    encode_corpus(encoder, corpus, tmp_path, SETTINGS)
    index = open_index(tmp_path)
    assert isinstance(index, SparseIndex)
    retriever = DenseRetriever(encoder, index, corpus, name="student", precision="fp32")
    queries, passages = embedded(encoder, corpus)
    scores = queries @ passages.T
    rankings = retriever.retrieve(QUESTIONS, k)
    assert [ranking.question_id for ranking in rankings] == ["0", "1", "2"]
    for line, ranking in zip(scores, rankings, strict=True):
        order = np.argsort(-line, kind="stable")[:k]
        np.testing.assert_allclose(ranking.scores, line[order], rtol=1e-5)
        assert list(ranking.passage_ids) == corpus.ids(order.tolist())
    assert retriever.retrieve([], k) == []


def test_equal_scores_are_ordered_by_row_whatever_the_blocks():
    vectors = sparse.csr_array(np.array([[0, 1], [0, 0], [2, 0], [0, 1], [0, 0]], np.float32))
    queries = sparse_rows(torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.0, 0.0]]))
    for block in (1, 2, 64):
        scores, rows = SparseIndex(vectors).search(queries, 4, block_queries=block)
        assert rows.tolist() == [[0, 3, 1, 2], [2, 0, 1, 3], [0, 1, 2, 3]]
        assert scores.tolist() == [[1, 1, 0, 0], [6, 0, 0, 0], [0, 0, 0, 0]]


def test_a_file_that_is_cut_is_told(tmp_path):
    (tmp_path / SPARSE_FILE).write_bytes(b"PK no zip")
    with pytest.raises(ArtifactError, match="expected sparse vectors in scipy's format"):
        open_index(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"similarity": "cosine"}, r"retriever\.similarity: expected dot or auto for sparse vectors, got cosine"),
        ({"encoders": "separate"}, r"retriever\.encoders: expected shared for a model with sparse vectors"),
    ],
)
def test_what_sparse_vectors_cannot_do_is_refused(tiny_language_model, changes, message):
    with pytest.raises(ModelError, match=message):
        load(tiny_language_model, **changes)


def test_training_on_what_search_costs_leaves_fewer_words(tiny_language_model, corpus, tmp_path):
    """The student learns from its teacher and grows sparser; without the cost it does not."""
    relevance = {
        question.id: PassageRelevance(
            question_id=question.id, passage_ids=tuple(corpus.ids(range(n, 30, 6))), relevance=(4.0, 3.0, 2.0, 1.0, 0.0)
        )
        for n, question in enumerate(QUESTIONS)
    }
    used, losses = {}, {}
    for weight in (0.0, 0.1):
        encoder = load(tiny_language_model)
        settings = RetrieverTraining(
            steps=30,
            questions_per_step=3,
            learning_rate=3e-3,
            precision="fp32",
            dropout=0.0,
            query_sparsity=weight,
            passage_sparsity=weight,
            chunk_tokens=200,
        )
        before = (embedded(encoder, corpus)[1] > 0).mean()
        folder = tmp_path / str(weight)
        state = train_retriever(encoder, QUESTIONS, relevance, corpus, settings, seed=0, folder=folder)
        used[weight], losses[weight] = (embedded(encoder, corpus)[1] > 0).mean() / before, state.losses
    assert used[0.1] < 0.7 < used[0.0]
    assert losses[0.0][-1] < losses[0.0][0] / 2


def test_the_loss_is_the_distillation_and_the_cost_by_weight(tiny_language_model, corpus):
    encoder = load(tiny_language_model)
    relevance = {
        question.id: PassageRelevance(
            question_id=question.id, passage_ids=tuple(corpus.ids(rows)), relevance=(2.0, 1.0, 0.0)[: len(rows)]
        )
        for question, rows in zip(QUESTIONS, [[0, 1, 2], [3, 4], [0, 5, 6]], strict=True)
    }
    settings = RetrieverTraining(query_sparsity=0.5, passage_sparsity=0.25)
    batch = distillation_batch(encoder, QUESTIONS, relevance, corpus, settings)
    student = Student(encoder, settings).eval()
    queries, passages = embedded(encoder, corpus)
    passages = passages[[0, 1, 2, 3, 4, 0, 5, 6]]
    with torch.inference_mode():
        found = student(batch).item()
        divergence = kl_divergence(student.score(batch), batch.relevance).item()
    cost = [float((rows.mean(axis=0) ** 2).sum()) for rows in (queries, passages)]
    assert min(cost) > 0.1
    assert found == pytest.approx(divergence + 0.5 * cost[0] + 0.25 * cost[1], rel=1e-5)


def test_a_model_that_predicts_no_words_is_refused(tiny_models):
    with pytest.raises(ModelError, match=r"retriever\.vectors: sparse expects a masked language model"):
        load(tiny_models / "encoder")
