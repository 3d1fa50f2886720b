"""The student's losses mixed, its gradients cached, and its two encoders: what each trains, and what it leaves."""

import numpy as np
import pytest
import torch
from torch import nn

from dogeared.data.corpus import build_corpus
from dogeared.data.formats import iter_passages
from dogeared.distill.losses import distillation_loss
from dogeared.records import PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.retrieval.vectors import StoredVectors
from dogeared.training.train_retriever import RetrieverTraining, Student, distillation_batch, train_retriever
from step_of_learning import gradients, held_at_every_chunk

SETTINGS = RetrieverTraining(
    steps=3, questions_per_step=4, learning_rate=1e-2, precision="fp32", max_gradient_norm=1e9, num_passages=6
)
OWN_ROWS = [[0, 5, 11, 7, 20], [1, 6], [2, 7, 13, 0], [3, 8, 14, 21, 22, 23]]
"""Passages of four questions: 0 and 7 stand in two lists."""
QUESTIONS = [
    Question(id=str(n), text=text) for n, text in enumerate(["who ?", "what was it ?", "the sea", "in a house"])
]


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


def load(tiny_models, *, dropout=0.0, **changes):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), max_length_tokens=48, **changes))
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
    return encoder


def student_and_batch(encoder, relevance, corpus, **changes):
    settings = SETTINGS.model_copy(update=changes)
    batch = distillation_batch(encoder, QUESTIONS, relevance, corpus, settings)
    return Student(encoder, settings).train(), batch


def assert_same(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=tolerance, rtol=0, msg=lambda text, name=name: name + text)


def contrastive_by_hand(student, batch, relevance):
    """The best passage of each question against all others' that are not its own, vector by vector."""
    encoder = student.encoder
    queries, passages = encoder.embed(batch.queries), encoder.embed(batch.passages)
    at = {row: passages[place] for place, row in enumerate(row for rows in OWN_ROWS for row in rows)}
    costs = []
    for n, own in enumerate(OWN_ROWS):
        best = own[int(np.argmax(relevance[str(n)].relevance))]
        negatives = sorted({row for rows in OWN_ROWS for row in rows} - set(own))
        scores = torch.stack([queries[n] @ at[row] / 32**0.5 for row in [best, *negatives]])
        costs.append(-scores.log_softmax(0)[0])
    return torch.stack(costs).mean()


@pytest.mark.parametrize("loss", ["kl", "mse", "max_margin", "cross_entropy", "graded_infonce"])
def test_a_mix_is_its_parts_by_weight(tiny_models, corpus, relevance, loss):
    encoder = load(tiny_models)
    values = {}
    for weight in (0.0, 0.25, 1.0):
        student, batch = student_and_batch(
            encoder, relevance, corpus, loss=loss, contrastive_weight=weight, student_temperature=1.0
        )
        values[weight] = student(batch).item()
    alone = distillation_loss(student.score(batch), batch.relevance, loss=loss).item()
    contrastive = contrastive_by_hand(student, batch, relevance).item()
    assert abs(alone - contrastive) > 0.01
    assert values[0.0] == pytest.approx(alone, abs=1e-6)
    assert values[1.0] == pytest.approx(contrastive, abs=1e-5)
    assert values[0.25] == pytest.approx(0.25 * contrastive + 0.75 * alone, abs=1e-5)


def test_each_question_scored_against_all_gives_its_own_scores_too(tiny_models, corpus, relevance):
    student, batch = student_and_batch(load(tiny_models), relevance, corpus)
    own, everything = student.score(batch), student.encoder.score_all(*student.embed(batch))
    assert everything.shape == (4, sum(len(rows) for rows in OWN_ROWS))
    start = 0
    for n, rows in enumerate(OWN_ROWS):
        torch.testing.assert_close(own[n, : len(rows)], everything[n, start : start + len(rows)])
        start += len(rows)


@pytest.mark.parametrize("encoders", ["shared", "separate", "query_only"])
@pytest.mark.parametrize("contrastive_weight", [0.0, 0.5])
def test_cached_gradients_are_those_of_the_plain_loss(tiny_models, corpus, relevance, encoders, contrastive_weight):
    # In float64, where what is added up in another order on another processor is as good as the same.
    encoder = load(tiny_models, encoders=encoders).double()
    changes = {"contrastive_weight": contrastive_weight}
    plain_loss, plain = gradients(*student_and_batch(encoder, relevance, corpus, **changes))
    student, batch = student_and_batch(encoder, relevance, corpus, chunk_tokens=60, **changes)
    assert len(batch.passages) > 3
    loss, cached = gradients(student, batch)
    assert loss == pytest.approx(plain_loss, abs=1e-12)
    assert_same(cached, plain, 1e-12)
    student.settings = SETTINGS.model_copy(update=changes)
    assert_same(cached, gradients(student, batch)[1], 1e-12)


def test_the_second_encoding_has_the_dropout_of_the_first(tiny_models, corpus, relevance):
    """Same chunks, same seed; encoded once with everything kept, and twice with nothing kept."""
    encoder = load(tiny_models, dropout=0.4)
    student, batch = student_and_batch(encoder, relevance, corpus, chunk_tokens=60)
    loss, cached = gradients(student, batch)
    student.settings = SETTINGS
    plain_loss, plain = gradients(student, batch)
    assert loss == plain_loss
    assert_same(cached, plain, 1e-7)
    student.encoder.eval()
    assert gradients(student, batch)[0] != plain_loss, "dropout falls"


