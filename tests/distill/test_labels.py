"""Teachers that look things up, by hand."""

import json
import logging
from dataclasses import replace

import pytest
import torch

from dogeared.data.readings import Readings
from dogeared.distill.labels import AnswerString, GivenRelevance, Gold, MixedWithGold
from dogeared.distill.teachers import Teacher
from dogeared.records import PassageRelevance
from tiny_readers import PASSAGES, tiny_readings


@pytest.fixture
def readings(tmp_path) -> Readings:
    """Question i has the passages 2i, 2i + 1, ... of five, i of them; the last has none."""
    return tiny_readings(tmp_path)


def ask(readings: Readings, **of_question) -> Readings:
    """Give what is known of questions, by their number."""
    questions = list(readings.questions)
    for name, values in of_question.items():
        for index, value in values.items():
            questions[index] = replace(questions[index], **{name: value})
    return replace(readings, questions=questions)


def judged(teacher: Teacher, readings: Readings) -> list[dict[str, float]]:
    found = list(teacher.relevance(readings))
    assert [item.question_id for item in found] == [question.id for question in readings.questions]
    return [dict(zip(item.passage_ids, item.relevance, strict=True)) for item in found]


def test_the_answers_string(readings, caplog):
    answers = {1: ("TALL!", "built the tower"), 2: ("cora",), 3: ("Paris", "Oslo"), 4: ("Anna",)}
    with caplog.at_level(logging.WARNING):
        found = judged(AnswerString(), ask(readings, answers=answers))
    assert "Cora" in PASSAGES[1].text and "Paris" in PASSAGES[0].text and "Oslo" in PASSAGES[4].text
    assert found == [
        {},  # no answer
        {"2": 1.0},
        {},  # its passages are 4 and 0, and Cora is in neither
        {},  # 1, 2 and 3: neither Paris nor Oslo
        {"3": 0.0, "4": 0.0, "0": 1.0, "1": 0.0},
        {},
        {},
    ]
    assert "3 of 7 questions have no answers" in caplog.text
    assert "of 2 of 4 questions no passage retrieved is marked" in caplog.text


def test_titles_do_not_hold_answers(readings):
    assert PASSAGES[3].title == "river"
    found = judged(AnswerString(), ask(readings, answers={4: ("song",)}))
    assert found[4] == {}


def test_gold_labels_are_gold_and_near_gold(readings, caplog):
    some = ask(readings, gold={2: ("0",), 3: ("4",), 4: ("3",)}, near_gold={4: ("1", "2")})
    with caplog.at_level(logging.WARNING):
        found = judged(Gold(), some)
    assert found == [{}, {}, {"4": 0.0, "0": 1.0}, {}, {"3": 1.0, "4": 0.0, "0": 0.0, "1": 1.0}, {}, {}]
    assert "4 of 7 questions have no gold labels" in caplog.text
    assert "of 1 of 3 questions no passage retrieved is marked" in caplog.text


def test_a_file_says_what_it_says_and_nothing_of_others(readings, tmp_path, caplog):
    rows = [("q3", "3", 0.5), ("q3", "1", -2.0), ("q4", "9", 3.0), ("q5", "2", 7.0), ("other", "1", 9.0)]
    file = tmp_path / "relevance.jsonl"
    file.write_text(
        "\n".join(json.dumps({"question_id": q, "passage_id": p, "relevance": value}) for q, p, value in rows)
    )
    teacher = GivenRelevance(file)
    with caplog.at_level(logging.WARNING):
        found = judged(teacher, readings)
    assert found == [{}, {}, {}, {"1": -2.0, "3": 0.5}, {}, {"2": 7.0}, {}]
    assert [*found[3]] == ["1", "3"]  # the retriever's order
    assert "4 of 7 questions have no relevance in the file" in caplog.text
    assert f"{file} names no relevance for 8 of the retrieved passages" in caplog.text  # 1 of q3, 4 of q4, 3 of q5


def test_a_file_for_other_questions_says_nothing(readings, tmp_path):
    (tmp_path / "relevance.trec").write_text("other Q0 1 1 0.25 x\n")
    assert judged(GivenRelevance(tmp_path / "relevance.trec"), readings) == [{}] * 7


def test_no_questions_are_no_fault(readings, tmp_path):
    (tmp_path / "relevance.trec").write_text("other Q0 1 1 0.25 x\n")
    none = replace(readings, questions=[])
    for teacher in (GivenRelevance(tmp_path / "relevance.trec"), Gold(), AnswerString()):
        assert list(teacher.relevance(none)) == []


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_mixture_has_the_softmax_of_both_by_weight(readings, temperature):
    some = ask(readings, gold={2: ("0",), 4: ("3",), 5: ("9",)}, near_gold={4: ("1",)})

    class Other:
        def relevance(self, readings):
            for index, question in enumerate(readings.questions):
                ids = readings.passage_ids(index)
                yield PassageRelevance(
                    question_id=question.id,
                    passage_ids=ids,
                    relevance=tuple(0.7 * place - 900 for place in range(len(ids))),
                )

    plain = list(Other().relevance(some))
    found = list(MixedWithGold(Other(), weight=0.25, temperature=temperature).relevance(some))
    for index, (item, before) in enumerate(zip(found, plain, strict=True)):
        gold = {2: {"0"}, 4: {"3", "1"}}.get(index)
        if gold is None:
            assert item == before
            continue
        share = (torch.tensor(before.relevance, dtype=torch.float64) / temperature).softmax(0)
        marks = torch.tensor([float(name in gold) for name in item.passage_ids]).double()
        expected = 0.75 * share + 0.25 * marks / marks.sum()
        torch.testing.assert_close(
            (torch.tensor(item.relevance, dtype=torch.float64) / temperature).softmax(0), expected
        )
        assert marks.sum() == len(gold)


@pytest.mark.parametrize("weight", [0.0, 1.0, 1.5])
def test_labels_alone_or_none_are_no_mixture(weight):
    with pytest.raises(AssertionError, match="no mixture"):
        MixedWithGold(Gold(), weight=weight, temperature=1.0)


def test_a_mixture_wants_a_word_on_each_question(readings):
    class Silent:
        def relevance(self, readings):
            return iter(())

    with pytest.raises(ValueError, match="shorter"):
        list(MixedWithGold(Silent(), weight=0.5, temperature=1.0).relevance(readings))
