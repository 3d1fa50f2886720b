"""Distillation: the student learns its teacher's order, from its teacher's numbers alone."""

import math
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from dogeared.data.corpus import build_corpus
from dogeared.distill.check import temperature_of_entropy
from dogeared.errors import TrainingError
from dogeared.evaluation.agreement import in_teacher_order, mean_agreement
from dogeared.records import Passage, PassageRelevance, Question
from dogeared.retrieval.dual_encoder import DualEncoder, RetrieverSettings
from dogeared.training.train_retriever import RetrieverTraining, Student, distillation_batch, train_retriever

SETTINGS = RetrieverTraining(steps=2, questions_per_step=8, learning_rate=1e-3, precision="fp32", max_gradient_norm=1e9)


@pytest.fixture
def encoder(tiny_models):
    encoder = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), max_length_tokens=32))
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return encoder


@pytest.fixture(scope="module")
def words(tiny_models):
    """Words that the tiny encoder knows."""
    from transformers import AutoTokenizer

    vocabulary = AutoTokenizer.from_pretrained(tiny_models / "encoder").get_vocab()
    found = sorted(word for word in vocabulary if word.isalpha() and word.islower() and len(word) > 3)
    assert len(found) > 60
    return found


class Task:
    """Questions on one of six topics; of the six passages of each, the teacher likes the one on its topic."""

    def __init__(self, folder, words, num_questions=120):
        draw = random.Random(0)
        topics, fillers = words[:6], words[6:60]
        passages = [
            Passage(id=f"{topic}-{number}", title="", text=" ".join([topics[topic], *draw.sample(fillers, 3)]))
            for topic in range(6)
            for number in range(8)
        ]
        self.questions, self.relevance = [], {}
        for number in range(num_questions):
            wanted = draw.randrange(6)
            text = f"{topics[wanted]} {draw.choice(fillers)} {number}"
            self.questions.append(Question(id=f"q{number}", text=text))
            order = draw.sample(range(6), 6)
            self.relevance[f"q{number}"] = PassageRelevance(
                question_id=f"q{number}",
                passage_ids=tuple(f"{topic}-{draw.randrange(8)}" for topic in order),
                relevance=tuple(5.0 * (topic == wanted) + draw.random() for topic in order),
            )
        self.corpus = build_corpus(passages, folder / "corpus")
        self.train, self.held_out = self.questions[:-24], self.questions[-24:]

    def shuffled(self):
        """The same numbers, given to the passages of each question at random."""
        draw = random.Random(1)
        return {
            name: PassageRelevance(
                question_id=name, passage_ids=item.passage_ids, relevance=tuple(draw.sample(item.relevance, 6))
            )
            for name, item in self.relevance.items()
        }

    def agreement(self, encoder, questions):
        """How often the student and the teacher have the same first passage."""
        batch = distillation_batch(encoder, questions, self.relevance, self.corpus, SETTINGS)
        with torch.inference_mode():
            scores = Student(encoder.eval(), SETTINGS).score(batch)
        rows = [
            in_teacher_order(row, self.relevance[question.id].relevance)
            for row, question in zip(scores.tolist(), questions, strict=True)
        ]
        return mean_agreement(rows)["overlap@1"]