@pytest.mark.parametrize(("chunk_tokens", "most"), [(60, 2), (0, 6)])
def test_only_one_chunk_s_activations_are_in_memory(tiny_models, corpus, relevance, chunk_tokens, most):
    """Count, whenever a chunk goes in, how many chunks' activations inside the encoder are still held."""
    encoder = load(tiny_models)
    student, batch = student_and_batch(encoder, relevance, corpus, chunk_tokens=60)
    student.settings = SETTINGS.model_copy(update={"chunk_tokens": chunk_tokens})
    counts = held_at_every_chunk(encoder, 64, lambda: student(batch))
    num_chunks = len(batch.passages) + len(batch.queries)
    assert num_chunks > 6
    if chunk_tokens:
        assert len(counts) == 2 * num_chunks, "each chunk is encoded twice"
        assert max(counts) <= most
    else:
        assert len(counts) == num_chunks
        assert max(counts) >= most


def trained(encoder, relevance, corpus, folder, vectors=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_retriever(
        encoder, QUESTIONS, relevance, corpus, settings, seed=1, folder=folder / "work", vectors=vectors
    )


def passage_vectors(encoder, corpus):
    encoder.eval()
    with torch.inference_mode():
        return encoder.embed(encoder.passage_chunks(corpus.passages(range(len(corpus))))).numpy()


def query_vectors(encoder):
    encoder.eval()
    with torch.inference_mode():
        return encoder.embed(encoder.query_chunks([question.text for question in QUESTIONS])).numpy()


@pytest.mark.parametrize("encoders", ["shared", "separate", "query_only"])
def test_what_is_trained_and_what_keeps_its_vectors(tiny_models, corpus, relevance, tmp_path, encoders):
    # Dropout and weight decay would both change vectors that were only not meant to learn.
    encoder = load(tiny_models, dropout=0.1, encoders=encoders)
    queries, passages = query_vectors(encoder), passage_vectors(encoder, corpus)
    trained(encoder, relevance, corpus, tmp_path, weight_decay=0.1, dropout=0.2)
    assert np.abs(query_vectors(encoder) - queries).max() > 1e-3
    changed = np.abs(passage_vectors(encoder, corpus) - passages).max()
    if encoders == "query_only":
        np.testing.assert_array_equal(passage_vectors(encoder, corpus), passages)
    else:
        assert changed > 1e-3
    encoder.save(tmp_path / "saved")
    again = DualEncoder.load(RetrieverSettings(model=str(tmp_path / "saved"), max_length_tokens=48, encoders=encoders))
    np.testing.assert_array_equal(query_vectors(again), query_vectors(encoder))
    np.testing.assert_array_equal(passage_vectors(again, corpus), passage_vectors(encoder, corpus))


def test_separate_encoders_part(tiny_models, corpus, relevance, tmp_path):
    encoder = load(tiny_models, encoders="separate")
    router = next(iter(encoder.model))
    sides = [dict(router.sub_modules[task].named_parameters()) for task in ("query", "document")]
    assert all(torch.equal(sides[0][name], value) for name, value in sides[1].items())
    start = {name: value.clone() for name, value in sides[0].items()}
    trained(encoder, relevance, corpus, tmp_path)
    moved = [{name for name, value in side.items() if not torch.equal(value, start[name])} for side in sides]
    # Biases that no softmax over dot products depends on, such as the last of the passages', move by rounding or not.
    wanted = {name for name in start if name.endswith("weight") and "pooler" not in name}
    assert all(wanted <= side for side in moved)
    assert not any(torch.equal(sides[0][name], sides[1][name]) for name in wanted)


def test_known_vectors_train_as_encoded_passages_do(tiny_models, corpus, relevance, tmp_path):
    encoder = load(tiny_models, encoders="query_only")
    known = StoredVectors(passage_vectors(encoder, corpus))
    found = []
    for vectors in (None, known):
        encoder = load(tiny_models, encoders="query_only")
        asked, make = [], encoder.passage_chunks
        encoder.passage_chunks = lambda texts, asked=asked, make=make, **rest: (asked.append(texts), make(texts))[1]
        state = trained(encoder, relevance, corpus, tmp_path / str(vectors is None), vectors, contrastive_weight=0.5)
        assert bool(asked) == (vectors is None)
        found.append((state.losses, query_vectors(encoder)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


def test_vectors_of_passages_that_are_trained_are_not_taken(tiny_models, corpus, relevance, tmp_path):
    encoder = load(tiny_models)
    with pytest.raises(AssertionError, match="keeps them"):
        trained(encoder, relevance, corpus, tmp_path, StoredVectors(np.zeros((len(corpus), 32), np.float32)))


def test_a_reduction_that_bears_on_nothing_is_told(tiny_models, corpus, relevance, tmp_path, caplog):
    trained(load(tiny_models), relevance, corpus, tmp_path, steps=0, loss="mse", reduction="reference")
    assert "reduction bears on the divergence alone, not on loss = 'mse'" in caplog.text


def test_the_second_encoding_has_the_precision_of_the_first(tiny_models, corpus, relevance):
    student, batch = student_and_batch(load(tiny_models), relevance, corpus, chunk_tokens=60)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = student(batch)
    loss.backward()
    cached = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()
    student.settings = SETTINGS
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = student(batch)
    plain.backward()
    assert loss.item() == plain.item()
    assert_same(cached, {name: p.grad for name, p in student.named_parameters() if p.grad is not None}, 1e-7)
    assert gradients(student, batch)[0] != plain.item(), "bfloat16 is another precision"
