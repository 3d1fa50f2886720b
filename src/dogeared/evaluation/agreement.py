"""How far the retriever's ranking of passages is from the reader's.

The student learns to order the passages of a question as its teacher does. These numbers watch it: inversions (pairs of
passages that it orders the other way round), overlap (how much of the teacher's first k it puts first) and depth (how
far down its list one must read to meet the teacher's first k). They need no label, and rounds can be stopped by them.

Source: the retriever's monitor in the reference code of Izacard and Grave 2021, which gives the same numbers.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

from dogeared.errors import DataError

__all__ = ["DEPTHS", "agreement", "count_inversions", "in_teacher_order", "mean_agreement"]

DEPTHS: Final = (1, 2, 5)
"""The k of overlap@k and depth@k."""


def in_teacher_order(scores: Sequence[float], relevance: Sequence[float]) -> list[float]:
    """List a student's scores from its teacher's best passage to its worst.

    Args:
        scores: The student's, one a passage.
        relevance: The teacher's, of the same passages; among equal ones the order stays.
    """
    best_first = sorted(range(len(relevance)), key=lambda passage: -relevance[passage])
    return [scores[passage] for passage in best_first]


def count_inversions(scores: Sequence[float]) -> float:
    """Count the pairs of passages of which the student scores the teacher's worse one higher, in O(n log n).

    Differs from FiD: a pair with equal scores counts one half. A student that tells no passage from another then
    stands where guessing stands; there, it depends on how the sorting happened to go.

    Args:
        scores: The student's, from the teacher's best passage to its worst.

    >>> count_inversions([3.0, 1.0, 2.0])
    1.0
    """
    inversions = 0.0
    better: list[float] = []  # scores of the passages that the teacher prefers to this one, ascending
    for score in scores:
        num_lower, num_not_higher = bisect_left(better, score), bisect_right(better, score)
        inversions += (num_lower + num_not_higher) / 2
        better.insert(num_not_higher, score)
    return inversions


def agreement(scores: Sequence[float]) -> dict[str, float]:
    """Compare a student's ranking of the passages of one question with its teacher's.

    Args:
        scores: The student's, from the teacher's best passage to its worst; at least two, none of them NaN. Among
            equal ones the student is taken to prefer what its teacher likes less, so that it earns nothing by them.

    Returns:
        ``inversions``; ``inversion_rate``, the same as a share of all pairs (0 the same order, 0.5 unrelated,
        1 reversed); for each k of `DEPTHS` ``overlap@k``, the share of the student's first k that is among the
        teacher's first k; and ``depth@k``, how many passages of the student's list hold the teacher's first k. With
        fewer than k passages, k is their number.
    """
    num_passages = len(scores)
    assert num_passages >= 2, "one passage has no order"
    assert not any(map(math.isnan, scores)), "NaN has no place in an order"
    inversions = count_inversions(scores)
    # Passages are named by the teacher's rank, counted from 0; this is the student's list.
    ranks = sorted(range(num_passages), key=lambda rank: (-scores[rank], -rank))
    measures = {"inversions": inversions, "inversion_rate": inversions / math.comb(num_passages, 2)}
    for k in DEPTHS:
        first = min(k, num_passages)
        places = [place for place, rank in enumerate(ranks, start=1) if rank < first]
        measures[f"overlap@{k}"] = sum(place <= first for place in places) / first
        measures[f"depth@{k}"] = float(places[-1])
    return measures


def mean_agreement(questions: Iterable[Sequence[float]]) -> dict[str, float]:
    """Average `agreement` over questions.

    Args:
        questions: For each the student's scores from the teacher's best passage to its worst. Questions with fewer
            than two passages have no order and are left out.

    Returns:
        The mean of each measure, and ``num_questions``, over how many.

    Raises:
        DataError: No question has two passages.
    """
    compared = [agreement(scores) for scores in questions if len(scores) >= 2]
    if not compared:
        raise DataError(
            "expected a question with at least two passages, found none; the retriever's order and the reader's cannot "
            "be compared. Retrieve more passages a question, or leave the comparison out"
        )
    means = {name: sum(measures[name] for measures in compared) / len(compared) for name in compared[0]}
    return {**means, "num_questions": len(compared)}
