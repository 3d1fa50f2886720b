"""The student's order is compared with the teacher's."""

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dogeared.errors import DataError
from dogeared.evaluation.agreement import agreement, count_inversions, in_teacher_order, mean_agreement


def test_scores_are_listed_from_the_teachers_best_passage():
    assert in_teacher_order([1.0, 2.0, 3.0, 4.0], [0.1, 0.9, 0.1, 0.5]) == [2.0, 4.0, 1.0, 3.0]


@given(st.lists(st.integers(-3, 3).map(float), max_size=12))
def test_inversions_equal_a_look_at_every_pair(scores):
    expected = sum(
        1.0 if worse > better else 0.5 if worse == better else 0.0 for better, worse in combinations(scores, 2)
    )
    assert count_inversions(scores) == expected


def test_measures_by_hand():
    # The student's list, named by the teacher's ranks: 2, 0, 4, 1, 3, 5.
    measures = agreement([5.0, 3.0, 6.0, 2.0, 4.0, 1.0])
    assert measures == {
        "inversions": 4.0,  # 2 before 0 and 1; 4 before 1 and 3
        "inversion_rate": pytest.approx(4 / 15),
        "overlap@1": 0.0,
        "depth@1": 2.0,
        "overlap@2": 0.5,
        "depth@2": 4.0,
        "overlap@5": 1.0,
        "depth@5": 5.0,
    }


def test_the_same_order_and_the_reverse():
    same, reverse = agreement([3.0, 2.0, 1.0]), agreement([1.0, 2.0, 3.0])
    assert (same["inversion_rate"], same["overlap@2"], same["depth@2"]) == (0.0, 1.0, 2.0)
    assert (reverse["inversion_rate"], reverse["overlap@1"], reverse["depth@1"]) == (1.0, 0.0, 3.0)


def test_a_student_that_scores_all_passages_alike_earns_nothing():
    measures = agreement([0.0] * 10)
    assert measures["inversion_rate"] == 0.5
    assert measures["overlap@5"] == 0.0
    assert measures["depth@1"] == 10.0


def test_an_unrelated_student_inverts_half_of_the_pairs():
    shuffled = random.Random(0)
    rows = [[shuffled.random() for _ in range(50)] for _ in range(200)]
    assert mean_agreement(rows)["inversion_rate"] == pytest.approx(0.5, abs=0.01)


def test_few_passages_are_all_there_is():
    measures = agreement([2.0, 1.0])
    assert (measures["overlap@5"], measures["depth@5"]) == (1.0, 2.0)


def test_the_mean_leaves_out_questions_without_an_order():
    means = mean_agreement([[1.0, 2.0], [], [7.0], [3.0, 2.0, 1.0]])
    assert means["num_questions"] == 2
    assert means["inversions"] == 0.5
    assert means["inversion_rate"] == 0.5
    assert means["depth@1"] == 1.5
    assert mean_agreement([[1.0, 2.0]]) == {**agreement([1.0, 2.0]), "num_questions": 1}


def test_no_question_to_compare_is_an_error():
    with pytest.raises(DataError, match="at least two passages"):
        mean_agreement([[1.0], []])


def test_nan_is_not_ranked():
    with pytest.raises(AssertionError, match="NaN"):
        agreement([1.0, float("nan")])