def distil(encoder, task, folder, *, relevance=None, questions=None, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_retriever(
        encoder,
        task.train if questions is None else questions,
        relevance or task.relevance,
        task.corpus,
        settings,
        seed=1,
        folder=folder / "work",
    )


def test_the_student_changes_learns_its_teachers_order_and_keeps_it_on_new_questions(encoder, words, tmp_path):
    task = Task(tmp_path, words)
    before = {name: value.detach().clone() for name, value in encoder.named_parameters()}
    start = task.agreement(encoder, task.held_out)
    state = distil(encoder, task, tmp_path, steps=60, learning_rate=3e-3)
    # The pooler of a plain BERT stands behind the pooling and has no part in it.
    unchanged = {name for name, value in encoder.named_parameters() if torch.equal(before[name], value)}
    assert all("pooler" in name for name in unchanged)
    assert sum(state.losses[-5:]) < sum(state.losses[:5]) / 2
    assert start < 0.5
    assert task.agreement(encoder, task.train) > 0.9
    assert task.agreement(encoder, task.held_out) > 0.9


def test_emdr2_takes_likelihoods_as_they_are_and_finds_the_passages_that_make_the_answer_likely(
    encoder, words, tmp_path
):
    task = Task(tmp_path, words)
    likelihoods = {
        name: replace(item, relevance=tuple(value - 6.0 for value in item.relevance))  # logarithms are not positive
        for name, item in task.relevance.items()
    }
    distil(
        encoder, task, tmp_path, steps=60, learning_rate=3e-3, loss="emdr2", relevance=likelihoods,
        teacher_temperature=50.0,  # bears on nothing
    )  # fmt: skip
    assert task.agreement(encoder, task.held_out) > 0.8


def test_relevance_that_says_nothing_teaches_nothing(encoder, words, tmp_path):
    task = Task(tmp_path, words)
    start = task.agreement(encoder, task.held_out)
    distil(encoder, task, tmp_path, steps=60, learning_rate=3e-3, relevance=task.shuffled())
    assert task.agreement(encoder, task.held_out) <= start


def test_questions_with_fewer_than_two_passages_are_left_out_and_counted_aloud(encoder, words, tmp_path, caplog):
    task = Task(tmp_path, words)
    for name, count in (("q0", 1), ("q1", 0)):
        whole = task.relevance[name]
        task.relevance[name] = PassageRelevance(
            question_id=name, passage_ids=whole.passage_ids[:count], relevance=whole.relevance[:count]
        )
    asked, make = [], encoder.query_chunks
    encoder.query_chunks = lambda texts, **rest: (asked.extend(texts), make(texts, **rest))[1]
    distil(encoder, task, tmp_path, steps=12)
    assert "2 of 96 training questions have fewer than two passages and teach nothing" in caplog.text
    assert len(asked) == 96
    assert set(asked) == {question.text for question in task.train[2:]}
    with pytest.raises(TrainingError, match="none of the 2 training questions has them"):
        distil(encoder, task, tmp_path / "b", questions=task.questions[:2])


def test_a_batch_scores_each_question_against_its_own_passages_alone(encoder, words, tmp_path):
    task = Task(tmp_path, words)
    counts = {"q0": 2, "q1": 6, "q2": 3}
    relevance = {
        name: PassageRelevance(
            question_id=name,
            passage_ids=task.relevance[name].passage_ids[:count],
            relevance=task.relevance[name].relevance[:count],
        )
        for name, count in counts.items()
    }
    encoder.eval()
    settings = SETTINGS.model_copy(update={"num_passages": 5})
    batch = distillation_batch(encoder, task.questions[:3], relevance, task.corpus, settings)
    assert batch.weight == 3
    assert batch.relevance.shape == (3, 5)
    with torch.inference_mode():
        scores = Student(encoder, settings).score(batch)
        for row, question in enumerate(task.questions[:3]):
            (query,) = encoder.model.encode_query([question.text], convert_to_numpy=True)
            count = min(counts[question.id], 5)
            for place in range(5):
                if place >= count:
                    assert torch.isneginf(batch.relevance[row, place])
                    continue
                passage = task.corpus.passage(task.corpus.row_of(relevance[question.id].passage_ids[place]))
                (vector,) = encoder.model.encode_document([f"context: {passage.text}"], convert_to_numpy=True)
                assert scores[row, place].item() == pytest.approx(query @ vector / np.sqrt(32), abs=1e-5)
                assert batch.relevance[row, place].item() == pytest.approx(relevance[question.id].relevance[place])


def test_what_was_retrieved_for_a_question_is_no_negative_of_it(encoder, words, tmp_path):
    """Not only what it is taught by: neither what the teacher judged below that, nor what it was never asked about."""
    task = Task(tmp_path, words)
    ids = {"q0": ("0-0", "1-0", "2-0"), "q1": ("2-0", "3-0", "4-0"), "q2": ("4-0", "5-0", "0-0")}
    relevance = {
        name: PassageRelevance(question_id=name, passage_ids=passages, relevance=(3.0, 2.0, 1.0))
        for name, passages in ids.items()
    }
    settings = SETTINGS.model_copy(update={"num_passages": 2, "contrastive_weight": 1.0})
    student = Student(encoder.eval(), settings)

    def loss(retrieved):
        batch = distillation_batch(encoder, task.questions[:3], relevance, task.corpus, settings, retrieved=retrieved)
        with torch.inference_mode():
            return student(batch).item()

    taught = [passage_id for passages in ids.values() for passage_id in passages[:2]]
    rows = task.corpus.rows_of(taught)
    with torch.inference_mode():
        queries = encoder.embed(encoder.query_chunks([question.text for question in task.questions[:3]]))
        passages = encoder.embed(encoder.passage_chunks(task.corpus.passages(rows)))
        score = encoder.score_all(queries, passages).double().numpy()

    def expected(own):
        losses = []
        for row, name in enumerate(ids):
            right = score[row, taught.index(ids[name][0])]
            others = [score[row, place] for place, passage_id in enumerate(taught) if passage_id not in own[name]]
            losses.append(np.log(np.exp(np.array([right, *others])).sum()) - right)
        return sum(losses) / len(losses)

    assert loss(None) == pytest.approx(expected(ids), abs=1e-5)
    more = {"q0": ["3-0"], "q2": ["1-0", "9-9"]}
    with_more = {name: (*passages, *more.get(name, ())) for name, passages in ids.items()}
    assert loss(more) == pytest.approx(expected(with_more), abs=1e-5)
    assert abs(loss(more) - loss(None)) > 1e-3


def test_a_question_that_no_teacher_judged_is_named(encoder, words, tmp_path):
    task = Task(tmp_path, words)
    del task.relevance["q7"]
    with pytest.raises(TrainingError, match=r"none of 1 of 96, the first of them 'q7'; have the training questions"):
        distil(encoder, task, tmp_path)


@pytest.mark.parametrize(("reduction", "divisor"), [("batch_mean", 1), ("reference", 6)])
def test_the_loss_is_the_divergence_of_the_softmaxes(encoder, words, tmp_path, reduction, divisor):
    task = Task(tmp_path, words)
    settings = SETTINGS.model_copy(
        update={"student_temperature": 0.5, "teacher_temperature": 2.0, "reduction": reduction}
    )
    student = Student(encoder.eval(), settings)
    batch = distillation_batch(encoder, task.questions[:3], task.relevance, task.corpus, settings)
    with torch.inference_mode():
        scores, loss = student.score(batch).double().numpy(), student(batch).item()

    def softmax(values):
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    teacher, mine = softmax(batch.relevance.double().numpy() / 2.0), softmax(scores / 0.5)
    assert loss == pytest.approx((teacher * np.log(teacher / mine)).sum() / 3 / divisor, abs=1e-5)


def test_an_entropy_stands_for_the_temperature_that_gives_it(encoder, words, tmp_path):
    task = Task(tmp_path, words)
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    temperature = temperature_of_entropy([task.relevance[one.id].relevance for one in task.train], 0.2)
    assert abs(math.log(temperature)) > 0.1  # or it would be no other than the default
    ends = []
    changes = {"by-entropy": {"teacher_entropy": 0.2}, "by-hand": {"teacher_temperature": temperature}}
    for name, change in changes.items():
        distil(encoder, task, tmp_path / name, **change)
        ends.append({name: value.clone() for name, value in encoder.state_dict().items()})
        encoder.load_state_dict(start)
    assert any(not torch.equal(ends[0][name], start[name]) for name in start)
    for name, value in ends[0].items():
        torch.testing.assert_close(value, ends[1][name], rtol=0, atol=0)


def test_cosines_are_sharpened_and_dot_products_are_not(encoder, tiny_models):
    cosine = DualEncoder.load(RetrieverSettings(model=str(tiny_models / "encoder"), similarity="cosine"))
    assert Student(cosine, SETTINGS).temperature == 0.05
    assert Student(encoder, SETTINGS).temperature == 1.0
    assert Student(cosine, SETTINGS.model_copy(update={"student_temperature": 0.3})).temperature == 0.3


def test_a_step_in_parts_has_the_gradient_of_the_whole(encoder, words, tmp_path):
    task = Task(tmp_path, words)
    gradients = []
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    for size in (0, 3):
        seen = {}
        hooks = [
            parameter.register_post_accumulate_grad_hook(
                lambda p, name=name, seen=seen: seen.update({name: p.grad.clone()})
            )
            for name, parameter in encoder.named_parameters()
        ]
        distil(encoder, task, tmp_path / str(size), steps=1, questions_per_batch=size)
        encoder.load_state_dict(start)
        for hook in hooks:
            hook.remove()
        gradients.append(seen)
    whole, parts = gradients
    assert whole.keys() == parts.keys()
    assert max(value.abs().max() for value in whole.values()) > 0.01
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=0)


def test_no_chain_of_imports_leads_to_a_reader():
    code = (
        "import sys, dogeared.training.train_retriever;"
        "found = [m for m in sys.modules if m.startswith(('dogeared.reader', 'dogeared.distill.teachers'))];"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
