"""Rankings are measured as the field measures them, in the order in which they stand."""

import math
import random

import ir_measures
import pytest
from ir_measures import RR, Success, nDCG

from dogeared.errors import DataError
from dogeared.evaluation.ranking import (
    MEASURES,
    answer_judgments,
    evaluate_retrieval,
    gold_judgments,
    mean_measures,
    measure_each_question,
    measure_rankings,
    retrieval_by_question,
)
from dogeared.records import Question, Ranking

TEXTS = {"a": "the capital is Paris", "b": "Parisian food", "c": "Paris, again", "d": "Rome"}


def texts_of(passage_ids):
    return [TEXTS[passage_id] for passage_id in passage_ids]


def ranking(question_id, passage_ids, scores=None):
    scores = scores or [float(-place) for place in range(len(passage_ids))]
    return Ranking(question_id=question_id, passage_ids=tuple(passage_ids), scores=tuple(scores))


def question(question_id, answers=(), gold=(), near_gold=()):
    return Question(id=question_id, text="?", answers=tuple(answers), gold=tuple(gold), near_gold=tuple(near_gold))


def test_measures_by_hand():
    values = measure_each_question(
        [ranking("q", [f"p{place}" for place in range(1, 31)])], {"q": {"p3": 1, "p7": 1, "p25": 1, "elsewhere": 1}}
    )
    ideal = sum(1 / math.log2(place + 1) for place in (1, 2, 3, 4))
    assert values["q"] == {
        "success@1": 0.0,
        "success@5": 1.0,
        "success@20": 1.0,
        "success@100": 1.0,
        "mrr@10": pytest.approx(1 / 3),
        "ndcg@10": pytest.approx((1 / math.log2(4) + 1 / math.log2(8)) / ideal),
    }


def test_the_first_hit_beyond_a_cutoff_counts_nothing():
    values = measure_each_question([ranking("q", [f"p{place}" for place in range(1, 120)])], {"q": {"p101": 1}})
    assert values["q"] == dict.fromkeys(MEASURES, 0.0)
    values = measure_each_question([ranking("q", [f"p{place}" for place in range(1, 120)])], {"q": {"p11": 1}})
    assert (values["q"]["mrr@10"], values["q"]["success@5"], values["q"]["success@20"]) == (0.0, 0.0, 1.0)


def test_random_rankings_equal_ir_measures_on_their_scores():
    chance = random.Random(0)
    run, judgments, rankings = {}, {}, []
    for number in range(50):
        scores = {f"p{passage}": chance.random() for passage in range(chance.randint(1, 150))}
        best_first = sorted(scores, key=scores.__getitem__, reverse=True)
        run[f"q{number}"] = scores
        judgments[f"q{number}"] = {f"p{passage}": 1 for passage in chance.sample(range(200), 4)}
        rankings.append(ranking(f"q{number}", best_first, [scores[passage] for passage in best_first]))
    expected = ir_measures.calc_aggregate(
        [Success @ 1, Success @ 5, Success @ 20, Success @ 100, RR @ 10, nDCG @ 10], judgments, run
    )
    assert measure_rankings(rankings, judgments) == {
        name: pytest.approx(expected[measure]) for name, measure in MEASURES.items()
    }
    assert 0 < expected[Success @ 5] < 1


@pytest.mark.parametrize("best_first", ["ab", "ba"])
def test_passages_with_equal_scores_keep_their_order(best_first):
    values = measure_each_question([ranking("q", list(best_first), [1.0, 1.0])], {"q": {"a": 1}})["q"]
    assert values["success@1"] == float(best_first == "ab")
    assert values["mrr@10"] == 1 / (1 + best_first.index("a"))
    assert values["ndcg@10"] == pytest.approx(1 / math.log2(2 + best_first.index("a")))


def test_a_question_without_ranking_counts_zero():
    judgments = {"q": {"a": 1}, "missing": {"a": 1}, "empty": {"a": 1}, "no hit": {}}
    values = measure_each_question([ranking("q", ["a"]), ranking("empty", []), ranking("no hit", ["a"])], judgments)
    assert {name: measures["success@1"] for name, measures in values.items()} == {
        "q": 1.0, "missing": 0.0, "empty": 0.0, "no hit": 0.0,
    }  # fmt: skip
    assert all(list(measures) == list(MEASURES) for measures in values.values())
    assert mean_measures(values)["ndcg@10"] == 0.25


