"""A teacher worth learning from is told from one that is not."""

import math
import random

import pytest

from dogeared.distill.check import JudgedPassages, check_teacher, normalized_entropy, temperature_of_entropy


def judged(relevance: list[float], holds_answer: str) -> JudgedPassages:
    """The passages of a question in the retriever's order; ``.x.`` says that the second holds an answer."""
    return JudgedPassages(relevance=relevance, holds_answer=[sign == "x" for sign in holds_answer])


def test_numbers_by_hand():
    report = check_teacher(
        [
            judged([0.0, 2.0, 1.0], ".x."),  # teacher 1st, retriever 2nd
            judged([3.0, 1.0, 2.0, 0.0], ".xx."),  # teacher 2nd, retriever 2nd
            judged([1.0, 0.0], "x."),  # teacher 1st, retriever 1st
        ]
    )
    assert report["mrr_teacher"] == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert report["mrr_retrieval"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert report["first_teacher"] == pytest.approx(2 / 3)
    assert report["first_retrieval"] == pytest.approx(1 / 3)
    assert report["num_questions"] == report["num_compared"] == 3
    assert report["warnings"] == []


def test_questions_on_which_no_order_can_win_are_not_compared():
    report = check_teacher([judged([0.0, 1.0], ".."), judged([0.0, 1.0], "xx"), judged([0.0, 1.0], ".x")])
    assert report["num_questions"] == 3
    assert report["num_compared"] == 1
    assert report["mrr_teacher"] == 1.0
    assert report["mrr_retrieval"] == 0.5


def test_a_question_with_one_passage_is_left_out_and_a_reader_that_read_no_more_is_told():
    too_short = [judged([1.0], "x"), judged([], "")]
    report = check_teacher(too_short, reads=False)
    assert report == {"num_questions": 0, "num_compared": 0, "warnings": []}
    [warning] = check_teacher(too_short)["warnings"]
    assert "judged no two passages" in warning and "reader.num_passages" in warning
    assert check_teacher([*too_short, judged([0.0, 1.0], ".x")])["warnings"] == []


def random_questions(seed: int, *, knows: float) -> list[JudgedPassages]:
    """Two hundred questions in which a passage with an answer has its relevance raised by ``knows``."""
    draw = random.Random(seed)
    questions = []
    for _ in range(200):
        holds_answer = [draw.random() < 0.25 for _ in range(8)]
        relevance = [draw.gauss(knows if holds else 0.0, 1.0) for holds in holds_answer]
        questions.append(JudgedPassages(relevance=relevance, holds_answer=holds_answer))
    return questions


@pytest.mark.parametrize("seed", range(3))
def test_a_good_teacher_passes_and_one_that_looks_away_does_not(seed: int):
    good = check_teacher(random_questions(seed, knows=2.0))
    bad = check_teacher(random_questions(seed, knows=-2.0))
    assert good["warnings"] == []
    assert good["mrr_teacher"] > good["mrr_retrieval"] > bad["mrr_teacher"]
    [warning] = bad["warnings"]
    assert "no higher than the retriever's" in warning
    assert f"{bad['mrr_teacher']:.3f} against {bad['mrr_retrieval']:.3f}" in warning


def test_a_teacher_that_repeats_the_retriever_has_nothing_to_teach():
    report = check_teacher([judged([2.0, 1.0, 0.0], ".x.")])
    assert report["mrr_teacher"] == report["mrr_retrieval"]
    assert "nothing to learn" in report["warnings"][0]


def test_a_flat_teacher_is_told_and_keeps_the_retriever_s_order():
    report = check_teacher([judged([0.5] * 4, ".x.x"), judged([0.5] * 2, ".x")])
    assert report["entropy"] == pytest.approx(1.0)
    assert report["mrr_teacher"] == report["mrr_retrieval"]
    assert len(report["warnings"]) == 2
    assert "is flat" in report["warnings"][1]
    assert "1.00000" in report["warnings"][1]


def test_a_teacher_sure_of_one_passage_is_told_and_a_temperature_mends_it():
    questions = [judged([0.0, 90.0, 10.0], ".x.")]
    [warning] = check_teacher(questions)["warnings"]
    assert "lies on one passage" in warning
    assert "teacher_temperature" in warning
    assert check_teacher(questions, temperature=40.0)["warnings"] == []


def test_a_temperature_too_high_makes_any_teacher_flat():
    assert check_teacher([judged([0.0, 1.0], ".x")], temperature=100.0)["warnings"]
    assert not check_teacher([judged([0.0, 1.0], ".x")])["warnings"]


def test_relevance_that_is_no_number_is_told_and_left_out():
    report = check_teacher([judged([math.nan, 1.0], ".x"), judged([0.0, 1.0], ".x")])
    assert (report["num_questions"], report["num_compared"], report["mrr_teacher"]) == (1, 1, 1.0)
    [warning] = report["warnings"]
    assert "1 of 2 questions" in warning


def test_questions_may_come_from_an_iterator():
    report = check_teacher(iter([judged([0.0, 1.0], ".x")]))
    assert report["num_compared"] == 1
    assert "entropy" in report


@pytest.mark.parametrize(
    ("relevance", "temperature", "expected"),
    [
        ([0.0, 0.0, 0.0], 1.0, 1.0),
        ([math.log(3), 0.0], 1.0, -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))),
        ([2 * math.log(3), 0.0], 2.0, -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))),
        ([1000.0, 0.0], 1.0, 0.0),
        ([-1000.0, -1000.0], 1.0, 1.0),
    ],
)
def test_entropy_by_hand(relevance: list[float], temperature: float, expected: float):
    assert normalized_entropy(relevance, temperature=temperature) == pytest.approx(expected)
    if temperature == 1.0:
        assert normalized_entropy(relevance) == pytest.approx(expected)
        assert check_teacher([judged(relevance, "." * len(relevance))])["entropy"] == pytest.approx(expected)