def test_a_ranking_of_another_question_is_passed_over():
    assert measure_rankings([ranking("q", ["a"]), ranking("other", ["b"])], {"q": {"a": 1}})["success@1"] == 1.0


def test_two_rankings_of_one_question_are_an_error():
    with pytest.raises(DataError, match="found two of 'q'"):
        measure_rankings([ranking("q", ["a"]), ranking("q", ["b"])], {"q": {"a": 1}})


def test_nothing_to_measure_by_is_an_error():
    with pytest.raises(DataError, match="Add `gold` or `answers`"):
        evaluate_retrieval([question("q")], [ranking("q", ["a"])], texts_of)


def test_near_gold_counts_as_gold():
    judgments = gold_judgments([question("q", gold="a", near_gold="bc"), question("none")])
    assert judgments == {"q": {"a": 1, "b": 1, "c": 1}}
    assert measure_rankings([ranking("q", ["b", "a", "c"])], judgments)["ndcg@10"] == pytest.approx(1.0)


def test_a_passage_that_holds_an_answer_is_a_hit():
    questions = [question("q", answers=["Paris", "Lutetia"]), question("r", answers=["Rome"]), question("s")]
    rankings = [ranking("q", "bcda"), ranking("s", "a")]
    assert answer_judgments(questions, rankings, texts_of) == {"q": {"c": 1, "a": 1}, "r": {}}


def test_only_the_first_hundred_passages_are_looked_at():
    seen = []

    def nothing_in(passage_ids):
        seen.extend(passage_ids)
        return [""] * len(passage_ids)

    answer_judgments([question("q", answers=["x"])], [ranking("q", [str(n) for n in range(150)])], nothing_in)
    assert seen == [str(number) for number in range(100)]


def test_answers_in_chinese_passages():
    found = answer_judgments(
        [question("q", answers=["北京"])], [ranking("q", "a")], lambda _: ["首都是北京。"], language="zh"
    )
    assert found == {"q": {"a": 1}}


@pytest.mark.parametrize(("language", "found"), [("zh", 1.0), ("ja", 1.0), ("en", 0.0)])
def test_answers_are_looked_for_in_the_language_that_is_named(language, found):
    asked = [question("q", answers=["北京"])], [ranking("q", "a")], lambda _: ["首都是北京。"]
    assert retrieval_by_question(*asked, language)["q"]["answer_success@1"] == found
    assert evaluate_retrieval(*asked, language)["answer_success@1"] == found
    if language == "en":  # what is taken where none is named
        assert retrieval_by_question(*asked) == retrieval_by_question(*asked, language)
        assert evaluate_retrieval(*asked) == evaluate_retrieval(*asked, language)
        assert answer_judgments(*asked) == {"q": {}}


def test_each_passage_must_have_a_text():
    with pytest.raises(ValueError, match="shorter"):
        answer_judgments([question("q", answers=["x"])], [ranking("q", "ab")], lambda _: ["only one"])


def test_evaluation_takes_gold_where_it_is_known_and_answers_elsewhere():
    questions = [
        question("gold only", gold="d"),
        question("both", answers=["Paris"], gold="d"),
        question("answer only", answers=["Paris"]),
        question("neither"),
    ]
    rankings = [ranking(each.id, ["d", "a"]) for each in questions]
    by_question = retrieval_by_question(questions, rankings, texts_of)
    assert list(by_question) == ["gold only", "both", "answer only"]
    assert [measures["success@1"] for measures in by_question.values()] == [1.0, 1.0, 0.0]
    assert "answer_success@1" not in by_question["gold only"]
    assert by_question["both"]["answer_success@1"] == 0.0
    assert "answer_mrr@10" not in by_question["both"]

    measures = evaluate_retrieval(questions, rankings, texts_of)
    assert measures == {
        "success@1": pytest.approx(2 / 3),
        "success@5": 1.0,
        "success@20": 1.0,
        "success@100": 1.0,
        "mrr@10": pytest.approx(2.5 / 3),
        "ndcg@10": pytest.approx((2 + 1 / math.log2(3)) / 3),
        "answer_success@1": 0.0,
        "answer_success@5": 1.0,
        "answer_success@20": 1.0,
        "answer_success@100": 1.0,
        "num_questions": 3,
        "num_by_gold": 2,
        "num_with_answers": 2,
        "num_left_out": 1,
    }