def test_warnings_name_a_teacher_that_is_no_reader_and_do_not_ask_to_train_it():
    flat = [JudgedPassages(relevance=[1.0, 1.0, 1.0], holds_answer=[False, True, False])] * 2
    one_hot = [JudgedPassages(relevance=[0.0, 99.0], holds_answer=[True, True])]
    broken = [JudgedPassages(relevance=[math.nan, 0.0], holds_answer=[False, True])]
    for questions in (flat, one_hot, broken):
        own, others = (check_teacher(questions, reads=reads)["warnings"] for reads in (True, False))
        assert own and len(own) == len(others)
        assert own == check_teacher(questions)["warnings"]  # a teacher is taken for a reader
        assert all("the reader's" in warning for warning in own)
        assert all("the teacher's" in warning and "train the reader" not in warning for warning in others)
    for questions, advice in ((flat, "longer, on several passages a question"), (broken, "anew with a lower learning")):
        assert f"train the reader {advice}" in check_teacher(questions)["warnings"][0]
        assert check_teacher(questions, reads=False)["warnings"][0].endswith("; choose another teacher")


def mean_entropy(questions: list[list[float]], temperature: float) -> float:
    return sum(normalized_entropy(one, temperature=temperature) for one in questions) / len(questions)


@pytest.mark.parametrize("size", [1e-3, 1.0, 500.0])
@pytest.mark.parametrize("entropy", [0.05, 0.5, 0.95])
def test_numbers_of_any_size_are_given_the_entropy_asked_for(size: float, entropy: float):
    questions = [[size * value for value in one.relevance] for one in random_questions(0, knows=2.0)]
    assert mean_entropy(questions, temperature_of_entropy(iter(questions), entropy)) == pytest.approx(entropy, abs=1e-6)


def test_a_temperature_by_hand():
    entropy = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert temperature_of_entropy([[2 * math.log(3), 0.0]], entropy) == pytest.approx(2.0)


def test_passages_that_cannot_be_told_apart_leave_the_least_entropy_but_a_hundredth():
    questions = [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0]]
    least = (0.5 + 1) / 2
    temperature = temperature_of_entropy(questions, 0.1)
    assert mean_entropy(questions, temperature) == pytest.approx(least + 0.01 * (1 - least), abs=1e-6)


def test_no_temperature_tells_equal_passages_apart():
    assert temperature_of_entropy([[3.0, 3.0], [1.0], []], 0.1) == 1.0
    assert temperature_of_entropy([], 0.1) == 1.0


def test_relevance_that_is_no_number_bears_on_no_temperature():
    known = [[0.0, 1.0, 3.0]]
    assert temperature_of_entropy([[math.nan, 1.0], *known], 0.3) == temperature_of_entropy(known, 0.3)


def test_of_many_questions_some_are_looked_at():
    questions = [one.relevance for one in random_questions(1, knows=1.0)]
    many = [list(one) for one in questions for _ in range(25)]
    assert mean_entropy(many, temperature_of_entropy(many, 0.3)) == pytest.approx(0.3, abs=0.01)


def test_a_reader_of_which_nothing_can_be_said_is_warned_of():
    """No passage holds an answer: there is no order to compare, and most likely nothing was learned."""
    unanswered = [judged([1.0, 2.0, 0.5], "..."), judged([0.1, 0.2], "..")]
    (warning,) = check_teacher(unanswered)["warnings"]
    assert "none of the passages of 2 questions holds an answer word for word" in warning
    assert not any("word for word" in one for one in check_teacher([*unanswered, judged([1.0, 2.0], "x.")])["warnings"])
